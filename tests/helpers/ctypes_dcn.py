"""libdcn through ctypes: the functions of dcn.h, as any program that is not Python would call them."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decant.backends.sessions import create_session
from decant.bundles.bundle import Bundle
from decant.codec.decoder import GridDecoder

BUNDLES = Path(__file__).parents[2] / "artifacts/decant_bundles"
OK, BAD_MODEL, OUT_OF_MEMORY, BAD_FILE, WRONG_MODEL, TOO_LARGE, BAD_ARGUMENT, STOPPED = range(8)
Progress = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int)
Allocate = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
Release = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


class Error(ctypes.Structure):
    _fields_ = (("status", ctypes.c_int), ("message", ctypes.c_char * 232))


class Options(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("x", "y", "width", "height")),
        ("threads", ctypes.c_int),
        ("most_pixels", ctypes.c_uint64),
        ("most_memory", ctypes.c_uint64),
        ("progress", Progress),
        ("progress_context", ctypes.c_void_p),
        ("preview_groups", ctypes.c_int),
    )


class Section(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_void_p), ("size", ctypes.c_size_t))


class Info(ctypes.Structure):
    _fields_ = (
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("quality", ctypes.c_int),
        ("grey", ctypes.c_int),
        ("alpha", ctypes.c_int),
        ("name", ctypes.c_char * 65),
        ("model_id", ctypes.c_uint8 * 8),
        ("header_size", ctypes.c_size_t),
        *((name, Section) for name in ("latents", "alpha_plane", "exif", "icc", "xmp")),
    )


class Allocator(ctypes.Structure):
    _fields_ = (("allocate", Allocate), ("release", Release), ("context", ctypes.c_void_p))


def load() -> ctypes.CDLL:
    """libdcn as it is built into decant; skips where it is not."""
    module = pytest.importorskip("decant._libdcn", reason="libdcn is not built here")
    library = ctypes.CDLL(module.__file__)
    library.dcn_decode_memory.restype = ctypes.c_uint64
    library.dcn_status_text.restype = library.dcn_model_name.restype = ctypes.c_char_p
    return library


class Failed(Exception):
    """A status that is not DCN_OK, with its message."""

    def __init__(self, status: int, error: Error) -> None:
        super().__init__(error.message.decode())
        self.status = status


class Model:
    """An open model."""

    def __init__(self, data: bytes) -> None:
        self.library, self.handle, error = load(), ctypes.c_void_p(), Error()
        status = self.library.dcn_model_open(
            data, ctypes.c_size_t(len(data)), ctypes.byref(self.handle), ctypes.byref(error)
        )
        if status:
            assert not self.handle.value
            raise Failed(status, error)

    def close(self) -> None:
        self.library.dcn_model_close(self.handle)

    def memory(self, data: bytes, **options: Any) -> int:
        """The bound that dcn_decode_memory gives."""
        given = Options(**options)
        bound: int = self.library.dcn_decode_memory(
            self.handle, ctypes.byref(info(data)), ctypes.byref(given)
        )
        return bound

    def decode(
        self,
        data: bytes,
        *,
        channels: int = 3,
        stride: int = 0,
        progress: Callable[[int, int], int] | None = None,
        **options: Any,
    ) -> np.ndarray:
        """uint8 (H, W, channels) of a file or a region of it. Raises Failed."""
        given, error = Options(**options), Error()
        if progress is not None:
            given.progress = Progress(lambda _, rows, preview: progress(rows, preview))
        size = info(data)
        width, height = given.width or size.width, given.height or size.height
        row = stride or width * channels
        pixels = np.zeros((height, row), np.uint8)
        status = self.library.dcn_decode(
            self.handle,
            data,
            ctypes.c_size_t(len(data)),
            ctypes.byref(given),
            channels,
            pixels.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_size_t(stride),
            ctypes.byref(error),
        )
        if status:
            raise Failed(status, error)
        return pixels[:, : width * channels].reshape(height, width, channels)


def info(data: bytes) -> Info:
    """What dcn_read_info gives. Raises Failed."""
    library, found, error = load(), Info(), Error()
    status = library.dcn_read_info(data, ctypes.c_size_t(len(data)), ctypes.byref(found), ctypes.byref(error))
    if status:
        raise Failed(status, error)
    return found


def python_decoder(name: str) -> GridDecoder:
    """The same integers through Python: streams by the layout, one session for each network."""
    bundle = Bundle.open(BUNDLES / name)
    sessions = [
        create_session(graph, [bundle.read(file) for file in graph.files], threads=1)
        for graph in (bundle.graph(role, "int16", "native") for role in ("hyper_mean", "synthesis"))
    ]
    return GridDecoder(bundle.layout, *sessions, overlap=False)
