"""Load and decode times of bundles beside other formats: same pictures, interleaved, every case in processes
of its own (latency/case_process.py), several of them one after another.

Both sides start from bytes in memory and end at uint8 RGB (H, W, 3). A round visits every case once, in a
new random order. A visit decodes one picture untimed, to wake threads and fill caches, and then the round's
pictures, timed one by one. The phases are in latency/phases.py.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from decant.bundles.bundle import Bundle
from decant.errors import DecantError
from decant.formats.paths import takes_paths

from decant_bench.common import machine, quiet, record
from decant_bench.common.baselines import setting
from decant_bench.common.cases import (
    BundleCase,
    Case,
    bundle_cases,
    codec_cases,
    refused_at_export,
)
from decant_bench.common.fitting import require_size
from decant_bench.common.pictures import PictureSet
from decant_bench.common.schedule import Budget
from decant_bench.errors import BenchError
from decant_bench.evaluate.quality import encode
from decant_bench.latency import footprint, phases
from decant_bench.latency.case_process import as_files

CODECS = ("jpeg-q30", "jpeg-q75", "jpeg-q90", "png", "webp", "avif")
REFERENCE = "jpeg-q90"  # what ratios are to

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How to measure. A phase takes as many rounds as it says, then more until every case has its samples
    and seconds; ``max_minutes`` (0: none) ends it earlier, after one round at least.
    """

    threads: tuple[int, ...] = (1, 2)
    runtimes: tuple[str, ...] = ("native", "onnxruntime", "openvino")
    device: str = "cpu"
    codecs: tuple[str, ...] = CODECS
    rounds: int = 20
    images_per_visit: int = 4
    visit_ms: float = 20.0  # a visit repeats its pictures until it should last so long
    min_samples: int = 50
    min_seconds: float = 0.25
    load_rounds: int = 10
    fresh_rounds: int = 5  # processes of each case; rounds and loads are divided among them
    batch_rounds: int = 5
    allocator: str = "kept"  # of common/allocator.py
    seed: int = 0
    max_minutes: float = 0.0

    def config(self) -> dict[str, Any]:
        """What of it decides the work done: all but the time limit."""
        chosen = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}
        del chosen["max_minutes"]
        return chosen


@takes_paths
def measure(
    bundles: Sequence[Bundle],
    images: PictureSet,
    options: Options,
    *,
    archive: Path | None = None,
    cases: Sequence[BundleCase] | None = None,
    command: str | None = None,
    say: Say = lambda line: None,
) -> record.Record:
    """Measure every variant of ``bundles`` and every codec on ``images``; a latency record.

    ``cases``: of the bundles, these instead of every variant (``default_case`` is what a client gets).
    ``archive``: a folder of ready .dcn files, one per image (see quality.encode), for bundles without an
    encoder. A variant that cannot run here gives a row that says why. Raises BenchError when nothing can be
    measured, and what reading and encoding raise.
    """
    require_size(bundles, images)
    if archive is not None and len(bundles) != 1:
        raise BenchError(f"an archive belongs to one bundle; {len(bundles)} were given")
    ours = list(cases or ()) or [
        case
        for bundle in bundles
        for case in bundle_cases(bundle, options.runtimes, options.threads, options.device)
    ]
    timed: list[Case] = [*ours, *codec_cases(options.codecs, options.threads)]
    if len({case.key for case in timed}) != len(timed):
        raise BenchError("two bundles have the same name; their rows could not be told apart")
    opened = {str(bundle.path): bundle for bundle in bundles}
    result = record.new("latency", config_of(bundles, timed, images, options), command)
    result["machine"]["quiet_before"] = quiet.check().as_dict()
    if not result["machine"]["quiet_before"]["quiet"]:
        say(
            f"the machine is busy (load {result['machine']['load_average']}): times will be long and "
            f"scattered"
        )
    with tempfile.TemporaryDirectory(prefix="decant-bench-") as place:
        given = _Files(Path(place), images, archive)
        rows, states = [], []
        for case in timed:
            row = new_row(case, opened.get(case.bundle))
            rows.append(row)
            files = given.of(case, opened.get(case.bundle))
            try:
                states.append(_ready(case, row, opened.get(case.bundle), files))
            except DecantError as error:
                row["refused"] = str(error)
                say(f"refused: {case.key}: {error}")
        rows += [
            new_row(case, None) | {"refused": why}
            for bundle in bundles
            for case, why in refused_at_export(bundle, options.runtimes, 0)
        ]
        if not states:
            raise BenchError("nothing could be measured: every variant was refused")
        phases.run_all(states, options, Budget(options.max_minutes), say)
    result["rows"] = rows
    result["reference"] = REFERENCE
    result["installed_mb"] = {
        "lean": footprint.installed_mb(),
        "with openvino": footprint.installed_mb("openvino"),
    }
    result["machine"]["load_average_after"] = machine.load_average()
    result["machine"]["quiet_after"] = quiet.check().as_dict()
    return result


