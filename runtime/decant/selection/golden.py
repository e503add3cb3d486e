"""The golden check: does this graph decode the bundle's golden files correctly on this runtime and device?

The same graph can give other pixels on another runtime or processor (one reference had 31.7 dB in one, 7.0 dB
in another). A graph is therefore used only where it was checked. The first load decodes the golden files, and
stores the result in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from decant.bundles.bundle import Bundle
from decant.bundles.folders import user_cache_folder
from decant.errors import BundleError, GoldenError
from decant.formats import container
from decant.formats.manifest import Graph, canonical_json
from decant.process.failures import is_from_signal_handler
from decant.selection.candidates import GraphRequest, candidates
from decant.selection.machine import machine

if TYPE_CHECKING:
    import numpy as np

    from decant.backends.session import Session
    from decant.layouts.layout import PictureDecoder

CheckGolden = Literal["once", "always", "never"]


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR in dB of two uint8 arrays of one shape, over all values; infinity if they are equal."""
    return _mse_to_db(_mse(a, b))


def check(
    bundle: Bundle,
    graph: Graph,
    session: Session,
    when: CheckGolden = "once",
    decoder: PictureDecoder | None = None,
) -> float | None:
    """PSNR in dB of the golden files decoded by ``session``, or None where the bundle has no golden pictures
    for the graph's role. ``decoder``: what decodes, where that is not the layout's with ``session``.

    Raises GoldenError when it is below the graph's floor, BundleError when a golden file is damaged.
    """
    if when == "never" or not _cases(bundle, graph.role):
        return None
    place = _cache_place(bundle, graph, session)
    psnr = _remembered(place) if when == "once" else None
    # Only a pass is taken from the cache: a failure is looked at again, since it decides what may run.
    if psnr is None or psnr < graph.lowest_psnr_db:
        psnr = measure(bundle, graph.role, session, decoder)
        _remember(place, psnr)
    if psnr < graph.lowest_psnr_db:
        raise GoldenError(
            f"bundle {bundle.name}: {graph.label} {session.runtime_version} on {session.device} decodes "
            f"the golden files at {psnr:.1f} dB, below its floor of {graph.lowest_psnr_db:.1f} dB; "
            "use another --precision or --runtime"
        )
    return psnr


def measure(bundle: Bundle, role: str, session: Session, decoder: PictureDecoder | None = None) -> float:
    """PSNR in dB over the pixels of all golden pictures of ``role``. Raises BundleError for a damaged one."""
    import numpy as np

    decode = _denoise(bundle, session) if role == "denoiser" else _decode(bundle, session, decoder)
    errors = [
        _mse(decode(source, pixels := pixels_of(bundle, expected)), pixels)
        for source, expected in _cases(bundle, role)
    ]
    return _mse_to_db(float(np.mean(errors)))


def _denoise(bundle: Bundle, session: Session) -> Callable[[str, np.ndarray], np.ndarray]:
    """A golden picture's path and the pixels expected, of the same size -> what ``session`` makes of it."""

    def denoise(source: str, expected: np.ndarray) -> np.ndarray:
        _require(bundle, source, expected, bundle.image)
        pixels: np.ndarray = session.run(pixels_of(bundle, source)[None])[0]
        return pixels

    return denoise


def _decode(
    bundle: Bundle, session: Session, given: PictureDecoder | None
) -> Callable[[str, np.ndarray], np.ndarray]:
    """A golden file's path and the pixels expected -> what a decoder with the synthesis ``session`` gives.
    Other graphs come from the runtime of ``session``, as a decoder has them.
    """

    def load(role: str) -> Session:
        wish = GraphRequest(session.runtime, session.device)
        graphs = [graph for graph, _ in candidates(bundle, role, wish)]
        first = next((graph for graph in graphs if graph.precision == session.precision), graphs[0])
        from decant.selection.opening import open_graph

        return open_graph(bundle, first, device=session.device, threads=1)

    decoder = given or bundle.layout.decoder(bundle, session, load, overlap=False)

    def decode(source: str, expected: np.ndarray) -> np.ndarray:
        file = _file(bundle, source)
        _require(bundle, source, expected, (file.width, file.height))
        return decoder.decode(file, str(bundle.path / source))

    return decode


def _cases(bundle: Bundle, role: str) -> list[tuple[str, str]]:
    """(file put in, picture expected) of every golden case of a role."""
    if role == "synthesis":
        return [(golden.file, golden.pixels) for golden in bundle.golden]
    if role == "denoiser":
        return [(golden.pixels, golden.denoised) for golden in bundle.golden if golden.denoised is not None]
    return []


def _file(bundle: Bundle, path: str) -> container.DcnFile:
    source = f"{bundle.path / path}"
    file = container.parse(bundle.read(path), source)
    if not bundle.model_id.startswith(file.model_id.hex()):
        raise BundleError(f"{source}: made by model {file.model_id.hex()}, not by {bundle.model_id[:16]}")
    return file


def _require(bundle: Bundle, path: str, pixels: np.ndarray, size: tuple[int, int]) -> None:
    if (pixels.shape[1], pixels.shape[0]) != size:
        raise BundleError(
            f"{bundle.path / path}: its golden picture has {pixels.shape[1]}x{pixels.shape[0]} pixels; "
            f"{size[0]}x{size[1]} expected"
        )


def pixels_of(bundle: Bundle, path: str) -> np.ndarray:
    """The golden picture at ``path``, uint8 (H, W, 3). Raises BundleError."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(bundle.read(path)), formats=("PNG",)) as image:
            if image.mode != "RGB" or bundle.image not in ((0, 0), image.size):
                raise BundleError(
                    f"{bundle.path / path}: {image.mode} {image.size}; RGB {bundle.image} expected"
                )
            return np.asarray(image)
    except BundleError:
        raise
    except Exception as error:  # Pillow's readers raise whatever a broken file leads them to
        if is_from_signal_handler(error):
            raise
        raise BundleError(f"{bundle.path / path}: not a readable PNG: {error}") from None


def _mse(a: np.ndarray, b: np.ndarray) -> float:
    import numpy as np

    difference = a.astype(np.float32) - b.astype(np.float32)
    return float(np.mean(np.square(difference), dtype=np.float64))


def _mse_to_db(mse: float) -> float:
    return math.inf if mse == 0 else 10 * math.log10(255**2 / mse)


def _cache_place(bundle: Bundle, graph: Graph, session: Session) -> Path:
    # bundle.json's checksum covers the model id, the hashes of graphs and golden files, and the floors.
    key = [bundle.manifest.raw["checksum"], graph.role, graph.precision, graph.runtime]
    key += [session.runtime_version, session.device, session.device_name, *machine()]
    if session.device != "cpu":  # a driver's update gives other pixels
        key.append(session.driver)
    return user_cache_folder() / "golden" / f"{hashlib.sha256(canonical_json(key)).hexdigest()}.json"


def _remembered(place: Path) -> float | None:
    try:
        mse = json.loads(place.read_bytes())["mse"]
        return _mse_to_db(float(mse)) if float(mse) >= 0 else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _remember(place: Path, psnr: float) -> None:
    """Store the result. A cache that cannot be written is no error."""
    from decant.formats.writing import write_atomically

    mse = 0.0 if math.isinf(psnr) else 255**2 / 10 ** (psnr / 10)
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, lambda stream: stream.write(canonical_json({"mse": mse})))
