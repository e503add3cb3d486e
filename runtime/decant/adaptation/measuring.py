"""What an adapted bundle gains: bytes at equal PSNR on the same pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from decant.adaptation.pictures import opened
from decant.bundles.bundle import Bundle
from decant.codec.layout import QUALITIES
from decant.codec.pixel_errors import ErrorMeasure
from decant.decoder import Decoder
from decant.encoder import Encoder
from decant.formats import container
from decant.formats.container import DEFAULT_SIZE_LIMIT
from decant.formats.input_images import Picture, read

# Qualities of the unadapted bundle between which its bytes are interpolated, from the one asked for.
AROUND = (-24, -8, 0, 8, 24)
LARGEST_PSNR_DB = 99.0  # of a picture that is reproduced exactly


@dataclass(frozen=True)
class Gain:
    """Means over ``pictures``: ``bytes_before`` are those of the bundle as it was at the PSNR ``psnr_db`` of
    the adapted one, interpolated between qualities; ``bytes_after`` are those of the adapted bundle.
    """

    pictures: int
    psnr_db: float
    bytes_before: float
    bytes_after: float

    @property
    def ratio(self) -> float:
        """Bytes after adaptation over those before, without decoders."""
        return self.bytes_after / self.bytes_before

    def smaller(self, pictures: int, bytes_before: int, bytes_after: int) -> bool:
        """Whether an archive of so many pictures is smaller with the adapted bundle, where decoders take
        ``bytes_before`` and ``bytes_after``.
        """
        return pictures * self.bytes_after + bytes_after < pictures * self.bytes_before + bytes_before


def measured(
    before: Bundle, after: Bundle, pictures: Sequence[Path], quality: int, *, effort: int | None, threads: int
) -> Gain:
    """Encode and decode ``pictures`` with both bundles. Raises DecantError, OSError."""
    bytes_after, psnr_db = _mean(after, pictures, quality, effort, threads)
    tried = sorted({min(max(quality + step, 1), QUALITIES) for step in AROUND})
    curve = sorted(_mean(before, pictures, q, effort, threads)[::-1] for q in tried)
    points = np.array(curve)
    bytes_before = float(np.exp(np.interp(psnr_db, points[:, 0], np.log(points[:, 1]))))
    return Gain(len(pictures), psnr_db, bytes_before, bytes_after)


def _mean(
    bundle: Bundle, pictures: Sequence[Path], quality: int, effort: int | None, threads: int
) -> tuple[float, float]:
    """Mean bytes and mean PSNR in dB of the files of ``pictures``."""
    encoder, decoder = Encoder(bundle, threads=threads), Decoder(bundle, threads=threads)
    rows = []
    for path, image in opened(pictures):
        data = encoder.encode(image, quality, str(path), effort=effort)
        picture = read(image, str(path), DEFAULT_SIZE_LIMIT)[0]
        file = container.parse(data)
        pixels = decoder.decode_file(file)
        decoded = Picture(pixels[:, :, 0] if file.grey else pixels[:, :, :3])
        rows.append((len(data), min(ErrorMeasure(picture).psnr_db(decoded), LARGEST_PSNR_DB)))
    bytes_, psnr = np.mean(rows, axis=0)
    return float(bytes_), float(psnr)
