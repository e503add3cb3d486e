"""Limits of mixed latents: what loses in int8 goes to the float branch, photographs hardly do."""

import numpy as np
from decant_export.families.codec.channel_copies import EVEN, Copies, neighbours
from decant_export.families.codec.limits import LEAST, MARGIN, Limits, lowered, reached

CHANNELS = 4
OPEN = Limits.of(np.full(2 * CHANNELS, 2.0))


def windows(count: int, seed: int) -> np.ndarray:
    """What photographs reach: float32 (count, 2 CHANNELS), all below 1."""
    return np.random.default_rng(seed).uniform(0.1, 0.9, (count, 2 * CHANNELS)).astype(np.float32)


def test_what_a_window_reaches_is_counted_from_zero_on_both_sides():
    random = np.random.default_rng(1)
    samples = random.standard_normal((CHANNELS, 200)).astype(np.float32)
    copies = Copies.of(samples, np.eye(CHANNELS), 2, neighbours(np.ones(CHANNELS), 4))
    latents = random.standard_normal((1, CHANNELS, 3, 5)).astype(np.float32)
    mixed = np.einsum("kc,chw->khw", copies.matrix()[:CHANNELS], latents[0])
    mixed += copies.shift[:CHANNELS, None, None]
    (found,) = reached(copies, [latents])
    assert np.allclose(found, np.concatenate([mixed.max((1, 2)), -mixed.min((1, 2))]), atol=1e-5)
    assert np.abs(copies.shift).max() <= EVEN.step


def test_wrong_windows_go_where_no_photograph_is():
    photos, wrong = windows(50, 2), windows(3, 3)
    wrong[0, 5] = wrong[1, 5] = 1.4
    wrong[2, 1] = 1.2
    limits = lowered(OPEN, wrong, photos)
    assert limits.beyond(wrong).all()
    assert not limits.beyond(photos).any()
    assert np.isclose(limits.lower[1], 1.4 * (1 - MARGIN))
    assert np.isclose(limits.upper[1], 1.2 * (1 - MARGIN))
    assert (limits.both == 2).sum() == 2 * CHANNELS - 2


def test_a_wrong_window_among_photographs_costs_as_few_as_can_be():
    photos = windows(200, 4)
    wrong = np.full((1, 2 * CHANNELS), 0.05, np.float32)
    wrong[0, 2], wrong[0, 6] = 0.92, 0.94
    limits = lowered(OPEN, wrong, photos)
    lower = (1 - MARGIN) * wrong[0]
    costs = {channel: int((photos[:, channel] > lower[channel]).sum()) for channel in (2, 6)}
    assert limits.beyond(wrong).all()
    assert int(limits.beyond(photos).sum()) == min(costs.values())


def test_a_window_like_many_photographs_stays_in_int8():
    wrong = np.full((1, 2 * CHANNELS), 0.5, np.float32)
    assert np.array_equal(lowered(OPEN, wrong, windows(200, 6)).both, OPEN.both)


def test_what_the_gate_refuses_goes_to_the_float_branch_at_any_price():
    photos = windows(200, 6)
    limits = lowered(OPEN, np.repeat(photos[:1], 2, 0), photos, refused=1)
    assert limits.beyond(photos[:1]).all()


def test_limits_stay_above_what_every_picture_reaches():
    wrong = np.full((1, 2 * CHANNELS), LEAST / 2, np.float32)
    assert np.array_equal(lowered(OPEN, wrong, windows(9, 5)).both, OPEN.both)
