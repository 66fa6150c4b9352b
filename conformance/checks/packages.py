"""`combine` and `compile` on packages that others made."""
import json
import shutil
from pathlib import Path

import numpy

from .compiler import EXPORTED, SILERO
from .errors import refused
from .executor import as_json, calls
from .harness import check, require
from .oracles import ORACLE, accepts_bundle, call, load_spec, machine
from .workspace import DEMO, UPSTREAM, VECTORS, anelith, digest, fresh

FOLDERS = ("qwen3-fp16", "qwen2.5-fp16", "llama-fp16", "qwen3", "qwen2.5", "llama")
WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")
SINGLE = VECTORS / "ct_tiny_llama/fp16/single_infer.mlpackage"
ENCODER, DECODER = (SILERO / f"silero-vad-coreml/silero-vad-{part}-v6.0.0.mlpackage" for part in ("encoder", "decoder"))
SQUEEZED = SILERO / "quantized_models/unified_standard/unified_int8.mlpackage"
FLEXIBLE, SIGN = EXPORTED / "flexible-range/input.mlmodel", EXPORTED / "neg-0d-scalar/input.mlmodel"

# Records of equal blobs need not lie in the same order in both files, so padding may differ.
PADDING = 64


def sources(folder: str) -> tuple[Path, Path, Path]:
    """Upstream's inference and prefill packages and what it combined of them."""
    packages = sorted((UPSTREAM / folder).glob("*.mlpackage"))
    prefill, full = (next(p for p in packages if word in p.name) for word in ("prefill", "full"))
    return next(p for p in packages if p not in (prefill, full)), prefill, full


def combined(infer: Path, prefill: Path, label: str) -> Path:
    """Our package of both, which coremltools reads and Apple's compiler would
    compile as we do; twice the same bytes."""
    place = fresh(f"combine-{label}")
    ours, again, bundle = place / "ours.mlpackage", place / "again.mlpackage", place / "ours.mlmodelc"
    anelith("combine", infer, prefill, ours)
    anelith("combine", infer, prefill, again)
    names = [path.relative_to(ours) for path in ours.rglob("*") if path.is_file()]
    require(all(digest(ours / name) == digest(again / name) for name in names), "two runs gave different bytes")
    anelith("compile", ours, bundle)
    accepts_bundle(ours, bundle)
    return ours


def accepted(package: Path) -> dict:
    """oracle.py's report without errors; that functions have opsets of their own
    in a model of a later version is for the caller to judge."""
    report = json.loads(call("oracle.py", "--json", package).stdout)[0]
    require(report["ok"], f"oracle.py refuses {package.name}: {'; '.join(report['errors'][:3])}")
    warnings = [text for text in report["warnings"] if "usually carries" not in text]
    require(not warnings, f"oracle.py warns: {'; '.join(warnings[:3])}")
    return report


def sizes(infer: Path, prefill: Path, ours: Path) -> dict:
    """How large the weight files are; the combined one is never larger than
    both others together."""
    first, second, whole = ((path / WEIGHTS).stat().st_size for path in (infer, prefill, ours))
    require(whole <= first + second, f"{whole} bytes of weights, of {first} and {second}")
    return {"infer": first, "prefill": second, "combined": whole}


def outputs(package: Path, sequence: list, label: str) -> list[dict]:
    """What `anelith run` answers, as it prints it, rounding to fp16."""
    place = fresh(label)
    feeds, answer = place / "feeds.json", place / "outputs.json"
    rendered = [{"function": name, "inputs": {key: as_json(key, value) for key, value in inputs.items()}} for name, inputs in sequence]
    feeds.write_text(json.dumps(rendered))
    anelith("run", package, "--feeds", feeds, "--json-output", answer)
    return json.loads(answer.read_text())


