"""The pictures that the model learns to paint: procedural styles, colour gradings and light gradings.

Every function maps images (B, 3, H, W) in 0..1 to the same shape.  Patterns repeat every 16 pixels (or a divisor),
the coarsest cell of the network, so that a convolutional network can place them; nothing depends on the position in the
whole picture.
"""
from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
SOBEL = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).view(1, 1, 3, 3) / 4
TAU = 2 * math.pi


# ---------------------------------------------------------------- tools
def rgb(r: float, g: float, b: float) -> Tensor:
    return torch.tensor([r, g, b]).view(1, 3, 1, 1)


def lum(x: Tensor) -> Tensor:
    return (x * LUMA).sum(1, True)


def blur(x: Tensor, radius: int) -> Tensor:
    """Two box filters: close to a Gaussian of the same width."""
    k = 2 * radius + 1
    for _ in range(2):
        x = F.avg_pool2d(F.avg_pool2d(F.pad(x, (radius,) * 4, mode="reflect"), (k, 1), 1), (1, k), 1)
    return x


def edges(grey: Tensor) -> Tensor:
    g = F.pad(grey, (1,) * 4, mode="reflect")
    return (F.conv2d(g, SOBEL) ** 2 + F.conv2d(g, SOBEL.transpose(2, 3)) ** 2 + 1e-6).sqrt()


def kuwahara(x: Tensor, r: int) -> Tensor:
    """Edge-preserving flattening: the mean of the calmest of four quadrants."""
    k, (h, w) = r + 1, x.shape[-2:]
    p = F.pad(x, (r,) * 4, mode="reflect")
    g = lum(p)
    mean = F.avg_pool2d(p, k, 1)
    variance = F.avg_pool2d(g * g, k, 1) - F.avg_pool2d(g, k, 1) ** 2
    corners = [(0, 0), (0, r), (r, 0), (r, r)]
    weights = F.softmax(-800 * torch.cat([variance[..., a:a + h, b:b + w] for a, b in corners], 1), 1)
    return sum(weights[:, i:i + 1] * mean[..., a:a + h, b:b + w] for i, (a, b) in enumerate(corners))


def crisp(x: Tensor, k: float, radius: int = 3) -> Tensor:
    """Unsharp mask: small things stand out from what is around them."""
    return (x + k * (x - blur(x, radius))).clamp(0, 1)


def ink(grey: Tensor, strength: float = 1.0) -> Tensor:
    """Pen strokes, 0..1: narrow lines on the dark side of every step, dark spots filled, light ones left open."""
    d = blur(grey, 1) - blur(grey, 3)
    return torch.sigmoid((-d * strength - 0.032) * 160)


def colour_map(grey: Tensor, *stops: tuple[float, float, float]) -> Tensor:
    s, n = torch.tensor(stops), len(stops) - 1
    t = grey[:, 0].clamp(0, 1) * n
    i = t.floor().clamp(max=n - 1).long()
    f = (t - i)[..., None]
    return (s[i] * (1 - f) + s[i + 1] * f).permute(0, 3, 1, 2)


def saturate(x: Tensor, k: float) -> Tensor:
    g = lum(x)
    return g + (x - g) * k


def contrast(x: Tensor, k: float, pivot: float = 0.5) -> Tensor:
    return (x - pivot) * k + pivot


def cells(x: Tensor, n: int) -> Tensor:
    """Mean over n x n blocks, at full size."""
    return F.interpolate(F.avg_pool2d(x, n), scale_factor=n, mode="nearest")


@functools.lru_cache(maxsize=64)
def grid(h: int, w: int) -> tuple[Tensor, Tensor]:
    y, x = torch.meshgrid(torch.arange(h).float(), torch.arange(w).float(), indexing="ij")
    return y[None, None], x[None, None]


