"""Fast mode against exact mode: the same program, rounded in other places."""
import numpy

from .demo import FP16, LUT4, generated
from .executor import feeds, run_ours
from .harness import check, require
from .reference import PREFIXES, conversion
from .workspace import CHECKPOINTS, Conversion

# The mean KL divergence in nats, and the part of the tokens whose likeliest successor is the same.
KL_MEAN, SAME_TOP = 1e-4, 0.995
LUTS = ("none", "4", "6", "8", "2", "4,16", "4,tensor")
# A prompt from which the demo model goes on for a while.
DEMO_PROMPT, DEMO_TOKENS = [1, 403, 407], 160


def log_softmax(logits: numpy.ndarray) -> numpy.ndarray:
    """Logarithms of the probabilities that each row of logits stands for."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - numpy.log(numpy.exp(shifted).sum(-1, keepdims=True))


def logits(made: Conversion, tokens: list[int], batch: int, context: int, mode: str) -> numpy.ndarray:
    """One batch through prefill, the rest token by token: the logits of all but the batch."""
    ids = numpy.array(tokens)
    sequence = [("prefill", feeds(ids[:batch], 0, context, float("-inf")))]
    sequence += [("infer", feeds(ids[at : at + 1], at, context, float("-inf"))) for at in range(batch, len(ids))]
    answers = run_ours(made.bundle, sequence, f"fast-{made.name}-{mode}", mode)[1:]
    names = sorted(answers[0], key=lambda name: int(name.removeprefix("logits")))
    return numpy.stack([numpy.concatenate([answer[name].reshape(-1) for name in names]) for answer in answers])


def compared(conversions: list[Conversion], tokens: list[list[int]], batch: int, context: int) -> dict:
    """The figures over all tokens of all conversions."""
    divergences, same = [], []
    for made, ids in zip(conversions, tokens):
        exact, fast = (log_softmax(logits(made, ids, batch, context, mode)) for mode in ("fp16", "fast"))
        divergences.append((numpy.exp(exact) * (exact - fast)).sum(-1))
        same.append(exact.argmax(-1) == fast.argmax(-1))
    mean, top = float(numpy.concatenate(divergences).mean()), float(numpy.concatenate(same).mean())
    require(mean <= KL_MEAN, f"mean KL {mean:.3g} is above {KL_MEAN:g}")
    require(top >= SAME_TOP, f"the top token is the same at {top:.4f} of the positions, expected {SAME_TOP}")
    return {"kl_mean": mean, "same_top": top, "tokens": sum(map(len, same))}


def reference(lut: str) -> dict:
    """The five supported reference checkpoints."""
    made = [conversion(model, lut) for model in PREFIXES]
    for one in made:
        one.outputs()
    tokens = [numpy.load(CHECKPOINTS / model / "expected.npz")["input_ids"].reshape(-1).tolist() for model in PREFIXES]
    return compared(made, tokens, 32, 256)


@check("fast/demo")
def demo() -> dict:
    """The demo model on what it says itself."""
    made = [LUT4, FP16]
    for one in made:
        one.outputs()
    said = DEMO_PROMPT + generated(FP16, DEMO_PROMPT, DEMO_TOKENS)
    return compared(made, [said, said], 64, 512)


for _lut in LUTS:
    check(f"fast/reference/lut-{_lut.replace(',', '-')}", _lut)(reference)
