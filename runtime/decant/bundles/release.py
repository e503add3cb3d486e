"""Adds the bundles of the installed package to the table of released files: ``python -m
decant.bundles.release``.
"""

import json

from decant.bundles.shipped import TABLE, checked_files


def write_table() -> None:
    """Add the files of all bundles of the installed package to ``shipped.json``."""
    from decant.bundles.bundle import Bundle, shipped_folders

    table = json.loads(TABLE.read_bytes()) if TABLE.exists() else {}
    for folder in sorted(path.parent for root in shipped_folders() for path in root.glob("*/bundle.json")):
        bundle = Bundle.open(folder)
        before = table.get(bundle.model_id, {"files": []})["files"]
        files = sorted({*before, *(entry.sha256 for entry in checked_files(bundle.manifest))})
        table[bundle.model_id] = {"name": bundle.name, "files": files}
    TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write_table()
