"""Checkpoints made wrong or odd on purpose: what the binary says to each."""
import json
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from . import checkpoints
from .configs import FAMILIES, tiny
from .packages import Tools

QWEN = ("qwen2", "qwen3")
DONE, USAGE, INPUT = 0, 2, 3
"""Exit statuses: converted, with a warning; the command line is at fault; the checkpoint is."""


@dataclass
class Refusal:
    """One wrong or odd checkpoint and the answer to it."""

    families: str
    what: str
    status: int
    wanted: int
    line: str

    def passed(self) -> bool:
        kind = "warning: " if self.wanted == DONE else "error: "
        return self.status == self.wanted and self.line.startswith(kind)


@dataclass
class Wrong:
    """A way to be wrong or odd: a change of config.json, or of the files."""

    what: str
    families: tuple = FAMILIES
    config: dict | None = None
    files: Callable[[Path], None] | None = None
    options: tuple = ()
    status: int = INPUT


def rope(**scaling) -> dict:
    return {"rope_scaling": scaling}


CONFIGS = [
    Wrong("model_type phi3", config={"model_type": "phi3"}),
    Wrong("neither model_type nor architectures", config={"model_type": None, "architectures": None}),
    Wrong("text_config", config={"text_config": {"model_type": "llama"}}),
    Wrong("model_type llava with text_config", config={"model_type": "llava", "text_config": {}}),
    Wrong("quantization_config gptq", config={"quantization_config": {"quant_method": "gptq", "bits": 4}}),
    Wrong("quantization_config awq", config={"quantization_config": {"quant_method": "awq"}}),
    Wrong("quantization_config bitsandbytes", config={"quantization_config": {"quant_method": "bitsandbytes"}}),
    Wrong("attribute_map", config={"attribute_map": {"hidden_size": "n_embd"}}),
    Wrong("hidden_act gelu", config={"hidden_act": "gelu"}),
    Wrong("partial_rotary_factor 0.5", config={"partial_rotary_factor": 0.5}),
    Wrong("is_encoder_decoder true", config={"is_encoder_decoder": True}),
    Wrong("head_dim null", QWEN, {"head_dim": None}),
    Wrong("head_dim odd", config={"head_dim": 15}),
    Wrong("num_key_value_heads not a divisor", config={"num_attention_heads": 3, "num_key_value_heads": 2}),
    Wrong("rms_norm_eps 1e-9", config={"rms_norm_eps": 1e-9}),
    Wrong("rope type longrope", config=rope(rope_type="longrope", long_factor=[1.0], short_factor=[1.0])),
    Wrong("rope type su", config=rope(type="su")),
    Wrong("rope type mrope", config=rope(type="mrope", mrope_section=[4, 2, 2])),
    Wrong("rope_scaling without a type", config=rope(factor=2.0)),
    Wrong("type and rope_type disagree", config=rope(type="linear", rope_type="dynamic", factor=2.0)),
    Wrong("linear without factor", config=rope(rope_type="linear")),
    Wrong("llama3 without its frequencies", config=rope(rope_type="llama3", factor=8.0)),
    Wrong("rope_theta and rope_parameters disagree", config={"rope_parameters": {"rope_theta": 5.0}}),
    Wrong("rope_parameters per layer type", config={"rope_parameters": {"full_attention": {}}}),
    Wrong("layer_types linear_attention", QWEN, {"layer_types": ["linear_attention"]}),
    Wrong("layer_types sliding_attention, no window", QWEN, {"layer_types": ["sliding_attention"]}),
    Wrong("vocab_size below the LM-head splits", config={"vocab_size": 5}),
    Wrong("vocab_size that disagrees with the embedding", config={"vocab_size": 98}),
    Wrong("mlp_bias true, no such tensors", ("llama",), {"mlp_bias": True}),
    Wrong("attention_bias true, no such tensors", ("llama", "qwen3"), {"attention_bias": True}),
    Wrong(
        "window smaller than the context", QWEN,
        {"use_sliding_window": True, "sliding_window": 16}, status=USAGE,
    ),
    Wrong("context beyond max_position_embeddings", config={"max_position_embeddings": 16}, status=USAGE),
    Wrong(
        "context beyond the length of dynamic scaling",
        config={"max_position_embeddings": 16} | rope(rope_type="dynamic", factor=4.0), status=USAGE,
    ),
    Wrong(
        "context beyond original length x factor",
        config={"max_position_embeddings": 16}
        | rope(rope_type="yarn", factor=1.5, original_max_position_embeddings=16), status=USAGE,
    ),
]


