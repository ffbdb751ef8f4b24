#!/usr/bin/env python3
"""What `gst-scope bench engine --python` holds the engine against.

    engine.py MODEL_DIR SIDE SECONDS [--timesteps 359,99] [--torch DEVICE]

Prints one JSON object: a frame through the same graphs with ONNX Runtime and numpy in Python, stage by stage; the
roofline, from the operations and bytes that the graphs need and the rates that this machine shows; and with --torch
(`cuda`, or `cpu` to try) a frame through the same architecture in PyTorch, as StreamDiffusion runs it, with weights of
chance. Needs numpy, onnx and onnxruntime; for --torch also torch and diffusers. Milliseconds throughout.
"""
import argparse
import json
import math
import pathlib
import statistics
import sys
import tempfile
import time

import numpy as np

WARM_UP = 3
TOKENS = 77


def folder_graph(folder, role):
    """The file of a role: model.onnx, else the only one."""
    files = sorted((folder / role).glob("*.onnx"))
    named = [file for file in files if file.name == "model.onnx"]
    return (named or files)[0]


def config(folder, name):
    file = folder / name
    return json.loads(file.read_text()) if file.exists() else {}


class Schedule:
    """The levels of an LCM schedule. Source: diffusers, scheduling_lcm.py."""

    def __init__(self, settings):
        start, end = settings.get("beta_start", 0.00085), settings.get("beta_end", 0.012)
        steps = settings.get("num_train_timesteps", 1000)
        if settings.get("beta_schedule", "scaled_linear") == "linear":
            betas = np.linspace(start, end, steps)
        else:
            betas = np.linspace(start**0.5, end**0.5, steps) ** 2
        self.alphas = np.cumprod(1 - betas)
        self.prediction = settings.get("prediction_type", "epsilon")

    def level(self, t):
        a, b, s = self.alphas[t] ** 0.5, (1 - self.alphas[t]) ** 0.5, 10.0 * t
        return np.float32(a), np.float32(b), np.float32(0.25 / (s * s + 0.25)), np.float32(s / (s * s + 0.25) ** 0.5)

    def clean(self, t, x, m):
        a, b, skip, out = self.level(t)
        epsilon = {"epsilon": m, "v_prediction": a * m + b * x, "sample": (x - a * m) / b}[self.prediction]
        return out * (x - b * epsilon) / a + skip * x


