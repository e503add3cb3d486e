"""Decodes streams of the layout ``grid`` in C, in less than half of the time of numpy and constriction.

The symbols and the refused streams are those of ``decant.codec.layout``. The module ``decant._libdcn`` is
compiled when the package is installed. Without a C compiler, or with ``DECANT_NATIVE=0`` in the environment,
``decoder_of`` returns None, and numpy decodes.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from decant.codec.entropy.checkerboard import mean_context_name
from decant.codec.entropy.context_network import non_anchor_name
from decant.codec.entropy.rans import NOT_ENDED, TOO_FAR, TOO_LARGE, TOO_MANY, check_stream
from decant.errors import FormatError
from decant.libdcn import library

VARIABLE = "DECANT_NATIVE"
MISSING = (
    "codec streams are decoded by numpy, in about twice the time: decant was installed without its C module; "
    "install a C compiler, then decant again"
)
_log = logging.getLogger("decant")
_NEAR = ("hidden_weight", "hidden_bias", "out_weight", "out_bias")
_REFUSALS = (TOO_MANY, TOO_LARGE, TOO_FAR, NOT_ENDED)  # as libdcn (rans.h) numbers them, from 1 on


_KERNELS = library()


def available() -> bool:
    """Whether streams are decoded in C here."""
    return _KERNELS is not None and os.environ.get(VARIABLE, "1") != "0"


def missing() -> bool:
    """Whether the C module is missing although the user did not turn it off."""
    return _KERNELS is None and os.environ.get(VARIABLE, "1") != "0"


@cache
def _say_missing() -> None:
    _log.warning("%s", MISSING)


def decoder_of(
    tensors: Mapping[str, np.ndarray],
    channels: int,
    hyper: int,
    class_width: int,
    context_width: int,
    mixed_width: int,
    channel_groups: Sequence[int],
    checkerboard_groups: int,
) -> "NativeDecoder | None":
    """The C decoder for a layout's checked ``tensors`` (names of tables.safetensors), or None if there is no
    C module.
    """
    if not available():
        if missing():
            _say_missing()
        return None
    weights = ["hidden_weight", "hidden_bias", "out_weight"]
    weights += ["mixed_weight", "below_weight", "mixed_bias"] if mixed_width else []

    def context(name: str) -> tuple[np.ndarray, ...]:
        return tuple(tensors[f"{name}.{weight}"] for weight in weights)

    def near(name: str) -> tuple[np.ndarray, ...]:
        return tuple(tensors[f"{name}.{weight}"].astype(np.float32) for weight in _NEAR)

    parts = tuple(
        (
            count,
            context(f"context.{i}") if i else None,
            context(non_anchor_name(i)) if i < checkerboard_groups else None,
            near(mean_context_name(i)) if i < checkerboard_groups else None,
        )
        for i, count in enumerate(channel_groups)
    )
    assert _KERNELS is not None
    tables = _KERNELS.tables(
        *(tensors[f"entropy.{name}"] for name in ("radius", "runs", "counts", "run_counts")),
        channels,
        hyper,
        class_width,
        context_width,
        mixed_width,
        *(tensors[f"scale.{name}"] for name in ("hidden_weight", "hidden_bias", "out_weight")),
        tensors["context.magnitude"],
        parts,
    )
    return NativeDecoder(_KERNELS, tables, channels, sum(channel_groups[:checkerboard_groups]))


class NativeDecoder:
    """The tables of one bundle in C. The first ``halved`` of the ``channels`` are those of groups with a
    checkerboard. Safe to use from several threads, which do not wait for one another.
    """

    def __init__(self, kernels: ModuleType, tables: Any, channels: int, halved: int) -> None:
        self._kernels, self._tables, self._channels, self._halved = kernels, tables, channels, halved

    def decode_part(self, stream: bytes | memoryview, scale_indices: np.ndarray, source: str) -> np.ndarray:
        """The symbols of a stream of one part: float32 that hold integers, of the shape of ``scale_indices``
        (uint8). Raises FormatError.
        """
        check_stream(stream, source)
        scale_indices = np.ascontiguousarray(scale_indices, np.uint8)
        symbols = np.zeros(scale_indices.shape, np.float32)
        _check(self._kernels.decode_part(self._tables, stream, scale_indices, symbols), source)
        return symbols

    def decode_tile(
        self,
        stream: bytes | memoryview,
        v: np.ndarray,
        tile: tuple[int, int, int, int],
        offset: np.ndarray,
        step: np.ndarray,
        source: str,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Decode a ``tile`` (y0, y1, x0, x1) of latents. Returns the symbols, float32 (M, rows, columns) that
        hold integers, and the corrections of means by anchors, float32 (halved, rows, columns).

        ``v`` int32 (hyper, hz, wz) are the picture's hyperlatents, ``offset`` int32 (M,) and ``step`` float32
        (M,) the quality's. Raises FormatError.
        """
        check_stream(stream, source)
        y0, y1, x0, x1 = tile
        rows, columns = y1 - y0, x1 - x0
        symbols = np.zeros((self._channels, rows, columns), np.float32)
        added = np.zeros((self._halved, rows, columns), np.float32)
        problem = self._kernels.decode_tile(
            self._tables,
            stream,
            np.ascontiguousarray(v, np.int32),
            (*v.shape[1:], y0 // 4, x0 // 4),
            np.ascontiguousarray(offset, np.int32),
            np.ascontiguousarray(step[: self._halved], np.float32),
            (rows, columns),
            symbols,
            added,
        )
        _check(problem, source)
        return symbols, added


def _check(problem: tuple[int, tuple[int, int, int]] | None, source: str) -> None:
    if problem is not None:
        kind, numbers = problem
        raise FormatError(f"{source}: {_REFUSALS[kind - 1].format(*numbers)}")