def new_row(case: Case, bundle: Bundle | None) -> dict[str, Any]:
    """A row without samples. Times are in nanoseconds; a list of lists has one list a round."""
    return {
        "key": case.key,
        "label": case.label,
        "subject": case.as_dict(),
        "refused": None,
        "requested_device": case.device or None,
        "device": None,
        "device_name": None,
        "runtime_version": None,
        "golden_psnr_db": None,
        "model_bytes": sum(path.stat().st_size for path in case.files(bundle)) or None,
        "file_bytes": None,
        "cold_process_ns": [],
        "import_ns": [],
        "fresh_load_ns": [],
        "first_decode_ns": [],
        "peak_memory_kib": [],
        "page_faults": [],  # of a steady decode, one figure a process
        "load_ns": [],
        "load_cold_ns": [],
        "load_processes": [],  # of each round of load_ns and load_cold_ns, the number of its process
        "cache_left": None,
        "decode_ns": [],
        "decode_processes": [],  # of each round of decode_ns, the number of its process
        "batch_ns_per_image": {},
    }


class _Files:
    """The images as files of every format, made when first asked for."""

    def __init__(self, folder: Path, images: PictureSet, ready: Path | None) -> None:
        self._folder, self._images, self._ready = folder, images, ready
        self._made: dict[str, list[Path]] = {}

    def of(self, case: Case, bundle: Bundle | None) -> list[Path]:
        """One file per image. Raises what encoding raises, BenchError when a ready file is missing."""
        name = f"{case.kind}-{case.name}"
        if name not in self._made:
            self._made[name] = self._encode(case, bundle, name)
        return self._made[name]

    def _encode(self, case: Case, bundle: Bundle | None, name: str) -> list[Path]:
        if bundle is None:
            datas = [setting(case.name).encode(picture) for picture in self._images.pixels]
        else:
            datas = encode(bundle, self._images, self._ready)
        return as_files(self._folder / name, datas)


def _ready(case: Case, row: dict[str, Any], bundle: Bundle | None, files: list[Path]) -> phases.State:
    """Load a case as it will be measured. Raises DecantError where it cannot run."""
    datas = [path.read_bytes() for path in files]
    row["file_bytes"] = round(float(np.mean([len(data) for data in datas])), 1)
    decode, decoder = case.open()
    if decoder is not None:
        for name in ("requested_device", "device", "device_name", "runtime_version"):
            row[name] = getattr(decoder, name)
        # Infinite where the golden pictures came out to the bit; JSON has no such number.
        psnr = decoder.golden_psnr_db
        row["golden_psnr_db"] = psnr if psnr is None or np.isfinite(psnr) else "identical"
    decode(datas[0])
    return phases.State(case, row, files, case.files(bundle) or files[:1])


def config_of(
    bundles: Sequence[Bundle], cases: Sequence[Case], images: PictureSet, options: Options
) -> dict[str, Any]:
    """All that decides what is measured, for the record: equal where the same work was measured."""
    described = images.described()
    del described["source"]  # the same pictures from another folder are the same work
    return {
        "options": options.config(),
        "images": described,
        "subjects": [case.key for case in cases],
        "bundles": {
            bundle.name: {
                "model_id": bundle.model_id,
                "graphs": {file.path: file.sha256 for graph in bundle.graphs for file in graph.files},
            }
            for bundle in bundles
        },
    }