def same_answers(ours: Path, single: Path, name: str, sequence: list) -> None:
    """The function computes in the combined package what it computes alone, to
    the bit, over all calls with one state."""
    want = outputs(single, [("main", inputs) for _, inputs in sequence], f"{ours.parent.name}-{name}-alone")
    got = outputs(ours, [(name, inputs) for _, inputs in sequence], f"{ours.parent.name}-{name}")
    require(got == want, f"function {name} of {ours.name} answers other than {single.name}")
    require(len(want) > 0 and all(one["outputs"] for one in want), "there are no answers to compare")


def feeds_of(package: Path, name: str) -> list:
    """A few calls of one function of a decoder."""
    functions = {key: value for key, value in machine(package).p["functions"].items() if key == name}
    return calls(functions, 96, float("-inf"))


def upstream(folder: str) -> dict:
    """Upstream's two packages, each with a weight file of its own, make a
    combined one as small as upstream's that computes the same as they do."""
    infer, prefill, full = sources(folder)
    ours = combined(infer, prefill, folder)
    report = accepted(ours)
    require(set(report["functions"]) == {"infer", "prefill"}, f"functions {sorted(report['functions'])}")
    require(load_spec(ours).description.defaultFunctionName == "infer", "the default function is not infer")
    figures = sizes(infer, prefill, ours)
    limit = (full / WEIGHTS).stat().st_size + PADDING * 4
    require(figures["combined"] <= limit, f"{figures['combined']} bytes of weights, upstream's have {limit}")
    for name, single in (("infer", infer), ("prefill", prefill)):
        same_answers(ours, single, name, feeds_of(ours, name))
    return figures


def unlike(infer: Path, prefill: Path, label: str) -> dict:
    """Two packages that have nothing to do with each other; coremltools reads
    both functions, and each has its source's opset."""
    ours = combined(infer, prefill, label)
    accepted(ours)
    spec = load_spec(ours)
    require(spec.specificationVersion == 9, f"specification version {spec.specificationVersion}")
    opsets = {name: function.opset for name, function in spec.mlProgram.functions.items()}
    want = {name: load_spec(path).mlProgram.functions["main"].opset for name, path in (("infer", infer), ("prefill", prefill))}
    require(opsets == want, f"opsets {opsets}, expected {want}")
    return {"opsets": ",".join(sorted(set(opsets.values())))}


@check("packages/combine/same-package-twice")
def itself() -> dict:
    """One package as both functions: its weights are kept as they are."""
    ours = combined(SINGLE, SINGLE, "itself")
    accepted(ours)
    require(digest(ours / WEIGHTS) == digest(SINGLE / WEIGHTS), "the weight file is another")
    for name in ("infer", "prefill"):
        sequence = calls({name: machine(SINGLE).p["functions"]["main"]}, 96, -1e4)
        same_answers(ours, SINGLE, name, sequence)
    return {"bytes": (ours / WEIGHTS).stat().st_size}


@check("packages/combine/mixed-weights")
def mixed() -> dict:
    """A palettized inference function and an fp16 prefill function: weight files
    that share the least, each function with its own."""
    (infer, _, _), (_, prefill, _) = sources("llama"), sources("llama-fp16")
    ours = combined(infer, prefill, "mixed")
    accepted(ours)
    figures = sizes(infer, prefill, ours)
    require(figures["combined"] < figures["infer"] + figures["prefill"], "nothing is shared, though norms and tables are equal")
    for name, single in (("infer", infer), ("prefill", prefill)):
        same_answers(ours, single, name, feeds_of(ours, name))
    return figures


@check("packages/combine/upstream-by-prefix")
def by_prefix() -> dict:
    """`combine --monolithic` and `compile monolithic` take upstream's outputs by
    the only prefix that fits."""
    place = fresh("combine-by-prefix")
    for package in sources("llama-fp16")[:2]:
        shutil.copytree(package, place / package.name)
    anelith("combine", "--monolithic", "--lut", "none", "--input", place)
    anelith("compile", "monolithic", "--input", place)
    ours = place / "llama_monolithic_combined.mlpackage"
    accepted(ours)
    accepts_bundle(ours, ours.with_suffix(".mlmodelc"))
    return {"bytes": (ours / WEIGHTS).stat().st_size}


