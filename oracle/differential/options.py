"""What the conversion's options cost: the reference checkpoints, palettized in every way."""
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy

from .families import worst
from .figures import LIMIT
from .packages import Failed, Tools, answers_of_anelith, by_infer, by_prefill, run_anelith

CHECKPOINTS = ["llama", "llama-plain", "qwen2.5", "qwen3", "qwen3-tied"]
BITS = [8, 6, 4, 3, 2, 1]
GROUPS = ["1", "8", "16", "32", "tensor"]
OVERRIDES = [
    ("--lut", "4"),
    ("--lut", "4", "--lut-embeddings", "none"),
    ("--lut", "4", "--lut-lmhead", "none"),
    ("--lut", "4", "--lut-lmhead", "6"),
    ("--lut", "4", "--lut-embeddings", "8", "--lut-lmhead", "8,tensor"),
    ("--lut", "none", "--lut-lmhead", "6"),
]
ARGMAX = [("--lut", "none"), ("--lut", "4")]
TOKENS, CONTEXT, BATCH = 40, 64, 16


@dataclass
class Cost:
    """One checkpoint with one set of options, run with fp16 rounding."""

    checkpoint: str
    options: tuple
    kl: float | None = None
    kl_f32: float | None = None
    """Executed in f32; measured without palettization only."""
    differences: int | None = None
    """Under --argmax: positions and splits where index or value is not the greatest of the logits build."""
    compared: int = 0
    error: str | None = None

    def passed(self) -> bool:
        """Only what does not palettize has a limit, and --argmax, which must change nothing."""
        if self.error is not None:
            return False
        if self.differences is not None:
            return self.differences == 0
        exact = self.options == ("--lut", "none")
        return not exact or self.kl <= LIMIT["fp16"] and self.kl_f32 <= LIMIT["f32"]


def jobs(tools: Tools) -> list[tuple]:
    """All measurements of all checkpoints, for `measure`."""
    sets = [("--lut", "none")] + [("--lut", f"{bits},{group}") for bits in BITS for group in GROUPS] + OVERRIDES
    plain = [(tools, name, options) for name in CHECKPOINTS for options in sets]
    return plain + [(tools, name, (*lut, "--argmax")) for name in CHECKPOINTS for lut in ARGMAX]


def measure(job: tuple) -> Cost:
    """One checkpoint with one set of options."""
    tools, name, options = job
    try:
        return cost_of(tools, name, options)
    except (Failed, ValueError) as error:
        return Cost(name, options, error=str(error))


def cost_of(tools: Tools, name: str, options: tuple) -> Cost:
    model = tools.shared / "reference/checkpoints" / name
    recorded = numpy.load(model / "expected.npz")
    ids, logits = recorded["input_ids"][:TOKENS], recorded["logits"][:TOKENS]
    with tempfile.TemporaryDirectory(prefix="anelith-oracle-") as folder:
        bundle = tools.convert(model, Path(folder, "output"), CONTEXT, BATCH, *options)
        if "--argmax" in options:
            logits_build = tools.convert(model, Path(folder, "logits"), CONTEXT, BATCH, *options[:-1])
            return argmax(tools, Cost(name, options), bundle, logits_build, ids)
        routes = [by_infer(ids, CONTEXT), by_prefill(ids, CONTEXT, BATCH)]
        found = [run_anelith(tools, bundle, route, f32=False) for route in routes]
        cost = Cost(name, options, worst(logits, found))
        if options == ("--lut", "none"):
            cost.kl_f32 = worst(logits, [run_anelith(tools, bundle, route, f32=True) for route in routes])
        return cost


def argmax(tools: Tools, cost: Cost, bundle: Path, logits_build: Path, ids: numpy.ndarray) -> Cost:
    """Index and value of every split at every position, against the logits of the other build."""
    route = by_infer(ids, CONTEXT)
    picked = answers_of_anelith(tools, bundle, route, f32=False)
    full = answers_of_anelith(tools, logits_build, route, f32=False)
    cost.differences = 0
    for short, long in zip(picked, full):
        splits = [long[f"logits{i + 1}"] for i in range(len(long))]
        wanted = [(max(range(len(s)), key=s.__getitem__), max(s)) for s in splits]
        found = list(zip(short["argmax_idx"], short["argmax_val"], strict=True))
        cost.compared += len(wanted)
        cost.differences += sum(a != b for a, b in zip(found, wanted, strict=True))
    return cost
