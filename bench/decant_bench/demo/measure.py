"""What a demo measures: rate and distortion, files of equal size, load and decode times."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from decant.bundles.bundle import Bundle

from decant_bench.common.cases import bundle_cases, default_case
from decant_bench.common.contenders import CodecEntry, bundle_contender, codec_contender
from decant_bench.common.measured import Comparison, MeasuredPicture
from decant_bench.common.pages import Panel, SplitPicture, panel
from decant_bench.common.pictures import Picture, PictureSet
from decant_bench.common.record import Record
from decant_bench.common.tables import Table, fixed
from decant_bench.demo.naming import shown_name
from decant_bench.latency import measure as lab
from decant_bench.rate_distortion import measure as rd

SHIPPED = ("nano", "lite", "full")
PEERS = ("jpeg", "avif")
PEER_QUALITIES = {"jpeg": (8, 18, 36, 60, 78, 89, 95), "avif": (8, 20, 36, 52, 68, 83, 92)}
QUALITIES = (5, 25, 45, 65, 85, 97)  # of bundles
EQUAL_BPP = 0.35  # of the pictures shown: where codecs differ to the eye
TIMED_PEERS = ("jpeg-q75", "avif-q60")
LATENCY = lab.Options(
    threads=(1,), codecs=TIMED_PEERS, rounds=8, min_samples=24, min_seconds=0.1, load_rounds=6,
    fresh_rounds=3, batch_rounds=1, max_minutes=1.5,
)  # fmt: skip

Say = Callable[[str], None]


@dataclass(frozen=True)
class Pace:
    """How thoroughly a demo measures. Figures to publish take `decant bench rd` and `decant bench
    latency`.
    """

    qualities: tuple[int, ...] = QUALITIES
    peer_qualities: tuple[int, ...] = ()  # of all peers; none: PEER_QUALITIES
    rounds: int = 8
    export_pictures: int = 48  # crops that tables and ranges of the fresh bundle are counted on
    shipped: tuple[str, ...] = SHIPPED
    latency: lab.Options = LATENCY


def rates(bundles: Sequence[Bundle], held: PictureSet, pace: Pace, command: str, say: Say) -> "Rates":
    """Rate and distortion of ``bundles`` and PEERS on the held-out pictures, and decode times at equal bytes.
    Raises what loading and encoding raise.
    """
    entries = [codec_contender(name, pace.peer_qualities or PEER_QUALITIES[name]) for name in PEERS]
    entries += [bundle_contender(bundle, "auto", "auto", pace.qualities) for bundle in bundles]
    options = rd.Options(
        against=PEERS, match_bpp=EQUAL_BPP, match_within=2, threads=(1,), rounds=pace.rounds, encode_rounds=1
    )
    return Rates(rd.measure(entries, held, options, command=command, say=say), entries)


@dataclass(frozen=True)
class Rates:
    """A rate-distortion record and the codecs it is of."""

    record: Record
    entries: list[CodecEntry]

    def equal_bytes(self, picture: Picture, index: int) -> SplitPicture:
        """``picture``, number ``index`` of the record, as the original and as every codec keeps it in about
        EQUAL_BPP bits per pixel.
        """
        panels = [panel("original", f"{picture.size}, 24 bits per pixel", picture.pixels)]
        rows = []
        for entry in self.entries:
            data = entry.codec.encode(picture.pixels, self._matched(entry)["quality"][index])
            decoded = entry.codec.decode(data, 1)
            found = Comparison(("ssimulacra2",)).compare(picture.pixels, decoded, len(data))
            panels.append(_panel(shown_name(entry.label), found, decoded))
            rows.append(
                [
                    shown_name(entry.label),
                    f"{found.bytes:,}",
                    fixed(found.ssimulacra2, 1),
                    fixed(found.psnr_db, 2),
                ]
            )
        table = Table(("codec", "bytes", "SSIMULACRA2", "PSNR\ndB"), rows, note=_SCORES)
        height, width = picture.pixels.shape[:2]
        return SplitPicture(picture.name.rsplit(".", 1)[0], width, height, tuple(panels), table)

    def _matched(self, entry: CodecEntry) -> dict[str, Any]:
        """The row of ``entry`` at equal bytes, which has the quality of each picture."""
        rows: list[dict[str, Any]] = self.record["matched"]["rows"]
        return next(row for row in rows if row["label"] == entry.label)


def times(
    shipped: Sequence[Bundle], fresh: Bundle, pictures: PictureSet, pace: Pace, command: str, say: Say
) -> Record:
    """Load, cold start and decode times of the decoder that each shipped bundle's client gets, of every
    variant of the ``fresh`` one, and of peers. Raises what measuring raises.
    """
    options = pace.latency
    cases = [default_case(bundle) for bundle in shipped]
    cases += bundle_cases(fresh, options.runtimes, options.threads)
    return lab.measure([*shipped, fresh], pictures, options, cases=cases, command=command, say=say)


_SCORES = (
    "SSIMULACRA2 scores what is seen: 30 is low quality, 50 medium, 70 high, 90 without visible loss. None "
    "of these pictures was trained on."
)


def _panel(label: str, found: MeasuredPicture, decoded: Any) -> Panel:
    told = f"{found.bytes:,} bytes, SSIMULACRA2 {fixed(found.ssimulacra2, 1)}"
    return panel(label, told, decoded)
