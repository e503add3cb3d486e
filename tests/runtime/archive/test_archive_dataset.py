"""``decant.archive.Dataset``: pictures by key and number, in this process, its forks and other processes."""

import multiprocessing
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from archive_pictures import NANO
from decant import Decoder, archive
from decant.archive.reader import Index
from decant.archive.schema import INDEX
from decant.errors import ImageError


def expected(packed: Path, which: int | str) -> np.ndarray:
    """What the decoder gives: (3, H, W)."""
    pixels = Decoder(NANO).decode(archive.Archive(packed).payload(which))
    return pixels.transpose(2, 0, 1)


def test_pictures_by_number_and_key(packed: Path):
    dataset = archive.Dataset(packed)
    assert len(dataset) == 31
    keys = dataset.keys()
    for number in (0, 17, -1):
        assert np.array_equal(dataset[number], expected(packed, number))
        assert np.array_equal(dataset[keys[number]], dataset[number])
    assert np.array_equal(dataset["set1/again.png"], dataset["set0/0000.png"])
    assert dataset[0].shape == (3, 24, 24)
    assert dataset[0].dtype == np.uint8
    assert "set0/0000.png" in dataset
    assert "nothing" not in dataset
    assert 7 not in dataset


def test_what_is_not_there_is_an_index_or_key_error(packed: Path):
    dataset = archive.Dataset(packed)
    with pytest.raises(IndexError, match="picture 31 of 31"):
        dataset[31]
    with pytest.raises(KeyError, match="nothing"):
        dataset["nothing"]
    with pytest.raises(ImageError, match="kind 'jax'"):
        archive.Dataset(packed, kind="jax")


def test_keys_are_found_in_little_memory():
    keys = [f"folder/{number * 7919 % 20_000:06d}.png" for number in range(20_000)]
    columns = {"key": keys, "offset": range(20_000), "length": range(20_000), "same_as": [None] * 20_000}
    index = Index(pa.table(columns, schema=INDEX))
    tracemalloc.start()
    try:
        found = [index.row_of(key) for key in (keys[0], keys[12_345], keys[-1], "folder/020000.png")]
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert found == [0, 12_345, 19_999, None]
    assert kept < 20 * len(keys)  # a hash and a row number each


def test_rows_say_what_is_known_of_a_picture(packed: Path):
    dataset = archive.Dataset(packed)
    row = dataset.row("set0/0000.png")
    assert (row["width"], row["height"], row["status"]) == (24, 24, "encoded")
    assert dataset.row(dataset.keys().index("set2/0029.png"))["key"] == "set2/0029.png"
    assert dataset.payload(0) == archive.Archive(packed).payload(0)


def test_batches_are_stacked_pictures(packed: Path):
    dataset = archive.Dataset(packed, threads=2)
    batch = dataset.batch([4, "set0/0000.png", -2])
    assert batch.shape == (3, 3, 24, 24)
    assert np.array_equal(batch[1], expected(packed, "set0/0000.png"))
    rows = archive.Dataset(packed, layout="hwc").batch([4])
    assert np.array_equal(rows[0].transpose(2, 0, 1), batch[0])


def test_a_transform_is_applied(packed: Path):
    dataset = archive.Dataset(packed, transform=lambda picture: picture.mean())
    assert dataset[3] == pytest.approx(expected(packed, 3).mean())


def _mean(dataset: archive.Dataset, number: int) -> float:
    return float(dataset[number].mean())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_it(packed: Path, method: str):
    dataset = archive.Dataset(packed)
    here = [_mean(dataset, number) for number in (1, 2)]  # the decoder is loaded before the fork
    with multiprocessing.get_context(method).Pool(1) as pool:
        there = pool.starmap_async(_mean, [(dataset, 1), (dataset, 2)]).get(timeout=60)
    assert there == here


def test_it_can_be_pickled(packed: Path):
    dataset = archive.Dataset(packed)
    _ = dataset[0]
    assert np.array_equal(pickle.loads(pickle.dumps(dataset))[5], dataset[5])


@pytest.mark.slow
def test_torch_loads_batches_in_workers(packed: Path):
    torch = pytest.importorskip("torch", reason="tensors need torch")
    dataset = archive.Dataset(packed, kind="torch")
    assert dataset[0].dtype == torch.uint8
    loader = torch.utils.data.DataLoader(dataset, batch_size=8, num_workers=2)
    batches = list(loader)
    assert [len(batch) for batch in batches] == [8, 8, 8, 7]
    assert torch.equal(batches[0][1], dataset[1])
