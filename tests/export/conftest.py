"""One trained checkpoint and its bundle, shared by the tests here; none of them changes either."""

from pathlib import Path

import pytest
from checkpoints_made import save_denoiser, train_set
from decant.bundles.bundle import Bundle
from decant_export import export


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_set(tmp_path_factory.mktemp("trained") / "set")


@pytest.fixture(scope="session")
def denoiser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_denoiser(tmp_path_factory.mktemp("trained") / "denoiser")


@pytest.fixture(scope="session")
def bundle(checkpoint: Path, denoiser: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Everything that can be in a bundle, int4 included: its floor is lowered so that it is written."""
    out = tmp_path_factory.mktemp("bundles") / "tiny"
    return export(checkpoint, out, denoiser=denoiser, floors={"int4": 10.0})
