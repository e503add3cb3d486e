"""The choices of ``decant fit`` for this machine: one small file for each model and requested device.

A choice is valid for the version of decant, the processor and the bundle that it was made with. Choices of
other versions are ignored, and so are files that the user does not own. ``decant fit`` replaces them.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from decant.backends.compiled import decant_version, is_ours
from decant.bundles.bundle import Bundle
from decant.bundles.folders import user_cache_folder
from decant.errors import DecantError
from decant.formats.manifest import canonical_json
from decant.formats.writing import write_atomically
from decant.selection.machine import machine

SCHEMA = 1
_LONGEST = 1 << 16


@dataclass(frozen=True)
class Choice:
    """The graph to try first: ``precision`` and ``runtime`` on the ``kind`` of device, best for ``goal``.

    ``bundle``: the folder of the fitted copy of a bundle with static graphs, "" for the bundle itself.
    """

    kind: str
    runtime: str
    precision: str
    goal: str
    bundle: str = ""


def remember(bundle: Bundle, device: str, choice: Choice) -> Path:
    """Store ``choice`` for the model of ``bundle`` and the requested ``device``. Returns its file. Raises
    OSError.
    """
    path = _path(bundle.model_id, device)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    content = _key(bundle) | asdict(choice)
    write_atomically(path, lambda stream: stream.write(canonical_json(_sealed(content))))
    with suppress(OSError):
        path.chmod(0o600)
    return path


def forget(bundle: Bundle, device: str) -> bool:
    """Remove the stored choice. Returns whether there was one."""
    path = _path(bundle.model_id, device)
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


def choice_for(bundle: Bundle, device: str) -> tuple[Choice, Bundle] | None:
    """The valid choice for ``device``, and the bundle that has the graph; None if there is none."""
    path = _path(bundle.model_id, device)
    try:
        if not is_ours(path.stat()) or path.stat().st_size > _LONGEST:
            return None
        found = json.loads(path.read_bytes())
        if found != _sealed({name: value for name, value in found.items() if name != "sha256"}):
            return None
        choice = Choice(*(str(found[name]) for name in ("kind", "runtime", "precision", "goal", "bundle")))
        fitted = Bundle.open(choice.bundle) if choice.bundle else bundle
        if fitted.model_id != bundle.model_id or any(
            found.get(name) != value for name, value in _key(fitted).items()
        ):
            return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, DecantError):
        return None
    return choice, fitted


def folder() -> Path:
    """The folder of choices and of fitted copies of bundles."""
    return user_cache_folder() / "fitted"


def _key(bundle: Bundle) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "decant": decant_version(),
        "machine": hashlib.sha256("\n".join(machine()).encode()).hexdigest(),
        "checksum": bundle.manifest.raw["checksum"],
    }


def _sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    return {**content, "sha256": hashlib.sha256(canonical_json(content)).hexdigest()}


def _path(model_id: str, device: str) -> Path:
    return folder() / f"{model_id[:32]}-{device}.json"
