"""The runtime `native`: the integer synthesis in C against a numpy decoder written from docs/synthesis.md."""

import numpy as np
import pytest
import reference_synthesis as reference
from decant.backends.sessions import create_session
from decant.errors import BundleError
from decant.formats.manifest import Graph, TensorSpec
from safetensors.numpy import save

libdcn = pytest.importorskip("decant._libdcn", reason="the runtime native is not built here")

KERNELS = ["portable", "avx2", "avx512"]
SIZES = [(1, 1), (1, 7), (2, 3), (5, 13), (9, 4), (16, 11)]


def _layer(random, name, outputs, side, inputs, shift, dtype=np.int16, largest=90):
    return {
        f"{name}.weight": random.integers(-largest, largest + 1, (outputs, side, side, inputs)).astype(dtype),
        f"{name}.bias": random.integers(-(2**20), 2**20, outputs).astype(np.int32),
        f"{name}.shift": random.integers(shift, shift + 3, outputs).astype(np.uint8),
    }


def synthesis_tensors(latents=40, width=24, layers=2, hidden=48, known=16, predicted=20, first=8, seed=0):
    """A random synthesis whose values use most of the 16 bits."""
    random = np.random.default_rng(seed)
    tensors = {
        "exponent": random.integers(4, 9, latents).astype(np.uint8),
        "sizes": np.array([width, layers, first], np.int32),
        **_layer(random, "up", 16 * width, 1, latents, 6),
        **_layer(random, "last", 48, 3, width, 11),
    }
    if predicted:
        tensors |= _layer(random, "prediction", predicted, 3, known, 9, np.int8)
    for i in range(layers):
        tensors |= _layer(random, f"render.{i}.first", hidden, 3, width, 9)
        tensors |= _layer(random, f"render.{i}.second", width, 1, hidden, 8)
    return tensors


def mean_tensors(hyper=6, widths=(12, 10), latents=40, seed=1):
    random = np.random.default_rng(seed)
    return {
        "exponent": random.integers(4, 9, latents).astype(np.uint8),
        **_layer(random, "mean.0", 4 * widths[0], 3, hyper, 5, np.int8),
        **_layer(random, "mean.1", 4 * widths[1], 3, widths[0], 8, np.int8),
        **_layer(random, "mean.2", latents, 1, widths[1], 6, np.int8),
    }


def with_contexts(tensors, groups=((6, 10), (3, 8)), seed=2):
    """Means with checkerboard mean contexts of the first groups of (channels, hidden values)."""
    random, made = np.random.default_rng(seed), dict(tensors)
    for i, (channels, hidden) in enumerate(groups):
        made |= _layer(random, f"near.{i}.hidden", hidden, 1, 4 * channels, 7, np.int8)
        made |= _layer(random, f"near.{i}.out", channels, 1, hidden, 7, np.int8)
    return made


def _graph(role, inputs, output):
    specs = tuple(TensorSpec(name, "float32", shape) for name, shape in inputs)
    return Graph(role, "int16", "native", (), specs, (TensorSpec(*output),))


def synthesis_session(tensors, threads=1, latents=None):
    m = len(tensors["exponent"]) if latents is None else latents
    inputs = [("symbols", (1, m, "h", "w")), ("mean", (1, m, "h", "w")), ("step", (1, m, 1, 1))]
    graph = _graph("synthesis", inputs, ("pixels", "uint8", (1, "height", "width", 3)))
    return create_session(graph, [save(tensors)], threads=threads)


def mean_session(tensors, threads=1):
    hyper = tensors["mean.0.weight"].shape[3]
    inputs = [("hyperlatents", (1, hyper, "hyper_h", "hyper_w"))]
    graph = _graph("hyper_mean", inputs, ("mean", "float32", (1, len(tensors["exponent"]), "h", "w")))
    return create_session(graph, [save(tensors)], threads=threads)


def _inputs(tensors, h, w, seed=3, largest=40):
    random = np.random.default_rng(seed)
    m = len(tensors["exponent"])
    symbols = random.integers(-largest, largest + 1, (m, h, w)) * (random.random((m, h, w)) < 0.4)
    mean = random.integers(-3000, 3000, (m, h, w))
    step = random.uniform(0.05, 3, m).astype(np.float32)
    return symbols, mean, step


def _decoded(session, tensors, symbols, mean, step):
    units = np.ldexp(np.float32(1), -tensors["exponent"].astype(int))[:, None, None].astype(np.float32)
    given = (
        symbols[None].astype(np.float32),
        (mean * units)[None].astype(np.float32),
        step[None, :, None, None],
    )
    return session.run(*given)[0]


