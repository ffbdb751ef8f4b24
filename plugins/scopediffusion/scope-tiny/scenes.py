"""Procedural source pictures: people in rooms, streets, shapes and test cards, seen through a poor camera.

Everything is drawn from random numbers; no photograph is involved.  `Scenes` keeps a pool of 256 x 256 pictures and
hands out augmented crops.
"""
from __future__ import annotations

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIZE = 256
CANVAS = 2 * SIZE                          # drawn at twice the size, then reduced, for smooth edges


class Painter:
    """Draws one random scene with Pillow, coordinates in 0..1."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.image = Image.new("RGB", (CANVAS, CANVAS))
        self.draw = ImageDraw.Draw(self.image)

    # -- helpers
    def u(self, low: float = 0.0, high: float = 1.0) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def colour(self, low=0, high=255) -> tuple[int, int, int]:
        c = self.rng.uniform(low, high, 3)
        if self.chance(0.5):                                          # half of the things in a room are greyish
            c = c * 0.35 + c.mean() * 0.65
        return tuple(int(v) for v in c)

    @staticmethod
    def shade(c, k: float):
        return tuple(int(min(255, max(0, v * k))) for v in c)

    def px(self, *values):
        return [v * CANVAS for v in values]

    def box(self, x0, y0, x1, y1, fill=None, outline=None, width=2, radius=0.0):
        xy = self.px(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        self.draw.rounded_rectangle(xy, radius * CANVAS, fill, outline, width)

    def disc(self, x, y, rx, ry, fill=None, outline=None, width=2):
        self.draw.ellipse(self.px(x - rx, y - ry, x + rx, y + ry), fill, outline, width)

    def shape(self, points, fill):
        self.draw.polygon([(x * CANVAS, y * CANVAS) for x, y in points], fill)

    def line(self, points, fill, width=3):
        self.draw.line([(x * CANVAS, y * CANVAS) for x, y in points], fill, width, joint="curve")

    def text(self, x, y, height, fill):
        letters = "ABCDEFGHKLMNPRSTUVXYZabcdefghkmnoprstuvxyz0123456789:.-"
        word = "".join(letters[i] for i in self.rng.integers(len(letters), size=self.rng.integers(2, 11)))
        self.draw.text((x * CANVAS, y * CANVAS), word, fill, font=ImageFont.load_default(max(8, height * CANVAS)))

    # -- parts
    def gradient(self, top, bottom, sideways=False):
        t = np.linspace(0, 1, CANVAS, dtype="f4")[:, None]
        strip = np.array(top, "f4") * (1 - t) + np.array(bottom, "f4") * t
        whole = np.repeat(strip[:, None], CANVAS, 1)
        if sideways:
            whole = whole.transpose(1, 0, 2)
        self.image.paste(Image.fromarray(whole.astype("u1")))

    def books(self, x0, y0, x1, height):
        x = x0
        while x < x1:
            w = self.u(0.012, 0.035)
            self.box(x, y0 - height * self.u(0.65, 1), x + w, y0, self.colour(20, 240))
            x += w + 0.003

    def person(self, x, y, r):
        """Head of radius r at (x, y), with neck, clothes and the details of a face."""
        rng, skin = self.rng, np.array([(240, 200, 175), (225, 172, 140), (190, 130, 95), (140, 90, 62), (90, 58, 42)])[self.rng.integers(5)]
        skin = tuple(int(v) for v in np.clip(skin * rng.uniform(0.85, 1.08), 0, 255))
        hair = [(30, 24, 22), (70, 45, 30), (140, 95, 50), (215, 180, 110), (150, 150, 150), self.colour()][rng.integers(6)]
        cloth, dark = self.colour(15, 245), self.shade(skin, 0.78)
        long_hair = self.chance(0.45)
        if long_hair:
            self.box(x - 1.05 * r, y - 0.7 * r, x + 1.05 * r, y + self.u(1.2, 2.2) * r, hair, radius=0.6 * r)
        self.box(x - 2.1 * r, y + 1.55 * r, x + 2.1 * r, y + 5 * r, cloth, radius=0.8 * r)                 # shoulders
        if self.chance(0.3):
            for i in range(9):
                self.box(x - 2 * r, y + (1.7 + 0.4 * i) * r, x + 2 * r, y + (1.85 + 0.4 * i) * r, self.shade(cloth, 0.6))
        elif self.chance(0.4):
            self.text(x - 0.8 * r, y + 2.2 * r, 0.4 * r, self.colour())
        self.shape([(x + dx * r, y + dy * r) for dx, dy in ((-0.42, 0.6), (0.42, 0.6), (0.6, 1.75), (0, 2.0), (-0.6, 1.75))], dark)
        for side in (-1, 1):
            self.disc(x + side * 0.8 * r, y + 0.05 * r, 0.14 * r, 0.22 * r, dark)
        self.disc(x, y - 0.12 * r, 0.9 * r, 1.08 * r, hair)
        self.disc(x, y, 0.78 * r, 1.02 * r, skin)
        lit = 1 if self.chance(0.5) else -1
        self.draw.pieslice(self.px(x - 0.78 * r, y - 1.02 * r, x + 0.78 * r, y + 1.02 * r), 90 if lit > 0 else -90, 270 if lit > 0 else 90, self.shade(skin, self.u(0.8, 0.95)))
        self.disc(x + lit * 0.1 * r, y + 0.02 * r, 0.6 * r, 0.9 * r, skin)
        self.draw.chord(self.px(x - 0.82 * r, y - 1.1 * r, x + 0.82 * r, y + 0.4 * r), 180 + self.u(5, 25), 360 - self.u(5, 25), hair)   # fringe
        look = self.u(-0.05, 0.05) * r
        for side in (-1, 1):
            ex = x + side * 0.32 * r
            self.disc(ex, y - 0.08 * r, 0.15 * r, 0.085 * r, (245, 243, 240))
            self.disc(ex + look, y - 0.08 * r, 0.075 * r, 0.08 * r, self.colour(20, 140))
            self.disc(ex + look, y - 0.08 * r, 0.035 * r, 0.035 * r, (10, 10, 10))
            self.line([(ex - 0.18 * r, y - 0.25 * r), (ex, y - 0.31 * r), (ex + 0.18 * r, y - 0.25 * r)], self.shade(hair, 0.8), max(2, int(0.07 * r * CANVAS)))
        self.line([(x + 0.02 * r, y - 0.05 * r), (x - lit * 0.11 * r, y + 0.3 * r), (x + 0.04 * r, y + 0.33 * r)], dark, max(1, int(0.04 * r * CANVAS)))
        lip = self.shade((190, 85, 85), self.u(0.6, 1.1))
        if self.chance(0.4):
            self.draw.chord(self.px(x - 0.3 * r, y + 0.35 * r, x + 0.3 * r, y + 0.7 * r), 0, 180, lip)                     # smile with teeth
            self.draw.chord(self.px(x - 0.24 * r, y + 0.38 * r, x + 0.24 * r, y + 0.6 * r), 0, 180, (235, 230, 225))
        else:
            self.disc(x, y + 0.56 * r, 0.26 * r, self.u(0.04, 0.1) * r, lip)
        if self.chance(0.25):
            for side in (-1, 1):
                self.disc(x + side * 0.33 * r, y - 0.07 * r, 0.25 * r, 0.22 * r, None, (25, 25, 30), max(2, int(0.05 * r * CANVAS)))
            self.line([(x - 0.08 * r, y - 0.08 * r), (x + 0.08 * r, y - 0.08 * r)], (25, 25, 30), max(2, int(0.05 * r * CANVAS)))
        if self.chance(0.15):
            self.draw.arc(self.px(x - 1.0 * r, y - 1.25 * r, x + 1.0 * r, y + 0.6 * r), 190, 350, (30, 30, 34), max(3, int(0.1 * r * CANVAS)))
            self.disc(x + lit * 0.9 * r, y, 0.17 * r, 0.3 * r, (30, 30, 34))
        if self.chance(0.2):
            hx, hy = x + self.u(-1.8, 1.8) * r, y + self.u(0.9, 1.8) * r
            for k in range(4):
                self.box(hx + (0.17 * k - 0.34) * r, hy - self.u(0.6, 0.75) * r, hx + (0.17 * k - 0.2) * r, hy, skin, radius=0.06 * r)
            self.box(hx - 0.36 * r, hy - 0.15 * r, hx + 0.34 * r, hy + 0.45 * r, skin, radius=0.15 * r)

    # -- scenes
    def room(self):
        wall = self.colour(70, 235)
        self.gradient(wall, self.shade(wall, self.u(0.6, 1.1)), self.chance(0.5))
        floor = self.u(0.65, 1.1)
        self.box(0, floor, 1, 1, self.colour(40, 170))
        if self.chance(0.55):                                          # window
            x, y, w, h = self.u(-0.1, 0.8), self.u(0, 0.2), self.u(0.2, 0.45), self.u(0.25, 0.5)
            self.box(x, y, x + w, y + h, self.shade(self.colour(190, 255), 1.1), (235, 235, 230), 9)
            self.line([(x + w / 2, y), (x + w / 2, y + h)], (225, 225, 220), 6)
            self.line([(x, y + h * 0.5), (x + w, y + h * 0.5)], (225, 225, 220), 6)
        if self.chance(0.5):                                           # shelf
            x, w = self.u(-0.2, 0.8), self.u(0.25, 0.5)
            for k in range(self.rng.integers(1, 4)):
                y = self.u(0.15, 0.3) + 0.22 * k
                self.books(x, y, x + w, 0.14)
                self.box(x - 0.01, y, x + w + 0.01, y + 0.02, self.colour(40, 160))
        if self.chance(0.4):                                           # poster
            x, y, w = self.u(0, 0.8), self.u(0.05, 0.4), self.u(0.12, 0.3)
            self.box(x, y, x + w, y + 1.3 * w, self.colour(), self.colour(), 6)
            self.disc(x + w / 2, y + 0.5 * w, 0.3 * w, 0.3 * w, self.colour())
            self.text(x + 0.1 * w, y + 1.0 * w, 0.18 * w, self.colour())
        if self.chance(0.4):                                           # door, cupboard or sofa
            x, y, w = self.u(-0.1, 0.9), self.u(0.2, 0.7), self.u(0.2, 0.5)
            c = self.colour(40, 220)
            self.box(x, y, x + w, 1.1, c, self.shade(c, 0.6), 4, 0.02)
            self.box(x + 0.1 * w, y + 0.08, x + 0.9 * w, y + 0.3, self.shade(c, 0.85), self.shade(c, 0.6), 3)
        if self.chance(0.3):                                           # plant
            x, y = self.u(), self.u(0.5, 0.9)
            for _ in range(14):
                a, r = self.u(-math.pi, 0), self.u(0.05, 0.16)
                self.line([(x, y), (x + r * math.cos(a), y + r * math.sin(a))], (int(self.u(20, 90)), int(self.u(80, 170)), 40), 9)
        if self.chance(0.78):
            r = self.u(0.09, 0.26)
            self.person(self.u(0.25, 0.75), self.u(0.25, 0.55), r)
        if self.chance(0.2):
            self.person(self.u(0.0, 1.0), self.u(0.3, 0.6), self.u(0.07, 0.14))
        self.light()

    def street(self):
        self.gradient(self.colour(90, 255), self.colour(120, 255))
        if self.chance(0.6):
            self.disc(self.u(), self.u(0, 0.4), 0.06, 0.06, (255, 250, int(self.u(150, 240))))
        for layer in range(self.rng.integers(1, 4)):
            base, c = 0.35 + 0.15 * layer + self.u(0, 0.15), self.colour(30, 190)
            if self.chance(0.5):                                       # hills
                a, b = self.u(2, 9), self.u(0, 6)
                pts = [(k / 40, base + 0.06 * math.sin(a * k / 40 + b) + 0.025 * math.sin(3.1 * a * k / 40)) for k in range(41)]
                self.shape([(0, 1.1), *pts, (1, 1.1)], c)
            else:                                                      # houses with windows
                x = self.u(-0.1, 0.1)
                while x < 1:
                    w, y, c = self.u(0.1, 0.3), base - self.u(0, 0.3), self.colour(40, 220)
                    self.box(x, y, x + w, 1.1, c)
                    glass, gap = self.colour(), self.u(0.03, 0.06)
                    for i in range(1, int(w / gap)):
                        for j in range(1, 8):
                            self.box(x + i * gap - 0.35 * gap, y + j * gap, x + i * gap + 0.2 * gap, y + (j + 0.6) * gap, glass)
                    x += w + self.u(0, 0.05)
        for _ in range(self.rng.integers(0, 5)):                        # trees
            x, y, r = self.u(), self.u(0.4, 0.8), self.u(0.04, 0.12)
            self.box(x - 0.15 * r, y, x + 0.15 * r, y + 3 * r, (80, 55, 35))
            for _ in range(6):
                self.disc(x + self.u(-r, r), y + self.u(-r, r), r * 0.7, r * 0.6, (int(self.u(20, 110)), int(self.u(80, 180)), int(self.u(20, 70))))
        if self.chance(0.4):
            self.person(self.u(0.2, 0.8), self.u(0.3, 0.6), self.u(0.06, 0.2))
        self.light()

    def shapes(self):
        self.gradient(self.colour(), self.colour(), self.chance(0.5))
        for _ in range(self.rng.integers(3, 10)):
            x, y, rx, ry, c = self.u(), self.u(), self.u(0.03, 0.3), self.u(0.03, 0.3), tuple(int(v) for v in self.rng.uniform(0, 255, 3))
            kind = self.rng.integers(6)
            if kind == 0:
                self.disc(x, y, rx, ry, c)
            elif kind == 1:
                self.box(x - rx, y - ry, x + rx, y + ry, c, radius=self.u(0, 0.05))
            elif kind == 2:
                self.shape([(x + self.u(-rx, rx), y + self.u(-ry, ry)) for _ in range(4)], c)
            elif kind == 3:
                self.text(x - 0.2, y, self.u(0.03, 0.15), c)
            elif kind == 4:
                n = self.rng.integers(3, 14)
                for k in range(n):
                    self.box(x + rx * (2 * k / n - 1), y - ry, x + rx * ((2 * k + 1) / n - 1), y + ry, c)
            else:
                self.line([(self.u(), self.u()) for _ in range(4)], c, int(self.u(2, 20)))
        if self.chance(0.6):
            self.light()

    def test_card(self):
        kind = self.rng.integers(6)
        if kind == 0:                                                  # colour bars with a smaller row and noise below
            level = int(self.u(150, 255))
            for k in range(7):
                c = tuple(level * ((7 - k) >> s & 1) for s in (1, 2, 0))
                self.box(k / 7, 0, (k + 1) / 7, 0.67, c)
                self.box(k / 7, 0.67, (k + 1) / 7, 0.75, (0, 0, 0) if k % 2 else tuple(level * ((k + 1) >> s & 1) for s in (1, 2, 0)))
            self.box(0, 0.75, 1, 1, (0, 0, 0))
            for k, c in enumerate(((0, 33, 76), (255, 255, 255), (50, 0, 106), (0, 0, 0))):
                self.box(k / 6, 0.75, (k + 1) / 6, 1, c)
            snow = self.rng.integers(0, 255, (CANVAS // 4, CANVAS // 4)).astype("u1").repeat(2, 0).repeat(2, 1)
            self.image.paste(Image.fromarray(snow), (int(CANVAS * 0.75), int(CANVAS * 0.75)))
        elif kind == 1:                                                # a ball
            self.box(0, 0, 1, 1, (0, 0, 0) if self.chance(0.7) else self.colour())
            r = self.u(0.04, 0.15)
            self.disc(self.u(), self.u(), r, r, (255, 255, 255))
        elif kind == 2:                                                # green screen, opening mouth, running clock
            self.box(0, 0, 1, 1, (0, int(self.u(120, 220)), 0) if self.chance(0.7) else self.colour())
            a, r = self.u(0, 360), self.u(0.1, 0.35)
            x, y = self.u(0.3, 0.7), self.u(0.3, 0.7)
            self.draw.pieslice(self.px(x - r, y - r, x + r, y + r), a, a + self.u(150, 340), (int(self.u(0, 90)), int(self.u(180, 255)), int(self.u(0, 90))))
            self.text(self.u(0, 0.4), self.u(0, 0.9), 0.09, (255, 255, 255))
        elif kind == 3:                                                # checkers
            n, c = int(self.rng.integers(3, 20)), (self.colour(), self.colour())
            for i in range(n):
                for j in range(n):
                    self.box(i / n, j / n, (i + 1) / n, (j + 1) / n, c[(i + j) % 2])
        elif kind == 4:                                                # flat stripes
            n = int(self.rng.integers(1, 6))
            for k in range(n):
                self.box(0, k / n, 1, (k + 1) / n, tuple(int(v) for v in self.rng.uniform(0, 255, 3)))
            self.text(self.u(0, 0.6), self.u(0, 0.9), self.u(0.05, 0.2), (255, 255, 255))
        else:                                                          # grey or colour ramp
            self.gradient((0, 0, 0), (255, 255, 255) if self.chance(0.5) else self.colour(), self.chance(0.5))

    def light(self):
        """A soft uneven light over the whole scene."""
        y, x = np.mgrid[0:32, 0:32] / 31.0
        a = self.u(0, 2 * math.pi)
        k = 1 + self.u(0, 0.45) * (math.cos(a) * (x - 0.5) + math.sin(a) * (y - 0.5)) * 2
        k = k + self.u(0, 0.5) * np.exp(-((x - self.u()) ** 2 + (y - self.u()) ** 2) * self.u(4, 20)) - 0.1
        if self.chance(0.5):
            k = k + self.rng.normal(0, 0.05, (32, 32))
        mask = Image.fromarray(np.clip(k * 127, 0, 255).astype("u1")).resize((CANVAS, CANVAS), Image.BICUBIC)
        lit = np.asarray(self.image, "f4") * (np.asarray(mask, "f4")[..., None] / 127)
        self.image.paste(Image.fromarray(np.clip(lit, 0, 255).astype("u1")))

    def texture(self, x: np.ndarray) -> np.ndarray:
        """Cloth, plaster, foliage: noise of several sizes."""
        for cells in (8, 24, 64, 128):
            if self.chance(0.4):
                n = self.rng.normal(0, 1, (cells, cells, 3 if self.chance(0.3) else 1)).repeat(3, 2)[..., :3]
                n = Image.fromarray(np.clip(n * 40 + 128, 0, 255).astype("u1")).resize((SIZE, SIZE), Image.BICUBIC)
                x = x + (np.asarray(n, "f4") / 255 - 0.5) * self.u(0, 0.35)
        return x


def camera(image: Image.Image, p: Painter) -> np.ndarray:
    """Exposure, white balance, softness, noise and compression of a cheap camera."""
    x = np.asarray(image, "f4") / 255
    if p.chance(0.25):
        x = p.texture(x)
    x = np.clip(x, 0, 1) ** p.u(0.65, 1.5)
    x = (x - 0.5) * p.u(0.65, 1.15) + 0.5 + p.u(-0.12, 0.12)
    if p.chance(0.4):
        x = x * p.rng.uniform(0.82, 1.12, 3).astype("f4")
    if p.chance(0.5):
        x = x + p.rng.normal(0, p.u(0, 0.04), x.shape).astype("f4")
    image = Image.fromarray((np.clip(x, 0, 1) * 255).astype("u1"))
    if p.chance(0.3):
        image = image.filter(ImageFilter.GaussianBlur(p.u(0.3, 1.2)))
    if p.chance(0.35):
        packed = io.BytesIO()
        image.save(packed, "JPEG", quality=int(p.u(25, 90)))
        image = Image.open(packed)
    return np.asarray(image)


def scene(rng: np.random.Generator) -> np.ndarray:
    """One picture, uint8 (256, 256, 3)."""
    p = Painter(rng)
    kind = rng.random()
    (p.room if kind < 0.5 else p.street if kind < 0.68 else p.shapes if kind < 0.87 else p.test_card)()
    return camera(p.image.reduce(2), p)


def pictures(count: int, seed: int) -> torch.Tensor:
    """`count` scenes as (count, 3, 256, 256) in 0..1."""
    rng = np.random.default_rng(seed)
    stack = np.stack([scene(rng) for _ in range(count)])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255


class Scenes:
    """A pool of scenes, slowly renewed, that hands out augmented crops."""

    def __init__(self, count: int, seed: int):
        self.rng = np.random.default_rng(seed)
        self.pool = np.stack([scene(self.rng) for _ in range(count)])

    def renew(self, count: int = 1) -> None:
        for i in self.rng.integers(len(self.pool), size=count):
            self.pool[i] = scene(self.rng)

    def crop(self, size: int) -> torch.Tensor:
        rng = self.rng
        zoom = 1.0 if rng.random() < 0.55 else rng.uniform(1, SIZE / size)
        side = min(SIZE, int(size * zoom))
        y, x = rng.integers(SIZE - side + 1, size=2)
        part = self.pool[rng.integers(len(self.pool)), y:y + side, x:x + side]
        if rng.random() < 0.5:
            part = part[:, ::-1]
        if rng.random() < 0.15:
            part = part[..., rng.permutation(3)]
        t = torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1).float() / 255
        if side != size:
            t = F.interpolate(t[None], (size, size), mode="bilinear", antialias=True)[0]
        return t

    def batch(self, count: int, size: int) -> torch.Tensor:
        return torch.stack([self.crop(size) for _ in range(count)])
