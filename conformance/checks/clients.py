"""`anelith serve` as the `openai` packages of Python and JavaScript see it, which no one here wrote. The one of Python
checks the form of every answer strictly."""
import concurrent.futures
import contextlib
import json
import math
import os
import subprocess
import time

import openai

from .demo import ANSWER, LUT4, QUESTION, RIGHT
from .harness import Failure, check, require
from .serving import Server
from .workspace import LIMIT_SECONDS, ROOT

# What npm has installed, and the programs that use it.
NODE_PACKAGES = ROOT / "target/client-node"
NODE_PROGRAMS = ROOT / "conformance/clients"

# Both ids that end an answer, so that it goes on until it may not.
ENDLESS = {"0": -100, "2": -100}
# One thread and exact arithmetic: some 500 tokens a second, slow enough to be interrupted.
SLOW = ("--precision", "exact", "--threads", "1")


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def client(server: Server, key: str = "any", retries: int = 0, strict: bool = True) -> openai.OpenAI:
    """The package's client of `server`; it does not try again of itself, unless told."""
    return openai.OpenAI(
        base_url=f"{server.url}/v1", api_key=key, max_retries=retries, timeout=LIMIT_SECONDS, _strict_response_validation=strict
    )


@contextlib.contextmanager
def serving(*options, environment: dict[str, str] | None = None, key: str = "any", retries: int = 0):
    """A server of the demo model, a client of it, and the model's name."""
    LUT4.outputs()
    with Server(LUT4.meta, *options, environment=environment) as server, client(server, key, retries) as asking:
        yield server, asking, server_model(asking)


def server_model(asking: openai.OpenAI) -> str:
    """The id of the only model, or nothing where the key is wrong."""
    try:
        return next(iter(asking.models.list())).id
    except openai.AuthenticationError:
        return "unknown"


def expect(kind: type[openai.APIError], act, code: str | None = None) -> openai.APIError:
    """What `act` raises: an error of this kind, with this code."""
    try:
        act()
    except openai.APIError as error:
        require(type(error) is kind, f"raised {error!r}, expected {kind.__name__}")
        require(code is None or error.code == code, f"the code is {error.code!r}, expected {code!r}: {error}")
        return error
    raise Failure(f"nothing was raised, expected {kind.__name__}")


@check("clients/python/models")
def models() -> dict:
    """The list has the one model; it can be retrieved; another is not found."""
    with serving() as (_, asking, model):
        found = list(asking.models.list())
        require([one.object for one in found] == ["model"], f"models: {found}")
        require(asking.models.retrieve(model).id == model, "another model was retrieved")
        expect(openai.NotFoundError, lambda: asking.models.retrieve("gpt-4o"), "model_not_found")
        return {"model": model}


@check("clients/python/chat")
def chat() -> dict:
    """Whole answers: texts, reasons, and numbers of tokens; a prefix that was asked before is not run again."""
    with serving() as (_, asking, model):
        first = asking.chat.completions.create(model=model, messages=user("Who are you?"), temperature=0)
        choice = first.choices[0]
        require((choice.message.content, choice.message.role, choice.finish_reason) == (ANSWER, "assistant", "stop"), f"{choice}")
        require(first.object == "chat.completion" and first.model == model and first.id and first.created > 1_700_000_000, f"{first}")
        said = [{"role": "assistant", "content": ANSWER}, *user(QUESTION)]
        second = asking.chat.completions.create(model=model, messages=user("Who are you?") + said, temperature=0)
        require(second.choices[0].message.content == RIGHT, f"answered {second.choices[0].message.content!r}")
        for usage in (first.usage, second.usage):
            require(usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, f"usage: {usage}")
        cached = second.usage.prompt_tokens_details.cached_tokens
        require(cached >= first.usage.prompt_tokens, f"{cached} of {second.usage.prompt_tokens} tokens came from the cache")
        cut = asking.chat.completions.create(model=model, messages=user("Who are you?"), max_completion_tokens=2, temperature=0)
        require((cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 2), f"{cut}")
        parts = [{"role": "user", "content": [{"type": "text", "text": "Who are"}, {"type": "text", "text": " you?"}]}]
        require(asking.chat.completions.create(model=model, messages=parts, temperature=0).choices[0].message.content == ANSWER, "parts of text")
        return {"cached": cached, "prompt": second.usage.prompt_tokens}


