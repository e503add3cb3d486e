"""The programs in examples/ run as their first lines say."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import decant
import pytest
from decant_train.data import wheel_photos
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples take for granted: photos as PNG, and some of them as .dcn files."""
    folder = tmp_path_factory.mktemp("examples")
    encoder = decant.Encoder("lite", threads=1)
    for name in ("photos", "pictures", "coded"):
        (folder / name).mkdir()
    for index, photo in enumerate(wheel_photos.crops(8, 256)):
        Image.fromarray(photo).save(folder / "photos" / f"{index:02}.png")
        if index < 3:
            Image.fromarray(photo).save(folder / "pictures" / f"{index}.png")
            (folder / "coded" / f"{index}.dcn").write_bytes(encoder.encode(photo))
    (folder / "photo.dcn").write_bytes((folder / "coded" / "0.dcn").read_bytes())
    return folder


def run(name: str, work: Path) -> str:
    """Run the example with the arguments that its docstring names; what it prints."""
    source = (EXAMPLES / name).read_text()
    (line,) = (line for line in source.splitlines() if line.startswith(f"    python examples/{name}"))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *shlex.split(line)[2:]]
    result = subprocess.run(
        command, cwd=work, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_decode_bytes(work: Path) -> None:
    said = run("decode_bytes.py", work)
    assert f"{(work / 'photo.dcn').stat().st_size} bytes, 256x256 pixels" in said


def test_encode_folder(work: Path) -> None:
    (work / "coded").rename(work / "kept")
    said = run("encode_folder.py", work)
    written = sorted(path.name for path in (work / "coded").iterdir())
    assert written == ["0.dcn", "1.dcn", "2.dcn"]
    assert said.count("bits per pixel") == 3
    assert decant.open(work / "coded" / "2.dcn").shape == (256, 256, 3)


def test_use_in_dataloader(work: Path) -> None:
    said = run("use_in_dataloader.py", work)
    assert [line.split(" mean")[0] for line in said.splitlines()] == ["(2, 3, 64, 64)", "(1, 3, 64, 64)"]


def test_train_small(work: Path) -> None:
    said = run("train_small.py", work)
    assert "synthesis" in said
    assert (work / "out" / "my-nano" / "bundle.json").is_file()


def test_change_model(work: Path) -> None:
    nano, finer = run("change_model.py", work).splitlines()
    assert nano.split(": ")[0].startswith("nano, groups")
    assert nano.split(": ")[1].split(", hyper")[0] == finer.split(": ")[1].split(", hyper")[0]
    assert nano != finer


def test_every_example_is_tried() -> None:
    tried = {f"{name.removeprefix('test_')}.py" for name in globals() if name.startswith("test_")}
    assert {path.name for path in EXAMPLES.glob("*.py")} <= tried
