"""int8 shows no wrong picture: flat colours, stripes, text and edges are calibrated on, judged, and held."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from decant import Decoder, Encoder
from decant.backends.sessions import create_session
from decant.bundles.bundle import Bundle
from decant.commands.cli import main
from decant.selection.golden import measure
from decant_export.common import qdq
from decant_export.common.extremes import CORNERS, extremes
from decant_export.common.gate import session_of
from decant_export.common.onnx_graph import constants
from decant_export.common.qdq import compensated
from decant_export.common.variants import make
from decant_export.errors import ExportError
from decant_export.families.codec import choosing
from decant_export.families.codec.channel_copies import Copies
from decant_export.families.codec.int8_graphs import Calibration, StaticCodec
from decant_export.families.codec.judging import JUDGING, Case, Files, compared
from decant_export.families.codec.limits import Limits
from decant_export.families.codec.network import FloatSynthesis
from decant_export.families.codec.pictures import calibration_crops
from decant_export.families.codec.relimiting import LimitedGraph
from decant_export.families.codec.requantize import requantize
from shipped_codecs import CODECS, SHIPPED, decoders

pytestmark = pytest.mark.slow

INTEGERS = [(name, *of) for name in CODECS for of in decoders(name) if of[1] != "float"]
INT8 = [(name, runtime) for name, runtime, precision in INTEGERS if precision == "int8"]
INT8_CODECS = [name for name, runtime in INT8 if runtime == "onnxruntime"]


def _files(bundle: Bundle) -> tuple[FloatSynthesis, Files]:
    float_graph = bundle.graph("synthesis", "float", "onnxruntime")
    synthesis = FloatSynthesis.of(onnx.load_from_string(bundle.read(float_graph.files[0])))
    graph = bundle.graph("hyper_mean", "float", "onnxruntime")
    mean = create_session(graph, [bundle.read(entry) for entry in graph.files], threads=1)
    encoder = Encoder(bundle, runtime="onnxruntime", threads=1)
    encode = lambda pixels, quality: encoder.encode(pixels, quality, effort=0)  # noqa: E731
    return synthesis, Files(bundle.layout, mean, synthesis, encode, bundle.name)


@pytest.mark.parametrize(("name", "runtime", "precision"), INTEGERS)
def test_flat_colours_come_back_in_integers(name: str, runtime: str, precision: str):
    """Colours of a grid that neither calibration nor the gate looked at."""
    encoder = Encoder(name, runtime="onnxruntime", threads=1)
    decoder = Decoder(name, precision=precision, runtime=runtime, threads=1, check_golden="never")
    exact = Decoder(name, precision="float", runtime="onnxruntime", threads=1, check_golden="never")
    for colour in [*CORNERS, (0, 128, 255), (191, 0, 64), (255, 191, 128), (64, 255, 0)]:
        data = encoder.encode(np.full((64, 64, 3), colour, np.uint8), 90, effort=0)
        means = [d.decode(data).astype(float).mean((0, 1)) for d in (decoder, exact)]
        assert np.abs(means[0] - means[1]).max() < 1


@pytest.mark.parametrize(("name", "runtime"), INT8)
def test_stripes_text_and_edges_look_as_in_float(name: str, runtime: str):
    bundle = Bundle.open(SHIPPED / name)
    _, files = _files(bundle)
    pictures = extremes(JUDGING + 1)
    chosen = {key: pictures.busy[key] for key in ("rows 1", "checks 2", "coloured text 14", "modules 3")}
    chosen["edge"] = pictures.edges["vertical edge 0"]
    cases = files.cases(chosen, (60,))
    graph = bundle.graph("synthesis", "int8", runtime)
    session = create_session(graph, [bundle.read(entry) for entry in graph.files], threads=1)
    check = compared("extremes", cases, files.decode(session, [case.file for case in cases]))
    assert check.passed, check


UNSEEN = 99  # a seed of extremes that ranges, limits and the gate were not made with


@pytest.mark.parametrize(
    ("name", "runtime", "precision"), [of for of in INTEGERS if of[1] in ("native", "onnxruntime")]
)
def test_unseen_extremes_look_as_in_float_at_the_default_effort(name: str, runtime: str, precision: str):
    """Squares of green and edges at every fourth row saturated layers whose inputs were within range."""
    bundle = Bundle.open(SHIPPED / name)
    exact, integers = (
        Decoder(bundle, runtime=of[0], precision=of[1], threads=1, check_golden="never")
        for of in (("onnxruntime", "float"), (runtime, precision))
    )
    encoder = Encoder(bundle, runtime="onnxruntime", threads=1)
    chosen = [(f"squares {colour}", 100) for colour in CORNERS[1:]] + [("rows 16", 60), ("modules 4", 100)]
    pictures = extremes(UNSEEN).every
    edge = np.zeros((64, 128, 3), np.uint8)
    edge[34:] = 255
    pictures["edge"] = edge
    cases, decoded = [], []
    for kind, quality in [*chosen, ("edge", 60), ("edge", 100)]:
        file = encoder.encode(pictures[kind], quality)
        cases.append(Case(f"{kind}, quality {quality}", pictures[kind], file, exact.decode(file)))
        decoded.append(integers.decode(file))
    check = compared("extremes", cases, decoded)
    assert check.passed, check


@pytest.mark.parametrize("name", CODECS)
def test_squares_of_one_colour_look_as_in_float_whatever_their_places(name: str):
    """Red squares of 11 of 30 seeds lost 1.0 to 2.1 dB in `full`: a limit lay between them."""
    bundle = Bundle.open(SHIPPED / name)
    exact, int8 = (
        Decoder(bundle, precision=precision, runtime="onnxruntime", threads=1, check_golden="never")
        for precision in ("float", "int8")
    )
    encoder = Encoder(bundle, runtime="onnxruntime", threads=1)
    cases, decoded = [], []
    for seed in (21, 22, 25, 27):
        pixels = extremes(seed).edges["squares (255, 0, 0)"]
        file = encoder.encode(pixels, 100)
        cases.append(Case(f"seed {seed}", pixels, file, exact.decode(file)))
        decoded.append(int8.decode(file))
    check = compared("extremes", cases, decoded)
    assert check.passed, check


@pytest.mark.parametrize("name", CODECS)
def test_bundle_json_says_what_the_gate_measured(name: str):
    bundle = Bundle.open(SHIPPED / name)
    for graph in bundle.manifest.raw["graphs"]:
        if (graph["role"], graph["precision"]) == ("synthesis", "int8"):
            checks = {check["pictures"]: check for check in graph["checks"]}
            assert set(checks) == {"photos", "extremes"}
            assert all(check["loss_db"] <= check["limit_db"] for check in checks.values())
            # Tight enough for a processor whose sums saturate, which decodes at 18 dB.
            assert 44 <= graph["floor_db"] <= graph["psnr_to_float_db"] - 3


def test_a_graph_calibrated_on_photos_alone_is_refused(codec: Path):
    synthesis, files = _files(Bundle.open(codec))
    photos = files.latents([files.encode(crop, 70) for crop in calibration_crops(None, 8)])
    static = StaticCodec(synthesis, Calibration(photos))
    static.limits = Limits.of(np.full_like(static.limits.both, np.inf))  # nothing is computed in floats
    session = session_of(make("synthesis", "int8", "onnxruntime", static.build(rearranged=True)), "codec")
    photo, extreme = files.judged({"photo": calibration_crops(None, 9)[8]})(session)
    assert photo.passed
    assert not extreme.passed
    assert extreme.loss_db > 5


def _always_in_floats(given: onnx.ModelProto) -> onnx.ModelProto:
    graph = onnx.ModelProto()
    graph.CopyFrom(given)
    for tensor in graph.graph.initializer:
        if tensor.name == "overflow.upper":
            limits = np.full(list(tensor.dims), -1, np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(limits, tensor.name))
    return graph


def test_latents_beyond_their_ranges_are_computed_in_floats(codec: Path):
    """Both branches give what float gives, each where it is to, whatever the order of channels."""
    bundle = Bundle.open(codec)
    _, files = _files(bundle)
    cases = files.cases({"photo": calibration_crops(None, 1)[0]}, (70,))
    errors = []
    graph = onnx.load_from_string(bundle.read("synthesis.int8.onnx"))
    for changed in (graph, _always_in_floats(graph)):
        session = session_of(make("synthesis", "int8", "onnxruntime", changed), "codec")
        (pixels,) = files.decode(session, [cases[0].file])
        errors.append(np.abs(pixels.astype(int) - cases[0].decoded))
    assert 0 < errors[1].mean() < errors[0].mean() < 0.5  # weights are rounded, activations are not


@pytest.mark.parametrize("name", INT8_CODECS)
def test_sums_of_two_products_fit_16_bits(name: str):
    """Two products of 8 bits are added in 16 by processors without VNNI."""
    tensors = constants(onnx.load(str(SHIPPED / name / "synthesis.int8.onnx")))
    weights = {key: value for key, value in tensors.items() if key.endswith(".weight.int8")}
    weights.pop("prediction.weight.int8", None)  # restored and multiplied as floats
    assert weights
    for weight in weights.values():
        one, other = weight[:, 0::2].astype(int), weight[:, 1::2].astype(int)
        assert weight.shape[1] % 2 == 0
        assert 255 * (np.maximum(one, 0) + np.maximum(other, 0)).max() < 2**15
        assert 255 * (np.minimum(one, 0) + np.minimum(other, 0)).min() >= -(2**15)


def test_pairs_are_bounded_while_rounding():
    random = np.random.default_rng(0)
    rows = random.choice([-120.0, 120.0], (6, 36))
    inputs = random.standard_normal((500, 36))
    found = compensated(rows, inputs.T @ inputs / 500, taps=9).reshape(6, 4, 9)
    pairs = found[:, 0::2], found[:, 1::2]
    assert max((np.maximum(pairs[0], 0) + np.maximum(pairs[1], 0)).max(), 0) <= qdq.PAIR
    assert np.abs(found).max() <= 127


def test_ranges_hold_what_they_must():
    values = np.random.default_rng(1).standard_normal((2, 5000)).astype(np.float32)
    held = np.array([[9.0, -2.0], [0.0, 7.0]], np.float32)
    free, wide = (Copies.of(values, np.eye(2), 0, np.eye(2), h) for h in (None, held))
    assert (1 / free.factor < 5).all()
    np.testing.assert_allclose(1 / wide.factor, [9, 7], rtol=1e-6)


def test_a_bundle_is_requantized_without_a_checkpoint(
    codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    old = Bundle.open(codec)
    copied = tmp_path / "codec"
    shutil.copytree(codec, copied)
    with pytest.raises(ExportError, match="--force"):
        requantize(copied, copied)
    monkeypatch.setattr(choosing, "SEEDS", ())
    monkeypatch.setattr(choosing, "SQUARES_SEEDS", ())
    requantize(copied, copied, pictures=8, version="1.1.0", force=True)
    new = Bundle.open(copied)
    new.verify()
    assert (new.version, new.model_id) == ("1.1.0", old.model_id)
    for graph in old.graphs:
        if graph.precision not in ("int8", "int16"):
            assert new.graph(graph.role, graph.precision, graph.runtime).files == graph.files
    graph = new.graph("synthesis", "int8", "onnxruntime")
    session = create_session(graph, [new.read(graph.files[0])], threads=1)
    assert measure(new, "synthesis", session) > graph.lowest_psnr_db > 40
    picture = calibration_crops(None, 3)[2]
    data = Encoder(old).encode(picture, 60)
    found = [Decoder(b, precision="float").decode(data) for b in (old, new)]
    assert np.array_equal(*found)
    again = requantize(copied, tmp_path / "again", pictures=4, precisions=("int8",))
    assert again.graph("synthesis", "int16").files == new.graph("synthesis", "int16").files
    assert again.graph("synthesis", "int8").files != new.graph("synthesis", "int8").files


def test_new_limits_leave_weights_as_they_are(codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(choosing, "SEEDS", ())
    monkeypatch.setattr(choosing, "SQUARES_SEEDS", (100,))
    monkeypatch.setattr(choosing, "saturated", dict)
    old = Bundle.open(codec)
    graph, (_, files) = LimitedGraph(old), _files(old)
    photo = files.encode(calibration_crops(None, 1)[0], 70)
    (reached,) = graph.reached(files, [photo])
    limit = graph.limits.both
    limit[0] = reached[0] - 0.01  # the photograph is beyond it
    graph.limits = Limits.of(limit)
    for runtime in ("onnxruntime", "openvino"):
        session = session_of(graph.variant(runtime), "codec")
        (pixels,), (exact,) = (files.decode(s, [photo]) for s in (session, files.exact))
        (int8,) = files.decode(graph.always_int8(), [photo])
        assert np.abs(pixels.astype(int) - exact).mean() < np.abs(int8.astype(int) - exact).mean()
    new = requantize(codec, tmp_path / "new", pictures=8, keep_weights=True)
    before, after = (onnx.load_from_string(b.read("synthesis.int8.onnx")) for b in (old, new))
    changed = {
        name
        for name, values in constants(before).items()
        if not np.array_equal(values, constants(after)[name])
    }
    assert changed <= {"overflow.upper", "overflow.lower"}
    assert new.graph("synthesis", "int16").files == old.graph("synthesis", "int16").files


def test_only_a_codec_with_its_encoder_is_requantized(tmp_path: Path):
    result = CliRunner().invoke(
        main, ["export", str(SHIPPED / "small"), "--requantize", "--out", str(tmp_path / "small")]
    )
    assert result.exit_code == 1
    assert "only the bundle of a codec" in result.output
    assert not (tmp_path / "small").exists()


_HASWELL = """
import sys
from decant.bundles.bundle import Bundle
from decant.selection.golden import measure
from decant.backends.sessions import create_session
bundle = Bundle.open(sys.argv[1])
for runtime in ("onnxruntime", "openvino"):
    graph = bundle.graph("synthesis", "int8", runtime)
    session = create_session(graph, [bundle.read(entry) for entry in graph.files], threads=1)
    print(measure(bundle, "synthesis", session))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="emulates an x86 processor on one")
@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="needs qemu-x86_64 (Debian: qemu-user)")
@pytest.mark.parametrize("name", INT8_CODECS[:1])
def test_golden_files_are_right_on_a_processor_without_vnni(name: str):
    command = ["qemu-x86_64", "-cpu", "Haswell", sys.executable, "-c", _HASWELL, str(SHIPPED / name)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    figures = [float(line) for line in made.stdout.split()]
    assert len(figures) == 2
    assert min(figures) > 50
