"""Makes a case's checkpoint, and computes with transformers what is expected of it."""
import json
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from .configs import Case

DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}


@dataclass
class Expected:
    """What transformers computes in f32 from the weights as fp16 holds them."""

    ids: numpy.ndarray
    logits: numpy.ndarray
    deviation: float
    """Of the logits."""
    unnoticed: dict
    """KL against the same model with one of its features taken out: how much the comparison would see of an error."""


def make(case: Case, directory: Path) -> Expected:
    """Writes the checkpoint into `directory` and returns the expected logits."""
    directory.mkdir(parents=True)
    torch.manual_seed(case.seed)
    write_config(directory, case.config)
    model = fresh(directory)
    ids = torch.randint(0, case.config["vocab_size"], (1, case.tokens))
    draw_weights(model, case.embedding)
    scale_logits(model, ids, case.first)
    save(model, case, directory)
    expected = expect(load(directory), ids, case.first)
    write_config(directory, case.written)
    write_tokenizer(directory)
    return expected


def fresh(directory: Path):
    """A model with the config in `directory`, and no weights to speak of."""
    config = AutoConfig.from_pretrained(directory)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()


def write_config(directory: Path, config: dict) -> None:
    (directory / "config.json").write_text(json.dumps(config, indent=1))


def write_tokenizer(directory: Path) -> None:
    """The least that counts as a tokenizer; token ids are what is compared."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))


@torch.no_grad()
def draw_weights(model, embedding: float) -> None:
    """Weights for which attention looks at some tokens more than at others, and no field is without effect."""
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape)
        if name.endswith("norm.weight"):
            gain = 1.4 if "q_norm" in name or "k_norm" in name else 1.0
            weight.copy_(gain * (1 + 0.2 * noise))
        elif name.endswith("bias"):
            weight.copy_(0.3 * noise)
        elif "embed_tokens" in name:
            weight.copy_(embedding * noise)
        else:
            gain = 1.4 if "q_proj" in name or "k_proj" in name else 0.8
            weight.copy_(gain * noise / weight.shape[1] ** 0.5)


@torch.no_grad()
def scale_logits(model, ids: torch.Tensor, first: int = 0) -> None:
    """Brings the standard deviation of the logits to 0.7, by the weight of the last norm."""
    model.model.norm.weight.mul_(0.7 / compute(model, ids, first).std())


def save(model, case: Case, directory: Path) -> None:
    """The tensors as real checkpoints have them, with what some of those carry beside."""
    tensors = {k: v.detach().clone() for k, v in model.state_dict().items()}
    tensors.pop("lm_head.weight" if case.tied.startswith("tied") else "", None)
    if "shipped" in case.tied:
        embedding = tensors["model.embed_tokens.weight"]
        tensors["lm_head.weight"] = embedding.clone() if "same" in case.tied else torch.randn(embedding.shape)
    tensors = {k: v.to(DTYPES[case.dtype]).contiguous() for k, v in tensors.items()}
    if case.inv_freq:
        for layer in range(model.config.num_hidden_layers):
            # Wrong numbers, which nobody may use.
            tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.full((4,), 7.0)
    write_shards(tensors, case.shards, directory)


def write_shards(tensors: dict, count: int, directory: Path) -> None:
    if count == 1:
        save_file(tensors, directory / "model.safetensors", {"format": "pt"})
        return
    index = {}
    for i in range(count):
        names = sorted(tensors)[i::count]
        file = f"model-{i + 1:05}-of-{count:05}.safetensors"
        save_file({n: tensors[n] for n in names}, directory / file, {"format": "pt"})
        index |= dict.fromkeys(names, file)
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    text = json.dumps({"metadata": {"total_size": size}, "weight_map": dict(sorted(index.items()))})
    (directory / "model.safetensors.index.json").write_text(text)


@torch.no_grad()
def load(directory: Path):
    """The checkpoint as transformers reads it, in f32, each weight rounded to fp16 as every converter must."""
    model = AutoModelForCausalLM.from_pretrained(directory, torch_dtype=torch.float32, attn_implementation="eager")
    for weight in model.parameters():
        weight.copy_(weight.half().float())
    return model.eval()


def compute(model, ids: torch.Tensor, first: int) -> torch.Tensor:
    """The logits of `ids` at positions `first` and on, nothing before them."""
    return model(ids, position_ids=torch.arange(first, first + ids.shape[1])[None]).logits[0]


@torch.no_grad()
def expect(model, ids: torch.Tensor, first: int = 0) -> Expected:
    logits = compute(model, ids, first)
    deviation = float(logits.std())
    if not 0.3 < deviation < 1:
        raise ValueError(f"the logits have a standard deviation of {deviation:.3f}, expected 0.3 to 1")
    values = logits.numpy().copy()
    return Expected(ids[0].numpy().astype(numpy.int32), values, deviation, unnoticed(model, ids, values, first))


@torch.no_grad()
def unnoticed(model, ids: torch.Tensor, logits: numpy.ndarray, first: int) -> dict:
    """What ignoring a feature of this model would make of the logits."""
    from .figures import divergence

    found = {}
    rotary = model.model.rotary_emb
    kept, scaling = rotary.inv_freq.clone(), rotary.attention_scaling
    if getattr(model.config, "rope_scaling", None) and rotary.rope_type not in ("default", "dynamic"):
        dim = 2 * len(kept)
        rotary.inv_freq = 1 / model.config.rope_theta ** (torch.arange(0, dim, 2) / dim)
        rotary.attention_scaling = 1.0
        found["rope scaling"] = divergence(logits, compute(model, ids, first).numpy())[0]
        rotary.attention_scaling = scaling
    rotary.inv_freq = torch.zeros_like(kept)
    found["positions"] = divergence(logits, compute(model, ids, first).numpy())[0]
    rotary.inv_freq = kept
    biases = [p for n, p in model.named_parameters() if n.endswith("bias")]
    for bias in biases:
        bias.zero_()
    if biases:
        found["biases"] = divergence(logits, compute(model, ids, first).numpy())[0]
    return found
