"""`anelith serve` as a process, and plain HTTP to it."""
import functools
import http.client
import json
import os
import re
import signal
import subprocess
import threading
from pathlib import Path

from .harness import Failure, require
from .workspace import ANELITH, LIMIT_SECONDS, ROOT


class Server:
    """A server on a free port of this machine, for as long as the `with` lasts.

    What it says on standard error is kept in `said`."""

    def __init__(self, meta: Path, *options, environment: dict[str, str] | None = None):
        command = [ANELITH, "serve", "--meta", meta, "--port", "0", *options]
        self.process = subprocess.Popen(
            list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **(environment or {})},
        )
        self.said: list[str] = []
        threading.Thread(target=lambda: self.said.extend(self.process.stderr), daemon=True).start()
        line = self.process.stdout.readline()
        found = re.search(r"http://([\d.]+):(\d+)", line)
        if not found:
            self.process.wait(LIMIT_SECONDS)
            raise Failure(f"the server did not start: {line!r} {''.join(self.said)[-500:]}")
        self.url, self.host, self.port = found[0], found[1], int(found[2])

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        panicked = [line for line in self.said if "panicked" in line]
        require(not panicked, f"the server panicked: {' | '.join(panicked)}")

    def stop(self) -> int:
        """Ask it to end, and wait for that; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_SECONDS)

    @functools.cached_property
    def model(self) -> str:
        """The id of the model that it serves."""
        return self.json("GET", "/v1/models")["data"][0]["id"]

    def memory(self) -> int:
        """Its resident memory, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])

    def call(self, method: str, path: str, body: dict | bytes | None = None, headers: dict[str, str] | None = None):
        """One request: the status, the headers and the body of the answer."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=LIMIT_SECONDS)
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        kind = {"Content-Type": "application/json"} if data is not None else {}
        try:
            connection.request(method, path, data, {**kind, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def json(self, method: str, path: str, body: dict | None = None, status: int = 200) -> dict:
        """One request whose answer is JSON, with this status."""
        found, _, text = self.call(method, path, body)
        require(found == status, f"{method} {path} answered {found}, expected {status}: {text[:300]!r}")
        return json.loads(text)

    def ask(self, messages: list[dict], **options) -> str:
        """The greedy answer to `messages`."""
        body = {"model": self.model, "messages": messages, "temperature": 0, "max_tokens": 110, **options}
        return self.json("POST", "/v1/chat/completions", body)["choices"][0]["message"]["content"]

    def metrics(self) -> dict[str, float]:
        """The numbers of /metrics, by name and labels as they stand there."""
        status, _, text = self.call("GET", "/metrics")
        require(status == 200, f"/metrics answered {status}")
        lines = [line.rsplit(" ", 1) for line in text.decode().splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, value in lines}
