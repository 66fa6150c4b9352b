"""`inspect` and `diff` on packages that others made, against what coremltools finds in them."""
import collections
import json
from pathlib import Path

import numpy

from .compiler import SILERO
from .harness import check, require
from .oracles import load_spec
from .packages import FOLDERS, sources
from .reference import conversion
from .workspace import UPSTREAM, VECTORS, anelith

CT = sorted(VECTORS.glob("ct_tiny_llama/*/*.mlpackage"))
SILEROS = sorted(path for path in SILERO.rglob("*.mlpackage"))
EVERY = (*CT, *SILEROS, *sorted(UPSTREAM.glob("*/*.mlpackage")))

# Of the weights of one package, so many are held against coremltools, spread over all.
LOOKED_AT = 6


def inspected(package: Path, *options) -> dict:
    """What `inspect --json` prints."""
    return json.loads(anelith("inspect", package, "--json", *options).stdout)


def compared(one: Path, other: Path, *options, status: int = 4) -> dict:
    """What `diff --json` prints, all of it."""
    return json.loads(anelith("diff", one, other, "--json", "--top", 0, *options, status=status).stdout)


def operations(function) -> list:
    """The ops of a function of a specification."""
    (block,) = function.block_specializations.values()
    return list(block.operations)


def blobs(function) -> set:
    """The places in weight files that a function refers to."""
    found = set()
    for op in operations(function):
        bound = [binding.value for argument in op.inputs.values() for binding in argument.arguments if binding.HasField("value")]
        for value in (*bound, *op.attributes.values()):
            if value.HasField("blobFileValue"):
                found.add((value.blobFileValue.fileName, value.blobFileValue.offset))
    return found


def counts(package: Path) -> dict:
    """Ops, features, metadata and blobs are those of the specification."""
    found, spec = inspected(package), load_spec(package)
    functions = spec.mlProgram.functions
    require({f["name"] for f in found["functions"]} == set(functions), "the functions are others")
    described = {f.name: f for f in spec.description.functions} or {"main": spec.description}
    total = 0
    for function in found["functions"]:
        name, want = function["name"], collections.Counter(op.type for op in operations(functions[function["name"]]))
        require(function["ops"] == dict(want), f"{name}: ops {function['ops']}, expected {dict(want)}")
        for kind, features in (("inputs", described[name].input), ("outputs", described[name].output), ("states", described[name].state)):
            names = [feature["name"] for feature in function[kind]]
            require(names == [feature.name for feature in features], f"{name}: {kind} {names}")
        total += sum(want.values())
    kept = dict(spec.description.metadata.userDefined)
    require(found["metadata"]["user_defined"] == kept, "the metadata are others")
    places = set().union(*(blobs(function) for function in functions.values()))
    referenced = sum(file["referenced"] for file in found["files"])
    require(referenced == len(places), f"{referenced} blobs are referred to, expected {len(places)}")
    return {"ops": total, "blobs": referenced}


def unpacked(package: Path) -> dict:
    """By name, what coremltools makes of each op that unpacks a weight, and of each plain blob."""
    from coremltools.converters.mil.frontend.milproto.load import load

    spec = load_spec(package)
    folder = package / "Data/com.apple.CoreML/weights"
    program = load(spec, spec.specificationVersion, str(folder))
    values = {}
    for function in program.functions.values():
        for op in function.operations:
            if op.op_type.startswith("constexpr_"):
                made = op.materialized_val_inference()
                if isinstance(made, numpy.ndarray):
                    values[op.name] = made
            elif op.op_type == "const" and isinstance(op.outputs[0].val, numpy.ndarray) and op.outputs[0].val.size > 1:
                values[op.name] = op.outputs[0].val
    return {name: value for name, value in values.items() if value.dtype.kind == "f" and value.size > 1}


