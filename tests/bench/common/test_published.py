"""The publication's latency table as it ships, and the ratios computed from it."""

import pytest
from decant_bench.common import published


def test_ratios_of_a_worked_row():
    rows = {row["name"]: row for row in published.ratios()}
    # small float on the first machine: 7034.11 / 292.12 and 687021 / 549.27 microseconds
    assert rows["small float"]["decode_ratio"][0] == pytest.approx(24.08, abs=0.05)
    assert rows["small float"]["load_ratio"][0] == pytest.approx(1250.79, abs=0.05)
    assert rows["JPEG"]["decode_ratio"] == [1, 1, 1]


def test_the_ranges_are_those_of_the_publications_summary():
    """Decode is 10x to 39x JPEG's, load 66x to 3,300x, over all machines and models."""
    rows = [row for row in published.ratios() if row["name"] != "JPEG"]
    decode = [ratio for row in rows for ratio in row["decode_ratio"]]
    load = [ratio for row in rows for ratio in row["load_ratio"]]
    assert 10 < min(decode) < 10.5
    assert 39 < max(decode) < 39.5
    assert 66 < min(load) < 67
    assert 3290 < max(load) < 3300


def test_every_machine_has_every_cell():
    table = published.latency()
    for row in table["rows"]:
        assert len(row["load_us"]) == len(row["decode_us"]) == len(table["machines"])


def test_doubtful_cells_are_cells_of_the_table():
    table = published.latency()
    names = {row["name"] for row in table["rows"]}
    assert table["doubtful"]
    for mark in table["doubtful"]:
        assert mark["row"] in names
        assert mark["machine"] in table["machines"]


def test_cells_that_two_rows_share_are_marked():
    """Equal to a hundredth of a microsecond is no coincidence."""
    table = published.latency()
    marked = {(mark["row"], mark["machine"]) for mark in table["doubtful"]}
    for i, machine in enumerate(table["machines"]):
        for a in table["rows"]:
            for b in table["rows"]:
                if a is not b and (a["load_us"][i], a["decode_us"][i]) == (
                    b["load_us"][i],
                    b["decode_us"][i],
                ):
                    assert (a["name"], machine) in marked
