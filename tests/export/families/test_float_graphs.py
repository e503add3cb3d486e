"""Float graphs are PyTorch's networks."""

import numpy as np
import pytest
import torch
from checkpoints_made import SIDE, latents_of, photos, run, save_denoiser, untrained
from decant_export.common.macs import kmac_per_pixel
from decant_export.common.onnx_graph import GraphBuilder, serialise
from decant_export.common.pictures import PICTURE, to_pixels
from decant_export.errors import ExportError
from decant_export.families.denoiser.float_graphs import DenoiserGraphs
from decant_export.families.set.family import SetGraphs
from decant_train.common import checkpoint as checkpoints
from decant_train.published.set.model import SIZES, SetAutoencoder


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3, 4])
def test_set_graphs_equal_pytorch(num_layers: int, residual: bool) -> None:
    model = untrained(num_layers=num_layers, residual=residual)
    family = SetGraphs(model)
    latents = latents_of(model)
    pictures = family.decode(latents)
    np.testing.assert_allclose(run(family.synthesis(), latents, PICTURE), pictures, atol=1e-5)
    # A pixel may fall on the other side of a half; no further.
    pixels = run(family.synthesis(), latents)
    whole = np.rint(pictures.transpose(0, 2, 3, 1) * 255)
    assert np.abs(pixels - whole).max() <= 1
    assert (pixels != whole).mean() < 1e-3
    images = photos(3, 32)
    np.testing.assert_allclose(run(family.analysis(), images), family.encode(images), atol=1e-5)


def test_denoiser_graph_equals_pytorch(denoiser, checkpoint) -> None:
    family = DenoiserGraphs(checkpoints.load(denoiser).model)
    images = photos(2, SIDE)[:, : SIDE // 2]  # not square
    expected = family.denoise(images)
    assert np.abs(expected - images.transpose(0, 3, 1, 2) / 255).max() > 0.01
    graph = family.denoiser((SIDE, SIDE // 2))
    np.testing.assert_allclose(run(graph, images, PICTURE), expected, atol=1e-5)


def test_a_denoiser_refuses_sides_it_cannot_pack(tmp_path) -> None:
    family = DenoiserGraphs(checkpoints.load(save_denoiser(tmp_path / "d")).model)
    with pytest.raises(ExportError, match="multiples of 4, not 66x64"):
        family.denoiser((66, 64))


def test_pixels_are_rounded_half_to_even_and_clipped() -> None:
    graph = GraphBuilder("pixels", "x", "float32", ["n", 3, 1, 2])
    graph_out = graph.model(to_pixels(graph, "x"), "uint8", ["n", 1, 2, 3])
    planes = np.array([[[-0.2, 0.49]], [[128.4, 128.6]], [[254.6, 300.0]]], np.float32)[None] / 255
    np.testing.assert_array_equal(run(graph_out, planes), [[[[0, 128, 255], [0, 129, 255]]]])
    # Halves that are exact in binary: 0.5 / 255 is not, so the graph's own step is used.
    halves = (np.array([0.5, 1.5, 2.5, 3.5, 4.5, 5.5]) * np.float32(1 / 255)).astype(np.float32)
    found = run(graph_out, halves.reshape(1, 3, 1, 2)).transpose(0, 3, 1, 2).reshape(-1)
    np.testing.assert_array_equal(found, [0, 2, 2, 4, 4, 6])


def test_the_batch_is_free_and_names_are_the_formats() -> None:
    family = SetGraphs(untrained())
    graph = family.synthesis().graph
    assert (graph.input[0].name, graph.output[0].name) == ("latents", "pixels")
    graph = family.analysis().graph
    assert (graph.input[0].name, graph.output[0].name) == ("pixels", "latents")
    latents = np.zeros((3, 5), np.float32)
    assert run(family.synthesis(), latents).shape == (3, 32, 32, 3)


def test_equal_weights_give_equal_bytes() -> None:
    first, second = SetGraphs(untrained()), SetGraphs(untrained())
    assert serialise(first.synthesis()) == serialise(second.synthesis())
    assert serialise(first.analysis()) == serialise(second.analysis())


def test_two_tensors_cannot_share_a_name() -> None:
    graph = GraphBuilder("g", "x", "float32", ["n", 1])
    graph.node("Relu", ["x"], "y")
    with pytest.raises(ValueError, match="two tensors are called 'y'"):
        graph.constant("y", 1)


def test_multiplications_of_the_named_size_small() -> None:
    with torch.device("meta"):
        shapes = SetAutoencoder(SIZES["small"]).decoder
    linear = shapes.linear.weight.numel()
    block, shortcut = shapes.blocks[0].conv.weight.numel(), shapes.blocks[0].shortcut.weight.numel()
    last = shapes.last.weight.numel()
    # A rewritten transposed convolution has one cell more a side than its input has pixels.
    expected = (linear + shortcut * 64**2 + block * 65**2 + last * 129**2) / 256**2 / 1000
    model = SetAutoencoder(SIZES["small"])
    assert kmac_per_pixel(SetGraphs(model).synthesis(), 256**2) == pytest.approx(expected, abs=6e-4)
