"""The command: measure, write, judge."""
import argparse
import json
import os
import platform
import subprocess
import sys
import warnings
from multiprocessing import Pool
from pathlib import Path

import numpy
import torch
import transformers

from . import configs, families, lossless, named, options, positions, refusals, report, words
from .packages import Tools

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ["oracle/milref.py", "reference/checkpoints", "data/tokenizers"]
"""What a whole run takes from SHARED."""
EXPECTED_VERSIONS = {"torch": "2.7.0", "transformers": "4.52.4"}


def arguments(text: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="oracle/run", description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="what the configurations are drawn from [1]")
    parser.add_argument("--count", type=int, default=24, help="configurations of each family [24]")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes [one a core]")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/correctness.md", help="[docs/correctness.md]")
    parser.add_argument("--case", metavar="NAME", help="measure one configuration only (llama-07), and print it")
    anelith, shared = os.environ.get("ANELITH"), os.environ.get("SHARED")
    parser.add_argument("--anelith", type=Path, default=Path(anelith) if anelith else ROOT / "target/release/anelith")
    parser.add_argument("--shared", type=Path, default=Path(shared) if shared else ROOT.parent / "shared")
    parser.add_argument(
        "--without-shared", action="store_true",
        help="measure without SHARED: no independent executor, no reference checkpoints; the report says so",
    )
    return parser.parse_args()


def quiet() -> None:
    """One thread a process, and no chatter of the libraries."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(text: str) -> int:
    given = arguments(text)
    for name, version in EXPECTED_VERSIONS.items():
        found = sys.modules[name].__version__.split("+")[0]
        if found != version:
            say(f"error: {name} {found}, expected {version}")
            return 2
    if not given.anelith.is_file():
        say(f"error: no binary at {given.anelith}: build it with `cargo build --release`, or set ANELITH")
        return 2
    missing = [] if given.without_shared else [n for n in NEEDED if not (given.shared / n).exists()]
    if missing:
        say(f"error: {given.shared} lacks {', '.join(missing)}: set SHARED, or measure less with --without-shared")
        return 2
    quiet()
    tools = Tools(given.anelith.resolve(), None if given.without_shared else given.shared.resolve())
    cases = configs.cases(given.seed, given.count)
    models = named.cases(tools, given.seed)
    if given.case:
        return one_case(tools, cases + models, given.case)
    with Pool(given.jobs, quiet) as pool:
        return measure(given, tools, (cases, models), pool)


def one_case(tools: Tools, cases: list, name: str) -> int:
    found = [case for case in cases if case.name == name]
    if not found:
        say(f"error: no case {name}; they are {', '.join(case.name for case in cases)}")
        return 2
    result = families.measure((found[0], tools))
    print(json.dumps(found[0].written, indent=1))
    for (executor, precision), kl in result.kl.items():
        print(f"{executor} {precision}: {kl:.2e}")
    print("passed" if result.passed() else f"failed {result.error or ''}")
    return 0 if result.passed() else 1


def measure(given: argparse.Namespace, tools: Tools, cases: tuple[list, list], pool: Pool) -> int:
    """Everything; 0 when all passed."""
    results, models = (
        watch(pool.imap(families.measure, [(case, tools) for case in some]), lambda r: r.case.name) for some in cases
    )
    far = pool.imap(positions.measure_family, [(tools, family, given.seed) for family in configs.FAMILIES])
    places = [place for found in watch(far, lambda f: f"positions, {f[0].family}") for place in found]
    exact = pool.imap(lossless.measure, lossless.jobs(tools, given.seed))
    tables = [one for found in watch(exact, lambda f: f"lossless, {f[0].family}, {f[0].bits}") for one in found]
    refused = refusals.measure(tools)
    asked = pool.imap(words.measure, words.jobs(tools, given.seed))
    said = [word for found in watch(asked, lambda f: f"words, {f[0].family}") for word in found]
    work = options.jobs(tools) if tools.shared else []
    costs = watch(pool.imap(options.measure, work), lambda c: f"{c.checkpoint} {' '.join(c.options)}")
    found = report.Figures(results, models, places, refused, tables, said, costs)
    given.output.write_text(report.write(about(given, tools), found) + report.kept(given.output))
    failed = [r for r in [*results, *models, *places, *refused, *tables, *said, *costs] if not r.passed()]
    for failure in failed:
        say(f"FAIL {failure}")
    counts = f"{len(results) + len(models)} configurations, {len(refused)} refusals and warnings, {len(tables)} lossless tables"
    say(f"{counts}, {len(costs)} sets of options: {len(failed)} failed")
    say(f"figures: {given.output}")
    return 1 if failed else 0


def watch(found, name) -> list:
    """The results as a list, each named on stderr as it comes."""
    kept = []
    for result in found:
        kept.append(result)
        passed = all(r.passed() for r in result) if isinstance(result, list) else result.passed()
        say(f"{'ok  ' if passed else 'FAIL'} {name(result)}")
    return kept


def about(given: argparse.Namespace, tools: Tools) -> dict:
    """What the head of the report states."""
    anelith = subprocess.run([tools.anelith, "--version"], capture_output=True, text=True).stdout.strip()
    libraries = [f"{m.__name__} {m.__version__.split('+')[0]}" for m in (torch, transformers, numpy)]
    changed = "".join(
        f" --{name} {value}"
        for name, value, default in (("seed", given.seed, 1), ("count", given.count, 24))
        if value != default
    )
    changed += " --without-shared" * given.without_shared
    return {
        "command": f"oracle/run{changed}" if changed else "make oracle",
        "executors": report.ONE_EXECUTOR if tools.shared is None else report.TWO_EXECUTORS,
        "versions": ", ".join([anelith, *libraries, f"Python {platform.python_version()}"]),
        "seed": given.seed,
    }
