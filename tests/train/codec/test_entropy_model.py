"""Entropy model: channel groups, checkerboard contexts, channel-conditional means, parts of a codec."""

from dataclasses import replace

import pytest
import torch
from decant_train.codec.config import LEAK
from decant_train.codec.entropy_model import anchor_positions
from decant_train.codec.layers import Rectifier
from decant_train.codec.model import Codec, part
from small_codecs import TINY, small_codec


def test_a_part_decodes_as_it_was_trained() -> None:
    model = small_codec(beside=("nano",)).eval()
    light = part(model, "nano")
    pictures, rate_point = torch.rand(2, 3, 64, 64), torch.tensor([1.0, 5.0])
    with torch.no_grad():
        _, _, both = model(pictures, rate_point)
        _, _, alone = light(pictures, rate_point)
    assert both.shape == (2, 2)
    assert torch.allclose(both[1], alone[0])
    with pytest.raises(ValueError, match="no synthesis 'nano' was trained beside"):
        part(light, "nano")
    with pytest.raises(ValueError, match="no size huge"):
        small_codec(beside=("huge",))


def test_rectifiers_keep_a_gradient_in_training_only() -> None:
    relu = Rectifier()
    for training, slope in ((True, LEAK), (False, 0.0)):
        relu.train(training)
        x = torch.tensor([-2.0, 3.0], requires_grad=True)
        made = relu(x)
        made.sum().backward()
        assert made.tolist() == [0, 3]
        assert x.grad is not None
        assert x.grad.tolist() == pytest.approx([slope, 1])


@pytest.mark.parametrize(("checkerboard_groups", "mixed"), [(1, 0), (2, 0), (2, 5), (3, 0)])
def test_a_channel_group_sees_the_symbols_of_those_before_it(checkerboard_groups: int, mixed: int) -> None:
    model = small_codec(
        channel_groups=(4, 4, 8), checkerboard_groups=checkerboard_groups, mixed_width=mixed
    ).eval()
    prior, z, offset = model.hyperprior, torch.randn(1, 4, 2, 2).round(), torch.full((1, 16), 16.0)
    for context in (*prior.contexts, *prior.checkerboard_contexts):
        torch.nn.init.normal_(context.out.weight)
    symbols = torch.randint(-9, 9, (1, 16, 8, 8)).float()
    anchors = anchor_positions(symbols)
    assert anchors[3, 3]
    with torch.no_grad():
        classes = prior.scale_indices(z, offset, symbols)
        for i, own in enumerate(prior.channels()):
            for rate_point in ((3, 3), (3, 4)):  # of the first anchors and of the second
                other = symbols.clone()
                other[:, own.start + 1, *rate_point] = 200
                moved = (prior.scale_indices(z, offset, other) != classes)[0]
                assert not moved[: own.start].any()
                assert not moved[own][:, anchors].any()
                assert moved[own].any() == (i < checkerboard_groups and rate_point == (3, 3))
                assert own.stop == 16 or moved[own.stop :, *rate_point].any()
                assert not moved[:, 0, 0].any()
    assert torch.equal(classes * 1024, (classes * 1024).round())  # integers, as in the decoder


def test_scale_indices_mix_what_hyperlatents_and_symbols_say() -> None:
    prior = small_codec(channel_groups=(4, 12), mixed_width=5).eval().hyperprior
    torch.nn.init.normal_(prior.contexts[0].out.weight)
    seen, below = torch.rand(1, 4, 8, 8).mul(64).round() / 16, torch.rand(1, 4, 4, 4).mul(64).round() / 16
    with torch.no_grad():
        added = prior.contexts[0](seen, below)
        apart = prior.contexts[0](seen, 0 * below) + prior.contexts[0](0 * seen, below)
        assert (added != apart - prior.contexts[0](0 * seen, 0 * below)).any()
        other = below.clone()
        other[:, :, 1, 2] += 1
        moved = (prior.contexts[0](seen, other) != added).any(1)[0].nonzero().tolist()
    assert set(map(tuple, moved)) <= {(2, 4), (2, 5), (3, 4), (3, 5)}
    assert moved


