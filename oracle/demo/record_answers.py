#!/usr/bin/env python3
"""Records what the demo model answers in transformers, for anelith's answers to be held against.

  python record_answers.py MODEL_DIR OUT.json     (torch 2.7.0, transformers 4.52.4)

Greedy, in f32: the last answer of each held-out conversation, and the answer to every question, see held_out.py.
"""
import json
import sys

import torch
import transformers

import held_out


class Model:
    """The demo model in transformers."""

    def __init__(self, directory: str):
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(directory, torch_dtype=torch.float32).eval()
        self.end = self.tokenizer.convert_tokens_to_ids("<|im_end|>")

    def answer(self, messages: list[dict]) -> str:
        """What the model says after `messages`."""
        ids = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
        said = self.model.generate(
            ids, max_new_tokens=110, do_sample=False, eos_token_id=self.end, pad_token_id=0,
            attention_mask=torch.ones_like(ids),
        )
        return self.tokenizer.decode(said[0, ids.shape[1]:], skip_special_tokens=True)


def main(directory: str, out: str) -> None:
    model = Model(directory)
    answers = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "conversations": [model.answer(messages[:-1]) for messages in held_out.conversations()],
        "questions": {q: model.answer([{"role": "user", "content": q}]) for q in held_out.questions()},
    }
    with open(out, "w") as file:
        json.dump(answers, file, indent=1, ensure_ascii=False)
        file.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