@check("clients/python/turns")
def turns() -> dict:
    """Two conversations that take turns: each knows its own name, and runs only what is new of it."""
    with serving() as (_, asking, model):
        said = {name: user(f"My name is {name}.") for name in ("Ana", "Ben")}
        before, cached = dict.fromkeys(said, 0), []
        for question in ("What is my name?", "Who are you?", None):
            for name, messages in said.items():
                answer = asking.chat.completions.create(model=model, messages=messages, temperature=0)
                text, usage = answer.choices[0].message.content, answer.usage
                require(messages[-1]["content"] == "Who are you?" or name in text, f"{name} was answered {text!r}")
                reused = usage.prompt_tokens_details.cached_tokens
                require(reused >= before[name], f"{reused} tokens were re-used, the prompt before had {before[name]}")
                before[name] = usage.prompt_tokens
                cached.append(reused)
                messages += [{"role": "assistant", "content": text}, *(user(question) if question else [])]
        return {"cached": cached}


@check("clients/python/stream")
def stream() -> dict:
    """Streams give the text of the whole answer, in pieces; usage comes last, where it is asked for, and only there."""
    with serving() as (_, asking, model):
        wanted = {"model": model, "messages": user("Count to 15."), "temperature": 0}
        whole = asking.chat.completions.create(**wanted)
        pieces = list(asking.chat.completions.create(**wanted, stream=True))
        require(all(piece.usage is None for piece in pieces), "usage that nobody has asked for")
        require(pieces[0].choices[0].delta.role == "assistant", f"begins with {pieces[0]}")
        require(pieces[-1].choices[0].finish_reason == "stop", f"ends with {pieces[-1]}")
        text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
        require(text == whole.choices[0].message.content, f"streamed {text!r}, whole it is {whole.choices[0].message.content!r}")
        require(len({piece.id for piece in pieces}) == 1 and len(pieces) > 10, f"{len(pieces)} pieces")
        *pieces, last = asking.chat.completions.create(**wanted, stream=True, stream_options={"include_usage": True})
        require(all(piece.usage is None for piece in pieces) and last.choices == [], f"ends with {last}")
        require(last.usage.completion_tokens == whole.usage.completion_tokens, f"usage: {last.usage}, {whole.usage}")
        with asking.chat.completions.stream(**wanted) as events:
            require(events.get_final_completion().choices[0].message.content == text, "the accumulated answer differs")
        return {"pieces": len(pieces)}


@check("clients/python/stop")
def stops() -> dict:
    """An answer ends before a stop string, wherever it lies in the tokens, streamed or not."""
    with serving() as (_, asking, model):
        whole = asking.chat.completions.create(model=model, messages=user(QUESTION), temperature=0).choices[0].message.content
        count = 0
        for length in (1, 2, 5):
            for start in range(0, len(whole) - length + 1):
                stop = whole[start : start + length]
                wanted = {"model": model, "messages": user(QUESTION), "temperature": 0, "stop": [stop, "never said"]}
                answer = asking.chat.completions.create(**wanted).choices[0]
                text = "".join(piece.choices[0].delta.content or "" for piece in asking.chat.completions.create(**wanted, stream=True))
                right = whole[: whole.index(stop)]
                require((answer.message.content, text) == (right, right), f"stop {stop!r}: {answer.message.content!r}, streamed {text!r}, not {right!r}")
                require(answer.finish_reason == "stop", f"stop {stop!r}: {answer.finish_reason}")
                count += 1
        return {"stops": count}


@check("clients/python/seed")
def seeds() -> dict:
    """The same seed gives the same answer, another seed another; temperature 0 needs none."""
    with serving() as (_, asking, model):
        def ask(**how) -> str:
            wanted = {"model": model, "messages": user("Tell me a story about a fox."), **how}
            return asking.chat.completions.create(**wanted).choices[0].message.content

        seeded = [ask(temperature=1, seed=seed) for seed in (1, 2, 3, 1, 2, 3)]
        require(seeded[:3] == seeded[3:] and len(set(seeded)) > 1, f"{seeded}")
        require(len({ask(temperature=0) for _ in range(3)}) == 1, "greedy answers differ")
        require(len({ask(temperature=1) for _ in range(5)}) > 1, "without a seed all answers are the same")
        # The smallest nucleus is the likeliest token alone.
        require(ask(temperature=1, top_p=0.0001) == ask(temperature=0) == ask(temperature=1, extra_body={"top_k": 1}), "top_p, top_k")
        return {"answers": len(set(seeded))}


