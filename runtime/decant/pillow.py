"""Pillow plugin: after ``import decant.pillow``, Pillow opens and saves ``.dcn`` files (docs/pillow.md).

>>> import decant.pillow                                              # doctest: +SKIP
>>> image = Image.open("photo.dcn")                                   # doctest: +SKIP
>>> image.save("small.dcn", model="lite", quality=60)                 # doctest: +SKIP

``Image.open`` reads the header and the metadata; the pixels are decoded by ``load``, with the bundle that the
file names. Errors are Pillow's: UnidentifiedImageError and OSError for files, ValueError for arguments; each
keeps ours as its cause.
"""

import io
import os
import struct
import zlib
from typing import IO, Any

from PIL import Image, ImageFile, UnidentifiedImageError

from decant.commands.describe import MODES
from decant.errors import DecantError, FormatError, ImageError, MissingExtraError, SizeLimitError
from decant.formats import container
from decant.formats.exif import dpi_of
from decant.formats.metadata import metadata_of
from decant.settings import DEFAULT_MODEL, RATES

__all__ = ["DECODER_OPTIONS", "DEFAULT_MODEL", "ENCODER_OPTIONS", "FORMAT", "DcnImageFile"]

FORMAT = "DCN"

# What Image.open and Image.save cannot be given as arguments. Changes, of DEFAULT_MODEL too, take effect with
# the next picture.
DECODER_OPTIONS: dict[str, Any] = {}  # of decant.Decoder: device, runtime, precision, threads, bundle_dir ...
ENCODER_OPTIONS: dict[str, Any] = {}  # of decant.Encoder

_SECTION = struct.Struct("<BI")
_CRC = struct.Struct("<I")
_INFO_KEYS = {container.EXIF: "exif", container.ICC: "icc_profile", container.XMP: "xmp"}
_SETTINGS = (*RATES, "effort", "tune", "to_srgb", "depth")  # of Encoder.encode
# What save() takes; the last two are Pillow's own.
_KNOWN = ("model", *_SETTINGS, *_INFO_KEYS.values(), "dpi", "save_all", "append_images")


class DcnImageFile(ImageFile.ImageFile):
    """A ``.dcn`` file: mode RGB, RGBA, L or LA; ``info`` holds ``model`` (the bundle's name), ``quality``
    where the model has one, and ``exif``, ``icc_profile``, ``xmp`` and ``dpi`` where the file has them.
    """

    format = FORMAT
    format_description = "decant learned image"
    n_frames = 1
    is_animated = False

    def _open(self) -> None:
        """Read the header, the section table and the metadata; neither the latents nor the alpha plane."""
        assert self.fp is not None
        start = self.fp.read(container.MAX_HEADER_BYTES)
        if not _accept(start):
            raise SyntaxError("not a DCN file")
        source = _name(self.filename)
        try:
            header = container.parse_header(start, source)
            blocks = _metadata(self.fp, header, source)
        except FormatError as error:
            raise UnidentifiedImageError(str(error)) from error
        self._header = start[: header.size]
        self._size = (header.width, header.height)
        self._mode = MODES[header.grey, header.alpha]
        self.info["model"] = header.name
        if header.quality:
            self.info["quality"] = header.quality
        self.info.update(blocks)
        if dpi := dpi_of(blocks.get("exif")):
            self.info["dpi"] = dpi
        # As if the pixels were in the file; load() puts them there.
        self.tile = [ImageFile._Tile("raw", (0, 0, *self._size), 0, self._mode)]

    def load(self) -> Any:
        """Decode the pixels, once, with the bundle that the file names, which stays loaded for the next
        picture. Pillow takes memory for them after that. Raises OSError, and ValueError after ``close``.
        """
        if self.tile and self.fp is None:
            raise ValueError("Operation on closed image")
        if self.tile and self.fp is not None:
            self.fp.seek(0)
            pixels = _decode(self.fp.read(), self._header, self.mode, _name(self.filename))
            if self._exclusive_fp:
                self.fp.close()
            self.fp = io.BytesIO(pixels)
        return super().load()

    def load_seek(self, pos: int) -> None:
        """Nothing to do; its presence keeps Pillow from mapping the file for pixels."""

    def verify(self) -> None:
        """Check the checksums of the whole file, without decoding it. Raises OSError where one differs."""
        if self.fp is not None:
            self.fp.seek(0)
            try:
                container.parse(self.fp.read(), _name(self.filename))
            except FormatError as error:
                raise OSError(str(error)) from error
        super().verify()


