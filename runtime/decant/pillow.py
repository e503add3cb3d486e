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

from decant import container
from decant.errors import DecantError, FormatError, ImageError, MissingExtraError, SizeLimitError
from decant.frames import warn_of_frames
from decant.settings import DEFAULT_MODEL

__all__ = ["DECODER_OPTIONS", "DEFAULT_MODEL", "ENCODER_OPTIONS", "FORMAT", "DcnImageFile"]

FORMAT = "DCN"

# What Image.open and Image.save cannot be given as arguments. Changes, of DEFAULT_MODEL too, take effect with
# the next picture.
DECODER_OPTIONS: dict[str, Any] = {}  # of decant.Decoder: device, runtime, precision, threads, bundle_dir ...
ENCODER_OPTIONS: dict[str, Any] = {}  # of decant.Encoder

_SECTION = struct.Struct("<BI")
_CRC = struct.Struct("<I")
_INFO_KEYS = {container.EXIF: "exif", container.ICC: "icc_profile", container.XMP: "xmp"}
_SETTINGS = ("quality", "effort", "target_bpp", "target_psnr")  # of Encoder.encode
# (grey, alpha) of a file -> mode of the picture.
_MODES = {(False, False): "RGB", (False, True): "RGBA", (True, False): "L", (True, True): "LA"}
# Modes that save() takes; the others hold more than 8 bits or a colour space that is not sRGB.
_GREY_MODES = {"1", "L", "LA", "La"}
_COLOUR_MODES = {"RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "YCbCr", "HSV"}


class DcnImageFile(ImageFile.ImageFile):
    """A ``.dcn`` file: mode RGB, RGBA, L or LA; ``info`` holds ``model`` (the bundle's name), ``quality``
    where the model has one, and ``exif``, ``icc_profile`` and ``xmp`` where the file has them.
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
        self._size = (header.width, header.height)
        self._mode = _MODES[header.grey, header.alpha]
        self.info["model"] = header.name
        if header.quality:
            self.info["quality"] = header.quality
        self.info.update(blocks)
        # As if the pixels were in the file; load() puts them there.
        self.tile = [ImageFile._Tile("raw", (0, 0, *self._size), 0, self._mode)]

    def load(self) -> Any:
        """Decode the pixels, once, with the bundle that the file names, which stays loaded for the next
        picture. Pillow takes memory for them after that. Raises OSError.
        """
        if self.tile and self.fp is not None:
            self.fp.seek(0)
            pixels = _decode(self.fp.read(), self.mode, _name(self.filename))
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


def _decode(data: bytes, mode: str, source: str) -> bytes:
    """A file -> its pixels in the order of Pillow's raw mode ``mode``. Raises OSError."""
    from decant.decoder import decoder_of

    options = dict(DECODER_OPTIONS)
    try:
        file = container.parse(data, source)
        if file.width * file.height > container.DEFAULT_SIZE_LIMIT:
            # Image.open has let it through, so the user has raised Pillow's own limit.
            options.setdefault("size_limit", container.MAX_SIDE**2)
        pixels = decoder_of(file.name, file.model_id, **options).decode_file(file, source)
    except DecantError as error:
        raise OSError(str(error)) from error
    image = Image.fromarray(pixels)
    return (image if image.mode == mode else image.convert(mode)).tobytes()


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
    options = im.encoderinfo
    settings = {key: options[key] for key in _SETTINGS if options.get(key) is not None}
    for key, low, high in (("quality", 1, 100), ("effort", 0, 9)):
        if key in settings:
            _check_whole(settings[key], key, low, high)
    warn_of_frames(im, _name(filename))
    picture = _convert(im)
    kept = {**im.info, "xmp": im.info.get("xmp") or im.info.get("XML:com.adobe.xmp")}
    for key in _INFO_KEYS.values():
        if block := _block(options.get(key, kept.get(key)), key):
            picture.info[key] = block
    try:
        encoder = _encoder(options.get("model") or DEFAULT_MODEL)
    except DecantError as error:
        raise OSError(str(error)) from error
    try:
        data = encoder.encode(picture, source=_name(filename), **settings)
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


def _convert(im: Image.Image) -> Image.Image:
    """A copy in mode RGB, RGBA, L or LA, without metadata. Raises OSError for modes that would lose much."""
    if im.mode not in _GREY_MODES | _COLOUR_MODES:
        raise OSError(f"cannot write mode {im.mode} as DCN; convert the picture to RGB, RGBA, L or LA first")
    mode = _MODES[im.mode in _GREY_MODES, im.has_transparency_data]
    picture = im.copy() if im.mode == mode else im.convert(mode)
    picture.info = {}
    return picture


def _check_whole(value: object, what: str, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{what} {value!r}; a whole number from {low} to {high} expected")


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


def _encoder(model: Any) -> Any:
    """The encoder of a bundle: a name, a folder, or an open Bundle. The last few stay loaded."""
    from decant import cache

    # Pillow has the picture in memory already: there is no limit left to keep.
    return cache.encoder(model, **{"size_limit": container.MAX_SIDE**2, **ENCODER_OPTIONS})


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
