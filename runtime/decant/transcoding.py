"""Moves files to another model: decodes with the model that a file names, encodes with the new one, and
measures the loss.

Every transcoding loses a little, like saving a JPEG again. If that matters, keep the old files, and the
package of earlier decoders.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from decant.batch import Decoders, Done, check_output
from decant.encoder import Encoder
from decant.formats import container
from decant.formats.metadata import Metadata
from decant.formats.reading import read_dcn
from decant.formats.writing import write_atomically
from decant.settings import RATES


@dataclass(frozen=True)
class Transcoded:
    """The result for one file. ``psnr_db`` compares the visible pixels of the new and of the old file; None
    if they are equal. ``unchanged`` says that the file already had the new model. Model ids are 16
    hexadecimal digits. The quality is None for models without one.
    """

    source: str
    target: str
    old_model: str
    old_version: str
    old_model_id: str
    old_quality: int | None
    old_bytes: int
    new_model: str
    new_version: str
    new_model_id: str
    new_quality: int | None
    new_bytes: int
    psnr_db: float | None
    unchanged: bool = False


class FileTranscoder:
    """Encodes files again with one encoder, and loads the decoder of each old model once. Safe to use from
    several threads. ``records`` has the results, in the order in which files were finished.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        quality: int | None = None,
        bundle_dir: str | None = None,
        decoder_options: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """``quality`` and ``settings`` are those of ``Encoder.encode``. Without a quality or target, each
        file keeps its quality. ``decoder_options`` are those of ``Decoder``.
        """
        self._encoder = encoder
        self._settings = {"quality": quality, **settings}
        self._decoders = Decoders(bundle_dir, encoder.bundle, **(decoder_options or {}))
        self.records: list[Transcoded] = []

    def __call__(self, source: Path, target: Path) -> Done:
        """Encode the file ``source`` again, into the file ``target``. Raises DecantError, OSError."""
        check_output(source, target)
        data, record = self.transcode(read_dcn(source), str(source), str(target))
        write_atomically(target, lambda out: out.write(data))
        self.records.append(record)
        header = container.parse_header(data)
        return Done(header.width, header.height, len(data))

    def transcode(
        self, data: bytes, source: str = "<bytes>", target: str = "<bytes>"
    ) -> tuple[bytes, Transcoded]:
        """The bytes of a file -> the bytes of the new file, and the result. A file of the new model is
        returned unchanged. Raises FormatError, ModelNotFoundError and the errors of encoder and decoder.
        """
        file = container.parse(data, source)
        new = self._encoder.bundle
        if new.model_id.startswith(file.model_id.hex()):
            return data, self._record(file, new.version, data, data, None, source, target)
        decoder = self._decoders.of(file)
        before = decoder.decode_file(file, source)
        settings = dict(self._settings)
        free = all(settings.get(name) is None for name in RATES)
        if free and file.quality and new.layout.qualities:
            settings["quality"] = file.quality
        picture = before if not file.grey else before[:, :, [0, *range(3, before.shape[2])]]
        metadata = Metadata(file.exif, file.icc, file.xmp)
        made = self._encoder.encode(picture, source=source, metadata=metadata, **settings)
        after = self._decoders.of(container.parse(made)).decode(made, source)
        old = decoder.bundle.version
        return made, self._record(file, old, data, made, _psnr_db(before, after), source, target)

    def _record(
        self,
        file: container.DcnFile,
        version: str,
        data: bytes,
        made: bytes,
        psnr_db: float | None,
        source: str,
        target: str,
    ) -> Transcoded:
        bundle = self._encoder.bundle
        return Transcoded(
            source=source,
            target=target,
            old_model=file.name,
            old_version=version,
            old_model_id=file.model_id.hex(),
            old_quality=file.quality or None,
            old_bytes=len(data),
            new_model=bundle.name,
            new_version=bundle.version,
            new_model_id=bundle.model_id[:16],
            new_quality=container.parse_header(made).quality or None,
            new_bytes=len(made),
            psnr_db=psnr_db,
            unchanged=made is data,
        )


def _psnr_db(before: np.ndarray, after: np.ndarray) -> float | None:
    """PSNR in dB of two pictures uint8 (H, W, 3 or 4) where they are not fully transparent."""
    shown = before[:, :, 3] > 0 if before.shape[2] == 4 else np.ones(before.shape[:2], bool)
    a, b = (picture[shown][:, :3].astype(np.float64) for picture in (before, after))
    error = float(np.mean((a - b) ** 2)) if a.size else 0.0
    return None if error == 0 else float(10 * np.log10(255**2 / error))
