"""``decant fit``: which graph of a bundle is best on this machine, and its compiled form for the next load.

Every graph that a device here takes is loaded, decodes the golden files and is timed. Graphs are compiled
into the user's cache while they are loaded (``decant.backends.compiled``), the best is remembered
(``decant.selection.fitted``).
"""

import platform
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from decant.backends.compiled import decant_version
from decant.backends.devices import available_devices
from decant.backends.tiling import is_static
from decant.bundles.bundle import Bundle, find_bundle
from decant.errors import DecantError, DeviceError
from decant.formats import container
from decant.process.cores import usable_cores
from decant.selection import fitted, golden
from decant.selection.candidates import GraphRequest, candidates
from decant.selection.machine import machine
from decant.selection.opening import compiling

if TYPE_CHECKING:
    from decant.decoder import Decoder

GOALS = ("latency", "throughput")
REPORT = "decant-fit/1"
_SIDE, _QUALITY = 512, 60  # of the picture that is decoded, where the bundle can encode one
_LEAST_RUNS, _LEAST_S, _MOST_RUNS = 5, 0.5, 200
_LOADS = 3


@dataclass(frozen=True)
class Trial:
    """One graph on one device: what the golden check gave, and milliseconds. ``failed`` says why it cannot
    be used; the figures are None then.
    """

    precision: str
    runtime: str
    kind: str
    device: str
    driver: str = ""
    runtime_version: str = ""
    golden_psnr_db: float | None = None
    first_load_ms: float | None = None
    load_ms: float | None = None
    decode_ms: float | None = None
    pictures_per_s: float | None = None
    failed: str = ""


@dataclass(frozen=True)
class Fit:
    """The trials of a bundle on this machine and the one that was chosen."""

    bundle: Bundle
    trials: Sequence[Trial]
    chosen: Trial
    goal: str
    pixels: tuple[int, int]
    threads: int

    def report(self) -> dict[str, Any]:
        """As data for JSON: what an owner of a device sends (docs/devices.md)."""
        return {
            "schema": REPORT,
            "decant": decant_version(),
            "model": self.bundle.name,
            "model_id": self.bundle.model_id,
            "bundle_checksum": self.bundle.manifest.raw["checksum"],
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "python": platform.python_version(),
            "processor": next((line for line in machine()[0].splitlines() if "name" in line), machine()[0]),
            "threads": self.threads,
            "goal": self.goal,
            "picture": list(self.pixels),
            "devices": [asdict(device) for device in available_devices()],
            "trials": [asdict(trial) for trial in self.trials],
            "chosen": asdict(self.chosen),
        }


