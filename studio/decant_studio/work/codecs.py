"""The codecs that the studio compares, and files of them within a number of bytes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from decant import cache
from decant.bundles.bundle import list_bundles
from decant_bench.common.baselines import CODECS

from decant_studio.errors import Refused
from decant_studio.work.limits import Limits
from decant_studio.work.pictures import rgb

# By the name that the pages use: label, codec of the benchmarks, media type.
PEERS = {
    "jpeg": ("JPEG", "jpeg", "image/jpeg"),
    "webp": ("WebP", "webp", "image/webp"),
    "avif": ("AVIF", "avif", "image/avif"),
}


@dataclass(frozen=True)
class Coded:
    """A file at one quality."""

    quality: int
    data: bytes


def models(bundle_dir: str | None) -> list[str]:
    """Names of the codecs here that encode pictures of any size; ``lite`` first."""
    names = [
        bundle.name
        for bundle in list_bundles(bundle_dir)
        if bundle.model["latent"]["layout"] == "grid" and bundle.has("analysis")
    ]
    return sorted(names, key=lambda name: (name != "lite", name))


def encode_model(
    limits: Limits, model: str, pixels: np.ndarray, effort: int | None, **wanted: float | int
) -> bytes:
    """A ``.dcn`` file; ``wanted`` is one of quality, target_bpp, target_psnr. Raises what Encoder raises."""
    encoder = cache.encoder(model, bundle_dir=limits.bundle_dir, threads=limits.threads)
    return encoder.encode(pixels, effort=effort, **wanted)  # type: ignore[arg-type]


def decode_model(limits: Limits, name: str, data: bytes) -> np.ndarray:
    """A ``.dcn`` file -> uint8 (H, W, 3), by the default decoder of the bundle that it names."""
    from decant.formats import container

    file = container.parse(data, name)
    decoder = cache.decoder(
        file.name,
        file.model_id,
        bundle_dir=limits.bundle_dir,
        threads=limits.threads,
        size_limit=limits.pixels,
    )
    return rgb(decoder.decode_file(file, name))


def peer_encoder(peer: str, pixels: np.ndarray) -> Callable[[int], bytes]:
    """Quality -> a file of the codec ``peer``, one of PEERS."""
    codec = CODECS[PEERS[peer][1]]
    return lambda quality: codec.encode(pixels, quality)


def decode_peer(peer: str, data: bytes) -> np.ndarray:
    """A file of ``peer`` -> uint8 (H, W, 3)."""
    return CODECS[PEERS[peer][1]].decode(data)


def check_peer(peer: str) -> str:
    """``peer``, where it is one. Raises Refused."""
    if peer not in PEERS:
        raise Refused(400, f"No codec {peer!r} to compare with; choose one of {', '.join(PEERS)}.")
    return peer


def at_least(encode: Callable[[int], bytes], size: int) -> Coded:
    """The smallest file of at least ``size`` bytes, or the largest there is (qualities 1 to 100)."""
    below, above = _around(encode, size - 1)
    return below if len(below.data) >= size else above


def at_most(encode: Callable[[int], bytes], size: int) -> Coded:
    """The largest file of at most ``size`` bytes, or the smallest there is (qualities 1 to 100)."""
    below, above = _around(encode, size)
    return above if len(above.data) <= size else below


def _around(encode: Callable[[int], bytes], size: int) -> tuple[Coded, Coded]:
    """The files of neighbouring qualities between which ``size`` lies, by bisection: the first of at most
    ``size`` bytes and the second of more, except at the ends of the range.
    """
    files: dict[int, bytes] = {}

    def made(quality: int) -> bytes:
        if quality not in files:
            files[quality] = encode(quality)
        return files[quality]

    low, high = 1, 100
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(made(middle)) <= size else (low, middle)
    return Coded(low, made(low)), Coded(high, made(high))
