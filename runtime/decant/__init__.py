"""decant: open, save and convert pictures in learned image formats.

>>> import decant
>>> pixels = decant.open("photo.dcn")            # doctest: +SKIP
>>> data = decant.Encoder("small").encode(pixels)  # doctest: +SKIP
>>> pixels = decant.Decoder("small").decode(data)  # doctest: +SKIP

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
    MissingExtraError,
    ModelNotFoundError,
    QualityWarning,
    SizeLimitError,
)

TYPE_CHECKING = False  # type checkers take it for true; importing typing would be half of this module's time
if TYPE_CHECKING:
    from decant.bundle import Bundle, find_bundle, list_bundles
    from decant.decoder import Decoder
    from decant.decoder import open_file as open
    from decant.devices import available_devices
    from decant.encoder import Encoder
    from decant.encoder import save_file as save

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
    "FormatError",
    "GoldenError",
    "ImageError",
    "MissingExtraError",
    "ModelNotFoundError",
    "QualityWarning",
    "SizeLimitError",
    "__version__",
    "available_devices",
    "find_bundle",
    "list_bundles",
    "open",
    "save",
]

_LAZY = {
    "Bundle": ("decant.bundle", "Bundle"),
    "Decoder": ("decant.decoder", "Decoder"),
    "Encoder": ("decant.encoder", "Encoder"),
    "available_devices": ("decant.devices", "available_devices"),
    "find_bundle": ("decant.bundle", "find_bundle"),
    "list_bundles": ("decant.bundle", "list_bundles"),
    "open": ("decant.decoder", "open_file"),
    "save": ("decant.encoder", "save_file"),
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
