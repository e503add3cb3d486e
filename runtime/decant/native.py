"""Streams of the layout ``grid`` decoded in C: the symbols and the refusals that ``decant.grid`` gives with
numpy and constriction, in less than half of the time.

``_kernels`` is compiled when the package is installed; where there is no C compiler, or where the environment
says ``DECANT_NATIVE=0``, ``decoder_of`` gives None and numpy decodes.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from decant.entropy import NOT_ENDED, TOO_FAR, TOO_LARGE, TOO_MANY, check_stream
from decant.errors import FormatError

VARIABLE = "DECANT_NATIVE"
_REFUSALS = (TOO_MANY, TOO_LARGE, TOO_FAR, NOT_ENDED)  # as _kernels.c numbers them, from 1 on


def _loaded() -> ModuleType | None:
    if sys.byteorder != "little":
        return None
    try:
        from decant import _kernels
    except ImportError:
        return None
    return _kernels


_KERNELS = _loaded()


def available() -> bool:
    """Whether streams are decoded in C here."""
    return _KERNELS is not None and os.environ.get(VARIABLE, "1") != "0"


def decoder_of(
    tensors: Mapping[str, np.ndarray],
    channels: int,
    class_width: int,
    context_width: int,
    stages: Sequence[int],
) -> "NativeDecoder | None":
    """The decoder of a layout's checked ``tensors`` (names of tables.safetensors), where there is one."""
    if not available():
        return None
    contexts = tuple(
        (
            count,
            tensors[f"context.{i}.hidden_weight"],
            tensors[f"context.{i}.hidden_bias"],
            tensors[f"context.{i}.out_weight"],
        )
        for i, count in enumerate(stages)
    )
    assert _KERNELS is not None
    return NativeDecoder(
        _KERNELS,
        _KERNELS.tables(
            *(tensors[f"entropy.{name}"] for name in ("radius", "runs", "counts", "run_counts")),
            channels,
            class_width,
            context_width,
            tensors["scale.out_weight"],
            tensors["context.magnitude"],
            contexts,
        ),
    )


class NativeDecoder:
    """The tables of one bundle in C. Safe to use from several threads, which do not wait for one another."""

    def __init__(self, kernels: ModuleType, tables: Any) -> None:
        self._kernels, self._tables = kernels, tables

    def decode_part(self, stream: bytes | memoryview, classes: np.ndarray, source: str) -> np.ndarray:
        """float32 array of integers, of the shape of ``classes`` (uint8): the symbols of a stream of one
        part. Raises FormatError.
        """
        check_stream(stream, source)
        classes = np.ascontiguousarray(classes, np.uint8)
        symbols = np.zeros(classes.shape, np.float32)
        _check(self._kernels.decode_part(self._tables, stream, classes, symbols), source)
        return symbols

    def decode_group(
        self,
        stream: bytes | memoryview,
        hidden: np.ndarray,
        offset: np.ndarray,
        rows: int,
        columns: int,
        source: str,
    ) -> np.ndarray:
        """float32 (M, rows, columns) of integers: the symbols of a group, whose first latent is that of
        ``hidden`` float32 (class_width, height, width), a Frame's; ``offset`` int32 (M,) are the quality's
        class offsets. Raises FormatError.
        """
        check_stream(stream, source)
        symbols = np.zeros((len(offset), rows, columns), np.float32)
        height, width = hidden.shape[1:]
        problem = self._kernels.decode_group(
            self._tables,
            stream,
            np.ascontiguousarray(hidden, np.float32),
            height,
            width,
            np.ascontiguousarray(offset, np.int32),
            rows,
            columns,
            symbols,
        )
        _check(problem, source)
        return symbols


def _check(problem: tuple[int, tuple[int, int, int]] | None, source: str) -> None:
    if problem is not None:
        kind, numbers = problem
        raise FormatError(f"{source}: {_REFUSALS[kind - 1].format(*numbers)}")
