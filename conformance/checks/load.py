"""`anelith serve` under many clients at a time, for five minutes or the seconds that ANELITH_LOAD_SECONDS says: every
answer is the one that a client alone gets, none is lost, and memory does not grow."""
import http.client
import json
import os
import random
import statistics
import threading
import time
from dataclasses import dataclass, field

from .clients import generated
from .corpus import held_out
from .demo import LUT4
from .harness import Failure, check, require
from .serving import Server
from .workspace import LIMIT_SECONDS

SECONDS = float(os.environ.get("ANELITH_LOAD_SECONDS", 300))
CLIENTS = 64
CONVERSATIONS = 80
# By how much resident memory may grow after the first minute, in bytes: allocators keep some pages back.
GROWTH = 4 << 20
# Which part of the requests streams, and which part of those goes away in the middle.
STREAMED, DROPPED = 0.6, 0.15

Turn = tuple[list[dict], str]


@dataclass
class Tally:
    """What the clients have seen, together."""

    answered: int = 0
    streamed: int = 0
    dropped: int = 0
    refused: int = 0
    tokens: int = 0
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, **counts: int) -> None:
        with self.lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def complain(self, words: str) -> None:
        with self.lock:
            self.wrong.append(words)


def recorded(server: Server) -> list[list[Turn]]:
    """What one client alone is answered: each conversation turn by turn, with the model's own answers between."""
    conversations = []
    for written in held_out.conversations()[:CONVERSATIONS]:
        messages, turns = [], []
        for question in written[::2]:
            messages = [*messages, question]
            answer = server.ask(messages)
            turns.append((messages, answer))
            messages = [*messages, {"role": "assistant", "content": answer}]
        conversations.append(turns)
    return conversations


class Client(threading.Thread):
    """Holds one conversation after another until `end`; some answers it streams, and from some it goes away."""

    def __init__(self, number: int, server: Server, conversations: list[list[Turn]], end: float, tally: Tally):
        super().__init__(daemon=True)
        self.rng, self.server, self.conversations, self.end, self.tally = random.Random(number), server, conversations, end, tally
        self.connection = self.connected()

    def connected(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.server.host, self.server.port, timeout=LIMIT_SECONDS)

    def run(self) -> None:
        try:
            while time.monotonic() < self.end:
                for messages, right in self.rng.choice(self.conversations):
                    self.turn(messages, right)
                # One connection for the turns of a conversation, as clients do.
                self.connection.close()
        except Exception as error:
            self.tally.complain(f"no answer: {type(error).__name__}: {error}")

    def turn(self, messages: list[dict], right: str) -> None:
        """Asks, again when it is refused, and compares."""
        is_streamed = self.rng.random() < STREAMED
        is_dropped = is_streamed and self.rng.random() < DROPPED
        began = time.monotonic()
        body = {"messages": messages, "temperature": 0, "max_tokens": 110, "model": "demo-qwen3", "stream": is_streamed}
        if is_streamed:
            body["stream_options"] = {"include_usage": True}
        answer = self.accepted(json.dumps(body))
        if is_dropped:
            answer.read(self.rng.randrange(1, 600))
            answer.close()
            self.connection.close()
            self.tally.add(dropped=1)
            return
        text, usage = (streamed if is_streamed else whole)(answer.read().decode())
        if text != right:
            self.tally.complain(f"{messages[-1]['content']!r}: {text!r}, alone {right!r}")
        self.tally.add(answered=1, streamed=int(is_streamed), tokens=usage["completion_tokens"])
        self.tally.seconds.append(time.monotonic() - began)

    def accepted(self, body: str) -> http.client.HTTPResponse:
        """The answer to a request, when there is room for it."""
        while True:
            self.connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            answer = self.connection.getresponse()
            if answer.status == 200:
                return answer
            said = answer.read()
            require(answer.status == 429, f"status {answer.status}: {said[:200]!r}")
            self.tally.add(refused=1)
            # The server gives up connections that are idle for long.
            self.connection.close()
            time.sleep(int(answer.headers["Retry-After"]) * self.rng.uniform(1, 1.2))


