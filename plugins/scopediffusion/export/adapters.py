"""LoRA files and IP-Adapters: loaded by diffusers for reference, then made inputs of the graph."""
from __future__ import annotations

import re
from pathlib import Path

import torch

from live import Adapted, Attention, Live
from trouble import Trouble

IP_HINT = ("PATH is an IP-Adapter file (.safetensors or .bin) with image_encoder/ beside it, or a folder that holds "
           "both; --image-encoder names another folder for the encoder")


def lora_names(paths: list[Path]) -> list[str]:
    """What the adapters' scales are called: the files' names, in the alphabet that every exporter keeps."""
    names = []
    for path in paths:
        if not path.is_file() or path.suffix != ".safetensors":
            raise Trouble(f"`{path}` is no .safetensors file", "name the LoRA file itself")
        name = re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)
        if name in names:
            raise Trouble(f"two LoRA files are called `{name}`", "rename one of them")
        names.append(name)
    return names


def load_loras(unet, text_encoders: list, paths: list[Path], xl: bool) -> None:
    """Put every adapter's branches into the modules, the way diffusers does."""
    from diffusers.loaders import StableDiffusionLoraLoaderMixin, StableDiffusionXLLoraLoaderMixin
    loader = StableDiffusionXLLoraLoaderMixin if xl else StableDiffusionLoraLoaderMixin
    for path, name in zip(paths, lora_names(paths)):
        try:
            state, alphas, metadata = loader.lora_state_dict(
                str(path.parent.resolve()), weight_name=path.name, unet_config=unet.config, return_lora_metadata=True)
            loader.load_lora_into_unet(state, alphas, unet=unet, adapter_name=name, metadata=metadata)
            for number, encoder in enumerate(text_encoders):
                loader.load_lora_into_text_encoder(
                    state, alphas, text_encoder=encoder, adapter_name=name, metadata=metadata,
                    prefix="text_encoder" if number == 0 else f"text_encoder_{number + 1}")
        except Exception as error:  # diffusers and peft raise whatever comes, often over several lines
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            raise Trouble(f"the LoRA `{path}` does not fit the model: {reason}",
                          "use a LoRA that was trained on this model's line") from error
        parts = [unet, *text_encoders]
        if not any(name in layer.lora_A for part in parts for _, layer in layers(part)):
            raise Trouble(f"the LoRA `{path}` adapts no layer of this model", "use one trained on this model's line")


def layers(module):
    """The layers with low-rank branches, by name."""
    from peft.tuners.lora import LoraLayer
    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, LoraLayer)]


def adapters_of(module) -> list[str]:
    """Names of the adapters that change something in `module`, in a stable order."""
    return sorted({name for _, layer in layers(module) for name in layer.lora_A})


def set_scales(module, scales: dict[str, float]) -> None:
    """Let the reference run with these scales."""
    for _, layer in layers(module):
        layer.set_adapter(list(layer.lora_A))
        for name in layer.lora_A:
            layer.set_scale(name, scales[name])


def free_scales(module, live: Live) -> None:
    """Replace the layers by ones whose scales are inputs."""
    for name, layer in layers(module):
        if any(layer.use_dora.get(adapter) for adapter in layer.lora_A):
            raise Trouble("a LoRA uses weight decomposition (DoRA), which is no sum of branches",
                          "merge it at load instead: `loras` of the element, or leave it out here")
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, Adapted(live, layer))
    if hasattr(module, "peft_config"):
        del module.peft_config
    if getattr(module, "_hf_peft_config_loaded", False):
        module._hf_peft_config_loaded = False


def find_ip_adapter(path: Path, encoder: Path | None) -> tuple[Path, Path]:
    """File of the adapter and folder of its image encoder."""
    file = path
    if path.is_dir():
        files = sorted(file for file in path.glob("ip-adapter*") if file.suffix in (".safetensors", ".bin"))
        if len(files) != 1:
            raise Trouble(f"`{path}` holds {len(files)} files ip-adapter*.safetensors or .bin", IP_HINT)
        file = files[0]
    if not file.is_file():
        raise Trouble(f"the IP-Adapter `{path}` is missing", IP_HINT)
    encoder = encoder or file.parent / "image_encoder"
    if not (encoder / "config.json").is_file():
        raise Trouble(f"`{encoder}` holds no image encoder", IP_HINT)
    return file, encoder


def load_ip_adapter(unet, file: Path) -> None:
    """Put the adapter into the network, the way diffusers does."""
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file
            state: dict = {"image_proj": {}, "ip_adapter": {}}
            for key, value in load_file(file).items():
                part, _, rest = key.partition(".")
                state[part][rest] = value
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
        if {"image_proj", "ip_adapter"} - set(state):
            raise KeyError("image_proj and ip_adapter")
        if any(key.startswith("perceiver_resampler") for key in state["image_proj"]):
            raise Trouble(f"`{file}` is a FaceID adapter: it wants a face recogniser besides the picture",
                          "use a plain or plus IP-Adapter")
        unet._load_ip_adapter_weights([state], low_cpu_mem_usage=False)
    except Trouble:
        raise
    except Exception as error:  # a pickle, a header or a shape may be wrong
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise Trouble(f"the IP-Adapter `{file}` does not fit the model: {reason}",
                      "use one that was trained on this model's line") from error


def free_attention(unet, live: Live, wide: set[str]) -> None:
    """Replace the attention that reads image tokens, or must be computed in float32, by our own."""
    processors = dict(unet.attn_processors)
    for name, old in processors.items():
        adapter = old if hasattr(old, "to_k_ip") else None
        place = name.removesuffix(".processor")
        if adapter is not None or place in wide:
            processors[name] = Attention(live, unet.get_submodule(place), adapter, place in wide)
    unet.set_attn_processor(processors)
    unet.encoder_hid_proj = None
    unet.config.encoder_hid_dim_type = None