def values(package: Path) -> dict:
    """Smallest and largest element, mean and root mean square of weights are those of what coremltools unpacks."""
    wanted, worst = unpacked(package), 0.0
    names = [weight["name"] for weight in inspected(package)["weights"]]
    known = [name for name in names if name in wanted]
    require(len(known) * 2 > len(names), f"coremltools knows {len(known)} of {len(names)} weights by name")
    chosen = known[:: max(1, len(known) // LOOKED_AT)]
    readable = [(inspected(package, "--weight", name), wanted[name].astype(numpy.float64)) for name in chosen]
    for found, want in readable:
        figures = (want.min(), want.max(), want.mean(), numpy.sqrt((want**2).mean()))
        scale = max(abs(want.min()), abs(want.max()), 1e-12)
        off = max(abs(found[key] - figure) for key, figure in zip(("min", "max", "mean", "rms"), figures)) / scale
        require(off < 1e-3, f"{found['name']}: {[found[k] for k in ('min', 'max', 'mean', 'rms')]}, expected {figures}")
        worst = max(worst, off)
    return {"weights": len(readable), "worst": worst}


def same(package: Path) -> dict:
    """A package does not differ from itself."""
    found = compared(package, package, status=0)
    require(found["equal"] and found["weight_differences"] == 0, "it differs from itself")
    return {"weights": found["equal_weights"]}


def against_ours(folder: str) -> dict:
    """Upstream's package beside our conversion of the same checkpoint: the fp16 weights are the same ones, whatever
    they are called; what differs is told as what it is."""
    _, _, full = sources(folder)
    made = conversion(folder.removesuffix("-fp16"), "none" if folder.endswith("-fp16") else "4")
    made.outputs()
    found = compared(full, made.package("_combined"))
    paired = {f["a"]: f["paired"] / min(f["ops"]) for f in found["functions"]}
    require(set(paired) == {"infer", "prefill"}, f"functions {sorted(paired)}")
    require(min(paired.values()) > 0.6, f"only {paired} of the ops are paired")
    sized = [w for w in found["weights"] if w["deviation"]]
    # Upstream's LLaMA has a `linear` with a bias of zeros where others have a `conv`.
    alone = [w["a"] or w["b"] for w in found["weights"] if not (w["a"] and w["b"])]
    alone = [w for w in alone if "bias" not in w["name"]]
    require(not alone, f"weights of one side: {alone[:3]}")
    if folder.endswith("-fp16"):
        layers = [w for w in sized if w["b"]["component"] != "rotary tables"]
        require(not layers, f"weights differ: {[w['b']['name'] for w in layers][:3]}")
    else:
        bad = [w["b"]["name"] for w in sized if w["b"]["component"] in ("attention", "MLP") and w["deviation"]["snr_db"] < 10]
        require(not bad, f"projections that have nothing to do with each other: {bad[:3]}")
    return {"paired": min(paired.values()), "equal": found["equal_weights"], "different": found["weight_differences"]}


@check("inspect/diff/schemes")
def schemes() -> dict:
    """Every form of compression beside fp16: the same weights, as far as the form can hold them."""
    plain, figures = VECTORS / "ct_tiny_llama/fp16/model.mlpackage", {}
    for package in CT:
        if package.parent.name == "fp16":
            continue
        found = compared(plain, package)
        ratios = [w["deviation"]["snr_db"] for w in found["weights"]]
        require(len(ratios) >= 16 and all(w["a"] and w["b"] for w in found["weights"]), f"{package.parent.name}: weights are not paired")
        figures[package.parent.name] = round(min(ratios), 1)
        require(min(ratios) > 3, f"{package.parent.name}: {min(ratios)} dB")
    require(figures["int8_channel"] > 40 > figures["lut6_g16"] > figures["lut4_g8"] > figures["lut3_tensor"], f"{figures}")
    return figures


for _package in EVERY:
    check(f"inspect/counts/{_package.parent.name}/{_package.stem}", _package)(counts)
    check(f"inspect/same/{_package.parent.name}/{_package.stem}", _package)(same)
# coremltools does not unpack tables that are scaled themselves; the tests of the crate do.
for _package in (path for path in CT if path.parent.name != "lut4_g8_pcs"):
    check(f"inspect/values/{_package.parent.name}/{_package.stem}", _package)(values)
for _folder in FOLDERS:
    check(f"inspect/diff/upstream/{_folder}", _folder)(against_ours)
