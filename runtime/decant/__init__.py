"""decant: open, save and convert pictures in learned image formats.

>>> import decant
>>> data = decant.encode(pixels, quality=60)     # doctest: +SKIP
>>> pixels = decant.decode(data)                 # doctest: +SKIP
>>> decant.info("photo.dcn").bits_per_pixel      # doctest: +SKIP

Names are loaded when first used, so that ``import decant`` costs nothing: neither numpy nor a runtime is
imported.
"""

from importlib import import_module

from decant.errors import (
    AnimationWarning,
    BundleError,
    DecantError,
    DecantWarning,
    DeviceError,
    FormatError,
    GoldenError,
    ImageError,
    MetadataWarning,
    MissingExtraError,
    ModelNotFoundError,
    QualityWarning,
    SizeLimitError,
)

TYPE_CHECKING = False  # type checkers take it for true; importing typing would be half of this module's time
if TYPE_CHECKING:
    from decant.api import decode, encode, info, open, save
    from decant.backends.devices import available_devices
    from decant.bundles.bundle import Bundle, find_bundle, list_bundles
    from decant.commands.describe import FileInfo
    from decant.decoder import Decoder
    from decant.encoder import Encoder
    from decant.formats.metadata import Metadata

    __version__: str

__all__ = [
    "AnimationWarning",
    "Bundle",
    "BundleError",
    "DecantError",
    "DecantWarning",
    "Decoder",
    "DeviceError",
    "Encoder",
    "FileInfo",
    "FormatError",
    "GoldenError",
    "ImageError",
    "Metadata",
    "MetadataWarning",
    "MissingExtraError",
    "ModelNotFoundError",
    "QualityWarning",
    "SizeLimitError",
    "__version__",
    "available_devices",
    "decode",
    "encode",
    "find_bundle",
    "info",
    "list_bundles",
    "open",
    "save",
]

_LAZY = {
    "Bundle": ("decant.bundles.bundle", "Bundle"),
    "Decoder": ("decant.decoder", "Decoder"),
    "Encoder": ("decant.encoder", "Encoder"),
    "FileInfo": ("decant.commands.describe", "FileInfo"),
    "Metadata": ("decant.formats.metadata", "Metadata"),
    "available_devices": ("decant.backends.devices", "available_devices"),
    "decode": ("decant.api", "decode"),
    "encode": ("decant.api", "encode"),
    "find_bundle": ("decant.bundles.bundle", "find_bundle"),
    "info": ("decant.api", "info"),
    "list_bundles": ("decant.bundles.bundle", "list_bundles"),
    "open": ("decant.api", "open"),
    "save": ("decant.api", "save"),
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("decant-codec")
    if name not in _LAZY:
        raise AttributeError(f"module 'decant' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
