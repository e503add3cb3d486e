"""Encoding time against BD-rate for each effort of a bundle, and of other encoders.

Every encoder has one thread. Every effort is an entry of its own in one rate-distortion run: first files at a
ladder of qualities, then interleaved rounds of encodes near one rate.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from decant.bundles.bundle import Bundle

from decant_bench.common.baselines import AVIF, CODECS, WEBP
from decant_bench.common.codecs import Codec, JpegXl, PillowCodec
from decant_bench.common.contenders import LADDERS, CodecEntry, bundle_contender
from decant_bench.common.pictures import PictureSet
from decant_bench.common.record import Record, config_hash
from decant_bench.common.visits import Pace, turns_of
from decant_bench.errors import BenchError
from decant_bench.rate_distortion import curves as rd_curves
from decant_bench.rate_distortion import measure as rd
from decant_bench.rate_distortion.bd_rate import Curve, Span, bd_rate

EFFORTS = tuple(range(10))
ANCHOR = "jpeg"
_ANY = 100  # times hardly depend on the rate: the ladder's nearest quality will do, without a search

Say = Callable[[str], None]
Compared = tuple[dict[str, Curve], Span | None]  # averaged curves by label, and the dB that all reach


@dataclass(frozen=True)
class Family:
    """An encoder and the settings of its effort, quickest first; ``option``: what the setting is called."""

    name: str
    option: str
    settings: tuple[int, ...]
    encoder: Callable[[int], Codec]

    def contender(self, setting: int, qualities: Sequence[int]) -> CodecEntry:
        """At one effort."""
        codec = self.encoder(setting)
        return CodecEntry(codec, tuple(qualities) or LADDERS[self.name], codec.name)


@dataclass(frozen=True)
class Options:
    """``efforts`` of the bundle; ``field``: names of FIELD; ``qualities``: one ladder for all instead of each
    codec's own; ``match_bpp``: bits per pixel near which encodes are timed, in ``rounds``, and in more where
    each picture would not have a turn.
    """

    efforts: tuple[int, ...] = EFFORTS
    field: tuple[str, ...] = ("avif", "jxl", "webp")
    precision: str = "auto"
    runtime: str = "auto"
    qualities: tuple[int, ...] = ()
    psnr_range: Span = (28.0, 38.0)
    match_bpp: float = 0.6
    rounds: int = 3
    seed: int = 0


def _pillow(base: PillowCodec, option: str, setting: int, more: tuple[tuple[str, Any], ...] = ()) -> Codec:
    about = f"{base.description.split(',')[0]}, {option} {setting} (Pillow)"
    return replace(
        base,
        name=f"{base.name} {option} {setting}",
        description=about,
        save_options=((option, setting), *more),
    )


FIELD = {
    family.name: family
    for family in (
        Family("avif", "speed", (10, 8, 6, 4), lambda n: _pillow(AVIF, "speed", n, (("max_threads", 1),))),
        Family("jxl", "effort", (3, 5, 7), lambda n: JpegXl(name=f"jxl effort {n}", effort=n)),
        Family("webp", "method", (0, 4, 6), lambda n: _pillow(WEBP, "method", n)),
    )
}


def measure(
    bundle: Bundle,
    pictures: PictureSet,
    options: Options | None = None,
    *,
    command: str | None = None,
    say: Say = lambda line: None,
) -> Record:
    """A record of kind ``effort``: that of decant_bench.rate_distortion.measure with ``efforts``, a row an
    encoder and effort.

    Each has ``family``, ``setting``, ``label``, ``encode_ms`` (median over pictures and rounds),
    ``encode_ms_per_megapixel`` (median likewise), ``bd_rate`` and ``bd_rate_ms_ssim`` (to JPEG) and
    ``to_quickest`` (BD-rate in PSNR to the first effort of its family): all over ``shared_db``, what every
    averaged curve reaches of ``psnr_range``, so that they compare with each other. Raises what loading
    raises, and BenchError where JPEG cannot be measured.
    """
    options = options or Options()
    families = _families(bundle, options)
    jpeg = CodecEntry(CODECS[ANCHOR], options.qualities or LADDERS[ANCHOR], ANCHOR)
    contenders = [jpeg, *(one for _, found in families for _, one in found)]
    settings = rd.Options(
        anchor=ANCHOR,
        qualities=options.qualities,
        psnr_range=options.psnr_range,
        match_bpp=options.match_bpp,
        match_within=_ANY,
        threads=(1,),
        rounds=0,
        encode_rounds=max(options.rounds, -(-len(pictures) // Pace.images_per_visit)),
        seed=options.seed,
    )
    found = rd.measure(contenders, pictures, settings, command=command, say=say)
    found["kind"] = "effort"
    found["config"]["efforts"] = {
        k: list(v) if isinstance(v, tuple) else v for k, v in asdict(options).items()
    }
    found["config_hash"] = config_hash(found["config"])
    compared = {"psnr_db": rd_curves.shared_by_all(_measured(found), "psnr_db", options.psnr_range)}
    compared["ms_ssim"] = _similarity(found, compared["psnr_db"])
    found["shared_db"] = {metric: span and list(span) for metric, (_, span) in compared.items()}
    found["efforts"] = [_row(found, pictures, compared, ANCHOR, None, jpeg.label, jpeg.label)]
    for name, family in families:
        first = family[0][1].label
        found["efforts"] += [_row(found, pictures, compared, name, n, one.label, first) for n, one in family]
    return found


def _measured(found: Record) -> list[dict[str, Any]]:
    return [row for row in found["rows"] if row["refused"] is None]


def _similarity(found: Record, quality: Compared) -> Compared:
    """MS-SSIM between the values that JPEG has at the ends of the PSNR range."""
    curves, span = quality
    rows = _measured(found)
    jpeg = next(row for row in rows if row["label"] == ANCHOR)
    try:
        similarity = rd_curves.averaged(jpeg, "ms_ssim")
    except BenchError:  # pictures too small for it
        return {}, None
    if span is None:
        return {}, None
    low, high = (similarity.value_at(curves[ANCHOR].rate_at(value)) for value in span)
    return rd_curves.shared_by_all(rows, "ms_ssim", (low, high))


def _families(bundle: Bundle, options: Options) -> list[tuple[str, list[tuple[int, CodecEntry]]]]:
    """Every family by name: its settings, quickest first, and what they are measured as."""
    efforts = sorted(options.efforts)
    ours = [(effort, _bundle(bundle, effort, options)) for effort in efforts]
    field = [FIELD[name] for name in options.field]
    return [
        (f"{bundle.name} effort", ours),
        *(
            (f"{one.name} {one.option}", [(n, one.contender(n, options.qualities)) for n in one.settings])
            for one in field
        ),
    ]


def _bundle(bundle: Bundle, effort: int, options: Options) -> CodecEntry:
    return bundle_contender(
        bundle,
        options.precision,
        options.runtime,
        options.qualities,
        f"{bundle.name} effort {effort}",
        effort,
        encoder_threads=1,
    )


def _row(
    found: Record,
    pictures: PictureSet,
    compared: dict[str, Compared],
    family: str,
    setting: int | None,
    label: str,
    first: str,
) -> dict[str, Any]:
    row = next(row for row in found["rows"] if row["label"] == label)
    timed = next((row for row in found["matched"]["rows"] if row["label"] == label), None)
    samples = [] if timed is None else samples_of(timed["encode_ns"], pictures)
    return {
        "family": family,
        "setting": setting,
        "label": label,
        "refused": row["refused"],
        "encode_ms": _median([ns for ns, _ in samples]),
        "encode_ms_per_megapixel": _median([ns / megapixels for ns, megapixels in samples]),
        "bd_rate": _bd_rate(compared["psnr_db"], ANCHOR, label),
        "bd_rate_ms_ssim": _bd_rate(compared["ms_ssim"], ANCHOR, label),
        "to_quickest": _bd_rate(compared["psnr_db"], first, label),
    }


def _median(nanoseconds: Sequence[float]) -> float | None:
    """In milliseconds."""
    return float(np.median(nanoseconds)) / 1e6 if nanoseconds else None


def _bd_rate(compared: Compared, anchor: str, label: str) -> float | None:
    curves, span = compared
    if span is None or anchor not in curves or label not in curves:
        return None
    return bd_rate(curves[anchor], curves[label], span)


def samples_of(rounds_ns: Sequence[Sequence[int]], pictures: PictureSet) -> list[tuple[int, float]]:
    """(nanoseconds, megapixels of the picture) of every encode."""
    found = []
    for number, samples in enumerate(rounds_ns):
        turns = turns_of(number, Pace.images_per_visit, len(pictures))
        for index, spent in enumerate(samples):
            picture = pictures.pictures[turns[index % len(turns)]]
            found.append((spent, picture.pixel_count / 1e6))
    return found
