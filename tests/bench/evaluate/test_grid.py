"""The mass test on a grid small enough for a test: real training, seconds a cell."""

from dataclasses import replace

import pytest
from decant_bench.common.pictures import wheel_crops
from decant_bench.errors import BenchError
from decant_bench.evaluate import grid


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("grid")
    options = grid.Options(layers=(1, 2), dims=(4,), sets=(6, 99), minutes=0.02)
    return out, options, grid.measure(wheel_crops(8, 32), out, options)


def test_every_cell_has_figures_or_a_reason(trained):
    _, _, found = trained
    cells = {(row["set_size"], row["num_layers"], row["latent_dim"]): row for row in found["rows"]}
    assert set(cells) == {(6, 1, 4), (6, 2, 4), (99, 1, 4), (99, 2, 4)}
    assert cells[99, 1, 4]["refused"] == "8 pictures for a set of 99"
    for key in ((6, 1, 4), (6, 2, 4)):
        assert cells[key]["refused"] is None
        assert cells[key]["psnr_db"] > 5
        assert -1 <= cells[key]["ssim"] <= 1


def test_the_ratio_is_the_published_one(trained):
    """One layer at 32 pixels: Linear 4 -> 32*16*16 with bias, ConvTranspose 32 -> 3 k4 with bias, float32."""
    row = trained[2]["rows"][0]
    parameters = 4 * 32 * 16 * 16 + 32 * 16 * 16 + 32 * 3 * 16 + 3
    assert row["decoder_bytes"] == 4 * parameters
    assert row["ratio"] == pytest.approx((4 * parameters / 6 + 16) / (32 * 32 * 3))


def test_a_second_run_takes_what_is_there(trained):
    out, options, found = trained
    before = {path: path.stat().st_mtime_ns for path in out.rglob("weights.safetensors")}
    again = grid.measure(wheel_crops(8, 32), out, options)
    assert again["rows"] == found["rows"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("weights.safetensors")} == before


def test_the_table_has_every_cell(trained):
    text = grid.as_text(trained[2])
    assert text.count("8 pictures for a set of 99") == 2
    assert "minutes" in text


def test_no_cell_is_begun_after_the_time_is_over(trained):
    out, options, found = trained
    more = replace(options, dims=(4, 5), max_minutes=1e-9)
    cells = {(r["set_size"], r["num_layers"], r["latent_dim"]): r for r in found["rows"]}
    rows = grid.measure(wheel_crops(8, 32), out, more)["rows"]
    for row in rows:
        key = row["set_size"], row["num_layers"], row["latent_dim"]
        if key in cells:  # what is trained is taken, and what is refused otherwise stays so
            assert row == cells[key]
        elif row["set_size"] == 6:
            assert row["refused"] == "not trained within 1e-09 minutes"
    assert not (out / "n6-l1-d5").exists()


def test_the_curves_are_drawn(trained, tmp_path):
    grid.save_curves(trained[2], tmp_path / "curves.svg")
    drawn = (tmp_path / "curves.svg").read_text()
    assert drawn.startswith("<?xml")
    refused = {"rows": [row for row in trained[2]["rows"] if row["refused"]]}
    with pytest.raises(BenchError, match="no cell is trained"):
        grid.save_curves(refused, tmp_path / "none.svg")
    with pytest.raises(BenchError, match=r"curves\.words"):
        grid.save_curves(trained[2], tmp_path / "curves.words")
