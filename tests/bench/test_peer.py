"""Codecs timed in processes of their own, which are renewed and end."""

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from decant_bench.common import peer
from decant_bench.common.baselines import CODECS, setting
from decant_bench.common.peer import RENEWED, PeerWork
from decant_bench.common.visits import interleave
from decant_bench.errors import BenchError

RANDOM = np.random.default_rng(0)
DATAS = [
    setting("jpeg-q90").encode(RANDOM.integers(0, 256, (side, side, 3), dtype=np.uint8)) for side in (16, 400)
]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Every process that a peer starts."""
    processes: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*arguments, **options):
        processes.append(popen(*arguments, **options))
        return processes[-1]

    monkeypatch.setattr(peer.subprocess, "Popen", start)
    yield processes
    assert all(process.poll() is not None for process in processes)


def test_there_is_a_sample_for_each_item_and_repeat(started: list[subprocess.Popen[bytes]]):
    with PeerWork("jpeg-q90 t1", CODECS["jpeg"], 1, DATAS) as work:
        assert work.quickest(2) > 0
        assert len(work.visit(0, 2, 1)) == 2
        assert len(work.visit(1, 1, 3)) == 3
    assert len(started) == 2  # the first visit begins with a new one


def test_the_process_is_renewed(started: list[subprocess.Popen[bytes]]):
    pace = SimpleNamespace(rounds=2 * RENEWED, images_per_visit=1, visit_ms=0, min_samples=0, min_seconds=0)
    with PeerWork("png t1", CODECS["png"], 1, [setting("png").encode(np.zeros((8, 8, 3), np.uint8))]) as work:
        interleave([work], pace, 0)
    assert len(work.rounds_ns) == 2 * RENEWED
    assert len(started) == 3


def test_a_process_that_fails_is_an_error(started: list[subprocess.Popen[bytes]]):
    with (
        PeerWork("jpeg-q90 t1", CODECS["jpeg"], 1, [b"no jpeg"]) as work,
        pytest.raises(BenchError, match="ended with code 1"),
    ):
        work.visit(0, 1, 1)
    assert len(started) == 1


def test_the_other_side_loads_no_runtime():
    code = "import sys, decant_bench.common.peer, decant_bench.common.baselines; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"onnxruntime", "openvino", "torch", "decant.decoder"} & set(loaded)
