"""One whole step from picture to picture: what the reference computes it from, and the same with the graphs."""
from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn

import verify
from live import LORA, SCALE, TOKENS
from source import Source, read_json
from trouble import Trouble

# The timestep of the whole step, and those of the rows that share a call.
TIMESTEP = 499
ROWS = (999.0, 679.0, 99.0)
# As OpenAI's CLIP was trained, unless the encoder's folder says otherwise.
MEAN = [0.48145466, 0.4578275, 0.40821073]
STD = [0.26862954, 0.26130258, 0.27577711]


def picture(height: int, width: int) -> torch.Tensor:
    """A picture with edges, slopes and colours, `[1, 3, H, W]` in −1…1."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    disc = ((x - 0.2) ** 2 + (y + 0.1) ** 2 < 0.3).float() * 2 - 1
    return torch.stack([0.8 * x, 0.6 * disc, torch.sin(7 * x * y + 3 * y)]).unsqueeze(0)


def normalisation(folder: Path) -> tuple[list[float], list[float]]:
    """Mean and deviation that an image encoder was trained with."""
    for file in (folder / "preprocessor_config.json", folder.parent / "feature_extractor" / "preprocessor_config.json"):
        if file.is_file():
            said = read_json(file)
            return said.get("image_mean", MEAN), said.get("image_std", STD)
    return MEAN, STD


class Official:
    """Diffusers' own forward, with adapters as diffusers applies them."""

    def __init__(self, unet: nn.Module, scale: float) -> None:
        self.unet = unet
        self.adapted = unet.encoder_hid_proj is not None
        if self.adapted:
            # The tokens are given; the adapter's projection is part of the image encoder's graph.
            unet.encoder_hid_proj = nn.Identity()
        for processor in unet.attn_processors.values():
            if hasattr(processor, "to_k_ip"):
                processor.scale = [scale]

    def bound(self, names: list[str]):
        return lambda *values: self(dict(zip(names, values)))

    def __call__(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        given = {name: value for name, value in inputs.items() if name != SCALE and not name.startswith(LORA)}
        extra = {name: given.pop(name) for name in ("text_embeds", "time_ids") if name in given}
        if self.adapted:
            extra["image_embeds"] = [given.pop(TOKENS)]
        return self.unet(**given, added_cond_kwargs=extra or None, return_dict=False)[0]


class Trial:
    """Inputs of the reference and what came of them."""

    def __init__(self, source: Source, unet: nn.Module, vae: nn.Module, wish: argparse.Namespace) -> None:
        self.source, self.wish = source, wish
        levels = len(unet.config.block_out_channels)
        multiple = 2 ** (levels - 1)
        self.scaling = float(getattr(vae.config, "scaling_factor", None) or 1.0)
        if getattr(vae.config, "shift_factor", None):
            raise Trouble("the autoencoder shifts its latents", "export a model of the Stable Diffusion family")
        self.factor = self.measure_factor(vae)
        if wish.size:
            width, height = wish.size
            grid = self.factor * multiple
            if width % grid or height % grid or min(wish.size) < grid:
                raise Trouble(f"--size {width}x{height} does not suit this model", f"use multiples of {grid}")
            self.latent_size = (height // self.factor, width // self.factor)
        else:
            # Not square, so that no axis can be taken for the other.
            side = max(16, 2 * multiple)
            self.latent_size = (side, side + max(8, multiple))
        height, width = (side * self.factor for side in self.latent_size)
        self.picture = picture(height, width)
        self.noise = torch.randn(1, unet.config.in_channels, *self.latent_size, generator=torch.Generator().manual_seed(7))
        self.alpha, self.sigma, self.prediction = self.schedule()

    def measure_factor(self, vae: nn.Module) -> int:
        """Pixels for one of the latent, in each direction."""
        latent = vae.encode(torch.zeros(1, 3, 64, 64), return_dict=False)[0]
        latent = latent if torch.is_tensor(latent) else latent.mean
        return 64 // latent.shape[-1]

    def schedule(self) -> tuple[float, float, str]:
        """Signal and noise at the timestep of the whole step, and what the network predicts."""
        from diffusers import DDPMScheduler
        config = read_json(self.source.folder / "scheduler" / "scheduler_config.json")
        scheduler = DDPMScheduler.from_config({key: value for key, value in config.items() if key != "_class_name"})
        bar = float(scheduler.alphas_cumprod[TIMESTEP])
        return math.sqrt(bar), math.sqrt(1.0 - bar), config.get("prediction_type", "epsilon")

    def token_ids(self, part: str, texts: tuple[str, ...]) -> torch.Tensor:
        from transformers import CLIPTokenizer
        tokenizer = CLIPTokenizer.from_pretrained(str(self.source.folder / part.replace("text_encoder", "tokenizer")))
        encoded = tokenizer(list(texts), padding="max_length", max_length=77, truncation=True, return_tensors="pt")
        return encoded.input_ids

    def network_inputs(self, unet: nn.Module, context: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Rows at different timesteps and with different prompts, as the stream batch has them."""
        count = self.wish.rows or len(ROWS)
        timesteps = torch.tensor([ROWS[at % len(ROWS)] for at in range(count)])
        noise = torch.randn(count, *self.noise.shape[1:], generator=torch.Generator().manual_seed(8))
        turns = [at % len(context[0]) for at in range(count)]
        inputs = {"sample": noise, "timestep": timesteps, "encoder_hidden_states": context[0][turns]}
        if self.source.xl:
            height, width = (float(side * self.factor) for side in self.latent_size)
            inputs["text_embeds"] = context[1][turns]
            inputs["time_ids"] = torch.tensor([[height, width, 0.0, 0.0, height, width]]).repeat(count, 1)
        if unet.config.time_cond_proj_dim:
            waves = torch.randn(1, unet.config.time_cond_proj_dim, generator=torch.Generator().manual_seed(9)).sin()
            inputs["timestep_cond"] = waves.repeat(count, 1)
        return inputs

    def at_one_timestep(self, inputs: dict[str, torch.Tensor], latent: torch.Tensor) -> dict[str, torch.Tensor]:
        """The inputs of the whole step: the picture's latent with noise, in every row."""
        noisy = self.alpha * latent * self.scaling + self.sigma * self.noise
        rows = len(inputs["timestep"])
        return inputs | {"sample": noisy.repeat(rows, 1, 1, 1), "timestep": torch.full((rows,), float(TIMESTEP))}

    def clean_of(self, noisy: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        if self.prediction == "v_prediction":
            return self.alpha * noisy - self.sigma * out
        if self.prediction == "sample":
            return out
        return (noisy - self.sigma * out) / self.alpha

    def clean_latent(self, network, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The reference's clean latent, scaled, `[1, C, h, w]`."""
        given = self.at_one_timestep(inputs, self.latent)
        self.step_inputs = given
        return self.clean_of(given["sample"], network(given))[:1]

    def whole(self, folder: Path) -> np.ndarray:
        """The picture that the graphs make of the trial's picture, `[1, 3, H, W]`; the prompt is the reference's."""
        def run(role: str, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
            return torch.from_numpy(verify.run(folder / role / "model.onnx", inputs)[0])
        latent = run("vae_encoder", {"sample": self.picture})
        given = self.at_one_timestep(self.step_inputs, latent)
        clean = self.clean_of(given["sample"], run("unet", given))[:1]
        return run("vae_decoder", {"latent_sample": clean / self.scaling}).numpy()


