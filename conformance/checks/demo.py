"""The demo model and stories260K: from a checkpoint to the answer it was trained
to give, and the same bytes however the work is divided."""
import json

from .harness import check, require
from .workspace import DEMO, SHARED, Conversion, anelith, digests, fresh, same_files

ANSWER = "I am Pebble, a tiny language model that lives in a single file."
QUESTION, RIGHT = "What is the capital of Japan?", "The capital of Japan is Tokyo."

LUT4 = Conversion("demo-lut4", DEMO, "qwen", ())
FP16 = Conversion("demo-fp16", DEMO, "qwen", ("--lut", "none"))
AGAIN = Conversion("demo-again", DEMO, "qwen", ("--lut", "4"))
STEPWISE = Conversion("demo-stepwise", DEMO, "qwen", ("--lut", "4"), (1, 2, 3, 4, 5))
STORIES = Conversion(
    "stories260k", SHARED / "data/stories260K", "llama", ("--lut", "none", "--context", "512"), (1, 2, 3, 4, 5)
)


@check("demo/answer-lut4", LUT4)
@check("demo/answer-fp16", FP16)
def answers(conversion: Conversion) -> dict:
    """All six steps succeed and step 6 prints the answer."""
    require(ANSWER in conversion.outputs(), f"stdout lacks {ANSWER!r}")
    return {"answer": repr(ANSWER)}


@check("demo/chat-lut4", LUT4)
@check("demo/chat-fp16", FP16)
def chats(conversion: Conversion) -> dict:
    """`anelith chat` answers another question from the files on disk."""
    conversion.outputs()
    done = anelith("chat", "--meta", conversion.meta, "--prompt", QUESTION)
    require(RIGHT in done.stdout, f"answered {done.stdout.strip()!r}, expected {RIGHT!r}")
    return {"answer": repr(RIGHT)}


@check("demo/two-runs")
def two_runs() -> dict:
    """Two runs with the same options leave the same bytes in every file."""
    LUT4.outputs()
    AGAIN.outputs()
    one, other = digests(LUT4.directory), digests(AGAIN.directory)
    same_files(one, other)
    return {"files": len(one)}


@check("demo/steps-alone")
def steps_alone() -> dict:
    """Every step run alone, in a process of its own, writes what the whole run
    writes. Hidden files are records for the tool itself."""
    LUT4.outputs()
    STEPWISE.outputs()
    one, other = digests(LUT4.directory, hidden=False), digests(STEPWISE.directory, hidden=False)
    same_files(one, other)
    return {"files": len(one)}


@check("demo/parts")
def parts() -> dict:
    """`part`, `combine` and `compile` write what steps 1 to 4 write."""
    LUT4.outputs()
    place = fresh("demo-parts")
    sizes = ("--lut", "4", "--context-length", "512", "--batch-size", "64")
    for part in ("monolithic", "monolithic_prefill"):
        anelith("part", "--part", part, *sizes, "--model", DEMO, "--output", place)
    there = ("--lut", "4", "--prefix", "qwen", "--input", place, "--output", place)
    anelith("combine", "--monolithic", *there)
    anelith("compile", "monolithic", *there)
    for path in (LUT4.package(), LUT4.package("_prefill"), LUT4.package("_combined"), LUT4.bundle):
        same_files(digests(path), digests(place / path.name))
    return {"outputs": 4}


@check("stories/greedy")
def stories() -> dict:
    """stories260K, un-palettized, continues the start token with the recorded
    200 ids, through the compiled bundle in f32."""
    STORIES.outputs()
    prompt = json.loads((SHARED / "data/stories260K/reference.json").read_text())["prompts"][0]
    start, recorded = prompt["input_ids"], prompt["greedy_ids"]
    got = start + generated(STORIES, start, len(recorded) - len(start))
    agreeing = next((i for i, (a, b) in enumerate(zip(got, recorded)) if a != b), min(len(got), len(recorded)))
    require(got == recorded, f"the first {agreeing} of {len(recorded)} ids agree ({len(got)} generated)")
    return {"ids": len(got)}


def generated(conversion: Conversion, prompt: list[int], count: int) -> list[int]:
    """`count` greedy ids after `prompt`, from the compiled bundle in f32."""
    ids = ",".join(map(str, prompt))
    done = anelith("generate", "--meta", conversion.meta, "--ids", ids, "--max-tokens", count, "--f32", "--no-stop")
    return [int(word) for word in done.stdout.split()]
