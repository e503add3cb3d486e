"""Symbols to bytes and back: one table of integer counts for each scale class, one ANS stream a call.

A symbol's class (0..31) is computed from integers alone (``decant.scales``), so every machine picks the same
table. Class 0 is never coded: its symbols are 0. In classes of mostly zeros only the others are coded, each
with the run of zeros before it. docs/format.md, "Latent layout `grid`", has the order of the letters in a
stream; ``constriction`` codes them, with the stored counts taken exactly.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from constriction import stream as coding

from decant.errors import BundleError, FormatError

AnsCoder = coding.stack.AnsCoder
Categorical, Uniform = coding.model.Categorical, coding.model.Uniform

CLASSES = 32
TOTAL_BITS = 24
TOTAL = 1 << TOTAL_BITS
LARGEST_SYMBOL = 32767
LARGEST_RUN = 1023
_LENGTHS = 32
_PART_BITS = 16  # uniform letters hold at most this many bits of a number
_NONE = np.zeros(0, np.int64)


class EntropyTables:
    """The tables of one bundle, with the coder's models, which are built when first used.

    ``radius`` (32,): class c codes -radius..radius directly, and then the escape. ``runs`` (32,): 0 where
    each symbol of a class is a letter; elsewhere zeros are coded as runs, those shorter than this directly.
    Reading is safe from several threads.
    """

    def __init__(
        self,
        radius: np.ndarray,
        counts: list[np.ndarray],
        runs: np.ndarray,
        run_counts: list[np.ndarray],
    ) -> None:
        self.radius = radius
        self.runs = runs
        self._counts = counts
        self._run_counts = run_counts
        self._models: dict[tuple[int, bool], Any] = {}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> "EntropyTables":
        """The tables named ``entropy.*`` in tables.safetensors. Raises BundleError."""
        radius = _tensor(tensors, "entropy.radius", np.uint8, CLASSES)
        runs = _tensor(tensors, "entropy.runs", np.uint16, CLASSES)
        for name, table in (("radius", radius), ("runs", runs)):
            if table[0] != 0:
                raise BundleError(f"tables: entropy.{name} begins with {table[0]}; 0 expected for class 0")
        if runs.max() > LARGEST_RUN:
            raise BundleError(f"tables: entropy.runs holds {runs.max()}; at most {LARGEST_RUN} expected")
        if ((runs > 0) & (radius == 0)).any():
            raise BundleError("tables: entropy.radius is 0 for a class with runs; at least 1 expected")
        both = list(zip(radius[1:].tolist(), runs[1:].tolist(), strict=True))
        counts = _split(tensors, "entropy.counts", [0, *(2 * r + (1 if length else 2) for r, length in both)])
        run_counts = _split(
            tensors, "entropy.run_counts", [0, *(length and length + 1 for _, length in both)]
        )
        return cls(radius, counts, runs, run_counts)

    def to_tensors(self) -> dict[str, np.ndarray]:
        """The tensors that ``from_tensors`` reads."""
        return {
            "entropy.radius": self.radius,
            "entropy.runs": self.runs,
            "entropy.counts": np.concatenate(self._counts),
            "entropy.run_counts": np.concatenate(self._run_counts),
        }

    def encode(self, symbols: np.ndarray, classes: np.ndarray) -> bytes:
        """Integers ``symbols`` with their ``classes`` (uint8, same shape) -> one stream.

        Symbols of class 0 are left out, others are clipped to +-32767.
        """
        flat = classes.reshape(-1)
        coded, order, sizes = _by_class(flat)
        values = np.clip(symbols.reshape(-1)[coded[order]], -LARGEST_SYMBOL, LARGEST_SYMBOL).astype(np.int32)
        steps: list[tuple[Any, np.ndarray]] = []
        escaped: list[np.ndarray] = []
        for c, start, stop in _ranges(sizes):
            self._class_letters(c, values[start:stop], steps, escaped)
        coder = AnsCoder()
        if escaped:
            _encode_numbers(coder, np.concatenate(escaped))
        for model, letters in reversed(steps):
            coder.encode_reverse(letters, model)
        stream: bytes = coder.get_compressed().astype("<u4").tobytes()
        return stream

    def _class_letters(
        self, c: int, values: np.ndarray, steps: list[tuple[Any, np.ndarray]], escaped: list[np.ndarray]
    ) -> None:
        """Append the letters of one class to ``steps``, and what its escapes stand for to ``escaped``."""
        radius, limit = int(self.radius[c]), int(self.runs[c])
        if limit:
            at = np.flatnonzero(values)
            for bits, shift in _number_parts(len(values).bit_length()):
                steps.append((Uniform(1 << bits), np.array([len(at) >> shift & (1 << bits) - 1], np.int32)))
            if not len(at):
                return
            runs = np.diff(at, prepend=-1) - 1
            steps.append((self._model(c, True), np.minimum(runs, limit).astype(np.int32)))
            escaped.append(runs[runs >= limit] - limit)
            values = values[at]
        outside = np.abs(values) > radius
        letters = values + radius
        if limit:
            letters -= values > 0
        steps.append((self._model(c, False), np.where(outside, 2 * radius + (limit == 0), letters)))
        beyond = values[outside].astype(np.int64)
        escaped.append(2 * (np.abs(beyond) - radius - 1) + (beyond < 0))

    def decode(self, data: bytes | memoryview, classes: np.ndarray, source: str) -> np.ndarray:
        """One stream -> float32 array of the shape of ``classes`` (uint8) that holds integers.

        Raises FormatError when the stream is not one of exactly these symbols; ``source`` names it.
        """
        coder = _coder(data, source)
        symbols = np.zeros(classes.size, np.float32)
        coded, order, sizes = _by_class(classes.reshape(-1))
        found = [self._decode_class(coder, c, order[i:j], source) for c, i, j in _ranges(sizes)]
        self._decode_escaped(coder, found, source)
        if not coder.is_empty():
            raise FormatError(f"{source}: the stream does not end with its last symbol: it is damaged")
        if found:
            places = np.concatenate([part.places(source) for part in found])
            symbols[coded.take(places)] = np.concatenate([part.symbols for part in found]).astype(np.float32)
        return symbols.reshape(classes.shape)

    def _decode_class(self, coder: Any, c: int, positions: np.ndarray, source: str) -> "_Decoded":
        """The symbols of class ``c``, at ``positions`` among those coded. Escapes stand as runs[c] and
        radius[c] + 1, the numbers after the last that has a letter.
        """
        radius, n = int(self.radius[c]), len(positions)
        if not self.runs[c]:
            return _Decoded(c, positions, None, coder.decode(self._model(c, False), n) - radius)
        count = 0
        for bits, shift in _number_parts(n.bit_length()):
            count += coder.decode(Uniform(1 << bits)) << shift
        if count > n:
            raise FormatError(f"{source}: {count} symbols of class {c} are not 0; there are {n}")
        runs = coder.decode(self._model(c, True), count)
        symbols = coder.decode(self._model(c, False), count) - radius
        symbols += symbols >= 0
        return _Decoded(c, positions, runs, symbols)

    def _decode_escaped(self, coder: Any, found: list["_Decoded"], source: str) -> None:
        """Put what the escapes of all classes stand for in their places."""
        runs, symbols = [], []
        for part in found:
            runs.append(_NONE if part.runs is None else np.flatnonzero(part.runs == self.runs[part.c]))
            symbols.append(np.flatnonzero(part.symbols > self.radius[part.c]))
        numbers = _decode_numbers(coder, sum(map(len, runs)) + sum(map(len, symbols)))
        at = 0
        for part, run, symbol in zip(found, runs, symbols, strict=True):
            if part.runs is not None and len(run):
                beyond = numbers[at : at + len(run)] + int(self.runs[part.c])
                part.runs[run] = np.minimum(beyond, len(part.positions))
            at += len(run)
            if len(symbol):
                beyond = numbers[at : at + len(symbol)]
                size = (beyond >> 1) + int(self.radius[part.c]) + 1
                if size.max() > LARGEST_SYMBOL:
                    raise FormatError(
                        f"{source}: a symbol of size {size.max()}; at most {LARGEST_SYMBOL} expected"
                    )
                part.symbols[symbol] = np.where(beyond & 1, -size, size)
            at += len(symbol)

    def _model(self, c: int, runs: bool) -> Any:
        """The coder's model of class ``c``: of its symbols, or of its runs of zeros."""
        model = self._models.get((c, runs))
        if model is None:
            counts = self._run_counts[c] if runs else self._counts[c]
            model = self._models[c, runs] = exact_model(counts)
        return model

    def cost_bits(self) -> np.ndarray:
        """float32 (32, 2R + 1): bits that symbols -R..R cost in each class, R the largest radius.

        In a class with runs a zero costs what it adds to a run's length, any other symbol the end of its run
        besides its letter. In class 0, 0 is free and any other symbol impossible (infinity).
        """
        largest = int(self.radius.max())
        symbols = np.arange(-largest, largest + 1)
        bits = np.full((CLASSES, len(symbols)), np.inf)
        bits[0, largest] = 0
        for c in range(1, CLASSES):
            radius = int(self.radius[c])
            letters = TOTAL_BITS - np.log2(self._counts[c])
            inside = np.abs(symbols) <= radius
            beyond = 2 * (np.abs(symbols[~inside]) - radius - 1) + (symbols[~inside] < 0)
            bits[c, ~inside] = letters[-1] + np.log2(_LENGTHS) + np.floor(np.log2(beyond + 1))
            if self.runs[c]:
                ended = self._run_counts[c][0] / TOTAL
                bits[c, inside] = np.insert(letters[:-1], radius, 0)
                bits[c] -= np.log2(ended)
                bits[c, largest] = -np.log1p(-ended) / np.log(2)
            else:
                bits[c, inside] = letters[:-1]
        return bits.astype(np.float32)