@pytest.fixture(params=KERNELS)
def kernels(request, monkeypatch):
    monkeypatch.setenv("DCN_KERNELS", request.param)
    if libdcn.kernels() != request.param:
        pytest.skip(f"this processor has no {request.param}")
    return request.param


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("h", "w"), SIZES)
def test_every_kernel_gives_the_pixels_of_the_document(kernels, h, w, threads):
    tensors = synthesis_tensors()
    symbols, mean, step = _inputs(tensors, h, w)
    expected = reference.pixels(tensors, symbols, step, mean)
    assert expected.std() > 16  # neither black nor white alone
    found = _decoded(synthesis_session(tensors, threads), tensors, symbols, mean, step)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "sizes",
    [
        {"layers": 0, "predicted": 0},
        {"layers": 5, "width": 32, "hidden": 64, "known": 40, "predicted": 32},
        {"layers": 1, "width": 10, "hidden": 18, "known": 6, "predicted": 5},
        {"latents": 64, "layers": 3, "width": 8, "hidden": 8, "first": 0, "predicted": 64},
    ],
)
def test_networks_of_other_sizes(kernels, sizes):
    tensors = synthesis_tensors(**sizes)
    symbols, mean, step = _inputs(tensors, 12, 9)
    found = _decoded(synthesis_session(tensors), tensors, symbols, mean, step)
    np.testing.assert_array_equal(found, reference.pixels(tensors, symbols, step, mean))


def test_the_largest_symbols_and_means_saturate_as_the_document_says(kernels):
    tensors = synthesis_tensors()
    symbols, mean, step = _inputs(tensors, 6, 5, largest=32767)
    mean = np.where(mean > 0, 32767, -32768)
    step *= np.float32(1000)
    found = _decoded(synthesis_session(tensors), tensors, symbols, mean, step)
    np.testing.assert_array_equal(found, reference.pixels(tensors, symbols, step, mean))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("hz", "wz"), [(1, 1), (3, 2), (5, 9)])
def test_means_are_those_of_the_document(kernels, hz, wz, threads):
    tensors = mean_tensors()
    v = np.random.default_rng(5).integers(-900, 900, (6, hz, wz))
    expected = reference.means(tensors, v)
    assert len(np.unique(expected)) > 20
    session = mean_session(tensors, threads)
    given = (v[None] / 16).astype(np.float32)
    units = np.ldexp(1.0, -tensors["exponent"].astype(int))[:, None, None]
    np.testing.assert_array_equal(session.run(given)[0], expected * units)
    np.testing.assert_array_equal(session.start(given)()[0], expected * units)


@pytest.mark.parametrize(("h", "w"), [(1, 1), (1, 2), (2, 1), (7, 4), (16, 21)])
def test_mean_contexts_are_those_of_the_document(kernels, h, w):
    tensors = with_contexts(mean_tensors())
    symbols, mean, step = _inputs(tensors, h, w)
    units = np.ldexp(1.0, -tensors["exponent"].astype(int))[:, None, None]
    found = (mean * units).astype(np.float32)
    mean_session(tensors).add_context(found, symbols.astype(np.float32), step)
    expected = reference.with_context(tensors, mean, symbols, step)
    np.testing.assert_array_equal(found, expected * units)
    assert h * w == 1 or (expected != mean).any()


def test_contexts_of_more_channels_than_there_are_refused():
    with pytest.raises(BundleError, match="do not fit together"):
        mean_session(with_contexts(mean_tensors(), ((30, 10), (11, 10))))


def _changed(**changes):
    return {key: value for key, value in (synthesis_tensors() | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (_changed(**{"up.bias": None}), "up.bias is not int32"),
        (_changed(**{"up.weight": np.zeros((384, 1, 1, 40), np.float32)}), "up.weight is not int8 or int16"),
        (_changed(**{"last.weight": np.zeros((48, 3, 2, 24), np.int16)}), "kernels of 3x2"),
        (_changed(extra=np.zeros(1)), "unknown tensors extra"),
        (_changed(**{"last.weight": np.full((48, 3, 3, 24), 32767, np.int16)}), "could leave 32 bits"),
        (_changed(**{"last.shift": np.zeros(48, np.uint8)}), "do not fit together"),
        (_changed(sizes=np.array([24, 3, 8], np.int32)), r"render.2.first.weight is not"),
        (_changed(sizes=np.array([24, 1000, 8], np.int32)), "1000 layers"),
        (_changed(sizes=np.array([24, 2, 30], np.int32)), "do not fit together"),
        (_changed(exponent=np.full(40, 200, np.uint8)), "do not fit together"),
    ],
)
def test_tensors_that_cannot_be_are_refused_by_name(tensors, said):
    with pytest.raises(BundleError, match=said):
        synthesis_session(tensors)


def test_a_damaged_file_is_refused():
    graph = _graph(
        "synthesis", [("symbols", (1, 4, "h", "w"))], ("pixels", "uint8", (1, "height", "width", 3))
    )
    with pytest.raises(BundleError, match="not a safetensors file"):
        create_session(graph, [b"\x10" + bytes(40)], threads=1)


def test_inputs_that_do_not_fit_are_refused():
    session = synthesis_session(synthesis_tensors())
    ones = np.ones((1, 40, 2, 2), np.float32)
    with pytest.raises(BundleError, match="do not fit"):
        session.run(ones, np.ones((1, 40, 2, 3), np.float32), np.ones((1, 40, 1, 1), np.float32))
    with pytest.raises(BundleError, match="2 inputs given"):
        session.run(ones, ones)


def test_declared_inputs_must_be_those_of_the_tensors():
    with pytest.raises(BundleError, match="not those of its tensors"):
        synthesis_session(synthesis_tensors(), latents=41)
