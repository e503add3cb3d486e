"""``lock.py REPORT``: requirements.lock from a report of ``pip install --dry-run`` (``make lock``)."""

import json
import sys
from pathlib import Path

HEAD = """\
# Every package of `make LOCKED=1`, by the SHA-256 of its wheel (CPython 3.11, Linux x86-64).
# Written by `make lock`.
# torch is the build for CPUs (download.pytorch.org/whl/cpu, or a local folder of wheels), not PyPI's.
"""


def lines_of(report: dict) -> list[str]:
    """One requirement a package, by name."""
    found = {}
    for item in report["install"]:
        name, version = item["metadata"]["name"], item["metadata"]["version"]
        if "dir_info" in item["download_info"]:
            continue  # the project itself
        digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
        found[name.lower()] = f"{name}=={version} --hash=sha256:{digest}"
    return [found[name] for name in sorted(found)]


def main() -> None:
    report = json.loads(Path(sys.argv[1]).read_bytes())
    Path("requirements.lock").write_text(HEAD + "\n".join(lines_of(report)) + "\n")


if __name__ == "__main__":
    main()
