"""The corpus of the fuzz targets, and a short run of the fuzzers (``make fuzz`` runs them longer)."""

import re
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "fuzz"))

import fuzz  # noqa: E402
import targets  # noqa: E402

CORPUS = sorted(path.relative_to(fuzz.CORPUS).as_posix() for path in fuzz.CORPUS.glob("*/*"))
SECONDS = 3  # of each target


def test_every_file_of_the_corpus_has_a_reason():
    index = (fuzz.CORPUS / "INDEX.md").read_text()
    assert sorted(re.findall(r"^\| (\w+/[\w-]+) \| [^|]+ \|$", index, re.MULTILINE)) == CORPUS


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", [name for name in CORPUS if not name.startswith(fuzz.C_TARGETS)])
def test_the_corpus_ends_in_our_errors_or_in_values(name: str):
    targets.run_one(name.split("/")[0], (fuzz.CORPUS / name).read_bytes())


def test_a_fault_in_a_target_is_found(monkeypatch: pytest.MonkeyPatch):
    """The harness itself: an error that is not ours passes through."""

    def broken(data: bytes) -> None:
        raise KeyError(data)

    monkeypatch.setitem(targets.TARGETS, "container", broken)
    with pytest.raises(KeyError):
        targets.run_one("container", b"x")


@pytest.mark.parametrize("target", [*fuzz.PYTHON_TARGETS, *fuzz.C_TARGETS])
def test_a_short_run_finds_nothing(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fuzz, "FINDINGS", tmp_path)
    result = fuzz.run(target, SECONDS, runs=20_000)
    if result.skipped:
        pytest.skip(result.skipped)
    assert not result.fault, result.fault
    assert result.executions > 20
