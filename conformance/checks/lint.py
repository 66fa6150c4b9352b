"""`anelith lint` finds nothing worse than notes in what anelith converts, nor in the
upstream converter's packages, whose forms are known to run on the Neural Engine; it says
something of every other package and bundle that was recorded, and crashes on none."""
import json
from pathlib import Path

from .harness import check, require
from .reference import PREFIXES, conversion
from .workspace import UPSTREAM, VECTORS, anelith

TARGETS = "macos15,ios18,m1,a14"

# The rules that a tiny LLaMA of coremltools breaks with an error: heads that are too
# narrow and, in one of its forms, scales beside lookup tables.
ERRORS = ("state-alignment", "lut-scale")

# Of these the recorded values hold but a pointer in place of a file, or what no device loads.
UNREADABLE = ("fluidaudio-parakeet-eou", "observed-watchos-broken")


def linted(path: Path, *options: str, status: int = 0) -> dict:
    """What lint says of one package or bundle."""
    return json.loads(anelith("lint", path, "--json", *options, status=status).stdout)


def worse_than_notes(found: dict) -> list[str]:
    """One line for each finding that is no note."""
    return [f"{f['rule']} at {f['at']}: {f['found']}" for f in found["findings"] if f["severity"] != "note"]


def ours(model: str, lut: str) -> dict:
    """A conversion is clean on every target, as package and as bundle."""
    made = conversion(model, lut)
    made.outputs()
    notes = 0
    for path in (*(made.package(suffix) for suffix in ("", "_prefill", "_combined")), made.bundle):
        found = linted(path, "--target", TARGETS, "--strict")
        require(not worse_than_notes(found), f"{path.name}: {'; '.join(worse_than_notes(found)[:3])}")
        notes += found["notes"]
    return {"notes": notes}


def upstream(folder: str) -> dict:
    """What upstream emits runs on the Neural Engine, so a warning about it would be wrong."""
    packages = sorted((UPSTREAM / folder).glob("*.mlpackage"))
    require(bool(packages), f"no packages in {folder}")
    for path in packages:
        found = worse_than_notes(linted(path, "--target", TARGETS, "--strict"))
        require(not found, f"{path.name}: {'; '.join(found[:3])}")
    return {"packages": len(packages)}


def others() -> dict:
    """Packages and bundles of others: the figures are findings by rule. An error among
    them ends in the status of a gate, anything else in 0."""
    figures: dict = {}
    read = 0
    for path in sorted(path for ending in ("mlpackage", "mlmodelc") for path in VECTORS.rglob(f"*.{ending}")):
        if any(word in str(path) for word in UNREADABLE):
            anelith("lint", path, status=3)
            continue
        listed = linted(path, "--strict", "--rules", ",".join(ERRORS), status=4 if is_tiny_llama(path) else 0)
        require(not listed["warnings"], f"{path}: warnings where only errors were asked for")
        # What is allowed is left out, so that all else is found under one status.
        for finding in linted(path, "--allow", ",".join(ERRORS))["findings"] + listed["findings"]:
            figures[finding["rule"]] = figures.get(finding["rule"], 0) + 1
        read += 1
    require(read > 20, f"only {read} packages and bundles could be read")
    return {"read": read, **dict(sorted(figures.items()))}


def is_tiny_llama(path: Path) -> bool:
    """Whether it is one of the forms of that model."""
    return "ct_tiny_llama" in path.parts


for _model in PREFIXES:
    for _lut in ("none", "4"):
        check(f"lint/{_model}/{'none' if _lut == 'none' else 'lut4'}", _model, _lut)(ours)
for _family in ("qwen3", "qwen2.5", "llama"):
    check(f"lint/upstream/{_family}", _family)(upstream)
    check(f"lint/upstream/{_family}-fp16", f"{_family}-fp16")(upstream)
check("lint/others")(others)
