"""Muon: momentum whose matrix updates are made orthogonal, so that weak directions (fine detail) learn as fast as strong ones."""
from __future__ import annotations

import torch
from torch import Tensor


def orthogonal(batch: Tensor, rounds: int = 5) -> Tensor:
    """The nearest orthogonal matrices, approximately, by Newton-Schulz steps; (count, rows, columns) with rows <= columns."""
    x = batch / (batch.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.transpose(1, 2)
        x = 3.4445 * x + torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315) @ x
    return x


class Muon(torch.optim.Optimizer):
    """For convolution weights.  The scale makes an update about as large as one of Adam at the same rate."""

    def __init__(self, params, lr: float, momentum: float = 0.95, weight_decay: float = 1e-4):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            shapes: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
            for p in group["params"]:
                state = self.state[p]
                if "mean" not in state:
                    state["mean"] = torch.zeros_like(p)
                state["mean"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(state["mean"], group["momentum"]).flatten(1)
                shapes.setdefault(tuple(update.shape), []).append((p, update))
            for (rows, columns), members in shapes.items():
                made = orthogonal(torch.stack([u for _, u in members]))
                for (p, _), u in zip(members, made):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(u.view_as(p), alpha=-group["lr"] * 0.2 * max(rows, columns) ** 0.5)
