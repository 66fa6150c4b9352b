"""Converts checkpoints with the release binary, and runs what comes out: with anelith's runtime, and apart from it."""
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy


class Failed(Exception):
    """The binary ended with an error; the text is its first line."""


@dataclass
class Tools:
    """The programs of a measurement."""

    anelith: Path
    shared: Path | None
    """The folder of reference checkpoints and oracles; `None` measures without them."""

    def run(self, *arguments: str) -> str:
        """Runs the binary; what it prints to stdout."""
        done = subprocess.run([self.anelith, *arguments], capture_output=True, text=True)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("error")]
            raise Failed(lines[0] if lines else f"exit status {done.returncode}")
        return done.stdout

    def convert(self, model: Path, output: Path, context: int, batch: int, *options: str) -> Path:
        """Steps 1 to 4, each in a process of its own; the bundle."""
        for step in "1234":
            self.run(
                "convert", "--model", str(model), "--output", str(output), "--prefix", "m", "--only", step,
                "--context", str(context), "--batch", str(batch), *options,
            )
        return output / "m_monolithic_combined.mlmodelc"

    def machine(self, bundle: Path, fp16: bool):
        """The executor of SHARED/oracle on the program's text, or `None` without SHARED."""
        if self.shared is None:
            return None
        folder = self.shared / "oracle"
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
        import milref

        return milref.Machine(milref.parse((bundle / "model.mil").read_text()), str(bundle), fp16)


def mask(context: int, visible: list[range]) -> numpy.ndarray:
    """[1, 1, tokens, context]: 0 where a token sees a row of the cache, else negative infinity."""
    rows = numpy.full((1, 1, len(visible), context), -numpy.inf, numpy.float32)
    for row, seen in zip(rows[0, 0], visible):
        row[seen.start : seen.stop] = 0
    return rows


def feed(ids: numpy.ndarray, start: int, context: int, first: int = 0) -> dict:
    """What consumers send for `ids` from position `start` on; rows before `first` stay hidden."""
    positions = numpy.arange(start, start + len(ids), dtype=numpy.int32)
    return {
        "input_ids": ids[None].astype(numpy.int32),
        "position_ids": positions,
        "causal_mask": mask(context, [range(first, p + 1) for p in positions]),
        "current_pos": numpy.array([start], numpy.int32),
    }


@dataclass
class Route:
    """Calls in order, and for those whose logits count the index of the token."""

    calls: list
    wanted: list


def by_infer(ids: numpy.ndarray, context: int, first: int = 0) -> Route:
    """Every token through `infer`, the first at position `first`."""
    calls = [("infer", feed(ids[i : i + 1], first + i, context, first)) for i in range(len(ids))]
    return Route(calls, list(range(len(ids))))


def by_prefill(ids: numpy.ndarray, context: int, batch: int, first: int = 0) -> Route:
    """Full batches through `prefill`, the rest through `infer`."""
    done = (len(ids) - 1) // batch * batch
    starts = range(0, done, batch)
    calls = [("prefill", feed(ids[s : s + batch], first + s, context, first)) for s in starts]
    calls += [("infer", feed(ids[i : i + 1], first + i, context, first)) for i in range(done, len(ids))]
    return Route(calls, [None] * len(starts) + list(range(done, len(ids))))


def join(outputs: dict) -> numpy.ndarray:
    """The logits of all vocabulary splits."""
    count = sum(name.startswith("logits") for name in outputs)
    parts = [numpy.asarray(outputs[f"logits{i + 1}"], numpy.float32).reshape(-1) for i in range(count)]
    return numpy.concatenate(parts)


def collect(route: Route, answers: list) -> tuple[list, numpy.ndarray]:
    """The indices of the tokens whose logits are known, and the logits."""
    known = [(i, join(a)) for i, a in zip(route.wanted, answers) if i is not None]
    return [i for i, _ in known], numpy.stack([row for _, row in known])


def run_anelith(tools: Tools, package: Path, route: Route, f32: bool) -> tuple[list, numpy.ndarray]:
    """The route through `anelith run`."""
    return collect(route, answers_of_anelith(tools, package, route, f32))


def answers_of_anelith(tools: Tools, package: Path, route: Route, f32: bool) -> list[dict]:
    """Every call's outputs by name, each a flat list."""
    feeds, results = package.with_suffix(".feeds"), package.with_suffix(".results")
    feeds.write_text(json.dumps([{"function": f, "inputs": encode(inputs)} for f, inputs in route.calls]))
    flags = ["--f32"] if f32 else []
    tools.run("run", str(package), "--feeds", str(feeds), "--json-output", str(results), *flags)
    answers = json.loads(results.read_text())
    return [{name: tensor["data"] for name, tensor in a["outputs"].items()} for a in answers]


def encode(inputs: dict) -> dict:
    """Arrays as the JSON of `anelith run`."""
    encoded = {}
    for name, array in inputs.items():
        data = array.reshape(-1).tolist()
        if name == "causal_mask":
            data = ["-inf" if x < 0 else 0 for x in data]
        dtype = "fp16" if name == "causal_mask" else "int32"
        encoded[name] = {"dtype": dtype, "shape": list(array.shape), "data": data}
    return encoded


def run_machine(machine, route: Route) -> tuple[list, numpy.ndarray]:
    """The route through the independent executor."""
    state, answers = {}, []
    for function, inputs in route.calls:
        outputs, state = machine.run(function, inputs, state)
        answers.append(outputs)
    return collect(route, answers)
