"""`decant bench latency --profile`: default decoders, picture sizes, and the three files of its report."""

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner
from decant.bundles.bundle import Bundle
from decant.commands.cli import main
from decant_bench.common import record
from decant_bench.latency import profile, report
from html_page import Page

QUICK = dataclasses.replace(
    profile.LAPTOP,
    threads=(1,),
    codecs=("jpeg-q90", "avif"),
    rounds=1,
    visit_ms=0.5,
    min_samples=1,
    min_seconds=0.0,
    load_rounds=1,
    fresh_rounds=1,
    batch_rounds=1,
)


@pytest.fixture(scope="module")
def found(codec):
    sweep = profile.Sweep(sides=(64, 128), rounds=2, visit_ms=0, min_samples=1)
    return profile.measure(
        [Bundle.open(codec)], QUICK, sweep, command="decant bench latency --profile laptop"
    )


def test_the_default_decoder_is_timed_and_no_other(found):
    models = [row for row in found["rows"] if row["subject"]["kind"] == "model"]
    assert len(models) == 1
    assert models[0]["decode_ns"]
    assert models[0]["cold_process_ns"]
    assert {"quiet_before", "quiet_after"} <= found["machine"].keys()


def test_every_decoder_is_timed_at_every_size(found):
    labels = [row["label"] for row in found["sweep"] if row["side"] == 64]
    assert labels[1:] == list(profile.SWEPT_CODECS)
    assert [row["label"] for row in found["sweep"] if row["side"] == 128] == labels
    assert all(len(row["decode_ns"]) >= 2 for row in found["sweep"])
    table = report.sweep_table(found)
    row = next(row for row in table.rows if row[0] == "jpeg-q75")
    assert float(row[2]) == pytest.approx(64 * 64 / 1e3 / float(row[1]), rel=0.05)


def test_squares_are_filled_by_mirrored_photographs():
    first, second = profile.tiled(700).pixels
    assert first.shape == second.shape == (700, 700, 3)
    assert np.array_equal(first[399], first[400])  # coffee.png has 400 rows
    assert first.std() > 20


def test_the_report_has_three_files(found, tmp_path):
    paths = report.write(found, tmp_path)
    assert [path.name for path in paths] == ["latency.json", "latency.md", "latency.html"]
    assert record.read(paths[0], "latency") == found
    markdown = paths[1].read_text()
    for part in ("Picture sizes", "Instruction sets", "decant bench latency --profile laptop", "MP/s"):
        assert part in markdown
    page = Page(paths[2].read_text())
    assert page.open == []
    assert all(source.startswith(("data:", "#")) for source in page.sources)


def test_without_bundle_and_profile_is_wrong_usage():
    run = CliRunner().invoke(main, ["bench", "latency"])
    assert run.exit_code == 2
    assert "Missing argument" in run.stderr
