"""Archives of small pictures, shared by the tests."""

from pathlib import Path

import pytest
from archive_pictures import SETTINGS, write_pictures
from decant import archive


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 30 pictures, one of them twice, one damaged, and a text file; not to be changed."""
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder, 30)
    (folder / "set1" / "again.png").write_bytes((folder / "set0" / "0000.png").read_bytes())
    (folder / "set2" / "broken.png").write_bytes((folder / "set2" / "0002.png").read_bytes()[:90])
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="session")
def packed(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of ``pictures``, packed in this process; not to be changed."""
    place = tmp_path_factory.mktemp("archives") / "a"
    archive.pack(pictures, place, engine="serial", **SETTINGS)
    return place
