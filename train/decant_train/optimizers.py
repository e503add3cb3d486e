"""Adam for most parameters, Muon for the matrices of convolutions.

Muon (Jordan et al. 2024) moves a weight matrix by its momentum's nearest orthogonal matrix, found by five
Newton-Schulz iterations; the step is scaled to the root mean square of an Adam step (Liu et al. 2025), so
that both share one learning rate. torch.optim.Muon takes matrices only; a convolution's weight is one here,
(out, in * k * k).
"""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024
ITERATIONS = 5


class MuonAdam(Optimizer):
    """One optimizer for both. A parameter group with ``muon=True`` holds parameters of at least two
    dimensions. State has the names of torch's Adam ("step", "exp_avg", "exp_avg_sq"); Muon keeps "exp_avg"
    only.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        momentum: float = 0.95,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "momentum": momentum, "eps": eps, "muon": False})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step from the gradients; parameters without one stay."""
        if closure is not None:
            raise ValueError("MuonAdam takes no closure")
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["muon"]:
                for p in parameters:
                    self._muon(p, group)
            elif parameters:
                self._adam(parameters, group)
        return None

    def _muon(self, p: Tensor, group: dict[str, Any]) -> None:
        assert p.grad is not None
        state, momentum = self.state[p], group["momentum"]
        average = state.setdefault("exp_avg", torch.zeros_like(p))
        average.lerp_(p.grad, 1 - momentum)
        direction = orthogonal(torch.lerp(p.grad, average, momentum).flatten(1))
        scale = 0.2 * max(direction.shape) ** 0.5
        p.sub_(direction.reshape(p.shape).to(p.dtype), alpha=group["lr"] * scale)

    def _adam(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        for p in parameters:
            state = self.state[p]
            if not state:
                state["step"] = torch.zeros((), device=p.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
        tensors: list[Tensor] = list(parameters)
        gradients = [p.grad for p in parameters if p.grad is not None]
        states = [self.state[p] for p in parameters]
        steps = [s["step"] for s in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            tensors,
            gradients,
            [s["exp_avg"] for s in states],
            [s["exp_avg_sq"] for s in states],
            [],
            steps,
            amsgrad=False,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix (a, b) with singular values moved near 1 (0.7 to 1.2), bfloat16 inside."""
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
