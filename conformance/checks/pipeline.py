"""The steps as a pipeline that can be taken up anywhere: alone, from one on, with stale
or foreign outputs in place, beside other runs. What cuts it short is in disturbed.py."""
import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Callable, Iterator

import numpy

from .checkpoints import read, write
from .demo import ANSWER, LUT4
from .harness import Failure, check, require
from .workspace import ANELITH, CHECKPOINTS, DEMO, ROOT, anelith, digests, fresh, same_files

STEPS = range(1, 7)
SEED = 20

# Files that a conversion keeps for itself.
RECORD, LOCK = ".anelith.json", ".anelith.lock"

# What a run may take that checks start beside others, without which a check would not end.
LIMIT_SECONDS = 120


def convert(model: Path, output: Path, *options, status: int = 0):
    """`anelith convert` with its defaults and these options."""
    return anelith("convert", "--model", model, "--output", output, *options, status=status)


def copied(source: Path, label: str) -> Path:
    """A copy of a directory, under target/conformance."""
    target = fresh(f"pipeline-{label}")
    shutil.copytree(source, target, dirs_exist_ok=True, symlinks=True)
    return target


def undisturbed() -> Path:
    """The demo, converted in one run."""
    LUT4.outputs()
    return LUT4.directory


def same_as(reference: Path, output: Path) -> int:
    """Both directories hold the same files with the same bytes, hidden ones too."""
    files = digests(reference)
    same_files(files, digests(output))
    return len(files)


# Steps alone, and from one on.


@check("pipeline/only")
def only() -> dict:
    """Every step alone, each in a process of its own, gives the bytes of one run; the
    sixth answers."""
    output = fresh("pipeline-only") / "out"
    for step in STEPS:
        said = convert(DEMO, output, "--only", step)
        require(f"step {step}: " in said.stderr, f"step {step} is not announced")
        others = [n for n in STEPS if n != step and f"step {n}: " in said.stderr and n not in (4, 5)]
        require(not others, f"--only {step} also ran {others}")
    require(ANSWER in said.stdout, "step 6 alone does not answer")
    return {"files": same_as(undisturbed(), output)}


@check("pipeline/restart")
def restart() -> dict:
    """`--restart N` builds from N on, whatever is there, and leaves the same bytes."""
    for step in STEPS:
        output = copied(undisturbed(), f"restart-{step}")
        said = convert(DEMO, output, "--restart", step)
        built, reused = said.stderr.count("  done ("), said.stderr.count("  up to date: ")
        require((built, reused) == (6 - step, step - 1), f"--restart {step} built {built} and reused {reused}")
        require(ANSWER in said.stdout, f"--restart {step} does not end in an answer")
        files = same_as(undisturbed(), output)
    return {"files": files}


@check("pipeline/until")
def until() -> dict:
    """`--until N` stops after N and chats before 6 with nobody; with `--restart` it
    bounds what is built; the whole command goes on where it stopped."""
    for step in STEPS:
        output = fresh(f"pipeline-until-{step}") / "out"
        said = convert(DEMO, output, "--until", step)
        ran = [n for n in STEPS if f"step {n}: " in said.stderr]
        require(ran == list(range(1, step + 1)), f"--until {step} ran {ran}")
        require((ANSWER in said.stdout) == (step == 6), f"--until {step} printed {said.stdout[-300:]!r}")
        said = convert(DEMO, output, "--restart", step, "--until", step)
        require(said.stderr.count("  done (") == (step < 6), f"--restart {step} --until {step}: {said.stderr[-300:]}")
        convert(DEMO, output)
        same_as(undisturbed(), output)
    convert(DEMO, output, "--restart", 3, "--until", 2, status=2)
    convert(DEMO, output, "--only", 3, "--until", 3, status=2)
    return {"steps": len(STEPS)}


def names_of_weights(output: Path) -> list[int]:
    """How many names the weight file of each output has."""
    return [path.stat().st_nlink for path in sorted(output.rglob("weight.bin"))]


@check("pipeline/no-link")
def no_link() -> dict:
    """`--no-link` gives every output a weight file of its own, the linked ones of an
    earlier run too, with the same bytes; writing into one leaves the others whole."""
    output = fresh("pipeline-no-link") / "out"
    convert(DEMO, output, "--until", 5)
    convert(DEMO, output, "--until", 5, "--no-link")
    require(names_of_weights(output) == [1] * 4, f"after links: {names_of_weights(output)}")
    files = same_as(undisturbed(), output)
    output = fresh("pipeline-no-link-at-once") / "out"
    convert(DEMO, output, "--no-link")
    require(names_of_weights(output) == [1] * 4, f"at once: {names_of_weights(output)}")
    same_as(undisturbed(), output)
    with open(next((output / "qwen_monolithic_prefill.mlpackage").rglob("weight.bin")), "ab") as weights:
        weights.write(b"changed")
    said = convert(DEMO, output, "--no-link")
    require(said.stderr.count("  done (") == 1, f"more than one output was changed: {said.stderr[-500:]}")
    same_as(undisturbed(), output)
    return {"files": files}


