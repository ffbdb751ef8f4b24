"""The exported graphs against torch in float32: every graph alone, then one whole step from picture to picture."""
from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

import expand
from trouble import Trouble

# Largest error of a sound export, relative to the largest value: a wrong weight or formula is far beyond both.
ALLOWED = {"float32": 2e-3, "float16": 3e-2}


@dataclass
class Figure:
    """How far a result is from torch's in float32: largest and mean absolute error, and the largest value."""

    graph: str
    precision: str
    largest: float
    mean: float
    scale: float
    megabytes: float

    @property
    def relative(self) -> float:
        return self.largest / max(self.scale, 1e-6)

    def line(self) -> str:
        size = f"{self.megabytes:8.1f} MB" if self.megabytes else " " * 11
        return (f"{self.graph:>17}  {self.precision:8} {size}  error max {self.largest:.1e}  mean {self.mean:.1e}  "
                f"of {self.scale:.3g}")

    def record(self) -> dict:
        return {key: round(value, 9) if isinstance(value, float) else value for key, value in asdict(self).items()}


def run(path: Path, inputs: dict[str, torch.Tensor]) -> list[np.ndarray]:
    """What the file computes on the CPU, with inputs cast to what it wants."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = {"tensor(float16)": np.float16, "tensor(float)": np.float32, "tensor(int64)": np.int64}
    wanted = {port.name: kinds[port.type] for port in session.get_inputs()}
    if set(wanted) != set(inputs):
        raise Trouble(f"`{path.parent.name}` came out with the inputs {sorted(wanted)}, not {sorted(inputs)}",
                      "this is an error of ours; report it with the name of the model")
    given = {name: value.detach().cpu().float().numpy().astype(wanted[name]) if value.is_floating_point()
             else value.numpy().astype(wanted[name]) for name, value in inputs.items()}
    return [out.astype(np.float32) for out in session.run(None, given)]


def run_written_out(path: Path, inputs: dict[str, torch.Tensor], half: bool) -> list[np.ndarray]:
    """What a copy for CUDA computes, its own operations written out in those that the CPU has.

    - `half`: it computes in half precision.
    """
    known_by_the_runtime(path)
    # Beside the file itself, so that it finds the weights.
    written_out = path.with_name("written-out.onnx")
    try:
        onnx.save_model(expand.expand(onnx.load(str(path), load_external_data=False), half), str(written_out))
        return run(written_out, inputs)
    finally:
        written_out.unlink(missing_ok=True)


def known_by_the_runtime(path: Path) -> None:
    """Check that ONNX Runtime knows every operation, takes every type and shape, and lacks nothing but the device.

    It looks for kernels last.
    """
    try:
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # its kinds are private
        said = str(error)
        if "Failed to find kernel" not in said and "Could not find an implementation" not in said:
            raise Trouble(f"`{path.parent.name}/{path.name}` came out wrong: {said.splitlines()[0][:300]}",
                          "leave out --cuda, and report it with the name of the model") from error


def compare(graph: str, precision: str, got: list[np.ndarray], expected: list[torch.Tensor], path: Path | None) -> Figure:
    """The figure of one graph; refuses what is beyond the error of its precision."""
    errors, scales = [], []
    for mine, reference in zip(got, expected, strict=True):
        reference = reference.detach().float().numpy()
        if mine.shape != reference.shape:
            raise Trouble(f"{graph} gives a tensor of {mine.shape}, torch one of {reference.shape}",
                          "this is an error of ours; report it with the name of the model")
        errors.append(np.abs(mine - reference))
        scales.append(float(np.abs(reference).max()))
    worst = max(range(len(errors)), key=lambda at: float(errors[at].max()) / max(scales[at], 1e-6))
    size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) / 1e6 if path else 0.0
    figure = Figure(graph, precision, float(errors[worst].max()), float(errors[worst].mean()), scales[worst], size)
    print(figure.line(), flush=True)
    # Not a number compares as false.
    if not figure.relative <= ALLOWED[precision]:
        raise Trouble(f"{graph} is off by {figure.largest:.2e} of {figure.scale:.3g} from torch, beyond the error of "
                      f"{precision}: nothing was kept", "export with --precision float32")
    return figure
