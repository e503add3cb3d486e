"""OpenVINO: the same pictures, small weights stay small, equal bytes."""

import numpy as np
import pytest
from checkpoints_made import latents_of, photos, run, untrained
from decant_export.common.gate import psnr_db, run_each, session_of
from decant_export.common.linears import to_int8_weights
from decant_export.common.openvino_ir import to_ir
from decant_export.common.variants import make
from decant_export.families.set.family import SetGraphs
from decant_export.families.set.int8_graphs import StaticSynthesis


@pytest.mark.parametrize("residual", [False, True])
def test_float_pictures_are_those_of_onnxruntime(residual: bool) -> None:
    model = untrained(residual=residual)
    family, latents = SetGraphs(model), latents_of(model)
    session = session_of(make("synthesis", "float", "openvino", family.synthesis()), "test")
    pixels = run_each(session, latents).astype(int)
    assert np.abs(pixels - run(family.synthesis(), latents)).max() <= 1
    session = session_of(make("analysis", "float", "openvino", family.analysis()), "test")
    images = photos(2, 32)
    np.testing.assert_allclose(run_each(session, images), run(family.analysis(), images), atol=1e-4)


def test_int8_weights_stay_int8_and_decode() -> None:
    model = untrained(latent_dim=16)
    family, latents = SetGraphs(model), latents_of(model)
    exact = run(family.synthesis(), latents)
    for precision, graph in (
        ("int8", to_int8_weights(family.synthesis())),
        ("int8-static", StaticSynthesis(model, latents).build({})),
    ):
        variant = make("synthesis", precision, "openvino", graph)
        parameters = model.decoder.linear.weight.numel()
        assert len(variant.blobs[1]) < parameters + 4 * parameters // 16 + 250_000
        assert psnr_db(run_each(session_of(variant, "test"), latents), exact) > 40


def test_equal_graphs_give_equal_files() -> None:
    graph = SetGraphs(untrained()).synthesis()
    assert to_ir(graph) == to_ir(graph)
