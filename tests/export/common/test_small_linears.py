"""Linear layers in int8 and 4 bits: exact changes first, then rounding."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from checkpoints_made import latents_of, run, untrained
from decant_export.common import linears
from decant_export.common.gate import psnr_db, rounded_db
from decant_export.common.linears import (
    balanced,
    groups_of,
    spread,
    to_int4,
    to_int8,
    to_int8_weights,
    widened,
)
from decant_export.common.macs import kmac_per_pixel
from decant_export.common.onnx_graph import constants, serialise
from decant_export.families.set.family import SetGraphs
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.quantization import QuantType, quantize_dynamic


@pytest.fixture(scope="module")
def float_graph() -> onnx.ModelProto:
    return SetGraphs(untrained(latent_dim=16)).synthesis()


@pytest.fixture(scope="module")
def latents() -> np.ndarray:
    return latents_of(untrained(latent_dim=16))


def one_by_one(model: onnx.ModelProto, latents: np.ndarray) -> np.ndarray:
    return np.concatenate([run(model, latents[i : i + 1]) for i in range(len(latents))])


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 70), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_a_wider_layer_of_balanced_rows_is_the_same_layer(inputs: int, power: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    outputs = 3 * 2**power
    weight = (random.normal(size=(inputs, outputs)) * random.exponential(size=(inputs, 1))).astype(np.float32)
    x = random.normal(size=(2, inputs)).astype(np.float32)
    groups = groups_of(inputs, outputs)
    assert inputs * groups <= max(inputs, 64)
    rows, factors = balanced(weight)
    placed = (x.reshape(2, 1, 1, inputs) * spread(factors, groups)).reshape(2, groups, groups * inputs)
    y = (placed @ widened(rows, groups)).reshape(2, outputs)
    np.testing.assert_allclose(y, x @ weight, rtol=1e-3, atol=1e-4 * np.abs(x @ weight).max())


def test_rows_of_any_range_are_stored_equally_well() -> None:
    random = np.random.default_rng(5)
    weight = random.normal(size=(8, 4096)).astype(np.float32) * 10.0 ** np.arange(-4, 4)[:, None]
    rows, factors = balanced(weight.astype(np.float32))
    stored = linears.to_steps(rows) / 127 * factors[:, None]
    error = np.linalg.norm(stored - weight, axis=1) / np.linalg.norm(weight, axis=1)
    assert error.max() < 0.011


def test_a_latent_without_weights_stays_without() -> None:
    rows, factors = balanced(np.zeros((2, 8), np.float32))
    assert np.isfinite(factors).all()
    assert not rows.any()


def test_int8_is_what_onnxruntimes_dynamic_quantization_gives_or_better(
    float_graph, latents, tmp_path: Path
) -> None:
    onnx.save(float_graph, tmp_path / "float.onnx")
    theirs = tmp_path / "int8.onnx"
    quantize_dynamic(
        tmp_path / "float.onnx", theirs, op_types_to_quantize=["Gemm", "MatMul"], weight_type=QuantType.QInt8
    )
    exact = one_by_one(float_graph, latents)
    ours = psnr_db(one_by_one(to_int8(float_graph), latents), exact)
    assert ours > 45
    assert ours > psnr_db(one_by_one(onnx.load(theirs), latents), exact) - 0.5


def test_convolutions_stay_float(float_graph) -> None:
    convolutions = ("Conv", "ConvTranspose")
    for rewrite in (to_int8, to_int8_weights, to_int4):
        changed = rewrite(float_graph)
        for kind in convolutions:
            assert operators(changed).count(kind) == operators(float_graph).count(kind)
        assert "Gemm" not in operators(changed)
        weights = constants(changed)
        kernels = [node.input[1] for node in changed.graph.node if node.op_type in convolutions]
        assert len(kernels) >= 2
        assert {weights[name].dtype for name in kernels} == {np.dtype(np.float32)}
    assert operators(to_int8(float_graph)).count("MatMulInteger") == 1


def test_sizes_and_errors_fall_in_order(float_graph, latents) -> None:
    exact = one_by_one(float_graph, latents)
    forms = {"float": float_graph, "int8": to_int8(float_graph), "int4": to_int4(float_graph)}
    sizes = [len(serialise(model)) for model in forms.values()]
    assert sizes[0] > sizes[1] > sizes[2]
    assert (
        30
        < psnr_db(one_by_one(forms["int4"], latents), exact)
        < psnr_db(one_by_one(forms["int8"], latents), exact)
    )


def test_int8_results_do_not_depend_on_their_neighbours(float_graph, latents) -> None:
    """The reason why decoders run a batch picture by picture: run together, they would."""
    model = to_int8(float_graph)
    loud = np.concatenate([latents[:1], 8 * latents[1:2]])
    assert (run(model, loud)[0] != run(model, latents[:1])[0]).any()
    np.testing.assert_array_equal(one_by_one(model, loud)[0], run(model, latents[:1])[0])


def test_a_graph_without_linear_layers_is_refused(denoiser) -> None:
    from decant_export.families.denoiser.float_graphs import DenoiserGraphs
    from decant_train.common import checkpoint as checkpoints

    graph = DenoiserGraphs(checkpoints.load(denoiser).model).denoiser((64, 64))
    with pytest.raises(ValueError, match="no Linear layer"):
        to_int8(graph)


def test_multiplications_are_counted_through_foreign_operators(float_graph) -> None:
    assert kmac_per_pixel(to_int4(float_graph), 32 * 32) == kmac_per_pixel(float_graph, 32 * 32)
    # Spread over four rows, the Linear layer multiplies zeros too: four times the count.
    extra = 3 * 16 * 64 * 8 * 8 / 32**2 / 1000
    assert kmac_per_pixel(to_int8(float_graph), 32 * 32) == pytest.approx(
        kmac_per_pixel(float_graph, 32 * 32) + extra, abs=2e-3
    )


def test_equal_pictures_have_no_psnr() -> None:
    same = np.zeros((1, 2, 2, 3), np.uint8)
    assert rounded_db(psnr_db(same, same)) is None
    assert rounded_db(psnr_db(same, same + np.uint8(255))) == 0.0
