"""Turns a diffusers folder into a folder of ONNX graphs for the elements, and proves that it is right.

    python export SRC OUT [--precision float16] [--taesd DIR] [--ip-adapter PATH] [--lora-inputs FILE …] [--cuda]

Started by `gst-scope model export`, which brings the libraries; runs by itself where they are.
"""
from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
from pathlib import Path

from draft import refuse_existing
from trouble import Trouble

WANTED = ("torch", "diffusers", "transformers", "peft", "onnx", "onnxruntime", "safetensors", "numpy", "huggingface_hub")


def arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="export", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("out", type=Path)
    parser.add_argument("--precision", choices=("float16", "float32"), default="float16")
    parser.add_argument("--taesd", type=Path)
    parser.add_argument("--ip-adapter", type=Path)
    parser.add_argument("--image-encoder", type=Path)
    parser.add_argument("--lora-inputs", type=Path, action="append", default=[])
    parser.add_argument("--size", type=size, help="WIDTHxHEIGHT of the pictures, fixed")
    parser.add_argument("--rows", type=int, help="rows of every call of the network, fixed")
    parser.add_argument("--cuda", action="store_true", help="also write fused copies that run on CUDA alone")
    return parser.parse_args(words)


def size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def main(words: list[str] | None = None) -> int:
    wish = arguments(words)
    try:
        refuse_existing(wish.out)
        missing = [name for name in WANTED if importlib.util.find_spec(name) is None]
        if missing:
            raise Trouble(f"this Python ({sys.executable}) lacks {', '.join(missing)}",
                          "leave out --python to let the command set an environment up, or install its requirements.txt")
        from model import export
        export(wish)
    except Trouble as trouble:
        return trouble.report()
    except MemoryError:
        return Trouble("there is not enough memory for this model", "close other programs, or use a larger machine").report()
    except OSError as error:
        return Trouble(f"{error}", "check the disk and the folders named").report()
    except KeyboardInterrupt:
        return 130
    return 0


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    # Told to stop, it clears up as for Ctrl-C.
    signal.signal(signal.SIGTERM, interrupt)
    # Libraries ask for these when they are loaded.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
