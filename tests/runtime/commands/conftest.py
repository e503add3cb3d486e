"""A picture and its file, for the commands."""

from pathlib import Path

import bundles
import pytest
from commands import decant
from PIL import Image


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(bundles.crops(200)[3]).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def coded(tiny: Path, photo: Path) -> Path:
    result = decant("encode", photo, photo.with_suffix(".dcn"), "--bundle-dir", tiny)
    assert (result.exit_code, result.stdout) == (0, "")
    return photo.with_suffix(".dcn")
