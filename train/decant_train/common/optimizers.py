"""Adam for most parameters, Muon for the matrices of convolutions.

Muon (Jordan et al. 2024) moves a weight matrix by its momentum's nearest orthogonal matrix, found by five
Newton-Schulz iterations; the step is scaled to the root mean square of an Adam step (Liu et al. 2025), so
that both share one learning rate. torch.optim.Muon takes matrices only; a convolution's weight is one here,
(out, in * k * k).

Both move a weight alike in all its inputs, which serves inputs of like deviations that are not correlated.
``Coordinates`` give a weight such inputs: it is moved as the coefficients of whitened or scaled ones.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, overload

import torch
from torch import Tensor, nn
from torch.optim import Adam

from decant_train.common import budget, soap

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024
ITERATIONS = 5


class Coordinates(Protocol):
    """A linear change of a weight's coordinates: weight = ``change``(coefficients)."""

    def change(self, coefficients: Tensor) -> Tensor: ...

    def gradient(self, gradient: Tensor) -> Tensor:
        """The gradient of the coefficients, from the weight's."""
        ...

    def to(self, device: torch.device) -> "Coordinates": ...


class Clip:
    """Clips gradients to a norm of at most ``most``, and of ``unusual`` times the usual norm.

    The usual norm is a running mean over about ``over`` steps. It takes norms after clipping, so that a few
    outliers do not raise it.
    """

    def __init__(self, most: float, unusual: float, over: int = 100) -> None:
        self.most, self.unusual, self.over = most, unusual, over
        self.usual, self._seen, self._cut = 0.0, 0, 0

    def __call__(self, parameters: Iterable[nn.Parameter]) -> bool:
        """Cut the gradients of ``parameters``; whether they are finite: a step without sense is to be
        skipped, not followed.
        """
        limit = min(self.most, self.unusual * self.usual) if self._seen else self.most
        norm = float(nn.utils.clip_grad_norm_(parameters, limit))
        if not math.isfinite(norm):
            return False
        self._seen += 1
        self._cut += norm > limit
        self.usual += (min(norm, limit) - self.usual) / min(self._seen, self.over)
        return True

    def take_cut(self) -> int:
        """How many gradients were cut since this was last asked."""
        cut, self._cut = self._cut, 0
        return cut


@dataclass(frozen=True)
class Scaled:
    """Each coefficient times its ``scale``, which has the weight's shape or broadcasts to it."""

    scale: Tensor

    def change(self, coefficients: Tensor) -> Tensor:
        return coefficients * self.scale

    def gradient(self, gradient: Tensor) -> Tensor:
        return gradient * self.scale

    def to(self, device: torch.device) -> "Scaled":
        return Scaled(self.scale.to(device))


@dataclass(frozen=True)
class Whitened:
    """Coefficients of inputs ``basis`` (c, c) @ x instead of the c inputs x of a convolution, which may be
    its channels or all that it sees.
    """

    basis: Tensor

    def change(self, coefficients: Tensor) -> Tensor:
        taken = coefficients.reshape(len(coefficients), len(self.basis), -1)
        return torch.einsum("oak,ac->ock", taken, self.basis).reshape(coefficients.shape)

    def gradient(self, gradient: Tensor) -> Tensor:
        taken = gradient.reshape(len(gradient), len(self.basis), -1)
        return torch.einsum("ock,ac->oak", taken, self.basis).reshape(gradient.shape)

    def to(self, device: torch.device) -> "Whitened":
        return Whitened(self.basis.to(device))


class MuonAdam(Adam):
    """One optimizer for both. A parameter group with ``muon=True`` holds parameters of at least two
    dimensions; it keeps no "exp_avg_sq". One with ``soap=True`` is moved by SOAP
    (``soap``). Parameters in ``coordinates`` are moved in those.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        coordinates: Mapping[Tensor, Coordinates] | None = None,
        betas: tuple[float, float] = (0.9, 0.99),
        momentum: float = 0.95,
    ) -> None:
        self.coordinates = {p: change.to(p.device) for p, change in (coordinates or {}).items()}
        super().__init__(groups, lr, betas=betas, fused=True)
        for group in self.param_groups:
            group.setdefault("muon", False)
            group.setdefault("soap", False)
            group["momentum"] = momentum

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step from the gradients; parameters without one stay."""
        if closure is not None:
            raise ValueError("MuonAdam takes no closure")
        moved = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        before = {p: p.clone() for p in moved if p in self.coordinates}
        for p in before:
            assert p.grad is not None
            # The fused Adam takes a gradient's memory as it lies.
            p.grad = self.coordinates[p].gradient(p.grad).contiguous()
            p.zero_()
        for group in self.param_groups:
            if not (group["muon"] or group["soap"]):
                continue
            for p in group["params"]:
                if p.grad is not None:
                    if group["muon"]:
                        self._muon(p, group)
                    else:
                        soap.update(p, p.grad, self.state[p], group["lr"])
                    p.grad = None  # not for Adam
        super().step()
        for p, weight in before.items():
            p.copy_(weight + self.coordinates[p].change(p))
        return None

    def _muon(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        assert p.grad is not None
        state, momentum = self.state[p], group["momentum"]
        if not state:  # "step" is what Adam expects of any state
            state["step"], state["exp_avg"] = torch.zeros((), device=p.device), torch.zeros_like(p)
        state["step"] += 1
        average = state["exp_avg"]
        average.lerp_(p.grad, 1 - momentum)
        direction = orthogonal(torch.lerp(p.grad, average, momentum).flatten(1))
        scale = 0.2 * max(direction.shape) ** 0.5
        p.sub_(direction.reshape(p.shape).to(p.dtype), alpha=group["lr"] * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix (a, b) with singular values moved near 1 (0.7 to 1.2), in bfloat16 where that is fast."""
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x.bfloat16() if budget.bfloat16_is_fast(x.device) else x.float()
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