@check("clients/python/logprobs")
def logprobs() -> dict:
    """Probabilities of each token: the likeliest first, at most 1 in sum, and the bytes are those of the answer."""
    with serving() as (_, asking, model):
        wanted = {"model": model, "messages": user(QUESTION), "temperature": 0, "logprobs": True, "top_logprobs": 5}
        choice = asking.chat.completions.create(**wanted).choices[0]
        tokens = choice.logprobs.content
        said = b"".join(bytes(token.bytes) for token in tokens).decode()
        require(said == RIGHT, f"the tokens say {said!r}")
        for token in tokens:
            tops = [top.logprob for top in token.top_logprobs]
            require(len(tops) == 5 and tops == sorted(tops, reverse=True), f"{token}")
            require(sum(map(math.exp, tops)) <= 1 + 1e-5, f"{token} adds up to {sum(map(math.exp, tops))}")
            require((token.token, token.logprob) == (token.top_logprobs[0].token, tops[0]), f"greedy, but not the likeliest: {token}")
        pieces = [piece.choices[0].logprobs for piece in asking.chat.completions.create(**wanted, stream=True)]
        streamed = [token for piece in pieces if piece for token in piece.content]
        require(streamed == tokens, "streamed, they differ")
        return {"tokens": len(tokens)}


IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}
# What is wrong with each request, the error's class, its code (where it has one) and the field that it names.
WRONG = {
    "no messages": ({"messages": []}, openai.BadRequestError, None, "messages"),
    "another role": ({"messages": [{"role": "judge", "content": "x"}]}, openai.BadRequestError, None, "messages[0].role"),
    "an image": ({"messages": [{"role": "user", "content": [IMAGE]}]}, openai.BadRequestError, None, "messages[0].content[0]"),
    "too warm": ({"temperature": 3}, openai.BadRequestError, None, "temperature"),
    "words for a number": ({"max_tokens": "ten"}, openai.BadRequestError, None, "max_tokens"),
    "two answers": ({"n": 2}, openai.BadRequestError, None, "n"),
    "five stops": ({"stop": list("abcde")}, openai.BadRequestError, None, "stop"),
    "tools": ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError, None, "tools"),
    "JSON": ({"response_format": {"type": "json_object"}}, openai.BadRequestError, None, "response_format"),
    "a long prompt": ({"messages": user("word " * 2000)}, openai.BadRequestError, "context_length_exceeded", "messages"),
    "another model": ({"model": "gpt-4o"}, openai.NotFoundError, "model_not_found", "model"),
}


@check("clients/python/errors")
def errors() -> dict:
    """Wrong requests raise the package's own classes, and name what is wrong; the server goes on."""
    with serving() as (_, asking, model):
        for label, (wrong, kind, code, field) in WRONG.items():
            for streamed in (False, True):
                wanted = {"model": model, "messages": user(QUESTION), "temperature": 0, "stream": streamed, **wrong}
                error = expect(kind, lambda: asking.chat.completions.create(**wanted), code)
                require(error.param == field, f"{label}: names {error.param!r}, expected {field!r}: {error}")
        require(asking.chat.completions.create(model=model, messages=user(QUESTION), temperature=0).choices[0].message.content == RIGHT, "afterwards")
        return {"wrong": len(WRONG)}


@check("clients/python/key")
def keys() -> dict:
    """Without the right key nothing is answered; with it all is."""
    environment = {"ANELITH_API_KEY": "the-right-key"}
    with serving(environment=environment, key="another") as (server, asking, _):
        expect(openai.AuthenticationError, lambda: asking.chat.completions.create(model="any", messages=user("Hi!")), "invalid_api_key")
        with client(server, "the-right-key") as right:
            model = server_model(right)
            require(right.chat.completions.create(model=model, messages=user(QUESTION), temperature=0).choices[0].message.content == RIGHT, "the right key")
        require(server.stop() == 0, "SIGTERM")
        require(not any("the-right-key" in line for line in server.said), "the key stands in the log")
        return {}


@check("clients/python/busy")
def busy() -> dict:
    """More than the queue takes is refused with `RateLimitError`, and the package's own retries get everyone an answer."""
    with serving("--slots", "1", "--queue", "1", *SLOW) as (server, asking, model):
        wanted = {"model": model, "messages": user("Count to 15."), "temperature": 0}
        right = asking.chat.completions.create(**wanted).choices[0].message.content

        def once(_) -> bool:
            try:
                return asking.chat.completions.create(**wanted).choices[0].message.content == right
            except openai.RateLimitError as error:
                require(int(error.response.headers["retry-after"]) >= 1, f"{error.response.headers}")
                return False

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answered = sum(pool.map(once, range(16)))
            require(0 < answered < 16, f"{answered} of 16 at once were answered")
            counted = server.metrics()["anelith_rate_limited_total"]
            require(counted == 16 - answered, f"{16 - answered} were refused, and /metrics counts {counted}")
            patient = asking.with_options(max_retries=50)
            texts = list(pool.map(lambda _: patient.chat.completions.create(**wanted).choices[0].message.content, range(16)))
        require(texts == [right] * 16, "an answer of the patient is wrong")
        return {"refused": 16 - answered, "retried": int(server.metrics()["anelith_rate_limited_total"] - counted)}


