"""The list of checks, and running them in two processes."""
import concurrent.futures
import json
import multiprocessing
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Callable

CHECKS: dict[str, Callable[[], dict]] = {}


class Failure(Exception):
    """A promise that does not hold, in words for whoever reads the line."""


@dataclass
class Result:
    """How one check ended."""

    name: str
    passed: bool
    seconds: float
    figures: dict = field(default_factory=dict)
    reason: str = ""

    def line(self) -> str:
        """PASS or FAIL, name, time, then the figures or the reason."""
        figures = " ".join(f"{key}={show(value)}" for key, value in self.figures.items())
        text = figures if self.passed else " ".join(self.reason.split())
        return f"{'PASS' if self.passed else 'FAIL'} {self.name} ({self.seconds:.1f} s) {text}".rstrip()


def show(value) -> str:
    """A figure in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def check(name: str, *arguments):
    """Register the function under `name`, to be called with `arguments`.

    A check returns a dict of figures, or raises: `Failure` for a broken promise,
    anything else for a check that could not be made (which fails as well).
    """

    def register(function):
        if name in CHECKS:
            raise ValueError(f"two checks are called {name}")
        CHECKS[name] = lambda: function(*arguments) or {}
        return function

    return register


def require(condition: bool, reason: str) -> None:
    """Raise `Failure(reason)` unless `condition` holds."""
    if not condition:
        raise Failure(reason)


def execute(name: str) -> Result:
    """Run one check in this process; whatever it raises is a failure."""
    started = time.monotonic()
    passed, figures, reason = False, {}, ""
    try:
        figures, passed = CHECKS[name](), True
    except Failure as failure:
        reason = str(failure)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"could not be checked: {type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    return Result(name, passed, time.monotonic() - started, figures, reason)


def run_all(names: list[str], jobs: int, report: Path) -> int:
    """Run the checks, print a line for each as it ends, write `report`.

    Returns the number of failures.
    """
    results = []
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context) as pool:
        pending = {pool.submit(execute, name): name for name in names}
        for done in concurrent.futures.as_completed(pending):
            try:
                result = done.result()
            except Exception as error:  # the worker itself died
                result = Result(pending[done], False, 0.0, reason=f"its process ended: {error}")
            results.append(result)
            print(result.line(), flush=True)
    results.sort(key=lambda result: names.index(result.name))
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    failed = [result for result in results if not result.passed]
    for result in failed:
        print(f"failed: {result.name}")
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed", flush=True)
    return len(failed)
