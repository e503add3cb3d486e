"""Reproducing the colour system: trained, exported, measured in real bytes, and gone on with."""

import csv
import json
from pathlib import Path

import color_model
import numpy as np
import pytest
from decant.bundles.bundle import Bundle
from decant.decoder import Decoder
from decant.encoder import Encoder
from decant_bench.common import metrics
from decant_bench.common.baselines import setting
from decant_bench.errors import BenchError
from decant_reproduce import runner as reproduce
from decant_reproduce.color import figures as color_figures
from decant_reproduce.color import measures as color_measures
from decant_reproduce.color import page as color_page
from decant_reproduce.color import reproduce as reproduce_color
from decant_reproduce.color.measures import FLOAT, KMEANS, LABELS, Measures
from decant_reproduce.rows import Row

pytestmark = pytest.mark.slow

OPTIONS = {"shape": color_model.SHAPE, "epochs": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row], list[str]]:
    """A reproduction on crops of photos: its folder, its rows and what was said."""
    out = tmp_path_factory.mktemp("color")
    said: list[str] = []
    rows = reproduce.run("color", None, out, 0.5, said.append, **OPTIONS)
    return out, rows, said


def test_the_rows_are_what_real_files_say(made: tuple[Path, list[Row], list[str]]) -> None:
    out, rows, _ = made
    found = {row.figure: row for row in rows}
    assert found["PSNR"].published == "26.09 dB"
    assert found["K-means, 16 colours"].published == "31.97 dB, 0.956"
    bundle = Bundle.open(out / "color")
    data = reproduce_color._data(None)
    encoder, decoder = Encoder(bundle), Decoder(bundle, precision="float", runtime="onnxruntime")
    files = [encoder.encode(picture) for picture in data.test]
    psnr = [metrics.psnr(p, decoder.decode(f)) for p, f in zip(data.test, files, strict=True)]
    assert found["PSNR"].ours == f"{np.mean(psnr):.2f} dB"
    bits = 8 * np.mean([len(file) for file in files]) / 1024
    assert found["bits per pixel"].ours == f"{bits:.3f}"
    kmeans = 8 * np.mean([len(setting(KMEANS).encode(p)) for p in data.test]) / 1024
    assert found["K-means, 16 colours"].remark.startswith(f"{kmeans:.3f} bits per pixel")


def test_the_page_has_every_report(made: tuple[Path, list[Row], list[str]]) -> None:
    out, rows, _ = made
    page = (out / "report.html").read_text()
    for title in ("Training", "Originals and reconstructions", "At equal bits", "Quality", "Latents"):
        assert f"<h2>{title}</h2>" in page
    for label in (
        "Training and validation loss over epochs",
        "Accuracy and loss over epochs",
        "Pictures and depth maps",
        "Parts of poor, average and good pictures",
        "Mean PSNR of each class",
        "SSIM against PSNR",
        "t-SNE of latents",
    ):
        assert f'aria-label="{label}"' in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert all(row.ours in page for row in rows if "<" not in row.ours)
    assert "| K-means, 16 colours |" in (out / "table.md").read_text()
    assert json.loads((out / "table.json").read_text())["rows"][0]["figure"] == "PSNR"


def test_a_second_call_uses_what_is_there(made: tuple[Path, list[Row], list[str]]) -> None:
    out, rows, _ = made
    kept = {
        path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix in (".safetensors", ".onnx")
    }
    said: list[str] = []
    assert reproduce_color.reproduce(None, out, 0.5, said.append, **OPTIONS) == rows
    assert any("is trained" in line for line in said)
    assert any("is exported" in line for line in said)
    assert not any("measured" in line for line in said)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())


def test_measuring_goes_on_where_the_time_ended(
    made: tuple[Path, list[Row], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, *_ = made
    bundle, test = Bundle.open(out / "color"), reproduce_color._data(None).test[:20]
    monkeypatch.setattr(color_measures, "PORTION", 8)
    first = color_measures.measure(bundle, test, tmp_path / "m.npz", ends_at=0)
    assert first.count == 8  # a portion, though no time was left
    second = color_measures.measure(bundle, test, tmp_path / "m.npz", ends_at=0)
    assert second.count == 8
    whole = color_measures.measure(bundle, test, tmp_path / "m.npz", ends_at=1e18)
    assert whole.count == 20
    np.testing.assert_array_equal(whole.psnr_db[:, :8], first.psnr_db)
    at_once = color_measures.measure(bundle, test, tmp_path / "other.npz", ends_at=1e18)
    for name in ("bytes", "psnr_db", "ssim", "mse", "maps", "shown"):
        np.testing.assert_array_equal(getattr(whole, name)[:8], getattr(at_once, name)[:8])
    assert color_measures.load(tmp_path / "m.npz", "0" * 64) is None
    (tmp_path / "m.npz").write_bytes(b"PK")
    with pytest.raises(BenchError, match="remove it"):
        color_measures.load(tmp_path / "m.npz")


def test_every_picture_can_be_downloaded(made: tuple[Path, list[Row], list[str]]) -> None:
    out, *_ = made
    measures = color_measures.load(out / "measured.npz")
    assert measures is not None
    lines = list(csv.DictReader(color_page.as_csv(measures, *color_page.labels_of(out)).splitlines()))
    assert len(lines) == measures.count
    assert int(lines[3][f"{FLOAT} bytes"]) == measures.bytes[0, 3]
    assert {line["class"] for line in lines} == {"photos"}


def test_the_comparison_counts_whole_files() -> None:
    few = len(LABELS)
    measures = Measures(
        "0" * 64,
        np.arange(2),
        np.tile([[100, 300]], (few, 1)),
        np.array([[30.0, 40.0]] * (few - 3) + [[29.0, 41.0]] + [[28.0, 39.0]] * 2),
        np.full((few, 2), 0.9),
        np.full((few, 2), 0.01),
    )
    table = color_page.comparison(measures, 1000)
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows[FLOAT] == ("1.600", "35.00", "0.9000", "50.0")
    assert rows[KMEANS] == ("1.600", "35.00", "0.9000", "")
    assert rows["median-cut-k16"] == ("1.600", "33.50", "0.9000", "0.0")


def test_the_parts_of_the_pie_and_the_correlation() -> None:
    psnr = np.array([20.0, 29.9, 30.0, 34.9, 35.0, 50.0, 36.0, 31.0])
    assert color_figures.quality_parts(psnr) == (0.25, 0.375, 0.375)
    assert color_figures.correlation(psnr, 2 * psnr + 1) == pytest.approx(1)
    assert color_figures.correlation(psnr, -psnr) == pytest.approx(-1)
