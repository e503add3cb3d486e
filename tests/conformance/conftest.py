"""The decoders of earlier models, made from the repository's history once for all tests here."""

from pathlib import Path

import pytest
from decant_export.earlier_models import earlier_models, is_in_history, write_package

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the package decant_models_archive."""
    if not all(is_in_history(model, ROOT) for model in earlier_models()):
        pytest.skip("the history is cut short, or this is no git checkout: git fetch --unshallow")
    folder = tmp_path_factory.mktemp("earlier") / "decant_models_archive"
    write_package(folder, ROOT)
    return folder
