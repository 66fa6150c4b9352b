"""Bad input: the documented words and exit status, nothing half written, never a
panic."""
import json
import shutil
from pathlib import Path

from .checkpoints import read, write
from .harness import check, require
from .workspace import CHECKPOINTS, DEMO, anelith, digests, fresh, same_files

MODEL = CHECKPOINTS / "llama-plain"
LOST = "model.layers.1.mlp.down_proj.weight"


def refused(arguments: list, status: int, words: list[str], output: Path | None = None) -> dict:
    """The command ends with `status`, says all of `words` after `error:` on
    stderr, and leaves nothing behind in `output`."""
    done = anelith(*arguments, status=status)
    require("error:" in done.stderr, f"stderr does not begin an error: {done.stderr[-300:]!r}")
    missing = [word for word in words if word not in done.stderr]
    require(not missing, f"stderr lacks {missing}: {done.stderr[-400:]!r}")
    left = [path.name for path in output.rglob("*")] if output and output.exists() else []
    require(not left, f"left behind: {left}")
    return {"status": status}


def converting(model: Path, label: str, *options) -> tuple[list, Path]:
    """`anelith convert` of `model` into an empty directory."""
    output = fresh(f"errors-{label}") / "out"
    return ["convert", "--model", model, "--output", output, *options], output


def usage(label: str, options: list[str], words: list[str]) -> dict:
    """A flag or value that no model can make right."""
    arguments, output = converting(DEMO, label, *options)
    return refused(arguments, 2, words, output)


USAGE = {
    "unknown-flag": (["--no-such-flag"], ["--no-such-flag"]),
    "bits": (["--lut", "5"], ["--lut", "5"]),
    "group": (["--lut", "4,x"], ["--lut", "4,x"]),
    "context-zero": (["--context", "0"], ["context"]),
    "context-too-long": (["--context", "4096"], ["context", "4096", "1024"]),
    "batch-above-context": (["--context", "64", "--batch", "128"], ["batch", "128", "64"]),
    "step": (["--only", "7"], ["--only", "7"]),
}
for _label, (_options, _words) in USAGE.items():
    check(f"errors/usage/{_label}", _label, _options, _words)(usage)


@check("errors/usage/output-is-model")
def output_is_model() -> dict:
    """The model directory may not be written into."""
    model = copied("output-is-model")
    before = digests(model)
    figures = refused(["convert", "--model", model, "--output", model], 2, ["output"])
    same_files(before, digests(model))
    return figures


@check("errors/missing-directory")
def missing_directory() -> dict:
    """A path that is not there, below a directory that is."""
    model = fresh("errors-no-model") / "absent"
    arguments, output = converting(model, "missing-directory")
    return refused(arguments, 3, ["Model directory does not exist", str(model)], output)


@check("errors/unknown-architecture")
def unknown_architecture() -> dict:
    """A family nobody taught us."""
    model = copied("phi3")
    config = json.loads((model / "config.json").read_text())
    config.update(model_type="phi3", architectures=["Phi3ForCausalLM"])
    (model / "config.json").write_text(json.dumps(config))
    arguments, output = converting(model, "unknown-architecture")
    return refused(arguments, 3, ["Unknown architecture `phi3`", "llama, qwen2, qwen3"], output)


@check("errors/truncated-safetensors")
def truncated() -> dict:
    """A download that stopped half way."""
    model = copied("truncated")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    arguments, output = converting(model, "truncated-safetensors")
    return refused(arguments, 3, ["model.safetensors"], output)


@check("errors/missing-tensor")
def missing_tensor() -> dict:
    """A checkpoint without one of its matrices."""
    model = copied("missing-tensor")
    header, data = read(model / "model.safetensors")
    # Its bytes go too: a hole in the data would be another error.
    begin, end = header.pop(LOST)["data_offsets"]
    for name, entry in header.items():
        if name != "__metadata__" and entry["data_offsets"][0] >= end:
            entry["data_offsets"] = [offset - (end - begin) for offset in entry["data_offsets"]]
    write(model / "model.safetensors", header, data[:begin] + data[end:])
    arguments, output = converting(model, "missing-tensor")
    return refused(arguments, 3, [LOST], output)


@check("errors/misshapen-tensor")
def misshapen() -> dict:
    """A matrix of the right size and the wrong shape."""
    model = copied("misshapen")
    header, data = read(model / "model.safetensors")
    header[LOST]["shape"].reverse()
    write(model / "model.safetensors", header, data)
    arguments, output = converting(model, "misshapen-tensor")
    return refused(arguments, 3, [LOST], output)


@check("errors/step-3-alone")
def step_three_alone() -> dict:
    """Combining what nobody made names the missing package and the step."""
    arguments, output = converting(DEMO, "step-3-alone", "--only", "3")
    return refused(arguments, 3, ["qwen_monolithic.mlpackage", "step 1"], output)


def copied(label: str) -> Path:
    """A copy of the reference checkpoint to damage."""
    model = fresh(f"errors-model-{label}")
    for path in MODEL.iterdir():
        shutil.copyfile(path, model / path.name)
    return model
