"""Bundles we write from sources that Apple's compiler also compiled."""
import re
import shutil
import struct
from pathlib import Path

from .harness import check, require
from .oracles import accepts_bundle, load_spec
from .workspace import VECTORS, anelith, fresh

SILERO = VECTORS / "mobius-silero-vad"
EXPORTED = VECTORS / "mlmodelc-export/fixtures"
PARAKEET = VECTORS / "fluidaudio-parakeet-eou"
FULL_PAIRS = 12
TEXT_PAIRS = 1

# MIL data types and blob data types: bits per element, blob code, by MIL name.
BLOBS = {"FLOAT16": (16, 1), "FLOAT32": (32, 2), "UINT8": (8, 3), "INT8": (8, 4), "INT16": (16, 6), "UINT16": (16, 7), "INT32": (32, 14)}


def full_pairs() -> list[tuple[Path, Path]]:
    """Sources and what Apple's compiler made of them, weights included."""
    pairs = []
    for bundle in sorted((SILERO / "compiled").glob("*.mlmodelc")):
        pairs += [(source, bundle) for source in sorted(SILERO.rglob(f"{bundle.stem}.mlpackage"))[:1]]
    for bundle in sorted(EXPORTED.glob("*/expected-macos.mlmodelc")):
        pairs.append((bundle.parent / "input.mlmodel", bundle))
    return pairs


def text_pairs() -> list[tuple[Path, Path]]:
    """Sources and bundles whose weights are not at hand."""
    return [(source, source.with_suffix(".mlmodelc")) for source in sorted(PARAKEET.rglob("*.mlpackage"))]


def versions(bundle: Path) -> str:
    """`COMPONENT,COREMLC`: the versions the compiler wrote into model.mil."""
    head = (bundle / "model.mil").read_text(encoding="utf-8")[:4000]
    found = dict(re.findall(r'\{"(coremlc[^"]*)", "([^"]*)"\}', head))
    return f"{found['coremlc-component-MIL']},{found['coremlc-version']}"


def compile_like(source: Path, bundle: Path, label: str) -> Path:
    """Our bundle of `source`, as if the same compiler had made it."""
    ours = fresh(label) / bundle.name
    anelith("compile", source, ours, "--coremlc-version", versions(bundle))
    return ours


def full_pair(source: Path, bundle: Path) -> dict:
    """The oracle finds no difference from what Apple's compiler writes, and the
    program's text equals, byte for byte, the one it did write."""
    ours = compile_like(source, bundle, f"compile-{label(bundle)}")
    accepts_bundle(source, ours)
    return same_text(ours, bundle)


def same_text(ours: Path, bundle: Path) -> dict:
    """model.mil byte for byte."""
    got, want = (ours / "model.mil").read_bytes(), (bundle / "model.mil").read_bytes()
    at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
    require(got == want, f"model.mil differs at byte {at}: {got[max(0, at - 30) : at + 50]!r}, expected {want[max(0, at - 30) : at + 50]!r}")
    return {"text_bytes": len(want)}


def text_pair(source: Path, bundle: Path) -> dict:
    """The text alone: the real weights are absent, so the package is completed
    with zeros of the right types and sizes."""
    package = fresh(f"source-{label(bundle)}") / source.name
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("weight.bin"))
    weights = package / "Data/com.apple.CoreML/weights"
    weights.mkdir(parents=True, exist_ok=True)
    blank_weights(load_spec(source), weights / "weight.bin")
    return same_text(compile_like(package, bundle, f"compile-{label(bundle)}"), bundle)


def blank_weights(spec, path: Path) -> None:
    """A weight file (mostly a hole) with a record for every blob that the program
    refers to, all values zero."""
    from coremltools.proto import MIL_pb2

    records = {}
    for function in spec.mlProgram.functions.values():
        for block in function.block_specializations.values():
            for value in blob_values(block):
                elements = 1
                for dimension in value.type.tensorType.dimensions:
                    elements *= dimension.constant.size
                name = MIL_pb2.DataType.Name(value.type.tensorType.dataType)
                bits, code = BLOBS[name]
                records[value.blobFileValue.offset] = (code, elements * bits // 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<II", len(records), 2).ljust(64, b"\0"))
        for offset, (code, size) in sorted(records.items()):
            file.seek(offset)
            file.write(struct.pack("<IIQQQ", 0xDEADBEEF, code, size, offset + 64, 0).ljust(64, b"\0"))
            file.truncate(offset + 64 + size)


def blob_values(block):
    """Every value of the block that lies in a weight file."""
    for operation in block.operations:
        values = list(operation.attributes.values())
        values += [binding.value for argument in operation.inputs.values() for binding in argument.arguments if binding.WhichOneof("binding") == "value"]
        yield from (value for value in values if value.WhichOneof("value") == "blobFileValue")
        for inner in operation.blocks:
            yield from blob_values(inner)


def label(bundle: Path) -> str:
    """A name for the pair: the bundle's own, or its folder's where that says more."""
    return bundle.parent.name if bundle.stem == "expected-macos" else bundle.stem


@check("compile/pairs-present")
def present() -> dict:
    """All pairs are there: fewer would mean fewer checks than promised."""
    require(len(full_pairs()) == FULL_PAIRS, f"{len(full_pairs())} full pairs, expected {FULL_PAIRS}")
    require(len(text_pairs()) == TEXT_PAIRS, f"{len(text_pairs())} pairs without weights, expected {TEXT_PAIRS}")
    return {"full": len(full_pairs()), "text": len(text_pairs())}


for _source, _bundle in full_pairs():
    check(f"compile/{label(_bundle)}", _source, _bundle)(full_pair)
for _source, _bundle in text_pairs():
    check(f"compile/text/{label(_bundle)}", _source, _bundle)(text_pair)
