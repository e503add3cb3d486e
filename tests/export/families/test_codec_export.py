"""A codec's checkpoint becomes a bundle: graphs equal PyTorch, int8 comes close, tables count what comes."""

import copy
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import codec_bundle
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from decant import Decoder, Encoder
from decant.bundles.bundle import Bundle, seal
from decant.codec.entropy import fitting, native
from decant.codec.layout import GridLayout
from decant.commands.cli import main
from decant.errors import BundleError
from decant_export.common.gate import session_of
from decant_export.common.qdq import compensated
from decant_export.common.variants import make
from decant_export.errors import ExportError
from decant_export.families.codec import adjoint as codec_adjoint
from decant_export.families.codec import float_graphs as codec_graphs
from decant_export.families.codec import tables as codec_tables
from decant_export.families.codec.calibration import evened, measure
from decant_export.families.codec.channel_copies import EVEN, Copies, balanced, neighbours
from decant_export.families.codec.int8_graphs import Calibration, StaticCodec
from decant_export.families.codec.network import FloatSynthesis
from decant_train.codec.encoder import Encoding
from decant_train.codec.layers import Residual
from decant_train.codec.model import Codec, alone, part
from decant_train.codec.warm_start import refined
from decant_train.common import checkpoint as checkpoints
from decant_train.common.checkpoint import Checkpoint
from decant_train.data import wheel_photos
from safetensors.numpy import load_file

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> Codec:
    found = codec_bundle.checkpoint().model
    assert isinstance(found, Codec)
    return codec_graphs.settled(found)


@pytest.fixture(scope="module")
def crops() -> list[np.ndarray]:
    return list(wheel_photos.crops(24, 256))


@pytest.fixture(scope="module")
def latents(model: Codec, crops: list[np.ndarray]) -> list[codec_tables.Latents]:
    return codec_tables.latents_of(model, crops)


@pytest.fixture(scope="module")
def measured(model: Codec, crops: list[np.ndarray]) -> Encoding:
    return codec_tables.encoder_of(model, crops)


def test_the_bundle_has_every_graph_and_verifies(codec: Path):
    bundle = Bundle.open(codec)
    bundle.verify()
    assert {(g.role, g.precision, g.runtime) for g in bundle.graphs} == {
        ("analysis", "float", "onnxruntime"),
        ("hyper_analysis", "float", "onnxruntime"),
        ("prediction", "float", "onnxruntime"),
        ("synthesis_adjoint", "float", "onnxruntime"),
        *((role, "float", r) for role in ("hyper_mean", "synthesis") for r in ("onnxruntime", "openvino")),
        *(("synthesis", "int8", r) for r in ("onnxruntime", "openvino")),
        *((role, "int16", "native") for role in ("hyper_mean", "synthesis")),
    }
    assert bundle.manifest.raw["refused"] == []
    static = bundle.graph("synthesis", "int8", "onnxruntime")
    assert static.psnr_to_float_db is not None
    assert static.psnr_to_float_db > 48
    # Floats are stored in half precision; int8 stores half of the latents' weights twice, and two branches,
    # of which the float one has some layers in half precision.
    assert static.bytes < 1.7 * bundle.graph("synthesis", "float", "onnxruntime").bytes
    assert static.kmac_per_pixel is not None
    assert 0.5 < static.kmac_per_pixel < 3


def test_the_same_checkpoint_gives_the_same_bytes(codec: Path, tmp_path: Path):
    again = codec_bundle.write(tmp_path)
    for path in codec.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (again / path.relative_to(codec)).read_bytes(), path


def test_a_synthesis_trained_beside_is_a_bundle_of_its_own(codec: Path, tmp_path: Path):
    light = Bundle.open(codec_bundle.write(tmp_path, name="light", part="nano"))
    whole = Bundle.open(codec)
    assert light.model_id != whole.model_id
    costs = [b.graph("synthesis", "float", "onnxruntime").kmac_per_pixel for b in (light, whole)]
    assert costs[0] is not None
    assert costs[1] is not None
    assert costs[0] < costs[1]
    picture = wheel_photos.crops(2, 96)[1]
    decoded = Decoder(light).decode(Encoder(light).encode(picture, 80))
    assert np.abs(decoded.astype(int) - picture).mean() < 12