def spoiled(label: str, weights: bytes | None) -> Path:
    """A copy of a good package with other contents, or none, for weight.bin."""
    package = fresh(f"spoiled-{label}") / f"{label}.mlpackage"
    shutil.copytree(SINGLE, package)
    (package / WEIGHTS).chmod(0o644)
    (package / WEIGHTS).unlink()
    if weights is not None:
        (package / WEIGHTS).write_bytes(weights)
    return package


def with_state(label: str, change) -> Path:
    """A copy of a good package whose one state is changed, in the program and in
    the description."""
    package = fresh(f"state-{label}") / f"{label}.mlpackage"
    shutil.copytree(SINGLE, package)
    spec = load_spec(package)
    change(spec)
    path = package / "Data/com.apple.CoreML/model.mlmodel"
    path.chmod(0o644)
    path.write_bytes(spec.SerializeToString())
    return package


def renamed(spec) -> None:
    """Calls the state `cache`."""
    function = spec.mlProgram.functions["main"]
    (block,) = function.block_specializations.values()
    states = [item for item in function.inputs if item.type.WhichOneof("type") == "stateType"]
    old = states[0].name
    states[0].name = spec.description.state[0].name = "cache"
    for operation in block.operations:
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                if binding.name == old:
                    binding.name = "cache"


def model_of(label: str, kind: str) -> Path:
    """A bare specification of a model that is no ML program, with an image for
    its input."""
    from coremltools.proto import Model_pb2

    spec = Model_pb2.Model(specificationVersion=4)
    feature = spec.description.input.add(name="image")
    feature.type.imageType.width = feature.type.imageType.height = 8
    getattr(spec, kind).SetInParent()
    path = fresh(f"kind-{label}") / f"{kind}.mlmodel"
    path.write_bytes(spec.SerializeToString())
    return path


def echo(label: str, given: str, answer: str, dtype: str = "FLOAT16", shape: tuple = (1, 4)) -> Path:
    """A bare specification that returns its input `given` as `answer`."""
    from coremltools.proto import FeatureTypes_pb2, MIL_pb2, Model_pb2

    tensor = MIL_pb2.ValueType()
    tensor.tensorType.dataType = MIL_pb2.DataType.Value(dtype)
    tensor.tensorType.rank = len(shape)
    for extent in shape:
        tensor.tensorType.dimensions.add().constant.size = extent
    spec = Model_pb2.Model(specificationVersion=9)
    for features, name in ((spec.description.input, given), (spec.description.output, answer)):
        array = features.add(name=name).type.multiArrayType
        array.dataType = FeatureTypes_pb2.ArrayFeatureType.ArrayDataType.Value(dtype)
        array.shape.extend(shape)
    spec.mlProgram.version = 1
    function = spec.mlProgram.functions["main"]
    function.opset = "CoreML8"
    function.inputs.add(name=given, type=tensor)
    block = function.block_specializations["CoreML8"]
    block.outputs.append(answer)
    operation = block.operations.add(type="identity")
    operation.inputs["x"].arguments.add(name=given)
    operation.outputs.add(name=answer, type=tensor)
    name = operation.attributes["name"]
    name.type.tensorType.dataType = MIL_pb2.DataType.STRING
    name.immediateValue.tensor.strings.values.append("echo")
    path = fresh(f"echo-{label}") / f"{label}.mlmodel"
    path.write_bytes(spec.SerializeToString())
    return path


