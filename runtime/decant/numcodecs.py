"""numcodecs codec `decant`: chunks of Zarr arrays as ``.dcn`` files (docs/pillow.md)"""

from typing import Any, ClassVar

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ndarray_copy

import decant


class Dcn(Codec):
    """Pictures uint8 (..., H, W, 3 or 4), all leading sizes 1, as ``.dcn`` files. Lossy: what is decoded
    resembles what was encoded. ``model`` and ``quality`` are those of ``decant.encode``.
    """

    codec_id: ClassVar[str] = "decant"

    def __init__(self, model: str = "lite", quality: int | None = None) -> None:
        self.model = model
        self.quality = quality

    def encode(self, buf: Any) -> bytes:
        """The file of one chunk. Raises ValueError for other shapes and types, DecantError."""
        pixels = np.asarray(buf)
        shape = pixels.shape
        if pixels.dtype != np.uint8 or len(shape) < 3 or shape[-1] not in (3, 4) or max((1, *shape[:-3])) > 1:
            raise ValueError(
                f"a chunk of {pixels.dtype} {shape}: decant codes uint8 chunks (..., height, width, 3 or 4) "
                "of one picture; choose such chunks, without a filter"
            )
        return decant.encode(np.ascontiguousarray(pixels.reshape(shape[-3:])), self.model, self.quality)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The pixels uint8 (H, W, 3 or 4) of one chunk, in ``out`` where it is given. Raises DecantError."""
        return ndarray_copy(decant.decode(bytes(memoryview(buf).cast("B"))), out)
