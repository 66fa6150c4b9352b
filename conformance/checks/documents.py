"""What `--json` prints is one document, and agrees with the files on the disk, with
meta.yaml and with what coremltools finds in the packages."""
import json
from pathlib import Path

from .commands import value
from .demo import ANSWER, LUT4, QUESTION, RIGHT
from .harness import check, require
from .hub import ID, convert as convert_by_id, hub
from .oracles import load_spec
from .options import palettized
from .reference import PREFIXES, SIZES
from .workspace import CHECKPOINTS, DEMO, anelith, fresh

# Checkpoint, and the options that palettization depends on.
CONVERSIONS = (
    ("demo", ()),
    *(("llama", options) for options in ((), ("--lut", "none"), ("--lut", "6,16", "--lut-embeddings", "8,t"), ("--argmax",))),
    *((model, ("--lut", "4")) for model in ("qwen2.5", "qwen3", "qwen3-tied")),
)

TABLES = {"embeddings": "embeddings", "layers": "layers", "lm_head": "lmhead"}


def document(*arguments, status: int = 0, **how) -> dict:
    """The one document that standard output is."""
    printed = anelith(*arguments, status=status, **how).stdout
    found = json.loads(printed)
    require(isinstance(found, dict), f"not an object: {printed[:80]!r}")
    return found


def place_of(model: str) -> tuple[Path, list]:
    return (DEMO, []) if model == "demo" else (CHECKPOINTS / model, list(SIZES))


def on_disk(output: dict) -> int:
    """An output has the files and sizes that it is said to have; their number."""
    path = Path(output["path"])
    if path.is_file():
        require(output["bytes"] == path.stat().st_size and not output["files"], f"{path.name}: {output}")
        return 1
    sizes = {str(file.relative_to(path)): file.stat().st_size for file in path.rglob("*") if file.is_file()}
    said = {file["path"]: file["bytes"] for file in output["files"]}
    require(said == sizes, f"{path.name} has {sizes}, not {said}")
    require(output["bytes"] == sum(sizes.values()), f"{path.name}: {output['bytes']} bytes")
    if path.suffix == ".mlpackage":
        functions = sorted(load_spec(path).mlProgram.functions)
        require(sorted(output["functions"]) == functions, f"{path.name} has the functions {functions}")
    return len(sizes)


def bits_agree(found: dict, package: Path) -> int:
    """Components have the bits of the lookup tables that coremltools finds; the number of these."""
    tables = palettized(package)
    said = {}
    for row in found["weights"]["components"]:
        said.setdefault(row["component"], []).append(row["bits"])
    for component, name in TABLES.items():
        bits = {bits for _, _, bits, _ in tables[name]}
        require(set(said[component]) - {None} == bits, f"{component}: {said[component]}, coremltools finds {bits}")
        wanted = found["lut"][component]["bits"]
        require(not bits or bits == {wanted}, f"{component}: {bits}, and the option says {wanted}")
    return sum(map(len, tables.values()))


def described(found: dict) -> None:
    """meta.yaml says the same of what was converted."""
    meta = Path(found["meta"])
    facts = {
        "context_length": found["context"],
        "batch_size": found["batch"],
        "architecture": found["architecture"],
        "model_prefix": found["prefix"],
        "lut_bits": found["lut"]["layers"]["bits"] or "none",
        "monolithic_model": Path(found["bundle"]).name,
    }
    wrong = {key: fact for key, fact in facts.items() if value(meta, key) != str(fact)}
    require(not wrong, f"meta.yaml does not say {wrong}")
    require(("argmax_in_model: true" in meta.read_text()) == found["argmax"], "meta.yaml about argmax")


def converts(model: str, options: tuple) -> dict:
    """A whole conversion: its plan, its document, and the disk."""
    source, sizes = place_of(model)
    place = fresh("-".join(["json", model, *options]).replace(",", "g").replace("--", ""))
    words = ["convert", "--model", source, "--output", place / "out", *sizes, *options, "--json", "--quiet"]
    plan = document(*words, "--dry-run")
    require(not (place / "out").exists(), "a plan has written something")
    found = document(*words)
    require([step["action"] for step in found["steps"]] == ["run"] * 6, "not all steps were run")
    outputs = [output for step in found["steps"] for output in step["outputs"]]
    files = sum(map(on_disk, outputs))
    planned = [output["path"] for step in plan["steps"] for output in step["outputs"]]
    require(planned == [output["path"] for output in outputs], f"planned were {planned}")
    left = {str(path) for path in (place / "out").iterdir() if not path.name.startswith(".")}
    require(left == set(planned), f"left are {left}")
    described(found)
    tables = bits_agree(found, Path(outputs[0]["path"]))
    weights = Path(found["bundle"]) / "weights/weight.bin"
    require(found["weight_bytes"] == plan["weight_bytes"] == weights.stat().st_size, "weight_bytes")
    chat = found["chat"]
    require(chat["answer"] is not None and len(chat["ids"]) == chat["tokens"], f"step 6: {chat}")
    require(model != "demo" or chat["answer"] == ANSWER, f"answered {chat['answer']!r}")
    asked = document("chat", "--meta", found["meta"], "--prompt", chat["prompt"], "--json", "--greedy", "--precision", "exact", "--max-tokens", 100)
    require((asked["prompt_ids"], asked["ids"]) == (chat["prompt_ids"], chat["ids"]), "chat answers with other ids")
    again = document(*words)
    require([step["action"] for step in again["steps"]] == ["reuse"] * 5 + ["run"], "a second run does not reuse")
    return {"files": files, "tables": tables, "tokens": chat["tokens"]}


