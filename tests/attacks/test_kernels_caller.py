"""The C module checks what its caller gives: every wrong argument is a ValueError, never memory of others."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from decant.bundles.bundle import Bundle
from decant.codec.entropy import native
from decant.layouts.registry import layout_of

kernels = pytest.importorskip("decant._libdcn", reason="the C module is not built here")
NANO = Path(__file__).parents[2] / "artifacts/decant_bundles/nano"
RADIUS, RUNS, COUNTS, RUN_COUNTS, CHANNELS, HYPER, CLASS_WIDTH, CONTEXT_WIDTH, MIXED_WIDTH = range(9)
HIDDEN_BIAS, STAGES = 10, 13


@pytest.fixture(scope="module")
def arguments() -> list[Any]:
    """What ``kernels.tables`` is given for the bundle nano."""
    given: list[Any] = []

    def record(*values: Any) -> Any:
        given[:] = values
        return kernels.tables(*values)

    bundle = Bundle.open(NANO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_KERNELS", SimpleNamespace(tables=record))
        layout_of(bundle.model, bundle.tables)
    assert len(given) == 14
    return given


def changed(index: int, change: Callable[[Any], Any]) -> Callable[[list[Any]], list[Any]]:
    def make(arguments: list[Any]) -> list[Any]:
        made = list(arguments)
        made[index] = change(np.array(made[index]) if isinstance(made[index], np.ndarray) else made[index])
        return made

    return make


def with_value(place: int, value: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array.reshape(-1)[place] = value
        return array

    return change


def added(place: int, value: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: with_value(place, int(array.reshape(-1)[place]) + value)(array)


WRONG_TABLES = {
    "counts that leave quantiles without a letter": changed(COUNTS, added(0, -1)),
    "counts beyond all quantiles": changed(COUNTS, added(0, 1)),
    "counts whose sum wraps in 32 bits": changed(COUNTS, with_value(0, 2**32 - 1)),
    "counts of runs that leave a gap": changed(RUN_COUNTS, added(0, -1)),
    "a bias that wraps with the half that rounds": changed(HIDDEN_BIAS, with_value(0, 2**31 - 1)),
    "a width whose products wrap": changed(CLASS_WIDTH, lambda _: 2**31 - 1),
    "a width below zero": changed(CONTEXT_WIDTH, lambda _: -1),
    "no width": changed(HYPER, lambda _: 0),
    "channels whose products wrap": changed(CHANNELS, lambda _: 2**31 - 1),
    "stages that are no tuples": changed(STAGES, lambda stages: (3, *stages[1:])),
    "stages whose channels wrap": changed(
        STAGES, lambda stages: ((2**31 - 1, *stages[0][1:]), (2**31 - 1, *stages[1][1:]), *stages[2:])
    ),
    "a context without weights": changed(STAGES, lambda s: (s[0], (s[1][0], None, *s[1][2:]), *s[2:])),
}


@pytest.mark.parametrize("reason", WRONG_TABLES)
def test_wrong_tables_are_refused(arguments: list[Any], reason: str):
    kernels.tables(*arguments)
    with pytest.raises(ValueError, match=r"."):
        kernels.tables(*WRONG_TABLES[reason](arguments))


def group_arguments(arguments: list[Any]) -> list[Any]:
    """Good arguments of ``decode_tile``: 4 x 4 latents of an empty stream."""
    channels, hyper = arguments[CHANNELS], arguments[HYPER]
    stages = arguments[STAGES]
    halved = sum(stage[0] for stage in stages if stage[2] is not None)
    return [
        kernels.tables(*arguments),
        b"",
        np.zeros((hyper, 1, 1), np.int32),
        (1, 1, 0, 0),
        np.full(channels, -(4 << 15), np.int32),
        np.ones(halved, np.float32),
        (4, 4),
        np.zeros((channels, 4, 4), np.float32),
        np.zeros((halved, 4, 4), np.float32),
    ]


def misaligned(array: np.ndarray) -> np.ndarray:
    """The same numbers, one byte beside where they should lie."""
    buffer = bytearray(array.nbytes + 8)
    start = 1 - np.frombuffer(buffer, np.uint8).ctypes.data % 4 + 4
    view = np.frombuffer(buffer, array.dtype, array.size, start).reshape(array.shape)
    view[...] = array
    return view


WRONG_GROUPS = {
    "an offset beyond exact sums": changed(4, with_value(0, 2**31 - 1)),
    "an offset below exact sums": changed(4, with_value(0, -(2**31))),
    "a group beyond the hyperlatents": changed(6, lambda _: (5, 4)),
    "a group of no rows": changed(6, lambda _: (0, 4)),
    "sides whose product wraps": changed(6, lambda _: (2**31 - 1, 2**31 - 1)),
    "hyperlatents whose size wraps": changed(3, lambda _: (2**30, 2**30, 0, 0)),
    "a corner that wraps": changed(3, lambda _: (1, 1, 2**31 - 1, 0)),
    "a corner before the first": changed(3, lambda _: (1, 1, -1, 0)),
    "a stream of half words": changed(1, lambda _: b"abc"),
    "room for fewer symbols": changed(7, lambda array: np.zeros(array.size - 1, np.float32)),
    "room that may not be written": changed(7, lambda array: array.tobytes()),
    "numbers that are not aligned": changed(7, misaligned),
}


@pytest.mark.parametrize("reason", WRONG_GROUPS)
def test_wrong_groups_are_refused(arguments: list[Any], reason: str):
    good = group_arguments(arguments)
    assert kernels.decode_tile(*good) is None
    with pytest.raises((ValueError, BufferError), match=r"."):
        kernels.decode_tile(*WRONG_GROUPS[reason](good))


def test_symbols_that_are_not_zero_are_survived(arguments: list[Any]):
    """A size is taken of every symbol known before: also of one that is no number."""
    good = group_arguments(arguments)
    good[7] = np.full_like(good[7], np.nan)
    good[7][::2] = np.inf
    kernels.decode_tile(*good)


@pytest.mark.parametrize("place", [0, 7, 63])
def test_a_class_beyond_the_last_is_refused(arguments: list[Any], place: int):
    classes = np.zeros(64, np.uint8)
    classes[place] = 32
    with pytest.raises(ValueError, match="class beyond 31"):
        kernels.decode_part(kernels.tables(*arguments), b"", classes, np.zeros(64, np.float32))


def test_tables_of_another_module_are_refused():
    with pytest.raises(ValueError, match=r"."):
        kernels.decode_part(object(), b"", np.zeros(8, np.uint8), np.zeros(8, np.float32))
