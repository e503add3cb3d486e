"""Entropy coding of symbols by rANS (asymmetric numeral systems, Duda 2013, arXiv:1311.2540).

Each scale index (0..31) has a table of integer counts. The scale index of a symbol is computed in integers
(``decant.codec.entropy.scale_network``), so every machine takes the same table. Symbols of index 0 are 0 and
not coded. At indices where most symbols are 0, only the others are coded, each with the run of zeros before
it. Symbols outside a table are escapes; their values are bypass bits.

A stream has several parts. docs/format/grid.md has their order and that of the symbols. The coder is
``constriction``, with exactly the stored counts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from constriction import stream as coding

from decant.codec.entropy.counts import LARGEST_RUN, TOTAL, TOTAL_BITS, Uniform, exact_model
from decant.errors import BundleError, FormatError
from decant.formats.tensors import tensor_of

AnsCoder = coding.stack.AnsCoder

SCALES = 32
LARGEST_SYMBOL = 32767
_LENGTHS = 32
_PART_BITS = 16  # bypass bits that are coded at once


# Messages for refused streams.
TOO_MANY = "{} symbols of scale index {} are not 0; there are {}"
TOO_LARGE = f"a symbol of size {{}}; at most {LARGEST_SYMBOL} expected"
TOO_FAR = "symbols of scale index {} reach {}; there are {}"
NOT_ENDED = "the stream does not end with its last symbol: it is damaged"


_NO_SYMBOLS = np.zeros(0, np.int32)
_SCALE_ENDS = np.arange(SCALES + 1, dtype=np.uint8)
_UNIFORM = [None, *(Uniform(1 << bits) for bits in range(1, _PART_BITS + 1))]  # by their bits


class EntropyTables:
    """The tables of one bundle, and the coder's models, which are built when first used.

    * ``radius`` (32,): index c has codes for -radius..radius; all other symbols are escapes;
    * ``runs`` (32,): 0 if each symbol is coded by itself. Else zeros are coded as runs, and shorter runs than
      this have a code;
    * ``counts``: for each index, the counts of its symbols; the last one is that of escapes;
    * ``run_counts``: for each index, the counts of its runs, or an empty array.

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
        self.counts = counts
        self.run_counts = run_counts
        self._models: dict[tuple[int, bool], Any] = {}
        # The types with which decoding is fastest.
        self.run_lengths: list[int] = runs.tolist()
        self.int_radius, self.int_runs = radius.astype(np.int32), runs.astype(np.int32)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> "EntropyTables":
        """Read the tables ``entropy.*`` of tables.safetensors. Raises BundleError."""
        radius = tensor_of(tensors, "entropy.radius", np.uint8, (SCALES,))
        runs = tensor_of(tensors, "entropy.runs", np.uint16, (SCALES,))
        for name, table in (("radius", radius), ("runs", runs)):
            if table[0] != 0:
                raise BundleError(
                    f"tables: entropy.{name} begins with {table[0]}; 0 expected for scale index 0"
                )
        if runs.max() > LARGEST_RUN:
            raise BundleError(f"tables: entropy.runs holds {runs.max()}; at most {LARGEST_RUN} expected")
        if ((runs > 0) & (radius == 0)).any():
            raise BundleError("tables: entropy.radius is 0 for a scale index with runs; at least 1 expected")
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
            "entropy.counts": np.concatenate(self.counts),
            "entropy.run_counts": np.concatenate(self.run_counts),
        }

    def encode(self, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> bytes:
        """Encode the parts of one stream: symbols with their scale indices (uint8, same shape), in the order
        of decoding.

        Symbols of index 0 are left out. The others are clipped to +-32767.
        """
        coder = AnsCoder()
        for symbols, scale_indices in reversed(parts):
            coded, order, sizes = _by_scale_index(scale_indices.reshape(-1))
            values = symbols.reshape(-1).take(coded.take(order))
            values = np.clip(values, -LARGEST_SYMBOL, LARGEST_SYMBOL).astype(np.int32)
            steps: list[tuple[Any, np.ndarray]] = []
            bypass: list[np.ndarray] = []
            start = 0
            for c in np.flatnonzero(sizes).tolist():
                self._coded_symbols(c, values[start : start + sizes[c]], steps, bypass)
                start += sizes[c]
            if bypass:
                _encode_numbers(coder, np.concatenate(bypass))
            for model, codes in reversed(steps):
                coder.encode_reverse(codes, model)
        stream: bytes = coder.get_compressed().astype("<u4").tobytes()
        return stream

    def _coded_symbols(
        self, c: int, values: np.ndarray, steps: list[tuple[Any, np.ndarray]], bypass: list[np.ndarray]
    ) -> None:
        """Append the codes of scale index ``c`` to ``steps``, and the values of escapes to ``bypass``."""
        radius, limit = int(self.radius[c]), int(self.runs[c])
        if limit:
            at = np.flatnonzero(values)
            for bits, shift in _number_parts(len(values).bit_length()):
                steps.append((Uniform(1 << bits), np.array([len(at) >> shift & (1 << bits) - 1], np.int32)))
            if not len(at):
                return
            runs = np.diff(at, prepend=-1) - 1
            steps.append((self.model(c, True), np.minimum(runs, limit).astype(np.int32)))
            bypass.append(runs[runs >= limit] - limit)
            values = values[at]
        outside = np.abs(values) > radius
        codes = values + radius
        if limit:
            codes -= values > 0
        steps.append((self.model(c, False), np.where(outside, 2 * radius + (limit == 0), codes)))
        beyond = values[outside].astype(np.int64)
        bypass.append(2 * (np.abs(beyond) - radius - 1) + (beyond < 0))

    def decoder(self, data: bytes | memoryview, source: str) -> "StreamDecoder":
        """A decoder of one stream, part by part. ``source`` names it in errors. Raises FormatError."""
        return StreamDecoder(self, data, source)

    def model(self, c: int, runs: bool) -> Any:
        """The coder's model of scale index ``c``: of its symbols, or of its runs of zeros."""
        model = self._models.get((c, runs))
        if model is None:
            counts = self.run_counts[c] if runs else self.counts[c]
            model = self._models[c, runs] = exact_model(counts)
        return model

    def cost_bits(self) -> np.ndarray:
        """Bits that symbols -R..R cost at each scale index, float32 (32, 2R + 1). R is the largest radius.

        At an index with runs, the cost of a zero is what it adds to the length of a run. The cost of any
        other symbol includes the end of its run. At index 0, a zero is free and any other symbol impossible
        (infinite cost).
        """
        largest = int(self.radius.max())
        symbols = np.arange(-largest, largest + 1)
        bits = np.full((SCALES, len(symbols)), np.inf)
        bits[0, largest] = 0
        for c in range(1, SCALES):
            radius = int(self.radius[c])
            codes = TOTAL_BITS - np.log2(self.counts[c])
            inside = np.abs(symbols) <= radius
            beyond = 2 * (np.abs(symbols[~inside]) - radius - 1) + (symbols[~inside] < 0)
            bits[c, ~inside] = codes[-1] + np.log2(_LENGTHS) + np.floor(np.log2(beyond + 1))
            if self.runs[c]:
                ended = self.run_counts[c][0] / TOTAL
                bits[c, inside] = np.insert(codes[:-1], radius, 0)
                bits[c] -= np.log2(ended)
                bits[c, largest] = -np.log1p(-ended) / np.log(2)
            else:
                bits[c, inside] = codes[:-1]
        return bits.astype(np.float32)


class StreamDecoder:
    """Decodes one stream: first its parts in their order, then ``finish``."""

    def __init__(self, tables: EntropyTables, data: bytes | memoryview, source: str) -> None:
        self._tables = tables
        self._coder = ans_decoder(data, source)
        self._source = source

    def decode(self, scale_indices: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Decode the next part: float32 that hold integers, of the shape of ``scale_indices`` (uint8).

        ``out``, if given, receives the symbols; it must be contiguous and hold zeros. Raises FormatError for
        runs and escapes that no encoder writes. Other damage shows in ``finish``.
        """
        symbols = np.zeros(scale_indices.shape, np.float32) if out is None else out
        coded, order, sizes = _by_scale_index(scale_indices.reshape(-1))
        if len(coded):
            part = _Part(self._tables, sizes)
            part.read_symbols(self._coder, self._source)
            part.read_bypass(self._coder, self._source)
            places = coded.take(part.places(order, self._source))
            symbols.reshape(-1)[places] = part.symbols.astype(np.float32)
        return symbols

    def finish(self) -> None:
        """Raises FormatError if the stream does not end with its last part."""
        if not self._coder.is_empty():
            raise FormatError(f"{self._source}: {NOT_ENDED}")


class _Part:
    """The coded symbols of one part of a stream, in one array: scale indices with runs first.

    ``symbols`` int32 has all symbols of an index without runs, and the nonzero symbols of an index with runs.
    ``runs`` int32 has the number of zeros before each of the latter. Before ``read_bypass``, an escaped
    symbol is radius + 1, and an escaped run is one longer than the longest run that has a code.
    """

    symbols: np.ndarray
    runs: np.ndarray

    def __init__(self, tables: EntropyTables, sizes: np.ndarray) -> None:
        self._tables = tables
        self._sizes = sizes
        self._starts = np.cumsum(sizes) - sizes
        present = np.flatnonzero(sizes)
        with_runs = tables.runs[present] > 0
        self._sparse, self._dense = present[with_runs], present[~with_runs]
        self._scale_indices = np.concatenate([self._sparse, self._dense])
        self._counts = sizes.copy()  # how many symbols of each index are coded

    def read_symbols(self, coder: Any, source: str) -> None:
        """Read the codes of all scale indices. Raises FormatError."""
        tables, sizes = self._tables, self._sizes.tolist()
        run_lengths, decode = tables.run_lengths, coder.decode
        runs, sparse, dense = [_NO_SYMBOLS], [_NO_SYMBOLS], [_NO_SYMBOLS]
        for c, n in enumerate(sizes):
            if not n:
                continue
            if not run_lengths[c]:
                dense.append(decode(tables.model(c, False), n))
                continue
            count = 0
            for bits, shift in _number_parts(n.bit_length()):
                count += decode(_UNIFORM[bits]) << shift
            if count > n:
                raise FormatError(f"{source}: {TOO_MANY.format(count, c, n)}")
            self._counts[c] = count
            if count:
                runs.append(decode(tables.model(c, True), count))
                sparse.append(decode(tables.model(c, False), count))
        self.runs = np.concatenate(runs)
        self.symbols = np.concatenate(sparse + dense)
        self._coded_counts = self._counts.take(self._scale_indices)
        self._radius = tables.int_radius.take(self._scale_indices).repeat(self._coded_counts)
        self.symbols -= self._radius
        others = self.symbols[: len(self.runs)]
        others += others >= 0

    def read_bypass(self, coder: Any, source: str) -> None:
        """Read the bypass bits, and replace the escapes by their values. Raises FormatError."""
        limits = self._tables.int_runs.take(self._sparse).repeat(self._coded_counts[: len(self._sparse)])
        long, large = np.flatnonzero(self.runs == limits), np.flatnonzero(self.symbols > self._radius)
        if not len(long) + len(large):
            return
        # In a stream they are sorted by scale index; those of its runs come before those of its symbols.
        both = self._scale_indices_of(np.concatenate([long, large]))
        keys = 2 * both
        keys[len(long) :] += 1
        numbers = np.empty(len(both), np.int64)
        numbers[keys.argsort(kind="stable")] = _decode_numbers(coder, len(both))
        if len(long):  # any run of all symbols of an index leads beyond them
            most = self._sizes.take(both[: len(long)])
            self.runs[long] = np.minimum(numbers[: len(long)] + limits[long], most)
        if len(large):
            beyond = numbers[len(long) :]
            size = (beyond >> 1) + self._radius[large] + 1
            if size.max() > LARGEST_SYMBOL:
                raise FormatError(f"{source}: {TOO_LARGE.format(size.max())}")
            self.symbols[large] = np.where(beyond & 1, -size, size)

    def places(self, order: np.ndarray, source: str) -> np.ndarray:
        """The positions of the symbols. ``order`` has the positions of the part, sorted by scale index.

        Raises FormatError if a run ends beyond the symbols of its index.
        """
        dense = [order[self._starts[c] : self._starts[c] + self._sizes[c]] for c in self._dense.tolist()]
        if not len(self.runs):
            return np.concatenate(dense or [order[:0]])
        counts, starts = self._coded_counts[: len(self._sparse)], self._starts.take(self._sparse)
        passed = np.zeros(len(self.runs) + 1, np.int64)
        np.cumsum(self.runs, out=passed[1:])
        passed += np.arange(len(passed))
        ends = np.cumsum(counts)
        before = passed.take(ends - counts)
        reached = passed.take(ends) - before
        beyond = np.flatnonzero(reached > self._sizes.take(self._sparse))
        if len(beyond):
            c, most = self._sparse[beyond[0]], reached[beyond[0]]
            raise FormatError(f"{source}: {TOO_FAR.format(c, most, self._sizes[c])}")
        at = passed[1:]
        at += (starts - before - 1).repeat(counts)
        return np.concatenate([order.take(at), *dense])

    def _scale_indices_of(self, codes: np.ndarray) -> np.ndarray:
        """The scale indices of these positions in ``symbols`` or ``runs``."""
        ends = np.cumsum(self._coded_counts)
        found: np.ndarray = self._scale_indices[np.searchsorted(ends, codes, side="right")]
        return found


def _split(tensors: Mapping[str, np.ndarray], name: str, sizes: list[int]) -> list[np.ndarray]:
    """The counts of each scale index, checked. Raises BundleError."""
    counts = tensor_of(tensors, name, np.uint32, (sum(sizes),))
    parts: list[np.ndarray] = np.split(counts, np.cumsum(sizes)[:-1])
    for c, part in enumerate(parts):
        if len(part) and (part.min() < 1 or int(part.sum(dtype=np.uint64)) != TOTAL):
            raise BundleError(
                f"tables: {name} of scale index {c}: counts of at least 1 and sum 2^24 expected"
            )
    return parts


def _by_scale_index(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The positions of scale indices 1..31; their order by index, then position; the number of each index,
    (32,).
    """
    coded = np.flatnonzero(flat != 0)
    scale_indices = flat.take(coded)
    order = scale_indices.argsort(kind="stable")  # a radix sort, for bytes
    ends = scale_indices.searchsorted(_SCALE_ENDS, sorter=order)
    return coded, order, ends[1:] - ends[:-1]


def ans_decoder(data: bytes | memoryview, source: str) -> Any:
    """The coder at the beginning of a stream. Raises FormatError for bytes that no encoder writes."""
    check_stream(data, source)
    return AnsCoder(np.frombuffer(data, "<u4").astype(np.uint32))


def check_stream(data: bytes | memoryview, source: str) -> None:
    """Raises FormatError for bytes that no encoder writes, as far as this is visible before decoding."""
    if len(data) % 4:
        raise FormatError(f"{source}: a stream of {len(data)} bytes; a multiple of 4 expected")
    if len(data) and not any(data[-4:]):
        raise FormatError(f"{source}: a stream ends in a zero word, which no encoder writes")


def _number_parts(bits: int) -> list[tuple[int, int]]:
    """(bits, shift) of the parts that hold a number of ``bits`` bits, at most 32; the high part first."""
    high = bits - _PART_BITS
    return [(high, _PART_BITS), (_PART_BITS, 0)] if high > 0 else [(bits, 0)]


def _encode_numbers(coder: Any, numbers: np.ndarray) -> None:
    """Push int64 numbers 0..2^32 - 2: first all lengths, then the high parts of long numbers, then all low
    parts. number + 1 has (length + 1) bits; its leading one is implied.
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
    lengths = coder.decode(Uniform(_LENGTHS), count)
    numbers: np.ndarray = np.left_shift(1, lengths, dtype=np.int64)
    for low in (False, True) if lengths.max() > _PART_BITS else (True,):
        bits = np.minimum(lengths, _PART_BITS) if low else lengths - _PART_BITS
        if (has := np.flatnonzero(bits > 0)).size:
            part = coder.decode(Uniform(), np.left_shift(1, bits[has]).astype(np.int32)).astype(np.int64)
            numbers[has] += part if low else part << _PART_BITS
    numbers -= 1
    return numbers