def test_bundles_beside_one_another_share_their_encoder(codec: Path, tmp_path: Path):
    lender = tmp_path / "codec"
    shutil.copytree(codec, lender)
    bundle = Bundle.open(codec_bundle.write(tmp_path, name="light", part="nano", encoder_of=lender))
    assert not (bundle.path / "analysis.float.onnx").exists()
    bundle.verify()
    picture = wheel_photos.crops(2, 96)[1]
    data = Encoder(bundle).encode(picture, 80)
    decoded = Decoder(bundle).decode(data)
    shutil.rmtree(lender)
    bundle = Bundle.open(bundle.path)
    bundle.verify()  # what decoding needs is there
    assert np.array_equal(Decoder(bundle).decode(data), decoded)
    with pytest.raises(BundleError, match=r"it belongs to bundle codec: put it next to this one"):
        Encoder(bundle)


def test_a_codec_turned_to_another_distortion_shares_the_analyses(codec: Path, tmp_path: Path):
    """Predictions, steps and what is decoded are its own."""
    lender = shutil.copytree(codec, tmp_path / "codec")
    turned = codec_bundle.checkpoint()
    assert isinstance(turned.model, Codec)
    assert turned.model.hyperprior.prediction is not None
    turned.config = turned.model.config = replace(turned.config, ms_ssim=0.8)
    with torch.no_grad():
        turned.model.hyperprior.prediction.weight.mul_(1.5)
        turned.model.log_gain[:, :8] += 0.3
    bundle = Bundle.open(codec_bundle.write(tmp_path, name="turned", encoder_of=lender, of=turned))
    lent = {role: bundle.graph(role).files[0].of for role in ("analysis", "hyper_analysis", "prediction")}
    assert lent == {"analysis": "codec", "hyper_analysis": "codec", "prediction": None}
    bundle.verify()
    picture = wheel_photos.crops(2, 96)[1]
    decoded = Decoder(bundle).decode(Encoder(bundle).encode(picture, 80))
    assert np.abs(decoded.astype(int) - picture).mean() < 12
    # An error costs more where it is coarse.
    before, after = (load_file(b.path / "tables.safetensors") for b in (Bundle.open(lender), bundle))
    change = after["synthesis.curvature"] / before["synthesis.curvature"]
    assert change[:8].mean() > 1.5 * change[-16:].mean()


