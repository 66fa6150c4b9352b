"""Models by their own config.json, as their makers wrote it, scaled down.

Only sizes change: every other field is kept, so that what is measured is how these very configurations are read.
"""
import json
from dataclasses import dataclass

from .configs import Case
from .packages import Tools

TOKENS, BATCH = 10, 4
SIZES = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers", "vocab_size")

# As published with the Qwen distills; their tokenizers are not among the references.
QWEN_DISTILL = {
    "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151643,
    "hidden_act": "silu", "initializer_range": 0.02, "max_position_embeddings": 131072, "max_window_layers": 21,
    "model_type": "qwen2", "rms_norm_eps": 1e-6, "rope_theta": 10000, "sliding_window": 4096,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True, "use_mrope": False,
    "use_sliding_window": False,
}


@dataclass
class Named:
    """A model, where its configuration is, and what to measure it with."""

    name: str
    folder: str | None
    """Under SHARED/data/tokenizers; `None` where the configuration is above."""
    sizes: tuple
    """Instead of the configuration's own, in the order of `SIZES`."""
    context: int


MODELS = [
    # The context reaches beyond the 8192 positions that its llama3 scaling starts from.
    Named("DeepSeek-R1-Distill-Llama", "deepseek-r1-distill-llama", (128, 448, 4, 1, 2, 1002), 8448),
    # The context is longer than the window that is switched off.
    Named("DeepSeek-R1-Distill-Qwen", None, (192, 448, 6, 1, 3, 1187), 4352),
    Named("Qwen3-0.6B", "qwen3", (64, 192, 4, 2, 2, 1187), 1024),
    Named("SmolLM2", "smollm2", (144, 384, 9, 3, 3, 768), 1024),
    Named("TinyLlama", "tinyllama", (128, 352, 8, 1, 2, 500), 2048),
]


def cases(tools: Tools, seed: int) -> list[Case]:
    """One case of every model whose configuration is at hand."""
    return [case(tools, model, seed) for model in MODELS if model.folder is None or tools.shared]


def case(tools: Tools, model: Named, seed: int) -> Case:
    config = dict(QWEN_DISTILL)
    if model.folder is not None:
        config = json.loads((tools.shared / "data/tokenizers" / model.folder / "config.json").read_text())
    config |= dict(zip(SIZES, model.sizes, strict=True))
    first = model.context - TOKENS
    return Case(
        name=model.name, family=config["model_type"], config=config, written=config, dtype="bf16", shards=2,
        inv_freq=False, tied="tied" if config["tie_word_embeddings"] else "untied", context=model.context, batch=BATCH,
        tokens=TOKENS, first=first, embedding=1.0, seed=seed, labels={"positions": f"{first} to {model.context - 1}"},
    )
