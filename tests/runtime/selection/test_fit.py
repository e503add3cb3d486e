"""``decant fit``: what is chosen is used, compiled graphs are trusted where they are whole and ours alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from decant import Bundle, Decoder
from decant.backends.compiled import CompiledStore
from decant.commands.cli import main
from decant.errors import FormatError
from decant.fitting.reports import read_report, rows_of
from decant.fitting.trials import Fit, fit
from decant.selection import fitted
from decant.selection.opening import compiling, open_graph


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "decant"


@pytest.fixture
def done(tiny: Path, own_cache: Path) -> Fit:
    return fit(Bundle.open(tiny), threads=1)


def test_every_graph_is_tried_and_the_best_is_used(tiny: Path, done: Fit):
    assert {(trial.runtime, trial.precision) for trial in done.trials} == {
        (graph.runtime, graph.precision) for graph in Bundle.open(tiny).graphs if graph.role == "synthesis"
    }
    usable = [trial for trial in done.trials if not trial.failed]
    assert done.chosen in usable
    assert done.chosen.decode_ms == min(trial.decode_ms or 1e9 for trial in usable)
    for trial in usable:
        assert trial.golden_psnr_db is not None
        assert trial.golden_psnr_db > 40
    decoder = Decoder(str(tiny), threads=1)
    assert (decoder.runtime, decoder.precision) == (done.chosen.runtime, done.chosen.precision)
    other = next(trial for trial in usable if trial != done.chosen)
    decoder = Decoder(str(tiny), threads=1, runtime=other.runtime, precision=other.precision)
    assert (decoder.runtime, decoder.precision) == (other.runtime, other.precision)


def test_each_choice_is_taken(tiny: Path, own_cache: Path):
    bundle = Bundle.open(tiny)
    for runtime, precision in (("openvino", "float"), ("onnxruntime", "float"), ("onnxruntime", "int8")):
        fitted.remember(bundle, "cpu", fitted.Choice("cpu", runtime, precision, "latency"))
        decoder = Decoder(bundle)
        assert (decoder.runtime, decoder.precision, decoder.notes) == (runtime, precision, ())
    assert fitted.forget(bundle, "cpu")
    assert not fitted.forget(bundle, "cpu")
    assert fitted.choice_for(bundle, "cpu") is None


def test_a_choice_of_another_processor_or_a_damaged_one_is_passed_over(
    tiny: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    bundle = Bundle.open(tiny)
    path = fitted.remember(bundle, "cpu", fitted.Choice("cpu", "openvino", "float", "latency"))
    assert fitted.choice_for(bundle, "cpu") is not None
    with monkeypatch.context() as patch:
        patch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
        assert fitted.choice_for(bundle, "cpu") is None
    whole = path.read_bytes()
    for broken in (b"", whole[:40], whole.replace(b"openvino", b"native  "), b"[" * 10_000, b"null"):
        path.write_bytes(broken)
        assert fitted.choice_for(bundle, "cpu") is None
        assert Decoder(bundle).runtime == "onnxruntime"
    path.write_bytes(whole)
    path.chmod(0o666)
    assert fitted.choice_for(bundle, "cpu") is None


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_compiled_graph_gives_the_pixels_of_the_graph(tiny: Path, own_cache: Path, runtime: str):
    bundle = Bundle.open(tiny)
    graph = bundle.graph("synthesis", "float", runtime)
    plain = open_graph(bundle, graph, device="cpu", threads=1)
    with compiling():
        open_graph(bundle, graph, device="cpu", threads=1)
    store = CompiledStore(own_cache / "compiled", tuple(machine_of()))
    again = open_graph(bundle, graph, device="cpu", threads=1, store=store)
    assert store.used == ["read"]
    latents = np.random.default_rng(0).normal(size=(1, *graph.inputs[0].shape[1:])).astype(np.float32)
    assert np.array_equal(again.run(latents), plain.run(latents))


def machine_of() -> list[str]:
    from decant.selection.machine import machine

    return machine()


def test_entries_that_are_not_ours_or_not_whole_are_not_read(tmp_path: Path):
    store = CompiledStore(tmp_path / "compiled", ["this processor"], write=True)
    key = store.key([b"graph"], runtime="r", runtime_version="1", driver="d", device=["cpu"], settings={})
    store.keep(key, b"content")
    path = store.path(key)
    assert store.read(key) == b"content"
    for changed in ({"runtime_version": "2"}, {"driver": "e"}, {"decant": "0.0.1"}):
        newer = {**key, **changed}
        assert store.path(newer) == path  # an update replaces the entry
        assert store.read(newer) is None
    elsewhere = CompiledStore(tmp_path / "compiled", ["another processor"])
    other = elsewhere.key(
        [b"graph"], runtime="r", runtime_version="1", driver="d", device=["cpu"], settings={}
    )
    assert elsewhere.read(other) is None
    whole = path.read_bytes()
    for place in (0, 20, len(whole) // 2, len(whole) - 1):
        broken = bytearray(whole)
        broken[place] ^= 1
        path.write_bytes(broken)
        assert store.read(key) is None, place
    path.write_bytes(whole[:-1])
    assert store.read(key) is None
    path.write_bytes(whole)
    path.chmod(0o620)
    assert store.read(key) is None
    store.keep(key, b"made anew")
    assert store.read(key) == b"made anew"


def test_a_compiled_graph_that_the_runtime_refuses_is_made_anew(tiny: Path, own_cache: Path):
    bundle = Bundle.open(tiny)
    for runtime in ("onnxruntime", "openvino"):
        graph = bundle.graph("synthesis", "float", runtime)
        store = CompiledStore(own_cache / "compiled", tuple(machine_of()), write=True)
        kept: list[dict[str, object]] = []
        keep = CompiledStore.keep
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CompiledStore, "keep", lambda self, key, content, to=kept: to.append(key))
            open_graph(bundle, graph, device="cpu", threads=1, store=store)
        keep(store, kept[0], b"a context of another driver")
        session = open_graph(bundle, graph, device="cpu", threads=1, store=store)
        assert session.runtime == runtime
        assert store.used == ["written", "read", "written"]
        assert store.read(kept[0]) not in (None, b"a context of another driver")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_fit_leaves_no_broken_cache(tiny: Path, own_cache: Path):
    """As with 20 kills, which took no other path (docs/devices.md)."""
    program = "import sys; from decant.commands.cli import main; main(sys.argv[1:])"
    order = random.Random(0)
    for _ in range(3):
        run = subprocess.Popen(
            [sys.executable, "-c", program, "fit", str(tiny), "--threads", "1", "-q"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        deadline = time.monotonic() + 60
        while not list(own_cache.rglob("*.bin")) and time.monotonic() < deadline and run.poll() is None:
            time.sleep(0.005)
        time.sleep(order.uniform(0, 0.3))
        run.kill()
        run.wait()
        decoder = Decoder(str(tiny), threads=1, check_golden="always")
        assert decoder.golden_psnr_db is not None
        assert decoder.notes == ()
    fit(Bundle.open(tiny), threads=1)
    left = {path.name for path in own_cache.rglob("*") if path.is_file()}
    assert not [name for name in left if name.endswith(".tmp")]


def test_the_report_of_an_unknown_device_is_merged(tiny: Path, done: Fit, tmp_path: Path):
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    ours.write_text(json.dumps(done.report()))
    report = done.report()
    trial = {**report["trials"][0], "kind": "npu", "device": "A device that nobody here has"}
    theirs.write_text(json.dumps({**report, "trials": [trial], "chosen": trial, "processor": "unknown"}))
    shown = CliRunner().invoke(main, ["fit", "--compare", str(ours), "--compare", str(theirs)])
    assert shown.exit_code == 0, shown.output
    assert "npu: A device that nobody here has" in shown.output
    assert shown.output.count("chosen") == 2
    assert len(rows_of([read_report(ours)])) == len(done.trials)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "decant-fit/9"},
        {"trials": []},
        {"trials": None},
        {"model": 3},
        {"chosen": {}},
        {"trials": [{"precision": "int8"}]},
    ],
    ids=str,
)
def test_a_file_that_is_no_report_is_refused(done: Fit, tmp_path: Path, change: dict[str, object]):
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**done.report(), **change}))
    with pytest.raises(FormatError, match=r"report\.json"):
        read_report(path)


def test_the_command(tiny: Path, own_cache: Path, tmp_path: Path):
    runner, report = CliRunner(), tmp_path / "report.json"
    run = runner.invoke(
        main, ["fit", str(tiny), "--threads", "1", "--for", "throughput", "--report", str(report)]
    )
    assert run.exit_code == 0, run.output
    found = read_report(report)
    assert found["goal"] == "throughput"
    assert (
        f"for throughput: {found['chosen']['precision']} in {found['chosen']['runtime']} on cpu" in run.output
    )
    refused = runner.invoke(main, ["fit", str(tiny), "--device", "npu"])
    assert refused.exit_code == 1
    assert "no NPU here" in refused.output
    gone = runner.invoke(main, ["fit", str(tiny), "--forget"])
    assert "forgotten" in gone.output
    assert runner.invoke(main, ["fit"]).exit_code == 2
