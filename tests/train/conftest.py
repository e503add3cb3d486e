"""Photos to train on; and one thread: two stall each other for seconds when the machine is busy."""

from pathlib import Path

import pytest
import torch
from decant_train.data import wheel_photos


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the photos in the wheels; not to be changed."""
    folder = tmp_path_factory.mktemp("photos")
    for package, name in wheel_photos.PHOTOS:
        wheel_photos.photo(package, name).save(folder / f"{Path(name).stem}_01a.png", compress_level=1)
    return folder
