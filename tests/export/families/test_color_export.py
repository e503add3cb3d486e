"""Bundles of the colour autoencoder: real files of levels, decoded by the lean runtime in every form."""

from dataclasses import replace
from pathlib import Path

import color_model
import numpy as np
import pytest
import torch
from checkpoints_made import run
from decant import Decoder, Encoder
from decant.bundles.bundle import Bundle
from decant.errors import FormatError
from decant.formats import container
from decant.layouts.levels import LevelsLayout
from decant.verify import verify_bundle, verify_file
from decant_export import ExportError, export
from decant_export.common.gate import psnr_db
from decant_export.common.pictures import PICTURE
from decant_export.families.color.graphs import ColorGraphs
from decant_train.common import checkpoint as checkpoints
from decant_train.published.color.model import ColorAutoencoder, ColorConfig, quantized


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "color"
    color_model.train(folder)
    return folder


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(checkpoint, tmp_path_factory.mktemp("bundles") / "color")


def shaken() -> ColorAutoencoder:
    """A network whose branches are not the zeros that they start as."""
    torch.manual_seed(5)
    model = ColorAutoencoder(ColorConfig(**color_model.SHAPE)).eval()
    torch.nn.init.normal_(model.encoder.last.weight, 0, 0.05)
    torch.nn.init.normal_(model.decoder.convs[-1].weight, 0, 0.5)
    model.decoder.spread.fill_(4)
    return model


def test_the_float_graphs_are_pytorchs() -> None:
    graphs = ColorGraphs(shaken())
    pixels = color_model.photos()[:6]
    latents = run(graphs.analysis(), pixels)
    np.testing.assert_allclose(latents, graphs.encode(pixels), atol=1e-5)
    assert latents.shape == (6, 24, 4, 4)
    np.testing.assert_allclose(run(graphs.synthesis(), latents, PICTURE), graphs.decode(latents), atol=1e-5)


def test_the_static_graph_is_near_the_float_one() -> None:
    graphs = ColorGraphs(shaken())
    latents = graphs.encode(color_model.photos()[:16])
    static = graphs.static(latents)
    assert static is not None
    assert static.knobs == ("coefficients", "decoder.first", *(f"decoder.convs.{i}" for i in range(3)))
    model = static.build({})
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("ConvTranspose") == 1  # the linear path
    assert kinds.count("Conv") == 4
    assert psnr_db(run(model, latents), run(graphs.synthesis(), latents)) > 40
    # The ranges matter: with a twentieth of them the branch is another.
    clipped = static.build(dict.fromkeys(static.knobs, 0.05))
    assert psnr_db(run(clipped, latents), run(graphs.synthesis(), latents)) < 40


def test_every_form_is_there_and_verifies(bundle: Bundle) -> None:
    both = ("onnxruntime", "openvino")
    assert {(graph.role, graph.precision, graph.runtime) for graph in bundle.graphs} == {
        *(("synthesis", p, r) for p in ("float", "int8-static") for r in both),
        *(("analysis", "float", r) for r in both),
    }
    assert bundle.manifest.raw["refused"] == []
    findings = list(verify_bundle(bundle.path, threads=1))
    assert all(finding.passed for finding in findings), list(map(str, findings))


def test_golden_files_have_several_depths(bundle: Bundle) -> None:
    layout = bundle.layout
    assert isinstance(layout, LevelsLayout)
    files = [container.parse((bundle.path / golden.file).read_bytes()) for golden in bundle.golden]
    maps = [layout.depth_map(file.latents) for file in files]
    assert len(np.unique(maps)) > 1


def test_a_file_holds_the_latents_of_training(bundle: Bundle, checkpoint: Path) -> None:
    model = checkpoints.load(checkpoint).model
    assert isinstance(model, ColorAutoencoder)
    layout = bundle.layout
    assert isinstance(layout, LevelsLayout)
    encoder, decoder = Encoder(bundle, threads=1), Decoder(bundle, precision="float", threads=1)
    for picture in color_model.photos()[:8]:
        file = encoder.encode(picture)
        depths = layout.depths_of(picture)
        payload = container.parse(file).latents
        np.testing.assert_array_equal(layout.depth_map(payload), depths)
        batch = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            bits = model.bits_at(torch.from_numpy(depths.astype(np.int64))[None])
            latents = quantized(model.encode(batch), bits)
            expected = model.decode(latents)[0].permute(1, 2, 0).numpy() * 255
        # A latent on the border of two levels may fall to either side.
        away = np.abs(layout.unpack(payload) - latents[0].numpy())
        assert (away > 0).mean() < 0.01
        if not away.any():
            assert np.abs(decoder.decode(file) - expected).max() < 0.51


def test_files_verify_and_damaged_ones_do_not(bundle: Bundle, tmp_path: Path) -> None:
    data = Encoder(bundle, threads=1).encode(color_model.photos()[0])
    path = tmp_path / "photo.dcn"
    path.write_bytes(data)
    assert "all checksums right" in verify_file(path, bundle.path).detail
    file = container.parse(data)
    path.write_bytes(container.write(replace(file, latents=file.latents + b"\1\2\3\4")))
    with pytest.raises(FormatError, match="do not end with their last level"):
        verify_file(path, bundle.path)


def test_a_checkpoint_without_counts_is_refused(tmp_path: Path) -> None:
    config = ColorConfig(**color_model.SHAPE)
    checkpoints.save(tmp_path / "bare", checkpoints.Checkpoint("color", config, ColorAutoencoder(config)))
    with pytest.raises(ExportError, match="not counted"):
        export(tmp_path / "bare", tmp_path / "color", images=color_model.photos())