def test_a_finer_prior_is_coded_as_it_is_trained(
    codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Stages in halves, contexts that mix, means from several stages: what the runtime makes of them."""
    lender = shutil.copytree(codec, tmp_path / "codec")
    start = codec_bundle.checkpoint()
    assert isinstance(start.model, Codec)
    single = alone(start.model)
    finer = replace(
        single.config, channel_groups=(8, 8, 16, 96), checkerboard_groups=3, context_width=12, mixed_width=10
    )
    model = refined(single, replace(finer, predicted_channels=100, prediction_inputs=32))
    prior = model.hyperprior
    with torch.no_grad():
        for context in (*prior.contexts, *prior.checkerboard_contexts):
            context.out.weight += 0.1 * torch.randn_like(context.out.weight)
        for near in prior.checkerboard_means:
            near.out.weight += 0.1 * torch.randn_like(near.out.weight)
        assert prior.prediction is not None
        prior.prediction.weight += 0.02 * torch.randn_like(prior.prediction.weight)
    start = Checkpoint("codec", model.config, model)
    bundle = Bundle.open(codec_bundle.write(tmp_path, name="finer", encoder_of=lender, of=start))
    bundle.verify()
    layout = bundle.layout
    assert isinstance(layout, GridLayout)
    assert (layout.checkerboard_groups, layout.mixed_width, layout.channel_groups) == (3, 10, [8, 8, 16, 96])
    assert bundle.graph("prediction").inputs[0].shape == (1, 32, "h", "w")
    picture = wheel_photos.crops(2, 128)[1]
    settled = codec_graphs.settled(model)
    (item,) = codec_tables.latents_of(settled, [picture])
    row = layout.quality(60)
    z, mean, classes, symbols = codec_tables.symbols_of(settled, layout, item, 60)
    with torch.no_grad():
        known, gain = torch.from_numpy(symbols).float()[None], torch.from_numpy(row.gain)[None, :, None, None]
        z_hat = torch.from_numpy(row.scaled(z) / 16).float()[None]
        offset = torch.from_numpy(row.scale_offset / 1024).float()[None]
        trained = settled.hyperprior.scale_indices(z_hat, offset, known)[0].floor().clamp(0, 31)
        means = settled.hyperprior.means(settled.hyperprior.mean(z_hat), known, gain)[0]
    assert (trained.numpy() == classes).mean() > 0.99  # ties round to even there, and up here
    assert np.abs(trained.numpy() - classes).max() <= 1
    assert len(np.unique(classes)) > 4
    np.testing.assert_allclose(mean, means.numpy(), atol=1e-3)
    data = Encoder(bundle).encode(picture, 80)
    decoded = Decoder(bundle).decode(data)
    assert np.abs(decoded.astype(int) - picture).mean() < 12
    monkeypatch.setenv(native.VARIABLE, "0")
    assert np.array_equal(Decoder(Bundle.open(bundle.path)).decode(data), decoded)


def test_an_encoder_that_differs_is_not_shared(codec: Path, tmp_path: Path):
    with pytest.raises(ExportError, match="does not lie beside"):
        codec_bundle.write(tmp_path, name="light", part="nano", encoder_of=codec)
    lender = shutil.copytree(codec, tmp_path / "codec")
    graph = lender / "analysis.float.onnx"
    found = json.loads((lender / "bundle.json").read_text())
    graph.write_bytes(graph.read_bytes() + b"\x00")
    for entry in found["graphs"]:
        if entry["role"] == "analysis":
            data = graph.read_bytes()
            entry["files"][0] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (lender / "bundle.json").write_bytes(seal(found))
    with pytest.raises(ExportError, match="analysis of light is not that of"):
        codec_bundle.write(tmp_path, name="light", part="nano", encoder_of=lender)
    assert not (tmp_path / "light").exists()


def test_settled_weights_are_what_eight_bits_hold(model: Codec):
    weight = model.analysis.stem.weight.detach()
    steps = weight.abs().amax((1, 2, 3), keepdim=True) / 127
    assert torch.allclose(weight / steps, (weight / steps).round(), atol=1e-4)
    assert torch.equal(codec_graphs.settled(model).analysis.stem.weight, model.analysis.stem.weight)


def test_counted_tables_cost_less_than_those_assumed(
    model: Codec, latents: list[codec_tables.Latents], measured: Encoding
):
    layout, tables = codec_tables.layout_of(measured, latents[:12])
    assumed = codec_tables._layout(
        model, tables | fitting.tensors_of([codec_tables._fitted(c) for c in range(32)])
    )
    sizes = []
    for coding in (layout, assumed):
        total = 0
        for item in latents[12:]:
            _, _, classes, symbols = codec_tables.symbols_of(model, layout, item, 60)
            total += len(coding.encode_tile(symbols, classes))
        sizes.append(total)
    assert sizes[0] < sizes[1]


def test_qualities_are_ordered(latents: list[codec_tables.Latents], measured: Encoding):
    layout, tables = codec_tables.layout_of(measured, latents[:4])
    steps = np.stack([layout.quality(q).step for q in range(1, 101)])
    assert (np.diff(steps, axis=0) <= 0).all()
    assert (np.diff(tables["quality.lambda"]) > 0).all()


def _after_storing(copies: Copies, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    stored = copies.store(torch.from_numpy(values)[None, :, None])[0, :, 0].numpy()
    read: np.ndarray = copies.read(weight[:, :, None, None])[:, :, 0, 0]
    return read @ (np.rint(stored / EVEN.step) * EVEN.step)


def test_copies_read_what_they_write():
    random = np.random.default_rng(3)
    values = random.uniform(-1, 1, (3, 4000)).astype(np.float32) * np.array([[8], [2], [0.5]], np.float32)
    weight = random.standard_normal((4, 3)).astype(np.float32)
    none = Copies.of(values, np.eye(3), 0, np.eye(3))
    copies = Copies.of(values, np.eye(3), 5, np.eye(3))
    assert np.bincount(copies.source).tolist() == [5, 2, 1]
    errors = [np.square(_after_storing(c, values, weight) - weight @ values).mean() for c in (copies, none)]
    assert errors[0] < 0.15 * errors[1]


def test_the_first_copies_read_what_they_write():
    """Beside the others each is shifted by a part of a step, which is known."""
    random = np.random.default_rng(3)
    values = random.uniform(-1, 1, (3, 4000)).astype(np.float32) * np.array([[8], [2], [0.5]], np.float32)
    weight = random.standard_normal((4, 3)).astype(np.float32)
    copies = Copies.of(values, np.eye(3), 5, np.eye(3)).first()
    assert copies.count == 3
    assert np.abs(copies.shift).max() > 0.3 * EVEN.step
    found = _after_storing(copies, values, weight) - copies.shifted(weight[:, :, None, None])[:, None]
    assert np.abs((found - weight @ values).mean(1)).max() < 0.02 * EVEN.step * np.abs(weight).sum(1).max()


def test_copies_go_where_errors_do_most():
    values = np.random.default_rng(3).uniform(-1, 1, (3, 4000)).astype(np.float32)
    copies = Copies.of(values, np.diag([0.01, 0.01, 1.0]), 3, np.eye(3))
    assert np.bincount(copies.source).tolist() == [1, 1, 4]


def test_rare_values_are_clipped_for_finer_steps():
    values = np.random.default_rng(5).standard_normal((1, 200_000)).astype(np.float32)
    values[0, 0] = 12
    assert 1 / Copies.of(values, np.eye(1), 0, np.eye(1)).factor[0] < 9


def test_mixed_channels_lose_less():
    """Heavy tails; a basis changes nothing but what rounding does."""
    random = np.random.default_rng(6)
    values = (
        random.laplace(size=(8, 20_000)).astype(np.float32)
        * np.geomspace(2, 1, 8).astype(np.float32)[:, None]
    )
    weight = random.standard_normal((6, 8)).astype(np.float32)
    form, exact = weight.T @ weight, weight @ values
    errors = [
        np.square(_after_storing(Copies.of(values, form, 4, basis), values, weight) - exact).mean()
        for basis in (np.eye(8), neighbours(np.diag(form), 4), balanced(values, form + 1e-3 * np.eye(8), 2))
    ]
    assert errors[1] < errors[0] < 1e-3 * np.square(exact).mean()
    assert errors[2] < 0.9 * errors[0]


@torch.no_grad()
def test_a_channel_that_is_always_off_costs_nothing(model: Codec, latents: list[codec_tables.Latents]):
    """Its weights do not make the steps of the others wider."""
    dead, without = copy.deepcopy(model), copy.deepcopy(model)
    for codec, weight in ((dead, 5.0), (without, 0.0)):
        layer = codec.synthesis.render[0]
        assert isinstance(layer, Residual)
        layer.first.bias[3] = -1e4
        layer.second.weight[:, 3] = weight
    given = [item.y[None] for item in latents[:4]]
    pixels = []
    for codec in (dead, without):
        synthesis = FloatSynthesis.of(codec_graphs.synthesis(codec))
        graph = StaticCodec(synthesis, Calibration(given)).build(rearranged=True)
        session = session_of(make("synthesis", "int8", "onnxruntime", graph), "codec")
        one = np.ones((1, given[0].shape[1], 1, 1), np.float32)
        pixels.append(session.run(np.zeros_like(given[0]), given[0], one).astype(int))
    assert np.abs(pixels[0] - pixels[1]).max() <= 2


def test_compensated_rounding_changes_products_less():
    random = np.random.default_rng(4)
    inputs = random.standard_normal((2000, 24)) @ (
        random.standard_normal((24, 24)) * np.geomspace(1, 0.1, 24)
    )
    rows = random.standard_normal((8, 24)) * 6
    found = compensated(rows, inputs.T @ inputs / len(inputs))
    assert np.array_equal(found, np.rint(found))
    errors = [np.square(inputs @ (rows - whole).T).mean() for whole in (found, np.rint(rows))]
    assert errors[0] < 0.5 * errors[1]


def test_the_command_exports_a_codec(tmp_path: Path):
    checkpoints.save(tmp_path / "checkpoint", codec_bundle.checkpoint())
    out = tmp_path / "mine"
    command = [
        "export",
        str(tmp_path / "checkpoint"),
        "--out",
        str(out),
        "--runtimes",
        "onnxruntime",
        "--part",
        "nano",
    ]
    (tmp_path / "about.md").write_text("# Mine\n")
    described = ["--licence", "mine", "--card", str(tmp_path / "about.md"), "--json"]
    result = CliRunner().invoke(main, [*command, *described])
    assert result.exit_code == 0, result.output
    bundle = Bundle.open(out)
    assert json.loads(result.stdout)["model_id"] == bundle.model_id
    assert bundle.manifest.raw["licence"] == "mine"
    assert bundle.read("card.md") == b"# Mine\n"
    model = codec_bundle.checkpoint().model
    assert isinstance(model, Codec)
    assert bundle.model["latent"]["channels"] == part(model, "nano").config.latents
    for wrong, message in (("--archive", "leave --archive out"), ("--denoiser", "has no option denoiser")):
        result = CliRunner().invoke(main, [*command, "--force", wrong, str(tmp_path / "a")])
        assert result.exit_code == 1
        assert message in result.stderr


@torch.no_grad()
def test_a_renderer_of_even_ranges_decodes_alike(model: Codec):
    latents = [torch.randn(1, 128, 8, 8).numpy() for _ in range(2)]

    def ranges_of(codec: Codec) -> dict[str, np.ndarray]:
        samples = measure(codec.synthesis, latents).samples
        return {name: np.abs(values).max(1) for name, values in samples.items()}

    even = copy.deepcopy(model)
    even.synthesis = evened(model.synthesis, ranges_of(model))
    for latent in latents:
        found, wanted = (m.synthesis(torch.from_numpy(latent)) for m in (even, model))
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    ranges = ranges_of(even)
    for i, (new, old) in enumerate(zip(even.synthesis.render, model.synthesis.render, strict=True)):
        live = ranges[f"render.{i}.first"][ranges[f"render.{i}.first"] > 0.1]
        np.testing.assert_allclose(live, 1, rtol=1e-3)
        assert not torch.equal(new.first.weight, old.first.weight)


def test_the_adjoint_is_the_transposed_jacobian(model: Codec):
    """Of a synthesis with a renderer's layers, at latents where half of the rectifiers let through."""
    random = torch.Generator().manual_seed(0)
    latents = torch.randn(1, model.config.latents, 6, 5, generator=random)
    lacking = torch.randn(1, 96, 80, 3, generator=random)
    graph = codec_adjoint.adjoint(model)
    session = session_of(make("synthesis_adjoint", "float", "onnxruntime", graph), "codec")
    found = torch.from_numpy(session.run(latents.numpy(), lacking.numpy()))
    wanted = codec_adjoint.by_autograd(model, latents, lacking)
    assert (found - wanted).norm() < 0.02 * wanted.norm()
    straight = codec_adjoint.by_autograd(part(codec_bundle.checkpoint().model, "nano"), latents, lacking)
    assert (found - straight).norm() > 0.05 * wanted.norm()  # another decoder's would not pass
