#!/usr/bin/env python3
"""Train scope-tiny from nothing on the processor.

    python train.py --minutes 75 --out run

Writes run/checkpoint.pt every few minutes; `export.py` turns one into the model folder.
"""
from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from muon import Muon
from network import CHANNELS, FACTOR, LEVELS, Denoiser, TextEncoder, decode, encode
from scenes import Scenes
from styles import blur, contrast, kuwahara, render, saturate
from tokenizer import Prompts, write_tokenizer
from vocabulary import COLOURS, LIGHTS, STYLES, PromptSampler
import warm

torch.set_num_threads(1)
# Styles with hard steps or fine patterns are drawn more often, plain colour maps less often.
FREQUENCY = {**dict.fromkeys(("comic", "stained", "engraving", "matrix", "watercolor"), 2.2), "pixel": 3.6, "photo": 1.6,
             **dict.fromkeys(("lego", "neon", "glitch", "oil", "halftone", "emboss", "popart", "gameboy"), 1.8),
             **dict.fromkeys(("blueprint", "chalk", "sketch", "knitted"), 1.3),
             **dict.fromkeys(("sunset", "night", "vintage", "golden", "forest", "underwater", "cyberpunk", "ice", "fire"), 0.6)}
FLAT = {"pixel": (0.0, 0.0), "gameboy": (1.0, 0.0)}          # styles whose blocks of 8, or of 4, pixels are flat; see Denoiser.kept
LEARNING_RATE, MUON_RATE = 1.2e-3, 2.5e-3
COARSE_FROM, DREAM_FROM, DREAM_FULL = 600, 880, 990          # timesteps where the abstraction starts


# ---------------------------------------------------------------- what the noise level means
def coarser(x: Tensor, cell: int, radius: int) -> Tensor:
    """Flat patches a few cells wide."""
    small = kuwahara(F.avg_pool2d(x, cell), radius)
    return F.interpolate(small, scale_factor=cell, mode="bilinear").clamp(0, 1)


def abstraction(source: Tensor, timestep: Tensor) -> Tensor:
    """The scene as it should be painted at this noise level: exact up to 600, then coarser and more colourful."""
    c = ((timestep - COARSE_FROM) / (DREAM_FROM - COARSE_FROM)).clamp(0, 1).view(-1, 1, 1, 1)
    picked = (c > 0).flatten().nonzero().flatten()
    if len(picked) == 0:
        return source
    x, k = source[picked], c[picked]
    middle, far = coarser(x, 4, 2), coarser(x, 8, 1)
    x = torch.where(k < 0.5, x + (middle - x) * 2 * k, middle + (far - middle) * (2 * k - 1))
    out = source.clone()
    out[picked] = contrast(saturate(x, 1).lerp(saturate(x, 1.7), k), 1.15).clamp(0, 1).lerp(x, 1 - k)
    return out


def dream(noisy: Tensor) -> Tensor:
    """What is painted when hardly anything but noise is left: the low frequencies of the input itself, amplified.

    The amplification is logarithmic, so the same rule serves pure noise and a faint scene.
    """
    y = blur(decode(noisy) - 0.5, 8)
    return (0.5 + 0.5 * torch.asinh(y / 0.0015) / 3.1).clamp(0, 1)