def _decode(data: bytes, header: bytes, mode: str, source: str) -> bytes | bytearray:
    """A file that began with ``header`` when it was opened -> its pixels in the order of Pillow's raw mode
    ``mode``. Raises OSError.
    """
    from decant import cache

    if not data.startswith(header):
        raise OSError(f"{source}: changed since it was opened; open it again")
    options = dict(DECODER_OPTIONS)
    try:
        file = container.parse(data, source)
        if file.width * file.height > container.DEFAULT_SIZE_LIMIT:
            # Image.open has let it through, so the user has raised Pillow's own limit.
            options.setdefault("size_limit", container.MAX_SIDE**2)
        pixels = cache.decoder(file.name, file.model_id, **options).decode_file_bytes(file, source)
    except DecantError as error:
        raise OSError(str(error)) from error
    kept = "RGB" if file.alpha is None else "RGBA"
    if mode == kept:
        return pixels
    return Image.frombuffer(kept, (file.width, file.height), pixels).convert(mode).tobytes()


def _metadata(stream: IO[bytes], header: container.Header, source: str) -> dict[str, bytes]:
    """Walk the section table behind ``header`` and read EXIF, ICC profile and XMP, by their keys in ``info``.

    Raises FormatError where a section reaches past the end of the file or metadata fails its checksum.
    """
    at, end = header.size, stream.seek(0, io.SEEK_END)
    blocks = {}
    for index in range(header.section_count):
        stream.seek(at)
        head = stream.read(_SECTION.size)
        kind, length = _SECTION.unpack(head) if len(head) == _SECTION.size else (0, 0)
        after = at + _SECTION.size + length + _CRC.size
        if after > end:
            raise FormatError(
                f"{source}: section {index + 1} at byte {at} reaches to byte {after}; the file ends at {end}"
            )
        if kind in _INFO_KEYS:
            payload = stream.read(length)
            if stream.read(_CRC.size) != _CRC.pack(zlib.crc32(head + payload)):
                raise FormatError(
                    f"{source}: checksum of section {index + 1} at byte {after - _CRC.size} differs: "
                    "the file is damaged"
                )
            blocks[_INFO_KEYS[kind]] = payload
        at = after
    return blocks


def _save(im: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    """Pillow's save handler: the arguments of ``Image.save`` are in ``im.encoderinfo``."""
    from decant import cache
    from decant.formats.input_images import why_refused

    options = im.encoderinfo
    _check_names(options)
    settings = {key: options[key] for key in _SETTINGS if options.get(key) is not None}
    if reason := why_refused(im, to_srgb=bool(options.get("to_srgb")), depth=options.get("depth")):
        raise OSError(f"cannot write mode {im.mode} as DCN: {reason}")
    given: dict[str, Any] = {key: _block(options[key], key) for key in _INFO_KEYS.values() if key in options}
    metadata = metadata_of(
        im, _name(filename), given | {key: options[key] for key in ("dpi",) if key in options}
    )
    try:
        encoder = cache.encoder(options.get("model") or DEFAULT_MODEL, **_encoder_options())
    except DecantError as error:
        raise OSError(str(error)) from error
    try:
        data = encoder.encode(im, source=_name(filename), metadata=metadata, **settings)
    except (ImageError, SizeLimitError, MissingExtraError) as error:
        raise ValueError(str(error)) from error
    except DecantError as error:
        raise OSError(str(error)) from error
    fp.write(data)


def _save_all(im: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    """The handler for ``save_all=True``: one frame is one picture, more are refused."""
    if im.encoderinfo.get("append_images") or getattr(im, "n_frames", 1) > 1:
        raise ValueError("a DCN file holds one picture; save the frames one by one, without save_all")
    _save(im, fp, filename)


def _check_names(options: dict[str, Any]) -> None:
    """Refuse options of ``Image.save`` that nothing here heeds. Raises ValueError."""
    if unknown := sorted(set(options) - set(_KNOWN)):
        raise ValueError(f"DCN has no option {', '.join(unknown)}; known are {', '.join(_KNOWN)}")


def _block(value: object, what: str) -> bytes:
    """A metadata argument as bytes; empty where there is none."""
    if value is None:
        return b""
    if isinstance(value, Image.Exif):
        return value.tobytes()
    if isinstance(value, str) and what == "xmp":
        return value.encode("utf-8")
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    raise TypeError(f"{what} of type {type(value).__name__}; bytes expected")


def _encoder_options() -> dict[str, Any]:
    # Pillow has the picture in memory already: there is no limit left to keep.
    return {"size_limit": container.MAX_SIDE**2, **ENCODER_OPTIONS}


def _name(filename: str | bytes) -> str:
    """How messages name the file."""
    return os.fsdecode(filename) if filename else "<stream>"


def _accept(prefix: bytes) -> bool:
    return prefix[: len(container.MAGIC)] == container.MAGIC


Image.register_open(FORMAT, DcnImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_save_all(FORMAT, _save_all)
Image.register_extension(FORMAT, ".dcn")
Image.register_mime(FORMAT, "image/x-dcn")