@check("clients/python/completions")
def completions() -> dict:
    """The older endpoint: a text, texts, ids; echo, stop, probabilities, streams."""
    prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    with serving() as (server, asking, model), client(server, strict=False) as lenient:
        def ask(asking=asking, **how):
            return asking.completions.create(**{"model": model, "prompt": prompt, "temperature": 0, "max_tokens": 60, **how})

        found = ask()
        require(found.choices[0].text.strip() == RIGHT and found.choices[0].finish_reason == "stop", f"{found}")
        text = found.choices[0].text
        # The package's own type does not know that pieces before the last have no reason to end.
        require("".join(piece.choices[0].text for piece in ask(lenient, stream=True)) == text, "streamed, it differs")
        require(ask(echo=True).choices[0].text.endswith(text), "echo")
        require(ask(stop=" Japan").choices[0].text == text[: text.index(" Japan")], "stop")
        two = ask(prompt=[prompt, "Once upon"])
        require([choice.index for choice in two.choices] == [0, 1] and two.choices[0].text == text, f"{two}")
        ids = ask(prompt=[1, 2, 3], max_tokens=4)
        require(ids.usage.prompt_tokens == 3 and ids.usage.completion_tokens <= 4, f"{ids.usage}")
        told = ask(logprobs=2).choices[0].logprobs
        require(len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs) == len(told.text_offset), f"{told}")
        require("".join(told.tokens) == text, f"the tokens say {told.tokens}")
        require(ask(max_tokens=None).usage.completion_tokens <= 16, "more tokens than OpenAI's default")
        return {"tokens": len(told.tokens)}


def generated(server: Server) -> float:
    """Tokens of answers so far, when no answer is under way any more."""
    end = time.monotonic() + 60
    while (metrics := server.metrics())["anelith_slots_busy"] + metrics["anelith_queue_length"] > 0:
        require(time.monotonic() < end, "a minute later an answer is still under way")
        time.sleep(0.02)
    return metrics["anelith_generated_tokens_total"]


@check("clients/python/disconnect")
def disconnects() -> dict:
    """Who goes away in mid-stream, or before an answer is there, stops the work."""
    with serving("--slots", "1", *SLOW) as (server, asking, model):
        wanted = {"model": model, "messages": user("Who are you?"), "temperature": 0, "logit_bias": ENDLESS}
        whole = asking.chat.completions.create(**wanted)
        require(whole.choices[0].finish_reason == "length", f"ends by itself: {whole.choices[0].finish_reason}")
        before = generated(server)
        answer = asking.chat.completions.create(**wanted, stream=True)
        next(answer)
        answer.close()
        streamed = generated(server) - before
        impatient = asking.with_options(timeout=0.05)
        expect(openai.APITimeoutError, lambda: impatient.chat.completions.create(**wanted))
        unread = generated(server) - before - streamed
        everything = whole.usage.completion_tokens
        require(max(streamed, unread) < everything / 2, f"{streamed} and {unread} of {everything} tokens were made for nobody")
        counted = server.metrics()["anelith_disconnects_total"]
        require(counted == 2, f"/metrics counts {counted} who went away, not 2")
        return {"streamed": int(streamed), "unread": int(unread), "whole": everything}


def node(program: str, scenario: str, *arguments, environment: dict[str, str] | None = None) -> dict:
    """The figures that a scenario of a program in conformance/clients prints; its failure is this check's."""
    command = ["node", str(NODE_PROGRAMS / program), scenario, *map(str, arguments)]
    variables = {**os.environ, "CLIENT_NODE": str(NODE_PACKAGES), **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, env=variables)
    require(done.returncode == 0, f"{scenario}: {done.stderr.strip()[:1500]}")
    return json.loads(done.stdout.splitlines()[-1])


def javascript(scenario: str) -> dict:
    """A scenario of openai.mjs against a server of its own."""
    LUT4.outputs()
    options = ("--slots", "1", "--queue", "1", *SLOW) if scenario in ("busy", "disconnect") else ()
    environment = {"ANELITH_API_KEY": "the-right-key"} if scenario == "key" else {}
    with Server(LUT4.meta, *options, environment=environment) as server:
        return node("openai.mjs", scenario, server.url)


for _scenario in ("models", "chat", "stream", "stop", "seed", "logprobs", "errors", "key", "busy", "completions", "disconnect"):
    check(f"clients/javascript/{_scenario}", _scenario)(javascript)