# ---------------------------------------------------------------- batches
class Batches:
    def __init__(self, net: Denoiser, prompts: Prompts, seed: int, pool: int):
        self.a, self.b = net.a, net.b
        self.generator = torch.Generator().manual_seed(seed)
        self.sampler, self.prompts = PromptSampler(seed, FREQUENCY), prompts
        self.scenes = Scenes(pool, seed)
        self.cache: dict[str, list[int]] = {}

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator)

    def ids(self, texts: list[str]) -> Tensor:
        for text in texts:
            if text not in self.cache:
                if len(self.cache) > 200_000:
                    self.cache.clear()
                self.cache[text] = self.prompts.ids(text)
        return torch.tensor([self.cache[t] for t in texts])

    def timesteps(self, count: int) -> Tensor:
        """Mostly the range of video-to-video, some of the abstract range."""
        u, v = self.uniform(count), self.uniform(count)
        t = torch.where(u < 0.75, 15 + 585 * v, 600 + 399 * v)
        return t.round().long().clamp(1, 999)

    def paint(self, base: Tensor, wishes: list[tuple[int, int, int]]) -> Tensor:
        """Render each picture in its own style; equal wishes are rendered together."""
        out = torch.empty_like(base)
        groups: dict[tuple[int, int, int], list[int]] = {}
        for i, wish in enumerate(wishes):
            groups.setdefault(wish, []).append(i)
        for (style, colour, light), rows in groups.items():
            out[rows] = render(base[rows], STYLES[style].id, COLOURS[colour].id if colour >= 0 else None, LIGHTS[light].id if light >= 0 else None)
        return out

    def kept(self, wishes: list[tuple[int, int, int]]) -> Tensor:
        """What `Denoiser.kept` should say for these wishes. A dreamy light blurs blocks, too."""
        return torch.tensor([FLAT.get(STYLES[style].id, (1.0, 1.0)) if light < 0 or LIGHTS[light].id != "dreamy" else (1.0, 1.0)
                             for style, _, light in wishes])

    def next(self, count: int, size: int) -> dict[str, Tensor]:
        with torch.no_grad():
            source = self.scenes.batch(count, size)
            t = self.timesteps(count)
            pure = self.uniform(count) < 0.06                            # text-to-video: nothing but noise
            t = torch.where(pure, (999 - 90 * self.uniform(count) ** 3).round().long(), t)
            noise = torch.randn(count, CHANNELS, size // FACTOR, size // FACTOR, generator=self.generator)
            a, b = self.a[t].view(-1, 1, 1, 1), self.b[t].view(-1, 1, 1, 1)

            base = abstraction(source, t)
            late = ((t - DREAM_FROM) / (DREAM_FULL - DREAM_FROM)).clamp(0, 1)
            late = torch.where(pure, torch.ones(()), late)
            rows = (late > 0).nonzero().flatten()
            noisy = a * encode(source) * (~pure).view(-1, 1, 1, 1) + b * noise
            if len(rows):
                base[rows] = base[rows].lerp(dream(noisy[rows]), late[rows].view(-1, 1, 1, 1))

            drawn = [self.sampler.draw() for _ in range(count)]
            target = self.paint(base, [d[:3] for d in drawn])
            mixed = count // 4                                           # blended prompts: blended pictures
            other = [self.sampler.draw() for _ in range(mixed)]
            share = self.uniform(mixed).view(-1, 1, 1, 1)
            target[:mixed] = self.paint(base[:mixed], [d[:3] for d in other]).lerp(target[:mixed], share)
            kept = self.kept([d[:3] for d in drawn])
            kept[:mixed] = self.kept([d[:3] for d in other]).lerp(kept[:mixed], share.view(-1, 1))

            # Already painted inputs stay as they are, mostly at low noise: a second step then changes little.
            odds = torch.where(t < 200, 0.25, 0.05)
            again = (self.uniform(count) < odds) & ~pure & (late == 0)
            rows = again.nonzero().flatten()
            noisy[rows] = (a * encode(target) + b * noise)[rows]
            return dict(noisy=noisy, timestep=t.float(), target=target, kept=kept, share=share.view(-1, 1, 1),
                        ids=self.ids([d[3] for d in drawn]), other_ids=self.ids([d[3] for d in other]))


def picture_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Absolute error of the pixels, of their differences (sharpness) and of local means (colour).

    Lines and steps fill a small part of a picture and are most of what the eye sees: there the pixels count up to three times.
    """
    error = made - wanted
    detail = (wanted - F.avg_pool2d(wanted, 5, 1, 2, count_include_pad=False)).abs().mean(1, keepdim=True)
    weight = 1 + 2 * (detail * 8).clamp(max=1)
    slopes = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return (error.abs() * weight).mean() + 0.6 * slopes + 0.5 * F.avg_pool2d(error, 4).abs().mean()


# ---------------------------------------------------------------- the loop
def train(args) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    count = write_tokenizer(args.out / "tokenizer")
    prompts = Prompts(args.out / "tokenizer")
    text, net = TextEncoder(count, pad=prompts.pad), Denoiser().to(memory_format=torch.channels_last)
    both = nn.ModuleDict(dict(text=text, net=net))
    parameters = list(both.parameters())
    # The fine levels get Muon; at the coarse one it would cost more time than it saves.
    sharp = [p for p in net.parameters() if p.ndim == 4 and p.shape[-1] == 3 and p.shape[0] < LEVELS[-1]]
    muon = Muon(sharp, lr=MUON_RATE)
    slow = [p for n, p in both.named_parameters() if n.startswith("text.") or "condition" in n or "film" in n]
    known = {id(p) for p in slow + sharp}
    optimiser = torch.optim.AdamW([dict(params=slow, share=0.5), dict(params=[p for p in parameters if id(p) not in known], share=1.0)],
                                  lr=LEARNING_RATE, weight_decay=1e-4, betas=(0.9, 0.99))
    step, spent = 0, 0.0
    if args.warm:
        print("not in the published folder:", ", ".join(warm.load(args.warm, text, net)) or "nothing", flush=True)
    averaged = [p.detach().clone() for p in parameters]
    if args.resume:
        saved = torch.load(args.resume, weights_only=True)
        both.load_state_dict(saved["model"])
        if "optimiser" in saved:
            optimiser.load_state_dict(saved["optimiser"])
            muon.load_state_dict(saved["muon"])
        step, spent = saved["step"], saved["seconds"]
        averaged = [saved["model"][name].clone() for name, _ in both.named_parameters()]
    print(f"{sum(p.numel() for p in parameters) / 1e6:.2f} M parameters, {count} tokens", flush=True)
    batches = Batches(net, prompts, args.seed + step, args.pool)
    print("pool drawn", flush=True)

    def save():
        raw = both.state_dict()
        model = dict(raw)
        model.update({name: e.clone() for (name, _), e in zip(both.named_parameters(), averaged)})
        partial = args.out / "checkpoint.part"
        torch.save(dict(model=model, raw=raw, optimiser=optimiser.state_dict(), muon=muon.state_dict(), step=step, seconds=elapsed, tokens=count,
                        samples=samples), partial)
        partial.replace(args.out / "checkpoint.pt")

    limit = 0.5
    clean = torch.compile(net.clean, dynamic=False) if args.compile else net.clean
    start, total, saved_at, drawing, mean, samples = time.time() - spent, args.minutes * 60, spent, 0.0, None, step * args.batch
    while (elapsed := time.time() - start) < total:
        done = elapsed / total
        rate = LEARNING_RATE * min(1, step / args.warm_up) * (0.5 + 0.5 * math.cos(math.pi * done)) + 1e-5
        for group in optimiser.param_groups:
            group["lr"] = rate * group["share"]
        for group in muon.param_groups:
            group["lr"] = rate * MUON_RATE / LEARNING_RATE
        before = time.time()
        large = done > 0.75                                              # the last part sees more context
        batch = batches.next(args.batch // 2 if large else args.batch, args.size * 3 // 2 if large else args.size)
        if step % 4 == 0:
            batches.scenes.renew()
        drawing += time.time() - before

        ids, n = torch.cat([batch["ids"], batch["other_ids"]]), len(batch["other_ids"])
        longest = int((ids != text.pad).sum(1).max())                    # padding gives zeros: no need to compute it
        features, other = F.pad(text(ids[:, :longest]), (0, 0, 0, ids.shape[1] - longest)).split([len(ids) - n, n])
        features = torch.cat([other.lerp(features[:n], batch["share"]), features[n:]])
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            latent = clean(batch["noisy"].contiguous(memory_format=torch.channels_last), batch["timestep"], features)
        made = decode(latent.float())
        kept = net.kept(net.condition(batch["timestep"], features))
        loss = picture_loss(made, batch["target"]) + 0.3 * F.mse_loss(kept, batch["kept"])
        both.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(parameters, limit))
        if not norm < 20 * limit:                                        # a freak batch: leave it out
            print(f"{elapsed:6.0f} s  step {step}  left out: loss {loss.item():.3g}, gradient {norm:.3g}", flush=True)
            continue
        limit = 0.98 * limit + 0.02 * 1.5 * min(norm, limit)             # follow the usual size of the gradient
        optimiser.step()
        muon.step()
        step, samples = step + 1, samples + len(made)
        with torch.no_grad():
            keep = min(0.998, (1 + step) / (10 + step))
            torch._foreach_lerp_(averaged, [p.detach() for p in parameters], 1 - keep)
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if step % 100 == 0:
            print(f"{elapsed:6.0f} s  step {step}  loss {mean:.4f}  rate {rate:.5f}  drawing {drawing / (time.time() - start - spent):.2f}", flush=True)
        if elapsed - saved_at > 120:
            saved_at = elapsed
            save()
    save()
    print(f"finished: {step} steps, {samples} samples", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--out", type=Path, default=Path("run"))
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--size", type=int, default=64, help="crop in pixels; the last part of the training uses 1.5 times this")
    parser.add_argument("--pool", type=int, default=600, help="scenes kept ready")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", type=Path, help="go on from a checkpoint, with the state of the optimisers")
    parser.add_argument("--from", dest="warm", type=Path, help="start from the weights of a published model folder")
    parser.add_argument("--warm-up", type=int, default=150, help="steps until the full learning rate")
    parser.add_argument("--compile", action="store_true", help="about a sixth faster; needs a C++ compiler")
    parser.add_argument("--bf16", action="store_true", help="convolutions in bfloat16: twice as fast where the processor has AVX-512 BF16 or AMX")
    train(parser.parse_args())
