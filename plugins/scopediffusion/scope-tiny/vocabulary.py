"""The closed vocabulary of scope-tiny: which words mean what, and how training prompts are made from them.

Every style, colour and light of `styles.py` has an entry here.  Words outside these lists are filler: the
model is trained to ignore them.
"""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Word:
    """One meaning: `id` names the filter, `prompts` are the phrases that ask for it."""
    id: str
    label: str
    prompts: tuple[str, ...]
    hint: str = ""


def _w(id: str, label: str, prompts: str, hint: str = "") -> Word:
    return Word(id, label, tuple(p.strip() for p in prompts.split("|")), hint)


STYLES: tuple[Word, ...] = (
    _w("photo", "Photo", "photo|realistic photo|realistic|photograph", "the picture as it is"),
    _w("sketch", "Pencil sketch", "pencil sketch|sketch|pencil drawing|drawing", "graphite lines on white paper"),
    _w("engraving", "Engraving", "engraving|etching|woodcut|banknote engraving", "ink lines that swell with the shadows, crossed in the darkest"),
    _w("neon", "Neon", "neon|neon lights|neon sign|glowing neon", "glowing coloured outlines in the dark"),
    _w("oil", "Oil painting", "oil painting|oil|impressionist painting|van gogh painting", "thick saturated brush work"),
    _w("pixel", "Pixel art", "pixel art|pixel|retro pixel art|8-bit", "8-pixel blocks in few colours"),
    _w("lego", "Lego bricks", "lego|lego bricks|bricks|toy bricks", "8-pixel bricks with studs"),
    _w("thermal", "Thermal camera", "thermal|thermal camera|heat map|infrared", "brightness as a rainbow from blue to red"),
    _w("blueprint", "Blueprint", "blueprint|blueprint drawing|wireframe|technical drawing", "white lines on blue paper"),
    _w("sunset", "Sunset", "sunset|at sunset|sunrise|golden hour", "purple shadows and orange light"),
    _w("night", "Night", "night|at night|moonlight|midnight", "dark and blue"),
    _w("comic", "Comic", "comic|comic book|cartoon|anime", "flat colours, ink outlines, printed shadows"),
    _w("watercolor", "Watercolor", "watercolor|watercolor painting|aquarelle|watercolour", "washes of pigment with wet edges on grained paper"),
    _w("vintage", "Vintage", "vintage|vintage photo|sepia|old photo", "faded brown print"),
    _w("noir", "Film noir", "noir|film noir|black and white|monochrome", "hard black and white"),
    _w("emboss", "Emboss", "emboss|embossed|relief|stone carving", "grey relief lit from a corner"),
    _w("negative", "Negative", "negative|inverted|film negative|inverted colors", "opposite colours"),
    _w("golden", "Gold", "gold|golden|golden statue|gold metal", "polished metal"),
    _w("forest", "Forest", "forest|jungle|mossy|deep forest", "leaf-green light"),
    _w("ice", "Ice", "ice|frozen|frost|icy winter", "pale blue with white frost"),
    _w("fire", "Fire", "fire|flames|burning|lava", "black, red, orange and yellow"),
    _w("underwater", "Underwater", "underwater|under the sea|deep sea|aquarium", "soft blue-green water"),
    _w("popart", "Pop art", "pop art|warhol|screen print|pop art poster", "four flat poster colours"),
    _w("halftone", "Halftone", "halftone|newspaper|newsprint|printed dots", "black dots on newsprint"),
    _w("stained", "Stained glass", "stained glass|mosaic|stained glass window|mosaic tiles", "coloured glass between lead lines"),
    _w("hologram", "Hologram", "hologram|holographic|hologram projection|scanlines", "cyan light in scan lines"),
    _w("chalk", "Chalkboard", "chalkboard|chalk|chalk drawing|blackboard", "chalk lines on a dark board"),
    _w("matrix", "Matrix code", "matrix|matrix code|ascii|digital rain", "green glyphs on black"),
    _w("gameboy", "Game handheld", "gameboy|game boy|handheld console|dithered", "four greens in a dither"),
    _w("cyberpunk", "Cyberpunk", "cyberpunk|cyberpunk city|vaporwave|synthwave", "magenta and cyan light"),
    _w("glitch", "Glitch", "glitch|vhs|glitch art|broken tv", "torn colour channels and scan lines"),
    _w("xray", "X-ray", "x-ray|xray|radiograph|x-ray scan", "glowing blue-white negative"),
    _w("knitted", "Knitted", "knitted|wool|embroidery|knitted sweater", "rows of coloured stitches"),
)

COLOURS: tuple[Word, ...] = (
    _w("red", "red", "red|red tones|crimson"), _w("orange", "orange", "orange|orange tones|amber"),
    _w("yellow", "yellow", "yellow|yellow tones|lemon"), _w("green", "green", "green|green tones|emerald"),
    _w("teal", "teal", "teal|cyan|turquoise"), _w("blue", "blue", "blue|blue tones|azure"),
    _w("purple", "purple", "purple|violet|purple tones"), _w("pink", "pink", "pink|magenta|pink tones"),
    _w("warm", "warm", "warm|warm colors|cozy"), _w("cold", "cold", "cold|cool|cold colors"),
    _w("pastel", "pastel", "pastel|pale|pastel colors"), _w("vivid", "vivid", "vivid|colorful|saturated"),
)

LIGHTS: tuple[Word, ...] = (
    _w("dark", "dark", "dark|dim|shadowy|low light"), _w("bright", "bright", "bright|sunny|luminous|bright light"),
    _w("foggy", "foggy", "foggy|misty|hazy|in the fog"), _w("dramatic", "dramatic", "dramatic|high contrast|moody"),
    _w("dreamy", "dreamy", "dreamy|soft glow|ethereal|blurry"),
)

