"""dcndec and djpeg as whole processes."""

import shutil
import subprocess
from pathlib import Path

import pytest
from decant_bench.errors import BenchError
from decant_bench.latency.process_start import Times, measure, within

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "artifacts/decant_bundles/nano/golden/000.png"


def test_a_program_that_is_not_here_is_named(tmp_path: Path):
    with pytest.raises(BenchError, match="no-djpeg is not installed: apt-get install"):
        measure(GOLDEN, tmp_path / "dcndec", djpeg="no-djpeg")


def test_the_limit():
    assert within(Times("dcndec", 1, 16.0, 1.0), Times("djpeg", 1, 4.0, 1.0))
    assert not within(Times("dcndec", 1, 16.1, 1.0), Times("djpeg", 1, 4.0, 1.0))


def test_both_are_timed_on_files_of_about_equal_bytes(tmp_path: Path):
    if any(shutil.which(program) is None for program in ("djpeg", "make", "cc")):
        pytest.skip("djpeg, make or a C compiler is not here")
    build = [
        "make",
        "-s",
        "-C",
        ROOT / "runtime/libdcn",
        f"BUILD={tmp_path}",
        "CFLAGS=-O1",
        f"{tmp_path}/dcndec",
    ]
    subprocess.run(build, check=True)
    ours, theirs = measure(GOLDEN, tmp_path / "dcndec", rounds=2)
    assert 0.5 < ours.file_bytes / theirs.file_bytes < 2
    assert ours.wall_ms > 0 < theirs.wall_ms
