"""Runs an exported scope-tiny folder through onnxruntime, the way a one-step video pipeline does."""
from __future__ import annotations

import hashlib
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import onnxruntime as ort

from network import noise_levels
from tokenizer import Prompts

PARTS = ("text_encoder", "unet", "vae_encoder", "vae_decoder")


class Model:
    def __init__(self, folder: Path, threads: int = 1):
        self.folder = folder
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.parts = {p: ort.InferenceSession(str(folder / p / "model.onnx"), options, providers=["CPUExecutionProvider"]) for p in PARTS}
        self.prompts = Prompts(folder / "tokenizer")
        self.a, self.b = noise_levels()
        self.known: dict[str, np.ndarray] = {}

    def text(self, prompt: str) -> np.ndarray:
        if prompt not in self.known:
            ids = np.asarray([self.prompts.ids(prompt)], np.int64)
            self.known[prompt] = self.parts["text_encoder"].run(None, {"input_ids": ids})[0]
        return self.known[prompt]

    def denoise(self, latent: np.ndarray, features: np.ndarray, timesteps: tuple[int, ...], noise: np.ndarray) -> np.ndarray:
        """Add noise, remove it in one go, and so on for every timestep. Without a latent, start from noise alone."""
        x = latent
        for k, t in enumerate(timesteps):
            a, b, n = self.a[t], self.b[t], noise[k % len(noise)][None]
            noisy = b * n if x is None else a * x + b * n
            guess = self.parts["unet"].run(None, {"sample": noisy, "timestep": np.full(len(noisy), t, "f4"), "encoder_hidden_states": features})[0]
            x = (noisy - b * guess) / a
        return x

    def paint(self, picture: np.ndarray | None, prompt: str | np.ndarray, timesteps=(359,), noise: np.ndarray | None = None) -> np.ndarray:
        """One frame: picture (1, 3, H, W) in 0..1, or None for text-to-video; returns the same layout."""
        features = self.text(prompt) if isinstance(prompt, str) else prompt
        latent = None if picture is None else self.parts["vae_encoder"].run(None, {"sample": (picture * 2 - 1).astype("f4")})[0]
        out = self.denoise(latent, features, timesteps, noise)
        return np.clip(self.parts["vae_decoder"].run(None, {"latent_sample": out})[0] / 2 + 0.5, 0, 1)

    def hash(self) -> str:
        """One SHA-256 over the names and contents of the four ONNX files."""
        h = hashlib.sha256()
        for part in PARTS:
            digest = hashlib.sha256((self.folder / part / "model.onnx").read_bytes()).hexdigest()
            h.update(f"{digest}  {part}/model.onnx\n".encode())
        return h.hexdigest()


def noise_for(height: int, width: int, frames: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((frames, 48, height // 4, width // 4)).astype("f4")