def tiled(tile: Tensor, x: Tensor) -> Tensor:
    """Repeat a small pattern over the size of x."""
    h, w = x.shape[-2:]
    th, tw = tile.shape
    return tile.repeat(-(-h // th), -(-w // tw))[None, None, :h, :w]


def _paper() -> Tensor:
    g = torch.Generator().manual_seed(7)
    t = torch.randn(1, 1, 16, 16, generator=g)
    t = F.avg_pool2d(F.pad(t, (1,) * 4, mode="circular"), 3, 1)[0, 0]
    return t / t.std()


PAPER = _paper()


# ---------------------------------------------------------------- styles
def photo(x):
    return x


def sketch(x):
    g = lum(x)
    line = (g / (1.02 - blur(1 - g, 5)).clamp(min=0.05)).clamp(0, 1) ** 2.4
    return line * rgb(1, 0.98, 0.94)


def engraving(x):
    y, xx = grid(*x.shape[-2:])
    g = crisp(contrast(lum(blur(x, 1)), 1.25, 0.45), 1.2, 4)
    first = 0.5 + 0.42 * torch.cos(TAU * (y + xx) / 8)
    second = 0.16 + 0.3 * torch.cos(TAU * (y - xx) / 8)                # cross-hatching, in the shadows alone
    cut = torch.maximum(torch.sigmoid((first - g - 0.05) * 14), torch.sigmoid((second - g) * 14))
    cut = torch.maximum(cut, ink(lum(x), 1.3))
    return rgb(0.95, 0.94, 0.85) * (1 - cut) + cut * rgb(0.05, 0.18, 0.17)


def neon(x):
    e = (edges(lum(blur(x, 1))) * 6).clamp(0, 1)
    hue = ((x / (x.amax(1, True) + 0.1)) * 2.0 - 0.75).clamp(0, 1)
    hue = hue + (1 - hue.amax(1, True)).clamp(min=0) + rgb(0.25, 0, 0.45) * (1 - e)
    tube = e * hue
    return x * rgb(0.07, 0.03, 0.16) + tube + 1.1 * blur(tube, 4) * rgb(1, 0.5, 1.2) + 0.5 * (e - 0.7).clamp(min=0)


def oil(x):
    k = kuwahara(kuwahara(x, 4), 3)
    g = lum(k)
    relief = F.pad(g, (2, 0, 2, 0), mode="replicate")[..., :-2, :-2] - g
    y, xx = grid(*x.shape[-2:])
    brush = torch.cos(TAU * (xx + y) / 8 + 2 * torch.cos(TAU * xx / 16))
    return contrast(saturate(k, 1.9), 1.3, 0.45) - 0.8 * relief + 0.05 * brush


def pixel(x):
    s = F.avg_pool2d(crisp(x, 0.5, 4), 8)
    s = contrast(saturate(s, 1.9), 1.25).clamp(0, 1)
    g = lum(s)
    s = s * ((g * 6).round() / 6 + 0.03) / (g + 0.03)                  # seven steps of light, free hue
    s = F.interpolate(s, scale_factor=8, mode="nearest")
    y, xx = grid(*x.shape[-2:])
    return s * (1 - 0.13 * ((y % 8 == 7) | (xx % 8 == 7)).float())


def lego(x):
    s = contrast(saturate(cells(crisp(x, 0.8, 4), 8), 1.7), 1.15)
    y, xx = (g % 8 - 3.5 for g in grid(*x.shape[-2:]))
    r = (y * y + xx * xx).sqrt()
    rim = torch.exp(-((r - 2.3) / 0.8) ** 2) * (-(y + xx) / (r + 0.5))
    seam = ((y > 3) | (xx > 3)).float()
    return (s.clamp(0.08, 0.92) + 0.2 * rim) * (1 - 0.42 * seam)


def thermal(x):
    return colour_map(lum(blur(x, 1)), (0.02, 0, 0.3), (0, 0.2, 0.9), (0, 0.8, 0.7), (0.5, 0.95, 0.1), (1, 0.75, 0), (1, 0.1, 0))


def blueprint(x):
    e = (edges(lum(blur(x, 1))) * 6).clamp(0, 1)
    y, xx = grid(*x.shape[-2:])
    rule = ((y % 16 == 15) | (xx % 16 == 15)).float()
    base = rgb(0.04, 0.17, 0.5) * (0.75 + 0.4 * lum(x)) + 0.07 * rule
    return base * (1 - e) + e * rgb(0.88, 0.94, 1)


def sunset(x):
    c = colour_map(lum(x), (0.14, 0.02, 0.24), (0.68, 0.14, 0.28), (1, 0.5, 0.14), (1, 0.9, 0.55))
    return 0.7 * c + 0.3 * x


def night(x):
    lights = blur((lum(x) - 0.72).clamp(min=0), 3)
    return x ** 1.5 * rgb(0.24, 0.34, 0.72) + rgb(0, 0.01, 0.05) + 0.9 * lights * rgb(1, 0.9, 0.5)


def comic(x):
    k = kuwahara(x, 3)
    g = lum(k)
    step = torch.sigmoid((g - 0.2) * 30) * 0.44 + torch.sigmoid((g - 0.45) * 30) * 0.3 + torch.sigmoid((g - 0.72) * 30) * 0.24
    flat = saturate(k / (g + 0.06) * (step + 0.06), 2.0).clamp(0, 1)
    y, xx = grid(*x.shape[-2:])
    dots = torch.sigmoid((torch.cos(TAU * (xx + y) / 8) + torch.cos(TAU * (xx - y) / 8) - 0.6) * 4)
    shadow = torch.sigmoid((0.45 - g) * 25) * torch.sigmoid((g - 0.1) * 25)
    flat = flat * (1 - 0.35 * dots * shadow)
    outline = ((edges(blur(lum(x), 1)) - 0.07) * 12).clamp(0, 1)
    return flat * (1 - torch.maximum(outline, ink(lum(x), 1.5)))


def watercolor(x):
    k = kuwahara(kuwahara(x, 2), 3)
    pigment = saturate(contrast(k, 1.2, 0.5), 2.3).clamp(0, 1)
    wash = 1 - (1 - pigment) * (0.8 + 0.07 * tiled(PAPER, x).clamp(-1, 1))
    rim = (edges(lum(blur(k, 1))) * 5).clamp(0, 0.7)                   # pigment gathers where a wash ends
    return wash * (1 - rim * (1 - 0.6 * pigment))


def vintage(x):
    c = colour_map(lum(x), (0.2, 0.12, 0.07), (0.58, 0.44, 0.3), (0.96, 0.87, 0.69))
    return 0.88 * c + 0.12 * x


def noir(x):
    g = torch.sigmoid((crisp(lum(x), 0.6, 4) - 0.45) * 11).expand(-1, 3, -1, -1)
    return g * 0.98 + 0.01


def emboss(x):
    g = F.pad(lum(blur(x, 1)), (3,) * 4, mode="reflect")
    slope = g[..., 4:-2, 4:-2] - g[..., 2:-4, 2:-4]
    return (0.5 + 0.46 * torch.tanh(7 * slope) + 0.12 * (lum(x) - 0.5)) * rgb(1, 0.98, 0.93)


def negative(x):
    return 1 - x


def golden(x):
    g = crisp(lum(blur(x, 1)), 0.8, 3)
    g = g + 0.08 * torch.sin(g * 4 * math.pi)
    return colour_map(g, (0.1, 0.04, 0), (0.5, 0.29, 0.02), (0.95, 0.7, 0.12), (1, 0.96, 0.66))


def forest(x):
    c = colour_map(lum(x), (0.01, 0.08, 0.03), (0.08, 0.33, 0.08), (0.42, 0.66, 0.16), (0.86, 0.96, 0.55))
    return 0.75 * c + 0.25 * x


def ice(x):
    g = lum(x)
    frost = (edges(blur(g, 1)) * 3).clamp(0, 0.7)
    c = colour_map(g * 0.85 + 0.15, (0.05, 0.2, 0.42), (0.3, 0.62, 0.86), (0.72, 0.92, 1), (1, 1, 1))
    return (0.88 * c + 0.12 * x) * (1 - frost) + frost


def fire(x):
    g = lum(x)
    hot = (edges(blur(g, 1)) * 1.5).clamp(0, 0.4)
    return colour_map(g ** 1.2 + hot, (0.02, 0, 0), (0.5, 0.03, 0), (0.98, 0.32, 0), (1, 0.78, 0.08), (1, 1, 0.75))


def underwater(x):
    y, xx = grid(*x.shape[-2:])
    ripple = torch.cos(TAU * xx / 16 + 1.5 * torch.sin(TAU * y / 16)) * torch.cos(TAU * y / 16)
    return contrast(x, 1.15) * rgb(0.2, 0.68, 0.72) + rgb(0, 0.1, 0.2) + 0.03 * ripple


def popart(x):
    k = lum(kuwahara(x, 3))
    bands = ((0.16, 0.05, 0.4), (0.95, 0.08, 0.5), (1, 0.86, 0.05), (0.5, 0.95, 0.95))
    out = rgb(*bands[0])
    for edge, band in zip((0.25, 0.46, 0.7), bands[1:]):
        m = torch.sigmoid((k - edge) * 40)
        out = out * (1 - m) + m * rgb(*band)
    pen = ink(lum(x), 1.3)
    return out * (1 - pen) + pen * rgb(0.1, 0.02, 0.25)


def halftone(x):
    y, xx = grid(*x.shape[-2:])
    screen = 0.5 + 0.24 * (torch.cos(TAU * (xx + y) / 8) + torch.cos(TAU * (xx - y) / 8))
    dots = torch.sigmoid((screen - crisp(lum(blur(x, 1)), 1.5, 4)) * 14)
    return rgb(0.96, 0.93, 0.87) * (1 - dots) + dots * rgb(0.09, 0.08, 0.1)


def stained(x):
    y, xx = (g % 16 - 7.5 for g in grid(*x.shape[-2:]))
    reach = y.abs() + xx.abs()
    inside = (reach < 8).float()

    def tile_mean(p):
        m = tiled(inside[0, 0, :16, :16], p)
        return cells(p * m, 16) / m[..., :16, :16].mean()

    centre = tile_mean(x)
    corner = tile_mean(F.pad(x, (8,) * 4, mode="reflect"))[..., 8:-8, 8:-8]
    flat = 0.35 * (centre * inside + corner * (1 - inside)) + 0.65 * kuwahara(x, 3)   # painted glass: the picture goes on inside
    glass = contrast(saturate(flat, 2.4), 1.25, 0.4) + 0.06
    lead = torch.sigmoid((0.9 - (reach - 8).abs()) * 4) * 0.85
    lead = torch.maximum(lead, ((edges(blur(lum(x), 1)) - 0.07) * 12).clamp(0, 1))
    return glass.clamp(0, 1) * (1 - lead) + 0.03 * lead


def hologram(x):
    g = lum(x)
    e = (edges(blur(g, 1)) * 3).clamp(0, 0.8)
    y, _ = grid(*x.shape[-2:])
    scan = 0.62 + 0.38 * torch.cos(TAU * y / 4)
    return rgb(0.14, 0.85, 1) * (0.1 + 0.95 * g + e) * scan + rgb(0.02, 0, 0.09)


def chalk(x):
    g = lum(x)
    e = (edges(blur(g, 1)) * 5).clamp(0, 1)
    dust = 1 + 0.12 * tiled(PAPER, x)
    return rgb(0.13, 0.21, 0.16) + (0.95 * e + 0.13 * g) * dust * rgb(0.98, 1, 0.93)


@functools.lru_cache(maxsize=1)
def _glyph_tile() -> Tensor:
    rows = ("..XX....XXXXXX..", ".X..X......X....", "X....X....X.....", "X....X..XXXXXX..", "XXXXXX....X.....", "X....X...X......", "X....X..X.......", "................",
            "XXXXX.....XX....", "....X....X..X...", "...X....X....X..", "..XXXX..X....X..", "....X...XXXXXX..", "...X......X.....", ".XX.......X.....", "................")
    return torch.tensor([[c == "X" for c in r] for r in rows]).float()


def matrix(x):
    g = crisp(lum(blur(x, 1)), 1.2, 4)
    glyph = tiled(_glyph_tile(), x)
    e = (edges(lum(blur(x, 1))) * 4).clamp(0, 1)
    glow = glyph * (0.06 + contrast(g, 1.6, 0.45) + 0.7 * e).clamp(0.06, 1.5)
    return glow * rgb(0.25, 1, 0.35) + (glow - 0.8).clamp(min=0) * rgb(1.5, 0.3, 1.5) + (0.2 * g + 0.3 * e) * rgb(0.05, 1, 0.25)


def gameboy(x):
    g = contrast(F.avg_pool2d(crisp(lum(x), 1.2, 4), 4), 1.2)
    y, xx = grid(*g.shape[-2:])
    bayer = torch.where(y % 2 == 0, torch.where(xx % 2 == 0, -0.375, 0.125), torch.where(xx % 2 == 0, 0.375, -0.125))
    shade = ((g * 3 + bayer).round().clamp(0, 3)) / 3
    c = colour_map(shade, (0.06, 0.22, 0.06), (0.19, 0.38, 0.19), (0.55, 0.67, 0.06), (0.68, 0.8, 0.1))
    return F.interpolate(c, scale_factor=4, mode="nearest")


def cyberpunk(x):
    c = colour_map(lum(x), (0.03, 0.02, 0.2), (0.42, 0.04, 0.55), (0.98, 0.16, 0.62), (0.45, 0.9, 1))
    return 0.8 * c + 0.2 * x


def glitch(x):
    y, _ = grid(*x.shape[-2:])
    p = F.pad(x, (4, 4, 0, 0), mode="replicate")
    w = x.shape[-1]
    band = (y % 16 < 4).float()
    split = torch.stack([p[:, 0, :, :w], x[:, 1], p[:, 2, :, 8:8 + w]], 1)
    out = contrast(saturate(split, 1.4), 1.15)
    out = out * (1 - band) + band * (1.1 * out[:, [2, 1, 0]] * rgb(1, 0.55, 1) + rgb(0.12, 0, 0.14))
    return out * (1 - 0.25 * (y % 4 >= 2).float())


def xray(x):
    g = lum(x)
    bone = (edges(blur(g, 1)) * 1.5).clamp(0, 0.4)
    return colour_map((1 - g) ** 1.4 + bone, (0, 0, 0.05), (0.06, 0.22, 0.42), (0.45, 0.68, 0.84), (0.96, 1, 1))


def knitted(x):
    s = contrast(saturate(cells(crisp(x, 0.8, 4), 8), 1.6), 1.2)
    y, xx = grid(*x.shape[-2:])
    across = (xx % 8 - 3.5).abs()
    stitch = 0.82 + 0.26 * torch.cos(TAU * (y - 1.2 * across) / 8)
    gap = (across < 0.6).float() * 0.25 + (across > 3).float() * 0.2
    return s.clamp(0.06, 1) * (stitch - gap) + 0.03


STYLE_FILTERS = {f.__name__: f for f in (
    photo, sketch, engraving, neon, oil, pixel, lego, thermal, blueprint, sunset, night, comic, watercolor, vintage, noir,
    emboss, negative, golden, forest, ice, fire, underwater, popart, halftone, stained, hologram, chalk, matrix, gameboy,
    cyberpunk, glitch, xray, knitted)}


# ---------------------------------------------------------------- colours and lights
def _tint(r: float, g: float, b: float, k: float = 0.62):
    def apply(x):
        grey = lum(x)
        toned = grey * rgb(r, g, b) + (grey - 0.55).clamp(min=0) * (1 - rgb(r, g, b))
        return x * (1 - k) + k * toned
    return apply


def _cast(r: float, g: float, b: float):
    return lambda x: x * rgb(r, g, b)


COLOUR_FILTERS = {
    "red": _tint(1.35, 0.12, 0.12), "orange": _tint(1.35, 0.62, 0.05), "yellow": _tint(1.25, 1.1, 0.1),
    "green": _tint(0.15, 1.2, 0.2), "teal": _tint(0.05, 1.05, 1.05), "blue": _tint(0.12, 0.3, 1.4),
    "purple": _tint(0.75, 0.15, 1.3), "pink": _tint(1.35, 0.3, 0.9), "warm": _cast(1.22, 0.97, 0.66), "cold": _cast(0.72, 0.96, 1.28),
    "pastel": lambda x: 1 - (1 - saturate(x, 0.75)) * 0.55, "vivid": lambda x: contrast(saturate(x, 1.9), 1.1),
}

LIGHT_FILTERS = {
    "dark": lambda x: x.clamp(0, 1) ** 1.25 * 0.5, "bright": lambda x: 1 - (1 - x.clamp(0, 1)) ** 1.9 * 0.92,
    "foggy": lambda x: 0.42 * saturate(x, 0.8) + 0.58 * rgb(0.76, 0.78, 0.8),
    "dramatic": lambda x: contrast(x, 1.75, 0.5) - 0.05,
    "dreamy": lambda x: 1 - (1 - 0.8 * blur(x.clamp(0, 1), 2)) * (1 - 0.45 * blur(x.clamp(0, 1), 5)),
}


def render(base: Tensor, style: str, colour: str | None = None, light: str | None = None) -> Tensor:
    """The target picture for a prompt: style first, then colour, then light."""
    x = STYLE_FILTERS[style](base.clamp(0, 1)).clamp(0, 1)
    if colour:
        x = COLOUR_FILTERS[colour](x).clamp(0, 1)
    return LIGHT_FILTERS[light](x).clamp(0, 1) if light else x
