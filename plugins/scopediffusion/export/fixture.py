"""The model folder and vectors that the engine is tested with: `../engine/tests/exported`.

    python fixture.py OUT

A model of Stable Diffusion 1's architecture with random weights, an IP-Adapter and two LoRAs, exported by this very
program, and what diffusers and peft compute with it in float32.
"""
from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPImageProcessor, CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

import adapters
import step
import tiny

PROMPT, NEGATIVE = "a lighthouse in the rain", "blurry"
SCALES = {"ink": 0.8, "oil": -0.5}
IP_SCALE = 0.6


def vectors(model: Path, ip: Path, loras: list[Path]) -> dict[str, torch.Tensor]:
    unet = UNet2DConditionModel.from_pretrained(model / "unet").eval()
    encoder = CLIPTextModel.from_pretrained(model / "text_encoder").eval()
    tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
    vision = CLIPVisionModelWithProjection.from_pretrained(ip.parent / "image_encoder").eval()
    adapters.load_loras(unet, [encoder], loras, xl=False)
    adapters.load_ip_adapter(unet, ip)
    projection = unet.encoder_hid_proj.image_projection_layers[0]

    # Pictures as bytes, through the processor that CLIP's users have.
    side = vision.config.image_size
    pictures = [((step.picture(side, side)[0] * sign / 2 + 0.5) * 255).round().clamp(0, 255).byte().permute(1, 2, 0)
                for sign in (1.0, -0.7)]
    prepare = CLIPImageProcessor(size={"shortest_edge": side}, crop_size=side)
    seen = vision(prepare([picture.numpy() for picture in pictures], return_tensors="pt").pixel_values).image_embeds
    tokens, nothing = projection(seen), projection(torch.zeros_like(seen[:1]))

    def said(text: str) -> torch.Tensor:
        ids = tokenizer([text], padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        return encoder(ids).last_hidden_state

    official = step.Official(unet, IP_SCALE)
    generator = torch.Generator().manual_seed(11)
    sample = torch.randn(2, 4, 8, 12, generator=generator)
    out = {"picture0": pictures[0].contiguous(), "picture1": pictures[1].contiguous(), "tokens": tokens, "nothing": nothing,
           "sample": sample, "timesteps": torch.tensor([759.0, 199.0])}
    for name, scales, ip_scale in (("plain", dict.fromkeys(SCALES, 0.0), 0.0), ("adapted", SCALES, 0.0),
                                   ("shown", dict.fromkeys(SCALES, 0.0), IP_SCALE), ("both", SCALES, IP_SCALE)):
        adapters.set_scales(unet, scales)
        adapters.set_scales(encoder, scales)
        for processor in unet.attn_processors.values():
            if hasattr(processor, "to_k_ip"):
                processor.scale = [ip_scale]
        context = said(PROMPT)
        # One picture in `shown`, two in `both`: one after another.
        images = tokens[:1] if name != "both" else torch.cat([tokens[:1], tokens[1:]], dim=1)
        given = {"sample": sample, "timestep": out["timesteps"], "encoder_hidden_states": context.repeat(2, 1, 1),
                 "ip_hidden_states": images.repeat(2, 1, 1)}
        out[f"context_{name}"] = context
        out[f"out_{name}"] = official(given)
    return {name: value.detach().contiguous() for name, value in out.items()}


def main(out: Path) -> None:
    from importlib.machinery import SourceFileLoader
    program = SourceFileLoader("program", str(Path(__file__).resolve().parent / "__main__.py")).load_module()
    with tempfile.TemporaryDirectory() as room, torch.no_grad():
        home = Path(room)
        model = tiny.make("smallest", home / "model")
        ip = tiny.make_ip_adapter(home / "ip", model)
        loras = [tiny.make_lora(home / "ink.safetensors", model, 1, with_text=True), tiny.make_lora(home / "oil.safetensors", model, 2)]
        tiny.taesd().save_pretrained(home / "taesd")
        shutil.rmtree(out, ignore_errors=True)
        words = [model, out / "model", "--precision", "float32", "--taesd", home / "taesd", "--ip-adapter", ip]
        for lora in loras:
            words += ["--lora-inputs", lora]
        status = program.main([str(word) for word in words])
        if status:
            sys.exit(status)
        torch.set_grad_enabled(False)
        save_file(vectors(model, ip, loras), out / "vectors.safetensors")
        shutil.copy(loras[0], out / "ink.safetensors")
    total = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(f"{total / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
