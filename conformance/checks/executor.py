"""Our runtime on packages that others wrote, against milref and recorded outputs."""
import json
from pathlib import Path

import numpy

from .harness import check, require
from .oracles import machine
from .workspace import UPSTREAM, VECTORS, anelith, fresh

TOLERANCE = 1e-4
# Each way to execute, with the options of `anelith run` that choose it.
MODES = {"fp32": ("--f32",), "fp16": (), "fast": ("--precision", "fast")}
# PyTorch's float32 numbers for the tiny decoder, as a part of the largest of them.
TINY_TOLERANCES = {"fp32": 1e-3, "fp16": 1e-2, "fast": 1e-2}
# milref's numbers in the same mode.
SILERO_TOLERANCES = {"fp32": 1e-3, "fp16": 5e-3}
UPSTREAM_FOLDERS = ("qwen3-fp16", "qwen2.5-fp16", "llama-fp16", "qwen3", "qwen2.5", "llama")
TINY = VECTORS / "ct_tiny_llama"
SCHEMES = sorted(path.parent.name for path in TINY.glob("*/model.mlpackage"))
SCHEME_COUNT = 11
SILERO = VECTORS / "mobius-silero-vad"
SILERO_RECORDED = (
    "silero-vad-unified-v6.0.0",
    "unified_int8",
    "unified_mixed",
    "unified_palette_2bit",
    "unified_palette_4bit",
    "unified_palette_6bit",
    "unified_palette_8bit",
    "unified_pruned_int8",
)
SINGLE_TOKENS = 3


def calls(functions: dict, vocabulary: int, blocked: float) -> list[tuple[str, dict]]:
    """What a consumer would send: one full batch to each function that takes
    more than one token, then single tokens; one mask value for what is blocked."""
    width = {name: dict(function["inputs"])["input_ids"][2][-1] for name, function in functions.items()}
    batches = [name for name in functions if width[name] > 1]
    singles = [name for name in functions if width[name] == 1]
    sequence, position = [], 0
    random = numpy.random.default_rng(1)
    for name in batches + singles * SINGLE_TOKENS:
        columns = dict(functions[name]["inputs"])["causal_mask"][2][-1]
        tokens = random.integers(3, vocabulary, width[name])
        sequence.append((name, feeds(tokens, position, columns, blocked)))
        position += width[name]
    return sequence


def feeds(tokens: numpy.ndarray, position: int, columns: int, blocked: float) -> dict:
    """The four inputs for these tokens at this position."""
    count = len(tokens)
    mask = numpy.full((1, 1, count, columns), blocked, numpy.float32)
    for row in range(count):
        mask[0, 0, row, : position + row + 1] = 0
    return {
        "input_ids": tokens[None].astype(numpy.int32),
        "position_ids": numpy.arange(position, position + count, dtype=numpy.int32),
        "causal_mask": mask,
        "current_pos": numpy.array([position], numpy.int32),
    }


def as_json(name: str, value: numpy.ndarray) -> dict:
    """One input as `anelith run` reads it; JSON has no infinity."""
    dtype = "int32" if value.dtype == numpy.int32 else "fp16"
    data = [item if numpy.isfinite(item) else "-inf" for item in value.reshape(-1).tolist()]
    return {"dtype": dtype, "shape": list(value.shape), "data": data}


def run_ours(package: Path, sequence: list, label: str, mode: str = "fp32") -> list[dict]:
    """The outputs of every call, through `anelith run`."""
    place = fresh(label)
    calls_file, answer_file = place / "feeds.json", place / "outputs.json"
    rendered = [{"function": name, "inputs": {key: as_json(key, value) for key, value in inputs.items()}} for name, inputs in sequence]
    calls_file.write_text(json.dumps(rendered))
    anelith("run", package, "--feeds", calls_file, "--json-output", answer_file, *MODES[mode])
    answers = json.loads(answer_file.read_text())
    return [{name: numpy.array(output["data"], numpy.float64).reshape(output["shape"]) for name, output in one["outputs"].items()} for one in answers]


def run_reference(package: Path, sequence: list) -> list[dict]:
    """The outputs of every call, through milref."""
    runner, states, answers = machine(package), {}, []
    for name, inputs in sequence:
        outputs, states = runner.run(name, inputs, states)
        answers.append(outputs)
    return answers


def furthest(package: Path, label: str, vocabulary: int, blocked: float) -> float:
    """The largest difference over all outputs of all calls."""
    sequence = calls(machine(package).p["functions"], vocabulary, blocked)
    ours, reference = run_ours(package, sequence, label), run_reference(package, sequence)
    require(len(ours) == len(reference), f"{len(ours)} answers to {len(reference)} calls")
    worst = 0.0
    for index, (got, want) in enumerate(zip(ours, reference)):
        require(set(got) == set(want), f"call {index}: outputs {sorted(got)}, expected {sorted(want)}")
        for name in want:
            require(got[name].shape == want[name].shape, f"{name}: shape {got[name].shape}, expected {want[name].shape}")
            require(bool(numpy.isfinite(got[name]).all()), f"call {index}: {name} is not finite")
            worst = max(worst, float(numpy.abs(got[name] - want[name]).max()))
    return worst


