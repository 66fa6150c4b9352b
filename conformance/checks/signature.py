"""What a consumer sees of a package (functions, inputs, outputs, states, opset,
metadata) equals the upstream converter's, but for the differences listed here."""
from pathlib import Path

from .harness import check, require
from .oracles import load_spec
from .reference import PREFIXES, conversion
from .workspace import UPSTREAM, Conversion

FAMILIES = ("qwen3", "qwen2.5", "llama")

# Suffixes of the three packages: ours, upstream's, and the functions that prefill.
PACKAGES = (("", "", ()), ("_prefill", "_prefill", ("main",)), ("_combined", "_full", ("prefill",)))

# Difference 1: `prefill` returns one small output in place of logits nobody reads.
PREFILL_OUTPUT = "output_hidden_states fp16 [1, 1, {hidden}]"

# Difference 2: the state holds max(256, context) rows in every family; upstream's
# LLaMA holds max(512, context).
STATE_ROWS = 256

# Difference 3: our own name and version stand where upstream puts its own.
METADATA = "com.anemll."
METADATA_DIFFERENT = ("com.anemll.info",)

HIDDEN = {"qwen3": 64, "qwen2.5": 128, "llama": 128}
ELEMENTS = {65552: "fp16", 65568: "fp32", 131104: "int32"}


def feature(described) -> str:
    """One input, output or state in a line: name, element type, shape, and
    whatever makes it unlike a plain required one."""
    kind = described.type.WhichOneof("Type")
    array = described.type.stateType.arrayType if kind == "stateType" else described.type.multiArrayType
    line = f"{described.name} {ELEMENTS.get(array.dataType, array.dataType)} {list(array.shape)}"
    unusual = [kind] if kind not in ("multiArrayType", "stateType") else []
    unusual += [array.WhichOneof("ShapeFlexibility")] if array.WhichOneof("ShapeFlexibility") else []
    unusual += ["optional"] if described.type.isOptional else []
    return " ".join([line, *unusual])


def signature(package: Path) -> dict:
    """Everything compared here, in plain values."""
    spec = load_spec(package)
    description, functions = spec.description, spec.mlProgram.functions
    described = {function.name: function for function in description.functions} or {"main": description}
    found = {
        "specification version": spec.specificationVersion,
        "default function": description.defaultFunctionName,
        "order of functions": list(described),
        "functions in the program": sorted(functions),
        "metadata": {key: value for key, value in description.metadata.userDefined.items() if key.startswith(METADATA)},
    }
    for name, one in described.items():
        found[f"{name}: inputs"] = [feature(item) for item in one.input]
        found[f"{name}: outputs"] = [feature(item) for item in one.output]
        found[f"{name}: states"] = [feature(item) for item in one.state]
        found[f"{name}: opset"] = functions[name].opset
        found[f"{name}: specializations"] = sorted(functions[name].block_specializations)
        found[f"{name}: program inputs"] = [item.name for item in functions[name].inputs]
    return found


def expected(upstream: dict, family: str, prefilling: tuple[str, ...]) -> dict:
    """Upstream's signature with the differences applied."""
    want = dict(upstream)
    for name in prefilling:
        want[f"{name}: outputs"] = [PREFILL_OUTPUT.format(hidden=HIDDEN[family])]
    for key in [key for key in want if key.endswith(": states")]:
        want[key] = [line.replace(", 512, ", f", {STATE_ROWS}, ") for line in want[key]]
    want["metadata"] = without_info(want["metadata"])
    return want


def without_info(metadata: dict) -> dict:
    """The metadata but for what names the tool."""
    return {key: value for key, value in metadata.items() if key not in METADATA_DIFFERENT}


def compare(made: Conversion, family: str, lut: str) -> dict:
    """The three packages of one conversion."""
    made.outputs()
    folder, ending = (UPSTREAM / f"{family}-fp16", "") if lut == "none" else (UPSTREAM / family, "_lut4")
    fields = 0
    for ours, theirs, prefilling in PACKAGES:
        upstream = folder / f"{PREFIXES[family]}_monolithic{theirs}{ending}.mlpackage"
        want = expected(signature(upstream), family, prefilling)
        got = signature(made.package(ours))
        require("com.anemll.info" in got["metadata"], f"{made.package(ours).name}: metadata lacks com.anemll.info")
        got["metadata"] = without_info(got["metadata"])
        for key in sorted(want.keys() | got.keys()):
            require(got.get(key) == want.get(key), f"{made.package(ours).name}: {key}: {got.get(key)}, expected {want.get(key)}")
        fields += len(want)
    return {"fields": fields}


def signatures(family: str, lut: str) -> dict:
    """All three packages of one family at one `--lut`."""
    return compare(conversion(family, lut), family, lut)


for _family in FAMILIES:
    check(f"reference/{_family}/none/signature", _family, "none")(signatures)
    check(f"reference/{_family}/lut4/signature", _family, "4")(signatures)
