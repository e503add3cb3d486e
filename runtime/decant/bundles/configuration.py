"""The user's settings of where models come from: ``decant.toml`` in the user's configuration folder.

    bundles = ["/srv/decant"]                # folders to look in, after DECANT_BUNDLES
    mirror = "https://models.example.com"    # where `decant models fetch` takes models from

``DECANT_CONFIG`` names another file, ``DECANT_MIRROR`` another mirror. Nothing is fetched unless ``decant
models fetch`` is called.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from decant.bundles.folders import user_config_folder
from decant.errors import BundleError

_KEYS = ("bundles", "mirror")


@dataclass(frozen=True)
class Configuration:
    """``bundles``: folders to look in. ``mirror``: the URL, or folder, that models are fetched from; empty
    where none is set.
    """

    bundles: tuple[Path, ...] = ()
    mirror: str = ""


def configuration_file() -> Path:
    """``DECANT_CONFIG``, or ``decant.toml`` in the user's configuration folder."""
    return Path(os.environ.get("DECANT_CONFIG") or user_config_folder() / "decant.toml")


def configuration() -> Configuration:
    """The settings; empty ones where there is no file. Raises BundleError for a file that cannot be read."""
    path = configuration_file()
    values: dict[str, object] = {}
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        if os.environ.get("DECANT_CONFIG"):
            raise BundleError(f"{path}: no such file; DECANT_CONFIG names it") from None
        text = ""
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BundleError(f"{path}: not the TOML expected: {error}") from None
    if text:  # few have such a file
        import tomllib

        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise BundleError(f"{path}: not the TOML expected: {error}") from None
    if unknown := sorted(set(values) - set(_KEYS)):
        raise BundleError(f"{path}: unknown key {unknown[0]}; {' and '.join(_KEYS)} are known")
    bundles, mirror = values.get("bundles", []), values.get("mirror", "")
    if not isinstance(bundles, list) or not all(isinstance(folder, str) and folder for folder in bundles):
        raise BundleError(f"{path}: bundles must be a list of folders")
    if not isinstance(mirror, str):
        raise BundleError(f"{path}: mirror must be a URL, or a folder")
    folders = tuple(path.parent / Path(folder).expanduser() for folder in bundles)
    return Configuration(folders, os.environ.get("DECANT_MIRROR") or mirror)