def agrees(packages: list[Path], label: str, vocabulary: int, blocked: float) -> dict:
    """All these packages, each within the tolerance."""
    require(bool(packages), "there are no such packages")
    worst = 0.0
    for package in packages:
        difference = furthest(package, f"{label}-{package.stem}", vocabulary, blocked)
        require(difference <= TOLERANCE, f"{package.name}: an output differs by {difference:.3g}, allowed {TOLERANCE:g}")
        worst = max(worst, difference)
    return {"packages": len(packages), "max_difference": worst}


def upstream(folder: str) -> dict:
    """The infer, prefill and combined packages of one folder."""
    return agrees(sorted((UPSTREAM / folder).glob("*.mlpackage")), f"run-{folder}", 512, float("-inf"))


def tiny_llama(scheme: str) -> dict:
    """A decoder that coremltools wrote from PyTorch, in one compression scheme."""
    return agrees(sorted((TINY / scheme).glob("*.mlpackage")), f"run-{scheme}", 96, -1e4)


@check("run/ct_tiny_llama/schemes-present")
def schemes_present() -> dict:
    """All schemes are there: fewer would mean fewer checks than promised."""
    require(len(SCHEMES) == SCHEME_COUNT, f"schemes {SCHEMES}, expected {SCHEME_COUNT}")
    return {"schemes": len(SCHEMES)}


def recorded_tiny_llama(scheme: str) -> dict:
    """Eight tokens at once, then one by one, as PyTorch was fed with the weights of the package."""
    folder = TINY / scheme
    recorded = numpy.load(folder / "expected.npz")
    prompt = recorded["prefill_tokens"].reshape(-1)
    blocked = float(recorded["mask_neg"])
    sequence = [("prefill", feeds(prompt, 0, 32, blocked))]
    for index, token in enumerate(recorded["infer_tokens"].reshape(-1)):
        sequence.append(("infer", feeds(token[None], len(prompt) + index, 32, blocked)))
    figures = {}
    for mode, tolerance in TINY_TOLERANCES.items():
        answers = run_ours(folder / "model.mlpackage", sequence, f"recorded-{scheme}-{mode}", mode)
        batches = [numpy.concatenate([answer["logits"] for answer in part]) for part in (answers[:1], answers[1:])]
        for name, got in zip(("prefill_logits", "infer_logits"), batches):
            want = recorded[name]
            require(got.shape == want.shape, f"{name}: shape {got.shape}, expected {want.shape}")
            difference = float(numpy.abs(got - want).max() / numpy.abs(want).max())
            require(difference <= tolerance, f"{mode} {name} differs by {difference:.3g} of its range, allowed {tolerance:g}")
            figures[mode] = max(difference, figures.get(mode, 0.0))
    return figures


def silero(name: str) -> dict:
    """A voice activity detector in one compression scheme, in both modes. It casts
    its inputs to fp16, which milref heeds in both modes too: so they are rounded first."""
    packages = [path for path in SILERO.rglob("*.mlpackage") if path.stem == name]
    require(len(packages) == 1, f"there are {len(packages)} packages of that name")
    recorded = numpy.load(SILERO / f"expected_{name}.npz")
    inputs = {key.removeprefix("in_"): recorded[key].astype(numpy.float16).astype(numpy.float32) for key in recorded.files if key.startswith("in_")}
    figures = {}
    for mode, tolerance in SILERO_TOLERANCES.items():
        [outputs] = run_ours(packages[0], [("main", inputs)], f"silero-{name}-{mode}", mode)
        expected = {key.removeprefix(f"{mode}_") for key in recorded.files if key.startswith(f"{mode}_")}
        require(set(outputs) == expected, f"outputs {sorted(outputs)}, expected {sorted(expected)}")
        worst = max(float(numpy.abs(outputs[key] - recorded[f"{mode}_{key}"]).max()) for key in expected)
        require(worst <= tolerance, f"{mode}: an output differs by {worst:.3g}, allowed {tolerance:g}")
        figures[mode] = worst
    return figures


for _folder in UPSTREAM_FOLDERS:
    check(f"run/upstream/{_folder}", _folder)(upstream)
for _scheme in SCHEMES:
    check(f"run/ct_tiny_llama/{_scheme}", _scheme)(tiny_llama)
    check(f"run/recorded/{_scheme}", _scheme)(recorded_tiny_llama)
for _name in SILERO_RECORDED:
    check(f"run/silero/{_name}", _name)(silero)
