"""Models of the real architectures, too small to draw anything, with random weights: for tests and fixtures.

    python tiny.py OUT [sd15 | sd2 | turbo | lcm | xl …]

Each is a diffusers folder as `save_pretrained` writes it. Weights are drawn so that prompt, timestep, picture and
adapters all change the result visibly.
"""
from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from diffusers import (AutoencoderKL, AutoencoderTiny, DDIMScheduler, EulerDiscreteScheduler, LCMScheduler,
                       UNet2DConditionModel)
from safetensors.torch import save_file
from transformers import (CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionConfig,
                          CLIPVisionModelWithProjection)

KINDS = ("sd15", "sd2", "turbo", "lcm", "xl")
# As sd15 with a single level; for the fixture.
SMALLEST = "smallest"
# As turbo with a single level as wide as a real one: kernels and fusions that know only real widths are met.
WIDE = "wide"
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def tokenizer(folder: Path, pad: str) -> int:
    """A byte-level vocabulary in CLIP's files; returns its size."""
    kept = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in kept]
    letters = {byte: chr(byte) for byte in kept} | {byte: chr(256 + at) for at, byte in enumerate(others)}
    symbols = [letters[byte] for byte in (*kept, *others)]
    merges = [("i", "n"), ("t", "h"), ("a", "n"), ("r", "e</w>"), ("e", "r</w>"), ("o", "n</w>"), ("th", "e</w>")]
    words = [*symbols, *(symbol + "</w>" for symbol in symbols), *("".join(pair) for pair in merges),
             "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(words)}, ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n", "utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": pad}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}) + "\n")
    return len(words)


