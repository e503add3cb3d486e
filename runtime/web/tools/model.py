"""Copies the model file of a bundle (a name or ``./folder``): ``python model.py BUNDLE OUT.dcnm``."""

import sys
from pathlib import Path

from decant.bundles.bundle import find_bundle
from decant.formats.manifest import MODEL_SUFFIX

if __name__ == "__main__":
    given, out = sys.argv[1:]
    bundle = find_bundle(given)
    Path(out).write_bytes(bundle.read(bundle.name + MODEL_SUFFIX))
