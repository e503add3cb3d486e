"""Tables counted on an archive: smaller files, the same pixels' graphs, an id of its own, an honest card."""

import hashlib
import json
import lzma
import shutil
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soft_photos
from commands import decant, refusal
from decant import Decoder, Encoder
from decant.adaptation import delta
from decant.adaptation.adapting import MOST, adapt, split
from decant.adaptation.counting import LARGEST_SHIFT, counted, quarters_of, scale_indices_of
from decant.adaptation.tables import fitted
from decant.adaptation.writing import recoded
from decant.bundles.bundle import Bundle
from decant.codec.layout import GridLayout
from decant.errors import BundleError, ImageError
from decant.formats import container
from decant.formats.manifest import canonical_json
from decant.verify import verify_bundle
from PIL import Image

QUALITY = 70


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve cut-outs of one photo, as PNG files."""
    folder, photo = tmp_path_factory.mktemp("archive"), soft_photos.photo()
    paths = [folder / f"{i:02}.png" for i in range(12)]
    for i, path in enumerate(paths):
        y, x = 24 * (i // 4), 48 * (i % 4)
        Image.fromarray(photo[y : y + 112, x : x + 128]).save(path)
    return paths


@pytest.fixture(scope="module")
def adapted(codec: Path, archive: Sequence[Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("adapted") / "own"
    return adapt(codec, archive, out, quality=QUALITY, effort=1, threads=1).bundle


def files_of(bundle: Bundle | Path, paths: Sequence[Path]) -> list[bytes]:
    encoder = Encoder(bundle, threads=1)
    return [encoder.encode(Image.open(path), QUALITY, effort=0) for path in paths]


def grid(bundle: Bundle) -> GridLayout:
    assert isinstance(bundle.layout, GridLayout)
    return bundle.layout


def test_the_archive_gets_smaller_at_the_same_symbols(
    adapted: Bundle, codec: Path, archive: Sequence[Path]
) -> None:
    own = Bundle.open(codec)
    files = files_of(codec, archive)
    before, after = 0, 0
    for data in files:
        file = container.parse(data)
        latents, same = recoded(file, grid(own), grid(adapted))
        assert same
        before, after = before + len(file.latents), after + len(latents)
        moved = replace(
            file, name=adapted.name, model_id=bytes.fromhex(adapted.model_id)[:8], latents=latents
        )
        expected = Decoder(codec, threads=1).decode(data)
        assert np.array_equal(Decoder(adapted, threads=1).decode(container.write(moved)), expected)
    assert after < 0.97 * before


def test_it_is_a_whole_bundle_with_an_id_of_its_own(adapted: Bundle, codec: Path) -> None:
    own = Bundle.open(codec)
    assert adapted.name == "own"
    assert adapted.model_id != own.model_id
    assert not [str(finding) for finding in verify_bundle(adapted.path, threads=1) if finding.passed is False]
    raw = adapted.manifest.raw
    assert raw["licence"] == own.manifest.raw["licence"]
    assert raw["adapted"]["from"]["model_id"] == own.model_id
    assert own.model_id[:16] in adapted.read("card.md").decode()
    assert {graph.label for graph in adapted.graphs} == {graph.label for graph in own.graphs}


def test_the_same_pictures_give_the_same_bundle(
    adapted: Bundle, codec: Path, archive: Sequence[Path], tmp_path: Path
) -> None:
    again = adapt(codec, archive, tmp_path / "again", quality=QUALITY, effort=1, threads=1)
    assert again.bundle.model_id == adapted.model_id
    assert again.gain.ratio < 1
    assert again.gain.smaller(10**6, 0, adapted.bytes)
    assert not again.gain.smaller(1, 0, adapted.bytes)


def test_a_delta_gives_the_decoder_back(
    adapted: Bundle, codec: Path, archive: Sequence[Path], tmp_path: Path
) -> None:
    base = Bundle.open(codec)
    packed = delta.pack(adapted, base)
    assert delta.base_of(packed) == base.model_id
    back = delta.unpack(packed, base, tmp_path / "back")
    assert back.model_id == adapted.model_id
    assert len(packed) < back.bytes / 3
    data = files_of(adapted, archive[:1])[0]
    native = Decoder(adapted, runtime="native", precision="int16", threads=1)
    assert np.array_equal(Decoder(back, threads=1).decode(data), native.decode(data))
    with pytest.raises(BundleError, match="is the difference from model"):
        delta.unpack(packed, adapted, tmp_path / "wrong")
    for damaged in (packed[:-9], packed[:60] + bytes([packed[60] ^ 1]) + packed[61:], b"", b"\x8aDCA"):
        with pytest.raises(BundleError, match="delta: "):
            delta.unpack(damaged, base, tmp_path / "damaged")
    assert not (tmp_path / "damaged").exists()


def test_a_delta_writes_nothing_outside_its_folder(adapted: Bundle, codec: Path, tmp_path: Path) -> None:
    base = Bundle.open(codec)
    head, parts = delta._unpacked(delta.pack(adapted, base))
    text = canonical_json(head).replace(b'"card.md"', b'"../../card.md"')
    assert text.count(b'"../../card.md"') == 2
    body = struct.pack("<I", len(text)) + text + parts
    packed = lzma.compress(body, lzma.FORMAT_RAW, filters=delta._FILTERS)
    hostile = delta.MAGIC + bytes([delta.VERSION]) + hashlib.sha256(body).digest() + packed
    with pytest.raises(BundleError, match=r"'\.\./\.\./card\.md'; a relative path"):
        delta.unpack(hostile, base, tmp_path / "back")
    assert not list(tmp_path.iterdir())


def test_quarters_are_those_of_every_offset(codec: Path, archive: Sequence[Path]) -> None:
    layout = grid(Bundle.open(codec))
    file = container.parse(files_of(codec, archive[:1])[0])
    row, shape = layout.quality(file.quality), layout.grid(file.width, file.height)
    payload = layout.parse(file.latents, file.width, file.height, "file")
    v = row.scaled(layout.decode_hyper(payload, shape, row, "file"))
    tile = shape.tiles[0]
    symbols = layout.decode_tile(payload, 0, v, shape, row, "file")[0].astype(np.int32)
    quarters = quarters_of(layout, v, row, tile, symbols)
    for shift in (-LARGEST_SHIFT, -5, 0, 1, 7, LARGEST_SHIFT):
        moved = replace(row, scale_offset=row.scale_offset + 256 * shift)
        expected = scale_indices_of(layout, v, moved, tile, symbols)
        assert np.array_equal(np.clip((quarters + shift) // 4, 0, 31), expected)


def test_a_change_that_costs_more_than_it_saves_is_not_made(codec: Path, archive: Sequence[Path]) -> None:
    own = Bundle.open(codec)
    counts = counted(grid(own), files_of(codec, archive))
    unchanged = fitted(own.tables, counts, share=1e9)
    assert all(np.array_equal(unchanged[name], table) for name, table in own.tables.items())
    assert any(
        not np.array_equal(fitted(own.tables, counts)[name], table) for name, table in own.tables.items()
    )


def test_pictures_measured_were_not_counted(archive: Sequence[Path]) -> None:
    learned, tested = split(archive)
    assert tested
    assert not set(learned) & set(tested)
    assert len(learned) <= MOST
    assert split(archive[:1]) == (list(archive[:1]), list(archive[:1]))


def test_pictures_that_cannot_be_read_are_left_out(
    codec: Path, archive: Sequence[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    shutil.copytree(archive[0].parent, folder)
    (folder / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "own"
    done = decant(
        "adapt", codec, folder, "--out", out, "--effort", 0, "--quality", QUALITY, "--json", "--threads", 1
    )
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert said["model_id"] == Bundle.open(out).model_id
    assert said["ratio"] < 1
    assert said["delta_bytes"] < Bundle.open(out).bytes
    assert "broken.png" in done.stderr


def test_what_cannot_be_adapted_is_said(
    codec: Path, tiny: Path, archive: Sequence[Path], tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match="no pictures to adapt to"):
        adapt(codec, [], tmp_path / "a")
    with pytest.raises(BundleError, match="only bundles of family codec"):
        adapt(tiny, archive, tmp_path / "b")
    with pytest.raises(BundleError, match="level 'all' is unknown; one of tables, prior, synthesis, whole"):
        adapt(codec, archive, tmp_path / "c", level="all")
    (tmp_path / "empty").mkdir()
    assert "no picture in it" in refusal("adapt", codec, tmp_path / "empty", "--out", tmp_path / "d")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match="none of 1 pictures can be read"):
        adapt(codec, [tmp_path / "broken.png"], tmp_path / "d")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_bytes(b"")
    assert "give a new folder" in refusal("adapt", codec, archive[0].parent, "--out", tmp_path / "taken")
