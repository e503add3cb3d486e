"""Whole decoders of a shipped model in other people's processes: forks, signals, the interpreter's end.

DECANT_INTERRUPTS sets how many decodes each test interrupts, DECANT_EXITS how many processes end; the suite
does few.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import decant
import numpy as np
import pytest
from soft_photos import photo

SHIPPED = Path(__file__).parents[3] / "artifacts" / "decant_bundles"
INTERRUPTS = int(os.environ.get("DECANT_INTERRUPTS", "40"))
EXITS = int(os.environ.get("DECANT_EXITS", "1"))
RUNTIMES = ["native", "onnxruntime", "openvino"]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX processes")

START = """
import io, os, signal, sys, threading, time
import numpy as np
import decant, decant.pillow
from PIL import Image
runtime, threads = sys.argv[1], int(sys.argv[2])
data = open("p.dcn", "rb").read()
decoder = decant.Decoder("nano", runtime=runtime, threads=threads)
expected = decoder.decode(data)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``p.dcn``, a photo of 320x200 pixels, and ``large.dcn``, 2064x2064 grey pixels."""
    folder = tmp_path_factory.mktemp("decoders")
    encoder = decant.Encoder(SHIPPED / "nano", threads=1)
    (folder / "p.dcn").write_bytes(encoder.encode(photo(320, 200), effort=0))
    grey = np.full((2064, 2064), 128, np.uint8)
    (folder / "large.dcn").write_bytes(encoder.encode(grey, effort=0))
    return folder


def run(folder: Path, runtime: str, threads: int, code: str) -> str:
    """What ``code`` prints after START, in a process that has to end well and say nothing on stderr."""
    program = START + textwrap.dedent(code)
    command = [sys.executable, "-c", program, runtime, str(threads)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_forked_child_decodes_or_only_exits(folder: Path, runtime: str, threads: int):
    code = """
    for work in (True, False):
        if (pid := os.fork()) == 0:
            signal.alarm(60)
            if work:
                assert np.array_equal(decoder.decode(data), expected)
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    assert np.array_equal(decoder.decode(data), expected)
    """
    run(folder, runtime, threads, code)


def test_open_and_the_plugin_work_in_a_forked_child(folder: Path):
    code = """
    expected = decant.open("p.dcn")
    if (pid := os.fork()) == 0:
        signal.alarm(60)
        assert np.array_equal(decant.open("p.dcn"), expected)
        assert np.array_equal(np.asarray(Image.open("p.dcn")), expected)
        assert decant.encode(expected[:64, :64], "nano", effort=0)
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    """
    run(folder, "native", 2, code)


def test_workers_of_a_dataloader_after_one_decode(folder: Path):
    pytest.importorskip("torch")
    code = """
    from torch.utils.data import DataLoader
    class Files:
        def __len__(self): return 4
        def __getitem__(self, index): return decoder.decode(data)
    loader = DataLoader(Files(), num_workers=2, timeout=60, multiprocessing_context="fork")
    batches = list(loader)
    assert len(batches) == 4
    assert all(np.array_equal(batch[0].numpy(), expected) for batch in batches)
    """
    run(folder, "onnxruntime", 2, code)


@pytest.mark.parametrize("door", ["decoder", "plugin"])
@pytest.mark.parametrize("runtime", ["native", "onnxruntime"])
def test_exceptions_of_signal_handlers_pass_unchanged(folder: Path, runtime: str, door: str):
    """Interrupted at moments spread over a decode; the exception is the user's, and the next decode works."""
    code = f"""
    class Late(Exception): pass
    def late(*_): raise Late
    signal.signal(signal.SIGALRM, late)
    decant.pillow.DECODER_OPTIONS.update(runtime=runtime, threads=threads)
    def decode():
        if {door!r} == "decoder":
            return decoder.decode(data)
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image)
    decode()
    start = time.perf_counter()
    decode()
    took = time.perf_counter() - start
    interrupted = 0
    for i in range({INTERRUPTS}):
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-5 + took * i / {INTERRUPTS})
            while True:
                decode()
        except Late:
            interrupted += 1
    assert interrupted == {INTERRUPTS}
    assert np.array_equal(decode(), expected)
    """
    run(folder, runtime, 2, code)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_daemon_thread_that_decodes_at_exit(folder: Path, runtime: str, threads: int):
    code = """
    def loop():
        while True:
            decoder.decode(data)
    threading.Thread(target=loop, daemon=True).start()
    time.sleep(0.1)
    """
    for _ in range(EXITS):
        run(folder, runtime, threads, code)


@pytest.mark.parametrize("runtime", ["native", "onnxruntime"])
def test_a_large_picture_is_decoded_when_the_interpreter_ends(folder: Path, runtime: str):
    """A picture of several windows, whose graphs run in a second thread where one can be had."""
    code = """
    import atexit
    large = open("large.dcn", "rb").read()
    def at_exit():
        print("atexit", decoder.decode(large).shape)
    def late():
        threading.main_thread().join()
        print("thread", decoder.decode(large).shape)
    atexit.register(at_exit)
    threading.Thread(target=late).start()
    """
    said = run(folder, runtime, 2, code)
    assert said.splitlines() == ["thread (2064, 2064, 3)", "atexit (2064, 2064, 3)"]
