"""What a conversion is asked for in other words, and --dry-run: bytes and files, not figures."""
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import lossless
from .configs import FAMILIES
from .packages import Failed, Tools

SAME = [
    (("--lut", "4,0"), ("--lut", "4,tensor")),
    (("--lut", "4,t"), ("--lut", "4,tensor")),
    (("--lut", "no"), ("--lut", "none")),
    (("--lut", "false"), ("--lut", "none")),
    (("--lut", "4", "--lut-embeddings", "no", "--lut-lmhead", "false"),
     ("--lut", "4", "--lut-embeddings", "none", "--lut-lmhead", "none")),
]
"""Options, and others that must give the same bytes."""
OTHER = (("--lut", "4,8"), ("--lut", "4,tensor"))
"""Options that must not give the same bytes: the comparison sees a difference."""
DRY = ("--lut", "4", "--lut-embeddings", "8,tensor", "--lut-lmhead", "none")
REPORT = "component "
"""How the head of the report table begins."""


@dataclass
class Word:
    """One family, one set of options, and what was asserted of it."""

    family: str
    options: str
    asserted: str
    error: str | None = None
    table: str = ""
    """The report table that the binary printed, where it did."""

    def passed(self) -> bool:
        return self.error is None


def measure(job: tuple[Tools, str, int]) -> list[Word]:
    """One checkpoint of the family, in all words."""
    tools, family, seed = job
    with tempfile.TemporaryDirectory(prefix="anelith-oracle-") as folder:
        model = Path(folder, "model")
        lossless.make(family, 4, seed, model)
        found = [compare(tools, family, model, pair, True) for pair in SAME]
        found.append(compare(tools, family, model, OTHER, False))
        found.append(dry_run(tools, family, model))
        return found


def jobs(tools: Tools, seed: int) -> list[tuple]:
    return [(tools, family, seed) for family in FAMILIES]


def compare(tools: Tools, family: str, model: Path, pair: tuple, same: bool) -> Word:
    """Two conversions, and whether all their files are the same."""
    one, other = pair
    asserted = f"{'the same bytes as' if same else 'other bytes than'} `{' '.join(other)}`"
    word = Word(family, " ".join(one), asserted)
    try:
        files = [converted(tools, model, options) for options in pair]
    except Failed as error:
        word.error = str(error)
        return word
    if (files[0] == files[1]) != same:
        names = sorted(str(n) for n in files[0].keys() | files[1].keys() if files[0].get(n) != files[1].get(n))
        word.error = f"files that differ: {', '.join(names) or 'none'}"
    return word


def converted(tools: Tools, model: Path, options: tuple) -> dict:
    """Every file of steps 1 to 4 and its bytes."""
    output = model.with_name("output")
    shutil.rmtree(output, ignore_errors=True)
    tools.convert(model, output, lossless.CONTEXT, lossless.BATCH, *options)
    files = {path.relative_to(output): path for path in output.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items()}


def dry_run(tools: Tools, family: str, model: Path) -> Word:
    """The plan and the report table are printed, and no file appears or changes."""
    output = model.with_name("planned")
    word = Word(family, " ".join([*DRY, "--dry-run"]), "names steps 1 to 6 and writes nothing")
    before = snapshot(model.parent)
    command = [tools.anelith, "convert", "--model", model, "--output", output, *DRY, "--dry-run"]
    command += ["--context", str(lossless.CONTEXT), "--batch", str(lossless.BATCH)]
    done = subprocess.run(command, capture_output=True, text=True)
    steps = [f"step {n}: " for n in range(1, 7)]
    lines = done.stdout.splitlines()
    if done.returncode:
        word.error = f"exit status {done.returncode}: {done.stderr.strip()}"
    elif snapshot(model.parent) != before:
        word.error = "files were written"
    elif not all(any(line.startswith(step) for line in lines) for step in steps):
        word.error = "the plan lacks a step"
    starts = [i for i, line in enumerate(lines) if line.startswith(REPORT)]
    if starts:
        word.table = "\n".join(lines[starts[0] :]).strip()
    elif word.error is None:
        word.error = "no report table"
    return word


def snapshot(folder: Path) -> dict:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
