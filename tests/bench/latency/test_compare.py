"""Comparing records: what is refused, what is found, and what makes a command fail."""

import copy
import json

import pytest
from click.testing import CliRunner
from decant.commands.cli import main
from decant_bench.common import record
from decant_bench.errors import BenchError
from decant_bench.latency import compare


@pytest.fixture(scope="module")
def steady(latency_record):
    """The record with samples that hardly scatter, so that a change is a change."""
    made = copy.deepcopy(latency_record)
    for row in made["rows"]:
        row["decode_ns"] = [[1_000_000 + 1000 * ((7 * i + j) % 11) for j in range(4)] for i in range(20)]
    return made


def slower(steady, key, factor):
    made = copy.deepcopy(steady)
    row = next(row for row in made["rows"] if row["key"] == key)
    row["decode_ns"] = [[round(factor * ns) for ns in samples] for samples in row["decode_ns"]]
    return made


def test_a_record_against_itself_shows_no_change(steady):
    found = compare.compare(steady, steady)
    assert len(found.lines) == len(steady["rows"])
    assert all(line.change.ratio == 1 and not line.change.significant for line in found.lines)
    assert found.slower_than(1.0) == []
    assert "no clear change" in compare.as_text(found)


def test_a_slower_subject_is_found(steady):
    found = compare.compare(steady, slower(steady, "png t1", 1.3))
    (line,) = found.slower_than(1.2)
    assert line.key == "png t1"
    assert line.change.ratio == pytest.approx(1.3, abs=0.01)
    assert line.change.low <= 1.3 <= line.change.high
    assert found.slower_than(1.4) == []


def test_other_machines_are_refused_by_name(steady):
    other = copy.deepcopy(steady)
    other["machine"]["cpu"] = "Another CPU 9000"
    with pytest.raises(
        BenchError, match=r"cannot be compared: machine cpu: .* and Another CPU 9000; --force"
    ):
        compare.compare(steady, other)
    found = compare.compare(steady, other, force=True)
    assert any("Another CPU 9000" in line for line in found.differences)
    assert "differs: machine cpu" in compare.as_text(found)


def test_other_work_is_refused_and_says_what_differs(steady):
    other = copy.deepcopy(steady)
    other["config"]["options"]["rounds"] = 99
    other["config_hash"] = record.config_hash(other["config"])
    with pytest.raises(BenchError, match=r"options\.rounds: 4 and 99"):
        compare.compare(steady, other)


def test_versions_and_load_do_not_forbid_a_comparison_but_are_noted(steady):
    other = copy.deepcopy(steady)
    other["versions"]["onnxruntime"] = "9.9.9"
    other["machine"]["load_average"] = [50.0, 1.0, 1.0]
    found = compare.compare(steady, other)
    assert any(remark.startswith("onnxruntime:") and "9.9.9" in remark for remark in found.remarks)
    assert any("busy when B began" in remark for remark in found.remarks)


def test_subjects_of_one_side_only_are_named(steady):
    other = copy.deepcopy(steady)
    next(row for row in other["rows"] if row["key"] == "png t1")["refused"] = "gone"
    found = compare.compare(steady, other)
    assert found.only_a == ("png t1",)
    assert found.only_b == ()


@pytest.mark.parametrize("metric", compare.METRICS)
def test_every_metric_can_be_compared(latency_record, metric):
    if metric == "load_cold" and not any(row["load_cold_ns"] for row in latency_record["rows"]):
        pytest.skip("this system cannot drop its file cache")
    assert compare.compare(latency_record, latency_record, metric).lines


def test_the_command_prints_json_and_fails_above_a_ratio(steady, tmp_path):
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    record.write(steady, a)
    record.write(slower(steady, "jpeg-q90 t1", 1.5), b)
    run = CliRunner().invoke(main, ["bench", "compare", str(a), str(b), "--json"])
    assert run.exit_code == 0, run.output
    lines = {line["key"]: line for line in json.loads(run.stdout)["lines"]}
    assert lines["jpeg-q90 t1"]["change"]["significant"] is True
    run = CliRunner().invoke(main, ["bench", "compare", str(a), str(b), "--fail-above", "1.2"])
    assert run.exit_code == 1
    assert "jpeg-q90 t1 by 1.50" in run.stderr
    run = CliRunner().invoke(main, ["bench", "compare", str(b), str(a), "--fail-above", "1.2"])
    assert run.exit_code == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a JSON record"),
        ("[1]", "no schema"),
        ('{"schema": 99}', "schema 99; this decant reads 1 and 2"),
        ('{"schema": 2}', "kind is missing"),
    ],
)
def test_files_that_are_no_records_end_in_one_line(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_text(content)
    run = CliRunner().invoke(main, ["bench", "compare", str(path), str(path)])
    assert run.exit_code == 1
    assert run.stderr.startswith(f"decant: {path}: ")
    assert message in run.stderr
    assert run.stderr.count("\n") == 1


def test_an_edited_configuration_is_noticed(steady, tmp_path):
    edited = copy.deepcopy(steady)
    edited["config"]["options"]["rounds"] = 1000
    record.write(edited, tmp_path / "x.json")
    with pytest.raises(BenchError, match="the record was edited"):
        record.read(tmp_path / "x.json", "latency")


def test_a_quality_record_is_no_latency_record(steady, tmp_path):
    record.write({**steady, "kind": "quality"}, tmp_path / "x.json")
    with pytest.raises(BenchError, match="of kind 'quality'; latency expected"):
        record.read(tmp_path / "x.json", "latency")
