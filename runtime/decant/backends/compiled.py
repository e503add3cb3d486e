"""Graphs compiled for this machine, as files: OpenVINO blobs, context binaries of NPUs, optimised graphs.

``decant fit`` writes them and sessions start from them. An entry holds the key that it was made for and the
hash of its content. A file with another key, a wrong hash, another owner, or that others may write is not
read: the graph is compiled anew.
"""

import hashlib
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from decant.formats.manifest import canonical_json
from decant.formats.writing import write_atomically

SCHEMA = 1
_MAGIC = b"decant compiled\n"
_LONGEST_KEY = 1 << 20


@cache
def decant_version() -> str:
    """The version of the installed package."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("decant-codec")
    except PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True)
class CompiledStore:
    """Compiled graphs in ``folder``. ``machine`` is the part of the key that describes this machine:
    processor, instruction sets, environment variables. ``write`` says whether missing graphs are compiled and
    stored.
    """

    folder: Path
    machine: Sequence[str]
    write: bool = False
    used: list[str] = field(default_factory=list, compare=False)  # what was done: "read" or "written"

    def key(self, blobs: Sequence[bytes], **runs_on: Any) -> dict[str, Any]:
        """The key of a graph with these files; ``runs_on``: runtime, versions, device, settings."""
        return {
            "schema": SCHEMA,
            "decant": decant_version(),
            "machine": hashlib.sha256("\n".join(self.machine).encode()).hexdigest(),
            "graph": [hashlib.sha256(blob).hexdigest() for blob in blobs],
            **runs_on,
        }

    def path(self, key: Mapping[str, Any]) -> Path:
        """Where the entry of ``key`` lies: one file for a graph, device and settings, whatever the versions,
        so that an update replaces it.
        """
        lasting = {name: value for name, value in key.items() if name not in _VERSIONS}
        return self.folder / f"{hashlib.sha256(canonical_json(lasting)).hexdigest()[:40]}.bin"

    def read(self, key: Mapping[str, Any]) -> bytes | None:
        """The compiled graph of ``key``; None where there is none that can be trusted."""
        path = self.path(key)
        try:
            with path.open("rb") as stream:
                if not is_ours(os.fstat(stream.fileno())):
                    return None
                data = stream.read()
        except OSError:
            return None
        content = _content(data, canonical_json(dict(key)))
        if content is not None:
            self.used.append("read")
        return content

    def keep(self, key: Mapping[str, Any], content: bytes) -> None:
        """Write the compiled graph of ``key``; the file is whole or not there. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(OSError):
            self.folder.chmod(0o700)
        header = canonical_json(dict(key))
        digest = hashlib.sha256(content).digest()
        parts = (_MAGIC, len(header).to_bytes(4, "little"), header, digest, content)
        path = self.path(key)
        write_atomically(path, lambda stream: stream.writelines(parts))
        if sys.platform != "win32":
            path.chmod(0o600)
        self.used.append("written")

    def drop(self, key: Mapping[str, Any]) -> None:
        """Remove the entry of ``key``: the runtime could not load it."""
        with suppress(OSError):
            self.path(key).unlink(missing_ok=True)


# Entries of a key that updates change.
_VERSIONS = frozenset({"schema", "decant", "runtime_version", "driver", "provider"})


def is_ours(found: os.stat_result) -> bool:
    """Whether a file is this user's own, and only this user may write it."""
    if sys.platform == "win32":
        return True
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _content(data: bytes, header: bytes) -> bytes | None:
    """What an entry's bytes hold, if they are whole and of the key ``header``."""
    start = len(_MAGIC) + 4
    if not data.startswith(_MAGIC) or len(data) < start or len(header) > _LONGEST_KEY:
        return None
    length = int.from_bytes(data[len(_MAGIC) : start], "little")
    if length != len(header) or data[start : start + length] != header:
        return None
    digest, content = data[start + length : start + length + 32], data[start + length + 32 :]
    return content if hashlib.sha256(content).digest() == digest else None