class Reference:
    """One frame the plain way: sequential steps, numpy in between."""

    def __init__(self, folder, timesteps):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3

        def open_graph(role):
            return onnxruntime.InferenceSession(str(folder_graph(folder, role)), options, ["CPUExecutionProvider"])

        self.encoder, self.unet, self.decoder, text = map(
            open_graph, ["vae_encoder", "unet", "vae_decoder", "text_encoder"]
        )
        self.schedule = Schedule(config(folder, "scheduler/scheduler_config.json"))
        self.scaling = np.float32(config(folder, "vae_decoder/config.json").get("scaling_factor", 0.18215))
        self.timesteps = timesteps
        kinds = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
        ids = np.zeros((1, TOKENS), kinds.get(text.get_inputs()[0].type, np.int64))
        self.context = text.run([text.get_outputs()[0].name], {text.get_inputs()[0].name: ids})[0]
        self.noise = None

    @staticmethod
    def cast(graph, *values):
        """The values as the inputs of a graph want them."""
        kinds = {"tensor(float16)": np.float16, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
        return [
            np.asarray(value, kinds.get(port.type, np.float32)).reshape(np.shape(value) if port.shape else ())
            for port, value in zip(graph.get_inputs(), values)
        ]

    def run(self, graph, *values):
        feeds = {port.name: value for port, value in zip(graph.get_inputs(), self.cast(graph, *values))}
        return graph.run([graph.get_outputs()[0].name], feeds)[0].astype(np.float32)

    def feeds(self, picture):
        """What each graph is fed for a frame."""
        image = np.ascontiguousarray(picture.astype(np.float32).transpose(2, 0, 1)[None] / 255)
        latent = self.noise[0]
        return {
            "vae_encoder": self.cast(self.encoder, image),
            "unet": self.cast(self.unet, latent, [self.timesteps[0]], self.context),
            "vae_decoder": self.cast(self.decoder, latent),
        }

    def frame(self, picture):
        """Bytes [H, W, 3] in and out; returns them with the moments between the stages."""
        moments = [time.perf_counter()]
        image = np.ascontiguousarray((picture.astype(np.float32) / 255 * 2 - 1).transpose(2, 0, 1)[None])
        latent = self.run(self.encoder, image)
        if self.noise is None:
            self.noise = np.random.default_rng(0).standard_normal(
                (len(self.timesteps), *latent.shape), dtype=np.float32
            )
        latent = latent * self.scaling
        moments.append(time.perf_counter())
        for step, t in enumerate(self.timesteps):
            a, b, _, _ = self.schedule.level(t)
            x = a * latent + b * self.noise[step]
            latent = self.schedule.clean(t, x, self.run(self.unet, x, [t], self.context))
        moments.append(time.perf_counter())
        image = self.run(self.decoder, latent / self.scaling)[0]
        out = np.rint(np.clip(image / 2 + 0.5, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
        moments.append(time.perf_counter())
        return np.ascontiguousarray(out), moments


def stages(frame, seconds):
    """Medians of the stages of `frame`, a function that returns its four moments."""
    for _ in range(WARM_UP):
        frame()
    rows, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until or len(rows) < 3:
        rows.append(np.diff(frame()) * 1e3)
    names = ["encode_ms", "denoise_ms", "decode_ms"]
    found = {name: statistics.median(row[at] for row in rows) for at, name in enumerate(names)}
    return found | {"frame_ms": statistics.median(sum(row) for row in rows)}


def counted(file, feeds):
    """Floating-point operations of one run, and bytes that must be moved: weights once, inputs, outputs.

    The runtime is asked: its profile tells the shapes that every operation had, also where the file does not.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling = True
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as scratch:
        options.profile_file_prefix = f"{scratch}/profile"
        session = onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])
        outputs = session.run(None, {port.name: feed for port, feed in zip(session.get_inputs(), feeds)})
        events = json.loads(pathlib.Path(session.end_profiling()).read_text())
    operations = 0
    for event in events:
        about = event.get("args", {})
        if event.get("cat") != "Node" or "output_type_shape" not in about:
            continue
        taken = [next(iter(tensor.values())) for tensor in about["input_type_shape"]]
        given = sum(math.prod(next(iter(tensor.values()))) for tensor in about["output_type_shape"])
        kind = about["op_name"]
        if kind == "Conv":
            operations += 2 * given * math.prod(taken[1][1:])
        elif kind == "ConvTranspose":
            operations += 2 * math.prod(taken[0]) * math.prod(taken[1][1:])
        elif kind in ("MatMul", "Gemm"):
            operations += 2 * given * taken[0][-1]
        elif kind not in ("Constant", "Reshape", "Shape", "Gather", "Unsqueeze", "Squeeze", "Transpose", "Concat"):
            # One for each value that comes out: an estimate, and small beside the others.
            operations += given
    model = onnx.load(str(file))
    width = {onnx.TensorProto.FLOAT: 4, onnx.TensorProto.FLOAT16: 2, onnx.TensorProto.INT8: 1}
    weights = sum(math.prod(t.dims) * width.get(t.data_type, 8) for t in model.graph.initializer)
    return {"operations": operations, "bytes": weights + sum(tensor.nbytes for tensor in [*feeds, *outputs])}


def rates():
    """What this machine shows at its best: operations a second of products, bytes a second of copies."""
    side = 768
    a, b = (np.random.default_rng(k).standard_normal((side, side), dtype=np.float32) for k in (0, 1))
    source, target = np.ones(1 << 23, np.float32), np.ones(1 << 23, np.float32)

    def fastest(work):
        best, until = math.inf, time.perf_counter() + 1.5
        while time.perf_counter() < until:
            began = time.perf_counter()
            work()
            best = min(best, time.perf_counter() - began)
        return best

    # numpy's own product may be slower than the runtime's; the machine can do what the faster of them does.
    import onnxruntime
    from onnx import TensorProto, helper

    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [side, side]) for name in "aby"]
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["y"])], "product", ports[:2], ports[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    product = min(fastest(lambda: a @ b), fastest(lambda: session.run(None, {"a": a, "b": b})))
    return 2 * side**3 / product, 2 * source.nbytes / fastest(lambda: np.copyto(target, source))


def roofline(folder, reference, picture, steps):
    """The least time of each stage: as long as its operations or its bytes take, whichever is longer."""
    speed, stream = rates()
    names = {"vae_encoder": "encode_ms", "unet": "denoise_ms", "vae_decoder": "decode_ms"}
    result = {"gflops": speed / 1e9, "gbytes": stream / 1e9, "graphs": {}}
    for role, feeds in reference.feeds(picture).items():
        count = counted(folder_graph(folder, role), feeds)
        times = steps if role == "unet" else 1
        result["graphs"][role] = count
        result[names[role]] = times * 1e3 * max(count["operations"] / speed, count["bytes"] / stream)
    result["frame_ms"] = sum(result[name] for name in names.values())
    return result


def in_torch(folder, side, timesteps, device, seconds):
    """The same architecture with weights of chance, one frame as StreamDiffusion runs it: all steps in one batch."""
    import diffusers
    import torch

    kind = torch.float16 if device == "cuda" else torch.float32
    settings = config(folder, "unet/config.json")
    unet = diffusers.UNet2DConditionModel.from_config(settings).to(device, kind).eval()
    vae = diffusers.AutoencoderTiny().to(device, kind).eval()
    unet, vae = (part.to(memory_format=torch.channels_last) for part in (unet, vae))
    schedule, steps = Schedule(config(folder, "scheduler/scheduler_config.json")), len(timesteps)
    a, b = (
        torch.tensor([schedule.level(t)[at] for t in timesteps], device=device, dtype=kind).view(-1, 1, 1, 1)
        for at in (0, 1)
    )
    shape = (steps, settings.get("in_channels", 4), side // 8, side // 8)
    noise, rows = torch.randn(shape, device=device, dtype=kind), torch.randn(shape, device=device, dtype=kind)
    context = torch.randn((steps, TOKENS, settings["cross_attention_dim"]), device=device, dtype=kind)
    times = torch.tensor(timesteps, device=device)
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)

    def moment():
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    @torch.inference_mode()
    def frame():
        nonlocal rows
        moments = [moment()]
        image = torch.from_numpy(picture).to(device).permute(2, 0, 1)[None].to(kind) / 127.5 - 1
        latent = vae.encode(image.contiguous(memory_format=torch.channels_last)).latents
        moments.append(moment())
        rows = torch.cat([a[:1] * latent + b[:1] * noise[:1], rows[:-1]])
        predicted = unet(rows, times, context, return_dict=False)[0]
        clean = (rows - b * predicted) / a
        rows = torch.cat([rows[:1], a[1:] * clean[:-1] + b[1:] * noise[1:]]) if steps > 1 else rows
        moments.append(moment())
        image = vae.decode(clean[-1:], return_dict=False)[0]
        (image / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        moments.append(moment())
        return moments

    return stages(frame, seconds) | {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("side", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--timesteps", default="359", type=lambda text: [int(t) for t in text.split(",")])
    parser.add_argument("--torch", choices=["cuda", "cpu"])
    args = parser.parse_args()
    reference = Reference(args.model, args.timesteps)
    picture = np.random.default_rng(0).integers(0, 256, (args.side, args.side, 3), np.uint8)
    result = {"reference": stages(lambda: reference.frame(picture)[1], args.seconds)}
    result["roofline"] = roofline(args.model, reference, picture, len(args.timesteps))
    if args.torch:
        result["torch"] = in_torch(args.model, args.side, args.timesteps, args.torch, args.seconds)
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
