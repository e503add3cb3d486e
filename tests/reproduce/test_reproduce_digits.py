"""Reproducing the digit autoencoder: trained, exported, measured from files, and gone on with."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from decant import Decoder, Encoder
from decant.commands.cli import main
from decant_bench.common import metrics
from decant_bench.errors import BenchError
from decant_reproduce.digits import reproduce as reproduce_digits
from decant_reproduce.digits import stages as digits_stages
from decant_reproduce.digits.plots import labels_figure, save_sheet
from decant_train.common import checkpoint as checkpoints
from decant_train.data import mnist, wheel_digits
from PIL import Image

pytestmark = pytest.mark.slow

MINUTES = 0.25


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel_digits.write(tmp_path_factory.mktemp("digits"), training=400, test=40)


@pytest.fixture(scope="module")
def made(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `decant reproduce digits` leaves."""
    out = tmp_path_factory.mktemp("reproduced")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits_stages, "ELBOW_DIGITS", 3)
        command = [
            "reproduce",
            "digits",
            "--max-minutes",
            str(MINUTES),
            "--data",
            str(digits),
            "--out",
            str(out),
        ]
        result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.stderr
    return out


@pytest.fixture
def found(made: Path) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((made / "figures.json").read_text())
    return figures


def test_the_table_and_the_page_have_every_figure(made: Path) -> None:
    table, page = (made / "table.md").read_text(), (made / "report.html").read_text()
    for row in reproduce_digits.rows_of(json.loads((made / "figures.json").read_text())):
        assert f"| {row.figure} | {row.published} | {row.ours} |" in table
        assert row.ours in page
    assert page.count("<svg") == 6
    assert "data:image/png" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_figures_are_those_of_whole_files(made: Path, digits: Path, found: dict[str, Any]) -> None:
    test = digits_stages.rgb(mnist.load(digits, "test").images)
    bundle = made / "bundles" / "digits"
    files = [Encoder(bundle).encode(picture) for picture in test]
    assert found["bytes"]["file"] == np.mean([len(data) for data in files])
    assert found["bytes"]["latent"] == 28
    for name, denoise in (("decoder", False), ("denoised", True)):
        decoder = Decoder(bundle, precision="float", denoise=denoise)
        decoded = [decoder.decode(data) for data in files]
        psnr = np.mean([metrics.psnr(a, b) for a, b in zip(test, decoded, strict=True)])
        assert found["quality"][name]["psnr_db"] == pytest.approx(psnr, abs=1e-6)


def test_files_and_pytorch_agree_at_eight_bits(found: dict[str, Any]) -> None:
    at_eight = next(one for one in found["swept"] if one["bits"] == 8)
    assert at_eight["decoder"] == pytest.approx(found["quality"]["decoder"]["psnr_db"], abs=0.01)
    assert at_eight["denoised"] == pytest.approx(found["quality"]["denoised"]["psnr_db"], abs=0.01)


def test_more_bits_and_more_colours_are_closer(found: dict[str, Any]) -> None:
    for line, figure in (
        (found["swept"], "decoder"),
        (found["pca_swept"], "psnr_db"),
        (found["palettes"], "psnr_db"),
    ):
        assert line[0][figure] < line[-1][figure]
        assert [one["bytes"] for one in line] == sorted(one["bytes"] for one in line)
    falling, rising = found["elbow"]["inertia"], found["elbow"]["psnr_db"]
    assert falling == sorted(falling, reverse=True)
    assert rising == sorted(rising)


def test_a_second_call_makes_nothing_again(made: Path, digits: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*") if path.is_file()}
    rows = reproduce_digits.reproduce(digits, made, MINUTES, lambda line: None)
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*") if path.is_file()} == before
    assert len(rows) == 12


def test_a_denoiser_is_trained_anew_after_another_decoder(made: Path, digits: Path, tmp_path: Path) -> None:
    trained, denoiser = tmp_path / "digits", tmp_path / "denoiser"
    digits_stages.train(trained, digits, 0.01)
    digits_stages.train_denoiser(denoiser, trained, digits, 0.01)
    first = (denoiser / checkpoints.WEIGHTS).stat().st_mtime_ns
    digits_stages.train_denoiser(denoiser, trained, digits, 0.01)
    assert (denoiser / checkpoints.WEIGHTS).stat().st_mtime_ns == first
    digits_stages.train(trained, digits, 0.03)
    assert checkpoints.load(trained).elapsed_s >= 60 * 0.03
    digits_stages.train_denoiser(denoiser, trained, digits, 0.01)
    assert (denoiser / checkpoints.WEIGHTS).stat().st_mtime_ns > first


def test_the_bend_of_a_curve_is_found() -> None:
    assert digits_stages.bend([100, 20, 15, 12, 10]) == 1
    assert digits_stages.bend([100, 60, 25, 24, 23, 22]) == 2


def test_psnr_of_each_digit_is_that_of_metrics() -> None:
    pictures, _ = wheel_digits.pictures()
    a, b = pictures[:5], pictures[5:10]
    expected = [metrics.psnr(x, y) for x, y in zip(digits_stages.rgb(a), digits_stages.rgb(b), strict=True)]
    np.testing.assert_allclose(digits_stages.psnr_each(a, b), expected)
    assert digits_stages.psnr_each(a, a).tolist() == [digits_stages.EXACT_DB] * 5


def test_the_sheet_shows_the_pixels(tmp_path: Path) -> None:
    pictures, _ = wheel_digits.pictures()
    save_sheet([("a", pictures[:3]), ("b", pictures[3:6])], tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * 84 + 3, 150 + 3 * 84 + 2 * 3, 3)
    assert np.array_equal(sheet[87::3, 150 + 87 : 150 + 87 + 84 : 3, 0], pictures[4])


def test_a_folder_without_digits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="MNIST"):
        reproduce_digits.reproduce(tmp_path, tmp_path, 1, lambda line: None)


@pytest.mark.parametrize("rows", [(20.0, 25.0, 27.0), (22.0, 9.0, 8.0), (12.0, -3.0, 2.0)])
def test_the_bars_stand_upright_whichever_is_the_highest(rows):
    """After a short run the decoder is far below PCA."""
    names = ("pca", "decoder", "denoised")
    by_label = {"labels": [0, 1]} | {
        name: [value, value + 1] for name, value in zip(names, rows, strict=True)
    }
    (axes,) = labels_figure(by_label).axes
    bottom, top = axes.get_ylim()
    assert bottom < min(rows) < max(rows) + 1 < top
