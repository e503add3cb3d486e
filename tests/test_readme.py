"""What README.md says is there, runs."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from decant.commands.cli import main
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SETS = (ROOT / "docs" / "sets.md").read_text()


def commands(heading: str, page: str = README) -> list[list[str]]:
    """The `decant` commands of the first shell block below ``heading``, without comments."""
    block = re.search(rf"^## {heading}$.*?^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert block, f"the page has no shell block under {heading!r}"
    lines = (line.split("#")[0].strip() for line in block[1].splitlines())
    return [shlex.split(line)[1:] for line in lines if line.startswith("decant ")]


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image, np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with what the README takes for granted: a photo."""
    from decant_train.data import wheel_photos

    Image.fromarray(wheel_photos.crops(1, 160)[0]).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_first_commands_work_as_written(folder: Path) -> None:
    block = re.search(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert block
    first = [shlex.split(line)[1:] for line in block[1].splitlines() if line.startswith("decant ")]
    assert [arguments[0] for arguments in first] == ["encode", "decode", "info"]
    for arguments in [*first, *commands("Use the codec")]:
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
    photo, back = (pixels_of(folder / name) for name in ("photo.png", "photo_back.png"))
    assert 10 * np.log10(255**2 / np.square(photo - back).mean()) > 28
    assert pixels_of(folder / "part.png").shape == (48, 64, 3)


def test_the_commands_for_decoding_work_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = commands("Decode a picture of a set", SETS)
    assert [arguments[0] for arguments in found] == ["decode", "info", "verify", "models"]
    picture = tmp_path / "astronaut.png"
    for arguments in found:
        arguments = [str(picture) if a == picture.name else a for a in arguments]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
    assert np.asarray(Image.open(picture)).shape == (256, 256, 3)


def test_the_python_example_runs(folder: Path) -> None:
    examples = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    for example in examples:
        exec(example, names)
    assert isinstance(names["pixels"], np.ndarray)
    assert names["pixels"].shape == (160, 160, 3)


def test_the_shipped_set_is_the_photos_it_was_trained_on() -> None:
    """Every shipped file decodes to its own photo: above 25 dB to it and closer to no other one."""
    from decant import Decoder
    from decant_train.data import wheel_photos

    photos = wheel_photos.crops(64).astype(np.float32)
    decoder = Decoder("small", threads=1)
    files = sorted((ROOT / "artifacts" / "sets" / "small").glob("*.dcn"))
    assert len(files) == 64
    for i, pixels in enumerate(decoder.decode_batch([path.read_bytes() for path in files])):
        errors = np.square(photos - pixels).mean(axis=(1, 2, 3))
        assert int(errors.argmin()) == i
        assert 10 * np.log10(255**2 / errors[i]) > 25


def test_links_lead_somewhere() -> None:
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.relative_to(ROOT)}: {target}"


def test_the_first_page_is_short() -> None:
    assert len(README.splitlines()) <= 120
    assert "## When not to use it" in README
