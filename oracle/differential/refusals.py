"""Checkpoints made wrong or odd on purpose: what the binary says to each."""
import json
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
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
    says: str
    """What the line must hold."""
    line: str
    details: str
    """What the answer says it expected and found."""

    def passed(self) -> bool:
        kind = "warning: " if self.wanted == DONE else "error: "
        return self.status == self.wanted and self.line.startswith(kind) and self.says in self.line


@dataclass
class Wrong:
    """A way to be wrong or odd: a change of config.json, or of the files."""

    what: str
    families: tuple = FAMILIES
    config: dict | None = None
    files: Callable[[Path], None] | None = None
    options: tuple = ()
    status: int = INPUT
    says: str = field(kw_only=True)
    """What the answer must say, so that no other reason passes for this one."""


def rope(**scaling) -> dict:
    return {"rope_scaling": scaling}


CONFIGS = [
    Wrong("model_type phi3", config={"model_type": "phi3"}, says="Unknown architecture `phi3`"),
    Wrong(
        "neither model_type nor architectures", config={"model_type": None, "architectures": None},
        says="neither `model_type` nor `architectures`",
    ),
    Wrong("text_config", config={"text_config": {"model_type": "llama"}}, says="`text_config` marks a wrapper"),
    Wrong(
        "model_type llava with text_config", config={"model_type": "llava", "text_config": {}},
        says="Unknown architecture `llava`",
    ),
    Wrong(
        "quantization_config gptq", config={"quantization_config": {"quant_method": "gptq", "bits": 4}},
        says="already quantized (`gptq`",
    ),
    Wrong(
        "quantization_config awq", config={"quantization_config": {"quant_method": "awq"}},
        says="already quantized (`awq`",
    ),
    Wrong(
        "quantization_config bitsandbytes", config={"quantization_config": {"quant_method": "bitsandbytes"}},
        says="already quantized (`bitsandbytes`",
    ),
    Wrong("attribute_map", config={"attribute_map": {"hidden_size": "n_embd"}}, says="`attribute_map` {"),
    Wrong("hidden_act gelu", config={"hidden_act": "gelu"}, says='`hidden_act` "gelu" is not supported'),
    Wrong(
        "partial_rotary_factor 0.5", config={"partial_rotary_factor": 0.5},
        says="`partial_rotary_factor` 0.5 is not supported",
    ),
    Wrong(
        "is_encoder_decoder true", config={"is_encoder_decoder": True},
        says="`is_encoder_decoder` true is not supported",
    ),
    Wrong("head_dim null", QWEN, {"head_dim": None}, says="`head_dim` is null"),
    Wrong("head_dim odd", config={"head_dim": 15}, says="`head_dim` is 15, expected an even"),
    Wrong(
        "num_key_value_heads not a divisor", config={"num_attention_heads": 3, "num_key_value_heads": 2},
        says="`num_key_value_heads` is 2, expected a divisor",
    ),
    Wrong("rms_norm_eps 1e-9", config={"rms_norm_eps": 1e-9}, says="`rms_norm_eps` cannot be told from zero"),
    Wrong(
        "rope type longrope", config=rope(rope_type="longrope", long_factor=[1.0], short_factor=[1.0]),
        says="unknown rope type `longrope`",
    ),
    Wrong("rope type su", config=rope(type="su"), says="unknown rope type `su`"),
    Wrong("rope type mrope", config=rope(type="mrope", mrope_section=[4, 2, 2]), says="unknown rope type `mrope`"),
    Wrong("rope_scaling without a type", config=rope(factor=2.0), says="no `rope_scaling.rope_type`"),
    Wrong(
        "type and rope_type disagree", config=rope(type="linear", rope_type="dynamic", factor=2.0),
        says="`rope_scaling.rope_type` and `rope_scaling.type` disagree",
    ),
    Wrong("linear without factor", config=rope(rope_type="linear"), says="no `rope_scaling.factor`"),
    Wrong(
        "llama3 without its frequencies", config=rope(rope_type="llama3", factor=8.0),
        says="no `rope_scaling.low_freq_factor`",
    ),
    Wrong(
        "rope_theta and rope_parameters disagree", config={"rope_parameters": {"rope_theta": 5.0}},
        says="`rope_theta` and `rope_parameters.rope_theta` disagree",
    ),
    Wrong(
        "rope_parameters per layer type", config={"rope_parameters": {"full_attention": {}}},
        says="`rope_parameters.full_attention` sets rotary embeddings per layer type",
    ),
    Wrong(
        "layer_types linear_attention", QWEN, {"layer_types": ["linear_attention"]},
        says='`layer_types` "linear_attention" is not supported',
    ),
    Wrong(
        "layer_types sliding_attention, no window", QWEN, {"layer_types": ["sliding_attention"]},
        says='`layer_types` "sliding_attention" is not supported',
    ),
    Wrong(
        "vocab_size below the LM-head splits", config={"vocab_size": 5},
        says="smaller than the number of LM-head splits",
    ),
    Wrong(
        "vocab_size that disagrees with the embedding", config={"vocab_size": 98},
        says="`model.embed_tokens.weight` has shape [97, 32], expected [98, 32]",
    ),
    Wrong(
        "mlp_bias true, no such tensors", ("llama",), {"mlp_bias": True},
        says="`model.layers.0.mlp.gate_proj.bias` is missing",
    ),
    Wrong(
        "attention_bias true, no such tensors", ("llama", "qwen3"), {"attention_bias": True},
        says="`model.layers.0.self_attn.q_proj.bias` is missing",
    ),
    Wrong(
        "window smaller than the context", QWEN,
        {"use_sliding_window": True, "sliding_window": 16}, status=USAGE,
        says="longer than the model's sliding attention window",
    ),
    Wrong(
        "context beyond max_position_embeddings", config={"max_position_embeddings": 16}, status=USAGE,
        says="longer than the model's positions",
    ),
    Wrong(
        "context beyond the length of dynamic scaling",
        config={"max_position_embeddings": 16} | rope(rope_type="dynamic", factor=4.0), status=USAGE,
        says="longer than the model's positions",
    ),
    Wrong(
        "context beyond original length x factor",
        config={"max_position_embeddings": 16}
        | rope(rope_type="yarn", factor=1.5, original_max_position_embeddings=16), status=USAGE,
        says="longer than the model's positions",
    ),
]


