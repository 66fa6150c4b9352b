"""Palettization where it can lose nothing: weights of no more values than a lookup table has entries.

Clustering must then find exactly those values, whatever the group, and the package must compute what transformers
computes. The sizes are odd: no group divides all of them, and no number of splits the vocabulary.
"""
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from . import checkpoints
from .configs import FAMILIES, tiny
from .families import execute
from .figures import Judged
from .options import BITS, GROUPS
from .packages import Failed, Tools, by_prefill

ODD = {
    "hidden_size": 45, "intermediate_size": 101, "num_attention_heads": 3, "head_dim": 30, "vocab_size": 1009,
}
TOKENS, CONTEXT, BATCH = 20, 40, 8


@dataclass
class Lossless(Judged):
    """One family, one number of bits, one group."""

    family: str
    bits: int
    group: str
    kl: dict
    error: str | None = None


def jobs(tools: Tools, seed: int) -> list[tuple]:
    return [(tools, family, bits, seed) for family in FAMILIES for bits in BITS]


def measure(job: tuple[Tools, str, int, int]) -> list[Lossless]:
    """One checkpoint, converted with every group."""
    tools, family, bits, seed = job
    with tempfile.TemporaryDirectory(prefix="anelith-oracle-") as folder:
        model = Path(folder, "model")
        expected = make(family, bits, seed, model)
        route = by_prefill(expected.ids, CONTEXT, BATCH)
        found = []
        for group in GROUPS:
            result = Lossless(family, bits, group, {})
            try:
                bundle = tools.convert(model, Path(folder, group), CONTEXT, BATCH, "--lut", f"{bits},{group}")
                result.kl = execute(tools, bundle, [route], expected.logits)
            except (Failed, ValueError) as error:
                result.error = str(error)
            found.append(result)
        return found


@torch.no_grad()
def make(family: str, bits: int, seed: int, directory: Path) -> checkpoints.Expected:
    """A checkpoint whose matrices hold 2^bits values each, and the expected logits."""
    directory.mkdir()
    torch.manual_seed(seed)
    checkpoints.write_config(directory, tiny(family) | ODD)
    checkpoints.write_tokenizer(directory)
    model = checkpoints.fresh(directory)
    ids = torch.randint(0, model.config.vocab_size, (1, TOKENS))
    checkpoints.draw_weights(model, 1.0)
    for weight in model.parameters():
        if weight.dim() == 2:
            weight.copy_(coarse(weight, 2**bits))
    checkpoints.scale_logits(model, ids)
    checkpoints.write_shards({k: v.half() for k, v in model.state_dict().items()}, 1, directory)
    return checkpoints.expect(checkpoints.load(directory), ids)


def coarse(weight: torch.Tensor, count: int) -> torch.Tensor:
    """`weight` with each value moved to the nearest of `count`, unevenly spaced."""
    reach = 2 * weight.std()
    levels = torch.linspace(-1, 1, count) * reach
    levels = (levels + 0.2 * reach / count * torch.rand(count)).half().float()
    nearest = torch.bucketize(weight, (levels[1:] + levels[:-1]) / 2)
    return levels[nearest]
