"""Where the time of decoding a codec file goes: the stages of a whole decode, timed as they happen.

The decoder is the runtime's own, put together from parts that note how long each call took; on one thread,
for stages that overlap cannot be told apart. What no part accounts for (windows, crops, copies) is the rest.
The same pictures are decoded by the plain decoder in the same rounds, on one and on two threads, so that the
table shows what noting costs and what overlap saves.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
from decant.bundles.bundle import Bundle
from decant.decoder import Decoder
from decant.encoder import Encoder
from decant.errors import DecantError
from decant.formats import container
from decant.selection.candidates import GraphRequest
from decant.selection.loading import load_companion, load_session

from decant_bench.common import machine, record, stats
from decant_bench.common.contenders import CodecEntry, bundle_contender
from decant_bench.common.matched import at_rate
from decant_bench.common.pictures import PictureSet
from decant_bench.common.schedule import shuffled_rounds
from decant_bench.common.tables import Table, number
from decant_bench.errors import BenchError

STAGES = ("parse", "entropy", "scale indices", "mean graph", "synthesis", "rest")
PLAIN_THREADS = (1, 2)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """``match_bpp``: the bits per pixel of the files that are decoded; 0: what the encoder makes by itself,
    at its lowest effort.
    """

    runtimes: tuple[str, ...] = ("native", "onnxruntime", "openvino")
    match_bpp: float = 0.6
    rounds: int = 10
    seed: int = 0


class Noting:
    """``part`` with some methods timed; all else is its own. Nanoseconds are added to ``spent``."""

    def __init__(
        self,
        part: Any,
        methods: dict[str, str],
        spent: dict[str, int],
        made: dict[str, dict[str, str]] | None = None,
    ) -> None:
        """``methods``: method name -> stage; ``made``: name of a timed method -> ``methods`` of the object
        that it makes.
        """
        self._part, self._methods, self._spent, self._made = part, methods, spent, made or {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        stage = self._methods.get(name)
        if stage is None:
            return found

        def timed(*arguments: Any, **named: Any) -> Any:
            before = time.perf_counter_ns()
            try:
                result = found(*arguments, **named)
            finally:
                self._spent[stage] = self._spent.get(stage, 0) + time.perf_counter_ns() - before
            return Noting(result, self._made[name], self._spent) if name in self._made else result

        return timed


class StagedDecoder:
    """The decoder of a ``grid`` bundle on one thread, whose stages are timed.

    It is put together from a bundle's graphs and tables. Runtime ``native`` decodes a file in one call of
    libdcn by default; here its parts are called one by one, with the same result.
    """

    def __init__(self, bundle: Bundle, precision: str, runtime: str) -> None:
        """Raises what Decoder raises."""
        from decant.codec.decoder import GridDecoder

        own = Bundle.open(bundle.path)  # parts of its layout are replaced
        wish = GraphRequest(runtime=runtime, device="cpu", precision=precision)
        chosen = load_session(own, "synthesis", wish, 1)
        whole = own.layout.decoder(
            own,
            chosen.session,
            lambda role: load_companion(own, role, wish, runtime, 1).session,
            denoiser=None,
            overlap=False,
        )
        assert isinstance(whole, GridDecoder)
        self.precision, self.runtime = chosen.session.precision, chosen.session.runtime
        self.spent: dict[str, int] = {}
        layout: Any = whole.layout
        stream, classes = "entropy", "scale indices"
        steps = {"decode": stream, "finish": stream}
        if layout.native is not None:  # finds the scale indices of tiles too
            layout.native = Noting(layout.native, {"decode_part": stream, "decode_tile": stream}, self.spent)
        layout.entropy = Noting(layout.entropy, {"decoder": stream}, self.spent, {"decoder": steps})
        layout.scales = Noting(layout.scales, {"frame": classes, "scale_indices": classes}, self.spent)
        parts = {"add": classes, "after_anchors": classes}
        layout.contexts = Noting(layout.contexts, {"tile": classes}, self.spent, {"tile": parts})
        layout.checkerboard_means = Noting(layout.checkerboard_means, {"added": "mean graph"}, self.spent)
        self._pipeline = GridDecoder(
            cast(Any, Noting(layout, {"parse": "parse"}, self.spent)),
            cast(Any, Noting(whole.hyper_mean, {"start": "mean graph"}, self.spent)),
            cast(Any, Noting(whole.synthesis, {"run": "synthesis"}, self.spent)),
            overlap=False,
        )

    def decode(self, data: bytes) -> tuple[np.ndarray, dict[str, int]]:
        """A file -> uint8 (H, W, 3) and the nanoseconds of each of STAGES, which sum to the whole."""
        self.spent.clear()
        begun = time.perf_counter_ns()
        file = container.parse(data)
        parsed = time.perf_counter_ns()
        pixels = self._pipeline.decode(file)
        ended = time.perf_counter_ns()
        stages = dict.fromkeys(STAGES, 0) | self.spent
        stages["parse"] += parsed - begun
        stages["rest"] = ended - begun - sum(stages.values())
        return pixels, stages


def measure(
    bundles: Sequence[Bundle],
    pictures: PictureSet,
    options: Options | None = None,
    *,
    command: str | None = None,
    say: Say = lambda line: None,
) -> record.Record:
    """A record of kind ``breakdown``: a row for each synthesis graph of each bundle, with a sample of every
    stage a picture and round. Raises BenchError for bundles that are no codecs, and what loading raises.
    """
    options = options or Options()
    config = {
        "options": asdict(options) | {"runtimes": list(options.runtimes)},
        "images": pictures.described(),
        "bundles": [{"name": bundle.name, "model_id": bundle.model_id} for bundle in bundles],
    }
    result = record.new("breakdown", config, command)
    subjects = []
    for bundle in bundles:
        if bundle.layout.name != "grid":
            raise BenchError(
                f"bundle {bundle.name} has layout {bundle.layout.name}; a codec bundle (layout grid) expected"
            )
    for bundle in bundles:
        # All decode the same files, so one contender makes them.
        datas: list[bytes] = []
        for graph in bundle.graphs:
            if graph.role != "synthesis" or graph.runtime not in options.runtimes:
                continue
            subject = _subject(bundle, graph.precision, graph.runtime)
            result["rows"].append(subject.row)
            if subject.row["refused"] is None:
                datas = datas or _files(bundle, pictures, options.match_bpp, say)
                subject.datas = datas
                subject.row["bits_per_pixel"] = _rate(datas, pictures)
                subjects.append(subject)
    if not subjects:
        reasons = "; ".join(f"{row['label']}: {row['refused']}" for row in result["rows"])
        raise BenchError(f"no stage could be measured: {reasons or 'no graph for these runtimes'}")
    say(f"decodes: {options.rounds} rounds")
    rounds = shuffled_rounds(subjects, options.seed)
    for _ in range(options.rounds):
        for subject in next(rounds):
            subject.visit()
    result["machine"]["load_average_after"] = machine.load_average()
    return result


@dataclass
class _Subject:
    row: dict[str, Any]
    staged: StagedDecoder | None = None
    plain: dict[int, Decoder] | None = None
    datas: Sequence[bytes] = ()

    def visit(self) -> None:
        """Every picture once by each decoder; one decode of each before goes untimed."""
        assert self.staged is not None
        assert self.plain is not None
        self.staged.decode(self.datas[0])
        for data in self.datas:
            for stage, spent in self.staged.decode(data)[1].items():
                self.row["stages_ns"][stage].append(spent)
        for threads, decoder in self.plain.items():
            decoder.decode(self.datas[0])
            for data in self.datas:
                before = time.perf_counter_ns()
                decoder.decode(data)
                self.row["plain_ns"][str(threads)].append(time.perf_counter_ns() - before)


def _subject(bundle: Bundle, precision: str, runtime: str) -> _Subject:
    row: dict[str, Any] = {
        "label": f"{bundle.name} {precision}",
        "runtime": runtime,
        "refused": None,
        "bits_per_pixel": None,
        "stages_ns": {stage: [] for stage in STAGES},
        "plain_ns": {str(threads): [] for threads in PLAIN_THREADS},
    }
    try:
        staged = StagedDecoder(bundle, precision, runtime)
        plain = {
            threads: Decoder(bundle, precision=precision, runtime=runtime, threads=threads)
            for threads in PLAIN_THREADS
        }
    except DecantError as error:
        row["refused"] = str(error)
        return _Subject(row)
    return _Subject(row, staged, plain)


def _files(bundle: Bundle, pictures: PictureSet, bits_per_pixel: float, say: Say) -> list[bytes]:
    if not bits_per_pixel:
        encoder = Encoder(bundle)
        return [encoder.encode(picture.pixels, effort=0) for picture in pictures.pictures]
    say(f"{bundle.name}: files of {bits_per_pixel:g} bits per pixel")
    contender: CodecEntry = bundle_contender(bundle, "auto", "auto")
    return [at_rate(contender, picture, bits_per_pixel).data for picture in pictures.pictures]


def _rate(datas: Sequence[bytes], pictures: PictureSet) -> float:
    rates = [8 * len(data) / p.pixel_count for data, p in zip(datas, pictures.pictures, strict=True)]
    return float(np.mean(rates))


HEADERS = (
    "median ms", "runtime", "bits per\npixel", *STAGES, "sum", "whole,\n1 thread", "whole,\n2 threads",
)  # fmt: skip

TITLE = "Stages of a decode"
NOTE = (
    "Stages on one thread; where streams are decoded in C, that finds most of the scale indices too. Whole: "
    "the plain decoder in the same rounds; on two threads graphs run while symbols are decoded."
)


def table(found_rows: Sequence[dict[str, Any]]) -> Table:
    """A row a decoder: medians of its stages, and of the plain decoder."""
    rows = []
    for row in found_rows:
        if row["refused"] is not None:
            continue
        stages = [row["stages_ns"][stage] for stage in STAGES]
        sums = [sum(samples) for samples in zip(*stages, strict=True)]
        figures = [*stages, sums, *row["plain_ns"].values()]
        cells = [number(stats.summarise(samples).median / 1e6) for samples in figures]
        rows.append([row["label"], row["runtime"], f"{row['bits_per_pixel']:.3f}", *cells])
    return Table(HEADERS, rows, TITLE, NOTE, left=2)


def as_text(found: record.Record) -> str:
    """The record for the terminal."""
    images = found["config"]["images"]
    parts = [
        f"{images['count']} images, {', '.join(images['sizes'])}; {found['machine']['cpu']}, load "
        f"{found['machine']['load_average']}",
        table(found["rows"]).text(),
    ]
    gone = [
        f"  {row['label']} ({row['runtime']}): {row['refused']}" for row in found["rows"] if row["refused"]
    ]
    return "\n\n".join([*parts, "refused\n" + "\n".join(gone)] if gone else parts)
