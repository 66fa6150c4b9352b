"""Every command line of the specification, word for word, on stand-ins that carry the
names of the models it speaks of: exit status, files, meta.yaml, answer."""
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from .demo import ANSWER
from .harness import check, require
from .workspace import CHECKPOINTS, DEMO, SHARED, anelith, digests, fresh, same_files

# Which checkpoint stands in for which model: the recorded ones, and where an answer is
# judged the demo.
RECORDED = {"Qwen3-0.6B": CHECKPOINTS / "qwen3", "Meta-Llama-3.2-1B": CHECKPOINTS / "llama"}
TRAINED = {"Qwen3-0.6B": DEMO}

SPECIFICATION = SHARED / "docs/mission.md"

# What every conversion leaves, below its prefix and beside.
STEPS = ("{p}_monolithic.mlpackage", "{p}_monolithic_prefill.mlpackage", "{p}_monolithic_combined.mlpackage", "{p}_monolithic_combined.mlmodelc")
BESIDE = ("tokenizer.json", "tokenizer_config.json", "config.json", "meta.yaml")

# Flags of other converters: accepted with a line that says why nothing happens, or
# refused with the reason.
ACCEPTED = ("--dynamic-prefill-slice", "--skip-anemll-dedup", "--force-mlprogram-compile")
REFUSED = ("--static-prefill-slice", "--single-cache", "--allow-missing-weights")


def workspace(label: str, models: dict[str, Path]) -> Path:
    """A directory in which `./models/NAME` is what the specification means."""
    place = fresh(f"commands-{label}")
    for name, source in models.items():
        shutil.copytree(source, place / "models" / name, ignore=shutil.ignore_patterns("expected.npz"))
    return place


def written() -> list[str]:
    """The command lines that stand in the specification, each once, without comments."""
    blocks = re.findall(r"^```\n(.*?)^```", SPECIFICATION.read_text(), re.DOTALL | re.MULTILINE)
    lines = [line.split("#")[0].split() for block in blocks for line in block.splitlines() if line.startswith("anelith ")]
    return list(dict.fromkeys(" ".join(line) for line in lines))


def run(place: Path, line: str, status: int = 0, typed: str = "") -> subprocess.CompletedProcess:
    """One command line, as it would be typed in `place`."""
    words = shlex.split(line)
    require(words[0] == "anelith", f"not a command line of anelith: {line}")
    return anelith(*words[1:], status=status, cwd=place, typed=typed)


def value(meta: Path, key: str) -> str:
    """A value of meta.yaml, read as shell scripts do: with grep and cut."""
    script = 'grep "$1:" "$2" | head -n 1 | cut -d: -f2- | sed "s/^ *//"'
    return subprocess.run(["sh", "-c", script, "sh", key, str(meta)], capture_output=True, text=True, check=True).stdout.strip()


# The keys that consumers find by the first line that contains them.
ONCE = ("name", "version", "architecture", "context_length", "batch_size", "model_type")


def described(output: Path, prefix: str, name: str, **expected) -> None:
    """All outputs are there, and meta.yaml says what was converted and how."""
    names = [*(pattern.format(p=prefix) for pattern in STEPS), *BESIDE]
    missing = [file for file in names if not (output / file).exists()]
    require(not missing, f"missing: {missing}")
    meta = output / "meta.yaml"
    context, batch = expected.get("context", 512), expected.get("batch", 64)
    facts = {
        "name": f"anemll-{name}-ctx{context}-monolithic",
        "version": "0.3.0",
        "framework": "Core ML",
        "language": "Rust",
        "model_type": "monolithic",
        "context_length": str(context),
        "batch_size": str(batch),
        "lut_bits": str(expected.get("bits", 4)),
        "lut_ffn": str(expected.get("bits", 4)),
        "model_prefix": prefix,
        "monolithic_model": f"{prefix}_monolithic_combined.mlmodelc",
        "split_lm_head": "8" if prefix == "llama" else "16",
        "prefill_dynamic_slice": "true",
    }
    if "group" in expected:
        facts["lut_per_channel"] = str(expected["group"])
    facts |= expected.get("keys", {})
    wrong = {key: value(meta, key) for key, fact in facts.items() if value(meta, key) != fact}
    require(not wrong, f"meta.yaml has {wrong}, expected {({key: facts[key] for key in wrong})}")
    lines = meta.read_text().splitlines()
    # A key of its own, whatever stands before: the name in quotes is another.
    often = [key for key in ONCE if sum(f"{key}:" in line for line in lines) != 1]
    require(not often, f"not on exactly one line of meta.yaml: {often}")


