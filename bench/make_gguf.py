#!/usr/bin/env python3
"""Write a Qwen3 checkpoint as GGUF, for llama.cpp beside anelith.

    make_gguf.py CHECKPOINT TOKENIZER_DIR OUT.gguf Q4_0

The checkpoint is one model.safetensors of bf16 weights with a tied embedding, as
`anelith-bench checkpoint qwen3` makes it. Matrices are quantized, norms stay f32.
Needs numpy and gguf; safetensors are read here, so that no torch is needed.
"""
import argparse
import json
from pathlib import Path

import gguf
import numpy as np

# The tokens of Qwen 3 that begin a text and end a turn.
BEGIN, END = "<|endoftext|>", "<|im_end|>"

# Names of tensors: by Hugging Face, by GGUF.
OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm"}
INSIDE = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
    """`model.layers.3.mlp.up_proj.weight` is `blk.3.ffn_up.weight`."""
    stem = name.removesuffix(".weight")
    if stem in OUTSIDE:
        return f"{OUTSIDE[stem]}.weight"
    layer, _, rest = stem.removeprefix("model.layers.").partition(".")
    if rest not in INSIDE:
        raise SystemExit(f"error: `{name}` is no tensor of a Qwen 3 with tied embeddings")
    return f"blk.{layer}.{INSIDE[rest]}.weight"


def tensors(path):
    """Name and f32 values of each tensor of a safetensors file, in the order of its header."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    data = np.memmap(path, np.uint8, "r", offset=8 + length)
    for name, entry in header.items():
        if entry["dtype"] != "BF16":
            raise SystemExit(f"error: `{name}` is {entry['dtype']}, expected BF16")
        begin, end = entry["data_offsets"]
        # bf16 is the upper half of f32.
        bits = data[begin:end].view("<u2").astype(np.uint32) << 16
        yield name, bits.view(np.float32).reshape(entry["shape"])


def add_shapes(writer, config):
    """The sizes that llama.cpp builds its graph from."""
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])


def add_tokenizer(writer, tokenizer, size):
    """The vocabulary of tokenizer.json, filled up to the rows of the embedding."""
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    tokens = [f"[PAD{i}]" for i in range(size)]
    types = [gguf.TokenType.UNUSED] * size
    for kind, entries in (gguf.TokenType.NORMAL, tokenizer["model"]["vocab"]), (gguf.TokenType.CONTROL, added):
        for token, i in entries.items():
            if i < size:
                tokens[i], types[i] = token, kind
    merges = tokenizer["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    # A tokenizer without them is none of Qwen's: any token will do, nothing is stopped by it here.
    writer.add_bos_token_id(added.get(BEGIN, 0))
    writer.add_eos_token_id(added.get(END, 0))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("tokenizer", type=Path, metavar="TOKENIZER_DIR")
    parser.add_argument("out", type=Path)
    parser.add_argument("quantization", choices=["Q4_0", "Q8_0"])
    chosen = parser.parse_args()
    config = json.loads((chosen.checkpoint / "config.json").read_text())
    if config["model_type"] != "qwen3" or not config["tie_word_embeddings"]:
        parser.error(f"{chosen.checkpoint} holds no Qwen 3 with tied embeddings")
    writer = gguf.GGUFWriter(chosen.out, "qwen3")
    add_shapes(writer, config)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{chosen.quantization}"])
    tokenizer = json.loads((chosen.tokenizer / "tokenizer.json").read_text())
    add_tokenizer(writer, tokenizer, config["vocab_size"])
    form = gguf.GGMLQuantizationType[chosen.quantization]
    for name, values in tensors(chosen.checkpoint / "model.safetensors"):
        if values.ndim == 2:
            writer.add_tensor(gguf_name(name), gguf.quants.quantize(values, form), raw_dtype=form)
        else:
            writer.add_tensor(gguf_name(name), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
