"""tests/faults.md names, for every fault, tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "tests" / "faults.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (\d+\.\d+) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")
# How many faults each section has; a row that gets lost is noticed.
SECTIONS = (11, 8, 7, 13, 5, 11, 11)


@cache
def names(path: str) -> frozenset[str]:
    """``function`` and ``Class::function`` of every test of one file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = [("", tree.body)]
    functions += [(f"{node.name}::", node.body) for node in tree.body if isinstance(node, ast.ClassDef)]
    return frozenset(
        prefix + node.name
        for prefix, body in functions
        for node in body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def rows() -> list[tuple[str, str, str, str]]:
    """(number, fault, right behaviour, tests) of every row."""
    return [match.groups() for match in ROW.finditer(PAGE)]  # type: ignore[misc]


def test_every_fault_has_a_row() -> None:
    expected = [f"{s}.{k + 1}" for s, count in enumerate(SECTIONS, 1) for k in range(count)]
    assert [row[0] for row in rows()] == expected
    assert len(rows()) == len(re.findall(r"^\| \d", PAGE, re.MULTILINE))  # no row escapes the pattern


@pytest.mark.parametrize("number", [row[0] for row in rows()])
def test_every_named_test_exists(number: str) -> None:
    cell = next(row[3] for row in rows() if row[0] == number)
    named = TEST.findall(cell)
    assert named, f"{number} names no test"
    assert re.sub(r"`[^`]+`|<br>", "", cell).strip() == ""
    assert cell.count("`") == 2 * len(named)
    missing = [f"{path}::{name}" for path, name in named if name not in names(path)]
    assert not missing


def test_a_name_that_is_not_there_is_noticed() -> None:
    path = "tests/test_faults.py"
    assert "test_every_fault_has_a_row" in names(path)
    assert "test_of_nothing" not in names(path)
    assert "TestOutputs::test_skip_existing" in names("tests/runtime/commands/test_command_files.py")