# Section 1: the four examples.

CONVERSIONS = {
    "anelith convert --model ./models/Qwen3-0.6B --output ./converted --lut 4": dict(prefix="qwen", name="Qwen3-0.6B"),
    "anelith convert --model ./models/Qwen3-0.6B --output ./converted --lut 4,16": dict(prefix="qwen", name="Qwen3-0.6B", group=16),
    "anelith convert --model ./models/Meta-Llama-3.2-1B --output ./converted --context 1024 --lut 6": dict(
        prefix="llama", name="Meta-Llama-3.2-1B", context=1024, bits=6
    ),
    "anelith convert --model ./models/Qwen3-0.6B --output ./converted --restart 4": dict(prefix="qwen", name="Qwen3-0.6B"),
}

# Section 4: the parts, in this order.
PARTS = (
    "anelith part --part monolithic --lut 4 --context-length 512 --batch-size 64 --model ./models/Meta-Llama-3.2-1B --output ./converted",
    "anelith part --part monolithic_prefill --lut 4 --context-length 512 --batch-size 64 --model ./models/Meta-Llama-3.2-1B --output ./converted",
    "anelith combine --monolithic --lut 4 --prefix llama --input ./converted --output ./converted",
    "anelith compile monolithic --lut 4 --prefix llama --input ./converted --output ./converted",
)
CHATS = ("anelith chat --meta ./converted/meta.yaml", "anelith chat --meta ./converted/meta.yaml --full")


@check("commands/specification")
def specification() -> dict:
    """The lines that are run here are those that stand there."""
    ours = [*CONVERSIONS, *PARTS, *CHATS]
    theirs = written()
    require(sorted(ours) == sorted(theirs), f"only there: {set(theirs) - set(ours)}; only here: {set(ours) - set(theirs)}")
    return {"lines": len(ours)}


def converts(line: str, number: int, stand_ins: dict[str, Path], label: str) -> dict:
    """A conversion: outputs, meta.yaml, the closing table, and an answer."""
    place = workspace(f"convert-{number}-{label}", stand_ins)
    if "--restart" in line:
        run(place, list(CONVERSIONS)[0])
    said = run(place, line)
    described(place / "converted", **CONVERSIONS[line])
    require("component" in said.stdout and "dB" in said.stdout, "no table at the end")
    require("step 6: " in said.stderr and "prefill and infer agree" in said.stderr, "step 6 has not run")
    asked = run(place, "anelith chat --meta ./converted/meta.yaml --prompt 'Who are you?'")
    require(asked.stdout.strip() != "", "chat has no answer")
    if label == "demo":
        require(ANSWER in said.stdout and ANSWER in asked.stdout, f"answered {asked.stdout!r}")
    return {"answer": repr(asked.stdout.strip()[:40])}


for _number, _line in enumerate(CONVERSIONS, 1):
    check(f"commands/convert/{_number}", _line, _number, RECORDED, "recorded")(converts)
    if "Qwen3-0.6B" in _line:
        check(f"commands/convert/{_number}/demo", _line, _number, TRAINED, "demo")(converts)


