"""Released models that no longer ship, whole, from the repository's history."""

from pathlib import Path

import pytest
from decant.bundles.bundle import Bundle
from decant.bundles.known_models import known_by_version
from decant_export.earlier_models import is_in_history, take_from_history

ROOT = Path(__file__).parents[2]


def released_model(name: str, version: str, folder: Path) -> Bundle:
    """The bundle ``name`` as it was released, encoder included, in ``folder``. Skips without the history."""
    (model,) = known_by_version(name, version)
    if not is_in_history(model, ROOT):
        pytest.skip("the history is cut short, or this is no git checkout: git fetch --unshallow")
    return take_from_history(model, ROOT, folder)
