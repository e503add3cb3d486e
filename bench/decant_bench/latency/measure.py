"""Load and decode times of bundles beside other formats: same pictures, interleaved. Steady decodes of codecs
run in processes of their own (decant_bench.common.peer).

Both sides start from bytes in memory and end at uint8 RGB (H, W, 3). A round visits every subject once, in a
new random order. A visit decodes one picture untimed, to wake threads and fill caches, and then the round's
pictures, timed one by one. Four phases: fresh processes (import, first load, first decode, peak memory),
loads, decodes, whole sets.
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

from decant_bench.common import machine, record
from decant_bench.common.baselines import setting
from decant_bench.common.images import ImageSet, require_size
from decant_bench.common.schedule import Budget
from decant_bench.common.subjects import BenchmarkCase, codec_subjects, files_of, model_subjects
from decant_bench.errors import BenchError
from decant_bench.evaluate.quality import encode
from decant_bench.latency import footprint, phases

CODECS = ("jpeg-q30", "jpeg-q75", "jpeg-q90", "png", "webp", "avif")
REFERENCE = "jpeg-q90"  # what ratios are to

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How to measure. A phase takes as many rounds as it says, then more until every subject has its samples
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
    fresh_rounds: int = 3
    batch_rounds: int = 5
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
    images: ImageSet,
    options: Options,
    *,
    archive: Path | None = None,
    command: str | None = None,
    say: Say = lambda line: None,
) -> record.Record:
    """Measure every variant of ``bundles`` and every codec on ``images``; a latency record.

    ``archive``: a folder of ready .dcn files, one per image (see quality.encode), for bundles without an
    encoder. A variant that cannot run here gives a row that says why. Raises BenchError when nothing can be
    measured, and what reading and encoding raise.
    """
    require_size(bundles, images)
    if archive is not None and len(bundles) != 1:
        raise BenchError(f"an archive belongs to one bundle; {len(bundles)} were given")
    subjects = [
        s
        for bundle in bundles
        for s in model_subjects(bundle, options.runtimes, options.threads, options.device)
    ]
    subjects += codec_subjects(options.codecs, options.threads)
    if len({subject.key for subject in subjects}) != len(subjects):
        raise BenchError("two bundles have the same name; their rows could not be told apart")
    opened = {str(bundle.path): bundle for bundle in bundles}
    result = record.new("latency", _config(bundles, subjects, images, options), command)
    if machine.busy(result["machine"]["load_average"], result["machine"]["cores_usable"] or 1):
        load = result["machine"]["load_average"][0]
        say(f"the machine is busy (load {load}): times will be long and scattered")
    with tempfile.TemporaryDirectory(prefix="decant-bench-") as place:
        given = _Files(Path(place), images, archive)
        rows, states = [], []
        for subject in subjects:
            row = new_row(subject, opened.get(subject.bundle))
            rows.append(row)
            files = given.of(subject, opened.get(subject.bundle))
            try:
                states.append(_ready(subject, row, opened.get(subject.bundle), files))
            except DecantError as error:
                row["refused"] = str(error)
                say(f"refused: {subject.key}: {error}")
        rows += [refused for bundle in bundles for refused in _refused_at_export(bundle, options.runtimes)]
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
    return result


def new_row(subject: BenchmarkCase, bundle: Bundle | None) -> dict[str, Any]:
    """A row without samples. Times are in nanoseconds; a list of lists has one list a round."""
    return {
        "key": subject.key,
        "label": subject.label,
        "subject": subject.as_dict(),
        "refused": None,
        "requested_device": subject.device or None,
        "device": None,
        "device_name": None,
        "runtime_version": None,
        "golden_psnr_db": None,
        "model_bytes": sum(path.stat().st_size for path in files_of(subject, bundle)) or None,
        "file_bytes": None,
        "import_ns": [],
        "fresh_load_ns": [],
        "first_decode_ns": [],
        "peak_memory_kib": [],
        "load_ns": [],
        "load_cold_ns": [],
        "cache_left": None,
        "decode_ns": [],
        "batch_ns_per_image": {},
    }


class _Files:
    """The images as files of every format, made when first asked for."""

    def __init__(self, folder: Path, images: ImageSet, ready: Path | None) -> None:
        self._folder, self._images, self._ready = folder, images, ready
        self._made: dict[str, list[Path]] = {}

    def of(self, subject: BenchmarkCase, bundle: Bundle | None) -> list[Path]:
        """One file per image. Raises what encoding raises, BenchError when a ready file is missing."""
        name = f"{subject.kind}-{subject.name}"
        if name not in self._made:
            self._made[name] = self._encode(subject, bundle, name)
        return self._made[name]

    def _encode(self, subject: BenchmarkCase, bundle: Bundle | None, name: str) -> list[Path]:
        if bundle is None:
            datas = [setting(subject.name).encode(picture) for picture in self._images.pixels]
        else:
            datas = encode(bundle, self._images, self._ready)
        folder = self._folder / name
        folder.mkdir()
        paths = [folder / f"{i:05}" for i in range(len(datas))]
        for path, data in zip(paths, datas, strict=True):
            path.write_bytes(data)
        return paths


def _ready(
    subject: BenchmarkCase, row: dict[str, Any], bundle: Bundle | None, files: list[Path]
) -> phases.State:
    """Load a subject as it will be measured. Raises DecantError where it cannot run."""
    datas = [path.read_bytes() for path in files]
    row["file_bytes"] = round(float(np.mean([len(data) for data in datas])), 1)
    decoder = None
    if bundle is not None:
        decoder = subject.decoder("always")
        for name in ("requested_device", "device", "device_name", "runtime_version"):
            row[name] = getattr(decoder, name)
        # Infinite where the golden pictures came out to the bit; JSON has no such number.
        psnr = decoder.golden_psnr_db
        row["golden_psnr_db"] = psnr if psnr is None or np.isfinite(psnr) else "identical"
    decode = subject.codec() if decoder is None else decoder.decode
    decode(datas[0])
    return phases.State(subject, row, files, datas, files_of(subject, bundle) or files[:1], decode, decoder)


def _refused_at_export(bundle: Bundle, runtimes: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = []
    for entry in bundle.manifest.raw.get("refused", []):
        if entry.get("role") == "synthesis" and entry.get("runtime") in runtimes:
            subject = BenchmarkCase(
                "model", bundle.name, 0, str(bundle.path), entry["precision"], entry["runtime"]
            )
            row = new_row(subject, None)
            row["refused"] = f"not exported: {entry.get('reason') or 'below its floor'}"
            rows.append(row)
    return rows


def _config(
    bundles: Sequence[Bundle], subjects: Sequence[BenchmarkCase], images: ImageSet, options: Options
) -> dict[str, Any]:
    described = images.described()
    del described["source"]  # the same pictures from another folder are the same work
    return {
        "options": options.config(),
        "images": described,
        "subjects": [subject.key for subject in subjects],
        "bundles": {
            bundle.name: {
                "model_id": bundle.model_id,
                "graphs": {file.path: file.sha256 for graph in bundle.graphs for file in graph.files},
            }
            for bundle in bundles
        },
    }
