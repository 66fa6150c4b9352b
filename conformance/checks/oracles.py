"""The independent tools under SHARED/oracle, called as their users call them."""
import json
import re
import subprocess
import sys
from pathlib import Path

from .harness import Failure, require
from .workspace import LIMIT_SECONDS, SHARED

ORACLE = SHARED / "oracle"

# The prefill package carries the full weight.bin, hence blobs it does not refer to.
UNREFERENCED = re.compile(r"header count \d+ != referenced blobs \d+")


def call(script: str, *arguments) -> subprocess.CompletedProcess:
    """Run one of the scripts with this interpreter."""
    command = [sys.executable, str(ORACLE / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS)


def accepts_package(package: Path, unreferenced: bool = False) -> dict:
    """coremltools reads the package and infers the types it declares, with no
    warning but, where `unreferenced`, the one about blobs nobody refers to.
    Returns oracle.py's report."""
    done = call("oracle.py", "--json", package)
    try:
        report = json.loads(done.stdout)[0]
    except (ValueError, IndexError):
        raise Failure(f"oracle.py could not read {package.name}: {(done.stderr or done.stdout)[-300:]}") from None
    require(report["ok"], f"oracle.py refuses {package.name}: {'; '.join(report['errors'][:3])}")
    warnings = [text for text in report["warnings"] if not (unreferenced and UNREFERENCED.search(text))]
    require(not warnings, f"oracle.py warns about {package.name}: {'; '.join(warnings[:3])}")
    return report


def accepts_bundle(source: Path, bundle: Path) -> None:
    """The bundle is what Apple's compiler is known to write for that source."""
    done = call("oracle_mlmodelc.py", "check", source, bundle)
    require(done.returncode == 0, f"oracle_mlmodelc.py about {bundle.name}: {(done.stdout + done.stderr)[-600:]}")


def judge(model: Path, expected: Path, *options) -> dict:
    """judge.py's figures for a package or bundle against recorded logits."""
    done = call("judge.py", model, expected, "--json", *options)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise Failure(f"judge.py about {model.name}: {said[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def load_spec(source: Path):
    """The protobuf Model of a package or a bare .mlmodel."""
    from coremltools.proto import Model_pb2

    path = source if source.is_file() else source / "Data/com.apple.CoreML/model.mlmodel"
    spec = Model_pb2.Model()
    spec.ParseFromString(path.read_bytes())
    return spec


def machine(package: Path):
    """A milref executor for the package, in f32."""
    if str(ORACLE) not in sys.path:
        sys.path.insert(0, str(ORACLE))
    import mil_text_check
    import milref

    text = mil_text_check.E(True).prog(load_spec(package), {"coremlc-version": "0"})
    return milref.Machine(milref.parse(text), str(package / "Data/com.apple.CoreML"), False)
