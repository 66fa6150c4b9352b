"""The random configurations: every field of every family against transformers."""
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy

from . import checkpoints
from .configs import Case
from .figures import LIMIT, Judged, divergence
from .packages import Failed, Route, Tools, by_infer, by_prefill, run_anelith, run_machine


@dataclass
class Result(Judged):
    """What one case gave."""

    case: Case
    kl: dict
    """Of (executor, precision): the mean KL divergence of the worse of two routes, tokens one by one and in batches."""
    deviation: float
    unnoticed: dict
    error: str | None = None


def measure(job: tuple[Case, Tools]) -> Result:
    """Makes, converts, runs and compares one case."""
    case, tools = job
    with tempfile.TemporaryDirectory(prefix="anelith-oracle-") as folder:
        model, output = Path(folder, "model"), Path(folder, "output")
        expected = checkpoints.make(case, model)
        try:
            bundle = tools.convert(model, output, case.context, case.batch, "--lut", "none")
            kl = compare(case, tools, bundle, expected)
        except (Failed, ValueError) as error:
            return Result(case, {}, expected.deviation, expected.unnoticed, str(error))
    return Result(case, kl, expected.deviation, expected.unnoticed)


def compare(case: Case, tools: Tools, bundle: Path, expected: checkpoints.Expected) -> dict:
    routes = [
        by_infer(expected.ids, case.context, case.first),
        by_prefill(expected.ids, case.context, case.batch, case.first),
    ]
    return execute(tools, bundle, routes, expected.logits)


def execute(tools: Tools, bundle: Path, routes: list[Route], expected: numpy.ndarray) -> dict:
    """Every executor in every precision: the mean KL divergence of the worst route.

    anelith runs the package, the other executor the bundle: both outputs are held to the expected values.
    """
    kl = {}
    for precision in LIMIT:
        package = bundle.with_suffix(".mlpackage")
        found = [run_anelith(tools, package, route, precision == "f32") for route in routes]
        kl["anelith", precision] = worst(expected, found)
        machine = tools.machine(bundle, precision == "fp16")
        if machine is not None:
            kl["milref", precision] = worst(expected, [run_machine(machine, route) for route in routes])
    return kl


def worst(expected: numpy.ndarray, found: list) -> float:
    return max(divergence(expected[indices], logits)[0] for indices, logits in found)
