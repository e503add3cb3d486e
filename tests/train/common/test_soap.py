"""SOAP: its basis, its steps, and its place in the optimizer."""

from typing import Any

import pytest
import torch
from decant_train.common import soap
from decant_train.common.optimizers import MuonAdam
from torch import nn


def lost(how: dict[str, bool], steps: int = 300, rate: float = 0.05) -> float:
    """What is left of the error of weights that learn from noisy batches of strongly correlated inputs."""
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(24, 24))[0] * torch.logspace(-1.5, 0, 24)
    target = torch.randn(16, 24)
    weight = nn.Parameter(torch.zeros(16, 24, 1, 1))
    optimizer = MuonAdam([{"params": [weight], **how}], rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        inputs = torch.randn(64, 24) @ basis.T
        optimizer.zero_grad()
        (inputs @ (weight.flatten(1) - target).T).square().mean().backward()
        optimizer.step()
    return float(((weight.detach().flatten(1) - target) @ basis).square().mean())


def test_it_goes_farther_than_adam_where_inputs_are_correlated() -> None:
    assert lost({"soap": True}) < 0.5 * lost({})


def test_steps_do_not_depend_on_the_coordinates_of_the_inputs() -> None:
    """Gradients seen through a rotation move the weight by the rotated steps, as Adam's would not."""
    torch.manual_seed(2)
    turn = torch.linalg.qr(torch.randn(6, 6))[0]
    plain, turned = torch.zeros(4, 6, 3, 3), torch.zeros(4, 6, 3, 3)
    states: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    scale = torch.logspace(0, -2, 6)[:, None, None]
    for _ in range(12):
        gradient = torch.randn(4, 6, 3, 3) * scale
        soap.update(plain, gradient, states[0], 0.01)
        soap.update(turned, torch.einsum("ij,ojhw->oihw", turn, gradient), states[1], 0.01)
    torch.testing.assert_close(torch.einsum("ij,ojhw->oihw", turn, plain), turned, atol=2e-4, rtol=1e-3)


def test_the_basis_follows_the_gradients_and_stays_orthonormal() -> None:
    torch.manual_seed(3)
    state: dict[str, Any] = {}
    weight = torch.zeros(5, 7, 1, 1)
    mixing = torch.linalg.qr(torch.randn(7, 7))[0] * torch.logspace(0, -3, 7)
    for _ in range(120):
        soap.update(weight, (torch.randn(5, 7) @ mixing.T)[:, :, None, None], state, 0.0)
    basis, covariance = state["basis_in"], mixing @ mixing.T
    torch.testing.assert_close(basis.T @ basis, torch.eye(7), atol=1e-5, rtol=0)
    rotated = basis.T @ covariance @ basis
    assert float((rotated - rotated.diag().diag()).norm()) < 0.2 * float(rotated.norm())


def test_long_sides_are_not_rotated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soap, "MOST", 6)
    state: dict[str, Any] = {}
    weight = torch.zeros(5, 7, 3, 3)
    for _ in range(3):
        soap.update(weight, torch.randn(5, 7, 3, 3), state, 0.01)
    assert "basis_out" in state
    assert "basis_in" not in state
    assert float(weight.abs().max()) > 0
