"""Forks, signal handlers, threads at exit, telemetry, CPU quotas: decant inside other people's processes."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import bundles
import numpy as np
import pytest
from decant.process.cores import cpu_quota
from decant.process.failures import is_from, is_from_signal_handler
from decant.process.workers import begin, in_order
from decant.selection import machine

START = """
import os, signal, sys, threading, time
import numpy as np
from decant.bundles.bundle import Bundle
from decant.backends.sessions import create_session
folder, runtime, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
bundle = Bundle.open(folder)
graph = bundle.graph("synthesis", "float", runtime)
session = create_session(graph, [bundle.read(f) for f in graph.files], threads=threads)
x = np.ones((1, DIM), np.float32)
session.start(x)(); expected = session.run(x)
""".replace("DIM", str(bundles.DIM))


def run(folder: Path, runtime: str, threads: int, code: str) -> None:
    code = START + textwrap.dedent(code)
    command = [sys.executable, "-c", code, str(folder), runtime, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
class TestSessions:
    def test_a_forked_child_runs_or_only_exits(self, tiny: Path, runtime: str, threads: int):
        code = """
        for work in (True, False):
            if (pid := os.fork()) == 0:
                signal.alarm(60)
                if work:
                    assert np.array_equal(session.start(x)(), expected)
                sys.exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        assert np.array_equal(session.run(x), expected)
        """
        run(tiny, runtime, threads, code)

    def test_a_daemon_thread_at_exit(self, tiny: Path, runtime: str, threads: int):
        code = """
        def loop():
            while True:
                session.start(x)()
        threading.Thread(target=loop, daemon=True).start()
        time.sleep(0.1)
        """
        run(tiny, runtime, threads, code)

    def test_exceptions_of_signal_handlers_pass_and_leave_nothing_locked(
        self, tiny: Path, runtime: str, threads: int
    ):
        code = """
        class Late(RuntimeError): pass
        def late(*_): raise Late
        signal.signal(signal.SIGALRM, late)
        interrupted = 0
        for i in range(200):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-5 + 2e-6 * i)
                for _ in range(1000):
                    session.start(x)()
            except Late:
                interrupted += 1
        assert interrupted == 200
        assert np.array_equal(session.run(x), expected)
        """
        run(tiny, runtime, threads, code)


def test_importing_onnxruntime_turns_its_telemetry_off():
    code = "from decant.backends.onnxruntime import onnxruntime_module as m; m(); import os; "
    code += "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_commands_write_nothing_but_the_cache(tiny: Path, tmp_path: Path):
    from PIL import Image

    Image.new("RGB", (16, 16), (9, 90, 200)).save(tmp_path / "a.png")
    home = tmp_path / "home"
    home.mkdir()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_"))} | {"HOME": str(home)}
    for words in (
        ["encode", "--model", str(tiny), "a.png", "a.dcn"],
        ["decode", "--bundle-dir", str(tiny), "a.dcn", "b.png"],
        ["info", "a.dcn"],
        ["verify", str(tiny)],
        ["models"],
    ):
        command = [sys.executable, "-c", "from decant.commands.cli import main; main()", *words]
        subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True, timeout=120)
    outside = [p for p in home.rglob("*") if p.is_file() and not p.is_relative_to(home / ".cache" / "decant")]
    assert outside == []


@pytest.mark.parametrize(
    ("line", "files", "cores"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/a/b", {"cpu.max": "max 100000", "a/cpu.max": "50000 100000", "a/b/cpu.max": "4 1"}, 0.5),
        ("4:cpu,cpuacct:/x", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3.0),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("", {}, None),
    ],
)
def test_the_quota_of_a_container(tmp_path: Path, line: str, files: dict[str, str], cores: float | None):
    (tmp_path / "cgroup").write_text(line + "\n")
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text + "\n")
    assert cpu_quota(tmp_path / "cgroup", tmp_path / "fs") == cores


def test_variables_that_choose_kernels_are_in_the_golden_key(monkeypatch: pytest.MonkeyPatch):
    before = machine.switches()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert set(machine.switches()) - set(before) == {"ONEDNN_MAX_CPU_ISA=AVX2"}


def test_whose_exception_it_is():
    def call() -> None:
        raise RuntimeError  # as a handler of the user's would, in a frame that is not the package's

    caught: list[Exception] = []
    for work in (lambda: np.zeros(3).reshape(2, 2), call):
        try:
            work()
        except Exception as error:
            caught.append(error)
    assert not is_from(caught[1], "onnxruntime")
    assert [is_from_signal_handler(error) for error in caught] == [False, False]


def test_a_signal_handler_is_known_by_its_code():
    import signal

    def late(*_: object) -> None:
        raise ValueError("late")

    before = signal.signal(signal.SIGALRM, late)
    try:
        with pytest.raises(ValueError, match="late") as caught:
            signal.raise_signal(signal.SIGALRM)
        assert is_from_signal_handler(caught.value)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_work_in_threads_keeps_its_order_and_its_errors():
    assert list(in_order(lambda n: n * n, range(100), 3)) == [n * n for n in range(100)]
    assert begin(lambda: 7)() == 7
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda n: 1 // (n - 50), range(100), 3))
