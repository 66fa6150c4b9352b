"""The command line of conformance/run."""
import argparse
import importlib
import importlib.util
import logging
import os
import shutil
import sys
import warnings

from .harness import CHECKS, run_all
from .workspace import ANELITH, OUT, REPORT, SHARED

# The modules that register checks, in the order the checks run.
SUBJECTS = (
    *("demo", "reference", "signature", "tables", "executor", "fast", "compiler"),
    *("verify", "packages", "options", "errors", "wrong", "pipeline", "disturbed", "commands", "inspection", "hub"),
    *("lint", "documents", "terminal", "scale"),
    *("corpus", "clients", "examples", "browser", "load"),
)


def missing() -> list[str]:
    """What the checks need and is not there."""
    needed = [(ANELITH, "build it with `cargo build --release`"), (SHARED / "oracle/oracle.py", "recorded values and oracles")]
    return [f"{path} is missing ({why})" for path, why in needed if not path.exists()]


def missing_modules() -> list[str]:
    """Python modules that the checks import."""
    modules = ("numpy", "coremltools", "huggingface_hub", "openai")
    return [f"Python module {name} is missing (`make conformance` installs it)" for name in modules if not importlib.util.find_spec(name)]


def refuse(lacking: list[str]) -> int:
    """Say what is missing; nothing was checked, so nothing has passed."""
    print("\n".join(f"error: {text}" for text in lacking), file=sys.stderr)
    print("0 passed, 1 failed")
    return 1


def unknown(wanted: list[str]) -> list[str]:
    """Those of `wanted` that no check begins with."""
    return [prefix for prefix in wanted if not any(name.startswith(prefix) for name in CHECKS)]


def selected(wanted: list[str]) -> list[str]:
    """The names of the checks that any of `wanted` begins; all when empty."""
    return [name for name in CHECKS if not wanted or any(name.startswith(prefix) for prefix in wanted)]


def main(arguments: list[str], usage: str) -> int:
    """Run what was asked for; see conformance/run."""
    parser = argparse.ArgumentParser(description=usage, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes (2)")
    options = parser.parse_args(arguments)
    if missing_modules():
        return refuse(missing_modules())
    # coremltools warns about what it cannot do off a Mac, which nothing here asks of it.
    logging.disable(logging.CRITICAL)
    warnings.filterwarnings("ignore")
    for subject in SUBJECTS:
        importlib.import_module(f"checks.{subject}")
    if unknown(options.names):
        parser.error(f"no check begins with {' or '.join(unknown(options.names))}; --list shows them all")
    names = selected(options.names)
    if options.list:
        print("\n".join(names))
        return 0
    if missing():
        return refuse(missing())
    # Whatever an earlier run converted may come from another binary.
    shutil.rmtree(OUT, ignore_errors=True)
    return 1 if run_all(names, max(1, options.jobs), REPORT) else 0