WARNED = [
    Wrong("attention_bias true", ("qwen2",), {"attention_bias": True}, status=DONE),
    Wrong("mlp_bias true", QWEN, {"mlp_bias": True}, status=DONE),
    Wrong("use_mrope false", config={"use_mrope": False}, status=DONE),
    Wrong("a window that no LLaMA reads", ("llama",), {"sliding_window": 4}, status=DONE),
    Wrong("layer_types that no LLaMA reads", ("llama",), {"layer_types": ["sliding_attention"]}, status=DONE),
    Wrong(
        "yarn with truncate, which came later", config={"max_position_embeddings": 64}
        | rope(rope_type="yarn", factor=2.0, original_max_position_embeddings=32, truncate=False), status=DONE,
    ),
    Wrong(
        "yarn factor that is not the ratio of lengths", config={"max_position_embeddings": 96}
        | rope(rope_type="yarn", factor=2.0, original_max_position_embeddings=32), status=DONE,
    ),
    Wrong("another class", config={"architectures": ["LlamaForSequenceClassification"]}, status=DONE),
    Wrong("tied, another lm_head.weight shipped", config={"tie_word_embeddings": True}, status=DONE),
]


def edit(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """A change of the tensors of the one shard."""

    def apply(model: Path) -> None:
        path = model / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file({k: v.contiguous() for k, v in tensors.items()}, path)

    return apply


def fill(name: str, value: float) -> Callable[[dict], object]:
    return lambda tensors: tensors.update({name: tensors[name].float().index_fill(0, torch.tensor([3]), value)})


def raw(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """A change of the bytes of the one shard."""

    def apply(model: Path) -> None:
        path = model / "model.safetensors"
        path.write_bytes(change(path.read_bytes()))

    return apply


def overlap(data: bytes) -> bytes:
    """Two tensors at one place."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    one, two = (header[f"model.layers.0.mlp.{name}_proj.weight"] for name in ("gate", "up"))
    two["data_offsets"] = one["data_offsets"]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def missing_shard(model: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    checkpoints.write_shards(tensors, 2, model)
    (model / "model-00002-of-00002.safetensors").unlink()


UP = "model.layers.0.mlp.up_proj.weight"
FILES = [
    Wrong("missing tensor", files=edit(lambda t: t.pop(UP))),
    Wrong("unknown extra tensor", files=edit(lambda t: t.update({UP + ".lora_A": t[UP].clone()}))),
    Wrong("transposed tensor", files=edit(lambda t: t.update({UP: t[UP].T}))),
    Wrong("unsupported dtype", files=edit(lambda t: t.update({UP: t[UP].to(torch.int8)}))),
    Wrong("NaN", files=edit(fill(UP, float("nan")))),
    Wrong("value beyond 65504", files=edit(fill(UP, 70000.0))),
    Wrong("truncated shard", files=raw(lambda data: data[:-100])),
    Wrong("header length beyond the file", files=raw(lambda data: struct.pack("<Q", 1 << 40) + data[8:])),
    Wrong("overlapping offsets", files=raw(overlap)),
    Wrong("index naming a missing shard", files=missing_shard),
    Wrong("tokenizer.json missing", files=lambda model: (model / "tokenizer.json").unlink()),
    Wrong("config.json missing", files=lambda model: (model / "config.json").unlink()),
]


def measure(tools: Tools) -> list[Refusal]:
    """Every way to be wrong or odd in every family; the same answer from several families is one row."""
    with tempfile.TemporaryDirectory(prefix="anelith-oracle-") as folder:
        sound = {family: make(family, Path(folder, family)) for family in FAMILIES}
        rows = []
        for wrong in CONFIGS + FILES + WARNED:
            answers = {}
            for family in wrong.families:
                answers.setdefault(answer(tools, sound[family], wrong), []).append(family)
            for (status, line), families in answers.items():
                rows.append(Refusal(", ".join(families), wrong.what, status, wrong.status, line))
    return rows


def make(family: str, directory: Path) -> Path:
    directory.mkdir()
    torch.manual_seed(1)
    checkpoints.write_config(directory, tiny(family))
    checkpoints.write_tokenizer(directory)
    model = checkpoints.fresh(directory)
    checkpoints.write_shards({k: v.half() for k, v in model.state_dict().items()}, 1, directory)
    return directory


def answer(tools: Tools, sound: Path, wrong: Wrong) -> tuple[int, str]:
    """Exit status and first line, paths shortened."""
    model, output = sound.with_name("model"), sound.with_name("output")
    for stale in (model, output):
        shutil.rmtree(stale, ignore_errors=True)
    shutil.copytree(sound, model)
    if wrong.config is not None:
        config = json.loads((model / "config.json").read_text()) | wrong.config
        checkpoints.write_config(model, config)
    if wrong.files is not None:
        wrong.files(model)
    command = [tools.anelith, "convert", "--model", model, "--output", output, "--lut", "none"]
    command += ["--only", "1", "--context", "32", "--batch", "8", *wrong.options]
    done = subprocess.run(command, capture_output=True, text=True)
    kind = "error" if done.returncode else "warning"
    lines = [line for line in done.stderr.splitlines() if line.startswith(kind)] or [""]
    return done.returncode, lines[0].replace(str(model), "MODEL")
