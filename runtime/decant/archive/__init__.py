"""Archives: many pictures as one Parquet data set that also holds the decoder (docs/format/archive.md).

>>> from decant import archive
>>> archive.pack("photos", "photos.archive", workers=4)          # doctest: +SKIP
>>> dataset = archive.Dataset("photos.archive")                  # doctest: +SKIP
>>> dataset["2019/garden.jpg"]      # uint8 (3, H, W)            # doctest: +SKIP

Names are loaded when first used. They need the extra ``archive`` (pyarrow and fsspec).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decant.archive.dataset import Dataset
    from decant.archive.merging import merge
    from decant.archive.packing import pack
    from decant.archive.reader import Archive
    from decant.archive.settings import PackSettings, UnpackSettings
    from decant.archive.unpacking import unpack
    from decant.archive.verification import verify

_LAZY = {
    "Archive": "reader",
    "Dataset": "dataset",
    "PackSettings": "settings",
    "UnpackSettings": "settings",
    "merge": "merging",
    "pack": "packing",
    "unpack": "unpacking",
    "verify": "verification",
}

__all__ = [
    "Archive",
    "Dataset",
    "PackSettings",
    "UnpackSettings",
    "merge",
    "pack",
    "unpack",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'decant.archive' has no attribute {name!r}")
    from decant.errors import MissingExtraError

    try:
        value = getattr(import_module(f"decant.archive.{_LAZY[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "decant").startswith("decant"):
            raise
        raise MissingExtraError(
            f"decant.archive needs {error.name}, which is not installed: pip install 'decant-codec[archive]'"
        ) from None
    globals()[name] = value
    return value
