"""`decant bench latency --profile`: default decoders, its blocks, the schema, and the files of its report."""

import dataclasses
import json
from importlib import resources

import numpy as np
import pytest
from click.testing import CliRunner
from decant.bundles.bundle import Bundle
from decant.commands.cli import main
from decant_bench.common import plots as common_plots
from decant_bench.common import record
from decant_bench.latency import (
    breakdown,
    equal,
    plots,
    profile,
    report,
    sustained,
    sweeps,
    throughput,
)
from decant_bench.latency import table as latency_table
from html_page import Page

QUICK = dataclasses.replace(
    profile.LAPTOP,
    threads=(1,),
    codecs=("jpeg-q90", "avif"),
    rounds=2,
    visit_ms=0.5,
    min_samples=1,
    load_rounds=2,
    fresh_rounds=2,
    batch_rounds=1,
)
BLOCKS = profile.Blocks(
    minutes=30,
    stages=breakdown.Options(match_bpp=0.0, rounds=1),
    throughput=throughput.Options(pictures=4, rounds=1, processes=2),
    threads=sweeps.Sweep(rounds=1, visit_ms=0, min_samples=1),
    equal=equal.Options(processes=2, rounds=1, visit_ms=0),
    sizes=sweeps.Sweep(sides=(64, 128), rounds=2, visit_ms=0, min_samples=1),
    sustained=sustained.Options(minutes=0.03, step_s=0.1),
)


@pytest.fixture(scope="module")
def found(codec):
    smaller = pytest.MonkeyPatch()
    smaller.setattr(sweeps, "THREADS_SIDE", 64)
    smaller.setattr(profile, "PICTURES", 2)
    smaller.setattr("decant_bench.common.fitting.SIDE", 64)
    try:
        return profile.measure(
            [Bundle.open(codec)], QUICK, BLOCKS, command="decant bench latency --profile laptop"
        )
    finally:
        smaller.undo()


def schema_of(name):
    text = resources.files("decant_bench").joinpath(f"schema/{name}.schema.json").read_text()
    return json.loads(text)


def test_the_record_follows_its_schema(found):
    validator = pytest.importorskip("jsonschema").Draft202012Validator(schema_of("latency"))
    validator.check_schema(schema_of("latency"))
    validator.validate(json.loads(record.compact(found)))
    known = set(schema_of("latency")["properties"])
    assert set(found) <= known
    assert {"sweep", "thread_sweep", "stages", "equal", "throughput", "sustained"} <= set(found)
    broken = json.loads(record.compact(found))
    broken["rows"][0]["decode_ns"] = [[-1]]
    assert not validator.is_valid(broken)


def test_the_default_decoder_is_timed_and_no_other(found):
    models = [row for row in found["rows"] if row["subject"]["kind"] == "model"]
    assert len(models) == 1
    assert models[0]["decode_ns"]
    assert models[0]["cold_process_ns"]
    assert {"quiet_before", "quiet_after", "power"} <= found["machine"].keys()


def test_every_decoder_is_timed_at_every_size(found):
    labels = [row["label"] for row in found["sweep"] if row["side"] == 64]
    assert labels[:2] == list(sweeps.CODEC_LABELS)
    assert [row["label"] for row in found["sweep"] if row["side"] == 128] == labels
    assert all(len(row["decode_ns"]) >= 2 for row in found["sweep"])
    table = report.sweep_table(found)
    row = next(row for row in table.rows if row[0] == "jpeg-q75")
    assert float(row[2]) == pytest.approx(64 * 64 / 1e3 / float(row[1]), rel=0.05)


def test_what_time_does_not_allow_is_named(codec):
    cases = [profile.default_case(Bundle.open(codec))]
    sweep = sweeps.Sweep(sides=(64, 96), rounds=1, visit_ms=0, min_samples=1, end=0.0)
    rows, left_out = sweeps.sizes(cases, sweep, lambda line: None)
    assert rows == []
    assert len(left_out) == 2 * 3
    assert left_out[0].startswith("jpeg-q75 at 64x64: no time left")


def test_stages_sum_to_a_decode(found):
    (row,) = found["stages"]
    assert set(row["stages_ns"]) == set(breakdown.STAGES)
    assert len(report.breakdown.table(found["stages"]).rows) == 1


