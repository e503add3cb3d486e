"""Pixels -> bytes of a ``.dcn`` file."""

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from decant.backends.session import Session
from decant.bundles.bundle import Bundle, list_bundles, open_bundle
from decant.decoder import Decoder
from decant.errors import BundleError
from decant.formats import container
from decant.formats.container import DEFAULT_SIZE_LIMIT, DcnFile
from decant.formats.frames import warn_of_frames
from decant.formats.input_images import Picture, read
from decant.formats.metadata import Metadata
from decant.process import lifecycle
from decant.process.cores import usable_cores
from decant.selection.candidates import GraphRequest
from decant.selection.golden import CheckGolden
from decant.selection.loading import RuntimeInfo, SelectedGraph, load_session
from decant.settings import Settings

if TYPE_CHECKING:
    from PIL import Image

# Graphs that run on windows of a megapixel: their sessions give memory back after each run.
_ON_WINDOWS = ("analysis", "hyper_analysis", "synthesis_adjoint", "synthesis")


class Encoder(RuntimeInfo):
    """A bundle's encoder, loaded and ready; safe to use from several threads. It has the attributes of
    ``Decoder``.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | Bundle,
        *,
        runtime: str = "auto",
        device: str = "cpu",
        precision: str = "float",
        threads: int = 0,
        strict_device: bool = False,
        check_golden: CheckGolden = "once",
        size_limit: int = DEFAULT_SIZE_LIMIT,
        bundle_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Load the encoding graphs of ``bundle``: a name, a bundle's folder, or an open Bundle.

        The default ``precision`` is float, because an encoder runs once and its errors stay in the file.
        Latent refinement decodes in float, too: corrections for the clipping of an int8 graph would be wrong
        for every other decoder.

        Raises ModelNotFoundError, BundleError (for example for a decoder-only bundle), DeviceError or
        MissingExtraError.
        """
        self.bundle = open_bundle(bundle, bundle_dir)
        _require_encoder(self.bundle, bundle_dir)
        self.size_limit = size_limit
        self._wish = GraphRequest(
            runtime=runtime, device=device, precision=precision, strict_device=strict_device
        )
        self._threads = threads or usable_cores()
        self._check_golden: CheckGolden = check_golden
        self._lock = lifecycle.Native(threading.Lock)  # made anew in a forked child
        self._decoder: Decoder | None = None
        super().__init__(self._loaded("analysis"))
        self._pipeline = self.bundle.layout.encoder(
            self.bundle, self._load, overlap=self._threads > 1, show=self._show
        )
        self.warn()

    def __repr__(self) -> str:
        return f"<Encoder {self.bundle.name} {self._runs()}>"

    def encode(
        self,
        image: "np.ndarray | Image.Image",
        quality: int | None = None,
        source: str = "<image>",
        *,
        effort: int | None = None,
        target_bpp: float | None = None,
        target_psnr: float | None = None,
        target_ssimulacra2: float | None = None,
        tune: str | None = None,
        to_srgb: bool = False,
        depth: int | None = None,
        metadata: Metadata | None = None,
    ) -> bytes:
        """A picture -> the bytes of a file.

        ``image`` is uint8 (H, W) or (H, W, n): grey, grey with alpha, RGB or RGB with alpha for n of 1 to 4;
        or a Pillow image of any 8-bit mode. ``to_srgb`` converts colours to sRGB by the ICC profile, CMYK and
        Lab included. ``depth`` 8 rounds 16 bits to 8. Bundles of one picture size take opaque pictures only,
        and store grey as RGB.

        EXIF, ICC and XMP of a Pillow image are kept; ``metadata`` replaces them. EXIF orientation is kept as
        metadata, and the pixels are not rotated. Colours under alpha 0 are filled from their surroundings.

        These settings are for bundles with qualities:

        * ``quality``: 1 to 100; 60 without a target;
        * ``target_bpp``: the highest quality whose file has at most this many bits per pixel, headers
          included;
        * ``target_psnr``, ``target_ssimulacra2``: the lowest quality that reaches this PSNR in dB, or this
          score, over visible pixels with the default decoder on this machine;
        * ``tune``: "psnr" (the default) minimizes the squared error, "iq" the visible error;
        * ``effort``: 0 rounds latents; 1 quantizes them by rate and distortion; 2 (the default) and above
          also refine them by the decoder's errors, in more rounds for higher efforts.

        Warns with QualityWarning about a picture that no quality reproduces well (noise, patterns of single
        pixels), with AnimationWarning about several frames or pages, of which the first is encoded, and with
        MetadataWarning about damaged metadata. Raises SizeLimitError, and ImageError for a size, mode or
        setting that the model does not take, or a target that cannot be met.
        """
        warn_of_frames(image, source)
        settings = Settings(quality, effort, target_bpp, target_psnr, target_ssimulacra2, tune)
        settings = settings.checked(source)
        self._pipeline.check(settings, source)
        picture, metadata = read(
            image, source, self.size_limit, to_srgb=to_srgb, depth=depth, metadata=metadata
        )
        picture = self._pipeline.accept(picture, source)
        file = self._file(picture, metadata)

        def finish(quality: int, latents: bytes) -> bytes:
            return container.write(replace(file, quality=quality, latents=latents))

        return self._pipeline.encode(picture, settings, finish, source)

    def _show(self, file: DcnFile) -> np.ndarray:
        """The pixels of ``file`` by the default decoder on this encoder's device and runtime."""
        with self._lock.get():
            if self._decoder is None:
                self._decoder = Decoder(
                    self.bundle,
                    runtime=self._wish.runtime,
                    device=self._wish.device,
                    strict_device=self._wish.strict_device,
                    threads=self._threads,
                    check_golden=self._check_golden,
                    size_limit=self.size_limit,
                )
        return self._decoder.decode_file(file)

    def _load(self, role: str) -> Session:
        if role == "analysis":
            return self.session
        loaded = self._loaded(role)
        self.notes += loaded.notes
        return loaded.session

    def _loaded(self, role: str) -> SelectedGraph:
        keep = role not in _ON_WINDOWS
        return load_session(
            self.bundle, role, self._wish, self._threads, self._check_golden, keep_memory=keep
        )

    def _file(self, picture: Picture, metadata: Metadata) -> DcnFile:
        """The file of ``picture``, its latents still to come."""
        from decant.formats import alpha

        return DcnFile(
            name=self.bundle.name,
            model_id=bytes.fromhex(self.bundle.model_id)[:8],
            width=picture.width,
            height=picture.height,
            latents=b"",
            grey=picture.grey,
            alpha=None if picture.alpha is None else alpha.pack(picture.alpha),
            exif=metadata.exif,
            icc=metadata.icc,
            xmp=metadata.xmp,
        )


def _require_encoder(bundle: Bundle, bundle_dir: str | os.PathLike[str] | None) -> None:
    """Raise BundleError for a decoder-only bundle. The message names the bundles that can encode."""
    if bundle.has("analysis"):
        return
    able = [other.name for other in list_bundles(bundle_dir) if other.has("analysis")]
    advice = f"models here that encode: {', '.join(able)}" if able else "no model here encodes"
    raise BundleError(f"model {bundle.name} cannot encode: it has a decoder only; {advice}")