WARNED = [
    Wrong("attention_bias true", ("qwen2",), {"attention_bias": True}, status=DONE, says="`attention_bias` is ignored"),
    Wrong("mlp_bias true", QWEN, {"mlp_bias": True}, status=DONE, says="`mlp_bias` is ignored"),
    Wrong("use_mrope false", config={"use_mrope": False}, status=DONE, says="`use_mrope` is ignored"),
    Wrong(
        "a window that no LLaMA reads", ("llama",), {"sliding_window": 4}, status=DONE,
        says="`sliding_window` is ignored",
    ),
    Wrong(
        "layer_types that no LLaMA reads", ("llama",), {"layer_types": ["sliding_attention"]}, status=DONE,
        says="`layer_types` is ignored",
    ),
    Wrong(
        "yarn with truncate, which came later", config={"max_position_embeddings": 64}
        | rope(rope_type="yarn", factor=2.0, original_max_position_embeddings=32, truncate=False), status=DONE,
        says="`rope_scaling.truncate` is ignored",
    ),
    Wrong(
        "yarn factor that is not the ratio of lengths", config={"max_position_embeddings": 96}
        | rope(rope_type="yarn", factor=2.0, original_max_position_embeddings=32), status=DONE,
        says="the yarn factor 2 is used, not the ratio 3",
    ),
    Wrong(
        "another class", config={"architectures": ["LlamaForSequenceClassification"]}, status=DONE,
        says="`architectures` names `LlamaForSequenceClassification`",
    ),
    Wrong(
        "tied, another lm_head.weight shipped", config={"tie_word_embeddings": True}, status=DONE,
        says="lm_head.weight differs from the embedding and is ignored",
    ),
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
    Wrong("missing tensor", files=edit(lambda t: t.pop(UP)), says="`model.layers.0.mlp.up_proj.weight` is missing"),
    Wrong(
        "unknown extra tensor", files=edit(lambda t: t.update({UP + ".lora_A": t[UP].clone()})),
        says="`model.layers.0.mlp.up_proj.weight.lora_A` is unknown",
    ),
    Wrong(
        "transposed tensor", files=edit(lambda t: t.update({UP: t[UP].T})),
        says="up_proj.weight` has shape [32, 48], expected [48, 32]",
    ),
    Wrong("unsupported dtype", files=edit(lambda t: t.update({UP: t[UP].to(torch.int8)})), says="has element type I8"),
    Wrong("NaN", files=edit(fill(UP, float("nan"))), says="up_proj.weight` has the value NaN at [3, 0]"),
    Wrong("value beyond 65504", files=edit(fill(UP, 70000.0)), says="up_proj.weight` has the value 70000 at [3, 0]"),
    Wrong("truncated shard", files=raw(lambda data: data[:-100]), says="model.safetensors` is truncated"),
    Wrong(
        "header length beyond the file", files=raw(lambda data: struct.pack("<Q", 1 << 40) + data[8:]),
        says="the header length is not credible",
    ),
    Wrong("overlapping offsets", files=raw(overlap), says="up_proj.weight` overlaps with"),
    Wrong("index naming a missing shard", files=missing_shard, says="`model-00002-of-00002.safetensors` is missing"),
    Wrong(
        "tokenizer.json missing", files=lambda model: (model / "tokenizer.json").unlink(),
        says="no tokenizer.json in the model directory",
    ),
    Wrong(
        "config.json missing", files=lambda model: (model / "config.json").unlink(),
        says="no config.json in the model directory",
    ),
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
            for (status, line, details), families in answers.items():
                named = ", ".join(families)
                rows.append(Refusal(named, wrong.what, status, wrong.status, wrong.says, line, details))
    return rows


def make(family: str, directory: Path) -> Path:
    directory.mkdir()
    torch.manual_seed(1)
    checkpoints.write_config(directory, tiny(family))
    checkpoints.write_tokenizer(directory)
    model = checkpoints.fresh(directory)
    checkpoints.write_shards({k: v.half() for k, v in model.state_dict().items()}, 1, directory)
    return directory


def answer(tools: Tools, sound: Path, wrong: Wrong) -> tuple[int, str, str]:
    """Exit status, first line, and what was expected and found, paths shortened."""
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
    named = [line.strip() for line in done.stderr.splitlines() if line.startswith(("  expected: ", "  found: "))]
    return done.returncode, lines[0].replace(str(model), "MODEL"), "; ".join(named).replace(str(model), "MODEL")