# Arguments of `echo` for a function beside one with an input `x` and an output `y`, both
# fp16[1, 4], and how their clash is shown.
CLASHES = {
    "input-type": (("x", "z", "FLOAT32"), ["input `x`", "`x` fp16[1, 4] in", "`x` fp32[1, 4] in"]),
    "input-rank": (("x", "z", "FLOAT16", (1, 1, 4)), ["input `x`", "`x` fp16[1, 4] in", "`x` fp16[1, 1, 4] in"]),
    "output-type": (("w", "y", "INT32"), ["output `y`", "`y` fp16[1, 4] in", "`y` int32[1, 4] in"]),
    "output-rank": (("w", "y", "FLOAT16", (4,)), ["output `y`", "`y` fp16[1, 4] in", "`y` fp16[4] in"]),
}


def clashes(name: str) -> dict:
    """One name for two things is refused in either order, and both are shown."""
    arguments, words = CLASHES[name]
    one, other, output = echo(f"{name}-one", "x", "y"), echo(f"{name}-other", *arguments), fresh(f"clash-{name}")
    words = [*words, one.name, other.name, "name clash", "to mend: rename the "]
    refused(["combine", one, other, output / "x.mlpackage"], 3, words, output)
    return refused(["combine", other, one, output / "x.mlpackage"], 3, words, output)


# What may differ: extents, and what a name is on the other side.
ALLOWED = {
    "extents": ("x", "y", "FLOAT16", (64, 4)),
    "output-as-input": ("y", "z", "FLOAT32", (4,)),
    "input-as-output": ("w", "x", "FLOAT32", (4,)),
}


def no_clash(name: str) -> dict:
    """No clash, and combined."""
    return unlike(echo(f"{name}-one", "x", "y"), echo(f"{name}-other", *ALLOWED[name]), f"allowed-{name}")


def refusals() -> dict:
    """By name: the package that cannot be combined with `SINGLE`, and what is said."""
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
    state = "`kv_cache` fp16[4, 2, 32, 16]"
    return {
        "no-state": (lambda: ENCODER, [state, SINGLE.name, "no states", ENCODER.name]),
        "state-name": (lambda: with_state("renamed", renamed), [state, SINGLE.name, "`cache` fp16", "renamed.mlpackage"]),
        "state-as-input": (lambda: echo("stateful-input", "kv_cache", "y"), [state, "`kv_cache` as an input", "stateful-input.mlmodel"]),
        "state-as-output": (lambda: echo("stateful-output", "x", "kv_cache"), [state, "`kv_cache` as an output", "stateful-output.mlmodel"]),
        "two-functions": (lambda: SINGLE.parent / "model.mlpackage", ["`infer`, `prefill`", "model.mlpackage"]),
        "old-compression": (lambda: SQUEEZED, ["CoreML6", "CoreML8", SQUEEZED.name]),
        "lfs-pointer": (lambda: spoiled("pointer", pointer), ["git lfs pull", "pointer.mlpackage"]),
        "no-weights": (lambda: spoiled("absent", None), ["weight.bin", "absent.mlpackage"]),
        "short-weights": (lambda: spoiled("short", (SINGLE / WEIGHTS).read_bytes()[:5000]), ["short.mlpackage", "file"]),
        "neural-network": (lambda: model_of("network", "neuralNetwork"), ["neuralNetwork.mlmodel", "mlProgram"]),
        "pipeline": (lambda: model_of("pipeline", "pipeline"), ["pipeline.mlmodel", "mlProgram"]),
        "compiled": (lambda: SILERO / "compiled/unified_int8.mlmodelc", ["compiled model", "unified_int8.mlmodelc"]),
    }


def refuses(name: str) -> dict:
    """Refused in either place, as input, with the names; nothing is written."""
    make, words = refusals()[name]
    other, output = make(), fresh(f"refused-{name}")
    refused(["combine", SINGLE, other, output / "x.mlpackage"], 3, words, output)
    return refused(["combine", other, SINGLE, output / "x.mlpackage"], 3, words, output)