@dataclass
class _Decoded:
    """The symbols of one class: all that are at ``positions``, or with ``runs`` those that are not 0, each
    after so many zeros.
    """

    c: int
    positions: np.ndarray
    runs: np.ndarray | None
    symbols: np.ndarray

    def places(self, source: str) -> np.ndarray:
        """Where the symbols are. Raises FormatError when a run ends beyond the class."""
        if self.runs is None or not len(self.runs):
            return self.positions[: len(self.symbols)]
        at = np.cumsum(self.runs + 1, dtype=np.int64) - 1
        if at[-1] >= len(self.positions):
            raise FormatError(
                f"{source}: symbols of class {self.c} reach {at[-1] + 1}; there are {len(self.positions)}"
            )
        places: np.ndarray = self.positions.take(at)
        return places


def exact_model(counts: np.ndarray) -> Any:
    """The coder's model with exactly these counts (each >= 1, sum 2^24)."""
    return Categorical(counts.astype(np.float64) / TOTAL, perfect=True)


def integer_counts(probabilities: np.ndarray, total: int = TOTAL) -> np.ndarray:
    """uint32 counts (n,), each >= 1 and together ``total`` >= n, nearest to ``probabilities``, which need no
    sum of 1: what is rarer than one in ``total`` counts 1, and of the rest the largest remainders round up.
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
    """uint32 (length + 1,), sum 2^24: how often 0, 1, ..., length - 1 zeros come before a symbol that is not
    0, where symbols are independent, and last how often more do.
    """
    p = zero_probability ** np.arange(length + 1)
    return integer_counts(np.append(p[:-1] * (1 - zero_probability), p[-1]))


def recommended_runs(zero_probability: float) -> int:
    """How many lengths of runs to give letters: so many that 1/512 of the runs are left to escapes, at most
    ``LARGEST_RUN``; 0 (no runs) for classes of less than 0.6 zeros, whose symbols cost hardly more letters
    than runs would.
    """
    if zero_probability < 0.6:
        return 0
    if zero_probability > 0.5 ** (9 / LARGEST_RUN):
        return LARGEST_RUN
    return int(np.ceil(9 / -np.log2(zero_probability)))


def _tensor(tensors: Mapping[str, np.ndarray], name: str, dtype: type, size: int) -> np.ndarray:
    tensor = tensors.get(name)
    if tensor is None or tensor.dtype != dtype or tensor.shape != (size,):
        raise BundleError(f"tables: {name} is not {np.dtype(dtype)} ({size},)")
    return tensor


def _split(tensors: Mapping[str, np.ndarray], name: str, sizes: list[int]) -> list[np.ndarray]:
    """The counts of each class, checked. Raises BundleError."""
    counts = _tensor(tensors, name, np.uint32, sum(sizes))
    parts: list[np.ndarray] = np.split(counts, np.cumsum(sizes)[:-1])
    for c, part in enumerate(parts):
        if len(part) and (part.min() < 1 or int(part.sum(dtype=np.uint64)) != TOTAL):
            raise BundleError(f"tables: {name} of class {c}: counts of at least 1 and sum 2^24 expected")
    return parts


def _by_class(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the symbols of classes 1..31 are; their order by class and then position; and how many each class
    has.
    """
    coded = np.flatnonzero(flat != 0)
    classes = flat.take(coded)
    order = np.argsort(classes, kind="stable")  # a radix sort, for bytes
    ends = np.searchsorted(classes, np.arange(CLASSES + 1, dtype=np.uint8), sorter=order)
    return coded, order, np.diff(ends)


