"""A labelled picture of every style, for the documentation."""
from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model import Model, noise_for
from scenes import Painter, camera
from vocabulary import STYLES

SIZE, TILE, COLUMNS, LABEL = 256, 168, 9, 15          # painted at SIZE, shown at TILE
EXTRA = ("comic, red, dark", "watercolor, blue, dreamy", "a pink sketch of a cat")


def portrait(seed: int = 7, size: int = SIZE) -> np.ndarray:
    """A person in a room, drawn for the sheet alone: (1, 3, size, size) in 0..1."""
    p = Painter(np.random.default_rng(seed))
    p.gradient((205, 198, 184), (150, 140, 128), True)
    p.box(0.04, 0.08, 0.38, 0.5, (215, 232, 250), (250, 250, 248), 9)
    p.line([(0.21, 0.08), (0.21, 0.5)], (250, 250, 248), 7)
    p.books(0.7, 0.3, 0.98, 0.16)
    p.box(0.68, 0.3, 1, 0.325, (110, 75, 50))
    p.books(0.7, 0.56, 0.98, 0.16)
    p.box(0.68, 0.56, 1, 0.585, (110, 75, 50))
    p.person(0.5, 0.42, 0.2)
    p.light()
    x = camera(p.image.reduce(2), p)
    x = np.asarray(Image.fromarray(x).resize((size, size), Image.LANCZOS), "f4") / 255
    return x.transpose(2, 0, 1)[None].copy()


def draw_sheet(model: Model, path: Path, timestep: int = 359, seed: int = 7) -> None:
    source, noise = portrait(seed), noise_for(SIZE, SIZE)
    tiles = [("input", source)] if len(STYLES) % COLUMNS else []
    tiles += [(s.prompts[0], model.paint(source, s.prompts[0], (timestep,), noise)) for s in STYLES]
    for text in EXTRA:
        if len(tiles) % COLUMNS:
            tiles.append((text, model.paint(source, text, (timestep,), noise)))
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + LABEL)), "white")
    draw = ImageDraw.Draw(sheet)
    for k, (label, picture) in enumerate(tiles):
        x, y = k % COLUMNS * TILE, k // COLUMNS * (TILE + LABEL)
        draw.text((x + 3, y + 1), label, "black", font=ImageFont.load_default(11))
        tile = Image.fromarray((picture[0].transpose(1, 2, 0) * 255).round().astype("u1")).resize((TILE, TILE), Image.LANCZOS)
        sheet.paste(tile, (x, y + LABEL))
    palette = sheet.quantize(256, method=Image.Quantize.MEDIANCUT)
    sheet.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
