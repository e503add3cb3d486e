"""Symbols to bytes and back: one table of integer counts for each scale class, one ANS stream a call.

A symbol's class (0..31) is computed from integers alone (``decant.scales``), so every machine picks the same
table. Class 0 is never coded: its symbols are 0. docs/format.md, "Latent layout `grid`", has the order of the
letters in a stream; ``constriction`` codes them, with the stored counts taken exactly.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from constriction import stream as coding

from decant.errors import BundleError, FormatError

AnsCoder = coding.stack.AnsCoder
Categorical, Uniform = coding.model.Categorical, coding.model.Uniform

CLASSES = 32
TOTAL_BITS = 24
TOTAL = 1 << TOTAL_BITS
# Escaped symbols hold at most 15 bits below their leading one, which keeps them within this.
LARGEST_SYMBOL = 32767
LARGEST_JOINT = 8
_LENGTHS = 16
# numpy takes elements of these types quicker than others of their size.
_PACKED = {2: "u2", 4: "u4", 8: "u8"}


class EntropyTables:
    """The tables of one bundle, with the coder's models, which are built when first used.

    ``radius`` (32,): class c codes -radius..radius directly, and then the escape. ``joint`` (32,): how many
    symbols of a class one letter holds. Reading is safe from several threads.
    """

    def __init__(
        self,
        radius: np.ndarray,
        counts: list[np.ndarray],
        joint: np.ndarray,
        joint_counts: dict[int, np.ndarray],
    ) -> None:
        self.radius = radius
        self.joint = joint
        self._counts = counts
        self._joint_counts = joint_counts
        self._models: dict[tuple[int, bool], Any] = {}
        self._words = {g: _words(g) for g in {int(g) for g in joint[1:]} if g > 1}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> "EntropyTables":
        """The tables named ``entropy.*`` in tables.safetensors. Raises BundleError."""
        radius = _tensor(tensors, "entropy.radius", np.uint8, CLASSES)
        joint = _tensor(tensors, "entropy.joint", np.uint8, CLASSES)
        if radius[0] != 0:
            raise BundleError(f"tables: entropy.radius begins with {radius[0]}; 0 expected for class 0")
        if joint[1:].min() < 1 or joint.max() > LARGEST_JOINT:
            raise BundleError(f"tables: entropy.joint holds a number outside 1..{LARGEST_JOINT}")
        sizes = [0, *(2 * int(r) + 2 for r in radius[1:])]
        joint_sizes = [0, *(3 ** int(g) + 1 if g > 1 else 0 for g in joint[1:])]
        counts = _split(tensors, "entropy.counts", sizes)
        joint_counts = _split(tensors, "entropy.joint_counts", joint_sizes)
        return cls(radius, counts, joint, {c: part for c, part in enumerate(joint_counts) if len(part)})

    def to_tensors(self) -> dict[str, np.ndarray]:
        """The tensors that ``from_tensors`` reads."""
        joint = [self._joint_counts[c] for c in sorted(self._joint_counts)]
        return {
            "entropy.radius": self.radius,
            "entropy.counts": np.concatenate(self._counts),
            "entropy.joint": self.joint,
            "entropy.joint_counts": np.concatenate([np.zeros(0, np.uint32), *joint]),
        }

    def encode(self, symbols: np.ndarray, classes: np.ndarray) -> bytes:
        """Integers ``symbols`` with their ``classes`` (uint8, same shape) -> one stream.

        Symbols of class 0 are left out, others are clipped to +-32767.
        """
        flat = classes.reshape(-1)
        positions, sizes = _by_class(flat)
        values = np.clip(symbols.reshape(-1)[positions], -LARGEST_SYMBOL, LARGEST_SYMBOL).astype(np.int32)
        steps: list[tuple[Any, np.ndarray]] = []
        escaped: list[np.ndarray] = []
        for c, start, stop in _ranges(sizes):
            self._class_letters(c, values[start:stop], steps, escaped)
        coder = AnsCoder()
        if escaped:
            _encode_escaped(coder, np.concatenate(escaped))
        for model, letters in reversed(steps):
            coder.encode_reverse(letters, model)
        stream: bytes = coder.get_compressed().astype("<u4").tobytes()
        return stream

    def _class_letters(
        self, c: int, values: np.ndarray, steps: list[tuple[Any, np.ndarray]], escaped: list[np.ndarray]
    ) -> None:
        """Append the letters of one class to ``steps``, and what its escapes stand for to ``escaped``."""
        radius, g = int(self.radius[c]), int(self.joint[c])
        single = values
        if g > 1:
            count = len(values) // g
            words = values[: count * g].reshape(count, g)
            inside = (np.abs(words) <= 1).all(axis=1)
            letters = np.where(inside, (words + 1) @ (3 ** np.arange(g - 1, -1, -1)), 3**g)
            steps.append((self._model(c, True), letters.astype(np.int32)))
            single = np.concatenate([words[~inside].reshape(-1), values[count * g :]])
        outside = np.abs(single) > radius
        letters = np.where(outside, 2 * radius + 1, single + radius)
        steps.append((self._model(c, False), letters.astype(np.int32)))
        if outside.any():
            beyond = single[outside]
            escaped.append(2 * (np.abs(beyond) - radius - 1) + (beyond < 0))

    def decode(self, data: bytes | memoryview, classes: np.ndarray, source: str) -> np.ndarray:
        """One stream -> float32 array of the shape of ``classes`` (uint8) that holds integers.

        Raises FormatError when the stream is not one of exactly these symbols; ``source`` names it.
        """
        coder = _coder(data, source)
        flat = classes.reshape(-1)
        positions, sizes = _by_class(flat)
        values = np.empty(len(positions), np.int32)
        for c, start, stop in _ranges(sizes):
            self._decode_class(coder, c, values[start:stop])
        # The escape letter follows that of the largest symbol, so it has become radius + 1.
        radius = np.repeat(self.radius.astype(np.int32), sizes)
        if (escaped := np.flatnonzero(values > radius)).size:
            values[escaped] = _decode_escaped(coder, radius[escaped], source)
        if not coder.is_empty():
            raise FormatError(f"{source}: the stream does not end with its last symbol: it is damaged")
        symbols = np.zeros(len(flat), np.float32)
        symbols[positions] = values.astype(np.float32)
        return symbols.reshape(classes.shape)

    def _decode_class(self, coder: Any, c: int, values: np.ndarray) -> None:
        """Fill ``values``, the symbols of class ``c``; radius + 1 stands for an escape."""
        radius, g, n = int(self.radius[c]), int(self.joint[c]), len(values)
        single = self._model(c, False)
        joined = 0
        if g > 1 and n >= g:
            joined = n // g * g
            letters = coder.decode(self._model(c, True), n // g)
            values[:joined] = self._words[g].take(letters).view(np.int8)
            if (broken := np.flatnonzero(letters == 3**g)).size:
                symbols = coder.decode(single, g * len(broken)) - radius
                values[:joined].reshape(-1, g)[broken] = symbols.reshape(-1, g)
        if n > joined:
            np.subtract(coder.decode(single, n - joined), radius, out=values[joined:])

    def _model(self, c: int, joint: bool) -> Any:
        """The coder's model of class ``c``: of single symbols, or of joint letters."""
        model = self._models.get((c, joint))
        if model is None:
            counts = self._joint_counts[c] if joint else self._counts[c]
            model = self._models[c, joint] = exact_model(counts)
        return model

    def cost_bits(self) -> np.ndarray:
        """float32 (32, 2R + 1): bits that symbols -R..R cost in each class, R the largest radius.

        A symbol of a joint class costs its share of the letter; one that breaks a word costs the escape word
        besides. In class 0, 0 is free and any other symbol impossible (infinity).
        """
        largest = int(self.radius.max())
        symbols = np.arange(-largest, largest + 1)
        bits = np.full((CLASSES, len(symbols)), np.inf)
        bits[0, largest] = 0
        for c in range(1, CLASSES):
            radius, g = int(self.radius[c]), int(self.joint[c])
            single = TOTAL_BITS - np.log2(self._counts[c])
            inside = np.abs(symbols) <= radius
            bits[c, inside] = single[:-1]
            beyond = 2 * (np.abs(symbols[~inside]) - radius - 1) + (symbols[~inside] < 0)
            bits[c, ~inside] = single[-1] + np.log2(_LENGTHS) + np.floor(np.log2(beyond + 1))
            if g > 1:
                joint = self._joint_counts[c] / TOTAL
                kept = 1 - joint[-1]
                shares = joint[:-1].reshape(3, -1).sum(axis=1) / kept
                bits[c] -= np.log2(joint[-1])
                middle = np.flatnonzero(np.abs(symbols) <= 1)
                bits[c, middle] = -np.log2(shares[1 - len(middle) // 2 :][: len(middle)]) - np.log2(kept) / g
        return bits.astype(np.float32)


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


def joint_counts_of(counts: np.ndarray, radius: int, g: int) -> np.ndarray:
    """uint32 (3^g + 1,), sum 2^24: how often words of ``g`` independent symbols in {-1, 0, 1} come, the first
    symbol the most significant digit, and last how often a word holds another symbol.

    ``counts`` (2 * radius + 2,) are those of single symbols; ``radius`` is at least 1.
    """
    one = counts[radius - 1 : radius + 2].astype(np.float64) / TOTAL
    words = one
    for _ in range(g - 1):
        words = (words[:, None] * one).reshape(-1)
    return integer_counts(np.append(words, -np.expm1(g * np.log(one.sum()))))


def recommended_joint(counts: np.ndarray, radius: int) -> int:
    """How many symbols of a class to join into one letter: 5 or 1.

    Measured on one x86-64 core (tables of mixed Gaussians, 6000 symbols a class): decoding one symbol takes
    9 to 14 ns alone, 6 to 7 ns as a fifth of a letter (8, 7 and 6 ns for 2, 3 and 4 symbols a letter). A word
    that holds a symbol beyond +-1 costs its escape on top of its symbols; classes where that costs more than
    0.5 % of their bits stay single.
    """
    g = 5
    p = counts.astype(np.float64) / TOTAL
    broken = 1 - p[max(radius - 1, 0) : radius + 2 if radius else 1].sum() ** g
    if broken <= 0:
        return g
    loss = -broken * np.log2(broken) / g
    return g if broken < 0.25 and loss <= -0.005 * (p * np.log2(p)).sum() else 1


def _words(g: int) -> np.ndarray:
    """(3^g + 1,) elements of ``g`` int8 each: the symbols of each joint letter; zeros for the escape word."""
    digits = np.arange(3**g)[:, None] // 3 ** np.arange(g - 1, -1, -1) % 3 - 1
    words = np.concatenate([digits, np.zeros((1, g))]).astype(np.int8)
    return words.view(_PACKED.get(g, f"V{g}")).reshape(-1)


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


def _by_class(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the symbols of classes 1..31 are, by class and then position; and how many each class has."""
    coded = np.flatnonzero(flat != 0)
    classes = flat.take(coded)
    order = np.argsort(classes, kind="stable")  # a radix sort, for bytes
    ends = np.searchsorted(classes, np.arange(CLASSES + 1, dtype=np.uint8), sorter=order)
    return coded.take(order), np.diff(ends)


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


def _encode_escaped(coder: Any, v: np.ndarray) -> None:
    """Push v >= 0: their lengths, then their bits; v + 1 has (length + 1) bits, its leading one implied."""
    lengths = np.frexp((v + 1).astype(np.float64))[1] - 1
    stored = lengths > 0
    if stored.any():
        sizes = np.left_shift(1, lengths[stored])
        coder.encode_reverse((v[stored] + 1 - sizes).astype(np.int32), Uniform(), sizes.astype(np.int32))
    coder.encode_reverse(lengths.astype(np.int32), Uniform(_LENGTHS))


def _decode_escaped(coder: Any, radius: np.ndarray, source: str) -> np.ndarray:
    """int32 (n,): what n escape letters stand for, in classes of these radii."""
    lengths = coder.decode(Uniform(_LENGTHS), len(radius))
    v = np.left_shift(1, lengths)
    if (stored := np.flatnonzero(lengths)).size:
        v[stored] += coder.decode(Uniform(), v[stored])
    v -= 1
    size = (v >> 1) + radius + 1
    if size.max() > LARGEST_SYMBOL:
        raise FormatError(f"{source}: a symbol of size {size.max()}; at most {LARGEST_SYMBOL} expected")
    signed: np.ndarray = np.where(v & 1, -size, size)
    return signed
