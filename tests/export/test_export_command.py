"""``decant export`` as a user calls it."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from checkpoints_made import SIDE, photos
from click.testing import CliRunner, Result
from decant import Decoder
from decant.bundles.bundle import Bundle
from decant.commands.cli import main
from decant_export import cli
from decant_export.common import variants
from PIL import Image

QUICK = ("--precisions", "float,int8", "--runtimes", "onnxruntime")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    first, second, third = photos()[:3]
    Image.fromarray(first).save(folder / "cat.png")
    Image.fromarray(second).resize((2 * SIDE, SIDE)).save(folder / "cat.jpg")
    Image.fromarray(third).save(folder / "more" / "dog.png")
    (folder / "torn.png").write_bytes((folder / "cat.png").read_bytes()[:100])
    return folder


def test_the_table_lists_what_was_written_and_refused(checkpoint: Path, tmp_path: Path) -> None:
    result = call(checkpoint, "--out", tmp_path / "tiny", *QUICK, "--floor", "int8=90", "--no-encoder")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    bundle = Bundle.open(tmp_path / "tiny")
    assert lines[0].endswith(bundle.model_id)
    assert any(line.startswith("synthesis  float") for line in lines)
    assert any("int8" in line and "below its floor of 90.0 dB" in line for line in lines)
    assert "equals PyTorch" in result.stderr


def test_json_is_the_manifest(checkpoint: Path, tmp_path: Path) -> None:
    result = call(
        *(checkpoint, "--out", tmp_path / "tiny", *QUICK, "--json"),
        *("--licence", "CC0", "--commercial-use", "yes", "--name", "other"),
    )
    manifest = json.loads(result.stdout)
    assert (manifest["name"], manifest["licence"], manifest["commercial_use"]) == ("other", "CC0", "yes")
    assert manifest == json.loads((tmp_path / "tiny" / "bundle.json").read_bytes())
    assert manifest["decant_version"] == version("decant-codec")


def test_the_archive_holds_every_readable_image(checkpoint: Path, tmp_path: Path, images: Path) -> None:
    result = call(
        checkpoint, "--out", tmp_path / "tiny", *QUICK, "--images", images, "--archive", tmp_path / "archive"
    )
    assert result.exit_code == 0, result.stderr
    files = sorted(
        path.relative_to(tmp_path / "archive").as_posix() for path in tmp_path.rglob("archive/**/*.dcn")
    )
    assert files == ["cat.jpg.dcn", "cat.png.dcn", "more/dog.dcn"]
    assert "3 images encoded" in result.stderr
    decoder = Decoder(tmp_path / "tiny")
    for name in files:
        assert decoder.decode((tmp_path / "archive" / name).read_bytes()).shape == (SIDE, SIDE, 3)


def test_without_images_the_archive_is_the_set_itself(checkpoint: Path, tmp_path: Path) -> None:
    result = call(checkpoint, "--out", tmp_path / "tiny", *QUICK, "--archive", tmp_path / "archive")
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "archive").iterdir()) == [f"{i:05}.dcn" for i in range(8)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--precisions", "int3"), "'int3' is unknown; float, int8, int16, int8-static, int4 expected"),
        (("--runtimes", ","), "onnxruntime, openvino expected"),
        (("--floor", "int8"), "'int8'; PRECISION=DB expected"),
        (("--floor", "int9=3"), "'int9' is unknown"),
        (("--no-encoder", "--archive", "x"), "--archive encodes images, which --no-encoder leaves out"),
    ],
)
def test_usage_errors_end_with_2(
    checkpoint: Path, tmp_path: Path, arguments: tuple[str], message: str
) -> None:
    result = call(checkpoint, "--out", tmp_path / "tiny", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_errors_are_one_line_and_end_with_1(checkpoint: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ((tmp_path / "nowhere", "--out", tmp_path / "tiny"), "is not a checkpoint"),
        ((checkpoint, "--out", tmp_path / "UPPER"), "bundle name 'UPPER'"),
        ((checkpoint, "--out", tmp_path / "tiny", "--images", tmp_path / "none"), "is not a folder"),
    ):
        result = call(*arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("decant: ")
        assert len(result.stderr.splitlines()) == 1
        assert message in result.stderr


def test_help_knows_the_precisions_and_imports_nothing_heavy() -> None:
    assert cli.PRECISIONS == variants.PRECISIONS
    assert cli.RUNTIMES == variants.RUNTIMES
    code = (
        "import sys; from click.testing import CliRunner; from decant.commands.cli import main; "
        "r = CliRunner().invoke(main, ['export', '--help']); print(r.output); "
        "print([m for m in ('torch', 'onnx', 'openvino', 'numpy') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "[]"
    assert "--latent-coding" in shown