def fit(
    bundle: Bundle,
    *,
    device: str = "cpu",
    goal: str = "latency",
    threads: int = 0,
    strict_device: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> Fit:
    """Try every graph of ``bundle`` on ``device`` (cpu, gpu, npu, emulator, or auto for all but the last),
    compile them for the next load, and remember the best for ``goal``: latency, the shortest decode with
    ``threads``, or throughput, the most pictures a second.

    Raises DeviceError where no graph can be used on the device, BundleError, OSError.
    """
    if goal not in GOALS:
        raise DeviceError(f"goal {goal!r} is unknown; {' or '.join(GOALS)} expected")
    bundle.verify_files()
    threads = threads or usable_cores()
    wish = GraphRequest(device=device, strict_device=strict_device)
    choices = [
        (graph, found)
        for graph, found in candidates(bundle, "synthesis", wish)
        if is_static(graph) or not found.static_shapes
    ]
    if not choices:
        raise DeviceError(
            f"bundle {bundle.name}: it has no graph of static shapes, which {device} needs; make them with "
            f"'decant export {bundle.name} --to npu --out DIR' and fit that folder"
        )
    sample = _sample(bundle)
    trials: list[Trial] = []
    for graph, found in choices:
        trial = Trial(graph.precision, graph.runtime, found.kind, found.name, found.driver)
        asked = replace(wish, runtime=graph.runtime, precision=graph.precision, device=found.kind)
        progress(f"{graph.label} on {found.name}")
        try:
            trials.append(_tried(bundle, asked, trial, sample, threads))
        except DecantError as error:
            trials.append(replace(trial, failed=str(error)))
    usable = [trial for trial in trials if not trial.failed]
    if not usable:
        raise DeviceError(f"bundle {bundle.name}: no graph of it runs on this machine: {trials[0].failed}")
    chosen = min(usable, key=_cost(goal))
    copy = _adopted(bundle) if _is_made_here(bundle) else ""
    choice = fitted.Choice(chosen.kind, chosen.runtime, chosen.precision, goal, copy)
    fitted.remember(bundle, device, choice)
    file = container.parse(sample)
    return Fit(bundle, trials, chosen, goal, (file.width, file.height), threads)


def _cost(goal: str) -> Callable[[Trial], float]:
    if goal == "latency":
        return lambda trial: trial.decode_ms or np.inf
    return lambda trial: -(trial.pictures_per_s or 0.0)


def _tried(bundle: Bundle, wish: GraphRequest, trial: Trial, sample: bytes, threads: int) -> Trial:
    """``trial`` with what loading, the golden check and decoding gave. Raises DecantError."""
    with compiling():
        _, first_ms = _loaded(bundle, wish, threads, "never")
    decoder, _ = _loaded(bundle, wish, threads, "always")  # in its compiled form, as the next load has it
    loads = [_loaded(bundle, wish, threads, "never")[1] for _ in range(_LOADS)]
    decode_ms = _decode_ms(decoder, sample)
    return replace(
        trial,
        runtime_version=decoder.runtime_version,
        golden_psnr_db=_rounded_db(decoder.golden_psnr_db),
        first_load_ms=round(first_ms, 2),
        load_ms=round(min(loads), 2),
        decode_ms=round(decode_ms, 3),
        pictures_per_s=round(_pictures_per_s(decoder, sample, threads, decode_ms), 2),
    )


def _loaded(
    bundle: Bundle, wish: GraphRequest, threads: int, check: golden.CheckGolden
) -> "tuple[Decoder, float]":
    from decant.decoder import Decoder

    begun = time.perf_counter()
    decoder = Decoder(
        bundle,
        runtime=wish.runtime,
        device=wish.device,
        precision=wish.precision,
        threads=threads,
        strict_device=wish.strict_device,
        check_golden=check,
    )
    return decoder, 1000 * (time.perf_counter() - begun)


def _decode_ms(decoder: "Decoder", sample: bytes) -> float:
    decoder.decode(sample)
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < _LEAST_RUNS or time.perf_counter() - began < _LEAST_S:
        begun = time.perf_counter()
        decoder.decode(sample)
        times.append(1000 * (time.perf_counter() - begun))
        if len(times) == _MOST_RUNS or time.perf_counter() - began > 20 * _LEAST_S:
            break
    return median(times)


def _pictures_per_s(decoder: "Decoder", sample: bytes, threads: int, decode_ms: float) -> float:
    count = max(threads, min(4 * threads, int(1000 * _LEAST_S / decode_ms)))
    begun = time.perf_counter()
    decoder.decode_batch([sample] * count)
    return count / (time.perf_counter() - begun)


def _rounded_db(psnr: float | None) -> float | None:
    if psnr is None:
        return None
    return round(min(psnr, 999.0), 2)


def _sample(bundle: Bundle) -> bytes:
    """The file that is timed: a picture of _SIDE pixels made of a golden one, where this model can be
    encoded; else the largest golden file.
    """
    largest = max(bundle.golden, key=lambda item: len(bundle.read(item.file)))
    if any(bundle.image):
        return bundle.read(largest.file)
    try:
        from decant.encoder import Encoder

        source = bundle if bundle.has("analysis") else find_bundle(bundle.name, bundle.model_id)
        pixels = golden.pixels_of(bundle, largest.pixels)
        rows, columns = (-(-_SIDE // size) for size in pixels.shape[:2])
        mosaic = np.ascontiguousarray(np.tile(pixels, (rows, columns, 1))[:_SIDE, :_SIDE])
        return Encoder(source).encode(mosaic, _QUALITY, effort=0)
    except DecantError:
        return bundle.read(largest.file)


def _is_made_here(bundle: Bundle) -> bool:
    """Whether ``bundle`` has static graphs beside others: it is a copy that was made for devices."""
    return len({is_static(graph) for graph in bundle.graphs if graph.role == "synthesis"}) > 1


def _adopted(bundle: Bundle) -> str:
    """The folder of a copy of ``bundle`` in the user's cache: where a file names its model, the released
    bundle is found, and this one by the choice alone. Raises OSError, BundleError.
    """
    parent = fitted.folder() / "bundles"
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = parent / str(bundle.manifest.raw["checksum"])[:40]
    if target.resolve() == bundle.path.resolve():
        return str(target)
    for left in parent.glob(".*.new"):  # of a fit that was killed
        shutil.rmtree(left, ignore_errors=True)
    building = parent / f".{secrets.token_hex(4)}.new"
    shutil.copytree(bundle.path, building)
    Bundle.open(building).verify_files()
    if target.exists():
        old = parent / f".{secrets.token_hex(4)}.new"
        target.rename(old)
        building.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        building.rename(target)
    return str(target)