def not_compiled(kind: str) -> dict:
    """`compile` says what the model is instead."""
    output = fresh(f"kind-out-{kind}")
    return refused(["compile", model_of(f"compile-{kind}", kind), output / "x.mlmodelc"], 3, [f"`{kind}`", "`mlProgram`"], output)


def compiles(source: Path) -> dict:
    """The oracle finds in our bundle what Apple's compiler is known to write."""
    bundle = fresh(f"compile-other-{source.parent.name}-{source.stem}") / "x.mlmodelc"
    anelith("compile", source, bundle)
    accepts_bundle(source, bundle)
    return {"bytes": (bundle / "model.mil").stat().st_size}


@check("packages/compile/bare-model-with-weights")
def bare() -> dict:
    """A specification outside a package, with its weights beside it, compiles to
    what the package does, but for the names of model and class."""
    place = fresh("compile-bare")
    shutil.copy(SINGLE / "Data/com.apple.CoreML/model.mlmodel", place / "tiny.mlmodel")
    shutil.copytree(SINGLE / "Data/com.apple.CoreML/weights", place / "weights")
    anelith("compile", place / "tiny.mlmodel", place / "out/tiny.mlmodelc")
    accepts_bundle(place / "tiny.mlmodel", place / "out/tiny.mlmodelc")
    anelith("compile", SINGLE, place / "out/package.mlmodelc")
    for name in ("model.mil", "coremldata.bin", "weights/weight.bin"):
        one, other = (digest(place / f"out/{stem}.mlmodelc" / name) for stem in ("tiny", "package"))
        require(one == other, f"{name} differs from that of the package")
    shutil.rmtree(place / "weights")
    return refused(["compile", place / "tiny.mlmodel", place / "other.mlmodelc"], 3, ["weight.bin"], None)


LUT = {
    "sparse": (VECTORS / "ct_tiny_llama/sparse50_lut4/model.mlpackage", 4),
    "table-of-another-op": (VECTORS / "ct_tiny_llama/lut4_g8_pcs/model.mlpackage", 4),
    "vectors": (VECTORS / "ct_tiny_llama/lut4_vec2/model.mlpackage", 4),
    "before-ios18": (SILERO / "quantized_models/unified_standard/unified_palette_6bit.mlpackage", 6),
}


def asserted(name: str) -> dict:
    """`--lut` knows how many bits the tables have in every form of them."""
    package, bits = LUT[name]
    output = fresh(f"asserted-{name}")
    for wrong in ("none", 8):
        refused(["compile", package, output / "x.mlmodelc", "--lut", wrong], 3, [f"found: {bits} bits", package.name], output)
    anelith("compile", package, output / "x.mlmodelc", "--lut", bits)
    return {"bits": bits}


for _name in LUT:
    check(f"packages/lut/{_name}", _name)(asserted)
for _folder in FOLDERS:
    check(f"packages/combine/upstream/{_folder}", _folder)(upstream)
check("packages/combine/silero", ENCODER, DECODER, "silero")(unlike)
check("packages/combine/flexible", SIGN, FLEXIBLE, "flexible")(unlike)
for _name in refusals():
    check(f"packages/refused/{_name}", _name)(refuses)
for _name in CLASHES:
    check(f"packages/refused/clash/{_name}", _name)(clashes)
for _name in ALLOWED:
    check(f"packages/combine/allowed/{_name}", _name)(no_clash)
for _kind in ("neuralNetwork", "neuralNetworkClassifier", "treeEnsembleRegressor", "pipeline", "nonMaximumSuppression"):
    check(f"packages/refused/compile/{_kind}", _kind)(not_compiled)
for _source in sorted(p for p in (*VECTORS.glob("ct_tiny_llama/*/*.mlpackage"), *UPSTREAM.glob("*/*.mlpackage"), ORACLE / "tiny/multi.mlpackage")):
    check(f"packages/compile/{_source.parent.name}/{_source.stem}", _source)(compiles)
