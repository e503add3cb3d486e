"""``decant archive pack --adapt``: the bundle that makes the archive smaller is packed with, no other."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soft_photos
from commands import decant, refusal
from decant import archive
from decant.adaptation.adapting import adapt
from decant.adaptation.pictures import pictures_in
from decant.archive import Dataset
from decant.archive.adapting import adapted
from decant.archive.settings import PackSettings
from decant.bundles.bundle import Bundle
from PIL import Image

pytest.importorskip("pyarrow", reason="needs the extra archive")

MEASURED = re.compile(r"adapted, tables: (\d+) -> (\d+) bytes per picture at .* decoder (\d+) -> (\d+) bytes")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve cut-outs of one photo."""
    folder, photo = tmp_path_factory.mktemp("pictures"), soft_photos.photo()
    for i in range(12):
        y, x = 24 * (i // 4), 48 * (i % 4)
        Image.fromarray(photo[y : y + 112, x : x + 128]).save(folder / f"{i:02}.png")
    return folder


def pack(pictures: Path, out: Path, model: Path, *more: str) -> list[str]:
    options = ["--model", str(model), "--quality", "70", "--effort", "1", "--engine", "serial"]
    return ["archive", "pack", str(pictures), str(out), *options, "--adapt", "tables", *more]


@pytest.fixture(scope="module")
def made(codec: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The archive and what the command said; not to be changed."""
    out = tmp_path_factory.mktemp("made") / "archive"
    return out, decant(*pack(pictures, out, codec)).stderr


def test_the_smaller_archive_is_made(codec: Path, made: tuple[Path, str]) -> None:
    out, said = made
    found = MEASURED.search(said)
    assert found, said
    before, after, decoder_before, decoder_after = map(int, found.groups())
    smaller = 12 * after + decoder_after < 12 * before + decoder_before
    assert smaller == ("used; the bundle is" in said) == Path(f"{out}.bundle").is_dir()
    used = Bundle.open(f"{out}.bundle" if smaller else codec)
    assert len(Dataset(out)) == 12
    embedded = [path.parent for path in out.glob("_bundle/*/bundle.json")]
    assert [Bundle.open(path).model_id for path in embedded] == [used.model_id]
    assert decant("archive", "verify", str(out)).exit_code == 0


def test_an_interrupted_run_keeps_to_what_it_decided(
    codec: Path, pictures: Path, made: tuple[Path, str], tmp_path: Path
) -> None:
    resumed = tmp_path / "archive"
    done = adapted([pictures], resumed, PackSettings(str(codec), quality=70, effort=1))
    settings = done.settings
    assert done.used == Path(f"{resumed}.bundle").is_dir()

    def stop(progress: object) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        archive.pack(pictures, resumed, settings, engine="serial", report=stop)
    result = decant(*pack(pictures, resumed, codec, "--resume"))
    assert result.exit_code == 0, result.output
    assert "bytes per picture" not in result.stderr
    for path in made[0].rglob("part-*"):
        assert (resumed / path.relative_to(made[0])).read_bytes() == path.read_bytes()


def test_a_run_interrupted_while_measuring_adapts_no_second_time(
    codec: Path, pictures: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(pictures.iterdir())[:4]:
        shutil.copy(path, few)
    left = adapt(codec, pictures_in(few), tmp_path / "archive.bundle", quality=70, effort=1)
    said: list[str] = []
    settings = PackSettings(str(codec), quality=70, effort=1)
    done = adapted([few], tmp_path / "archive", settings, resume=True, report=said.append)
    assert not said  # adapting reports what it does
    assert done.gain == left.gain


def test_pictures_come_back(pictures: Path, made: tuple[Path, str], tmp_path: Path) -> None:
    """Where the bundle beside the archive is gone: the archive has its own."""
    out, back = tmp_path / "archive", tmp_path / "back"
    shutil.copytree(made[0], out)
    assert decant("archive", "unpack", str(out), str(back)).exit_code == 0
    for path in pictures.glob("*.png"):
        errors = np.asarray(Image.open(path), float) - np.asarray(Image.open(back / path.name), float)
        assert 10 * np.log10(255**2 / np.square(errors).mean()) > 20


def test_what_cannot_be_adapted_to_is_refused(codec: Path, pictures: Path, tmp_path: Path) -> None:
    assert "embed slim or full" in refusal(*pack(pictures, tmp_path / "a", codec, "--embed", "none"))
    several = pack(pictures, tmp_path / "b", codec)
    several.insert(2, str(pictures))
    assert "one source" in refusal(*several)
