"""Decodes a file through ctypes, without decant: decode.py libdcn.so MODEL.dcnm FILE.dcn"""

import ctypes
import sys
from pathlib import Path


class Error(ctypes.Structure):
    """dcn_error"""

    _fields_ = (("status", ctypes.c_int), ("message", ctypes.c_char * 232))


class Info(ctypes.Structure):
    """The first fields of dcn_info, and room for the others."""

    _fields_ = (("width", ctypes.c_uint32), ("height", ctypes.c_uint32), ("others", ctypes.c_uint8 * 512))


def main(library_path: str, model_path: str, file_path: str) -> None:
    """Print size and mean of the picture."""
    library, error = ctypes.CDLL(library_path), Error()
    model_bytes, data = Path(model_path).read_bytes(), Path(file_path).read_bytes()
    model, info = ctypes.c_void_p(), Info()

    def check(status: int) -> None:
        if status:
            sys.exit(error.message.decode())

    size = ctypes.c_size_t(len(model_bytes))
    check(library.dcn_model_open(model_bytes, size, ctypes.byref(model), ctypes.byref(error)))
    size = ctypes.c_size_t(len(data))
    check(library.dcn_read_info(data, size, ctypes.byref(info), ctypes.byref(error)))
    pixels = (ctypes.c_uint8 * (info.width * info.height * 3))()
    check(library.dcn_decode(model, data, size, None, 3, pixels, ctypes.c_size_t(0), ctypes.byref(error)))
    library.dcn_model_close(model)
    print(f"{info.width}x{info.height}, mean {sum(pixels) / len(pixels):.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
