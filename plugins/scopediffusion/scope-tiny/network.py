"""The networks of scope-tiny: text encoder, one-step denoiser and the lossless autoencoder."""
from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FACTOR = 4                                # pixels per latent cell and axis
CHANNELS = 3 * FACTOR * FACTOR            # 48
LATENT_GAIN = 8.0                         # latent = gain * unshuffle(image in -1..1)
WIDTH = 96                                # text features
LEVELS = (64, 96, 160)                    # channels at 1/4, 1/8 and 1/16 of the picture
SAMPLE_MULTIPLE = FACTOR * 2 ** (len(LEVELS) - 1)
SCHEDULE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)


def noise_levels() -> tuple[np.ndarray, np.ndarray]:
    """a_t and b_t of x_t = a_t x_0 + b_t noise, for every timestep."""
    betas = np.linspace(SCHEDULE["beta_start"] ** 0.5, SCHEDULE["beta_end"] ** 0.5, SCHEDULE["num_train_timesteps"]) ** 2
    kept = np.cumprod(1 - betas)
    return np.sqrt(kept).astype("f4"), np.sqrt(1 - kept).astype("f4")


# ---------------------------------------------------------------- autoencoder (no parameters)
class Encoder(nn.Module):
    """Image in -1..1 to latent."""

    def forward(self, sample: Tensor) -> Tensor:
        return F.pixel_unshuffle(sample, FACTOR) * LATENT_GAIN


class Decoder(nn.Module):
    """Latent to image in -1..1."""

    def forward(self, latent_sample: Tensor) -> Tensor:
        return F.pixel_shuffle(latent_sample / LATENT_GAIN, FACTOR)


def encode(picture: Tensor) -> Tensor:
    """Picture in 0..1 to latent."""
    return Encoder()(picture * 2 - 1)


def decode(latent: Tensor) -> Tensor:
    """Latent to picture in 0..1, not clamped."""
    return Decoder()(latent) / 2 + 0.5