def whole(text: str) -> tuple[str, dict]:
    """The words and the usage of an answer in one piece."""
    body = json.loads(text)
    return body["choices"][0]["message"]["content"], body["usage"]


def streamed(text: str) -> tuple[str, dict]:
    """The same of a stream, which must be complete."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    require(bool(lines) and lines[-1] == "[DONE]", f"a stream ends with {text[-200:]!r}")
    events = [json.loads(line) for line in lines[:-1]]
    faults = [event for event in events if "error" in event]
    require(not faults, f"{faults}")
    words = [choice["delta"].get("content") or "" for event in events for choice in event["choices"]]
    return "".join(words), events[-1]["usage"]


def watched(server: Server, clients: list[Client], seconds: float) -> tuple[int, int]:
    """The server's memory after the first minute (or fifth, of a short run) and the most of the last, until all clients are
    done."""
    began, early, late = time.monotonic(), 0, []
    mark = min(60, seconds / 5)
    while any(client.is_alive() for client in clients):
        time.sleep(0.5)
        if time.monotonic() - began < mark:
            early = max(early, server.memory())
        elif time.monotonic() - began > seconds - mark:
            late.append(server.memory())
        require(server.process.poll() is None, f"the server has ended: {''.join(server.said)[-500:]}")
        require(time.monotonic() - began < seconds + LIMIT_SECONDS, "clients that wait for ever")
    return early, max(late)


@check("load/many-clients")
def many_clients() -> dict:
    """Some dozens of clients, more than there is room for."""
    LUT4.outputs()
    tally = Tally()
    with Server(LUT4.meta, "--quiet", "--model-name", "demo-qwen3") as server:
        conversations = recorded(server)
        before = server.metrics()
        end = time.monotonic() + SECONDS
        clients = [Client(number, server, conversations, end, tally) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        early, late = watched(server, clients, SECONDS)
        require(not tally.wrong, f"{len(tally.wrong)} wrong or lost of {tally.answered}: {' | '.join(tally.wrong[:3])}")
        tokens = generated(server) - before["anelith_generated_tokens_total"]
        agree(before, server.metrics(), tally, tokens)
        # Nothing of all that is left: one client alone is answered as at first.
        if recorded(server) != conversations:
            raise Failure("afterwards the answers are others")
        require(server.stop() == 0, "SIGTERM")
    require(late - early < GROWTH, f"memory has grown from {early} to {late} bytes")
    slowest = statistics.quantiles(tally.seconds, n=100)
    return {
        "clients": CLIENTS, "answers": tally.answered, "streamed": tally.streamed, "dropped": tally.dropped, "refused": tally.refused,
        "tokens_per_second": tokens / SECONDS, "median_s": slowest[49], "p99_s": slowest[98], "MiB": f"{early / 2**20:.1f}..{late / 2**20:.1f}",
    }


def agree(before: dict, after: dict, tally: Tally, tokens: float) -> None:
    """/metrics counts what the clients have counted."""
    def grown(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    def by_status(status: int) -> float:
        return grown(f'anelith_requests_total{{endpoint="chat.completions",status="{status}"}}')

    refused = (grown("anelith_rate_limited_total"), by_status(429))
    require(refused == (tally.refused, tally.refused), f"/metrics counts {refused} refusals, the clients {tally.refused}")
    require(tally.refused > 0, "no client was refused: the load is too small")
    ended, wanted = by_status(200) + by_status(499), tally.answered + tally.dropped
    require(ended == wanted, f"/metrics counts {ended} answers, the clients {wanted}, with {tally.dropped} that they left")
    require(tokens >= tally.tokens, f"/metrics counts {tokens} tokens, the clients {tally.tokens}")
