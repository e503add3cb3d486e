"""The family ``perceptual`` as a bundle: its graphs are PyTorch's network, its files hold levels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints_made import photos, run
from decant.bundles.bundle import Bundle
from decant.decoder import Decoder
from decant.encoder import Encoder
from decant.formats import container
from decant.layouts.levels import LevelsLayout
from decant_export import export
from decant_export.common.gate import psnr_db
from decant_export.common.pictures import PICTURE
from decant_export.errors import ExportError
from decant_export.families.perceptual.family import PerceptualGraphs
from decant_export.families.perceptual.int8_graphs import StaticSynthesis
from decant_train.common import checkpoint as checkpoints
from decant_train.common import loop
from decant_train.published.perceptual.model import SIZES, PerceptualAutoencoder
from decant_train.published.perceptual.recipe import Squares, train_perceptual

TINY = {"image_size": 64, "width": 4, "latent_channels": 6, "decoder": (12, 8, 8), "last": 8}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two blocks in one stage, so that a shortcut without convolution is there too."""
    out = tmp_path_factory.mktemp("trained") / "perceptual"
    crops = photos(16, 64)
    options = loop.Options(
        epochs=15, batch_size=4, evaluate_every=15, precision="float32", learning_rate=3e-3
    )
    train_perceptual(
        "small",
        out,
        options,
        images=Squares(crops[:12], crops[12:]),
        mu=0.0,
        bits=3,
        shape={**TINY, "blocks": (1, 2, 1, 1)},
        progress=False,
    )
    return out


@pytest.fixture(scope="module")
def bundle_of_levels(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(trained, tmp_path_factory.mktemp("bundles") / "levels", golden=2)


def test_graphs_equal_pytorch(trained: Path) -> None:
    model = checkpoints.load(trained).model
    family = PerceptualGraphs(model)
    latents = family.known_latents()
    assert latents is not None
    found = run(family.synthesis(), latents[:3], PICTURE)
    np.testing.assert_allclose(found, family.decode(latents[:3]), atol=1e-5)
    images = photos(3, 64)
    encoded = family.encode(images)
    assert encoded.std() > 0.05
    np.testing.assert_allclose(run(family.analysis(), images), encoded, atol=1e-5)


def test_average_pooling_and_the_trunks_own_channels_are_exported_too() -> None:
    torch.manual_seed(4)
    pooled = {**TINY, "pool": 2, "latent_channels": 0, "decoder": (12, 8, 8, 8)}
    model = PerceptualAutoencoder(replace(SIZES["small"], **pooled)).eval()
    assert model.config.latent_shape == (128, 1, 1)
    family = PerceptualGraphs(model)
    images = photos(2, 64)
    encoded = family.encode(images)
    assert encoded.std() > 0.05
    np.testing.assert_allclose(run(family.analysis(), images), encoded, atol=1e-4)
    found = run(family.synthesis(), encoded, PICTURE)
    np.testing.assert_allclose(found, family.decode(encoded), atol=1e-5)
    assert family.known_latents() is None  # no training filled them


def test_plain_convolutions_are_integer_and_pixels_stay_close(trained: Path) -> None:
    model = checkpoints.load(trained).model
    family = PerceptualGraphs(model)
    latents = family.known_latents()
    graph = StaticSynthesis(model, latents).build({})
    made_of = {node.output[0]: node for node in graph.graph.node}
    integer = [n for n in graph.graph.node if n.op_type == "Conv" and not n.name.endswith(".phases")]
    assert len(integer) == 6  # three of the first block, one of each that upsamples
    for node in integer:
        assert [made_of[name].op_type for name in node.input] == ["DequantizeLinear"] * 3
    assert sum(n.op_type == "LeakyRelu" for n in graph.graph.node) == 9
    assert psnr_db(run(graph, latents), run(family.synthesis(), latents)) > 40


def test_a_bundle_has_float_and_static_int8_on_both_runtimes(bundle_of_levels: Bundle) -> None:
    have = {(g.role, g.precision, g.runtime) for g in bundle_of_levels.graphs}
    runtimes = ("onnxruntime", "openvino")
    assert have == {
        (role, precision, runtime)
        for role, precision in (("synthesis", "float"), ("synthesis", "int8-static"), ("analysis", "float"))
        for runtime in runtimes
    }
    layout = bundle_of_levels.layout
    assert isinstance(layout, LevelsLayout)
    assert (layout.channels, layout.height, layout.width, layout.depths) == (6, 2, 2, (3,))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_files_hold_levels_and_decode_to_pytorchs_pixels(
    trained: Path, bundle_of_levels: Bundle, runtime: str
) -> None:
    model = checkpoints.load(trained).model
    assert isinstance(model, PerceptualAutoencoder)
    decoder = Decoder(bundle_of_levels, precision="float", runtime=runtime)
    encoder = Encoder(bundle_of_levels, runtime=runtime)
    for pixels in photos(16, 64)[12:]:  # never trained on
        data = encoder.encode(pixels)
        file = container.parse(data)
        picture = torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()).float() / 255
        with torch.no_grad():
            latents = model.quantize(model.encode(picture))
            expected = (model.decode(latents)[0] * 255).round().permute(1, 2, 0).numpy()
        layout = bundle_of_levels.layout
        assert isinstance(layout, LevelsLayout)
        unpacked = layout.unpack(file.latents)
        levels = np.searchsorted(layout.values[0], unpacked).reshape(layout.channels, -1)
        bits = 24 * levels.size - np.log2(np.take_along_axis(layout.counts[0], levels, axis=1)).sum()
        assert bits / 8 - 1 < len(file.latents) <= bits / 8 + 5  # what the tables say, and the coder's word
        np.testing.assert_allclose(unpacked, latents[0].numpy(), atol=1e-6)
        assert np.abs(decoder.decode(data) - expected).max() <= 1


def test_the_bundle_verifies_and_its_int8_decodes(bundle_of_levels: Bundle) -> None:
    assert bundle_of_levels.manifest.raw["family"] == "perceptual"
    bundle_of_levels.verify()
    pixels = photos(16, 64)[12]
    data = Encoder(bundle_of_levels).encode(pixels)
    exact = Decoder(bundle_of_levels, precision="float").decode(data)
    static = Decoder(bundle_of_levels, precision="int8-static").decode(data)
    assert psnr_db(static[None], exact[None]) > 36
    assert not np.array_equal(static, exact)


def test_another_coding_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="stores levels of its own bits, not uint8"):
        export(trained, tmp_path / "b", latent_coding="uint8")
