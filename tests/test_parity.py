"""PyTorch = numpy = C: the three implementations of the codec's entropy model agree on one exported codec.

Done with a change of the codec? This file, and the wider tests that CONTRIBUTING.md lists.
"""

import copy
from pathlib import Path

import codec_bundle
import numpy as np
import pytest
import torch
from decant.bundles.bundle import Bundle
from decant.codec.entropy import native
from decant.codec.layout import GridLayout
from decant_export.families.codec import float_graphs, tables
from decant_train.codec.config import SCALE_COUNT
from decant_train.codec.model import Codec
from decant_train.data import wheel_photos

QUALITY, SIDE = 60, 128


@pytest.fixture(scope="module")
def model() -> Codec:
    """PyTorch: the codec that the bundle ``codec`` was exported from, with the weights of its files."""
    trained = codec_bundle.checkpoint().model
    assert isinstance(trained, Codec)
    return float_graphs.settled(trained)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return wheel_photos.crops(2, SIDE)[1]


@pytest.fixture(scope="module")
def layout(codec: Path) -> GridLayout:
    opened = Bundle.open(codec).layout
    assert isinstance(opened, GridLayout)
    return opened


def in_numpy(layout: GridLayout) -> GridLayout:
    plain = copy.copy(layout)
    plain.native = None
    return plain


def test_pytorch_and_numpy_give_the_same_scale_indices_and_means(
    model: Codec, picture: np.ndarray, layout: GridLayout
) -> None:
    (latents,) = tables.latents_of(model, [picture])
    z, mean, indices, symbols = tables.symbols_of(model, in_numpy(layout), latents, QUALITY)
    row, prior = layout.quality(QUALITY), model.hyperprior
    with torch.no_grad():
        coded, gain = torch.from_numpy(symbols).float()[None], torch.from_numpy(row.gain)[None, :, None, None]
        z_hat = torch.from_numpy(row.scaled(z) / 16).float()[None]
        offset = torch.from_numpy(row.scale_offset / 1024).float()[None]
        trained = prior.scale_indices(z_hat, offset, coded)[0].floor().clamp(0, SCALE_COUNT - 1).numpy()
        means = prior.means(prior.mean(z_hat), coded, gain)[0].numpy()
    assert len(np.unique(indices)) > 4
    # PyTorch rounds ties to even, the decoder rounds them up: an index may differ by one.
    assert (trained == indices).mean() > 0.99
    assert np.abs(trained - indices).max() <= 1
    np.testing.assert_allclose(mean, means, atol=1e-3)


@pytest.mark.skipif(not native.available(), reason="the C kernels were not built")
def test_numpy_and_c_decode_the_same_symbols_and_means(
    model: Codec, picture: np.ndarray, layout: GridLayout
) -> None:
    (latents,) = tables.latents_of(model, [picture])
    z, _, indices, symbols = tables.symbols_of(model, in_numpy(layout), latents, QUALITY)
    row, shape = layout.quality(QUALITY), layout.grid(SIDE, SIDE)
    payload = layout.write(layout.encode_hyper(z, row), [layout.encode_tile(symbols, indices)])
    decoded = []
    for one in (layout, in_numpy(layout)):
        parsed = one.parse(payload, SIDE, SIDE, "parity")
        assert np.array_equal(one.decode_hyper(parsed, shape, row, "parity"), z)
        decoded.append(one.decode_tile(parsed, 0, row.scaled(z), shape, row, "parity"))
    assert layout.native is not None
    (in_c, means_in_c), (plain, means) = decoded
    assert np.array_equal(in_c, plain)
    assert np.array_equal(in_c, symbols)
    np.testing.assert_allclose(means_in_c, means, rtol=1e-4, atol=1e-5 * (1 + np.abs(means).max()))
