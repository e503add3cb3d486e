"""Moving files to another model: decode with the model that a file names, encode with the new one, and
measure what that loses.

Every transcoding loses a little, as saving a JPEG again does. Keep the old files, or the package of earlier
decoders, where that matters.
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
    """What became of one file. ``psnr_db`` compares what the new file decodes to with what the old one
    decodes to, visible pixels alone; None where they are equal. ``unchanged``: the file was of the new model
    already. Model ids are 16 hexadecimal digits; quality is None for models without one.
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
    """Encodes files anew with one encoder, loading the decoder of each old model once. Safe to use from
    several threads. ``records`` has what became of each file, in the order in which they were done.
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
        """``quality`` and ``settings`` are those of ``Encoder.encode``; without a quality or target each file
        keeps its number. ``decoder_options`` are Decoder's.
        """
        self._encoder = encoder
        self._settings = {"quality": quality, **settings}
        self._decoders = Decoders(bundle_dir, encoder.bundle, **(decoder_options or {}))
        self.records: list[Transcoded] = []

    def __call__(self, source: Path, target: Path) -> Done:
        """Encode the file ``source`` anew into the file ``target``. Raises DecantError, OSError."""
        check_output(source, target)
        data, record = self.transcode(read_dcn(source), str(source), str(target))
        write_atomically(target, lambda out: out.write(data))
        self.records.append(record)
        header = container.parse_header(data)
        return Done(header.width, header.height, len(data))

    def transcode(
        self, data: bytes, source: str = "<bytes>", target: str = "<bytes>"
    ) -> tuple[bytes, Transcoded]:
        """The bytes of a file -> the bytes of the new file, and what was lost. A file of the new model is
        given back as it is. Raises FormatError, ModelNotFoundError and what the coders raise.
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
