"""Decodes files of the layout ``grid`` in C, from the streams to the pixels, with a codec's model file.

Neither a layout's tables nor a runtime's graphs are read, and only arrays need numpy. Pixels are those of the
integer synthesis (docs/synthesis.md), the same on every machine.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from decant.errors import BundleError, FormatError, GoldenError, SizeLimitError
from decant.formats.container import DcnFile
from decant.formats.manifest import MODEL_SUFFIX
from decant.formats.rectangles import Rectangle, whole
from decant.libdcn import library
from decant.process.memory import keep_freed_memory
from decant.process.workers import share_of

if TYPE_CHECKING:
    import numpy as np

    from decant.backends.session import Pending
    from decant.bundles.bundle import Bundle
    from decant.selection.candidates import GraphRequest
    from decant.selection.golden import CheckGolden
    from decant.selection.loading import SelectedGraph

PRECISION, RUNTIME = "int16", "native"
_BAD_FILE, _TOO_LARGE = 3, 5  # of dcn_status in dcn.h


def model_path(bundle: Bundle) -> str | None:
    """Path of the model file within ``bundle``, or None if it has none."""
    name = bundle.name + MODEL_SUFFIX
    return name if any(entry.path == name for entry in bundle.manifest.entries) else None


def select(
    bundle: Bundle, wish: GraphRequest, threads: int, check_golden: CheckGolden
) -> tuple[SelectedGraph | None, tuple[str, ...]]:
    """Load the decoder of a bundle's model file, if there is one and ``wish`` allows it.

    Returns it in ``SelectedGraph.session``, or None; and messages on why it was not used. Raises BundleError
    for a damaged model file, and GoldenError if it fails its check and ``wish`` allows no other graph.
    """
    path, kernels = model_path(bundle), library()
    wishes = (wish.runtime, ("auto", RUNTIME)), (wish.precision, ("auto", PRECISION)), (wish.device, ("cpu",))
    graphs = [
        g for g in bundle.graphs if (g.role, g.precision, g.runtime) == ("synthesis", PRECISION, RUNTIME)
    ]
    if path is None or kernels is None or not graphs or any(asked not in known for asked, known in wishes):
        return None, ()
    from decant.selection import golden
    from decant.selection.loading import SelectedGraph

    decoder = NativeDecoder(kernels, bundle.read(path), bundle.model_id, f"{bundle.path / path}", threads)
    try:
        psnr = golden.check(bundle, graphs[0], decoder, check_golden, decoder)
    except GoldenError as error:
        if wish.runtime == RUNTIME:
            raise
        return None, (f"{error}; trying the next graph",)
    return SelectedGraph(decoder, graphs[0], psnr), ()


class NativeDecoder:
    """A loaded model file. Safe to use from several threads, and after a fork."""

    runtime, precision = RUNTIME, PRECISION
    runtime_version = "libdcn 1"
    requested_device = device = "cpu"
    driver = "libdcn"

    def __init__(self, kernels: ModuleType, data: bytes, model_id: str, where: str, threads: int) -> None:
        """``data``: the content of the model file, of the model with ``model_id`` (hex); ``where`` names the
        file in messages. Raises BundleError.
        """
        model = kernels.model(data)
        if isinstance(model, tuple):
            raise BundleError(f"{where}: {model[1]}")
        if not model_id.startswith(kernels.identity(model)[1].hex()):
            raise BundleError(f"{where}: the model file of another bundle; export this one again")
        self._kernels, self._model, self._threads, self._where = kernels, model, threads, where
        self.device_name = f"{kernels.kernels()} kernels"
        keep_freed_memory()

    def decode(self, file: DcnFile, source: str = "<bytes>", region: Rectangle | None = None) -> np.ndarray:
        """Pixels uint8 (H, W, 3), or (H, W, 4) if the file has alpha, of the picture or of a ``region``.

        Pictures that are decoded at the same time share the threads. Raises FormatError for a damaged file,
        and SizeLimitError if there is not enough memory.
        """
        import numpy as np

        area = region or whole(file.height, file.width)
        pixels = np.empty((area.height, area.width, _channels(file)), np.uint8)
        self._decode(file, source, area, pixels)
        return pixels

    def decode_bytes(self, file: DcnFile, source: str = "<bytes>") -> bytearray:
        """The pixels of the whole picture, row after row, without numpy. Raises like ``decode``."""
        try:
            pixels = bytearray(file.height * file.width * _channels(file))
        except MemoryError:
            raise SizeLimitError(
                f"{source}: not enough memory for {file.width}x{file.height} pixels"
            ) from None
        self._decode(file, source, whole(file.height, file.width), pixels)
        return pixels

    def _decode(self, file: DcnFile, source: str, area: Rectangle, pixels: np.ndarray | bytearray) -> None:
        failed: tuple[int, str] | None = self._kernels.decode(
            self._model,
            file.latents,
            file.alpha,
            file.width,
            file.height,
            file.quality,
            file.grey,
            (area.x0, area.y0, area.width, area.height),
            share_of(self._threads),
            pixels,
        )
        if failed is not None:
            status, message = failed
            kind = {_BAD_FILE: FormatError, _TOO_LARGE: SizeLimitError}.get(status, BundleError)
            raise kind(f"{source}: {message}")

    def synthesise(self, latents: np.ndarray) -> np.ndarray:
        """See PictureDecoder: latents of a codec come in files only. Raises BundleError."""
        raise BundleError(f"{self._where}: its latents come in files only; use decode")

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        """See Session: a model file decodes whole files. Raises BundleError."""
        raise BundleError(f"{self._where}: libdcn decodes whole files; use decode")

    def start(self, *inputs: np.ndarray) -> Pending:
        """See ``run``."""
        return self.run(*inputs)  # type: ignore[return-value]


def _channels(file: DcnFile) -> int:
    return 3 if file.alpha is None else 4
