"""SOAP (Vyas et al. 2024, arXiv 2409.11321): Adam in the eigenbasis of Shampoo's preconditioner.

A weight's gradient (out, in, ...) has two covariances, of its outputs and of its inputs. Adam's second
moments are kept in their eigenvectors, where the gradient's values are nearly uncorrelated; the momentum
stays in the weight's own coordinates. Eigenvectors follow by one step of orthogonal iteration every few
updates.

As ``MuonAdam``, its steps have the size of Adam's. A kernel's positions are not rotated, and a side of more
than ``MOST`` values is not.
"""

from typing import Any

import torch
from torch import Tensor

MOST = 1024  # values of a side that gets a basis
EVERY = 10  # updates between which the basis stays
BETAS, COVARIANCE_BETA = (0.95, 0.95), 0.95
LEAST = 1e-8
SIDES = ("out", "in")


@torch.no_grad()
def update(p: Tensor, gradient: Tensor, state: dict[str, Any], rate: float) -> None:
    """Move ``p`` (out, in, ...) by one step of the learning rate ``rate`` against ``gradient``. ``state`` is
    empty at first; the first update only measures the basis.
    """
    matrix = gradient.reshape(gradient.shape[0], gradient.shape[1], -1).float()
    first = not state
    if first:
        state["step"] = torch.zeros((), device=p.device)
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(matrix), torch.zeros_like(matrix)
    for axis, side in enumerate(SIDES):
        if matrix.shape[axis] <= MOST:
            _follow(state, side, matrix, axis, first)
    state["step"] += 1
    if first:
        return
    count = float(state["step"]) - 1
    average, square = state["exp_avg"], state["exp_avg_sq"]
    average.lerp_(matrix, 1 - BETAS[0])
    rotated = _rotated(matrix, state, back=False)
    square.lerp_(rotated.square(), 1 - BETAS[1])
    direction = _rotated(average, state, back=False) / (
        square.sqrt() + LEAST * (1 - BETAS[1] ** count) ** 0.5
    )
    size = (1 - BETAS[1] ** count) ** 0.5 / (1 - BETAS[0] ** count)
    p.sub_(_rotated(direction, state, back=True).reshape(p.shape).to(p.dtype), alpha=rate * size)
    if count % EVERY == 0:
        _turn(state)


def _follow(state: dict[str, Any], side: str, matrix: Tensor, axis: int, first: bool) -> None:
    """Take the covariance of one side of ``matrix`` (out, in, k) into its running mean."""
    rows = matrix.transpose(0, axis).flatten(1)
    covariance = rows @ rows.T
    if first:
        state[f"covariance_{side}"] = covariance
        state[f"basis_{side}"] = torch.linalg.eigh(covariance)[1].flip(1).contiguous()
    else:
        state[f"covariance_{side}"].lerp_(covariance, 1 - COVARIANCE_BETA)


def _rotated(matrix: Tensor, state: dict[str, Any], *, back: bool) -> Tensor:
    """(out, in, k) in the eigenvectors of both sides, or ``back`` from there."""
    for axis, side in enumerate(SIDES):
        if (basis := state.get(f"basis_{side}")) is not None:
            turn = basis if back else basis.T
            moved = matrix.transpose(0, axis)
            moved = (turn @ moved.flatten(1)).reshape(moved.shape)
            matrix = moved.transpose(0, axis)
    return matrix


def _turn(state: dict[str, Any]) -> None:
    """Let the eigenvectors follow the covariances: one step of orthogonal iteration, the largest first;
    second moments keep their place in that order.
    """
    for axis, side in enumerate(SIDES):
        if (basis := state.get(f"basis_{side}")) is None:
            continue
        covariance = state[f"covariance_{side}"]
        order = (basis * (covariance @ basis)).sum(0).argsort(descending=True)
        state["exp_avg_sq"] = state["exp_avg_sq"].index_select(axis, order)
        turned, _ = torch.linalg.qr(covariance @ basis[:, order])
        state[f"basis_{side}"] = turned
