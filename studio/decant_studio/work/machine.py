"""This machine: its devices, and how fast the models here decode on it beside JPEG, WebP and AVIF."""

import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from decant import cache
from decant.backends.devices import RUNTIMES, available_devices
from decant.bundles.bundle import find_bundle
from decant.codec.entropy import native
from decant.errors import MissingExtraError
from PIL import Image

from decant_studio.work import codecs
from decant_studio.work.limits import Limits
from decant_studio.work.result import Progress, Result

SIDE = 512  # pixels of the picture that is decoded
QUALITY = 60
_ROUNDS = 15
_LEAST_SECONDS = 0.25


def devices(limits: Limits, progress: Progress) -> Result:
    """The devices of every runtime that is installed, and the models here."""
    progress("asking the runtimes", 0.2)
    rows: list[dict[str, str]] = []
    missing: list[str] = []
    for runtime in RUNTIMES:
        try:
            for device in available_devices(runtime):
                rows.append({"runtime": runtime, "kind": device.kind, "name": device.name})
        except MissingExtraError:
            missing.append(runtime)
    return Result({"devices": rows, "missing": missing, "streams": _streams()})


def latency(limits: Limits, progress: Progress) -> Result:
    """Median milliseconds of decoding one picture of SIDE x SIDE pixels: each model at quality QUALITY, and
    each other codec at the bytes of the first model.
    """
    progress("making the files", 0.02)
    names = codecs.models(limits.bundle_dir)
    picture = _picture(limits, names[0])
    rows, size = [], 0
    for index, name in enumerate(names):
        progress(f"decant {name}", 0.05 + 0.7 * index / len(names))
        data = codecs.encode_model(limits, name, picture, 0, quality=QUALITY)
        size = size or len(data)
        decoder = cache.decoder(
            name, data[8:16], bundle_dir=limits.bundle_dir, threads=limits.threads, size_limit=limits.pixels
        )
        runs = f"{decoder.runtime} {decoder.precision}, {decoder.device}"
        rows.append(_row(f"decant {name}", len(data), runs, lambda: decoder.decode(data)))  # noqa: B023
    for index, (peer, (label, _, _)) in enumerate(codecs.PEERS.items()):
        progress(label, 0.75 + 0.24 * index / len(codecs.PEERS))
        coded = codecs.at_least(codecs.peer_encoder(peer, picture), size).data
        rows.append(_row(label, len(coded), "Pillow", lambda: codecs.decode_peer(peer, coded)))  # noqa: B023
    return Result({"rows": rows, "side": SIDE, "threads": limits.threads, "rounds": _ROUNDS})


def _row(label: str, size: int, runs: str, decode: Callable[[], object]) -> dict[str, Any]:
    decode()
    times: list[float] = []
    end = time.perf_counter() + _LEAST_SECONDS
    while len(times) < _ROUNDS or time.perf_counter() < end:
        begun = time.perf_counter()
        decode()
        times.append(1000 * (time.perf_counter() - begun))
    return {
        "codec": label,
        "bytes": size,
        "runs": runs,
        "median_ms": statistics.median(times),
        "least_ms": min(times),
    }


def _picture(limits: Limits, name: str) -> np.ndarray:
    """A real picture: the first golden one of a bundle, repeated to SIDE x SIDE."""
    bundle = find_bundle(name, None, limits.bundle_dir)
    with Image.open(io.BytesIO(bundle.read(bundle.golden[0].pixels))) as image:
        pixels = np.asarray(image.convert("RGB"))
    times = [-(-SIDE // side) for side in pixels.shape[:2]]
    return np.ascontiguousarray(np.tile(pixels, (*times, 1))[:SIDE, :SIDE])


def _streams() -> str:
    return "in C" if native.available() else "by numpy"