# ---------------------------------------------------------------- text
class TextBlock(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-1, -2) / math.sqrt(d // self.heads) + mask).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(b, n, d))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class TextEncoder(nn.Module):
    """A small causal transformer; one feature vector per token, zero for padding."""

    def __init__(self, vocabulary: int, tokens: int = 77, layers: int = 2, heads: int = 4, pad: int = 0):
        super().__init__()
        self.pad = pad
        self.token = nn.Embedding(vocabulary, WIDTH)
        nn.init.normal_(self.token.weight, std=0.5)
        self.position = nn.Parameter(torch.randn(tokens, WIDTH) * 0.02)
        self.blocks = nn.ModuleList(TextBlock(WIDTH, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(WIDTH)
        self.register_buffer("mask", torch.full((tokens, tokens), -1e4).triu(1), persistent=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        n = input_ids.shape[1]
        x = self.token(input_ids) + self.position[:n]
        for block in self.blocks:
            x = block(x, self.mask[:n, :n])
        return self.norm(x) * (input_ids != self.pad)[..., None].to(x.dtype)


# ---------------------------------------------------------------- denoiser
class Block(nn.Module):
    """Residual block; the condition scales and shifts its middle."""

    def __init__(self, channels: int, condition: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = nn.Linear(condition, 2 * channels)
        for p in (self.conv2.weight, self.conv2.bias, self.film.weight, self.film.bias):
            nn.init.zeros_(p)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition)[..., None, None].chunk(2, 1)
        return x + self.conv2(F.silu(self.conv1(F.silu(x)) * (1 + scale) + shift))


class Condition(nn.Module):
    """Timestep and text features to one vector: a few learned queries look at all tokens."""

    def __init__(self, size: int, queries: int = 6, frequencies: int = 16):
        super().__init__()
        self.query = nn.Parameter(torch.randn(queries, WIDTH))
        self.key_value = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.text = nn.Linear(queries * WIDTH, size)
        self.time = nn.Sequential(nn.Linear(2 * frequencies, size), nn.SiLU(), nn.Linear(size, size))
        self.mix = nn.Sequential(nn.SiLU(), nn.Linear(size, size), nn.SiLU())
        for linear in (self.key_value, self.text, self.time[0], self.time[2], self.mix[1]):
            nn.init.orthogonal_(linear.weight, 1.6)                      # a strong signal from the first step on
        self.register_buffer("frequency", torch.exp(-torch.arange(frequencies) / (frequencies - 1) * math.log(1000.0)))

    def forward(self, timestep: Tensor, features: Tensor) -> Tensor:
        key, value = self.key_value(features).chunk(2, -1)
        present = (features.square().mean(-1) + 1e-6).log()[:, None]     # padding is zero and goes unseen; fades in blends
        seen = (self.query @ key.transpose(-1, -2) / math.sqrt(WIDTH) + present).softmax(-1) @ value
        angle = timestep[:, None] * self.frequency
        return self.mix(self.text(seen.flatten(1)) + self.time(torch.cat([angle.sin(), angle.cos()], 1)))


class Denoiser(nn.Module):
    """U-Net over the latent.  Inside it predicts the clean latent; `forward` returns the noise, as diffusers models do."""

    def __init__(self, condition: int = 224, down_blocks=(1, 2), middle_blocks: int = 2, up_blocks=(2, 2), hidden: int = 128):
        super().__init__()
        def stage(channels, count):
            return nn.ModuleList(Block(channels, condition) for _ in range(count))
        self.condition = Condition(condition)
        self.head = nn.Conv2d(CHANNELS, LEVELS[0], 3, padding=1)
        self.down = nn.ModuleList(stage(c, n) for c, n in zip(LEVELS, down_blocks))
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, 2) for a, b in zip(LEVELS, LEVELS[1:]))
        self.middle = stage(LEVELS[-1], middle_blocks)
        # four outputs per cell, one for each quarter: without them no layer could tell the quarters of a flat area apart
        self.grow = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in zip(LEVELS, LEVELS[1:]))
        self.up = nn.ModuleList(stage(c, n) for c, n in zip(LEVELS, up_blocks))
        self.tail_film = nn.Linear(condition, 2 * LEVELS[0])
        self.tail = nn.Conv2d(LEVELS[0], CHANNELS, 3, padding=1)
        nn.init.zeros_(self.tail_film.weight)
        nn.init.zeros_(self.tail_film.bias)
        # a small perceptron per cell beside the tail: colour curves and hard steps need more than one bend
        self.fine, self.fine_out = nn.Conv2d(LEVELS[0] + CHANNELS, hidden, 1), nn.Conv2d(hidden, CHANNELS, 1)
        self.fine_film = nn.Linear(condition, 2 * hidden)
        # how much of what lies inside blocks of 8 and of 4 pixels goes through: flat blocks are hard to learn otherwise
        self.block_film = nn.Linear(condition, 2)
        for p in (self.fine_out.weight, self.fine_out.bias, self.fine_film.weight, self.fine_film.bias, self.block_film.weight, self.block_film.bias):
            nn.init.zeros_(p)
        a, b = noise_levels()
        self.register_buffer("a", torch.from_numpy(a))
        self.register_buffer("b", torch.from_numpy(b))

    def clean(self, sample: Tensor, timestep: Tensor, features: Tensor) -> Tensor:
        """The predicted clean latent."""
        c = self.condition(timestep, features)
        x, kept = self.head(sample), []
        for stage, shrink in zip(self.down, self.shrink):
            for block in stage:
                x = block(x, c)
            kept.append(x)
            x = shrink(x)
        for block in self.middle:
            x = block(x, c)
        for stage, grow, skip in zip(reversed(self.up), reversed(self.grow), reversed(kept)):
            x = F.pixel_shuffle(grow(x), 2) + skip
            for block in stage:
                x = block(x, c)
        scale, shift = self.tail_film(c)[..., None, None].chunk(2, 1)
        x = x * (1 + scale) + shift
        fine_scale, fine_shift = self.fine_film(c)[..., None, None].chunk(2, 1)
        fine = self.fine(torch.cat([x, sample * (1 / LATENT_GAIN)], 1)) * (1 + fine_scale) + fine_shift
        return (self.blocks(self.tail(F.silu(x)), c) + self.fine_out(F.silu(fine))) * LATENT_GAIN

    def kept(self, condition: Tensor) -> Tensor:
        """Shares (batch, 2) of what lies inside blocks of 8 and of 4 pixels."""
        return 1 + self.block_film(condition)

    def blocks(self, y: Tensor, condition: Tensor) -> Tensor:
        """Weigh what is finer than 4 and than 8 pixels, each relative to the mean of its block."""
        keep8, keep4 = self.kept(condition)[..., None, None, None].unbind(1)
        cells = y.unflatten(1, (3, FACTOR * FACTOR))
        mean4 = cells.mean(2)
        mean8 = F.interpolate(F.avg_pool2d(mean4, 2), scale_factor=2.0, mode="nearest")
        coarse = mean8 + keep8 * (mean4 - mean8)
        return (coarse[:, :, None] + keep4[..., None] * (cells - mean4[:, :, None])).flatten(1, 2)

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        i = timestep.round().long()
        a, b = self.a[i][:, None, None, None], self.b[i][:, None, None, None]
        return (sample - a * self.clean(sample, timestep, encoder_hidden_states)) / b
