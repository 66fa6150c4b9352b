"""`anelith verify` against the judge: both measure one conversion on the same
tokens, one beside our own reference, the other beside recorded logits and with
an executor of its own.

conformance/verify-table measures the same and writes it into
docs/correctness.md."""
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy

from .harness import check, require
from .oracles import ORACLE, judge
from .reference import PREFIXES, SIZES, conversion
from .workspace import CHECKPOINTS, DEMO, OUT, Conversion, anelith

DEMO_NAME = "demo-qwen3"
MODELS = (DEMO_NAME, *PREFIXES)
LUTS = ("none", "8", "6", "4", "2")
TOKENS = 96
CONTEXT = 256

# Two figures agree that differ by no more: relative to the judge's, or in nats.
RELATIVE, ABSOLUTE = 0.05, 1e-6


@dataclass(frozen=True)
class Row:
    """The figures of both for one conversion."""

    model: str
    lut: str
    verify: dict
    judge: dict

    def differences(self) -> list[str]:
        """The figures that do not agree, in words."""
        pairs = [(name, self.verify[name], self.judge[name]) for name in ("kl_mean", "kl_max")]
        # The judge counts either token where two are nearly as likely.
        pairs.append(("same_top", self.verify["same_top_near"], self.judge["same_top"]))
        return [f"{name} {ours:.6g}, the judge's {its:.6g}" for name, ours, its in pairs if abs(ours - its) > max(RELATIVE * its, ABSOLUTE)]


def converted(model: str, lut: str) -> Conversion:
    """Steps 1 to 5."""
    if model != DEMO_NAME:
        return conversion(model, lut)
    return Conversion(f"verify-demo-{lut}", DEMO, "qwen", ("--lut", lut, *SIZES), (1, 2, 3, 4, 5))


def checkpoint(model: str) -> Path:
    """The checkpoint."""
    return DEMO if model == DEMO_NAME else CHECKPOINTS / model


def expected(model: str) -> Path:
    """Tokens and logits. Of the demo no logits of transformers are recorded: they
    are those of the judge's executor, in f32, for the un-palettized conversion,
    in which our reference has no part."""
    if model != DEMO_NAME:
        return CHECKPOINTS / model / "expected.npz"
    path = OUT / "verify-demo-expected.npz"
    if not path.exists():
        made = converted(model, "none")
        made.outputs()
        vocab = json.loads((DEMO / "config.json").read_text())["vocab_size"]
        ids = (numpy.arange(TOKENS) * 389 + 7) % vocab
        part = path.with_name(f"{path.stem}-{os.getpid()}.npz")
        numpy.savez(part, input_ids=ids.astype(numpy.int32), logits=executed(made.bundle, ids))
        part.replace(path)
    return path


def executed(bundle: Path, ids: numpy.ndarray) -> numpy.ndarray:
    """The logits after each token, by milref."""
    if str(ORACLE) not in sys.path:
        sys.path.insert(0, str(ORACLE))
    import milref

    machine = milref.Machine(milref.parse((bundle / "model.mil").read_text(encoding="utf-8")), str(bundle), False)
    rows, state = [], {}
    for position, token in enumerate(ids):
        mask = numpy.full((1, 1, 1, CONTEXT), -numpy.inf, numpy.float32)
        mask[..., : position + 1] = 0
        at = numpy.array([position], numpy.int32)
        feeds = {"input_ids": numpy.array([[token]], numpy.int32), "position_ids": at, "causal_mask": mask, "current_pos": at}
        out, state = machine.run("infer", feeds, state)
        names = sorted((name for name in out if name.startswith("logits")), key=lambda name: int(name[6:]))
        rows.append(numpy.concatenate([numpy.asarray(out[name], numpy.float32).reshape(-1) for name in names]))
    return numpy.array(rows)


def row(model: str, lut: str) -> Row:
    """Measure one conversion in both ways."""
    made = converted(model, lut)
    made.outputs()
    npz = expected(model)
    done = anelith("verify", "--model", checkpoint(model), "--meta", made.meta, "--ids", npz, "--tokens", TOKENS, "--f32", "--json")
    return Row(model, lut, json.loads(done.stdout), judge(made.bundle, npz, "--tokens", TOKENS))


def agree(model: str, lut: str) -> dict:
    """Both figures are the same, the package agrees with itself, and no layer of a
    sound conversion drops."""
    found = row(model, lut)
    require(not found.differences(), "; ".join(found.differences()))
    ours = found.verify
    require(ours["prefill"]["batches"] > 0 and ours["prefill"]["partial"] > 0, "prefill was not given a full batch and a part of one")
    require(ours["prefill"]["agrees"] and ours["differing"] == 0 and ours["not_finite"] == 0, "the package disagrees with itself")
    require(ours["first_drop"] is None, f"{ours['first_drop']} drops in a sound conversion")
    require(ours["recorded"]["kl_max"] <= ABSOLUTE, f"our reference is {ours['recorded']['kl_max']:.3g} from the recorded logits")
    return {"kl_mean": ours["kl_mean"], "judge": found.judge["kl_mean"]}


for _model in MODELS:
    for _lut in LUTS:
        check(f"verify/{_model}/{_lut}", _model, _lut)(agree)
