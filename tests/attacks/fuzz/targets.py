"""What is fuzzed in Python: one function a target, from any bytes to nothing.

Each ends in our error, whose message is one printable line, or in a value that is checked. Anything else is a
fault. ``run.py`` calls them under atheris, ``test_fuzz.py`` with the files of the corpus alone.
"""

import io
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "helpers"))

import decant.pillow  # noqa: F401
import numpy as np
from damage import reseal
from decant.backends.ir_check import check_ir
from decant.backends.onnx_check import check_onnx
from decant.bundles.bundle import Bundle, find_bundle
from decant.codec.decoder import tiles_of
from decant.codec.layout import GridLayout
from decant.errors import DecantError
from decant.formats import container
from decant.formats.manifest import parse_manifest, parse_model, seal
from decant.formats.strict_json import load_json
from decant.layouts.registry import layout_of
from decant.layouts.vector import VectorLayout
from PIL import Image, UnidentifiedImageError

MOST_PIXELS = 1 << 14


def fuzz_container(data: bytes) -> None:
    """A whole file; with right checksums where the first bit of its last byte is set. What is read is written
    again to the same bytes, unless sections that are skipped were in it.
    """
    given = reseal(data) if data[-1] & 1 else data
    file = container.parse(given, "file")
    assert container.parse(container.write(file)) == file


def fuzz_layouts(data: bytes) -> None:
    """The payload of a latents section, by the codec ``nano`` or by a vector of 24 numbers."""
    if len(data) < 5:
        return
    kind, width, height, quality = data[0], 1 + data[1], 1 + data[2] % 64, 1 + data[3] % 100
    if kind % 8 == 0:
        VectorLayout(dim=24, coding="float16").unpack(data[4:], "file")
        return
    layout = bundle().layout
    assert isinstance(layout, GridLayout)
    file = container.DcnFile("nano", bytes(8), width, height, data[4:], quality)
    for symbols in tiles_of(layout, file, "file"):
        assert np.abs(symbols).max(initial=0) <= 32767


def fuzz_bundles(data: bytes) -> None:
    """bundle.json, with a right checksum, or model.json and the layout that it describes."""
    raw = load_json(data[1:], "bundle.json")
    if data[0] & 1:
        layout_of(parse_model(data[1:], "model.json"), {})
        return
    try:
        sealed = seal(raw)
    except ValueError:  # lone surrogates and such have no canonical form
        parse_manifest(data[1:], "bundle.json")
        return
    manifest = parse_manifest(sealed, "bundle.json")
    assert parse_manifest(seal(manifest.raw), "bundle.json") == manifest


def fuzz_graphs(data: bytes) -> None:
    """An ONNX file or an OpenVINO XML file, before a runtime sees it."""
    if data[:1] == b"<":
        check_ir(data, 1 << 20, "graph")
    else:
        check_onnx(data, "graph")


def fuzz_pillow(data: bytes) -> None:
    """A file through Pillow: opened, its metadata read, and decoded where it is small."""
    given = reseal(data) if data[-1] & 1 else data
    try:
        with Image.open(io.BytesIO(given), formats=("DCN",)) as image:
            if image.width * image.height > MOST_PIXELS:
                return
            with suppress(struct.error):  # Pillow's own reader of EXIF, of a block that is cut off
                image.getexif()
            image.load()
            assert image.tobytes()
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return  # Pillow's own refusals
    except (OSError, SyntaxError) as error:  # what Pillow's users expect of a reader
        require_ours(str(error))


@cache
def bundle() -> Bundle:
    return find_bundle("nano")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "container": fuzz_container,
    "layouts": fuzz_layouts,
    "bundles": fuzz_bundles,
    "graphs": fuzz_graphs,
    "pillow": fuzz_pillow,
}


def require_ours(message: str) -> None:
    assert message, "an error without a message"
    assert message.isprintable(), message


def run_one(target: str, data: bytes) -> None:
    """One execution of ``target``; an AssertionError or any error but ours is a fault."""
    if not data:
        return
    try:
        TARGETS[target](data)
    except DecantError as error:
        require_ours(str(error))
