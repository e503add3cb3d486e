"""Paths as strings: what takes a Path takes a string."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from decant.errors import DecantError
from decant.formats.paths import takes_paths
from decant_bench.common import pictures, record
from decant_bench.test_pictures import collect
from decant_export import archiving, export
from decant_export.errors import ExportError
from decant_export.families.codec import pictures as codec_pictures
from decant_export.families.codec import requantize as requantizing
from decant_train.common import checkpoint, loop
from decant_train.data import folders as data
from decant_train.data import photos
from decant_train.published.set import recipe as set_recipe
from PIL import Image


@takes_paths
def given(one: Path, many: Sequence[Path] = (), text: str = "", none: Path | None = None) -> list[object]:
    return [one, many, text, none]


def test_strings_become_paths_where_paths_are_expected():
    assert given("a", ["b", Path("c")], "d") == [Path("a"), [Path("b"), Path("c")], "d", None]
    assert given(Path("a"), "bcd", none="e") == [Path("a"), [Path("bcd")], "", Path("e")]
    array = np.zeros(3)
    assert given(array)[0] is array
    assert given.__name__ == "given"


def test_functions_of_bench_and_train_take_strings(tmp_path: Path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(np.full((40, 48, 3), 50 * i, np.uint8)).save(folder / f"p{i}.png")
    assert len(pictures.read_pictures(str(folder)).pictures) == 2
    assert len(pictures.read_squares(str(folder), 32)) == 2
    assert len(data.image_files(str(folder))) == 2
    photos.pack(str(folder), str(tmp_path / "p.safetensors"))
    assert len(photos.load(str(tmp_path / "p.safetensors"), 32, validation=False)) >= 1
    made = record.new("rd", {}, "none")
    record.write(made, str(tmp_path / "r.json"))
    assert record.read(str(tmp_path / "r.json"), "rd")["kind"] == "rd"
    assert collect.pieces(str(folder))
    options = loop.Options(epochs=1, batch_size=2)
    shape = {"image_size": 32, "set_size": 2, "latent_dim": 4}
    set_recipe.train_set(
        "small", str(tmp_path / "run"), options, images=str(folder), shape=shape, progress=False
    )
    assert checkpoint.load(str(tmp_path / "run")).epoch == 1


def test_functions_of_export_take_strings(tmp_path: Path):
    folder, out = str(tmp_path / "empty"), str(tmp_path / "out")
    Path(folder).mkdir()
    for attempt in (
        lambda: export(folder, out, images=folder, denoiser=folder),
        lambda: requantizing.requantize(folder, out),
        lambda: list(archiving.named_images(folder, folder)),
    ):
        with pytest.raises((DecantError, ExportError, checkpoint.CheckpointError)):
            attempt()
    Image.fromarray(np.full((300, 300, 3), 60, np.uint8)).save(tmp_path / "empty/p.png")
    Image.fromarray(np.full((300, 300, 3), 90, np.uint8)).save(tmp_path / "empty/q.png")
    assert codec_pictures.calibration_crops(folder, 1)[0].shape == (256, 256, 3)
