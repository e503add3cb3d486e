"""Adds the bundles of the installed package to the tables of released files and models: ``python -m
decant.bundles.release``.

A model that the release replaces needs its ``commit`` in ``known_models.json``: the last one that has its
bundle. A test says so.
"""

import json

from decant.bundles import known_models
from decant.bundles.names import version_key
from decant.bundles.shipped import TABLE, checked_files


def write_table() -> None:
    """Add all bundles of the installed package to ``shipped.json`` and ``known_models.json``."""
    from decant.bundles.bundle import Bundle, shipped_folders

    table = json.loads(TABLE.read_bytes()) if TABLE.exists() else {}
    models = json.loads(known_models.TABLE.read_bytes())
    for folder in sorted(path.parent for root in shipped_folders() for path in root.glob("*/bundle.json")):
        bundle = Bundle.open(folder)
        before = table.get(bundle.model_id, {"files": []})["files"]
        files = sorted({*before, *(entry.sha256 for entry in checked_files(bundle.manifest))})
        table[bundle.model_id] = {"name": bundle.name, "files": files}
        model = models.setdefault(bundle.model_id, {"name": bundle.name, "versions": []})
        model["commercial_use"] = bundle.manifest.raw.get("commercial_use", "unclear")
        model["versions"] = sorted({*model["versions"], bundle.version}, key=version_key)
    for place, content in ((TABLE, table), (known_models.TABLE, models)):
        place.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write_table()
