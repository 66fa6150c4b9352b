"""Options beyond --lut BITS: groups, overrides for embedding and LM head, --argmax,
--dry-run."""
from pathlib import Path

import numpy

from .checkpoints import fp16_matrices
from .executor import feeds, run_ours
from .harness import check, require
from .oracles import accepts_bundle, accepts_package, judge, load_spec
from .reference import PREFIXES, SIZES
from .tables import unpacked
from .workspace import CHECKPOINTS, DEMO, OUT, Conversion, anelith

# --lut, --lut-embeddings, --lut-lmhead ("" leaves one out) on this checkpoint.
SETTINGS_MODEL = "llama"
SETTINGS = (
    *(("4,1", "", ""), ("4,16", "", ""), ("4,32", "", ""), ("4,0", "", ""), ("4,tensor", "", "")),
    *(("1", "", ""), ("2", "", ""), ("3", "", ""), ("6", "", ""), ("8", "", "")),
    *(("4", "none", ""), ("4", "", "none"), ("4", "no", "false"), ("4,16", "8,t", "6,32")),
    *(("none", "4", ""), ("none", "", "4"), ("none", "6,16", "3,1")),
)

# A tied matrix in one form and in two.
TIED = (("4", "", ""), ("4", "6", ""), ("4", "", "none"), ("none", "4,16", "4,16"))

ARGMAX_MODELS = ("llama", "qwen2.5", "qwen3", "qwen3-tied")
ARGMAX_LUTS = ("none", "4")

NO_BITS = ("none", "no", "false")
# 16 splits of 32 rows and 64 columns: 2,048 elements each, which stay fp16.
SMALL_HEADS = ("qwen3-tied",)

GROUPS = {"": 8, "0": 0, "t": 0, "tensor": 0}

# kl_mean above which the weights are not what the bits say: what is lost at this
# many bits in the worst component, with room to spare.
KL_AT_BITS = {1: 2.0, 2: 1.0, 3: 0.4, 4: 0.15, 6: 0.02, 8: 0.005}


def conversion(model: str, lut: str, embeddings: str = "", lmhead: str = "", argmax: bool = False) -> Conversion:
    """Steps 1 to 5 of one checkpoint with these settings."""
    options = ["--lut", lut]
    options += ["--lut-embeddings", embeddings] if embeddings else []
    options += ["--lut-lmhead", lmhead] if lmhead else []
    options += ["--argmax"] if argmax else []
    name = f"options-{model}-{lut}-{embeddings or 'as'}-{lmhead or 'as'}{'-argmax' if argmax else ''}".replace(",", "g")
    return Conversion(name, CHECKPOINTS / model, PREFIXES[model], (*options, *SIZES), (1, 2, 3, 4, 5))


def accepted(made: Conversion) -> None:
    """coremltools accepts both functions, and the bundle is what Apple's compiler
    would write."""
    made.outputs()
    accepts_package(made.package("_combined"))
    accepts_bundle(made.package("_combined"), made.bundle)


def bits_and_group(setting: str) -> tuple[int, int] | None:
    """What a setting says: bits and channels a table, 0 for all; None for fp16."""
    if setting in NO_BITS:
        return None
    bits, _, group = setting.partition(",")
    return int(bits), GROUPS[group] if group in GROUPS else int(group)


def fitting(rows: int, group: int) -> int:
    """The largest divisor of `rows` not above `group`; 0 is all of them."""
    return next(size for size in range(min(group or rows, rows), 0, -1) if rows % size == 0)


def component(name: str) -> str:
    """Which of the three settings a palettized op belongs to."""
    return "lmhead" if name.startswith("lm_head") else "embeddings" if "embed_tokens" in name else "layers"