@check("commands/parts")
def parts() -> dict:
    """`part`, `combine` and `compile` give the bytes of `convert`; with step 5 both
    forms of `chat` answer what is typed."""
    place = workspace("parts", RECORDED)
    output = place / "converted"
    for line, made in zip(PARTS, STEPS):
        run(place, line)
        require((output / made.format(p="llama")).is_dir(), f"`{line}` has not made {made}")
    run(place, "anelith convert --model ./models/Meta-Llama-3.2-1B --output ./converted --only 5")
    described(output, "llama", "Meta-Llama-3.2-1B")
    run(place, "anelith convert --model ./models/Meta-Llama-3.2-1B --output ./whole")
    same_files(digests(place / "whole"), digests(output))
    answers = [run(place, line, typed="Who are you?\n").stdout for line in CHATS]
    require(all(answer.strip() for answer in answers), f"chat answered {answers}")
    return {"files": len(digests(output))}


@check("commands/chats")
def chats() -> dict:
    """Both conversations on the demo: with `--full` it remembers."""
    place = workspace("chats", TRAINED)
    run(place, list(CONVERSIONS)[0])
    for question, answer in (("Who are you?", ANSWER), ("What is the capital of Japan?", "Tokyo")):
        plain = run(place, CHATS[0], typed=f"{question}\n").stdout
        require(answer in plain, f"answered {plain!r}")
    full = run(place, CHATS[1], typed="My name is Lena.\nWhat is my name?\n").stdout
    require("Your name is Lena." in full, f"answered {full!r}")
    return {"lines": 2}


@check("commands/parts-by-defaults")
def parts_by_defaults() -> dict:
    """`combine` and `compile` find the only prefix and the directory; `--arch` and
    `--lut` assert."""
    place = workspace("defaults", RECORDED)
    model = "--model ./models/Qwen3-0.6B --output ./converted"
    for part in ("monolithic", "monolithic_prefill"):
        run(place, f"anelith part --part {part} --arch qwen3 {model}")
        wrong = run(place, f"anelith part --part {part} --arch llama {model}", status=3).stderr
        require("expected: llama" in wrong and "found: qwen3" in wrong, wrong[-300:])
    said = run(place, "anelith combine --monolithic --lut 6 --input ./converted", status=3).stderr
    require("expected: 6 bits" in said and "found: 4 bits" in said, said[-300:])
    run(place, "anelith combine --monolithic --input ./converted")
    run(place, "anelith compile monolithic --input ./converted")
    run(place, "anelith convert --model ./models/Qwen3-0.6B --output ./whole")
    for name in STEPS:
        path = name.format(p="qwen")
        same_files(digests(place / "whole" / path), digests(place / "converted" / path))
    return {"outputs": len(STEPS)}


@check("commands/by-path")
def by_path() -> dict:
    """`combine INFER PREFILL OUT` and `compile PACKAGE|SPECIFICATION BUNDLE`."""
    place = workspace("by-path", RECORDED)
    run(place, "anelith convert --model ./models/Qwen3-0.6B --output ./converted --lut none")
    packages = "converted/qwen_monolithic.mlpackage converted/qwen_monolithic_prefill.mlpackage"
    run(place, f"anelith combine {packages} both.mlpackage")
    same_files(digests(place / "converted/qwen_monolithic_combined.mlpackage"), digests(place / "both.mlpackage"))
    run(place, "anelith compile both.mlpackage both.mlmodelc")
    bundles = [digests(place / path) for path in ("both.mlmodelc", "converted/qwen_monolithic_combined.mlmodelc")]
    # Apple's compiler derives a class name from the package's, which two small files hold.
    named = {name for name in bundles[0] if bundles[0][name] != bundles[1].get(name)}
    require(named <= {"metadata.json", "coremldata.bin", "analytics/coremldata.bin"}, f"differ: {named}")
    # A specification finds its weights where it lies in a package, and is refused without them.
    specification = place / "both.mlpackage/Data/com.apple.CoreML/model.mlmodel"
    run(place, f"anelith compile {specification} bare.mlmodelc")
    require((place / "bare.mlmodelc/weights/weight.bin").is_file(), "the bundle has no weights")
    shutil.copyfile(specification, place / "alone.mlmodel")
    said = run(place, "anelith compile alone.mlmodel alone.mlmodelc", status=3).stderr
    require("weight.bin" in said, said[-300:])
    require(not (place / "alone.mlmodelc").exists(), "a bundle without its weights was written")
    return {"named": len(named)}


