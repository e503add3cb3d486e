"""The model ``tiny`` is found by its name, and a picture in it."""

from pathlib import Path

import bundles
import decant.pillow
import numpy as np
import pytest
from decant import Decoder, Encoder
from PIL import Image
from pillow_files import EXIF, ICC, XMP


@pytest.fixture(autouse=True)
def _tiny_is_found(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECANT_BUNDLES", str(tiny))
    monkeypatch.setattr(decant.pillow, "DEFAULT_MODEL", "tiny")


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    return bundles.crops(200)[5]


@pytest.fixture(scope="session")
def data(tiny: Path, picture: np.ndarray) -> bytes:
    """A file with all metadata."""
    image = Image.fromarray(picture)
    image.info.update(exif=EXIF, icc_profile=ICC, xmp=XMP)
    return Encoder(tiny).encode(image)


@pytest.fixture(scope="session")
def pixels(tiny: Path, data: bytes) -> np.ndarray:
    """What it decodes to."""
    return Decoder(tiny).decode(data)


@pytest.fixture
def path(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "photo.dcn").write_bytes(data)
    return tmp_path / "photo.dcn"


@pytest.fixture
def plain(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture)
