"""Where things are, and how the binary is called."""
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .harness import Failure, require

ROOT = Path(__file__).resolve().parents[2]
ANELITH = Path(os.environ.get("ANELITH", ROOT / "target/release/anelith")).resolve()
SHARED = Path(os.environ.get("SHARED", ROOT.parent / "shared")).resolve()
OUT = ROOT / "target/conformance"
REPORT = ROOT / "target/conformance.json"
CHECKPOINTS = SHARED / "reference/checkpoints"
UPSTREAM = SHARED / "reference/upstream"
VECTORS = SHARED / "vectors"
DEMO = ROOT / "models/demo-qwen3"

# A command that takes longer hangs: the slowest needs seconds.
LIMIT_SECONDS = 900


# A user to whom permissions apply: `nobody` where the superuser runs the checks.
UNPRIVILEGED = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}


def anelith(*arguments, status: int = 0, cwd: Path = ROOT, unprivileged: bool = False, typed: str = "", environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """Call the binary in `cwd`; any other exit status than `status`, or a panic, is
    a failure. `unprivileged`: as a user to whom permissions apply; `typed`: what it
    reads from its standard input; `environment`: variables beside those there are.
    Without them, no hub is reached."""
    command = [str(ANELITH), *map(str, arguments)]
    variables = {**os.environ, **(environment or {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(OUT / "no-cache")})}
    user = UNPRIVILEGED if unprivileged else {}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, input=typed, timeout=LIMIT_SECONDS, env=variables, **user)
    said = " | ".join(done.stderr.strip().splitlines()[-6:])
    shown = "anelith " + " ".join(map(str, arguments))
    require("panicked" not in done.stderr, f"`{shown}` panicked: {said}")
    if done.returncode != status:
        raise Failure(f"`{shown}` ended with status {done.returncode}, expected {status}: {said}")
    return done


@dataclass(frozen=True)
class Conversion:
    """One `anelith convert` whose output several checks look at.

    With `steps` the steps run alone, one command each; without, all in one.
    """

    name: str
    model: Path
    prefix: str
    options: tuple[str, ...]
    steps: tuple[int, ...] = ()

    @property
    def directory(self) -> Path:
        """The output directory; `outputs()` makes sure it is filled."""
        return OUT / self.name

    def package(self, suffix: str = "") -> Path:
        """`{p}_monolithic{suffix}.mlpackage`: "", "_prefill" or "_combined"."""
        return self.directory / f"{self.prefix}_monolithic{suffix}.mlpackage"

    @property
    def bundle(self) -> Path:
        """The compiled bundle of step 4."""
        return self.directory / f"{self.prefix}_monolithic_combined.mlmodelc"

    @property
    def meta(self) -> Path:
        """The meta.yaml of step 5."""
        return self.directory / "meta.yaml"

    def outputs(self) -> str:
        """Convert unless this run already has, and return what was printed to
        stdout. Two processes may ask at once: one works, the other waits."""
        OUT.mkdir(parents=True, exist_ok=True)
        record = OUT / f"{self.name}.json"
        with open(OUT / f"{self.name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not record.exists():
                record.write_text(json.dumps(self._convert()))
        kept = json.loads(record.read_text())
        require(not kept["failure"], kept["failure"])
        return kept["stdout"]

    def _convert(self) -> dict:
        stdout = ""
        try:
            for only in [("--only", step) for step in self.steps] or [()]:
                done = anelith("convert", "--model", self.model, "--output", self.directory, *self.options, *only)
                stdout += done.stdout
        except (Failure, OSError, subprocess.TimeoutExpired) as failure:
            return {"stdout": stdout, "failure": str(failure)}
        return {"stdout": stdout, "failure": ""}


def fresh(name: str) -> Path:
    """An empty directory of this name under target/conformance."""
    path = OUT / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def digest(path: Path) -> str:
    """The SHA-256 of one file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(directory: Path, hidden: bool = True) -> dict[str, str]:
    """The SHA-256 of every file below `directory`, by relative path; without
    `hidden`, names that begin with a dot are left out."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    names = {str(path.relative_to(directory)): path for path in files}
    return {name: digest(path) for name, path in names.items() if hidden or not any(p.startswith(".") for p in Path(name).parts)}


def same_files(one: dict[str, str], other: dict[str, str]) -> None:
    """Fail unless both directories hold the same names with the same bytes."""
    different = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    require(not different, f"these files differ or are missing on one side: {', '.join(different)}")
    require(bool(one), "there are no files to compare")
