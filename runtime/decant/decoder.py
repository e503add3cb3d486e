"""Bytes of a ``.dcn`` file -> pixels."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from decant import container
from decant.bundle import Bundle, find_bundle, open_bundle
from decant.container import DEFAULT_SIZE_LIMIT, DcnFile
from decant.devices import Wish
from decant.errors import FormatError, ModelNotFoundError, SizeLimitError
from decant.golden import CheckGolden
from decant.loading import RunsOn, load_session
from decant.sessions import Session, usable_cores


class Decoder(RunsOn):
    """A bundle's decoder, loaded and ready; safe to use from several threads.

    ``requested_device`` and ``device`` are what was asked for and what runs; ``runtime`` and ``precision``
    are those of the graph chosen, ``golden_psnr_db`` what the golden check gave (None where it was not run),
    ``notes`` what was passed over and why.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | Bundle,
        *,
        runtime: str = "auto",
        device: str = "cpu",
        precision: str = "auto",
        threads: int = 0,
        strict_device: bool = False,
        denoise: bool = False,
        check_golden: CheckGolden = "once",
        size_limit: int = DEFAULT_SIZE_LIMIT,
        bundle_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Load the decoder of ``bundle``: a name, a bundle's folder, or an open Bundle.

        ``threads`` 0 means all cores this process may use; ``size_limit`` is in pixels; ``bundle_dir`` is
        where names are looked up first. Raises ModelNotFoundError, BundleError, GoldenError, DeviceError or
        MissingExtraError.
        """
        self.bundle = open_bundle(bundle, bundle_dir)
        self.threads = threads or usable_cores()
        self.size_limit = size_limit
        wish = Wish(runtime=runtime, device=device, precision=precision, strict_device=strict_device)
        loaded = load_session(self.bundle, "synthesis", wish, self.threads, check_golden)
        super().__init__(loaded)
        self.denoiser: Session | None = None  # runs on what ``session`` gives
        if denoise:
            # The denoiser follows the device and runtime; its precisions are its own.
            wish = Wish(runtime=runtime, device=device, strict_device=strict_device)
            second = load_session(self.bundle, "denoiser", wish, self.threads, check_golden)
            self.denoiser = second.session
            self.notes += second.notes
        self.warn()

    def __repr__(self) -> str:
        return f"<Decoder {self.bundle.name} {self._runs()}>"

    def decode(self, data: bytes, source: str = "<bytes>") -> np.ndarray:
        """One file -> uint8 (H, W, 3). ``source`` names the file in messages.

        Raises FormatError for a damaged file, ModelNotFoundError for one of another model, SizeLimitError.
        """
        return self.decode_file(container.parse(data, source), source)

    def decode_file(self, file: DcnFile, source: str = "<bytes>") -> np.ndarray:
        """A parsed file -> uint8 (H, W, 3). Raises as ``decode`` does."""
        return self._synthesise(self._latents(file, source))

    def decode_batch(self, datas: Sequence[bytes]) -> list[np.ndarray]:
        """Many files -> their pictures, bit for bit those of ``decode``.

        Each picture is run by itself, several at a time over ``threads``: a dynamically quantized graph takes
        its scales from the whole tensor, so a picture in a batch of tensors would depend on its neighbours.
        """
        return self._spread(lambda pair: self.decode(pair[1], f"<bytes {pair[0]}>"), list(enumerate(datas)))

    def decode_latents(self, latents: np.ndarray) -> np.ndarray:
        """Latents float32 (n, ...) as the synthesis graph takes them -> uint8 (n, H, W, 3); each picture by
        itself.

        Raises FormatError when the latents have another shape than the graph takes.
        """
        latents = np.ascontiguousarray(latents, np.float32)
        width, height = self.bundle.image
        if not len(latents):
            return np.empty((0, height, width, 3), np.uint8)
        return np.stack(self._spread(self._synthesise, list(latents)))

    def _spread(self, work: Callable[[Any], np.ndarray], items: list[Any]) -> list[np.ndarray]:
        workers = min(self.threads, len(items))
        if workers <= 1:
            return [work(item) for item in items]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(work, items))

    def _latents(self, file: DcnFile, source: str) -> np.ndarray:
        if not self.bundle.model_id.startswith(file.model_id.hex()):
            raise ModelNotFoundError(
                f"{source}: needs model {file.name} ({file.model_id.hex()}); "
                f"this decoder is {self.bundle.name} ({self.bundle.model_id[:16]})"
            )
        if file.width * file.height > self.size_limit:
            raise SizeLimitError(
                f"{source}: {file.width}x{file.height} pixels; the limit is {self.size_limit}; "
                "raise it with --size-limit"
            )
        self.bundle.layout.check(file, self.bundle.image, source)
        return self.bundle.layout.unpack(file.latents, source)

    def _synthesise(self, latents: np.ndarray) -> np.ndarray:
        """One picture's latents (no batch axis) -> uint8 (H, W, 3)."""
        wanted = self.bundle.layout.shape(self.bundle.image)
        if latents.shape != wanted:
            raise FormatError(f"latents of shape {latents.shape}; model {self.bundle.name} takes {wanted}")
        pixels = self.session.run(latents[None])
        if self.denoiser is not None:
            pixels = self.denoiser.run(pixels)
        picture: np.ndarray = pixels[0]
        return picture


def open_file(
    path: str | os.PathLike[str], *, bundle_dir: str | os.PathLike[str] | None = None, **options: Any
) -> np.ndarray:
    """Decode the file at ``path`` with the bundle it names -> uint8 (H, W, 3); ``options`` are Decoder's.

    The last few decoders stay loaded. Raises OSError when the file cannot be read, and what Decoder raises.
    """
    source = os.fspath(path)
    file = container.parse(Path(path).read_bytes(), source)
    bundle = find_bundle(file.name, file.model_id, bundle_dir)
    return _kept_decoder(bundle.path, bundle.model_id, tuple(sorted(options.items()))).decode_file(
        file, source
    )


@lru_cache(maxsize=4)
def _kept_decoder(path: Path, model_id: str, options: tuple[tuple[str, Any], ...]) -> Decoder:
    """``model_id`` is part of the key so that a bundle replaced on disk is loaded anew."""
    return Decoder(Bundle.open(path), **dict(options))