def test_equal_files_are_near_their_targets(found):
    rows = {(row["label"], row["equal"]): row for row in found["equal"]}
    assert ("jpeg", "bytes") in rows
    assert ("avif", "score") in rows
    scores = [
        row["ssimulacra2"]
        for (label, target), row in rows.items()
        if label in ("jpeg", "webp") and target == "score"
    ]
    assert max(scores) - min(scores) < 15  # 64x64 pixels: steps of quality are coarse
    assert all(row["decode_processes"] == [0, 1] for row in found["equal"])


def test_throughput_knows_its_gain_and_memory(found):
    (block,) = found["throughput"]
    gain = throughput.gain(block, "2")
    assert gain.processes == 2
    assert throughput.gain(block, "1").ratio == 1
    assert min(block["peak_memory_kib"]) > 10_000
    assert [row[1] for row in throughput.table([block]).rows] == list(block["ns"])


def test_a_slower_last_minute_is_seen_with_its_interval():
    random = np.random.default_rng(0)
    seconds = list(np.arange(1.0, 601.0))
    times = [2e6 * (1 + 0.25 * (s > 300)) * np.exp(random.normal(0, 0.02)) for s in seconds]
    block = {"seconds": seconds, "ns_per_picture": times}
    ends = sustained.ends(block)
    assert ends["low"] < 1.25 < ends["high"]
    assert ends["high"] / ends["low"] < 1.05
    assert ends["span_s"] == 60
    assert sustained.ends({"seconds": seconds[:3], "ns_per_picture": times[:3]}) is None


def test_thread_counts_are_powers_of_two_and_all_cores():
    assert sweeps.thread_counts(1) == (1,)
    assert sweeps.thread_counts(2) == (1, 2)
    assert sweeps.thread_counts(12) == (1, 2, 4, 8, 12)


def test_the_front_has_what_no_other_beats():
    points = [(1.0, 2.0), (2.0, 1.0), (2.5, 1.5), (0.5, 3.0), (1.0, 2.5)]
    assert plots.front(points) == [(0.5, 3.0), (1.0, 2.0), (2.0, 1.0)]


def test_names_of_points_that_lie_close_cover_neither_each_other_nor_points():
    figure = common_plots.blank(7.0, 4.2)
    axes = figure.subplots()
    points = [(1 + 0.01 * i, 2 + 0.01 * (i % 3), f"decoder {i}") for i in range(8)] + [(3.0, 4.0, "another")]
    plots._points(figure, points, ["#000000"] * len(points))
    boxes = [name.get_window_extent() for name in axes.texts]
    assert len(boxes) == len(points)
    places = axes.transData.transform([point[:2] for point in points])
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:index])
        assert not any(box.contains(*place) for place in places)


def test_squares_are_filled_by_mirrored_photographs():
    first, second = sweeps.tiled(700).pixels
    assert first.shape == second.shape == (700, 700, 3)
    assert np.array_equal(first[399], first[400])  # coffee.png has 400 rows
    assert first.std() > 20
    assert len(sweeps.tiled(2048)) == 1


def test_the_report_has_three_files(found, tmp_path):
    paths = report.write(found, tmp_path)
    assert [path.name for path in paths] == ["latency.json", "latency.md", "latency.html"]
    assert record.read(paths[0], "latency") == found
    markdown = paths[1].read_text()
    parts = ("Picture sizes", "Instruction sets", "--profile laptop", "MP/s", "Sustained", "Power:", "equal")
    for part in parts:
        assert part in markdown
    text = paths[2].read_text()
    page = Page(text)
    assert page.open == []
    assert all(source.startswith(("data:", "#")) for source in page.sources)
    assert text.count("<svg") >= 6
    assert latency_table.figures(found)


def test_loadgen_measures_a_single_stream(codec):
    pytest.importorskip("mlperf_loadgen", reason="mlcommons-loadgen is not installed")
    from decant_bench.latency import loadgen

    block = loadgen.measure("x", lambda data: sum(data), [b"12", b"3"], seconds=0.05)
    assert block["summary"]["result"] in ("VALID", "INVALID")
    assert block["summary"]["50.00 percentile"] > 0
    assert loadgen.table([block]).rows[0][0] == "x"


def test_without_bundle_and_profile_is_wrong_usage():
    run = CliRunner().invoke(main, ["bench", "latency"])
    assert run.exit_code == 2
    assert "Missing argument" in run.stderr
    run = CliRunner().invoke(main, ["bench", "latency", "nano", "--sustained"])
    assert run.exit_code == 2
    assert "belong to --profile laptop" in run.stderr