for _model, _options in CONVERSIONS:
    check("/".join(["json/convert", _model, *(word.removeprefix("--") for word in _options)]), _model, _options)(converts)


@check("json/parts")
def parts() -> dict:
    """`part`, `combine` and `compile` tell of what they have written, and say nothing else
    with `--quiet`."""
    place = fresh("json-parts")
    files = 0
    for number, part in ((1, "monolithic"), (2, "monolithic_prefill")):
        found = document("part", "--part", part, "--model", DEMO, "--output", place, "--json")
        require([step["step"] for step in found["steps"] if step["action"] == "run"] == [number], f"{part}: {found['steps']}")
        files += on_disk(found["steps"][number - 1]["outputs"][0])
    for number, words in ((3, ("combine", "--monolithic")), (4, ("compile", "monolithic"))):
        found = document(*words, "--input", place, "--json")
        require(found["step"] == number and all(Path(path).is_dir() for path in found["inputs"]), f"{words}: {found}")
        files += on_disk(found["outputs"][0])
        silent = anelith(*words, "--input", place, "--quiet")
        require(silent.stdout == silent.stderr == "", f"{words} --quiet says {silent.stdout + silent.stderr!r}")
    return {"files": files}


@check("json/answers")
def answers() -> dict:
    """`chat` and `generate` agree with each other and with what they print as text."""
    LUT4.outputs()
    asked = document("chat", "--meta", LUT4.meta, "--prompt", QUESTION, "--json")
    require(asked["answer"] == RIGHT and asked["stop"] == "stop_token", f"answered {asked}")
    ids = ",".join(map(str, asked["prompt_ids"]))
    continued = document("generate", "--meta", LUT4.meta, "--ids", ids, "--json")
    for key in ("ids", "answer", "stop", "tokens", "prompt_tokens"):
        require(continued[key] == asked[key], f"{key}: {continued[key]}, chat says {asked[key]}")
    printed = anelith("generate", "--meta", LUT4.meta, "--ids", ids).stdout
    require(printed.split() == [str(number) for number in asked["ids"]], f"as text {printed!r}")
    require(0 <= asked["prefill_seconds"] <= asked["first_token_seconds"], f"times: {asked}")
    refused = anelith("chat", "--meta", LUT4.meta, "--json", status=2)
    require(refused.stdout == "" and "--prompt" in refused.stderr, "a conversation is not refused")
    return {"tokens": asked["tokens"]}


@check("json/failures")
def failures() -> dict:
    """A command that fails prints no half of a document."""
    place = fresh("json-failures")
    cases = (
        (("convert", "--model", place / "none", "--output", place / "out"), 3),
        (("convert", "--model", DEMO, "--output", place / "out", "--only", "3"), 3),
        (("convert", "--model", DEMO, "--output", place / "out", "--batch", "0"), 2),
        (("combine", "--monolithic", "--input", place), 3),
        (("compile", place / "none.mlpackage", place / "x.mlmodelc"), 3),
        (("generate", "--meta", place, "--ids", "1"), 3),
    )
    for words, status in cases:
        plain, asked = anelith(*words, status=status), anelith(*words, "--json", status=status)
        require(asked.stdout == "", f"{words[0]} prints {asked.stdout!r}")
        # Before the error stands what step 0 has found, free disk and memory among it.
        errors = [said.stderr.partition("error: ")[2] for said in (plain, asked)]
        require(errors[0] == errors[1] != "", f"{words[0]}: {errors}")
    return {"cases": len(cases)}


@check("json/every-command")
def every_command() -> dict:
    """All other commands that report take `--json` as well."""
    LUT4.outputs()
    bundle, package = LUT4.bundle, LUT4.package("_combined")
    few = ("--prompt", "4", "--generate", "2", "--repeats", "1")
    commands = (
        ("verify", "--model", DEMO, "--meta", LUT4.meta, "--tokens", "8"),
        ("bench", "--meta", LUT4.meta, *few),
        ("inspect", bundle),
        ("diff", package, bundle),
        ("lint", bundle),
        ("lint", "--rules"),
        ("doctor", "--model", DEMO),
    )
    for words in commands:
        document(*words, "--json")
    return {"commands": len(commands)}


@check("json/download")
def download() -> dict:
    """A plan for a model that is not here yet tells what is lacking."""
    place = fresh("json-download")
    with hub() as server:
        printed = convert_by_id(place, server.environment(place), "--dry-run", "--json", "--quiet").stdout
        found = json.loads(printed)["download"]
        sizes = {file["path"]: file["bytes"] for file in found["files"]}
        wrong = {name for name, size in sizes.items() if len(server.files[name]) != size}
    require(not wrong and "model.safetensors" in sizes, f"{ID}: {sizes}")
    require(found["bytes"] == sum(sizes.values()) and not (place / "hf").exists(), f"{found['bytes']} bytes")
    return {"files": len(sizes)}
