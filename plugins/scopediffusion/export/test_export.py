"""Every kind of model exported and compared with torch, and everything that must be refused. `make export-test`."""
from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from importlib.machinery import SourceFileLoader
from pathlib import Path
from unittest import mock

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import onnx
import torch

import fused
import precision
import tiny

# Not `import __main__`: that is this file.
program = SourceFileLoader("program", str(Path(__file__).resolve().parent / "__main__.py")).load_module()

HERE = Path(__file__).resolve().parent


class Exports(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.room = Path(tempfile.mkdtemp())
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            cls.models = {kind: tiny.make(kind, cls.room / "models" / kind) for kind in (*tiny.KINDS, tiny.WIDE)}
            tiny.taesd().save_pretrained(cls.room / "taesd")
            cls.ip = tiny.make_ip_adapter(cls.room / "ip", cls.models["sd15"])
            cls.ip_plus = tiny.make_ip_adapter(cls.room / "plus", cls.models["xl"], plus=True)
            cls.lora = tiny.make_lora(cls.room / "lora" / "ink.v2.safetensors", cls.models["sd15"], 1, with_text=True)
            cls.other = tiny.make_lora(cls.room / "lora" / "oil.safetensors", cls.models["sd15"], 2)
            cls.lora_xl = tiny.make_lora(cls.room / "lora" / "neon.safetensors", cls.models["xl"], 3, with_text=True)

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.room)

    def setUp(self) -> None:
        self.out = self.room / "out" / self.id().rpartition(".")[2]

    def run_program(self, *words) -> subprocess.CompletedProcess:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = program.main(list(map(str, words)))
        return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())

    def export(self, kind: str, *words) -> dict:
        done = self.run_program(self.models[kind], self.out, *words)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads((self.out / "export.json").read_text())

    def refused(self, *words) -> str:
        done = self.run_program(*words)
        self.assertEqual(done.returncode, 3, done.stdout + done.stderr)
        line = next(line for line in done.stderr.splitlines() if line.startswith("export-error: "))
        said = json.loads(line.removeprefix("export-error: "))
        self.assertTrue(said["hint"])
        left = [path.name for path in self.out.parent.glob("*") if self.out.name in path.name] if self.out.parent.is_dir() else []
        self.assertEqual(left, [], "nothing may be left behind")
        return said["error"]

    def graph(self, role: str):
        return onnx.load(self.out / role / "model.onnx", load_external_data=False).graph

    def inputs(self, role: str) -> dict[str, list]:
        ports = self.graph(role).input
        return {port.name: [axis.dim_value or axis.dim_param for axis in port.type.tensor_type.shape.dim] for port in ports}

    def test_every_kind_is_exact_in_float32(self) -> None:
        for kind in tiny.KINDS:
            with self.subTest(kind):
                self.out = self.room / "out" / f"exact-{kind}"
                said = self.export(kind, "--precision", "float32")
                for figure in said["errors"]:
                    self.assertLess(figure["largest"], 1e-4 * max(1.0, figure["scale"]), figure)

    def test_every_kind_is_near_in_half_precision_with_a_timestep_in_float32(self) -> None:
        for kind in tiny.KINDS:
            with self.subTest(kind):
                self.out = self.room / "out" / f"half-{kind}"
                said = self.export(kind, "--taesd", self.room / "taesd")
                for figure in said["errors"]:
                    self.assertLess(figure["largest"], 1e-2 * max(1.0, figure["scale"]), figure)
                kinds = {port.name: port.type.tensor_type.elem_type for port in self.graph("unet").input}
                self.assertEqual(kinds["sample"], onnx.TensorProto.FLOAT16)
                self.assertEqual(kinds["timestep"], onnx.TensorProto.FLOAT)
                self.assertEqual(self.inputs("unet")["timestep"], ["batch_size"])

    def test_all_weights_lie_in_one_file_beside_the_graph(self) -> None:
        self.export("sd15")
        for role in ("unet", "text_encoder", "vae_encoder", "vae_decoder"):
            names = sorted(path.name for path in (self.out / role).glob("model*"))
            self.assertEqual(names, ["model.onnx", "model.onnx_data"])
            for tensor in self.graph(role).initializer:
                place = {entry.key: entry.value for entry in tensor.external_data}
                self.assertTrue(place.get("location", "model.onnx_data") == "model.onnx_data")
                self.assertEqual(int(place.get("offset", 0)) % 64, 0)

    def test_sizes_and_rows_can_be_fixed(self) -> None:
        self.export("sd15", "--size", "192x128", "--rows", "2")
        self.assertEqual(self.inputs("unet")["sample"], [2, 4, 16, 24])
        self.assertEqual(self.inputs("vae_encoder")["sample"], ["batch_size", 3, 128, 192])

    def test_an_autoencoder_that_overflows_stays_in_float32(self) -> None:
        said = self.export("xl")
        kinds = {figure["graph"]: figure["precision"] for figure in said["errors"]}
        self.assertEqual(kinds["vae_decoder"], "float32")
        self.assertEqual(kinds["unet"], "float16")
        self.assertIn("overflows", " ".join(said["notes"]))

    def test_values_and_scores_beyond_half_precision_are_found(self) -> None:
        with mock.patch.object(precision, "SCORES", 1e-3):
            said = self.export("sd2")
        self.assertIn("computed in float32", " ".join(said["notes"]))
        casts = [node for node in self.graph("unet").node if node.op_type == "Cast" and "attn1" in node.name]
        self.assertTrue(casts)
        self.out = self.out.with_name("wide")
        with mock.patch.object(precision, "ROOM", 1e-3):
            said = self.export("sd2")
        self.assertEqual({figure["precision"] for figure in said["errors"]}, {"float32"})

    def test_an_ip_adapter_becomes_inputs(self) -> None:
        for precision in ("float32", "float16"):
            self.out = self.room / "out" / f"ip-{precision}"
            self.export("sd15", "--ip-adapter", self.ip, "--precision", precision)
            self.assertEqual(self.inputs("unet")["ip_hidden_states"], ["batch_size", "ip_tokens", 12])
            self.assertEqual(self.inputs("unet")["ip_scale"], [1])
            self.assertEqual(self.inputs("image_encoder")["sample"], ["batch_size", 3, 32, 32])

    def test_a_plus_adapter_of_xl_becomes_inputs_too(self) -> None:
        said = self.export("xl", "--ip-adapter", self.ip_plus.parent, "--precision", "float32")
        self.assertLess(max(figure["largest"] for figure in said["errors"]), 1e-3)

    def test_lora_scales_become_inputs(self) -> None:
        said = self.export("sd15", "--lora-inputs", self.lora, "--lora-inputs", self.other, "--precision", "float32")
        self.assertEqual(set(self.inputs("unet")) - {"sample", "timestep", "encoder_hidden_states"},
                         {"lora_scale.ink_v2", "lora_scale.oil"})
        self.assertEqual(list(self.inputs("text_encoder")), ["input_ids", "lora_scale.ink_v2"])
        self.assertEqual(said["loras"]["oil"]["bytes"], self.other.stat().st_size)

    def test_everything_at_once_on_xl(self) -> None:
        self.export("xl", "--ip-adapter", self.ip_plus, "--lora-inputs", self.lora_xl, "--taesd", self.room / "taesd")
        self.assertIn("lora_scale.neon", self.inputs("unet"))
        self.assertIn("lora_scale.neon", self.inputs("text_encoder"))

    def cuda_graph(self, role: str):
        return onnx.load(self.out / role / "model.cuda.onnx", load_external_data=False).graph

    def test_copies_for_cuda_compute_the_same(self) -> None:
        for kind, precision in (("xl", "float16"), ("lcm", "float16"), ("sd15", "float32")):
            with self.subTest(kind):
                self.out = self.room / "out" / f"cuda-{kind}"
                said = self.export(kind, "--cuda", "--precision", precision)
                allowed = 1e-2 if precision == "float16" else 1e-4
                errors = {figure["graph"]: figure["largest"] / max(1.0, figure["scale"]) for figure in said["errors"]}
                for role in ("unet", "vae_encoder", "vae_decoder"):
                    self.assertLess(errors[f"{role}, CUDA"], allowed)
                    self.assertGreater(said["cuda"][role]["NhwcConv"], 4)
                attentions = sum(1 for node in self.graph("unet").node if node.op_type == "Softmax")
                self.assertEqual(said["cuda"]["unet"]["MultiHeadAttention"], attentions)
                self.assertIn("its kernels themselves have not run", " ".join(said["notes"]))
                # With the plain files nothing has changed.
                self.assertEqual({node.domain for node in self.graph("unet").node}, {""})

    def test_a_copy_of_real_width_is_fused_whole_and_sound(self) -> None:
        said = self.export(tiny.WIDE, "--cuda", "--taesd", self.room / "taesd")
        self.assertEqual(list(said["cuda"]), ["unet"], "a small autoencoder has nothing to fuse")
        graph = self.cuda_graph("unet")
        for kind in ("GroupNorm", "SkipGroupNorm", "BiasSplitGelu", "SkipLayerNormalization", "BiasAdd"):
            self.assertIn(kind, said["cuda"]["unet"])
        operations = {node.op_type for node in graph.node}
        self.assertFalse(operations & {"Conv", "Softmax", "InstanceNormalization", "Erf"}, operations)
        names = [node.name for node in graph.node]
        self.assertEqual(len(names), len(set(names)))
        self.assertTrue(any(name.endswith("/conv1/NhwcConv") for name in names), "adapters are merged by layers' names")
        self.assertTrue(any(name.endswith("/attn1/to_q/MatMul") for name in names))
        self.assertLess(len(graph.node), len(self.graph("unet").node) / 2)
        kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type in ("GroupNorm", "SkipGroupNorm"):
                self.assertEqual([kinds[name] for name in node.input[1:3]], [onnx.TensorProto.FLOAT] * 2)
        for tensor in graph.initializer:
            places = {entry.value for entry in tensor.external_data if entry.key == "location"}
            self.assertLessEqual(places, {"model.cuda.onnx_data"})
        ports = lambda found: [(port.name, port.type) for port in (*found.input, *found.output)]
        self.assertEqual(ports(graph), ports(self.graph("unet")))

    def test_a_copy_for_cuda_has_the_adapters_too_and_its_wide_scores_in_float32(self) -> None:
        with mock.patch.object(precision, "SCORES", 1e-3):
            said = self.export("sd15", "--cuda", "--ip-adapter", self.ip, "--lora-inputs", self.lora)
        graph = self.cuda_graph("unet")
        self.assertLessEqual({"ip_hidden_states", "ip_scale", "lora_scale.ink_v2"}, {port.name for port in graph.input})
        casts = [node.name for node in graph.node if node.name.endswith("_wide_0")]
        self.assertEqual(len(casts), said["cuda"]["unet"]["MultiHeadAttention"])

    def test_a_copy_for_cuda_that_came_out_wrong_is_refused(self) -> None:
        sound = fused.channels_last

        def turned(model):
            """One convolution's weights lie the wrong way round."""
            names = sound(model)
            weights = {tensor.name: tensor for tensor in model.graph.initializer}
            weight = next(weights[node.input[1]] for node in model.graph.node
                          if node.op_type == "NhwcConv" and weights[node.input[1]].dims[1] == 3)
            weight.CopyFrom(onnx.numpy_helper.from_array(
                onnx.numpy_helper.to_array(weight).transpose(0, 2, 1, 3).copy(), weight.name))
            return names

        with mock.patch.object(fused, "channels_last", turned):
            self.assertIn("vae_encoder, CUDA is off by", self.refused(self.models["sd15"], self.out, "--cuda"))

    def test_what_is_no_model_is_refused_and_leaves_nothing(self) -> None:
        model = self.models["sd15"]
        self.assertIn("is no folder", self.refused("/nowhere/at/all", self.out))
        self.assertIn("cannot be fetched from the hub", self.refused("nobody/nothing", self.out))
        self.assertIn("no model_index.json", self.refused(self.room, self.out))
        self.assertIn("takes 9 channels", self.refused(self.broken("unet/config.json", "in_channels", 9), self.out))
        self.assertIn("StableDiffusion3Pipeline", self.refused(self.broken("model_index.json", "_class_name", "StableDiffusion3Pipeline"), self.out))
        self.assertIn("LoRA", self.refused(model, self.out, "--lora-inputs", self.lora_xl))
        self.assertIn("no .safetensors", self.refused(model, self.out, "--lora-inputs", self.room))
        self.assertIn("IP-Adapter", self.refused(model, self.out, "--ip-adapter", self.ip_plus))
        self.assertIn("no image encoder", self.refused(model, self.out, "--ip-adapter", self.ip, "--image-encoder", self.room))
        self.assertIn("AutoencoderKL", self.refused(model, self.out, "--taesd", model / "vae"))
        self.assertIn("--size 100x100", self.refused(model, self.out, "--size", "100x100"))

    def broken(self, file: str, key: str, value) -> Path:
        copy = Path(tempfile.mkdtemp(dir=self.room)) / "model"
        shutil.copytree(self.models["sd15"], copy)
        said = json.loads((copy / file).read_text())
        (copy / file).write_text(json.dumps(said | {key: value}))
        return copy

    def test_damaged_weights_are_refused(self) -> None:
        copy = self.broken("unet/config.json", "sample_size", 16)
        file = copy / "unet" / "diffusion_pytorch_model.safetensors"
        file.write_bytes(file.read_bytes()[:-1000])
        self.assertIn("cannot be loaded", self.refused(copy, self.out))

    def test_weights_that_are_no_numbers_are_refused(self) -> None:
        copy = self.broken("unet/config.json", "sample_size", 16)
        from safetensors.torch import load_file, save_file
        file = copy / "unet" / "diffusion_pytorch_model.safetensors"
        state = load_file(file)
        state["conv_in.weight"][0] = float("nan")
        save_file(state, file, metadata={"format": "pt"})
        self.assertIn("no numbers", self.refused(copy, self.out))

    def test_a_folder_that_is_there_is_not_touched(self) -> None:
        self.out.mkdir(parents=True)
        (self.out / "mine").write_text("x")
        done = self.run_program(self.models["sd15"], self.out)
        self.assertEqual(done.returncode, 3)
        self.assertEqual([path.name for path in self.out.iterdir()], ["mine"])

    def test_stopped_it_leaves_nothing(self) -> None:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        running = subprocess.Popen([sys.executable, str(HERE), str(self.models["sd15"]), str(self.out)],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for line in running.stdout:
            if "text_encoder" in line:
                running.terminate()
                break
        running.communicate(timeout=120)
        self.assertEqual(running.returncode, 130)
        self.assertEqual([path.name for path in self.out.parent.glob("*") if self.out.name in path.name], [])


if __name__ == "__main__":
    torch.set_num_threads(2)
    unittest.main()