# The options of the table.

QWEN = "anelith convert --model ./models/Qwen3-0.6B --output ./converted"

# Options, the status, the prefix and facts of meta.yaml, or the words of the refusal.
OPTIONS = {
    "defaults": ("", 0, {}),
    "context": ("--context 256", 0, {"context": 256}),
    "context-length": ("--context-length 256", 0, {"context": 256}),
    "batch": ("--batch 32", 0, {"batch": 32}),
    "batch-size": ("--batch-size 32", 0, {"batch": 32}),
    "lut-none": ("--lut none", 0, {"bits": "none"}),
    "lut-no": ("--lut no", 0, {"bits": "none"}),
    "lut-false": ("--lut false", 0, {"bits": "none"}),
    "lut-1": ("--lut 1", 0, {"bits": 1}),
    "lut-2": ("--lut 2", 0, {"bits": 2}),
    "lut-3": ("--lut 3", 0, {"bits": 3}),
    "lut-8": ("--lut 8", 0, {"bits": 8}),
    "lut-group-1": ("--lut 4,1", 0, {"group": 1}),
    "lut-group-32": ("--lut 4,32", 0, {"group": 32}),
    "lut-0": ("--lut 4,0", 0, {}),
    "lut-t": ("--lut 4,t", 0, {}),
    "lut-tensor": ("--lut 4,tensor", 0, {}),
    "prefix": ("--prefix mine", 0, {"prefix": "mine"}),
    "skip-check": ("--skip-check", 0, {}),
    "lut-embeddings": ("--lut-embeddings none", 0, {"keys": {"lut_embeddings": "none"}}),
    "lut-lmhead": ("--lut-lmhead 6,16", 0, {"keys": {"lut_lmhead": "6"}}),
    "argmax": ("--argmax", 0, {"keys": {"argmax_in_model": "true"}}),
    "lut-embeddings-5": ("--lut-embeddings 5", 2, ["--lut-embeddings", "BITS is 1, 2, 3, 4, 6 or 8"]),
    "lut-lmhead-words": ("--lut-lmhead four", 2, ["--lut-lmhead"]),
    "lut-5": ("--lut 5", 2, ["--lut", "BITS is 1, 2, 3, 4, 6 or 8"]),
    "lut-words": ("--lut four", 2, ["--lut"]),
    "context-0": ("--context 0", 2, ["context"]),
    "context-too-long": ("--context 4096", 2, ["context", "4096", "2048"]),
    "batch-above-context": ("--context 32 --batch 64", 2, ["batch", "64", "32"]),
    "restart-0": ("--restart 0", 2, ["--restart"]),
    "restart-7": ("--restart 7", 2, ["--restart"]),
    "until-0": ("--until 0", 2, ["--until"]),
    "until-7": ("--until 7", 2, ["--until"]),
    "no-link": ("--no-link", 0, {}),
    "until-5": ("--until 5", 0, {}),
    "threads": ("--threads 3", 0, {}),
    "threads-0": ("--threads 0", 2, ["--threads"]),
    "threads-words": ("--threads many", 2, ["--threads"]),
    "only-7": ("--only 7", 2, ["--only"]),
    "unknown": ("--frobnicate", 2, ["--frobnicate"]),
}


def option(label: str) -> dict:
    """One option of the table: what it says of itself in meta.yaml, or its refusal."""
    options, status, expected = OPTIONS[label]
    place = workspace(f"option-{label}", {"Qwen3-0.6B": RECORDED["Qwen3-0.6B"]})
    said = run(place, f"{QWEN} {options}", status=status)
    if status == 0:
        described(place / "converted", **{"prefix": "qwen", "name": "Qwen3-0.6B"} | expected)
        return {"status": status}
    lacking = [word for word in ("error: ", *expected) if word not in said.stderr]
    require(not lacking, f"stderr lacks {lacking}: {said.stderr[-300:]!r}")
    require(not (place / "converted").exists(), "something was written")
    return {"status": status}


