"""Every set of kernels gives the integers of numpy: those of this machine, NEON (qemu), WASM SIMD (node)."""

import re

import conformance
import cross
import numpy as np
import pytest
from test_integer import synthesis_tensors

SOURCES = (
    "tests/conformance.c",
    "src/convolution.c",
    "src/kernels_x86.c",
    "src/kernels_arm.c",
    "src/kernels_wasm.c",
    "src/memory.c",
    "src/hyper_synthesis.c",
    "src/synthesis.c",
    "src/synthesis_network.c",
    "src/threads.c",
)
FASTEST = {"native": "portable", "aarch64": "neon", "wasm": "wasm"}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("conformance")


def _inputs(tensors, h, w, seed, largest=40):
    random = np.random.default_rng(seed)
    m = len(tensors["exponent"])
    symbols = random.integers(-largest, largest + 1, (m, h, w)) * (random.random((m, h, w)) < 0.4)
    return symbols, random.integers(-3000, 3000, (m, h, w)), random.uniform(0.05, 3, m).astype(np.float32)


def _syntheses():
    made = []
    for i, (h, w) in enumerate([(1, 1), (1, 7), (5, 3), (9, 4)]):
        tensors = synthesis_tensors()
        made.append(conformance.synthesis_case(tensors, *_inputs(tensors, h, w, i)))
    for i, sizes in enumerate(
        [
            {"layers": 0, "predicted": 0},
            {"layers": 5, "width": 32, "hidden": 64, "known": 40, "predicted": 32},
            {"layers": 1, "width": 10, "hidden": 18, "known": 6, "predicted": 5},
        ]
    ):
        tensors = synthesis_tensors(**sizes)
        made.append(conformance.synthesis_case(tensors, *_inputs(tensors, 6, 5, i)))
    tensors = synthesis_tensors()
    symbols, mean, step = _inputs(tensors, 4, 3, 9, largest=32767)
    extremes = np.where(mean > 0, 32767, -32768)
    return [*made, conformance.synthesis_case(tensors, symbols, extremes, step * np.float32(1000))]


@pytest.fixture(scope="session")
def whole_set():
    layers, count = conformance.layer_set()
    syntheses = _syntheses()
    return layers + b"".join(syntheses) + bytes(4), count + len(syntheses)


@pytest.mark.parametrize("target", cross.TARGETS)
def test_every_set_of_kernels_gives_the_integers_of_numpy(target, folder, whole_set):
    given, count = whole_set
    code, said = cross.run(target, cross.built(target, folder, SOURCES), given=given)
    lines = dict(re.findall(r"^(\w+): (.*)$", said, re.MULTILINE))
    assert code == 0, said
    assert {"portable", FASTEST[target]} <= set(lines)
    assert set(lines.values()) == {f"{count} cases, 0 differ"}


def test_a_wrong_value_is_seen(folder, whole_set):
    layers, _ = conformance.layer_set()
    code, said = cross.run(
        "native", cross.built("native", folder, SOURCES), given=layers[:-1] + b"\x7f" + bytes(4)
    )
    assert code == 1
    assert "1 differ" in said
