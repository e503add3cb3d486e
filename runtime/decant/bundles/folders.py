"""The user's folders on this system: where bundles are kept, and what may be thrown away."""

import os
import sys
from pathlib import Path


def user_data_folder() -> Path:
    """~/.local/share/decant, ~/Library/Application Support/decant or %LOCALAPPDATA%\\decant."""
    if sys.platform == "win32":
        return _windows() / "decant"
    if sys.platform == "darwin":
        return _home() / "Library" / "Application Support" / "decant"
    return Path(os.environ.get("XDG_DATA_HOME") or _home() / ".local" / "share") / "decant"


def user_cache_folder() -> Path:
    """~/.cache/decant, ~/Library/Caches/decant or %LOCALAPPDATA%\\decant\\cache."""
    if sys.platform == "win32":
        return _windows() / "decant" / "cache"
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches" / "decant"
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "decant"


def user_config_folder() -> Path:
    """~/.config/decant, ~/Library/Application Support/decant or %LOCALAPPDATA%\\decant."""
    if sys.platform == "win32":
        return _windows() / "decant"
    if sys.platform == "darwin":
        return _home() / "Library" / "Application Support" / "decant"
    return Path(os.environ.get("XDG_CONFIG_HOME") or _home() / ".config") / "decant"


def _windows() -> Path:
    return Path(os.environ.get("LOCALAPPDATA") or _home() / "AppData" / "Local")


def _home() -> Path:
    # expanduser leaves "~" in place where no home is known (a container without a user); a relative folder is
    # then simply empty.
    return Path(os.path.expanduser("~"))
