"""The sweep of the family ``perceptual``: six cells from one start, coded to real files, gone on with."""

import json
from pathlib import Path

import pytest
from decant.bundles.bundle import Bundle
from decant_bench.errors import BenchError
from decant_reproduce.perceptual import reproduce as sweep
from decant_train.data import wheel_photos
from PIL import Image
from vgg_weights import write_vgg

pytestmark = pytest.mark.slow

PLAN = sweep.Plan(
    epochs=1,
    batch_size=4,
    shape={"image_size": 32, "width": 4, "latent_channels": 6, "decoder": (8, 8, 8), "last": 4},
)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of photos and a file of features."""
    folder = tmp_path_factory.mktemp("photos")
    for i, crop in enumerate(wheel_photos.crops(7, 40)):
        Image.fromarray(crop).save(folder / f"p_{i}.png")
    return folder, write_vgg(folder.parent / "vgg.npz")


@pytest.fixture(scope="module")
def swept(given: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweep")
    sweep.reproduce(given[0], out, 10, lambda line: None, features=given[1], plan=PLAN)
    return out


def test_every_cell_is_trained_from_one_start_and_coded(swept: Path) -> None:
    found = json.loads((swept / sweep.RESULTS).read_text())
    cells = found["cells"]
    assert [(c["bits"], c["mu"]) for c in cells] == list(sweep.CELLS)
    assert {c["epochs"] for c in cells} == {1}
    assert found["encoder_weights"] == "random"
    for cell in cells:
        bundle = Bundle.open(swept / "bundles" / f"q{cell['bits']}-mu{cell['mu']:g}")
        assert bundle.layout.depths == (cell["bits"],)
        assert cell["raw_bytes"] == 6 * cell["bits"] / 8  # 6 latents
        assert cell["payload_bytes"] < cell["file_bytes"]
        described = json.loads((swept / f"q{cell['bits']}-mu{cell['mu']:g}/checkpoint.json").read_text())
        assert described["data"]["mu"] == cell["mu"]
    assert cells[1]["static"]["psnr_db"] > 0
    assert cells[0]["static"] is None


def test_its_rows_compare_with_the_publication(swept: Path) -> None:
    found = json.loads((swept / sweep.RESULTS).read_text())
    rows = {row.figure: row for row in sweep.rows_of(found)}
    assert rows["PSNR, 8 bits, mu 0.1"].published == "31.65 dB"
    assert rows["SSIM, 2 bits, mu 0.1"].published == "0.7277"
    assert rows["file, 2 bits"].published == "12 kB"
    better = {"psnr_db": 20, "ssim": 0.5, "feature_distance": 2}
    worse = {"psnr_db": 19, "ssim": 0.6, "feature_distance": 1}
    for cell in found["cells"]:
        cell |= better if cell["bits"] == 8 else worse
    verdict = {row.figure: row for row in sweep.rows_of(found)}["8 bits against 2 bits, mu 0.1"]
    assert verdict.ours == "+1.00 dB, -0.1000 SSIM, feature distance 2.0000 instead of 1.0000"
    assert verdict.remark.endswith("at mu: none (of 0, 0.1, 1)")  # better in one of the two is not enough
    for cell in found["cells"]:
        cell |= better if cell["mu"] == 0.1 else worse
    rows = {row.figure: row for row in sweep.rows_of(found)}
    assert rows["mu 0.1 against 0, 2 bits"].remark.startswith("mu 0.1 is better in: PSNR;")


def test_its_page_has_all_cells_and_their_pictures(swept: Path) -> None:
    table, *cells = sweep.sections(swept)
    assert len(table.tables[0].rows) == len(cells) == 6
    assert all(len(row) == len(sweep.HEADERS) for row in table.tables[0].rows)
    assert cells[0].title == "8 bits, mu 1"
    assert {len(cell.pictures) for cell in cells} == {1}  # one photo of seven is for validation


def test_what_is_there_is_not_trained_again(given: tuple[Path, Path], swept: Path) -> None:
    weights = {p: p.stat().st_mtime_ns for p in swept.rglob("weights.safetensors")}
    assert len(weights) == 7
    lost = swept / "q2-mu0" / "weights.safetensors"
    for path in lost.parent.iterdir():
        path.unlink()
    stale, kept = (swept / "bundles" / name / "bundle.json" for name in ("q2-mu0", "q8-mu0"))
    made = [path.stat().st_mtime_ns for path in (stale, kept)]
    before = (swept / sweep.RESULTS).read_text()
    rows = sweep.reproduce(given[0], swept, 10, lambda line: None, features=given[1], plan=PLAN)
    assert lost.stat().st_mtime_ns != weights.pop(lost)
    assert {p: p.stat().st_mtime_ns for p in weights} == weights
    assert [path.stat().st_mtime_ns > was for path, was in zip((stale, kept), made, strict=True)] == [
        True,
        False,
    ]
    again = json.loads((swept / sweep.RESULTS).read_text())["cells"]
    assert [c["psnr_db"] for c in again] == [c["psnr_db"] for c in json.loads(before)["cells"]]
    assert len(rows) == 11


def test_it_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="give --features NPZ"):
        sweep.reproduce(None, tmp_path, 1, lambda line: None)
