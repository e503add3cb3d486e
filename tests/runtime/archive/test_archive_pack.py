"""Packing and unpacking archives: what is stored, what is read back, what is refused."""

import json
from pathlib import Path

import decant
import numpy as np
import pyarrow.parquet as pq
import pytest
from archive_pictures import NANO, SETTINGS, files_of, picture
from decant import archive
from decant.errors import FormatError, ImageError, ModelNotFoundError
from PIL import Image


def test_every_picture_is_stored_once_in_the_order_of_keys(packed: Path):
    opened = archive.Archive(packed)
    rows = list(opened.rows())
    keys = [row["key"] for row in rows]
    assert keys == sorted(keys)
    assert len(keys) == len(opened) == 31
    by_key = {row["key"]: row for row in rows}
    assert by_key["set1/again.png"]["same_as"] == "set0/0000.png"
    assert by_key["set1/again.png"]["bytes"] is None
    assert by_key["set0/0000.png"]["width"] == by_key["set0/0000.png"]["height"] == 24
    assert [part.rows for part in opened.manifest.parts] == [12, 12, 7]
    assert opened.manifest.duplicates == 1


def test_payloads_are_the_files_that_encode_gives(packed: Path, pictures: Path):
    opened = archive.Archive(packed)
    data = opened.payload("set1/0001.png")
    assert data == decant.Encoder(NANO, threads=1).encode(picture(1), 40, effort=0)
    assert opened.payload("set1/again.png") == opened.payload("set0/0000.png") == opened.payload(0)


def test_a_damaged_picture_is_entered_into_the_failures_table(packed: Path):
    failures = pq.read_table(packed / "_failures.parquet").to_pylist()
    assert [row["key"] for row in failures] == ["set2/broken.png"]
    assert "broken.png" in failures[0]["error"]
    assert archive.Archive(packed).manifest.failed == 1


def test_local_workers_give_the_same_bytes_as_one_process(packed: Path, pictures: Path, tmp_path: Path):
    archive.pack(pictures, tmp_path / "b", engine="local", workers=2, **SETTINGS)
    assert files_of(tmp_path / "b") == files_of(packed)


def test_the_decoder_inside_is_enough(packed: Path, monkeypatch: pytest.MonkeyPatch):
    from decant.archive.bundles import bundle_folder

    folder = bundle_folder(archive.Archive(packed).store)
    [bundle] = list(Path(folder).iterdir())
    opened = decant.Bundle.open(bundle)
    opened.verify()
    assert not opened.has("analysis")
    pixels = decant.Decoder(opened).decode(archive.Archive(packed).payload(3))
    assert pixels.shape == (24, 24, 3)


@pytest.mark.parametrize("output", ["png", "ppm", "npy", "webp"])
def test_unpacked_pictures_are_what_decoding_gives(packed: Path, tmp_path: Path, output: str):
    assert archive.unpack(packed, tmp_path / "u", engine="serial", output=output) == []
    opened = archive.Archive(packed)
    suffix = "" if output == "png" else f".{output}"
    for key in ("set0/0000.png", "set1/again.png", "set2/0029.png"):
        path = tmp_path / "u" / f"{key}{suffix}"
        pixels = np.load(path) if output == "npy" else np.asarray(Image.open(path))
        assert np.array_equal(pixels, decant.decode(opened.payload(key), bundle_dir=NANO))
    assert len(files_of(tmp_path / "u")) == 31


def test_jpeg_and_the_stored_files_can_be_written(packed: Path, tmp_path: Path):
    archive.unpack(packed, tmp_path / "j", engine="serial", output="jpeg", quality=90)
    with Image.open(tmp_path / "j" / "set0" / "0000.png.jpg") as image:
        assert image.format == "JPEG"
    archive.unpack(packed, tmp_path / "d", engine="serial", output="dcn")
    stored = (tmp_path / "d" / "set0" / "0000.png.dcn").read_bytes()
    assert stored == archive.Archive(packed).payload("set0/0000.png")


def test_tar_files_hold_the_pictures_of_a_part_each(packed: Path, tmp_path: Path):
    import tarfile

    archive.unpack(packed, tmp_path / "t", engine="serial", output="npy", tar=True)
    names = []
    for path in sorted((tmp_path / "t").iterdir()):
        with tarfile.open(path) as tar:
            names += tar.getnames()
    assert names == [f"{key}.npy" for key in archive.Archive(packed).keys()]  # noqa: SIM118


