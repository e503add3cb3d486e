"""Measuring archives runs from end to end on few pictures, and its figures are of what was made."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="archives need pyarrow (extra archive)")

from decant.archive import pack
from decant_bench.archives import against, inputs, kills, measure, plot

NANO = str(Path(__file__).parents[3] / "artifacts" / "decant_bundles" / "nano")


def test_payloads_have_the_size_asked_for_and_differ(tmp_path: Path):
    import pyarrow.parquet as pq

    inputs.payload_table(tmp_path / "t.parquet", 7, 1000, NANO)
    images = pq.read_table(tmp_path / "t.parquet").column("image").to_pylist()
    assert {len(image) for image in images} == {1000}
    assert len(set(images)) == 7


@pytest.mark.slow
def test_figures_of_stored_files(tmp_path: Path):
    row = measure.stored(40, 1000, NANO, tmp_path)
    assert row["pictures"] == 40
    assert 64 / 1000 < row["overhead"] < 1
    assert row["overhead_without_hashes"] == pytest.approx(row["overhead"] - 0.064, abs=1e-3)
    drawn = ElementTree.fromstring(plot.drawing([row, {**row, "pictures": 400}]))
    assert len(drawn.findall("{http://www.w3.org/2000/svg}polyline")) == 6


@pytest.mark.slow
def test_kills_are_counted_and_harmless():
    found = kills.measure(pictures=30, kills=2, side=16, model=NANO, seed=3)
    assert found["packed_alike"]
    assert found["unpacked_alike"]
    assert found["unpacked"] == 30


def test_an_archive_is_compared_with_its_decoder_included(tmp_path: Path):
    inputs.write_pictures(tmp_path / "pictures", 3, 64)
    pack(tmp_path / "pictures", tmp_path / "archive", model=NANO, quality=50, effort=0, engine="serial")
    found = against.against(tmp_path / "archive", tmp_path / "pictures", ["jpeg"], 3)
    assert found["bytes_each"] == pytest.approx(found["decoder_bytes"] / 3 + found["of_sample"]["bytes"])
    assert found["archive_bytes_each"] > found["bytes_each"]
    jpeg = found["jpeg"]["psnr_db"]
    assert jpeg["ratio"] == pytest.approx(found["bytes_each"] / jpeg["bytes"])
    assert against._ratio([{"psnr_db": 30.0, "bytes": 100.0}], "psnr_db", 31.0, 50.0) is None


def test_the_command_of_outputs_says_what_it_takes():
    done = subprocess.run(
        [sys.executable, "-m", "decant_bench.archives.outputs", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "--rounds" in done.stdout