@check("pipeline/missing")
def missing() -> dict:
    """A step that lacks an earlier output names it and the step that makes it."""
    makers = {1: "qwen_monolithic.mlpackage", 2: "qwen_monolithic_prefill.mlpackage", 3: "qwen_monolithic_combined.mlpackage", 4: "qwen_monolithic_combined.mlmodelc", 5: "meta.yaml"}
    needs = {2: [1], 3: [1, 2], 4: [3], 6: [4, 5]}
    asked = 0
    for step, lost in [(step, lost) for step, needed in needs.items() for lost in needed]:
        output = copied(undisturbed(), f"missing-{step}-{lost}")
        path = output / makers[lost]
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        before = digests(output)
        for option in ("--only", "--restart"):
            said = convert(DEMO, output, option, step, status=3).stderr
            words = (f"error: {makers[lost]} is missing", f"step {lost}", f"--restart {lost}")
            lacking = [word for word in words if word not in said]
            require(not lacking, f"{option} {step} without {makers[lost]} does not say {lacking}: {said[-300:]!r}")
            same_files(before, digests(output))
            asked += 1
    return {"refusals": asked}


# What is stale is built again, and nothing else.


def edit_json(path: Path, change: Callable[[dict], None]) -> None:
    """Change a JSON file in place."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value, indent=2))


def edit_tensor(model: Path) -> None:
    """Change the sign of one weight of the checkpoint."""
    header, data = read(model / "model.safetensors")
    data = bytearray(data)
    begin = header["model.layers.1.mlp.down_proj.weight"]["data_offsets"][0]
    data[begin + 1] ^= 0x80
    write(model / "model.safetensors", header, bytes(data))


# What is changed, with which options, and the steps that are built again.
SOURCES = {
    "config": (lambda model: edit_json(model / "config.json", lambda c: c.update(rope_theta=10_001.0)), [], [1, 2, 3, 4, 5]),
    "tensor": (edit_tensor, [], [1, 2, 3, 4]),
    "tokenizer": (lambda model: (model / "tokenizer.json").open("a").write("\n"), [], [5]),
    "generation-config": (lambda model: edit_json(model / "generation_config.json", lambda g: g.update(temperature=0.5)), [], [5]),
    "license": (lambda model: (model / "README.md").write_text("---\nlicense: apache-2.0\n---\n"), [], [5]),
    "lut": (lambda model: None, ["--lut", "6,16"], [1, 2, 3, 4, 5]),
    "context": (lambda model: None, ["--context", "256"], [1, 2, 3, 4, 5]),
    "batch": (lambda model: None, ["--batch", "32"], [2, 3, 4, 5]),
}


def built(said: str) -> list[int]:
    """The steps of 1 to 5 that were built, not reused."""
    lines = said.splitlines()
    pairs = zip(lines, lines[1:])
    return [int(step.split()[1].rstrip(":")) for step, next_line in pairs if step.startswith("step ") and next_line.startswith("  done (")]


@check("pipeline/stale-sources")
def stale_sources() -> dict:
    """A changed source or option: the steps that depend on it are built again, a step
    that builds upon stale outputs is refused, and the end is that of a fresh run."""
    for label, (change, options, expected) in SOURCES.items():
        model = copied(DEMO, f"source-{label}")
        output = fresh(f"pipeline-stale-{label}") / "out"
        convert(model, output)
        change(model)
        if expected != [5]:
            said = convert(model, output, "--restart", 5, *options, status=3).stderr
            require("was made from another model, with other options" in said, f"{label}: {said[-300:]!r}")
        said = convert(model, output, *options).stderr
        require(built(said) == expected, f"{label}: steps {built(said)} were built, expected {expected}")
        clean = output.parent / "clean"
        convert(model, clean, *options)
        same_as(clean, output)
    return {"changes": len(SOURCES)}


def edit_file(path: Path) -> None:
    """Add a byte to a file."""
    # Replaced, never written into: hard links share it with the other outputs.
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content + b"\0")


def truncate(path: Path) -> None:
    """Cut a file in half."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


