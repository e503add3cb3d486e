"""Every codec at one rate: the quality that meets it is found picture by picture; then all are timed.

Decode: bytes of a file in memory to uint8 RGB (H, W, 3), with each number of threads where the library takes
one. Encode: such an array to the bytes of a file, with the threads that the codec takes by itself.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from decant_bench.common.baselines import CODECS, Setting
from decant_bench.common.contenders import CodecEntry
from decant_bench.common.measured import Comparison, rate_points
from decant_bench.common.peer import PeerWork
from decant_bench.common.pictures import Picture, PictureSet
from decant_bench.common.visits import Pace, Work, interleave

if TYPE_CHECKING:
    from decant_bench.rate_distortion.measure import Options

REFERENCE = Setting("jpeg", 75)  # what times are relative to, beside AVIF

Say = Callable[[str], None]
Row = dict[str, Any]


@dataclass(frozen=True)
class Coded:
    """One picture as a file of one codec."""

    quality: int
    data: bytes


def measure(
    contenders: Sequence[tuple[CodecEntry, Row]], pictures: PictureSet, options: "Options", say: Say
) -> dict[str, Any]:
    """Files, quality and times of all at ``options.match_bpp``. ``contenders`` come with their measured rows,
    whose sizes say where to search.
    """
    say(f"files of {options.match_bpp:g} bits per pixel")
    made: dict[str, list[Coded]] = {}
    rows: list[Row] = []
    for one, row in contenders:
        if one.files not in made:
            made[one.files] = [
                at_rate(one, picture, options.match_bpp, _sizes(row, index), options.match_within)
                for index, picture in enumerate(pictures.pictures)
            ]
        rows.append(_row(one.label, made[one.files], one.codec.decode, pictures))
    reference = [Coded(75, REFERENCE.encode(picture.pixels)) for picture in pictures.pictures]
    decode_reference = REFERENCE.decoder()
    rows.append(_row(REFERENCE.label, reference, decode_reference, pictures))

    decodes: list[tuple[Row, int, Work]] = []
    encodes: list[tuple[Row, Work]] = []
    for (one, _), row in zip(contenders, rows[:-1], strict=True):
        datas = [coded.data for coded in made[one.files]]
        for threads in options.threads if one.codec.threaded else (1,):
            decodes.append((row, threads, _decoding(one, threads, datas, options.allocator)))
        items = list(zip(pictures.pictures, made[one.files], strict=True))
        encodes.append((row, Work(one.label, items, _encoder(one))))
    datas = [coded.data for coded in reference]
    decodes.append(
        (
            rows[-1],
            1,
            PeerWork(REFERENCE.label, CODECS[REFERENCE.codec], 1, datas, allocator=options.allocator),
        )
    )
    if options.rounds:
        say(f"decode times: {options.rounds} rounds")
        with ExitStack() as peers:
            for _, _, work in decodes:
                if isinstance(work, PeerWork):
                    peers.enter_context(work)
            interleave([work for _, _, work in decodes], Pace(options.rounds), options.seed)
    say(f"encode times: {options.encode_rounds} rounds")
    interleave([work for _, work in encodes], Pace(options.encode_rounds), options.seed + 1)
    for row, threads, work in decodes:
        row["decode_ns"][str(threads)] = work.rounds_ns
    for row, work in encodes:
        row["encode_ns"] = work.rounds_ns
    return {"bits_per_pixel": options.match_bpp, "rows": rows}


def at_rate(
    contender: CodecEntry,
    picture: Picture,
    bits_per_pixel: float,
    known: dict[int, int] | None = None,
    within: int = 1,
) -> Coded:
    """The file whose size is nearest to ``bits_per_pixel``. ``known``: sizes in bytes at some qualities;
    ``within``: of the two qualities between which the search ends.
    """
    target = bits_per_pixel * picture.pixel_count / 8
    below, above = _around(contender, picture, target, known or {}, within)
    return min((below, above), key=lambda coded: abs(len(coded.data) - target))


def at_bytes(contender: CodecEntry, picture: Picture, size: int) -> Coded:
    """The smallest file of at least ``size`` bytes, or the largest there is."""
    below, above = _around(contender, picture, size, {})
    return below if len(below.data) >= size else above


def _around(
    contender: CodecEntry, picture: Picture, target: float, known: dict[int, int], within: int = 1
) -> tuple[Coded, Coded]:
    """The files of neighbouring qualities (or ``within`` of each other) between which ``target`` bytes lie,
    by bisection; the ends of the range where it lies beyond.
    """
    codec = contender.codec
    assert codec.qualities is not None
    files: dict[int, bytes] = {}
    sizes = dict(known)

    def size(quality: int) -> int:
        if quality not in sizes:
            files[quality] = codec.encode(picture.pixels, quality)
            sizes[quality] = len(files[quality])
        return sizes[quality]

    low, high = codec.qualities
    low = max((q for q, known_size in sizes.items() if known_size <= target), default=low)
    high = min((q for q, known_size in sizes.items() if known_size > target and q > low), default=high)
    while high - low > within:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) <= target else (low, middle)
    found = (files.get(quality) or codec.encode(picture.pixels, quality) for quality in (low, high))
    return Coded(low, next(found)), Coded(high, next(found))


def _sizes(row: Row, index: int) -> dict[int, int]:
    return {point["quality"]: point["bytes"][index] for point in row["points"]}


def _row(
    label: str,
    coded: Sequence[Coded],
    decode: Callable[[bytes], np.ndarray],
    pictures: PictureSet,
) -> Row:
    (point,) = rate_points(pictures, None, lambda index, picture: coded[index].data, [decode], Comparison())
    found = point.as_dict()
    names = ("bits_per_pixel", "psnr_db", "ms_ssim", "ssimulacra2")
    whole = {name: None if None in found[name] else found["mean"][name] for name in names}
    return {
        "label": label,
        "quality": [one.quality for one in coded],
        "bytes": found["bytes"],
        "ssimulacra2": found["ssimulacra2"],
        "mean": whole,
        "decode_ns": {},
        "encode_ns": [],
    }


def _decoding(one: CodecEntry, threads: int, datas: list[bytes], allocator: str) -> Work:
    """Decodes of a bundle in this process, or of a codec in one of its own."""
    key = f"{one.label} {threads}"
    if one.codec.timed_apart:
        return PeerWork(key, one.codec, threads, datas, allocator=allocator)
    return Work(key, datas, lambda data: one.codec.decode(data, threads))


def _encoder(one: CodecEntry) -> Callable[[tuple[Picture, Coded]], bytes]:
    return lambda item: one.codec.encode(item[0].pixels, item[1].quality)
