"""Where bundles are looked for, and what is said of a model that is in none of these places."""

import importlib.util
import os
from pathlib import Path

from decant.bundles.configuration import configuration
from decant.bundles.folders import user_data_folder
from decant.bundles.known_models import EARLIER_PACKAGE, known, known_by_version
from decant.bundles.names import ModelName


def search_folders(bundle_dir: str | os.PathLike[str] | None = None) -> list[Path]:
    """Where bundles are looked for, in order; folders that are not there included. Raises BundleError for a
    settings file that cannot be read (``decant.bundles.configuration``).
    """
    return [folder for folders in places(bundle_dir) for folder in folders]


def places(bundle_dir: str | os.PathLike[str] | None) -> list[list[Path]]:
    """The folders looked in, in order; among those of one list the newest version of a name counts."""
    places = [[Path(bundle_dir)]] if bundle_dir is not None else []
    places += [[Path(part)] for part in os.environ.get("DECANT_BUNDLES", "").split(os.pathsep) if part]
    return [*places, [*configuration().bundles, fetched_folder(), *shipped_folders(), *earlier_folders()]]


def fetched_folder() -> Path:
    """Where ``decant models fetch`` puts bundles: ``bundles`` in the user's data folder."""
    return user_data_folder() / "bundles"


def earlier_folders() -> list[Path]:
    """Where the package of earlier decoders (docs/compatibility.md) lies; empty where it is not installed."""
    return _package_folders("decant_models_archive")


def shipped_folders() -> list[Path]:
    """Where the bundles that come in the wheel lie; empty where they were left out."""
    return _package_folders("decant_bundles")


def _package_folders(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []


def bundles_in(folders: list[Path], name: str = "") -> list[Path]:
    """The folders of bundles in ``folders``, each a bundle or a folder of bundles; those called ``name``
    first.
    """
    paths = [path for folder in folders for path in _of_folder(folder)]
    return sorted(paths, key=lambda path: path.name != name)


def folder_of(name: str, bundle_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The first bundle's folder called ``name``, whatever is in it; None where there is none."""
    paths = (path for folders in places(bundle_dir) for path in bundles_in(folders, name))
    return next((path for path in paths if path.name == name), None)


def _of_folder(folder: Path) -> list[Path]:
    """``folder`` itself when it is a bundle, else the bundles in it, by name."""
    if (folder / "bundle.json").is_file():
        return [folder]
    try:
        return sorted(path for path in folder.iterdir() if (path / "bundle.json").is_file())
    except OSError:
        return []


def not_here(asked: ModelName, wanted: str, others: list[str], folders: list[Path]) -> str:
    """What is missing, by name, version and id; where it was looked for; and where it can be had."""
    model = known(wanted)
    if model is None and asked.version:
        model = next(iter(known_by_version(asked.name, asked.version)), None)
    version = asked.version or (model.versions[-1] if model else "")
    wanted = wanted or (model.model_id[:16] if model else "")
    text = (
        f"model {asked.name}" + (f" {version}" if version else "") + (f" with id {wanted}" if wanted else "")
    )
    also = f" ({'; '.join(others)})" if others else ""
    looked = ", ".join(str(folder) for folder in folders)
    advice = "give --bundle-dir or set DECANT_BUNDLES"
    if model is not None:
        had = f"install {EARLIER_PACKAGE}" if model.commit else "reinstall decant-codec"
        advice = f"{had}, use decant models fetch (docs/compatibility.md), or {advice}"
    return f"{text} is not here{also}; looked in {looked}; {advice}"
