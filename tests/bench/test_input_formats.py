"""Training, export and measuring read pictures of the formats that `decant encode` reads, and no others."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from decant.errors import ImageError
from decant.formats.opening import INPUT_FORMATS
from decant_bench.common import pictures
from decant_bench.errors import BenchError
from decant_bench.test_pictures import collect
from decant_train.data import folders, photos
from PIL import Image

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 320 320\n%%EndComments\nshowpage\n%%EOF\n"
REFUSED = "p1.png: not an image in a format that decant reads"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a picture and of an EPS file under a picture's name."""
    found = tmp_path / "pictures"
    found.mkdir()
    Image.fromarray(np.full((320, 320, 3), 90, np.uint8)).save(found / "p0.png")
    (found / "p1.png").write_bytes(EPS)
    return found


@pytest.mark.parametrize(
    ("error", "read"),
    [
        (ImageError, lambda folder: pictures.read_pictures(folder)),
        (ImageError, lambda folder: pictures.read_squares(folder, 64)),
        (BenchError, lambda folder: [piece.make() for piece in collect.pieces(folder)]),
    ],
    ids=["pictures", "squares", "content"],
)
def test_measuring_refuses_other_formats_by_name(
    folder: Path, error: type[Exception], read: Callable[[Path], object]
):
    with pytest.raises(error, match=REFUSED):
        read(folder)


def test_training_skips_other_formats_by_name(folder: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        assert len(folders.load_folder(folder, 64)) == 1
    assert REFUSED in caplog.text


def test_packed_photos_hold_other_formats_for_unreadable(folder: Path, tmp_path: Path):
    packed = tmp_path / "p.safetensors"
    photos.pack(folder, packed)
    file = photos.PackedFile(packed)
    assert sorted(file.side(i) for i in range(len(file.names))) == [0, 320]


def test_only_files_of_known_formats_are_images(folder: Path):
    (folder / "p2.eps").write_bytes(EPS)
    assert [path.name for path in folders.image_files(folder)] == ["p0.png", "p1.png"]
    assert "EPS" not in INPUT_FORMATS
