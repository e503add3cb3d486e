"""The gate: a graph that gives other pixels, or none, on its runtime is kept out with the reason."""

import dataclasses
from functools import partial

import numpy as np
import onnx
import pytest
from checkpoints_made import latents_of, run, untrained
from decant_export.common.checks import against_torch
from decant_export.common.gate import Gate, evenly, run_each
from decant_export.common.pictures import PICTURE
from decant_export.common.variants import RUNTIMES, make
from decant_export.errors import ExportError
from decant_export.families.set.family import SetGraphs
from onnx import numpy_helper

FLOORS = {"float": 48.0, "int8": 40.0}


def with_wrong_bias(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with its last bias 0.2 too high: pixels about 12 too bright."""
    wrong = onnx.ModelProto()
    wrong.CopyFrom(model)
    for tensor in wrong.graph.initializer:
        if tensor.name == "decoder.last.bias":
            tensor.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(0.2), tensor.name)
            )
    return wrong


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_other_pixels_are_refused_by_name(runtime: str) -> None:
    model = untrained()
    family, latents = SetGraphs(model), latents_of(model)
    expected = run(family.synthesis(), latents)
    said: list[str] = []
    gate = Gate("tiny", family.image, FLOORS, 2, said.append)
    gate.judge(
        make("synthesis", "int8", runtime, with_wrong_bias(family.synthesis())),
        partial(run_each, inputs=latents),
        expected,
    )
    gate.judge(
        make("synthesis", "float", runtime, family.synthesis()), partial(run_each, inputs=latents), expected
    )
    assert [variant.precision for variant, _ in gate.passed] == ["float"]
    (refused,) = gate.refused
    assert (refused["precision"], refused["runtime"], refused["floor_db"]) == ("int8", runtime, 40.0)
    assert 20 < refused["psnr_to_float_db"] < 30
    assert said[0].startswith(f"synthesis.int8 ({runtime}): not written: 2")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_graph_that_does_not_load_is_refused_by_name(runtime: str) -> None:
    model = untrained()
    family, latents = SetGraphs(model), latents_of(model)
    variant = make("synthesis", "int8", runtime, family.synthesis())
    torn = dataclasses.replace(variant, blobs=tuple(blob[: len(blob) // 2] for blob in variant.blobs))
    gate = Gate("tiny", family.image, FLOORS, 2, lambda line: None)
    gate.judge(torn, partial(run_each, inputs=latents), run(family.synthesis(), latents))
    assert gate.passed == []
    assert gate.refused[0]["psnr_to_float_db"] is None
    # The check before loading refuses what is cut short; a runtime would say "cannot be loaded".
    assert "synthesis.int8" in gate.refused[0]["reason"]


def test_one_bad_picture_among_many_good_ones_counts() -> None:
    """Golden pictures are judged alone too: what passes here must pass the runtime's own check."""
    model = untrained()
    family, latents = SetGraphs(model), latents_of(model)
    expected = run(family.synthesis(), latents)
    golden = evenly(np.arange(len(latents)), 2)
    found = expected.copy()
    found[golden[1]] = 0
    gate = Gate("tiny", family.image, {"int8": 12.0}, 2, lambda line: None)
    gate.judge(make("synthesis", "int8", "onnxruntime", family.synthesis()), lambda session: found, expected)
    shown = gate.refused[0]["reason"] if gate.refused else ""
    assert "over 2 golden pictures" in shown


def test_a_file_with_a_graph_that_was_refused_is_not_written() -> None:
    model = untrained()
    family, latents = SetGraphs(model), latents_of(model)
    expected = run(family.synthesis(), latents)
    gate = Gate("tiny", family.image, {"float": 48.0, "int8": 48.0}, 2, lambda line: None)
    good = make("synthesis", "float", "onnxruntime", family.synthesis())
    gate.judge(good, lambda session: expected, expected)
    assert [variant.label for variant, _ in gate.whole] == [good.label]
    gate.judge(dataclasses.replace(good, precision="int8"), lambda session: 0 * expected, expected)
    assert [variant.label for variant, _ in gate.passed] == [good.label]
    assert gate.whole == []


def test_graphs_that_are_not_pytorchs_network_are_errors() -> None:
    model = untrained()
    family, latents = SetGraphs(model), latents_of(model)
    expected = family.decode(latents)
    assert against_torch(family.synthesis(), latents, PICTURE, expected, "tiny") < 1e-5
    with pytest.raises(ExportError, match=r"synthesis differs from PyTorch by 0\.0[0-9]+ in picture"):
        against_torch(with_wrong_bias(family.synthesis()), latents, PICTURE, expected, "tiny")


def test_evenly_spread() -> None:
    assert evenly(np.arange(64), 4).tolist() == [0, 16, 32, 48]
    assert evenly(np.arange(3), 4).tolist() == [0, 1, 2]
