"""The check of the machine's quiet: its figures, and what a record's reader is told of them."""

from decant_bench.common import quiet
from decant_bench.common.quiet import Quiet, check, told


def test_a_check_gives_shares_and_a_spread():
    found = check(0.05)
    assert found.spread >= 1
    assert 0 < found.core_share <= 1
    assert found.stolen is None or 0 <= found.stolen <= 1
    assert found.as_dict()["quiet"] == found.quiet


def test_waiting_for_a_core_is_seen(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(quiet.time, "process_time", lambda: 0.001 * next(clock))
    assert check(0.05).core_share < 0.1


def test_what_is_quiet():
    assert Quiet(1.05, 1.0, None).quiet
    assert not Quiet(1.5, 1.0, 0.0).quiet
    assert not Quiet(1.05, 0.5, 0.0).quiet
    assert not Quiet(1.05, 1.0, 0.2).quiet


def test_a_reader_is_told():
    calm, busy = Quiet(1.05, 1.0, 0.0).as_dict(), Quiet(1.3, 0.42, 0.0).as_dict()
    assert told(calm, calm) == "The machine was quiet before and after."
    assert "not quiet after: a process had 100 % and 42 % of a core" in told(calm, busy)
    assert told(None, calm) == ""
