"""Static graphs for NPUs: what they hold, that tiles give the whole picture, and the gate."""

from pathlib import Path

import bundles
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from decant import Decoder
from decant.bundles.bundle import Bundle
from decant.commands.cli import main
from decant.selection import golden
from decant.selection.opening import open_graph
from decant_export.devices import packing
from decant_export.devices.operators import TARGETS, unsupported
from decant_export.errors import ExportError
from device_packs import packed

SHIPPED = Path(__file__).parents[3] / "artifacts" / "decant_bundles"


@pytest.fixture(scope="module")
def pack(codec: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return packed(codec, tmp_path_factory.mktemp("packs") / "codec")


@pytest.fixture(scope="module")
def fixed(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return packed(bundle.path, tmp_path_factory.mktemp("packs") / "set")


def model_of(bundle: Bundle, role: str, precision: str) -> onnx.ModelProto:
    return onnx.load_from_string(bundle.read(f"{role}.{precision}.onnx"))


def test_the_model_and_its_golden_files_stay_what_they_are(codec: Path, pack: Bundle):
    source = Bundle.open(codec)
    assert pack.model_id == source.model_id
    assert pack.golden == source.golden
    for graph in source.graphs:
        if pack.has(graph.role):
            same = pack.graph(graph.role, graph.precision, graph.runtime)
            assert [file.sha256 for file in same.files] == [file.sha256 for file in graph.files]
    assert not pack.has("analysis")
    pack.verify()


@pytest.mark.parametrize("role", ["synthesis", "hyper_mean"])
def test_a_float_tile_gives_the_pixels_of_the_whole_picture(pack: Bundle, role: str):
    whole = open_graph(pack, pack.graph(role, "float", "onnxruntime"), device="cpu", threads=1)
    tiles = open_graph(pack, pack.graph(role, "float16", "onnxruntime"), device="cpu", threads=1)
    random = np.random.default_rng(0)
    for height, width in ((4, 4), (12, 12), (20, 36)):
        inputs = []
        for spec in whole._inputs:
            rows, columns = (height, width) if spec.shape[2] != 1 else (1, 1)
            inputs.append(random.normal(0, 0.3, (1, spec.shape[1], rows, columns)).astype(np.float32))
        expected, found = whole.run(*inputs), tiles.run(*inputs)
        assert found.shape == expected.shape
        # Sums of floats depend on the order that a kernel takes for a shape: the last bit may differ.
        difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
        assert difference.max() <= (1 if found.dtype == np.uint8 else 1e-4)
        assert (difference > 0).mean() < 1e-3 or found.dtype != np.uint8


def test_int8_tiles_give_what_one_larger_tile_gives(codec: Path, pack: Bundle, tmp_path: Path):
    """Integers have no order of sums: tiles of any size give the same numbers, for equal steps."""
    small = pack.graph("synthesis", "int8-static", "onnxruntime")
    session = open_graph(pack, small, device="cpu", threads=1)
    model = model_of(pack, "synthesis", "int8-static")
    larger = onnx.ModelProto()
    larger.CopyFrom(model)
    for value in [*larger.graph.input, *larger.graph.output]:
        for size in value.type.tensor_type.shape.dim[1:]:
            if size.dim_value >= 12 and size.dim_value % 12 == 0 and value.name != "step":
                if value.name in ("symbols", "mean") and size.dim_value > 12:
                    continue  # channels
                size.dim_value = size.dim_value // 12 * 28
    import onnxruntime

    whole = onnxruntime.InferenceSession(larger.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(1)
    feeds = {
        spec.name: random.normal(0, 0.3, spec.shape).astype(np.float32)
        for spec in whole.get_inputs()
        if spec.name != "inside"
    }
    inside = next(spec.shape for spec in whole.get_inputs() if spec.name == "inside")
    (expected,) = whole.run(None, feeds | {"inside": np.ones(inside, np.float32)})
    assert np.array_equal(session.run(feeds["symbols"], feeds["mean"], feeds["step"]), expected)


def test_the_graphs_pass_the_golden_check_on_the_cpu(pack: Bundle, fixed: Bundle):
    for bundle in (pack, fixed):
        for precision, least in (("int8-static", 40.0), ("float16", 60.0)):
            graph = bundle.graph("synthesis", precision, "onnxruntime")
            session = open_graph(bundle, graph, device="cpu", threads=1)
            assert golden.measure(bundle, "synthesis", session) > least, (bundle.name, precision)


def test_a_decoder_of_tiles_decodes_a_picture_of_any_size(codec: Path, pack: Bundle):
    plain = Decoder(Bundle.open(codec), runtime="onnxruntime", precision="float")
    tiled = Decoder(pack, runtime="onnxruntime", precision="int8-static")
    assert tiled.precision == "int8-static"
    for item in pack.golden:
        data = pack.read(item.file)
        assert golden.psnr_db(plain.decode(data), tiled.decode(data)) > 38


def test_on_the_cpu_graphs_of_free_shapes_come_first(pack: Bundle):
    assert Decoder(pack, runtime="onnxruntime").precision == "int8"


@pytest.mark.parametrize("target", TARGETS)
def test_no_operator_is_left_that_a_target_does_not_take(pack: Bundle, fixed: Bundle, target: str):
    for bundle in (pack, fixed):
        for graph in bundle.graphs:
            if graph.precision in packing.PRECISIONS:
                model = model_of(bundle, graph.role, graph.precision)
                assert unsupported(model, target, graph.precision) == []
        for model in packing.float_graphs(bundle, side=12).values():
            assert unsupported(model, target, "float") == []


def test_what_a_target_does_not_take_is_named(codec: Path):
    model = onnx.load_from_string(Bundle.open(codec).read("synthesis.int8.onnx"))
    found = unsupported(model, "qnn-htp", "int8-static")
    assert "operator If" in found
    assert "free dimension in symbols" in found
    for target in TARGETS.values():
        assert target.source.startswith("https://")


def test_tiles_that_are_too_small_are_refused(codec: Path, tmp_path: Path):
    for side in (4, 10):
        with pytest.raises(ExportError, match="a multiple of 4 above twice the halo"):
            packed(codec, tmp_path / "out", side=side)
    assert not (tmp_path / "out").exists()


def test_the_command_writes_the_bundle(codec: Path, tmp_path: Path):
    out = tmp_path / "out"
    call = ["export", str(codec), "--to", "npu", "--tile-side", "12", "--out", str(out)]
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 0, done.output
    assert "4 graphs of static shapes" in done.output
    assert Bundle.open(out).graph("synthesis", "int8-static").inputs[0].shape == (1, 128, 12, 12)
    again = CliRunner().invoke(main, call)
    assert again.exit_code == 1
    assert "--force" in again.output


def test_pixels_of_half_precision_are_computed_around_zero(fixed: Bundle):
    """There its steps are finest: near 1, where a sigmoid ends, one is 1/8 of a pixel's level."""
    model = model_of(fixed, "synthesis", "float16")
    operators = [node.op_type for node in model.graph.node]
    assert ("Tanh" in operators, "Sigmoid" in operators) == (True, False)
    assert "Sigmoid" in [node.op_type for node in model_of(fixed, "synthesis", "int8-static").graph.node]


def test_verify_checks_a_released_bundle_with_graphs_for_devices(tmp_path: Path):
    """By folder and by name: its own graphs were not released, and the released golden files check them."""
    folder = packed(SHIPPED / "small", tmp_path / "small-npu").path
    for arguments in ([str(folder)], ["--bundle-dir", str(tmp_path), "small-npu"]):
        run = CliRunner().invoke(main, ["verify", *arguments])
        assert run.exit_code == 0, run.output
        assert "synthesis.float16 (onnxruntime): not released under this model id" in run.output
    (folder / "synthesis.int8.onnx").write_bytes((folder / "synthesis.float16.onnx").read_bytes())
    bundles.reseal(folder, lambda manifest: None, rehash=["synthesis.int8.onnx"])
    run = CliRunner().invoke(main, ["verify", str(folder)])
    assert run.exit_code == 1
    assert "has the model id of the released bundle small" in run.output