INFER, BUNDLE = "qwen_monolithic.mlpackage", "qwen_monolithic_combined.mlmodelc"
INSIDE = "Data/com.apple.CoreML"
OUTPUTS = {
    "specification": lambda out: edit_file(out / INFER / INSIDE / "model.mlmodel"),
    "manifest": lambda out: edit_file(out / INFER / "Manifest.json"),
    "weights-cut": lambda out: truncate(out / INFER / INSIDE / "weights/weight.bin"),
    "weights-gone": lambda out: (out / INFER / INSIDE / "weights/weight.bin").unlink(),
    "file-added": lambda out: (out / INFER / "notes.txt").write_text("mine"),
    "prefill-weights-cut": lambda out: truncate(out / "qwen_monolithic_prefill.mlpackage" / INSIDE / "weights/weight.bin"),
    "combined-edited": lambda out: edit_file(out / "qwen_monolithic_combined.mlpackage" / INSIDE / "model.mlmodel"),
    "bundle-edited": lambda out: edit_file(out / "qwen_monolithic_combined.mlmodelc/model.mil"),
    "meta-edited": lambda out: edit_file(out / "meta.yaml"),
    "copy-edited": lambda out: edit_file(out / "tokenizer_config.json"),
    "record-gone": lambda out: (out / RECORD).unlink(),
    "record-broken": lambda out: (out / RECORD).write_text('{"1 qwen'),
    "record-of-another-version": lambda out: edit_json(out / RECORD, lambda r: [made.update(inputs="0" * 64) for made in r.values()]),
    "half-written": lambda out: (out / f".{INFER}.partial/Data").mkdir(parents=True),
    "half-replaced": lambda out: (out / INFER).rename(out / f".{INFER}.old"),
    "both-of-a-replacement": lambda out: shutil.copytree(out / INFER, out / f".{INFER}.old"),
    "half-a-file": lambda out: (out / ".meta.yaml.partial").write_text("model"),
}


@check("pipeline/stale-outputs")
def stale_outputs() -> dict:
    """An output that was edited, cut, half replaced or whose record is lost is never
    built upon, and built again."""
    for label, damage in OUTPUTS.items():
        output = copied(undisturbed(), f"output-{label}")
        damage(output)
        convert(DEMO, output)
        try:
            same_as(undisturbed(), output)
        except Failure as failure:
            raise Failure(f"{label}: {failure}") from failure
    return {"damages": len(OUTPUTS)}


@check("pipeline/foreign-package")
def foreign_package() -> dict:
    """Another model's package in the place of an output, with and without that
    model's record, is refused as an input and replaced by a whole run."""
    other = fresh("pipeline-other") / "out"
    convert(CHECKPOINTS / "qwen3", other, "--only", 1)
    for with_record in (False, True):
        output = copied(undisturbed(), f"foreign-{with_record}")
        shutil.rmtree(output / INFER)
        shutil.copytree(other / INFER, output / INFER)
        if with_record:
            shutil.copyfile(other / RECORD, output / RECORD)
        for step in (2, 3, 4, 6):
            said = convert(DEMO, output, "--only", step, status=3).stderr
            # Step 6 asks first for what it reads, of which that record knows nothing.
            named, maker = (BUNDLE, 4) if with_record and step == 6 else (INFER, 1)
            words = (f"error: {named} was made from another model, with other options", f"step {maker} again")
            lacking = [word for word in words if word not in said]
            require(not lacking, f"record {with_record}, step {step}: stderr lacks {lacking}: {said[-300:]!r}")
        convert(DEMO, output)
        same_as(undisturbed(), output)
    return {"packages": 2}


@check("pipeline/foreign-directory")
def foreign_directory() -> dict:
    """What is no package at the place of an output is refused with status 3, for a
    directory as for a file, and left as it is."""
    places = [(1, INFER), (2, "qwen_monolithic_prefill.mlpackage"), (3, "qwen_monolithic_combined.mlpackage"), (4, "qwen_monolithic_combined.mlmodelc"), (5, "meta.yaml")]
    asked = 0
    for step, name in places:
        for kind in ("file", "directory"):
            if (step, kind) == (5, "file"):
                continue
            output = copied(undisturbed(), f"obstacle-{step}-{kind}")
            path = output / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            if kind == "file":
                path.write_text("mine")
            else:
                path.mkdir()
                (path / "thesis.txt").write_text("mine")
            before = digests(path) if path.is_dir() else path.read_text()
            for options in ((), ("--only", step), ("--restart", step)):
                said = convert(DEMO, output, *options, status=3).stderr
                words = ("error: ", name, "to mend: ")
                require(all(word in said for word in words), f"step {step}, {kind}: {said[-300:]!r}")
                require(before == (digests(path) if path.is_dir() else path.read_text()), f"{name} was touched")
                asked += 1
            left = [p.name for p in output.iterdir() if ".partial" in p.name or ".old" in p.name]
            require(not left, f"left behind: {left}")
    return {"refusals": asked}


