"""Probabilities as integer counts. Integers give the same tables on every machine; floats would not."""

from typing import Any

import numpy as np
from constriction import stream as coding

Categorical, Uniform = coding.model.Categorical, coding.model.Uniform


TOTAL_BITS = 24


TOTAL = 1 << TOTAL_BITS


LARGEST_RUN = 1023


def exact_model(counts: np.ndarray) -> Any:
    """constriction's model with exactly these counts (each >= 1, sum 2^24)."""
    return Categorical(counts.astype(np.float64) / TOTAL, perfect=True)


def integer_counts(probabilities: np.ndarray, total: int = TOTAL) -> np.ndarray:
    """uint32 counts (n,), each >= 1 and of sum ``total`` >= n, that are nearest to ``probabilities``.

    The probabilities need not sum to 1. Symbols rarer than one in ``total`` get the count 1. The others are
    rounded by the method of largest remainders.
    """
    p = np.asarray(probabilities, np.float64)
    counts = np.ones(len(p), np.int64)
    rest = np.flatnonzero(p > 0) if p.any() else np.arange(len(p))
    share = p if p.any() else np.ones(len(p))
    while True:
        ideal = share[rest] / share[rest].sum() * (total - len(p) + len(rest))
        if (ideal >= 1).all():
            break
        rest = rest[ideal >= 1]
    counts[rest] = np.floor(ideal)
    missing = total - int(counts.sum())
    counts[rest[np.argsort(counts[rest] - ideal, kind="stable")[:missing]]] += 1
    integers: np.ndarray = counts.astype(np.uint32)
    return integers


def run_counts_of(zero_probability: float, length: int) -> np.ndarray:
    """Counts uint32 (length + 1,), sum 2^24, of runs of 0, 1, ..., length - 1 zeros before a nonzero symbol,
    for independent symbols. The last count is that of all longer runs.
    """
    p = zero_probability ** np.arange(length + 1)
    return integer_counts(np.append(p[:-1] * (1 - zero_probability), p[-1]))


def recommended_runs(zero_probability: float) -> int:
    """Number of run lengths that get a code of their own: 1/512 of the runs escape, and the number is at most
    ``LARGEST_RUN``. 0 (no runs) if less than 0.6 of the symbols are zeros: runs would save almost nothing.
    """
    if zero_probability < 0.6:
        return 0
    if zero_probability > 0.5 ** (9 / LARGEST_RUN):
        return LARGEST_RUN
    return int(np.ceil(9 / -np.log2(zero_probability)))