def _ranges(sizes: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(class, start, stop) of the classes that have symbols."""
    start = 0
    for c, size in enumerate(sizes.tolist()):
        if size:
            yield c, start, start + size
            start += size


def _coder(data: bytes | memoryview, source: str) -> Any:
    if len(data) % 4:
        raise FormatError(f"{source}: a stream of {len(data)} bytes; a multiple of 4 expected")
    words = np.frombuffer(data, "<u4").astype(np.uint32)
    if len(words) and words[-1] == 0:
        raise FormatError(f"{source}: a stream ends in a zero word, which no encoder writes")
    return AnsCoder(words)


def _number_parts(bits: int) -> list[tuple[int, int]]:
    """(bits, shift) of the letters that hold a number of ``bits`` bits, at most 32; the high part first."""
    high = bits - _PART_BITS
    return [(high, _PART_BITS), (_PART_BITS, 0)] if high > 0 else [(bits, 0)]


def _encode_numbers(coder: Any, numbers: np.ndarray) -> None:
    """Push int64 numbers 0..2^32 - 2: their lengths, the high parts of the long ones, the low parts of all;
    number + 1 has (length + 1) bits, its leading one implied.
    """
    lengths = np.frexp((numbers + 1).astype(np.float64))[1] - 1
    stored = numbers + 1 - np.left_shift(1, lengths, dtype=np.int64)
    for low in (True, False):
        bits = np.minimum(lengths, _PART_BITS) if low else lengths - _PART_BITS
        has = bits > 0
        if has.any():
            sizes = np.left_shift(1, bits[has]).astype(np.int32)
            part = stored[has] if low else stored[has] >> _PART_BITS
            coder.encode_reverse((part & (sizes - 1)).astype(np.int32), Uniform(), sizes)
    coder.encode_reverse(lengths.astype(np.int32), Uniform(_LENGTHS))


def _decode_numbers(coder: Any, count: int) -> np.ndarray:
    """int64 (count,), each 0..2^32 - 2: what ``_encode_numbers`` pushed."""
    if not count:
        return _NONE
    lengths = coder.decode(Uniform(_LENGTHS), count)
    numbers: np.ndarray = np.left_shift(1, lengths, dtype=np.int64)
    for low in (False, True):
        bits = np.minimum(lengths, _PART_BITS) if low else lengths - _PART_BITS
        if (has := np.flatnonzero(bits > 0)).size:
            part = coder.decode(Uniform(), np.left_shift(1, bits[has]).astype(np.int32)).astype(np.int64)
            numbers[has] += part if low else part << _PART_BITS
    numbers -= 1
    return numbers
