#!/usr/bin/env python3
"""Records what the reference packages of ANEMLL 0.3.5 compute, executed by `milref.py`, an executor in plain numpy
that is independent of this crate.

  make.py ../shared OUT_DIR

For each package: one batch of tokens through `prefill`, then STEPS tokens through `infer`. Writes NAME.npz with
`tokens` i32 [batch + STEPS], `exact` and `f32` f32 [STEPS, vocabulary]: the joined logits of `infer` with and without
rounding to fp16. Needs numpy and coremltools 9.0 (for its protobuf definitions only).
"""
import logging, os, sys

logging.disable(logging.CRITICAL)
import numpy as np

STEPS = 6
PACKAGES = {
    "llama_fp16": ("llama-fp16/llama_monolithic_full", "llama"),
    "llama_lut4": ("llama/llama_monolithic_full_lut4", "llama"),
    "qwen25_fp16": ("qwen2.5-fp16/qwen25_monolithic_full", "qwen2.5"),
    "qwen25_lut4": ("qwen2.5/qwen25_monolithic_full_lut4", "qwen2.5"),
    "qwen3_fp16": ("qwen3-fp16/qwen_monolithic_full", "qwen3"),
    "qwen3_lut4": ("qwen3/qwen_monolithic_full_lut4", "qwen3"),
}


def open_package(package):
    import mil_text_check
    import milref
    from coremltools.proto import Model_pb2

    root = os.path.join(package, "Data/com.apple.CoreML")
    model = Model_pb2.Model()
    with open(os.path.join(root, "model.mlmodel"), "rb") as f:
        model.ParseFromString(f.read())
    return milref.parse(mil_text_check.E(True).prog(model, {"coremlc-version": "0"})), root


def feed(row, tokens, width):
    mask = np.full((1, 1, len(tokens), width), -np.inf, np.float32)
    for i in range(len(tokens)):
        mask[0, 0, i, : row + i + 1] = 0
    return dict(
        input_ids=tokens[None].astype(np.int32),
        position_ids=np.arange(row, row + len(tokens), dtype=np.int32),
        causal_mask=mask,
        current_pos=np.array([row], np.int32),
    )


def run(program, root, ids, fp16):
    import milref

    machine = milref.Machine(program, root, fp16)
    width = dict(program["functions"]["infer"]["inputs"])["causal_mask"][2][-1]
    batch = dict(program["functions"]["prefill"]["inputs"])["input_ids"][2][-1]
    tokens = ids[: batch + STEPS].astype(np.int32)
    _, state = machine.run("prefill", feed(0, tokens[:batch], width), {})
    rows = []
    for i in range(batch, len(tokens)):
        out, state = machine.run("infer", feed(i, tokens[i : i + 1], width), state)
        rows.append(np.concatenate([np.ravel(out[f"logits{j + 1}"]) for j in range(len(out))]))
    return tokens, np.array(rows, np.float32)


def main():
    shared, out = sys.argv[1:]
    sys.path.insert(0, os.path.join(shared, "oracle"))
    for name, (package, checkpoint) in PACKAGES.items():
        program, root = open_package(os.path.join(shared, "reference/upstream", package + ".mlpackage"))
        ids = np.load(os.path.join(shared, "reference/checkpoints", checkpoint, "expected.npz"))["input_ids"]
        tokens, exact = run(program, root, ids, True)
        _, f32 = run(program, root, ids, False)
        np.savez(os.path.join(out, name + ".npz"), tokens=tokens, exact=exact, f32=f32)
        print(name, tokens.shape, exact.shape, "rounding moves logits by", np.abs(exact - f32).max())


if __name__ == "__main__":
    main()
