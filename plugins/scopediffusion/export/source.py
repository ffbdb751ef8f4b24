"""The model to export: a diffusers folder on disk or on the hub, looked through before anything is loaded."""
from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from trouble import Trouble

FOLDER_HINT = ("SRC is a folder as diffusers' save_pretrained writes it: model_index.json, unet/, text_encoder/, "
               "tokenizer/, vae/, scheduler/")
# Enough for every part that is exported, and nothing else: no checkpoints, no pickles.
HUB_FILES = ["model_index.json", "unet/*.json", "unet/*.safetensors", "text_encoder*/*.json",
             "text_encoder*/*.safetensors", "tokenizer*/*", "vae/*.json", "vae/*.safetensors", "scheduler/*.json"]
PIPELINES = {family + kind for family in ("StableDiffusion", "StableDiffusionXL", "LatentConsistencyModel")
             for kind in ("Pipeline", "Img2ImgPipeline")}


@dataclass(frozen=True)
class Source:
    """A folder that holds every part of a model this program can export."""

    folder: Path
    index: dict
    unet: dict

    @property
    def xl(self) -> bool:
        """Whether it has two text encoders, pooled embeddings and time ids."""
        return self.unet.get("addition_embed_type") == "text_time"

    @property
    def text_encoders(self) -> list[str]:
        return ["text_encoder", "text_encoder_2"] if self.xl else ["text_encoder"]

    def config(self, part: str) -> dict:
        return read_json(self.folder / part / "config.json")


def find(text: str) -> Source:
    """The source that `text` names: a path, or `owner/name` on the hub.

    Raises Trouble if it is not there, not whole, or not a kind of model that becomes such a folder.
    """
    folder = Path(text).expanduser()
    if not folder.is_dir():
        folder = fetch(text)
    if not (folder / "model_index.json").is_file():
        if (folder / "unet" / "model.onnx").is_file():
            raise Trouble(f"`{folder}` is exported already", "use it as `model-dir` as it is")
        raise Trouble(f"`{folder}` has no model_index.json", FOLDER_HINT)
    index = read_json(folder / "model_index.json")
    if (folder / "transformer").is_dir() and not (folder / "unet").is_dir():
        raise Trouble(f"`{folder}` has a transformer instead of a unet: {index.get('_class_name', 'unknown')}",
                      "export a model of the Stable Diffusion family: 1, 2, XL, Turbo or LCM")
    name = index.get("_class_name", "")
    if name not in PIPELINES:
        raise Trouble(f"`{folder}` is a {name or 'pipeline without a name'}",
                      "export a text-to-image model of the Stable Diffusion family: 1, 2, XL, Turbo or LCM")
    unet = read_json(folder / "unet" / "config.json")
    source = Source(folder, index, unet)
    for part in ("unet", "vae", *source.text_encoders):
        read_json(folder / part / "config.json")
        variant(folder / part)
    for number, _ in enumerate(source.text_encoders, 1):
        tokenizer = folder / ("tokenizer" if number == 1 else f"tokenizer_{number}")
        if not (tokenizer / "vocab.json").is_file() and not (tokenizer / "tokenizer.json").is_file():
            raise Trouble(f"`{tokenizer}` holds no tokenizer", FOLDER_HINT)
    read_json(folder / "scheduler" / "scheduler_config.json")
    if unet.get("in_channels", 4) in (8, 9):
        raise Trouble(f"the unet of `{folder}` takes {unet['in_channels']} channels: it edits or fills pictures",
                      "export the text-to-image model that it was made from")
    if unet.get("encoder_hid_dim_type") or unet.get("class_embed_type") or unet.get("num_class_embeds"):
        raise Trouble(f"the unet of `{folder}` has inputs of a kind nobody here can feed",
                      "export a model of the Stable Diffusion family: 1, 2, XL, Turbo or LCM")
    return source


def fetch(text: str) -> Path:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", text) or text.startswith("."):
        raise Trouble(f"`{text}` is no folder", FOLDER_HINT)
    from huggingface_hub import snapshot_download
    print(f"fetching {text} from the hub", flush=True)
    try:
        return Path(snapshot_download(text, allow_patterns=HUB_FILES))
    except Exception as error:  # the hub's client raises half a dozen kinds, its HTTP client more
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Trouble(f"`{text}` is no folder here, and it cannot be fetched from the hub: {reason}",
                      "check the name and the network, or fetch the model elsewhere and name its folder") from error


def read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise Trouble(f"`{path}` is missing", FOLDER_HINT) from error
    except (ValueError, OSError) as error:
        raise Trouble(f"`{path}` cannot be read: {error}", "fetch the model again") from error


def variant(part: Path) -> str | None:
    """What the weights of a part are called besides their usual name: `fp16` or nothing."""
    names = [path.name for path in part.iterdir()]
    weights = [name for name in names if name.endswith((".safetensors", ".bin"))]
    if not weights:
        raise Trouble(f"`{part}` holds no weights", "fetch the model again, with its .safetensors files")
    return "fp16" if all(".fp16." in name for name in weights) else None