def palettized(package: Path) -> dict[str, list[tuple[str, int, int, int]]]:
    """By component: op name, rows, bits and rows a table of what is palettized."""
    found: dict[str, list] = {"layers": [], "embeddings": [], "lmhead": []}
    (function,) = load_spec(package).mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    for op in block.operations:
        if op.type != "constexpr_lut_to_dense":
            continue
        shapes = {key: [d.constant.size for d in value.arguments[0].value.type.tensorType.dimensions] for key, value in op.inputs.items()}
        rank = len(shapes["indices"])
        entries = shapes["lut"][rank]
        require(shapes["lut"] == [shapes["lut"][0], *[1] * (rank - 1), entries, 1], f"{op.outputs[0].name}: tables of shape {shapes['lut']}")
        rows, tables = shapes["indices"][0], shapes["lut"][0]
        found[component(op.outputs[0].name)].append((op.outputs[0].name, rows, entries.bit_length() - 1, rows // tables))
    return found


def settings(model: str, lut: str, embeddings: str, lmhead: str) -> dict:
    """Each component has the bits and groups that its setting says, and the model
    computes what it would with weights that near."""
    made = conversion(model, lut, embeddings, lmhead)
    accepted(made)
    found = palettized(made.package())
    wanted = {"layers": lut, "embeddings": embeddings or lut, "lmhead": "none" if model in SMALL_HEADS else lmhead or lut}
    for name, setting in wanted.items():
        expected = bits_and_group(setting)
        require(bool(found[name]) == (expected is not None), f"{name}: {len(found[name])} palettized tensors with `{setting}`")
        for op, rows, bits, group in found[name]:
            require((bits, group) == (expected[0], fitting(rows, expected[1])), f"{op}: {bits} bits in groups of {group} with `{setting}`")
    text = made.meta.read_text()
    for key, setting in (("lut_embeddings", embeddings), ("lut_lmhead", lmhead)):
        differs = bool(setting) and bits_and_group(setting) != bits_and_group(lut)
        bits = "none" if setting in NO_BITS else setting.partition(",")[0]
        require((f"    {key}: {bits}\n" in text) == differs and (f"{key}:" in text) == differs, f"meta.yaml about {key}: {text}")
    figures = judge(made.bundle, CHECKPOINTS / model / "expected.npz", "--tokens", "16")
    least = min(one[0] for one in map(bits_and_group, wanted.values()) if one)
    require(figures["kl_mean"] <= KL_AT_BITS[least], f"kl_mean {figures['kl_mean']:.3g} is above {KL_AT_BITS[least]:g}")
    return {"tensors": sum(map(len, found.values())), "kl_mean": figures["kl_mean"]}


def unpalettized_stay(model: str) -> dict:
    """With `--lut none --lut-embeddings 8` what the layers compute is exact: only
    rows of the embedding are rounded to tables."""
    made = conversion(model, "none", "8,1", "none")
    made.outputs()
    (embedding,) = unpacked(made.package())
    matrix = fp16_matrices(CHECKPOINTS / model / "model.safetensors")["model.embed_tokens.weight"]
    error = float(numpy.abs(embedding - matrix).max())
    require(error <= 1e-3, f"an element of the embedding is off by {error:.3g}, with 256 values a row")
    return {"max_error": error}


def argmax(model: str, lut: str) -> dict:
    """The model that picks the token picks what its logits say, in the oracle's
    executor and in ours."""
    made, logits = conversion(model, lut, argmax=True), conversion(model, lut)
    accepted(made)
    require("    argmax_in_model: true\n" in made.meta.read_text(), "meta.yaml does not say so")
    expected = CHECKPOINTS / model / "expected.npz"
    figures = {}
    for name, options, limit in (("f32", (), 2e-3), ("fp16", ("--fp16",), 2e-2)):
        judged = judge(made.bundle, expected, "--prefill", "--tokens", "48", *options)
        figures[f"same_local_{name}"] = judged["same_local_top"]
        if lut == "none":
            require(judged["same_top"] == 1.0, f"{name}: the top token is the same at {judged['same_top']:.3f} of the positions")
            require(judged["max_abs"] <= limit, f"{name}: a largest logit is off by {judged['max_abs']:.3g}, allowed {limit:g}")
            figures[f"max_abs_{name}"] = judged["max_abs"]
    return figures | same_tokens(made, logits)


def same_tokens(made: Conversion, logits: Conversion) -> dict:
    """Place and value of each split's largest logit, at every position, in our own
    runtime: equal to those found in the logits of the other build."""
    logits.outputs()
    vocabulary, context, positions = 512, int(SIZES[1]), 16
    random = numpy.random.default_rng(7)
    sequence = [("infer", feeds(random.integers(3, vocabulary, 1), position, context, float("-inf"))) for position in range(positions)]
    ours = run_ours(made.package("_combined"), sequence, f"{made.name}-run")
    others = run_ours(logits.package("_combined"), sequence, f"{made.name}-run-logits")
    for position, (picked, full) in enumerate(zip(ours, others)):
        parts = [full[f"logits{number}"].reshape(-1) for number in range(1, len(full) + 1)]
        places, values = [part.argmax() for part in parts], [part.max() for part in parts]
        require(picked["argmax_idx"].shape == (len(parts),), f"argmax_idx has shape {picked['argmax_idx'].shape}")
        require(picked["argmax_idx"].tolist() == places, f"position {position}: places {picked['argmax_idx'].tolist()}, expected {places}")
        require(picked["argmax_val"].tolist() == values, f"position {position}: values differ")
    return {"positions": positions}


def dry_run() -> dict:
    """The plan is printed, nothing is written, and a second plan says what is done."""
    target = OUT / "options-dry" / "out"
    printed = anelith("convert", "--model", DEMO, "--output", target, "--dry-run").stdout
    require(not target.exists() and not target.parent.exists(), "the output directory was made")
    for words in ("qwen_monolithic_combined.mlmodelc/model.mil", "meta.yaml", "step 6", "embeddings"):
        require(words in printed, f"`{words}` is not in the plan")
    require(" dB" not in printed, "the plan states errors that nobody knows yet")
    anelith("convert", "--model", DEMO / "nowhere", "--output", target, "--dry-run", status=3)
    anelith("convert", "--model", DEMO, "--output", target, "--dry-run", "--batch", "0", status=2)
    anelith("convert", "--model", DEMO, "--output", target, "--dry-run", "--restart", "3", status=3)
    require(not target.parent.exists(), "the output directory was made")
    return {"lines": len(printed.splitlines())}


for _setting in SETTINGS:
    check(f"options/lut/{SETTINGS_MODEL}/" + "/".join(part or "-" for part in _setting), SETTINGS_MODEL, *_setting)(settings)
for _setting in TIED:
    check("options/lut/qwen3-tied/" + "/".join(part or "-" for part in _setting), "qwen3-tied", *_setting)(settings)
check("options/lut/qwen2.5/4,16/8,t/6,32", "qwen2.5", "4,16", "8,t", "6,32")(settings)
check("options/embedding_alone", "qwen2.5")(unpalettized_stay)
for _model in ARGMAX_MODELS:
    for _lut in ARGMAX_LUTS:
        check(f"options/argmax/{_model}/{_lut}", _model, _lut)(argmax)
check("options/dry_run")(dry_run)
