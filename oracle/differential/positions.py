"""Positions that no 16-bit index can hold: a few tokens far out in a long context."""
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from . import checkpoints
from .configs import FAMILIES, tiny
from .families import execute
from .figures import Judged, divergence
from .packages import Failed, Tools, by_prefill

TOKENS = 12
BATCH = 4
# Context, and the position of the first token: the last ones that uint16 indexes, and a step across them, which the
# second prefill batch makes.
PLACES = [(65536, 65524), (66000, 65530)]


@dataclass
class Place(Judged):
    """One family at one place."""

    family: str
    context: int
    first: int
    kl: dict
    cut: float
    """KL where positions are cut to 16 bits: what the comparison would see of that error."""
    error: str | None = None

    @property
    def last(self) -> int:
        return self.first + TOKENS - 1


def measure_family(job: tuple[Tools, str, int]) -> list[Place]:
    """One checkpoint, converted and run at every place."""
    tools, family, seed = job
    with tempfile.TemporaryDirectory(prefix="anelith-oracle-") as folder:
        model, ids = make(family, seed, Path(folder, "model"))
        return [measure_place(tools, family, model, ids, Path(folder), place) for place in PLACES]


@torch.no_grad()
def make(family: str, seed: int, directory: Path):
    """The checkpoint in `directory`, as transformers loads it, and the tokens."""
    directory.mkdir()
    torch.manual_seed(seed)
    checkpoints.write_config(directory, tiny(family))
    checkpoints.write_tokenizer(directory)
    model = checkpoints.fresh(directory)
    ids = torch.randint(0, model.config.vocab_size, (1, TOKENS))
    checkpoints.draw_weights(model, 1.0)
    checkpoints.scale_logits(model, ids)
    checkpoints.write_shards({k: v.half() for k, v in model.state_dict().items()}, 1, directory)
    return checkpoints.load(directory), ids


@torch.no_grad()
def measure_place(tools: Tools, family: str, model, ids, folder: Path, where: tuple[int, int]) -> Place:
    context, first = where
    positions = torch.arange(first, first + TOKENS)[None]
    expected = model(ids, position_ids=positions).logits[0].numpy()
    cut = model(ids, position_ids=positions % 65536).logits[0].numpy()
    place = Place(family, context, first, {}, divergence(expected, cut)[0])
    try:
        bundle = tools.convert(folder / "model", folder / str(context), context, BATCH, "--lut", "none")
        route = by_prefill(ids[0].numpy(), context, BATCH, first)
        place.kl = execute(tools, bundle, [route], expected)
    except (Failed, ValueError) as error:
        place.error = str(error)
    return place
