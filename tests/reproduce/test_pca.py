"""PCA as a codec: the best linear map to so many numbers, and its files."""

import numpy as np
import pytest
from decant.errors import DecantError
from decant_bench.common import metrics
from decant_bench.common.baselines import Setting, register
from decant_reproduce.digits import pca
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    grey = (load_digits().images * 15).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3)


def test_it_is_scikit_learns(digits):
    flat = digits.reshape(len(digits), -1)
    other = PCA(10).fit(flat)
    expected = other.inverse_transform(other.transform(flat))
    found = pca.fit(digits, 10)
    decoded = found.decode(found.encode(digits)).reshape(len(digits), -1)
    assert np.abs(decoded - np.clip(np.rint(expected), 0, 255)).max() <= 1


def test_all_components_give_the_pictures_back(digits):
    few = digits[:, :4, :4]
    found = pca.fit(few, 48)
    assert np.array_equal(found.decode(found.encode(few)), few)


def test_it_is_fitted_on_others_than_it_is_used_on(digits):
    found = pca.fit(digits[:1000], 16)
    assert found.decoder_bytes == 4 * 192 * 17
    known, unknown = (
        np.mean([metrics.psnr(a, b) for a, b in zip(part, found.decode(found.encode(part)), strict=True)])
        for part in (digits[:1000], digits[1000:])
    )
    assert 18 < unknown < known


def test_files_of_more_bits_are_larger_and_closer(digits):
    codec = pca.PcaCodec(pca.fit(digits, 28))
    files = [codec.encode(digits[5], bits) for bits in (2, 4, 8)]
    assert [len(data) for data in files] == [1 + 7, 1 + 14, 1 + 28]
    psnr = [metrics.psnr(digits[5], codec.decode(data)) for data in files]
    assert psnr == sorted(psnr)
    whole = codec.pca.decode(codec.pca.encode(digits[5:6]))[0]
    assert psnr[-1] == pytest.approx(metrics.psnr(digits[5], whole), abs=0.2)


def test_it_can_be_registered_as_any_codec(digits, monkeypatch):
    monkeypatch.setattr("decant_bench.common.baselines.CODECS", {})
    codec = pca.PcaCodec(pca.fit(digits, 12))
    register(codec, "b")
    one = Setting("pca-12", 8)
    assert one.label == "pca-12-b8"
    assert one.decoder()(one.encode(digits[0])).shape == (8, 8, 3)


def test_what_does_not_fit_is_refused(digits):
    with pytest.raises(DecantError, match="65 components"):
        pca.fit(digits[:64], 65)
    codec = pca.PcaCodec(pca.fit(digits, 12))
    with pytest.raises(DecantError, match="takes"):
        codec.encode(digits[0, :4], 8)
    for damaged in (b"", b"\x00", b"\x11", codec.encode(digits[0], 8)[:-1]):
        with pytest.raises(DecantError):
            codec.decode(damaged)