# Directories that cannot be written.


@check("pipeline/read-only")
def read_only() -> dict:
    """A directory that may not be written, or whose outputs may not: status 1, words,
    and all stays as it is."""
    empty = fresh("pipeline-read-only") / "empty"
    empty.mkdir()
    full = copied(undisturbed(), "read-only-full")
    figures = {}
    for label, output, options in (
        ("empty", empty, ()),
        ("below", empty / "out", ()),
        ("full", full, ("--restart", "1")),
        ("full-5", full, ("--only", "5")),
    ):
        place = output if output.exists() else output.parent
        # Without permission to write, and owned by somebody else where that can be had.
        place.chmod(0o555)
        before = digests(place)
        try:
            done = anelith("convert", "--model", DEMO, "--output", output, *options, status=1, unprivileged=True)
        finally:
            place.chmod(0o755)
        words = ("error: ", "where: ", "to mend: ", str(place))
        lacking = [word for word in words if word not in done.stderr]
        require(not lacking, f"{label}: stderr lacks {lacking}: {done.stderr[-400:]!r}")
        require(digests(place) == before, f"{label}: something was written")
        figures[label] = 1
    return figures


@check("pipeline/output-places")
def output_places() -> dict:
    """The model directory under any name is refused as output; a directory inside it
    is an output like any other."""
    model = fresh("pipeline-places") / "model"
    shutil.copytree(DEMO, model)
    link = model.parent / "link"
    link.symlink_to(model)
    before = digests(model)
    names = [model, link, model / ".", model / "../model", model / "no-such/..", link / "no-such/..", f"{model}//"]
    for name in names:
        said = convert(model, name, status=2).stderr
        require("the output directory is the model directory" in said, f"{name}: {said[-300:]!r}")
        require("to mend: " in said, f"{name}: {said[-300:]!r}")
        require(digests(model) == before and not (model / "no-such").exists(), f"{name}: the model was written into")
    said = convert(link, model, status=2).stderr
    require("the output directory is the model directory" in said, f"{said[-300:]!r}")
    convert(model, link / "converted", "--only", 1)
    convert(model, model / "converted")
    inside = digests(model / "converted")
    reference = digests(undisturbed())
    # The model's name is the directory's own, which meta.yaml and the record of step 5 hold.
    for name in ("meta.yaml", RECORD):
        inside.pop(name), reference.pop(name)
    same_files(inside, reference)
    require({k: v for k, v in digests(model).items() if not k.startswith("converted/")} == before, "the model has changed")
    file = model.parent / "file"
    file.write_text("mine")
    for name in (file, file / "below"):
        said = convert(model, name, status=1).stderr
        require("cannot create the output directory" in said and "to mend: " in said, f"{said[-300:]!r}")
    require(file.read_text() == "mine", "a file was written into")
    return {"refused": len(names) + 3}


# Two at once.


def larger(subject: str) -> Path:
    """The demo model with four times the vocabulary and larger layers, of random
    weights: a run of it takes long enough to be stopped anywhere. Checks run side by
    side, so each has its own."""
    model = fresh(f"pipeline-model-{subject}") / "larger"
    shutil.copytree(DEMO, model)
    config = json.loads((model / "config.json").read_text())
    config |= {"intermediate_size": 2048, "num_hidden_layers": 6, "vocab_size": 4096}
    (model / "config.json").write_text(json.dumps(config))
    generator = numpy.random.default_rng(SEED)
    header, data = {}, bytearray()
    for name, shape in shapes(config):
        values = numpy.ones(shape) if len(shape) == 1 else generator.normal(0, 0.08, shape)
        bits = (values.astype(numpy.float32).view(numpy.uint32) >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [len(data), len(data) + len(bits)]}
        data += bits
    write(model / "model.safetensors", header, bytes(data))
    return model