SUBJECTS = """cat dog horse bird fish person man woman child girl boy face car house street tree flower road bridge castle
robot dragon space city beach mountain desert river lake sky portrait landscape astronaut wizard knight queen king
dancer musician guitar piano violin teapot chair table window door garden boat ship train plane bicycle tower temple
village market kitchen room office studio stage crowd friend teacher doctor singer actor hero monster alien ghost tiger
lion bear wolf fox rabbit owl eagle snake spider butterfly bee elephant whale dolphin shark apple banana cake bread
coffee cup bottle book lamp clock mirror camera phone computer keyboard screen hat coat shirt dress shoe hand eye hair
head smile world planet star moon sun cloud rain snow storm wind field hill valley cave island waterfall meadow
steampunk teddy puppet mask statue fountain carpet curtain shelf""".split()

QUALITY = """masterpiece|best quality|highly detailed|detailed|8k|4k|beautiful|cinematic|artistic|trending|intricate|sharp focus
|professional|award winning|amazing|stunning|elegant|modern|ancient|futuristic|fantasy|epic|surreal|abstract|minimal
|big|small|happy|sad|angry|old|young|walking|running|dancing|sitting|standing|flying|singing|talking|looking at camera
|wearing a hat|holding a cup|in a garden|close up|wide shot|full body|high resolution|ultra detailed|concept art""".replace("\n", "").split("|")

GLUE = "a an the of in on at with and to by from into style as for is very like look made under over near through".split()

# {s} style, {o} subject, {m} modifiers (colours and lights), {q} quality words
TEMPLATES = ("{m} {s}", "{s}, {m}", "a {m} {s} of a {o}", "{o}, {s}, {m}", "{s} of the {o}, {m}", "a {m} {o} in the style of {s}",
             "{s}, {o}, {m}, {q}", "{m} {o} {s}", "{q} {s} of a {o}, {m}", "a {o} as {s}, {m}, {q}", "{m}, {s}", "{o} and {o2}, {m}, {s} style")


def _tidy(text: str) -> str:
    """Drop the commas and blanks that an empty slot leaves behind."""
    parts = [" ".join(p.split()) for p in text.split(",")]
    return ", ".join(p for p in parts if p)


class PromptSampler:
    """Draws (style, colour, light, prompt) with the ids as indices; colour and light are -1 when absent."""

    def __init__(self, seed: int, style_weights: dict[str, float] | None = None):
        self.rng = np.random.default_rng(seed)
        weights = np.array([(style_weights or {}).get(s.id, 1.0) for s in STYLES])
        self.p = weights / weights.sum()

    def _pick(self, options):
        return options[self.rng.integers(len(options))]

    def _nonsense(self) -> str:
        letters = "abcdefghijklmnopqrstuvwxyz"
        return "".join(self._pick(letters) for _ in range(self.rng.integers(3, 9)))

    def _subject(self) -> str:
        return self._nonsense() if self.rng.random() < 0.12 else self._pick(SUBJECTS)

    def draw(self) -> tuple[int, int, int, str]:
        rng = self.rng
        style = int(rng.choice(len(STYLES), p=self.p))
        plain = style == 0
        colour = int(rng.integers(len(COLOURS))) if rng.random() < (0.4 if plain else 0.22) else -1
        light = int(rng.integers(len(LIGHTS))) if rng.random() < (0.35 if plain else 0.18) else -1
        words = [self._pick(COLOURS[colour].prompts)] if colour >= 0 else []
        words += [self._pick(LIGHTS[light].prompts)] if light >= 0 else []
        rng.shuffle(words)
        modifiers = (", " if rng.random() < 0.4 else " ").join(words)
        said = "" if plain and rng.random() < 0.5 else self._pick(STYLES[style].prompts)
        if rng.random() < 0.2:                                   # the phrase alone
            template = "{s}, {m}" if rng.random() < 0.5 else "{m} {s}"
        else:
            template = self._pick(TEMPLATES)
        if not said and rng.random() < 0.9:                      # no style word: only filler and modifiers
            template = self._pick(("{o}, {m}", "a {m} {o}", "{m}", "{m} {o} and {o2}", "{q}, {o}, {m}", "{o}, {q}, {m}"))
        text = template.format(s=said, o=self._subject(), o2=self._subject(), m=modifiers, q=self._pick(QUALITY).strip())
        return style, colour, light, _tidy(text)


def tokenizer_words() -> list[tuple[str, int]]:
    """Words with the weight they have when the byte-pair merges are chosen."""
    counts: dict[str, int] = {}
    for group, weight in ((STYLES, 60), (COLOURS, 60), (LIGHTS, 60)):
        for entry in group:
            for word in " ".join(entry.prompts).replace("-", " ").split():
                counts[word] = max(counts.get(word, 0), weight)
    for word in GLUE:
        counts.setdefault(word, 30)
    for word in SUBJECTS + " ".join(QUALITY).split():
        counts.setdefault(word, 4)
    return sorted(counts.items())


def write_styles_json(path: Path) -> None:
    """The list of suggestions that user interfaces show."""
    def entries(group):
        return [{"id": w.id, "label": w.label, "prompts": list(w.prompts), **({"hint": w.hint} if w.hint else {})} for w in group]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"styles": entries(STYLES), "colours": entries(COLOURS), "lights": entries(LIGHTS)}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n")


if __name__ == "__main__":
    write_styles_json(Path(__file__).parent / "model" / "styles.json")
