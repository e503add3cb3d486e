"""Decoders as CoreML, LiteRT and ncnn models: what they hold, and the pixels that they give here."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from decant import Bundle
from decant.commands.cli import main
from decant_export.devices.converting import convert, shapes_of
from decant_export.devices.ncnn import to_ncnn
from decant_export.devices.packing import float_graphs
from decant_export.errors import ExportError


def needs(module: str, extra: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(module) is None, reason=f"needs {module}: pip install '.[{extra}]'")


@pytest.fixture(scope="module")
def graphs(codec: Path) -> dict[str, onnx.ModelProto]:
    return float_graphs(Bundle.open(codec), 12)


def feed_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Inputs of a tile that reaches beyond the picture on the right and below."""
    random, shapes, feed = np.random.default_rng(0), shapes_of(model), {}
    for value in model.graph.input:
        shape = shapes[value.name]
        x = random.normal(0, 0.3, shape).astype(np.float32)
        if value.name == "step":
            x = np.abs(x)
        elif value.name == "inside":
            x = np.zeros(shape, np.float32)
            x[:, :, : shape[2] * 2 // 3, : shape[3] // 3] = 1
        feed[value.name] = x
    return feed


def expected(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, feed)[0]
    return found.astype(np.float64)


def check(role: str, found: np.ndarray, wanted: np.ndarray) -> None:
    """Pixels at more than 40 dB to float, means within the last digits of float32."""
    assert found.shape == wanted.shape
    if role == "hyper_mean":
        assert np.abs(found - wanted).max() < 1e-4
        return
    error = float(np.mean((found - wanted) ** 2))
    assert wanted.std() > 1
    assert error == 0 or 10 * np.log10(255**2 / error) > 40


@needs("ai_edge_litert", "litert")
@pytest.mark.parametrize("role", ["synthesis", "hyper_mean"])
@pytest.mark.filterwarnings("ignore")
def test_litert_gives_the_pixels(graphs: dict[str, onnx.ModelProto], role: str):
    from ai_edge_litert.interpreter import Interpreter
    from decant_export.devices.litert import to_litert

    model = graphs[role]
    feed = feed_of(model)
    runner = Interpreter(model_content=to_litert(model, shapes_of(model)), num_threads=1)
    runner.allocate_tensors()
    for detail in runner.get_input_details():
        x = feed[detail["name"]]
        runner.set_tensor(detail["index"], np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    runner.invoke()
    found = runner.get_tensor(runner.get_output_details()[0]["index"]).astype(np.float64)
    check(role, found if role == "synthesis" else found.transpose(0, 3, 1, 2), expected(model, feed))


@needs("ncnn", "ncnn")
@pytest.mark.parametrize("role", ["synthesis", "hyper_mean"])
def test_ncnn_gives_the_pixels(graphs: dict[str, onnx.ModelProto], role: str, tmp_path: Path):
    import ncnn

    model = graphs[role]
    text, weights = to_ncnn(model, shapes_of(model))
    (tmp_path / "net.param").write_text(text)
    (tmp_path / "net.bin").write_bytes(weights)
    net = ncnn.Net()
    net.opt.num_threads = 1
    assert net.load_param(str(tmp_path / "net.param")) == 0
    assert net.load_model(str(tmp_path / "net.bin")) == 0
    feed = feed_of(model)
    runner = net.create_extractor()
    for name, x in feed.items():
        runner.input(name, ncnn.Mat(np.ascontiguousarray(x[0])).clone())
    failed, blob = runner.extract(model.graph.output[0].name)
    assert failed == 0
    found = np.array(blob).astype(np.float64)[None]
    if role == "synthesis":
        check(role, np.rint(found).transpose(0, 2, 3, 1), expected(model, feed))
    else:  # ncnn stores weights and activations in half precision where it is faster
        assert np.abs(found - expected(model, feed)).max() < 0.05


@needs("coremltools", "coreml")
@pytest.mark.filterwarnings("ignore")
def test_coreml_has_no_operator_beyond_its_table(graphs: dict[str, onnx.ModelProto], tmp_path: Path):
    from decant_export.devices.coreml import OPERATORS, operators_of, to_coreml, write_coreml

    for role, model in graphs.items():
        made = to_coreml(model)
        assert {"conv", "pixel_shuffle", "mul"} <= operators_of(made) <= OPERATORS
        write_coreml(model, tmp_path / f"{role}.mlpackage")
        assert (tmp_path / f"{role}.mlpackage" / "Manifest.json").is_file()


def test_the_layers_of_an_ncnn_graph_are_counted(graphs: dict[str, onnx.ModelProto]):
    text, weights = to_ncnn(graphs["synthesis"], shapes_of(graphs["synthesis"]))
    magic, counts, *layers = text.splitlines()
    assert magic == "7767517"
    blobs = [word for line in layers for word in line.split()[4 + int(line.split()[2]) :] if "=" not in word]
    assert counts.split() == [str(len(layers)), str(len(blobs))]
    assert len(set(blobs)) == len(blobs)
    read = [word for line in layers for word in line.split()[4 : 4 + int(line.split()[2])]]
    assert len(set(read)) == len(read)  # a blob has one reader
    assert set(read) <= set(blobs)
    assert len(weights) % 4 == 0


def test_the_command_writes_a_folder(codec: Path, tmp_path: Path):
    out = tmp_path / "out"
    done = CliRunner().invoke(
        main, ["export", str(codec), "--to", "ncnn", "--tile-side", "12", "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} == {
        "bundle.json",
        "hyper_mean.bin",
        "hyper_mean.param",
        "synthesis.bin",
        "synthesis.param",
    }
    with pytest.raises(ExportError, match="is unknown"):
        convert(Bundle.open(codec), "tpu", tmp_path / "none")


def test_ncnn_is_for_codecs(tiny: Path, tmp_path: Path):
    with pytest.raises(ExportError, match="only codecs can be converted to ncnn"):
        convert(Bundle.open(tiny), "ncnn", tmp_path / "none")
    assert not (tmp_path / "none").exists()
