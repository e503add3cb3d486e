"""A bundle measured with kernels of the runtime native that are named."""

import os

import pytest
from decant.bundles.bundle import find_bundle
from decant_bench.rate_distortion import measure as rd

pytest.importorskip("decant._libdcn", reason="the runtime native is not built here")


@pytest.fixture(scope="module")
def nano():
    return find_bundle("nano")


def test_each_set_of_kernels_has_a_row(nano, monkeypatch):
    monkeypatch.delenv("DCN_KERNELS", raising=False)
    options = rd.Options(against=(), precisions=("int16", "int16@portable"))
    (plain, portable), refused = rd.enter([nano], options)
    assert not refused
    assert (plain.label, portable.label) == ("nano int16", "nano int16 portable")
    assert portable.facts["device_name"] == "portable kernels"
    assert plain.files == portable.files  # both decode the same bytes
    assert "DCN_KERNELS" not in os.environ


def test_kernels_that_the_processor_lacks_are_refused_in_their_row(nano):
    found, refused = rd.enter([nano], rd.Options(against=("jpeg",), precisions=("int16@altivec",)))
    assert [one.label for one in found] == ["jpeg"]
    assert "not altivec" in refused[0]["refused"]