def test_means_at_non_anchors_follow_from_the_anchors_around() -> None:
    prior = small_codec(channel_groups=(4, 12), checkerboard_groups=2).eval().hyperprior
    torch.nn.init.normal_(prior.checkerboard_means[1].out.weight)
    symbols, gain = torch.randint(-9, 9, (1, 12, 8, 8)).float(), torch.rand(1, 12, 1, 1) + 0.5
    anchors = anchor_positions(symbols)
    with torch.no_grad():
        added = prior.checkerboard_mean_of(1, symbols, gain)
        assert not added[..., anchors].any()
        assert torch.equal(added, prior.checkerboard_mean_of(1, symbols * anchors, gain))
        other = symbols.clone()
        other[:, 2, 3, 3] += 5
        moved = (prior.checkerboard_mean_of(1, other, gain) != added).any(1)[0]
    places = {(y, x) for y, x in moved.nonzero().tolist()}
    assert places == {(2, 3), (4, 3), (3, 2), (3, 4)}


def test_means_after_the_first_group_follow_from_its_symbols() -> None:
    model = Codec(TINY).eval()
    prior, first, end = (
        model.hyperprior,
        TINY.channel_groups[0],
        TINY.channel_groups[0] + TINY.predicted_channels,
    )
    assert prior.prediction is not None
    torch.nn.init.normal_(prior.prediction.weight)
    torch.nn.init.normal_(prior.checkerboard_means[0].out.weight)
    y, mean = 3 * torch.randn(1, TINY.latents, 8, 8), torch.zeros(1, TINY.latents, 8, 8)
    gain = torch.full((1, TINY.latents, 1, 1), 2.0)
    with torch.no_grad():
        symbols = model.rounded(y, mean, gain)
        means = prior.means(mean, symbols, gain)
        changed = symbols.clone()
        changed[0, first - 1, 4, 4] += 1
        moved = prior.means(mean, changed, gain) != means
    assert ((y - means) * gain - symbols).abs().max() <= 0.5 + 1e-4
    where = moved[0, first:end].any(0).nonzero().tolist()
    assert where == [[row, column] for row in (3, 4, 5) for column in (3, 4, 5)]
    assert not moved[0, end:].any()
    with pytest.raises(ValueError, match="predicted_channels is 57; 56 latents come after the first group"):
        replace(TINY, predicted_channels=57)


def test_means_follow_from_the_groups_before() -> None:
    model = small_codec(
        channel_groups=(4, 4, 8), checkerboard_groups=2, predicted_channels=12, prediction_inputs=8
    ).eval()
    prior = model.hyperprior
    assert prior.prediction is not None
    torch.nn.init.normal_(prior.prediction.weight)
    for near in prior.checkerboard_means:
        torch.nn.init.normal_(near.out.weight)
    y, mean, gain = 3 * torch.randn(1, 16, 8, 8), torch.zeros(1, 16, 8, 8), torch.full((1, 16, 1, 1), 2.0)
    with torch.no_grad():
        symbols = model.rounded(y, mean, gain)
        means = prior.means(mean, symbols, gain)
        assert ((y - means) * gain - symbols).abs().max() <= 0.5 + 1e-4  # all parts are settled
        for channel, own in ((1, slice(0, 4)), (5, slice(4, 8))):
            other = symbols.clone()
            other[0, channel, 3, 3] += 4
            moved = (prior.means(mean, other, gain) != means)[0]
            assert not moved[: own.start].any()
            assert moved[own].any(0).nonzero().tolist() == [[2, 3], [3, 2], [3, 4], [4, 3]]
            where = moved[own.stop :].any(0).nonzero().tolist()
            assert where == [[row, column] for row in (2, 3, 4) for column in (2, 3, 4)]
        for stage, channels in enumerate(prior.channels()[1:], 1):  # as an encoder asks for them
            known = slice(0, min(channels.start, 8))
            single = prior.predicted(symbols[:, known], gain[:, known], stage)
            every = prior.predicted(symbols[:, :8], gain[:, :8])
            assert torch.allclose(single, every[:, channels.start - 4 : channels.stop - 4], atol=1e-5)
    with pytest.raises(ValueError, match="checkerboard_groups is 4; there are 3 channel groups"):
        replace(model.config, checkerboard_groups=4)
    with pytest.raises(ValueError, match="prediction_inputs is 17; there are 16 latents"):
        replace(model.config, prediction_inputs=17)


def test_channel_groups_must_add_up() -> None:
    with pytest.raises(ValueError, match="do not add up to 16 latents"):
        small_codec(channel_groups=(4, 8))