def shapes(config: dict) -> Iterator[tuple[str, list[int]]]:
    """The tensors of a Qwen 3 checkpoint."""
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    yield "model.embed_tokens.weight", [config["vocab_size"], hidden]
    for layer in range(config["num_hidden_layers"]):
        rows = {"self_attn.q_proj": [queries, hidden], "self_attn.k_proj": [keys, hidden], "self_attn.v_proj": [keys, hidden]}
        rows |= {"self_attn.o_proj": [hidden, queries], "self_attn.q_norm": [head], "self_attn.k_norm": [head]}
        rows |= {"mlp.gate_proj": [inner, hidden], "mlp.up_proj": [inner, hidden], "mlp.down_proj": [hidden, inner]}
        rows |= {"input_layernorm": [hidden], "post_attention_layernorm": [hidden]}
        yield from ((f"model.layers.{layer}.{name}.weight", shape) for name, shape in rows.items())
    yield "model.norm.weight", [hidden]
    if not config.get("tie_word_embeddings"):
        yield "lm_head.weight", [config["vocab_size"], hidden]


def start(model: Path, output: Path, *options) -> subprocess.Popen:
    """A conversion under way."""
    command = [ANELITH, "convert", "--model", model, "--output", output, *options]
    return subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> tuple[int, str]:
    """Its status and what it said."""
    said = process.communicate(timeout=LIMIT_SECONDS)[1]
    require("panicked" not in said, f"panicked: {said[-300:]!r}")
    return process.returncode, said


@check("pipeline/two-at-once")
def two_at_once() -> dict:
    """The second run in a directory ends with status 1 and says which process holds
    it, since when and with what command; a killed holder holds nothing."""
    model = larger("two")
    output = fresh("pipeline-two") / "out"
    first = start(model, output, "--lut", "8", "--only", "1")
    try:
        wait_for(lambda: (output / LOCK).exists() and (output / LOCK).stat().st_size > 0)
        for arguments in (
            ("convert", "--model", model, "--output", output),
            ("convert", "--model", model, "--output", output, "--only", "5"),
            ("part", "--part", "monolithic", "--model", DEMO, "--output", output),
        ):
            said = anelith(*arguments, status=1).stderr
            words = ("error: another run holds the output directory", f"found: process {first.pid}, for ", " s: ", "--only 1", "to mend: wait")
            lacking = [word for word in words if word not in said]
            require(not lacking, f"stderr lacks {lacking}: {said[-400:]!r}")
        require(first.poll() is None, "the first run ended too early to be in the way")
    finally:
        first.kill()
        first.communicate()
    convert(model, output, "--lut", "8", "--only", "1")
    left = [path.name for path in output.iterdir() if path.name.startswith(".") and path.name not in (RECORD, LOCK)]
    require(not left, f"left behind: {left}")
    return {"refused": 3}


@check("pipeline/many-at-once")
def many_at_once() -> dict:
    """Six equal commands at the same time: each works or is refused, and the outputs
    are whole."""
    output = fresh("pipeline-many") / "out"
    ended = [finish(process) for process in [start(DEMO, output) for _ in range(6)]]
    require(all(status in (0, 1) for status, _ in ended), f"statuses {[status for status, _ in ended]}")
    require(any(status == 0 for status, _ in ended), "none of the runs has worked")
    refusals = [said for status, said in ended if status == 1]
    require(all("another run holds the output directory" in said for said in refusals), f"{refusals}")
    convert(DEMO, output)
    return {"refused": len(refusals), "files": same_as(undisturbed(), output)}


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something holds that another process brings about."""
    limit = time.monotonic() + LIMIT_SECONDS
    while not condition():
        require(time.monotonic() < limit, "waited in vain")
        time.sleep(0.002)


def extents(file: Path) -> list[str]:
    """Where on the disk the file lies, in the order of its contents; clones of one
    file lie at one place, copies do not."""
    done = subprocess.run(["filefrag", "-sve", file], capture_output=True, text=True, timeout=LIMIT_SECONDS)
    require(done.returncode == 0, f"filefrag cannot map {file}: {done.stderr[-300:]!r}")
    places = re.findall(r"^ *\d+: +\d+\.\. *\d+: +(\d+\.\. *\d+):", done.stdout, re.MULTILINE)
    require(bool(places), f"filefrag shows no extents of {file}: {done.stdout[-300:]!r}")
    return places


@check("pipeline/shared-weights")
def shared_weights() -> dict:
    """The four weight files take space once: one inode under four names, or clones,
    which the file system keeps at one place."""
    output = fresh("pipeline-shared") / "out"
    convert(DEMO, output)
    weights = sorted(output.rglob("weight.bin"))
    require(len(weights) == 4, f"{len(weights)} weight files")
    inodes = {path.stat().st_ino: path for path in weights}
    require(len({path.read_bytes() for path in weights}) == 1, "the weight files differ")
    if len(inodes) > 1:
        places = {tuple(extents(path)) for path in inodes.values()}
        require(len(places) == 1, f"{len(inodes)} inodes at {len(places)} places of the disk: copies")
    return {"inodes": len(inodes)}
