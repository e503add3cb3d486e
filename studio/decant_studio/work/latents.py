"""Latents as ``.npy`` files, and back.

A model of one picture size has a vector or a grid of float32. A codec's latents are one record of named
fields: the symbols of latents and hyperlatents, and what else a decoder needs (model, quality, size). NumPy
reads both kinds without pickles:

>>> record = np.load("picture-lite-latents.npy")               # doctest: +SKIP
>>> record["latents"].shape                                    # doctest: +SKIP
(256, 32, 48)
"""

import io
import math
from typing import Any

import numpy as np
from decant.bundles.bundle import Bundle, find_bundle
from decant.codec.decoder import tiles_of
from decant.codec.layout import HYPER_LATENTS, LATENT_PIXELS, GridLayout
from decant.formats import container
from decant.formats.container import DcnFile

from decant_studio.errors import Refused
from decant_studio.work.limits import Limits
from decant_studio.work.pictures import NAME

_LARGEST_SYMBOL = 32767
_NOT_OURS = "This .npy file does not hold latents that the studio gave."


def from_file(data: bytes, bundle_dir: str | None) -> bytes:
    """The symbols of a codec's ``.dcn`` file as a ``.npy`` file. Raises DecantError."""
    file = container.parse(data, NAME)
    bundle, layout = _grid(file, bundle_dir)
    shape = layout.grid(file.width, file.height)
    record = np.zeros((), _record(layout, file.width, file.height))
    record["model"], record["model_id"] = bundle.name.encode(), file.model_id.hex().encode()
    record["width"], record["height"], record["quality"] = file.width, file.height, file.quality
    payload = layout.parse(file.latents, file.width, file.height, NAME)
    record["hyperlatents"] = layout.decode_hyper(payload, shape, layout.quality(file.quality), NAME)
    for (y0, y1, x0, x1), symbols in zip(shape.tiles, tiles_of(layout, file, NAME), strict=True):
        record["latents"][:, y0:y1, x0:x1] = symbols
    return saved(record)


def to_file(data: bytes, limits: Limits) -> bytes:
    """A ``.npy`` file of ``from_file`` -> the ``.dcn`` file with these symbols. Raises DecantError, and
    Refused for any other array.
    """
    array = loaded(data, limits.pixels)
    names = array.dtype.names
    if array.shape or names is None or set(names) != set(_record_names()):
        raise Refused(400, _NOT_OURS)
    numbers = [array[name].item() for name in ("width", "height", "quality")]
    texts = [array[name].item() for name in ("model", "model_id")]
    if not all(type(n) is int for n in numbers) or not all(type(text) is bytes for text in texts):
        raise Refused(400, _NOT_OURS)
    width, height, quality = numbers
    try:
        model, model_id = texts[0].decode("ascii"), bytes.fromhex(texts[1].decode("ascii"))
    except ValueError:
        raise Refused(400, _NOT_OURS) from None
    if not 1 <= quality <= 100 or min(width, height) < 1:
        raise Refused(400, f"{_NOT_OURS} Its size or quality is out of range.")
    container.check_size(width, height, NAME, limits.pixels)
    file = DcnFile(model, model_id, width, height, b"", quality)
    bundle, layout = _grid(file, limits.bundle_dir)
    expected = _record(layout, width, height)
    if array.dtype != expected:
        raise Refused(400, f"The latents do not have the shape that model {bundle.name} gives this size.")
    for name in ("latents", "hyperlatents"):
        if np.abs(array[name].astype(np.int32)).max(initial=0) > _LARGEST_SYMBOL:
            raise Refused(400, f"The {name} hold a number beyond ±{_LARGEST_SYMBOL}.")
    payload = _coded(layout, array, file)
    return container.write(
        DcnFile(bundle.name, bytes.fromhex(bundle.model_id)[:8], width, height, payload, quality)
    )


def saved(array: np.ndarray) -> bytes:
    """An array as the bytes of a ``.npy`` file."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


def loaded(data: bytes, limit: int) -> np.ndarray:
    """The array of a ``.npy`` file, at most 8 * ``limit`` bytes; no objects. Raises Refused."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(stream, max_header_size=10_000)
    except (ValueError, KeyError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise Refused(400, "This .npy file is damaged: its header cannot be read.") from None
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or size > 8 * limit:
        raise Refused(400, "This .npy file holds objects or too many numbers; plain latents expected.")
    if size != len(data) - stream.tell():
        raise Refused(400, "This .npy file is damaged: it is longer or shorter than its header says.")
    flat = np.frombuffer(data, dtype, offset=stream.tell()) if size else np.zeros(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _record_names() -> tuple[str, ...]:
    return ("model", "model_id", "width", "height", "quality", "hyperlatents", "latents")


def _record(layout: GridLayout, width: int, height: int) -> np.dtype[Any]:
    """The type of the record of one picture size."""
    h, w = -(-height // LATENT_PIXELS), -(-width // LATENT_PIXELS)
    hyper = (layout.hyper, -(-h // HYPER_LATENTS), -(-w // HYPER_LATENTS))
    types = ("S64", "S16", "<u2", "<u2", "u1", ("<i2", hyper), ("<i2", (layout.channels, h, w)))
    return np.dtype([(name, *_spread(kind)) for name, kind in zip(_record_names(), types, strict=True)])


def _spread(kind: Any) -> tuple[Any, ...]:
    return kind if isinstance(kind, tuple) else (kind,)


def _grid(file: DcnFile, bundle_dir: str | None) -> tuple[Bundle, GridLayout]:
    bundle = find_bundle(file.name, file.model_id, bundle_dir)
    if not isinstance(bundle.layout, GridLayout):
        raise Refused(400, f"Model {bundle.name} is no codec; open the file under “Published systems”.")
    return bundle, bundle.layout


def _coded(layout: GridLayout, array: np.ndarray, file: DcnFile) -> bytes:
    """The latents section of these symbols."""
    row, shape = layout.quality(file.quality), layout.grid(file.width, file.height)
    z = array["hyperlatents"].astype(np.int32)
    scaled, streams = row.scaled(z), []
    for group in shape.tiles:
        y0, y1, x0, x1 = group
        given = array["latents"][:, y0:y1, x0:x1].astype(np.float32)

        def choose(channels: slice, classes: np.ndarray, given: np.ndarray = given) -> np.ndarray:
            return np.where(classes > 0, given[channels], 0).astype(np.float32)

        symbols, classes = layout.choose_symbols(scaled, row, group, choose)
        streams.append(layout.encode_tile(symbols, classes))
    return layout.write(layout.encode_hyper(z, row), streams)
