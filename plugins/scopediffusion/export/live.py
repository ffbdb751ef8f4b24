"""Numbers that stay inputs of an exported graph: reference images' tokens and scale, scales of LoRA adapters.

Diffusers keeps them inside its modules as plain numbers, which a traced graph would carry for ever. The modules here
take their place and read them from a `Live` object that the traced forward fills with its inputs.
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from trouble import Trouble

LORA = "lora_scale."
TOKENS = "ip_hidden_states"
SCALE = "ip_scale"


class Live:
    """Where the traced forward leaves its inputs for the modules inside."""

    def __init__(self) -> None:
        self.tokens: torch.Tensor | None = None
        self.scale: torch.Tensor | None = None
        self.loras: dict[str, torch.Tensor] = {}

    def take(self, given: dict[str, torch.Tensor]) -> None:
        """Remove what is ours from `given`, by the names of the graph's inputs."""
        self.tokens, self.scale = given.pop(TOKENS, None), given.pop(SCALE, None)
        names = [name for name in given if name.startswith(LORA)]
        self.loras = {name.removeprefix(LORA): given.pop(name) for name in names}


class Attention:
    """Attention of a transformer block, with image tokens beside the text's or with its scores in float32.

    Computes `softmax(q·kᵀ/√d)·v` and, where there are image tokens, adds `scale` times the same with their keys and
    values, before the output layer.

    No module itself, and the adapter's layers are the attention's own: operations are called after the modules around
    them, and adapters are merged by those names.

    Source: diffusers, models/attention_processor.py, `AttnProcessor2_0` and `IPAdapterAttnProcessor2_0`.
    """

    def __init__(self, live: Live, attn: nn.Module, adapter: nn.Module | None, wide: bool) -> None:
        self.live = live
        self.wide = wide
        if adapter is not None:
            attn.to_k_ip, attn.to_v_ip = adapter.to_k_ip[0], adapter.to_v_ip[0]

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        if attention_mask is not None or hidden_states.ndim != 3 or attn.residual_connection or attn.group_norm:
            raise Trouble("the unet has an attention of a kind nobody here knows", "export another model")
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if isinstance(context, tuple):
            context = context[0]
        query = attn.to_q(hidden_states)
        out = self.attend(attn, query, attn.to_k(context), attn.to_v(context))
        if hasattr(attn, "to_k_ip"):
            tokens = self.live.tokens
            image = self.attend(attn, query, attn.to_k_ip(tokens), attn.to_v_ip(tokens))
            out = out + self.live.scale.to(out.dtype) * image
        return attn.to_out[1](attn.to_out[0](out)) / attn.rescale_output_factor

    def attend(self, attn, query, key, value):
        width, kind = query.shape[-1] // attn.heads, query.dtype
        heads = [x.view(x.shape[0], -1, attn.heads, width).transpose(1, 2) for x in (query, key, value)]
        if self.wide and kind != torch.float32:
            heads = [x.float() for x in heads]
        out = F.scaled_dot_product_attention(*heads)
        return out.transpose(1, 2).flatten(2).to(kind)


class Adapted(nn.Module):
    """A layer with low-rank branches beside it, `W·x + Σ scale · strength · up·down·x`; every scale an input."""

    def __init__(self, live: Live, layer) -> None:
        super().__init__()
        base = layer.base_layer
        self.live = live
        # Registered here, not in a module below: the operation then is called like the layer, as without adapters.
        self.weight, self.bias = base.weight, base.bias
        self.convolution = (base.stride, base.padding, base.dilation, base.groups) if isinstance(base, nn.Conv2d) else None
        # Names of modules must not contain dots; names of files may.
        self.names = list(layer.lora_A)
        self.strengths = [layer.lora_alpha[name] / layer.r[name] for name in self.names]
        self.down = nn.ModuleList(layer.lora_A[name] for name in self.names)
        self.up = nn.ModuleList(layer.lora_B[name] for name in self.names)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.convolution:
            out = F.conv2d(x, self.weight, self.bias, *self.convolution)
        else:
            out = F.linear(x, self.weight, self.bias)
        for name, strength, down, up in zip(self.names, self.strengths, self.down, self.up):
            scale = self.live.loras[name].to(x.dtype) * strength
            out = out + up(down(x)) * scale
        return out
