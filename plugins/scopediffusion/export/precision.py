"""What of a part can be computed in half precision: measured on the part itself, not guessed from its name.

Half precision ends at 65504. A part whose largest value comes near it stays in float32; attention whose scores could
come near it has just its scores computed in float32. The timestep is always float32: its sinusoid, computed in half
precision, is seven times as far off as everything else together.
"""
from __future__ import annotations

import torch
from torch import nn

# Half of what half precision can hold: other prompts and pictures give other values.
ROOM = 32_000.0
# The same of attention's scores, before they are scaled: some kernels multiply first.
SCORES = 32_000.0


class Range:
    """The largest value that left a layer, and the largest score that each attention could give."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.largest = 0.0
        self.scores: dict[str, float] = {}
        self.queries: dict[str, torch.Tensor] = {}
        self.hooks: list = []

    def __enter__(self) -> Range:
        for name, layer in self.module.named_modules():
            if not list(layer.children()):
                self.hooks.append(layer.register_forward_hook(self.look))
            if hasattr(layer, "to_q") and hasattr(layer, "heads"):
                self.hooks.append(layer.to_q.register_forward_hook(self.query(name, layer.heads)))
                self.hooks.append(layer.to_k.register_forward_hook(self.key(name, layer.heads)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def look(self, _layer, _inputs, out) -> None:
        if torch.is_tensor(out) and out.is_floating_point():
            self.largest = max(self.largest, float(out.abs().max()))

    def query(self, name: str, heads: int):
        def hook(_layer, _inputs, out) -> None:
            self.queries[name] = lengths(out, heads)
        return hook

    def key(self, name: str, heads: int):
        def hook(_layer, _inputs, out) -> None:
            # No product is longer than the lengths of its factors.
            bound = float((self.queries[name] * lengths(out, heads)).max())
            self.scores[name] = max(self.scores.get(name, 0.0), bound)
        return hook

    @property
    def fits(self) -> bool:
        return self.largest <= ROOM

    @property
    def wide(self) -> set[str]:
        """Names of the attentions whose scores want float32."""
        return {name for name, bound in self.scores.items() if bound > SCORES}


def lengths(values: torch.Tensor, heads: int) -> torch.Tensor:
    """Length of the longest row of each head, `[heads]`."""
    split = values.reshape(-1, heads, values.shape[-1] // heads)
    return split.norm(dim=-1).max(dim=0).values


def halve(module: nn.Module, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Put a part into half precision, and those of its inputs that may be."""
    module.half()
    return {name: value.half() if may_be_half(name, value) else value for name, value in inputs.items()}


def may_be_half(name: str, value: torch.Tensor) -> bool:
    exact = name in ("timestep", "time_ids") or value.ndim == 1
    return value.is_floating_point() and not exact
