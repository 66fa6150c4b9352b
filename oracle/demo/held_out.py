"""What the demo model is asked to find out whether it still answers as trained: conversations that it was not trained
on, and every question of the corpus that has one right answer and stands alone."""
import random

import make_corpus as corpus

# Training used seed 1, and evaluate.py reports on seed 2.
SEED, COUNT = 3, 500


def conversations() -> list[list[dict]]:
    """Conversations as make_corpus.py writes them; the last message of each is the answer."""
    rng = random.Random(SEED)
    return [corpus.conversation(rng) for _ in range(COUNT)]


def is_story(answer: str) -> bool:
    """Whether `answer` is a story, of which there are many for one question."""
    return answer.startswith("Once upon")


def opens_well(answer: str) -> bool:
    """Whether `answer` begins as all stories of the corpus do."""
    return answer.startswith("Once upon a time there was a")


def questions() -> dict[str, str]:
    """Every question that `make_corpus.single` can ask but for stories, each with its answer.

    The generator itself is asked, until it has had nothing new to say for long: there are some 320 questions, and the
    rarest comes once in 2000."""
    rng, found, since = random.Random(SEED), {}, 0
    while since < 50_000:
        question, answer = corpus.single(rng)
        since = since + 1 if question in found or is_story(answer) else 0
        if not is_story(answer):
            found[question] = answer
    return dict(sorted(found.items()))
