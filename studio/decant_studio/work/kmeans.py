"""K-means colour quantization of any picture, and the elbow of its inertia."""

import io
from typing import Any

import numpy as np
from decant_bench.common import metrics, palettes
from PIL import Image
from threadpoolctl import threadpool_limits

from decant_studio.work.limits import Limits
from decant_studio.work.pictures import opened, png
from decant_studio.work.result import File, Progress, Result

LARGEST_K = 256
ELBOW = tuple(range(1, 13))
_FITTED = 1 << 16  # pixels that the palette is fitted to; of larger pictures a sample
_ELBOW_FITTED = 1 << 13


def kmeans(limits: Limits, progress: Progress, *, data: bytes, k: int) -> Result:
    """A picture in ``k`` colours as PNG, its size and PSNR, and inertia and PSNR for 1 to 12 colours. Raises
    DecantError.
    """
    progress("reading the picture", 0.05)
    upload = opened(data, limits.pixels)
    pixels = upload.pixels
    progress(f"K-means with k = {k}", 0.15)
    with threadpool_limits(1):  # on small samples, threads that wait for each other take longer than one
        palette = fitted(pixels, k, _FITTED)
        result = quantized(pixels, palette)
        inertia = []
        for count in ELBOW:
            progress("the elbow", 0.4 + 0.5 * count / len(ELBOW))
            inertia.append(_inertia(pixels, count))
    packed = _palette_png(palette, pixels)
    psnr = metrics.psnr(pixels, result)
    said: dict[str, Any] = {
        "width": upload.width,
        "height": upload.height,
        "k": k,
        "colours": len(palette),
        "palette": palette.tolist(),
        "uploaded_bytes": len(data),
        "bytes": len(packed),
        "bits_per_pixel": 8 * len(packed) / (upload.width * upload.height),
        "psnr_db": psnr if np.isfinite(psnr) else None,
        "elbow": {"k": list(ELBOW), "inertia": inertia, "bend": ELBOW[_bend(inertia)]},
        "notes": upload.notes,
    }
    return Result(
        said,
        {
            "original.png": png(pixels, "original.png"),
            "kmeans.png": File("image/png", packed, f"kmeans-{k}.png"),
        },
    )


def fitted(pixels: np.ndarray, k: int, most: int) -> np.ndarray:
    """The palette uint8 (at most k, 3), by lightness, of ``most`` pixels drawn from a picture."""
    palette, _ = palettes.kmeans(_sample(pixels, most), k)
    return palette


def quantized(pixels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Each pixel's nearest colour, uint8 (H, W, 3)."""
    nearest: np.ndarray = palette[palettes.nearest(pixels.reshape(-1, 3), palette)]
    return nearest.reshape(pixels.shape)


def _inertia(pixels: np.ndarray, count: int) -> float:
    """Mean squared distance of a pixel to its centre, over the sample."""
    sample = _sample(pixels, _ELBOW_FITTED)
    return palettes.inertia(sample, count) / sample[..., 0].size


def _sample(pixels: np.ndarray, most: int) -> np.ndarray:
    """uint8 (1, n, 3): all pixels, or ``most`` of them at random; the same ones each time."""
    flat = pixels.reshape(-1, 3)
    if len(flat) > most:
        flat = flat[np.random.default_rng(0).choice(len(flat), most, replace=False)]
    return flat[None]


def _palette_png(palette: np.ndarray, pixels: np.ndarray) -> bytes:
    """The picture in these colours as a PNG with a palette."""
    indices = palettes.nearest(pixels.reshape(-1, 3), palette).reshape(pixels.shape[:2])
    image = Image.fromarray(indices.astype(np.uint8)).convert("P")
    image.putpalette(palette.tobytes(), "RGB")
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True, bits=max(1, (len(palette) - 1).bit_length()))
    return stream.getvalue()


def _bend(values: list[float]) -> int:
    """Index of the elbow: the point farthest below the line of both ends (Satopaa et al. 2011)."""
    line = np.linspace(values[0], values[-1], len(values))
    return int(np.argmax(line - np.asarray(values)))
