"""Bytes of a ``.dcn`` file -> pixels.

numpy is imported only where arrays are created: the Pillow plugin takes bytes and does not need it.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from decant.bundles.bundle import Bundle, open_bundle
from decant.codec import native_decoder
from decant.errors import FormatError, ImageError, ModelNotFoundError
from decant.formats import container
from decant.formats.container import DEFAULT_SIZE_LIMIT, DcnFile
from decant.formats.exif import orientation_of
from decant.formats.rectangles import Rectangle, whole
from decant.process.cores import usable_cores
from decant.process.workers import in_order
from decant.selection.candidates import GraphRequest
from decant.selection.golden import CheckGolden
from decant.selection.loading import RuntimeInfo, SelectedGraph, load_companion, load_session

if TYPE_CHECKING:
    import numpy as np

    from decant.backends.session import Session
    from decant.codec.native_decoder import NativeDecoder
    from decant.layouts.layout import PictureDecoder


class Decoder(RuntimeInfo):
    """A bundle's decoder, loaded and ready; safe to use from several threads.

    * ``requested_device`` and ``device``: the device that was asked for, and the one that runs;
    * ``runtime`` and ``precision``: those of the selected graph;
    * ``golden_psnr_db``: result of the golden check, or None if it was not run;
    * ``notes``: graphs that were skipped, and why.
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

        ``threads`` 0 means all cores that this process may use. ``size_limit`` is in pixels. ``bundle_dir``
        is the folder in which names are looked up first. Raises ModelNotFoundError, BundleError, GoldenError,
        DeviceError or MissingExtraError.
        """
        self.bundle = open_bundle(bundle, bundle_dir)
        self.threads = threads or usable_cores()
        self.size_limit = size_limit
        wish = GraphRequest(runtime=runtime, device=device, precision=precision, strict_device=strict_device)
        if runtime == precision == "auto" and not denoise:
            wish = self._fitted(wish)
        self.denoiser: Session | None = None  # runs on what ``session`` gives
        loaded: SelectedGraph | None = None
        passed_over: tuple[str, ...] = ()
        if not denoise and (wish.first is None or wish.first.runtime == "native"):
            loaded, passed_over = native_decoder.select(self.bundle, wish, self.threads, check_golden)
        if loaded is not None:
            super().__init__(loaded)
            self._pipeline: PictureDecoder = cast("NativeDecoder", loaded.session)
            return
        loaded = load_session(self.bundle, "synthesis", wish, self.threads, check_golden)
        super().__init__(loaded)
        self.notes = passed_over + self.notes
        if denoise:
            # The denoiser follows the device and runtime; its precisions are its own.
            wish = GraphRequest(runtime=runtime, device=device, strict_device=strict_device)
            second = load_session(self.bundle, "denoiser", wish, self.threads, check_golden)
            self.denoiser = second.session
            self.notes += second.notes
        self._pipeline = self.bundle.layout.decoder(
            self.bundle,
            self.session,
            partial(self._load, wish, check_golden),
            denoiser=self.denoiser,
            overlap=self.threads > 1,
        )
        self.warn()

    def _fitted(self, wish: GraphRequest) -> GraphRequest:
        """``wish`` with what ``decant fit`` chose for it, and the bundle that has the graph chosen."""
        from decant.selection.fitted import choice_for

        found = choice_for(self.bundle, wish.device)
        if found is None:
            return wish
        choice, self.bundle = found
        return replace(wish, first=choice)

    def __repr__(self) -> str:
        return f"<Decoder {self.bundle.name} {self._runs()}>"

    def decode(self, data: bytes, source: str = "<bytes>", *, upright: bool = False) -> np.ndarray:
        """One file -> uint8 (H, W, 3), or (H, W, 4) if it has alpha. Channels of grey pictures are equal.

        ``source`` names the file in messages. ``upright`` rotates the pixels by the EXIF orientation.

        Raises FormatError for a damaged file, ModelNotFoundError for one of another model, SizeLimitError.
        """
        file = container.parse(check_bytes(data, source), source)
        pixels = self.decode_file(file, source)
        if not upright:
            return pixels
        from decant.formats.orientation import turned

        return turned(pixels, orientation_of(file.exif, file.xmp))

    def decode_file(self, file: DcnFile, source: str = "<bytes>") -> np.ndarray:
        """As ``decode``, for a parsed file. Raises the same errors."""
        self._check(file, source)
        return self._pipeline.decode(file, source)

    def decode_file_bytes(self, file: DcnFile, source: str = "<bytes>") -> bytearray | bytes:
        """As ``decode``, for a parsed file; the pixels as bytes, row after row. Raises the same errors."""
        if isinstance(self._pipeline, native_decoder.NativeDecoder):
            self._check(file, source)
            return self._pipeline.decode_bytes(file, source)
        return self.decode_file(file, source).tobytes()

    def decode_region(
        self, data: bytes, region: tuple[int, int, int, int], source: str = "<bytes>"
    ) -> np.ndarray:
        """The pixels of ``region`` (x, y, width, height), equal to a crop of the whole picture. Only the
        coding tiles that it needs are decoded.

        Raises the errors of ``decode``, and ImageError for a region that is not within the picture.
        """
        return self.decode_file_region(container.parse(check_bytes(data, source), source), region, source)

    def decode_file_region(
        self, file: DcnFile, region: tuple[int, int, int, int], source: str = "<bytes>"
    ) -> np.ndarray:
        """As ``decode_region``, for a parsed file. Raises the same errors."""
        self._check(file, source)
        x, y, width, height = _whole_numbers(region, source)
        wanted = Rectangle(y, y + height, x, x + width)
        if wanted.empty or wanted.cut(whole(file.height, file.width)) != wanted:
            raise ImageError(
                f"{source}: region {width}x{height} at {x},{y} is not within its {file.width}x{file.height} "
                "pixels"
            )
        return self._pipeline.decode(file, source, wanted)

    def decode_batch(self, datas: Sequence[bytes]) -> list[np.ndarray]:
        """Many files -> their pictures, equal to those of ``decode`` bit for bit.

        Each picture is decoded by itself, several at a time over ``threads``. The reason: a dynamically
        quantized graph takes its scales from the whole tensor, so a picture in a batch would depend on the
        others.
        """
        return self._spread(lambda pair: self.decode(pair[1], f"<bytes {pair[0]}>"), list(enumerate(datas)))

    def decode_iter(self, datas: Iterable[bytes]) -> Iterator[np.ndarray]:
        """Yield the pictures of many files in order, like ``decode_batch``, for more files than memory holds.

        A few files are read ahead. Entropy decoding of one picture runs in parallel with the synthesis of
        another. Raises the errors of ``decode`` at the picture that failed.
        """

        def one(pair: tuple[int, bytes]) -> np.ndarray:
            return self.decode(pair[1], f"<bytes {pair[0]}>")

        pairs = enumerate(datas)
        return map(one, pairs) if self.threads == 1 else in_order(one, pairs, self.threads)

    def decode_latents(self, latents: np.ndarray) -> np.ndarray:
        """Latents float32 (n, ...) -> uint8 (n, H, W, 3), for bundles of one picture size. Each picture is
        decoded by itself.

        Raises FormatError if the graph takes another shape, BundleError for a bundle of another layout.
        """
        import numpy as np

        latents = np.ascontiguousarray(latents, np.float32)
        width, height = self.bundle.image
        if not len(latents):
            return np.empty((0, height, width, 3), np.uint8)
        return np.stack(self._spread(self._pipeline.synthesise, list(latents)))

    def _load(self, wish: GraphRequest, check_golden: CheckGolden, role: str) -> Session:
        """The graph of ``role`` that works beside the synthesis."""
        runtime = self.session.runtime
        loaded = load_companion(self.bundle, role, wish, runtime, self.threads, check_golden)
        self.notes += loaded.notes
        return loaded.session

    def _spread(self, work: Callable[[Any], np.ndarray], items: list[Any]) -> list[np.ndarray]:
        workers = min(self.threads, len(items))
        if workers <= 1:
            return [work(item) for item in items]
        return list(in_order(work, items, workers))

    def _check(self, file: DcnFile, source: str) -> None:
        """Refuse a file of another model, or of more pixels than the limit."""
        if not self.bundle.model_id.startswith(file.model_id.hex()):
            raise ModelNotFoundError(
                f"{source}: needs model {file.name} ({file.model_id.hex()}); "
                f"this decoder is {self.bundle.name} ({self.bundle.model_id[:16]})"
            )
        container.check_size(file.width, file.height, source, self.size_limit)


def _whole_numbers(region: Any, source: str) -> tuple[int, int, int, int]:
    try:
        x, y, width, height = map(operator.index, region)
    except (TypeError, ValueError):
        raise ImageError(f"{source}: region {region!r}; (x, y, width, height) in pixels expected") from None
    return x, y, width, height


def check_bytes(data: Any, source: str) -> bytes:
    """``data`` as bytes. Raises FormatError for anything else, such as a path."""
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise FormatError(
        f"{source}: {type(data).__name__} given; the bytes of a .dcn file expected (decant.open takes paths)"
    )