def lively(model: torch.nn.Module, seed: int, gain: float = 1.0) -> torch.nn.Module:
    """Draw the weights so that every input of a layer counts about as much as in a trained one."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for values in model.parameters():
            if values.ndim >= 2:
                values.copy_(torch.randn_like(values) * gain / values[0].numel() ** 0.5)
    return model.eval()


def text(width: int, words: int, layers: int, projection: int) -> CLIPTextConfig:
    return CLIPTextConfig(vocab_size=words, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
                          num_attention_heads=2, projection_dim=projection, hidden_act="quick_gelu",
                          bos_token_id=words - 2, eos_token_id=words - 1, pad_token_id=words - 1)


def unet_config(kind: str) -> dict:
    if kind == SMALLEST:
        return {"sample_size": 8, "block_out_channels": (8,), "layers_per_block": 1, "norm_num_groups": 2,
                "cross_attention_dim": 12, "attention_head_dim": 2, "down_block_types": ("CrossAttnDownBlock2D",),
                "mid_block_type": None, "up_block_types": ("CrossAttnUpBlock2D",)}
    if kind == WIDE:
        return {"sample_size": 8, "block_out_channels": (320,), "layers_per_block": 1, "norm_num_groups": 32,
                "cross_attention_dim": 16, "attention_head_dim": 5, "use_linear_projection": True,
                "down_block_types": ("CrossAttnDownBlock2D",), "mid_block_type": None,
                "up_block_types": ("CrossAttnUpBlock2D",)}
    wide = {"sd15": 12, "lcm": 12, "sd2": 16, "turbo": 16, "xl": 28}[kind]
    config = {"sample_size": 16, "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4,
              "cross_attention_dim": wide, "attention_head_dim": 2 if kind in ("sd15", "lcm") else (1, 2),
              "use_linear_projection": kind not in ("sd15", "lcm"),
              "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
              "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}
    if kind == "lcm":
        config["time_cond_proj_dim"] = 16
    if kind == "xl":
        config |= {"addition_embed_type": "text_time", "addition_time_embed_dim": 4,
                   "projection_class_embeddings_input_dim": 10 + 6 * 4, "transformer_layers_per_block": (1, 2),
                   "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
                   "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D")}
    return config


def scheduler(kind: str):
    if kind == "turbo":
        return EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="trailing")
    if kind == "lcm":
        return LCMScheduler(**SCHEDULE)
    prediction = "v_prediction" if kind == "sd2" else "epsilon"
    return DDIMScheduler(**SCHEDULE, prediction_type=prediction)


def taesd() -> AutoencoderTiny:
    narrow = (4, 4, 4, 4)
    vae = lively(AutoencoderTiny(encoder_block_out_channels=narrow, decoder_block_out_channels=narrow,
                                 num_encoder_blocks=(1, 1, 1, 1), num_decoder_blocks=(1, 1, 1, 1)), 5, 1.4)
    with torch.no_grad():
        vae.decoder.layers[-1].weight.mul_(0.2)
        vae.decoder.layers[-1].bias.fill_(0.5)
    return vae


def make(kind: str, out: Path) -> Path:
    """Write one of KINDS, or SMALLEST or WIDE, to `out`, which must not exist; returns `out`."""
    unet = lively(UNet2DConditionModel(**unet_config(kind)), 1, 0.8)
    unet.save_pretrained(out / "unet")
    pad = "!" if kind in ("sd2", "turbo") else "<|endoftext|>"
    words = tokenizer(out / "tokenizer", pad)
    if kind == "xl":
        tokenizer(out / "tokenizer_2", "!")
        lively(CLIPTextModel(text(12, words, 2, 8)), 2).save_pretrained(out / "text_encoder")
        lively(CLIPTextModelWithProjection(text(16, words, 2, 10)), 3).save_pretrained(out / "text_encoder_2")
    else:
        width = unet.config.cross_attention_dim
        lively(CLIPTextModel(text(width, words, 2, 8)), 2).save_pretrained(out / "text_encoder")
    vae = AutoencoderKL(block_out_channels=(4, 4, 8, 8), norm_num_groups=2, layers_per_block=1, latent_channels=4,
                        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
                        force_upcast=kind == "xl", scaling_factor=0.13025 if kind == "xl" else 0.18215)
    lively(vae, 4).save_pretrained(out / "vae")
    scheduler(kind).save_pretrained(out / "scheduler")
    name = {"xl": "StableDiffusionXLPipeline", "lcm": "LatentConsistencyModelPipeline"}.get(kind, "StableDiffusionPipeline")
    index = {"_class_name": name, "_diffusers_version": "0.42.1", "unet": ["diffusers", "UNet2DConditionModel"]}
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    return out


def make_ip_adapter(folder: Path, model: Path, plus: bool = False) -> Path:
    """An IP-Adapter for a model of `make`, with `image_encoder/` beside it; returns the file."""
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    wide, seen = unet.config.cross_attention_dim, 8
    torch.manual_seed(6)
    encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=12, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8,
        projection_dim=seen))
    lively(encoder, 7).save_pretrained(folder / "image_encoder")
    tensors = {}
    if plus:
        from diffusers.models.embeddings import IPAdapterPlusImageProjection  # noqa: F401  (its layout is copied below)
        tensors |= {"image_proj.latents": torch.randn(1, 4, 12), "image_proj.proj_in.weight": torch.randn(12, 12) / 3,
                    "image_proj.proj_in.bias": torch.zeros(12), "image_proj.proj_out.weight": torch.randn(wide, 12) / 3,
                    "image_proj.proj_out.bias": torch.zeros(wide), "image_proj.norm_out.weight": torch.ones(wide),
                    "image_proj.norm_out.bias": torch.zeros(wide)}
        for layer in range(4):
            at = f"image_proj.layers.{layer}."
            tensors |= {at + "0.norm1.weight": torch.ones(12), at + "0.norm1.bias": torch.zeros(12),
                        at + "0.norm2.weight": torch.ones(12), at + "0.norm2.bias": torch.zeros(12),
                        at + "0.to_q.weight": torch.randn(64, 12) / 3, at + "0.to_kv.weight": torch.randn(128, 12) / 3,
                        at + "0.to_out.weight": torch.randn(12, 64) / 8, at + "1.0.weight": torch.ones(12),
                        at + "1.0.bias": torch.zeros(12), at + "1.1.weight": torch.randn(48, 12) / 3,
                        at + "1.3.weight": torch.randn(12, 48) / 6}
    else:
        tensors |= {"image_proj.proj.weight": torch.randn(4 * wide, seen) / seen ** 0.5,
                    "image_proj.proj.bias": torch.zeros(4 * wide), "image_proj.norm.weight": torch.ones(wide),
                    "image_proj.norm.bias": torch.zeros(wide)}
    number = 1
    for name in unet.attn_processors:
        if not name.endswith("attn1.processor"):
            hidden = unet.get_submodule(name.removesuffix(".processor")).to_q.weight.shape[0]
            for matrix in ("k", "v"):
                tensors[f"ip_adapter.{number}.to_{matrix}_ip.weight"] = torch.randn(hidden, wide)
            number += 2
    file = folder / "ip-adapter_tiny.safetensors"
    save_file(tensors, file)
    return file


def make_lora(file: Path, model: Path, seed: int, with_text: bool = False) -> Path:
    """A LoRA for a model of `make` in kohya's naming: attention of the network and, if wanted, of the text encoder."""
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    torch.manual_seed(seed)
    tensors = {}

    def adapt(prefix: str, module: torch.nn.Module, endings: tuple[str, ...]) -> None:
        for name, layer in module.named_modules():
            if name.endswith(endings) and hasattr(layer, "weight"):
                key = prefix + name.replace(".", "_")
                out, inside = layer.weight.shape
                tensors[f"{key}.lora_down.weight"] = torch.randn(2, inside) / inside ** 0.5
                tensors[f"{key}.lora_up.weight"] = torch.randn(out, 2)
                tensors[f"{key}.alpha"] = torch.tensor(1.5)

    adapt("lora_unet_", unet, ("to_q", "to_v", "to_out.0"))
    if with_text:
        encoder = CLIPTextModel.from_pretrained(model / "text_encoder")
        part = "lora_te1_" if unet.config.addition_embed_type else "lora_te_"
        # Files say `text_model`, whatever the library calls it at present.
        named = any(name.startswith("text_model.") for name, _ in encoder.named_modules())
        adapt(part if named else part + "text_model_", encoder, ("q_proj", "k_proj", "v_proj", "out_proj"))
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file)
    return file


if __name__ == "__main__":
    for wanted in sys.argv[2:] or KINDS:
        print(make(wanted, Path(sys.argv[1]) / wanted))