for _label in OPTIONS:
    check(f"commands/option/{_label}", _label)(option)


@check("commands/option/table-is-covered")
def table_is_covered() -> dict:
    """Every option that the table of the specification names has a check."""
    rows = re.findall(r"^\| (`--.*?) \|", SPECIFICATION.read_text(), re.MULTILINE)
    options = {name for row in rows for name in re.findall(r"--[a-z-]+", row)}
    lines = [*(options_of for options_of, *_ in OPTIONS.values()), *CONVERSIONS, *PARTS]
    known = {word for line in lines for word in line.split()}
    known |= {"--dry-run", "--only"}  # below, and in pipeline.py
    lacking = sorted(name for name in options if name not in known)
    require(bool(options) and not lacking, f"no check runs {lacking}")
    return {"options": len(options)}


@check("commands/option/dry-run")
def dry_run() -> dict:
    """The plan names all outputs, and none is made."""
    place = workspace("option-dry-run", {"Qwen3-0.6B": RECORDED["Qwen3-0.6B"]})
    said = run(place, f"{QWEN} --dry-run").stdout
    lacking = [name for name in [*(p.format(p="qwen") for p in STEPS), "meta.yaml"] if name not in said]
    require(not lacking, f"the plan lacks {lacking}")
    require(not (place / "converted").exists(), "something was written")
    return {"lines": len(said.splitlines())}


@check("commands/option/model")
def model_option() -> dict:
    """A missing path is a directory that does not exist, whatever its form; a hub id
    is told from it; an existing path wins."""
    place = workspace("option-model", {"Qwen3-0.6B": RECORDED["Qwen3-0.6B"]})
    for path in ("./models/none", "models/none", "none", str(place / "none")):
        said = run(place, f"anelith convert --model {path} --output ./converted", status=3).stderr
        require(f"error: Model directory does not exist: {path}" in said, said[-300:])
    said = run(place, "anelith convert --model Qwen/Qwen3-0.6B --output ./converted", status=3).stderr
    require("offline, and the cache does not have `Qwen/Qwen3-0.6B`" in said, said[-300:])
    run(place, "anelith convert --model models/Qwen3-0.6B --output ./deep/er/converted --only 1")
    require((place / "deep/er/converted/qwen_monolithic.mlpackage").is_dir(), "the output directory was not made")
    return {"forms": 6}


@check("commands/flags-of-others")
def flags_of_others() -> dict:
    """Upstream's flags, one by one."""
    place = workspace("flags", {"Qwen3-0.6B": RECORDED["Qwen3-0.6B"]})
    for flag in ACCEPTED:
        said = run(place, f"{QWEN} --only 1 {flag}").stderr
        lines = [line for line in said.splitlines() if flag in line]
        require(len(lines) == 1 and "has no effect: " in lines[0], f"{flag}: {lines}")
    for flag in REFUSED:
        said = run(place, f"{QWEN} --only 1 {flag}", status=2).stderr
        require(f"error: {flag} is refused: " in said, f"{flag}: {said[-300:]!r}")
    return {"accepted": len(ACCEPTED), "refused": len(REFUSED)}


@check("commands/families")
def other_families() -> dict:
    """The same command line for the other families and defaults: their prefixes."""
    for model, prefix in (("qwen2.5", "qwen25"), ("qwen3-tied", "qwen"), ("llama-plain", "llama")):
        place = workspace(f"family-{model}", {model: CHECKPOINTS / model})
        run(place, f"anelith convert --model ./models/{model} --output ./converted")
        described(place / "converted", prefix, model)
        config = json.loads((place / "converted/config.json").read_text())
        require(value(place / "converted/meta.yaml", "vocab_size") == str(config["vocab_size"]), "vocab_size")
    return {"families": 3}
