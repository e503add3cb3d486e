"""Sessions on real graphs: what they give, and what they refuse to load."""

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import bundles
import numpy as np
import onnx
import pytest
from decant.backends import openvino
from decant.backends import session as backends_session
from decant.backends.sessions import create_session
from decant.bundles.bundle import Bundle, Graph
from decant.errors import BundleError, MissingExtraError
from decant.formats.manifest import TensorSpec
from onnx import TensorProto, helper

RUNTIMES = ["onnxruntime", "openvino"]


def load(folder: Path, runtime: str, precision: str = "float", **options: object) -> backends_session.Session:
    bundle = Bundle.open(folder)
    graph = bundle.graph("synthesis", precision, runtime)
    return create_session(graph, [bundle.read(entry) for entry in graph.files], **options)


def graph_of(**change: object) -> Graph:
    pixels = TensorSpec("pixels", "uint8", ("n", 16, 16, 3))
    latents = TensorSpec("latents", "float32", ("n", bundles.DIM))
    return replace(Graph("synthesis", "float", "onnxruntime", (), (latents,), (pixels,)), **change)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_session_says_what_was_asked_and_what_runs(tiny: Path, runtime: str):
    session = load(tiny, runtime, requested_device="auto")
    assert (session.requested_device, session.device) == ("auto", "cpu")
    assert (session.runtime, session.precision) == (runtime, "float")
    assert session.runtime_version[0].isdigit()
    assert session.device_name


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_pixels_are_those_of_the_graph_within_one(tiny: Path, runtime: str, threads: int):
    latents = np.random.default_rng(1).standard_normal((5, bundles.DIM)).astype(np.float32)
    expected = bundles.run_onnx((tiny / "synthesis.float.onnx").read_bytes(), latents)
    pixels = load(tiny, runtime, threads=threads).run(latents)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (5, 16, 16, 3)
    assert np.abs(pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_threads_may_share_a_session(tiny: Path, runtime: str):
    session = load(tiny, runtime)
    latents = np.random.default_rng(2).standard_normal((6, 1, bundles.DIM)).astype(np.float32)
    alone = [session.run(x) for x in latents]
    wrong: list[int] = []

    def work(start: int) -> None:
        for i in range(60):
            k = (start + i) % len(latents)
            if not np.array_equal(session.run(latents[k]), alone[k]):
                wrong.append(k)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_openvino_computes_in_f32_with_the_threads_asked_for(tiny: Path):
    compiled = load(tiny, "openvino", threads=1)._compiled
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("PERFORMANCE_HINT") == "LATENCY"


def test_openvino_is_compiled_with_static_shapes(tiny: Path):
    compiled = load(tiny, "openvino")._compiled
    assert [list(tensor.shape) for tensor in (*compiled.inputs, *compiled.outputs)] == [
        [1, bundles.DIM],
        [1, 16, 16, 3],
    ]


def test_importing_openvino_reports_nothing_to_anybody():
    code = """
import sys
from decant.backends.openvino import openvino_module
openvino_module()
sent = [name for name in sys.modules if name.startswith("openvino_telemetry")]
assert not sent, sent
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_runtime_that_is_not_installed_is_named_with_the_command(
    tiny: Path, runtime: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(openvino, "_core_made", None)
    monkeypatch.setitem(sys.modules, runtime, None)
    with pytest.raises(MissingExtraError, match=rf"{runtime} cannot be loaded.*pip install"):
        load(tiny, runtime)


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": (TensorSpec("latents", "float32", ("n", 99)),)},
        {"inputs": (TensorSpec("other", "float32", ("n", bundles.DIM)),)},
        {"outputs": (TensorSpec("pixels", "float32", ("n", 16, 16, 3)),)},
        {"outputs": (TensorSpec("pixels", "uint8", ("n", 8, 32, 3)),)},
        {"outputs": (TensorSpec("pixels", "uint8", ("n", 768)),)},
        {"outputs": ()},
    ],
)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_graph_that_is_not_what_the_bundle_says(tiny: Path, runtime: str, change: dict[str, object]):
    bundle = Bundle.open(tiny)
    blobs = [bundle.read(entry) for entry in bundle.graph("synthesis", "float", runtime).files]
    with pytest.raises(BundleError, match=r"bundle\.json says|exactly one output"):
        create_session(graph_of(runtime=runtime, **change), blobs)


@pytest.mark.parametrize(
    ("runtime", "blobs"),
    [
        ("onnxruntime", [b""]),
        ("onnxruntime", [b"\x08" * 200]),
        ("onnxruntime", [b"\x00\x00\x00\x00ORTM" + bytes(200)]),
        ("openvino", [b"", b""]),
        ("openvino", [b"<?xml version='1.0'?><net", b""]),
        ("openvino", [b"<?xml version='1.0'?><net name='x' version='11'></net>", b""]),
        ("openvino", [b"\x08\x0a", bytes(20)]),
    ],
)
def test_graphs_that_are_none(runtime: str, blobs: list[bytes]):
    with pytest.raises(BundleError) as caught:
        create_session(graph_of(runtime=runtime), blobs, where="small")
    assert str(caught.value).startswith("small: synthesis.float")
    assert "\n" not in str(caught.value)


def with_outside_data(location: str) -> bytes:
    """A graph whose weights are said to lie in another file."""
    tensor = TensorProto(
        name="w", dims=[bundles.DIM], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL
    )
    for key, value in (("location", location), ("offset", "0"), ("length", str(4 * bundles.DIM))):
        tensor.external_data.add(key=key, value=value)
    info = helper.make_tensor_value_info
    nodes = [helper.make_node("Add", ["latents", "w"], ["pixels"])]
    inputs, outputs = ([info(n, TensorProto.FLOAT, ["n", bundles.DIM])] for n in ("latents", "pixels"))
    graph = helper.make_graph(nodes, "outside", inputs, outputs, [tensor])
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()


@pytest.mark.parametrize(
    "location", ["weights.bin", "{folder}/weights.bin", "../weights.bin", "*/_ORT_MEM_ADDR_/*"]
)
def test_a_graph_cannot_read_files_or_memory(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "inner").mkdir()
    for place in (tmp_path, tmp_path / "inner"):
        (place / "weights.bin").write_bytes(bytes(4 * bundles.DIM))
    monkeypatch.chdir(tmp_path / "inner")
    with pytest.raises(BundleError, match="external data are not allowed"):
        create_session(graph_of(), [with_outside_data(location.format(folder=tmp_path))])


def test_a_graph_with_an_unknown_operator_is_refused():
    info = helper.make_tensor_value_info
    node = helper.make_node("RunShell", ["latents"], ["pixels"], domain="com.example")
    inputs = [info("latents", TensorProto.FLOAT, ["n", bundles.DIM])]
    outputs = [info("pixels", TensorProto.UINT8, ["n", 16, 16, 3])]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.example", 1)]
    model = helper.make_model(
        helper.make_graph([node], "shell", inputs, outputs), opset_imports=opsets, ir_version=10
    )
    with pytest.raises(BundleError, match=r"com\.example"):
        create_session(graph_of(), [model.SerializeToString()])


def test_a_runtime_of_the_future_is_refused(tiny: Path):
    with pytest.raises(BundleError, match="runtime qnn is unknown"):
        create_session(graph_of(runtime="qnn"), [b""])


def test_a_failing_run_is_our_error(tiny: Path):
    for runtime in RUNTIMES:
        with pytest.raises(BundleError, match="cannot be run here"):
            load(tiny, runtime).run(np.zeros((1, 3), np.float32))


def test_the_graph_needs_no_onnx_to_run(tiny: Path):
    assert onnx.load(tiny / "synthesis.int8.onnx").graph.node[0].op_type == "DynamicQuantizeLinear"
    code = f"""
import sys
for name in ("onnx", "torch", "openvino", "scipy"):
    sys.modules[name] = None
import decant
decoder = decant.Decoder({str(tiny)!r})
assert decoder.precision == "int8"
print(decoder.decode(open({str(tiny / "golden/000.dcn")!r}, "rb").read()).shape)
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout == "(16, 16, 3)\n"
