"""Rate in bits: probabilities, gradients, scale indices."""

import pytest
import torch
from decant_train.codec.config import RATE_POINTS, SCALE_COUNT, CodecConfig
from decant_train.codec.entropy_model import index_of_scale, scale_of_index
from decant_train.codec.rate import interpolated_lambdas, rate, symbol_bits


def test_symbol_probabilities_sum_to_one_and_keep_a_gradient_in_the_tails() -> None:
    symbols = torch.arange(-4000, 4001).float()
    for scale in (0.11, 1.0, 20.0):
        mass = torch.exp2(-symbol_bits(symbols, torch.tensor(scale)))
        assert float(mass.sum()) == pytest.approx(1, abs=1e-3)
    scale = torch.tensor(0.2, requires_grad=True)
    symbol_bits(torch.tensor(9.0), scale).backward()
    assert scale.grad is not None
    assert scale.grad < 0  # a larger scale would cost less


def test_the_rate_counts_symbols_and_has_the_gradient_of_noise_on_average() -> None:
    torch.manual_seed(0)
    x = torch.tensor([0.0, 0.2, -0.6, 1.4, -7.3], requires_grad=True)
    scale = torch.tensor([0.3, 0.15, 0.7, 2.0, 5.0], requires_grad=True)
    bits = rate(x, x.round(), scale)
    assert torch.equal(bits, symbol_bits(x.round(), scale))
    slope, of_scale = torch.autograd.grad(bits.sum(), (x, scale))
    noisy = x + torch.rand(100_000, 5) - 0.5
    (expected,) = torch.autograd.grad(symbol_bits(noisy, scale).mean(0).sum(), x)
    torch.testing.assert_close(slope, expected, atol=0.05, rtol=0.05)
    (exact,) = torch.autograd.grad(symbol_bits(x.round().detach(), scale).sum(), scale)
    assert torch.equal(of_scale, exact)


@pytest.mark.parametrize("highest", [0.35, 1.0])
def test_lambdas_rise_by_equal_factors_to_the_highest(highest: float) -> None:
    config = CodecConfig(highest_lambda=highest)
    assert config.lambdas[0] == 0.0009
    assert config.lambdas[-1] == pytest.approx(highest)
    found = interpolated_lambdas(config, torch.arange(RATE_POINTS).float())
    torch.testing.assert_close(found, torch.tensor(config.lambdas))
    between = interpolated_lambdas(config, torch.tensor([0.5, 1.0, 1.5]))
    assert float(between[1] ** 2) == pytest.approx(float(between[0] * between[2]))


def test_a_range_of_lambdas_without_extent_is_refused() -> None:
    with pytest.raises(ValueError, match="highest_lambda"):
        CodecConfig(highest_lambda=0.0009)


def test_scale_indices_invert() -> None:
    index = torch.linspace(0, SCALE_COUNT - 1, 50)
    torch.testing.assert_close(index_of_scale(scale_of_index(index)), index, atol=1e-4, rtol=1e-4)
