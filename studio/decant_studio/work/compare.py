"""The studio's main task: one picture in decant and in another codec at equal bytes."""

import time
from typing import Any

import numpy as np
from decant.formats import container

from decant_studio.errors import Refused
from decant_studio.work import codecs, latents
from decant_studio.work.figures import ERROR_GAIN, error_map, figures
from decant_studio.work.limits import Limits
from decant_studio.work.pictures import NAME, NPY_MAGIC, opened, png
from decant_studio.work.result import File, Progress, Result

DCN_KIND, NPY_KIND = "application/octet-stream", "application/octet-stream"
MODES = {"quality": "quality", "bpp": "target_bpp", "psnr": "target_psnr"}


def compare(
    limits: Limits,
    progress: Progress,
    *,
    data: bytes,
    model: str,
    mode: str,
    value: float,
    effort: int | None,
    peer: str,
) -> Result:
    """Encode a picture with ``model`` so that ``mode`` (quality, bpp or psnr) is ``value``, and with ``peer``
    in the smallest file that is no smaller. Raises DecantError, Refused.
    """
    if data.startswith((container.MAGIC, NPY_MAGIC)):
        raise Refused(400, "This is a compressed file; open it under “Restore a picture”.")
    codecs.check_peer(peer)
    progress("reading the picture", 0.02)
    upload = opened(data, limits.pixels)
    original = upload.pixels
    progress(f"encoding with {model}", 0.08)
    begun = time.perf_counter()
    wanted: dict[str, Any] = {MODES[mode]: int(value) if mode == "quality" else value}
    coded = codecs.encode_model(limits, model, original, effort, **wanted)
    encode_ms = 1000 * (time.perf_counter() - begun)
    progress(f"decoding with {model}", 0.55)
    begun = time.perf_counter()
    decoded = codecs.decode_model(limits, NAME, coded)
    decode_ms = 1000 * (time.perf_counter() - begun)
    label = codecs.PEERS[peer][0]
    progress(f"{label} at equal bytes", 0.6)
    other = codecs.at_least(codecs.peer_encoder(peer, original), len(coded))
    other_pixels = codecs.decode_peer(peer, other.data)
    progress("measuring", 0.75)
    ours = figures(original, decoded, len(coded)) | {
        "label": f"decant {model}",
        "quality": container.parse(coded).quality,
        "encode_ms": encode_ms,
        "decode_ms": decode_ms,
    }
    theirs = figures(original, other_pixels, len(other.data)) | {"label": label, "quality": other.quality}
    progress("packing the pictures for the browser", 0.92)
    said = {
        "width": upload.width,
        "height": upload.height,
        "gain": ERROR_GAIN,
        "notes": upload.notes + _uneven(len(coded), len(other.data), label),
        "codecs": {"decant": ours, "other": theirs},
    }
    files = {
        **_pictures(original, decoded, other_pixels),
        "file.dcn": File(DCN_KIND, coded, f"picture-{model}.dcn"),
        "latents.npy": File(
            NPY_KIND, latents.from_file(coded, limits.bundle_dir), f"picture-{model}-latents.npy"
        ),
        "other": File(codecs.PEERS[peer][2], other.data, f"picture.{peer.replace('jpeg', 'jpg')}"),
    }
    return Result(said, files)


def restore(limits: Limits, progress: Progress, *, data: bytes) -> Result:
    """The picture of a ``.dcn`` file or of latents in a ``.npy`` file that the studio gave. Raises
    DecantError, Refused.
    """
    progress("reading the file", 0.05)
    if data.startswith(NPY_MAGIC):
        data = latents.to_file(data, limits)
    elif not data.startswith(container.MAGIC):
        raise Refused(400, "This is neither a .dcn file nor latents in a .npy file that the studio gave.")
    file = container.parse(data, NAME)
    container.check_size(file.width, file.height, NAME, limits.pixels)
    progress(f"decoding with {file.name}", 0.3)
    pixels = codecs.decode_model(limits, NAME, data)
    progress("packing the picture for the browser", 0.8)
    said = {
        "width": file.width,
        "height": file.height,
        "model": file.name,
        "quality": file.quality or None,
        "bytes": len(data),
        "bits_per_pixel": 8 * len(data) / (file.width * file.height),
    }
    return Result(said, {"picture.png": png(pixels, "picture.png")})


def _pictures(original: np.ndarray, decoded: np.ndarray, other: np.ndarray) -> dict[str, File]:
    return {
        "original.png": png(original, "original.png"),
        "decant.png": png(decoded, "decant.png"),
        "other.png": png(other, "other.png"),
        "decant-error.png": png(error_map(original, decoded), "decant-error.png"),
        "other-error.png": png(error_map(original, other), "other-error.png"),
    }


def _uneven(ours: int, theirs: int, label: str) -> list[str]:
    """A note where the other codec has no file near ours in size."""
    if 0.97 * ours <= theirs <= 1.1 * ours:
        return []
    word = "smallest" if theirs > ours else "largest"
    if theirs > ours:
        return [f"{label} has no closer size: its {word} file that is no smaller has {theirs:,} bytes."]
    return [f"{label} has no larger file than {theirs:,} bytes for this picture."]
