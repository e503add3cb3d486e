"""Static int8: the rewrite of transposed convolutions is exact, and rounding stays small."""

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from checkpoints_made import latents_of, run, untrained
from decant_export.common import qdq
from decant_export.common.checks import calibrated
from decant_export.common.gate import psnr_db
from decant_export.common.onnx_graph import GraphBuilder, constants, serialise
from decant_export.common.qdq import Scale
from decant_export.families.set.family import SetGraphs
from decant_export.families.set.int8_graphs import StaticSynthesis, four_phases, last_phase
from decant_train.common import checkpoint as checkpoints
from decant_train.published.set.model import SetAutoencoder
from torch import nn


def unfolded(cells: torch.Tensor) -> torch.Tensor:
    return F.pixel_shuffle(cells, 2)[:, :, 1:-1, 1:-1]


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 16)])
def test_a_transposed_convolution_is_a_2x2_convolution(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    layer = nn.ConvTranspose2d(6, 5, 4, stride=2, padding=1)
    x = torch.randn(2, 6, *size)
    kernel, bias = map(torch.from_numpy, four_phases(layer))
    assert kernel.shape == (20, 6, 2, 2)  # as many numbers as before: no zeros
    cells = F.conv2d(x, kernel, bias, padding=1)
    torch.testing.assert_close(unfolded(cells), layer(x), atol=1e-5, rtol=1e-5)


def test_the_shortcut_writes_the_last_of_four_phases() -> None:
    torch.manual_seed(2)
    layer = nn.ConvTranspose2d(6, 5, 1, stride=2, output_padding=1)
    x = torch.randn(2, 6, 4, 3)
    kernel, bias = map(torch.from_numpy, last_phase(layer))
    cells = F.conv2d(F.pad(x, (0, 1, 0, 1)), kernel, bias)
    torch.testing.assert_close(unfolded(cells), layer(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_static_pixels_are_close_to_float(num_layers: int, residual: bool) -> None:
    model = untrained(num_layers=num_layers, residual=residual)
    latents = latents_of(model)
    exact = run(SetGraphs(model).synthesis(), latents)
    static = StaticSynthesis(model, latents)
    assert psnr_db(run(static.build({}), latents), exact) > 40


def test_every_layer_is_integer(checkpoint) -> None:
    model = checkpoints.load(checkpoint).model
    assert isinstance(model, SetAutoencoder)
    graph = StaticSynthesis(model, latents_of(model)).build({})
    operators = {node.op_type for node in graph.graph.node}
    assert {"Conv", "MatMul", "DepthToSpace"} <= operators
    assert not operators & {"ConvTranspose", "Relu"}
    made_of = {node.output[0]: node for node in graph.graph.node}
    values = constants(graph)
    for node in graph.graph.node:
        if node.op_type in ("Conv", "MatMul"):
            assert [made_of[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
            assert values[made_of[node.input[1]].input[0]].dtype == np.int8
    large = [v for v in values.values() if v.size > 5000]
    assert {v.dtype for v in large} == {np.dtype(np.int8)}


def test_calibration_never_loses_against_the_whole_range(checkpoint) -> None:
    model = checkpoints.load(checkpoint).model
    assert isinstance(model, SetAutoencoder)
    latents = latents_of(model)
    exact = run(SetGraphs(model).synthesis(), latents)
    static = StaticSynthesis(model, latents)
    chosen = calibrated(static, latents, exact, "test")
    assert psnr_db(run(chosen, latents), exact) >= psnr_db(run(static.build({}), latents), exact)
    assert serialise(chosen) == serialise(calibrated(static, latents, exact, "test"))


def test_a_zero_point_of_zero_is_the_relu() -> None:
    graph = GraphBuilder("g", "x", "float32", ["n", 4])
    stored = qdq.store(graph, "x", Scale.covering(0.5, 2.55))
    model = graph.model(qdq.restore(graph, stored, "y"), "float32", ["n", 4])
    x = np.array([[-3, 0, 1.234, 9]], np.float32)
    np.testing.assert_allclose(run(model, x), [[0, 0, 1.23, 2.55]], atol=1e-6)


def test_a_scale_always_holds_zero() -> None:
    for lowest, highest in ((-2.0, 3.0), (1.0, 3.0), (-3.0, -1.0), (0.0, 0.0)):
        scale = Scale.covering(lowest, highest)
        assert 0 <= scale.zero <= 255
        assert scale.step > 0
        reach = [scale.step * (q - scale.zero) for q in (0, 255)]
        assert reach[0] <= min(lowest, 0) + scale.step / 2
        assert reach[1] >= max(highest, 0) - scale.step / 2


def test_a_channel_without_weights_keeps_its_bias() -> None:
    graph = GraphBuilder("g", "x", "float32", ["n", 2, 3, 3])
    stored = qdq.store(graph, "x", Scale.covering(-1, 1))
    kernel = np.zeros((2, 2, 1, 1), np.float32)
    kernel[0] = 0.5
    bias = np.array([0.25, -0.123], np.float32)
    y = qdq.conv(graph, stored, kernel, bias, [0] * 4, "conv", Scale.covering(-1, 2))
    model = graph.model(qdq.restore(graph, y, "y"), "float32", ["n", 2, 3, 3])
    onnx.checker.check_model(model)
    found = run(model, np.ones((1, 2, 3, 3), np.float32))
    np.testing.assert_allclose(found[0, :, 1, 1], [1.25, -0.123], atol=0.01)
