"""Collections of devices: small records, their schema, the ranking; the records in artifacts/reports."""

import copy
import json
from importlib import resources
from pathlib import Path

import pytest
from click.testing import CliRunner
from decant.commands.cli import main
from decant_bench.common import record
from decant_bench.devices import ranking, summary
from decant_bench.errors import BenchError
from decant_bench.latency import agreement
from html_page import Page

REPORTS = Path(__file__).parents[3] / "artifacts/reports"
COLLECTION = REPORTS / "devices"


def schema():
    text = resources.files("decant_bench").joinpath("schema/device.schema.json").read_text()
    return json.loads(text)


@pytest.fixture
def other(latency_record):
    """The same run on a machine whose JPEG decoder is twice as slow."""
    made = copy.deepcopy(latency_record)
    made["machine"]["cpu"] = "Another CPU 9000"
    made["created"] = "2026-01-02T03:04:05Z"
    for row in made["rows"]:
        if row["subject"]["name"] == "jpeg-q90":
            row["decode_ns"] = [[2 * ns for ns in samples] for samples in row["decode_ns"]]
    return made


def test_a_device_record_is_small_and_follows_its_schema(latency_record):
    device = summary.of(latency_record)
    text = record.compact(device)
    assert len(text) < 20_000
    pytest.importorskip("jsonschema").Draft202012Validator(schema()).validate(json.loads(text))
    row = next(row for row in device["rows"] if row["label"] == "png")
    assert row["to_jpeg"][1] <= row["to_jpeg"][0] <= row["to_jpeg"][2]
    assert row["to_jpeg"][3] == 2


def test_devices_are_ranked_by_their_ratio_to_jpeg(latency_record, other, tmp_path):
    record.write(latency_record, tmp_path / "a.json")
    record.write(other, tmp_path / "b.json")
    folder = tmp_path / "devices"
    run = CliRunner().invoke(
        main,
        [
            "bench",
            "devices",
            str(folder),
            "--add",
            str(tmp_path / "a.json"),
            "--add",
            str(tmp_path / "b.json"),
        ],
    )
    assert run.exit_code == 0, run.output
    assert (folder / "another-9000-20260102T0304.json").is_file()
    tables = {table.title: table for table in ranking.tables(ranking.read(folder))}
    ranked = [row for row in tables["tiny"].rows if row[2:4] == ["int8", "onnxruntime"]]
    assert "Another CPU 9000" in ranked[0][1]
    assert [row[0] for row in tables["tiny"].rows] == [str(i + 1) for i in range(len(tables["tiny"].rows))]
    assert any("i5-1135G7" in row[1] for row in tables["small"].rows)
    assert "Another CPU 9000" in (folder / "ranking.md").read_text()
    page = Page((folder / "ranking.html").read_text())
    assert page.open == []


def test_an_empty_folder_says_how_to_fill_it(tmp_path):
    with pytest.raises(BenchError, match=r"no device records .* --add LATENCY\.json"):
        ranking.read(tmp_path)
    run = CliRunner().invoke(main, ["bench", "devices", str(tmp_path), "--add", str(tmp_path / "none.json")])
    assert run.exit_code == 1
    assert run.stderr.count("\n") == 1


def test_the_collection_of_the_repository_can_be_ranked():
    devices = ranking.read(COLLECTION)
    validator = pytest.importorskip("jsonschema").Draft202012Validator(schema())
    for device in devices:
        validator.validate(device)
    assert len({device["machine"]["cpu"] for device in devices}) >= 2
    small = next(table for table in ranking.tables(devices) if table.title == "small")
    assert len({row[1] for row in small.rows}) >= 4  # a processor measured, and three published
    assert (COLLECTION / "ranking.md").read_text() == ranking.as_markdown(devices)


@pytest.mark.parametrize("name", ["codec/times.json", "small/latency.json", "base/latency.json"])
def test_a_record_of_the_repository_can_be_added(name, tmp_path):
    run = CliRunner().invoke(main, ["bench", "devices", str(tmp_path), "--add", str(REPORTS / name)])
    assert run.exit_code == 0, run.output
    (added,) = tmp_path.glob("*.json")
    # The collection has this record of the same run.
    ours, held = (record.read(path, summary.KIND) for path in (added, COLLECTION / added.name))
    assert ours["config_hash"] == held["config_hash"]
    assert [row["ms"] for row in ours["rows"]] == [row["ms"] for row in held["rows"]]


def test_a_record_agrees_with_itself_and_not_with_another_machine(latency_record, other):
    same = agreement.compare([latency_record, latency_record], ["a", "b"])
    assert same.one_machine
    assert same.differing == []
    found = agreement.compare([latency_record, other, latency_record], ["a", "b", "c"])
    assert not found.one_machine
    text = agreement.table(found).text()
    assert "different machines" in text
    assert json.loads(json.dumps(found.as_dict()))["names"] == ["a", "b", "c"]


def test_more_than_two_records_are_compared_by_ratios(latency_record, tmp_path):
    paths = []
    for name in "abc":
        paths.append(str(tmp_path / f"{name}.json"))
        record.write(latency_record, Path(paths[-1]))
    run = CliRunner().invoke(main, ["bench", "compare", *paths])
    assert run.exit_code == 0, run.output
    assert "ratios agree" in run.stdout
    run = CliRunner().invoke(main, ["bench", "compare", *paths, "--fail-above", "2"])
    assert run.exit_code == 2
    run = CliRunner().invoke(main, ["bench", "compare", paths[0]])
    assert run.exit_code == 2
