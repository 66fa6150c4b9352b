"""Lookup tables: every palettized tensor is at least as near to its source as in
the package the upstream converter made.

Tensors are told by their values, not by their names: whatever is palettized is
unpacked and taken for the source matrix, or the rows of one, that it is nearest
to."""
from pathlib import Path

import numpy

from .checkpoints import fp16_matrices
from .harness import check, require
from .oracles import machine
from .reference import PREFIXES, conversion
from .workspace import CHECKPOINTS, UPSTREAM

SLACK = 1e-5


def unpacked(package: Path) -> list[numpy.ndarray]:
    """Every palettized tensor of the package's only function as a matrix, widened
    to f64: [outputs, inputs], trailing axes of size one dropped."""
    runner = machine(package)
    (function,) = runner.p["functions"].values()
    tensors, constants = [], {}
    for op in function["ops"]:
        if op["type"] == "const":
            constants[op["outs"][0][0]] = op["at"]["val"]
        if op["type"] == "constexpr_lut_to_dense":
            sources = {**op["ins"], **{k: v for k, v in op["at"].items() if k != "name"}}
            arguments = {key: runner.val(constants[value[1]] if value[0] == "ref" else value) for key, value in sources.items()}
            dense = numpy.asarray(runner.op_constexpr_lut_to_dense(**arguments), numpy.float64)
            tensors.append(dense.reshape(dense.shape[0], -1))
    return tensors


def nearest(tensor: numpy.ndarray, matrices: dict) -> tuple[tuple[str, int, int], float]:
    """Which rows of which source matrix this is, (name, first, count), and the sum
    of squared differences to them."""
    best = (("", 0, 0), float("inf"))
    rows, columns = tensor.shape
    for name, matrix in matrices.items():
        if matrix.shape[1] != columns:
            continue
        for first in range(0, matrix.shape[0] - rows + 1):
            error = float(((matrix[first : first + rows] - tensor) ** 2).sum())
            if error < best[1]:
                best = ((name, first, rows), error)
    return best


def errors(package: Path, matrices: dict) -> dict[tuple[str, int, int], float]:
    """The squared error of every palettized tensor of the package."""
    found = [nearest(tensor, matrices) for tensor in unpacked(package)]
    keyed = dict(found)
    require(len(keyed) == len(found), f"{package.name}: two palettized tensors are the same rows of a matrix")
    return keyed


def compare(ours: dict, theirs: dict) -> dict:
    """Figures, after making sure that no tensor of theirs is nearer to its source
    and that the same tensors are palettized."""
    apart = sorted(ours.keys() ^ theirs.keys())
    require(not apart, f"palettized on one side only: {apart[:4]}")
    require(bool(theirs), "nothing is palettized")
    worse = [key for key in theirs if ours[key] > theirs[key] * (1 + SLACK)]
    detail = ", ".join(f"{name}[{first}:{first + rows}] {ours[name, first, rows]:.6g} > {theirs[name, first, rows]:.6g}" for name, first, rows in worse[:4])
    require(not worse, f"{len(worse)} of {len(theirs)} tensors are further from their source: {detail}")
    ratios = [ours[key] / theirs[key] for key in theirs]
    return {"tensors": len(theirs), "mean_ratio": float(numpy.mean(ratios)), "max_ratio": float(max(ratios))}


@check("reference/qwen3/lut4/tables", "qwen3")
@check("reference/qwen2.5/lut4/tables", "qwen2.5")
def tables(model: str) -> dict:
    """Squared errors of step 1's package against upstream's."""
    made = conversion(model, "4")
    made.outputs()
    matrices = fp16_matrices(CHECKPOINTS / model / "model.safetensors")
    upstream = UPSTREAM / model / f"{PREFIXES[model]}_monolithic_lut4.mlpackage"
    return compare(errors(made.package(), matrices), errors(upstream, matrices))
