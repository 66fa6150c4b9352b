"""Whether the demo model still answers as it was trained to, asked through `anelith serve`: conversations that it was
not trained on, and every question of its corpus that has one right answer. `make evaluate` runs these alone."""
import json
import sys

from .demo import FP16, LUT4
from .harness import check, require
from .serving import Server
from .workspace import ROOT, Conversion

DEMO_SCRIPTS = ROOT / "oracle/demo"
sys.path.insert(0, str(DEMO_SCRIPTS))

import held_out  # noqa: E402  (the path comes first)

# The part of the questions with one right answer that 4 bits must get right.
RIGHT = 0.98
# What transformers answers with the source model; oracle/demo/record_answers.py made it.
RECORDED = DEMO_SCRIPTS / "answers.json"


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def shown(wrong: list[tuple[str, str, str]]) -> str:
    """The first few wrong answers."""
    return "; ".join(f"{question!r}: {got!r}, not {right!r}" for question, got, right in wrong[:3])


@check("corpus/lut4/conversations", LUT4)
def conversations(conversion: Conversion) -> dict:
    """The last answer of held-out conversations: exact, or for a story its opening words."""
    conversion.outputs()
    wrong, stories, opened = [], 0, 0
    asked = held_out.conversations()
    with Server(conversion.meta) as server:
        for messages in asked:
            got, right = server.ask(messages[:-1]), messages[-1]["content"]
            if held_out.is_story(right):
                stories += 1
                opened += held_out.opens_well(got)
            elif got != right:
                wrong.append((messages[-2]["content"], got, right))
    total = len(asked) - stories
    require(len(wrong) <= (1 - RIGHT) * total, f"{len(wrong)} of {total} are wrong, such as {shown(wrong)}")
    require(opened >= RIGHT * stories, f"{opened} of {stories} stories begin as stories do")
    return {"right": total - len(wrong), "of": total, "share": (total - len(wrong)) / total, "stories": f"{opened}/{stories}"}


@check("corpus/lut4/questions", LUT4)
def questions(conversion: Conversion) -> dict:
    """Every question that stands alone and has one right answer."""
    conversion.outputs()
    asked = held_out.questions()
    with Server(conversion.meta) as server:
        answers = {question: server.ask([user(question)]) for question in asked}
    wrong = [(question, answers[question], right) for question, right in asked.items() if answers[question] != right]
    require(len(wrong) <= (1 - RIGHT) * len(asked), f"{len(wrong)} of {len(asked)} are wrong, such as {shown(wrong)}")
    return {"right": len(asked) - len(wrong), "of": len(asked), "share": 1 - len(wrong) / len(asked)}


@check("corpus/fp16/transformers", FP16)
def as_the_source(conversion: Conversion) -> dict:
    """Un-palettized, every answer is that of the source model in transformers, stories included."""
    conversion.outputs()
    recorded = json.loads(RECORDED.read_text())
    asked = [(messages[:-1], answer) for messages, answer in zip(held_out.conversations(), recorded["conversations"], strict=True)]
    asked += [([user(question)], answer) for question, answer in recorded["questions"].items()]
    require(recorded["questions"].keys() == held_out.questions().keys(), f"{RECORDED.name} was recorded for other questions")
    with Server(conversion.meta) as server:
        answers = [(messages[-1]["content"], server.ask(messages), right) for messages, right in asked]
    wrong = [(question, got, right) for question, got, right in answers if got != right]
    require(not wrong, f"{len(wrong)} of {len(asked)} answers differ, such as {shown(wrong)}")
    return {"same": len(asked)}
