"""Optimizers: coordinates, Muon, clipping."""

import pytest
import torch
from decant_train.common.optimizers import Clip, MuonAdam, Scaled, Whitened, orthogonal


def test_the_optimizer_moves_coefficients_in_their_own_coordinates() -> None:
    basis = torch.randn(3, 3)
    for coordinates in (Whitened(basis), Scaled(torch.rand(3, 1, 1) + 0.5)):
        weight = torch.nn.Parameter(torch.randn(2, 3, 2, 2))
        coefficients = torch.nn.Parameter(torch.zeros(2, 3, 2, 2))
        fixed, wanted = weight.detach().clone(), torch.randn(2, 3, 2, 2)
        ours = MuonAdam([{"params": [weight]}], 0.01, {weight: coordinates})
        theirs = torch.optim.Adam([coefficients], 0.01, betas=(0.9, 0.99))
        for _ in range(4):
            for optimizer, value in ((ours, weight), (theirs, fixed + coordinates.change(coefficients))):
                optimizer.zero_grad()
                ((value - wanted) ** 2).sum().backward()
                optimizer.step()
        torch.testing.assert_close(weight, fixed + coordinates.change(coefficients))


def test_without_muon_the_optimizer_is_adam() -> None:
    start = torch.randn(6, 5)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizers = MuonAdam([{"params": [ours]}], 0.01), torch.optim.Adam([theirs], 0.01, betas=(0.9, 0.99))
    for _ in range(5):
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = torch.cos(parameter.detach() * 3)
            optimizer.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (12, 12)])
def test_muon_steps_are_nearly_orthogonal(shape: tuple[int, int]) -> None:
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)).float())
    assert values.min() > 0.4
    assert values.max() < 1.4


def test_unusual_gradients_are_cut_and_those_without_sense_skipped() -> None:
    weight, clip = torch.nn.Parameter(torch.zeros(4)), Clip(most=10, unusual=2)

    def norm_after(value: float) -> float:
        weight.grad = torch.tensor([value, 0.0, 0.0, 0.0])
        assert clip([weight])
        return float(weight.grad.norm())

    assert norm_after(30) == pytest.approx(10)
    for _ in range(400):
        assert norm_after(1) == pytest.approx(1)
    assert norm_after(100) == pytest.approx(2, rel=0.1)
    assert clip.take_cut() == 2
    weight.grad = torch.tensor([torch.nan, 0.0, 0.0, 0.0])
    assert not clip([weight])
    assert (clip.usual, clip.take_cut()) == (pytest.approx(1, rel=0.1), 0)
