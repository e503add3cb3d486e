"""The published systems at work: a picture as a short vector, and back (families set, digits and others whose
pictures have one size).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from decant import cache
from decant.bundles.bundle import Bundle, list_bundles
from decant.decoder import Decoder
from decant.formats import container
from decant.layouts.fixed import FixedLayout

from decant_studio.errors import Refused
from decant_studio.work import inversion
from decant_studio.work.figures import figures
from decant_studio.work.latents import loaded, saved
from decant_studio.work.limits import Limits
from decant_studio.work.pictures import NAME, NPY_MAGIC, opened, png, square
from decant_studio.work.result import File, Progress, Result

_KIND = "application/octet-stream"


@dataclass(frozen=True)
class System:
    """A bundle of one picture size, for the page."""

    name: str
    family: str
    width: int
    height: int
    encodes: bool
    denoises: bool


def systems(bundle_dir: str | None) -> list[System]:
    """The bundles here whose pictures have one size, by family and name."""
    found = [
        System(bundle.name, bundle.family, *bundle.image, bundle.has("analysis"), bundle.has("denoiser"))
        for bundle in list_bundles(bundle_dir)
        if bundle.image != (0, 0)
    ]
    return sorted(found, key=lambda system: (system.family, system.name))


def compress(limits: Limits, progress: Progress, *, data: bytes, system: str, denoise: bool) -> Result:
    """A picture -> its latents as ``.npy`` and ``.dcn``, and the picture that they give. Raises DecantError,
    Refused.
    """
    progress("reading the picture", 0.05)
    upload = opened(data, limits.pixels)
    notes: list[str] = []
    bundle, layout, decoder = _open(limits, system, denoise)
    pixels = square(upload.pixels, *bundle.image)
    if bundle.family.startswith("digits"):
        pixels, notes = _as_digit(pixels)
    progress("finding the vector", 0.2)
    if bundle.has("analysis"):
        encoder = cache.encoder(bundle, threads=limits.threads)
        coded = encoder.encode(pixels)
    else:
        coded = _searched(bundle, layout, decoder, pixels, progress)
        notes.append("This model only decodes: its vector was searched for through the decoder.")
    progress("decoding", 0.9)
    file = container.parse(coded, NAME)
    latents = layout.unpack(file.latents, NAME)
    decoded = decoder.decode_file(file, NAME)
    said: dict[str, Any] = figures(pixels, decoded, len(file.latents)) | {
        "system": bundle.name,
        "family": bundle.family,
        "width": bundle.image[0],
        "height": bundle.image[1],
        "shape": list(latents.shape),
        "numbers": int(latents.size),
        "latents": [round(float(one), 4) for one in latents.reshape(-1)[:128]],
        "notes": upload.notes + notes,
    }
    return Result(
        said,
        {
            "original.png": png(pixels, "original.png"),
            "decoded.png": png(decoded, f"{bundle.name}-decoded.png"),
            "latents.npy": File(_KIND, saved(latents), f"{bundle.name}-latents.npy"),
            "file.dcn": File(_KIND, coded, f"{bundle.name}-picture.dcn"),
        },
    )


def decompress(limits: Limits, progress: Progress, *, data: bytes, system: str, denoise: bool) -> Result:
    """The picture of latents in a ``.npy`` or ``.dcn`` file of ``system``. Raises DecantError, Refused."""
    progress("reading the file", 0.1)
    bundle, layout, decoder = _open(limits, system, denoise)
    shape = layout.shape(bundle.image)
    if data.startswith(container.MAGIC):
        latents = layout.unpack(container.parse(data, NAME).latents, NAME)
        decoded = decoder.decode(data, NAME)
    elif data.startswith(NPY_MAGIC):
        latents = _numbers(loaded(data, limits.pixels), shape, bundle.name)
        progress("decoding", 0.4)
        decoded = decoder.decode_latents(latents[None])[0]
    else:
        raise Refused(400, "This is neither a .npy file nor a .dcn file.")
    said = {
        "system": bundle.name,
        "width": bundle.image[0],
        "height": bundle.image[1],
        "numbers": int(latents.size),
    }
    return Result(said, {"picture.png": png(decoded, f"{bundle.name}-picture.png")})


def _open(limits: Limits, name: str, denoise: bool) -> tuple[Bundle, FixedLayout, Decoder]:
    bundle = next((one for one in list_bundles(limits.bundle_dir) if one.name == name), None)
    if bundle is None or not isinstance(bundle.layout, FixedLayout):
        raise Refused(400, f"There is no published system {name!r} here.")
    options = {"denoise": denoise and bundle.has("denoiser"), "threads": limits.threads}
    decoder = cache.decoder(
        bundle.name, bundle.model_id, bundle_dir=limits.bundle_dir, size_limit=limits.pixels, **options
    )
    return bundle, bundle.layout, decoder


def _numbers(array: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """``array`` as latents float32 of ``shape``; a leading axis of 1 may be there. Raises Refused."""
    if array.shape == (1, *shape):
        array = array[0]
    if array.shape != shape or array.dtype.kind not in "fiu":
        raise Refused(
            400, f"The array is {array.dtype} {array.shape}; model {name} takes numbers of shape {shape}."
        )
    with np.errstate(over="ignore"):
        latents = array.astype(np.float32)
    if not np.isfinite(latents).all():
        raise Refused(400, "The array holds a number that is not finite.")
    return latents


def _searched(
    bundle: Bundle, layout: FixedLayout, decoder: Decoder, pixels: np.ndarray, progress: Progress
) -> bytes:
    """The ``.dcn`` file of the nearest picture that the decoder makes, from the latents of golden files."""
    golden = [container.parse(bundle.read(one.file)).latents for one in bundle.golden]
    starts = np.stack([layout.unpack(one) for one in golden])
    if starts.ndim != 2:
        raise Refused(400, f"Model {bundle.name} only decodes; give it a .npy or .dcn file.")
    found = inversion.latents_of(
        pixels,
        decoder.decode_latents,
        starts,
        lambda share: progress("searching for the vector", 0.2 + 0.7 * share),
    )
    return container.write(
        container.DcnFile(
            name=bundle.name,
            model_id=bytes.fromhex(bundle.model_id)[:8],
            width=bundle.image[0],
            height=bundle.image[1],
            latents=layout.pack(found),
        )
    )


def _as_digit(pixels: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Grey, and light on dark as in MNIST: the ground is what most of the border is."""
    grey = np.rint(pixels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    notes = []
    if np.median(border) > 127:
        grey = 255 - grey
        notes.append("Dark on light was inverted: the digits that the model knows are light on dark.")
    return np.repeat(grey[:, :, None], 3, axis=2), notes