def test_an_archive_of_stored_files_needs_no_encoder(packed: Path, tmp_path: Path):
    archive.unpack(packed, tmp_path / "d", engine="serial", output="dcn")
    made = archive.pack(tmp_path / "d", tmp_path / "b", engine="serial", model=str(NANO))
    assert {name for part in made.parts for name in part.statuses} == {"stored", "duplicate"}
    assert archive.Archive(tmp_path / "b").payload(0) == archive.Archive(packed).payload(0)
    assert archive.verify(tmp_path / "b", engine="serial") == []


def test_files_of_another_family_bring_their_own_decoder(tiny: Path, tmp_path: Path):
    """A bundle of one picture size, whose files no encoder here makes."""
    (tmp_path / "in").mkdir()
    bundle = decant.Bundle.open(tiny)
    for number, golden in enumerate(bundle.golden):
        (tmp_path / "in" / f"{number}.dcn").write_bytes(bundle.read(golden.file))
    archive.pack(tmp_path / "in", tmp_path / "a", engine="serial", model=str(tiny), keep_duplicates=True)
    assert archive.verify(tmp_path / "a", engine="serial") == []
    dataset = archive.Dataset(tmp_path / "a", layout="hwc")
    assert len(dataset) == len(bundle.golden)
    for number, golden in enumerate(bundle.golden):
        assert np.array_equal(dataset[number], decant.Decoder(bundle).decode(bundle.read(golden.file)))


def test_all_of_a_bundle_can_be_embedded(pictures: Path, tmp_path: Path):
    made = archive.pack(pictures / "set0", tmp_path / "a", engine="serial", embed="full", **SETTINGS)
    [folder] = (tmp_path / "a" / "_bundle").iterdir()
    assert decant.Bundle.open(folder).has("analysis")
    assert made.bundle_bytes == sum(map(len, files_of(folder).values()))
    bare = archive.pack(pictures / "set0", tmp_path / "b", engine="serial", embed="none", **SETTINGS)
    assert bare.bundle_bytes == 0
    assert archive.Dataset(tmp_path / "b", bundle_dir=NANO)[0].shape == (3, 24, 24)


def test_names_never_collide(tmp_path: Path):
    for name in ("a.jpg", "a.jpg.png", "a.png"):
        Image.fromarray(picture(len(name))).save(tmp_path / name)
    archive.pack(tmp_path, tmp_path / "out", engine="serial", **SETTINGS)
    assert len(archive.Archive(tmp_path / "out")) == 3
    archive.unpack(tmp_path / "out", tmp_path / "u", engine="serial")
    assert sorted(files_of(tmp_path / "u")) == ["a.jpg.png", "a.jpg.png.png", "a.png"]


def test_what_cannot_be_begun_is_refused_by_name(packed: Path, pictures: Path, tmp_path: Path):
    with pytest.raises(FormatError, match="holds an archive already"):
        archive.pack(pictures, packed, engine="serial", **SETTINGS)
    (tmp_path / "file").write_text("x")
    with pytest.raises(FormatError, match="is not empty"):
        archive.pack(pictures, tmp_path, engine="serial", **SETTINGS)
    with pytest.raises(FormatError, match="no picture found"):
        archive.pack(tmp_path, tmp_path / "b", engine="serial", **SETTINGS)
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        archive.pack(pictures, tmp_path / "c", engine="serial", model="nowhere")
    with pytest.raises(FormatError, match="no archive"):
        archive.Archive(tmp_path / "nothing")
    with pytest.raises(ImageError, match="output 'gif'"):
        archive.unpack(packed, tmp_path / "u", output="gif")


def test_the_manifest_counts_and_seals(packed: Path, tmp_path: Path):
    raw = json.loads((packed / "_manifest.json").read_bytes())
    files = {name: len(data) for name, data in files_of(packed).items() if name != "_manifest.json"}
    assert raw["bytes"] == sum(files.values())
    assert raw["pictures"] == 31
    raw["pictures"] = 32
    copy = tmp_path / "a"
    copy.mkdir()
    (copy / "_manifest.json").write_text(json.dumps(raw))
    with pytest.raises(FormatError, match="checksum differs"):
        archive.Archive(copy)
