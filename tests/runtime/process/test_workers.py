"""Workers that share threads, and pictures one by one for more files than memory holds."""

import threading

import numpy as np
import pytest
from decant.decoder import Decoder
from decant.errors import FormatError
from decant.process.workers import in_order, share_of


def test_outside_of_workers_all_threads_are_there():
    assert (share_of(1), share_of(8)) == (1, 8)


def test_items_that_are_worked_on_at_a_time_share_the_threads():
    together = threading.Barrier(4)

    def work(item):
        together.wait(30)
        found = share_of(8), share_of(2), share_of(1)
        together.wait(30)
        return found

    assert list(in_order(work, range(8), 4)) == [(2, 1, 1)] * 8
    assert share_of(8) == 8


def test_an_item_alone_has_all_threads():
    assert list(in_order(lambda _: share_of(2), [0], 2)) == [2]


def test_pictures_come_one_by_one_as_decode_makes_them(codec):
    decoder = Decoder(codec, threads=2)
    files = [path.read_bytes() for path in sorted((codec / "golden").glob("*.dcn"))]
    taken = []

    def endless():
        for number in range(10_000):
            taken.append(number)
            yield files[number % len(files)]

    pictures = decoder.decode_iter(endless())
    for number in range(3 * len(files)):
        assert np.array_equal(next(pictures), decoder.decode(files[number % len(files)]))
    assert len(taken) < 100  # a few ahead, not all
    pictures.close()
    assert [p.shape for p in Decoder(codec, threads=1).decode_iter(files)] == [
        decoder.decode(data).shape for data in files
    ]


def test_a_damaged_file_fails_at_its_picture(codec):
    decoder = Decoder(codec, threads=2)
    good = next((codec / "golden").glob("*.dcn")).read_bytes()
    pictures = decoder.decode_iter([good, good, b"nothing"])
    next(pictures)
    next(pictures)
    with pytest.raises(FormatError, match="<bytes 2>"):
        next(pictures)
