#!/usr/bin/env python3
"""Records what transformers leaves to sample from, for `chat/sampling.rs` to be held against.

  python record_sampling.py OUT.json     (torch 2.7.0, transformers 4.52.4)

For rows of logits and settings drawn from a seed: the processors that `generate` would use, in its order, and the
probabilities of the tokens that they leave.
"""
import json
import random
import sys

import torch
import transformers
from transformers import GenerationConfig
from transformers.generation import GenerationMixin, LogitsProcessorList

SEED, CASES, TOKENS = 20, 60, 24

# Each with what turns it off.
DECKS = {
    "repetition_penalty": [1.0, 1.0, 1.3, 0.7],
    "temperature": [1.0, 0.6, 0.1, 1.7],
    "top_k": [0, 1, 3, 10, 50],
    "top_p": [1.0, 0.95, 0.5, 0.05],
    "min_p": [0.0, 0.0, 0.05, 0.3, 1.0],
}


def processors(settings: dict) -> LogitsProcessorList:
    """Those of `generate` with these settings."""
    given = {**settings, "top_k": settings["top_k"] or None, "min_p": settings["min_p"] or None}
    config = GenerationConfig(do_sample=True, eos_token_id=None, pad_token_id=None, **given)
    # `generate` puts it there.
    config._eos_token_tensor = None
    mixin = GenerationMixin()
    return mixin._get_logits_processor(config, input_ids_seq_length=1, encoder_input_ids=None, prefix_allowed_tokens_fn=None, logits_processor=LogitsProcessorList())


def case(rng: random.Random) -> dict:
    """One row of logits, what was said before, settings, and what is left."""
    settings = {name: rng.choice(deck) for name, deck in DECKS.items()}
    # Steps of 1/64 are numbers of f32. None are equal: which of those top-p leaves is not defined.
    logits = [step / 64 for step in rng.sample(range(-400, 400), TOKENS)]
    prompt = [rng.randrange(TOKENS) for _ in range(rng.choice([1, 4, 12]))]
    left = processors(settings)(torch.tensor([prompt]), torch.tensor([logits]))[0]
    probabilities = torch.softmax(left.double(), -1).tolist()
    return {"logits": logits, "prompt": prompt, **settings, "left": {str(i): p for i, p in enumerate(probabilities) if p > 0}}


def main(out: str) -> None:
    rng = random.Random(SEED)
    recorded = {"torch": torch.__version__, "transformers": transformers.__version__, "cases": [case(rng) for _ in range(CASES)]}
    with open(out, "w") as file:
        json.dump(recorded, file)
        file.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
