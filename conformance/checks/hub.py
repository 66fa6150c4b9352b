"""Models by their hub id, from a hub on this machine, and with the cache that
`huggingface_hub` and anelith share: what one has written the other reads."""
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .demo import ANSWER
from .harness import check, require
from .workspace import ANELITH, DEMO, LIMIT_SECONDS, anelith, digests, fresh, same_files

ID = "acme/Demo"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FOLDER = "models--acme--Demo"

# What no conversion needs, beside the files of the demo.
BESIDE = {".gitattributes": b"* text", "pytorch_model.bin": b"weights", "onnx/model.onnx": b"weights"}


def is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".onnx"))


def etag(name: str, data: bytes) -> str:
    """The name of a file's blob: SHA-256, or git's digest for small files."""
    return hashlib.sha256(data).hexdigest() if is_large(name) else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    """A hub with one model, the demo, on a port of this machine; every request is kept."""

    def __init__(self):
        self.files = {path.name: path.read_bytes() for path in DEMO.iterdir()} | BESIDE
        self.requests: list[tuple[str, str, str]] = []
        # Bytes a second of each body; None is as fast as it goes.
        self.pace: int | None = None
        # Status and code of every answer, where the hub refuses.
        self.refusal: tuple[int, str] | None = None
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hub.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        # Large files are on another host, as with the real hub: new versions of the client ask the hub's own for more.
        self.storage = f"http://localhost:{self.server.server_port}/storage"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append((handler.command, handler.path, handler.headers.get("Range", "")))
        path = unquote(urlsplit(handler.path).path)
        if self.refusal:
            return self.send(handler, self.refusal[0], b"", {"X-Error-Code": self.refusal[1]})
        if path in (f"/api/models/{ID}/revision/main", f"/api/models/{ID}/revision/{COMMIT}", f"/api/models/{ID}"):
            return self.send(handler, 200, json.dumps(self.info()).encode(), {"Content-Type": "application/json"})
        if path == f"/api/models/{ID}/tree/{COMMIT}":
            return self.send(handler, 200, json.dumps(self.tree()).encode(), {"Content-Type": "application/json"})
        if path.startswith("/storage/"):
            found = [data for name, data in self.files.items() if etag(name, data) == path.split("/")[-1]]
            return self.send(handler, 200, found[0], {"ETag": '"storage"'})
        asked = re.fullmatch(f"/{ID}/resolve/(main|{COMMIT})/(.*)", path)
        if not asked or asked[2] not in self.files:
            return self.send(handler, 404, b"", {"X-Error-Code": "EntryNotFound" if asked else "RepoNotFound", "X-Repo-Commit": COMMIT})
        data = self.files[asked[2]]
        digest = etag(asked[2], data)
        if is_large(asked[2]):
            linked = {"Location": f"{self.storage}/{digest}", "X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data))}
            return self.send(handler, 302, b"", {"X-Repo-Commit": COMMIT, **linked})
        return self.send(handler, 200, data, {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})

    def send(self, handler: BaseHTTPRequestHandler, status: int, data: bytes, headers: dict) -> None:
        begin = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", "")) if status == 200 else None
        if begin:
            first, last, whole = int(begin[1]), int(begin[2] or len(data) - 1), len(data)
            data, status = data[first : last + 1], 206
            headers = {**headers, "Content-Range": f"bytes {first}-{first + len(data) - 1}/{whole}"}
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(data)), "Accept-Ranges": "bytes", **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command == "HEAD":
            return
        piece = len(data) if self.pace is None else max(1, self.pace // 50)
        with contextlib.suppress(ConnectionError):
            for begin in range(0, len(data), max(1, piece)):
                handler.wfile.write(data[begin : begin + piece])
                if self.pace is not None:
                    time.sleep(0.02)

    def info(self) -> dict:
        def sibling(name: str) -> dict:
            data = self.files[name]
            lfs = {"lfs": {"sha256": etag(name, data), "size": len(data), "pointerSize": 134}} if is_large(name) else {}
            return {"rfilename": name, "size": len(data), "blobId": "f" * 40 if lfs else etag(name, data), **lfs}

        return {"id": ID, "modelId": ID, "sha": COMMIT, "private": False, "tags": [], "siblings": [sibling(name) for name in self.files]}

    def tree(self) -> list:
        def entry(name: str) -> dict:
            data = self.files[name]
            lfs = {"lfs": {"oid": etag(name, data), "size": len(data), "pointerSize": 134}} if is_large(name) else {}
            return {"type": "file", "path": name, "size": len(data), "oid": "f" * 40 if lfs else etag(name, data), **lfs}

        return [entry(name) for name in self.files]

    def bodies(self) -> list[str]:
        """The files whose bodies were asked for since the last call."""
        asked = [path for method, path, _ in self.requests if method == "GET" and ("/storage/" in path or "/resolve/" in path)]
        self.requests.clear()
        return asked

    def environment(self, place: Path, **more: str) -> dict[str, str]:
        """What makes a program ask this hub and keep what it gets below `place`."""
        return {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(place / "hf"), "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1,localhost", **more}


@contextlib.contextmanager
def hub():
    hub = Hub()
    try:
        yield hub
    finally:
        hub.server.shutdown()


def python(program: str, environment: dict[str, str]) -> str:
    """What a program prints in which `huggingface_hub` is at hand."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    command = [sys.executable, "-c", "from huggingface_hub import *\n" + program]
    done = subprocess.run(command, env={**known, **environment}, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    require(done.returncode == 0, f"huggingface_hub: {done.stderr[-500:]}")
    return done.stdout


def convert(place: Path, environment: dict[str, str], *more: str, status: int = 0) -> subprocess.CompletedProcess:
    return anelith("convert", "--model", ID, "--output", place / "out", *more, cwd=place, status=status, environment=environment)


def layout(place: Path) -> dict[str, str]:
    """What lies in the model's directory of the cache: links with their targets, files with their digests."""
    root = place / "hf/hub" / FOLDER
    paths = sorted(path for path in root.rglob("*") if path.is_symlink() or path.is_file())
    return {str(p.relative_to(root)): os.readlink(p) if p.is_symlink() else hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


@check("hub/converted")
def converted() -> dict:
    """A hub id gives what a directory gives, under the name ORG-NAME; only what is needed
    is downloaded; a plan that needs a download says so and writes nothing."""
    place = fresh("hub-converted")
    with hub() as server:
        environment = server.environment(place)
        plan = convert(place, environment, "--dry-run").stdout
        require("model.safetensors" in plan and server.endpoint in plan, plan[-300:])
        require(not (place / "hf").exists() and not (place / "out").exists(), "a plan has written something")
        require(ANSWER in convert(place, environment).stdout, "no answer")
        bodies = server.bodies()
        require(not any(name in path for name in BESIDE for path in bodies), f"more than needed was asked for: {bodies}")
    anelith("convert", "--model", DEMO, "--output", place / "directory")
    (place / "out/meta.yaml").write_text((place / "out/meta.yaml").read_text().replace("acme-Demo", "demo-qwen3"))
    files = digests(place / "out", hidden=False)
    same_files(digests(place / "directory", hidden=False), files)
    return {"requests": len(bodies), "files": len(files)}


@check("hub/ours-for-python")
def ours_for_python() -> dict:
    """`huggingface_hub` finds what anelith has downloaded, and downloads none of it again."""
    place = fresh("hub-ours-for-python")
    with hub() as server:
        environment = server.environment(place)
        convert(place, environment, "--only", "1")
        ours = layout(place)
        names = [name.split("/")[-1] for name in ours if name.startswith("snapshots/")]
        server.requests.clear()
        program = f"for name in {names!r}: print(hf_hub_download({ID!r}, name))\nprint(snapshot_download({ID!r}, allow_patterns={names!r}))"
        said = python(program, environment).split()
        require(server.bodies() == [], "files were downloaded again")
        require(layout(place) == {**layout(place), **ours}, "what was there has changed")
    offline = python(program, server.environment(place, HF_HUB_OFFLINE="1")).split()
    snapshot = str(place / "hf/hub" / FOLDER / "snapshots" / COMMIT)
    require(said == offline == [*(f"{snapshot}/{name}" for name in names), snapshot], f"{said[-1]} {offline[-1]}")
    scanned = python("for repo in scan_cache_dir().repos: print(repo.repo_id, repo.nb_files, [r.refs for r in repo.revisions])", environment)
    require(f"{ID} {len(names)} [frozenset({{'main'}})]" in scanned, scanned)
    return {"files": len(names), "version": python("import huggingface_hub; print(huggingface_hub.__version__)", environment).strip()}


@check("hub/python-for-ours")
def python_for_ours() -> dict:
    """What `huggingface_hub` has downloaded is converted: offline, and online without
    another download; and both lay out the same files in the same way."""
    place, other = fresh("hub-python-for-ours"), fresh("hub-python-for-ours-other")
    with hub() as server:
        environment = server.environment(place)
        python(f"snapshot_download({ID!r})", environment)
        theirs = layout(place)
        server.requests.clear()
        convert(place, server.environment(place, HF_HUB_OFFLINE="1"), "--only", "1")
        require(server.requests == [], "offline, the hub was asked")
        convert(place, environment, "--only", "1")
        require(server.bodies() == [], "files were downloaded again")
        convert(other, server.environment(other), "--only", "1")
    ours = layout(other)
    differ = [name for name, what in ours.items() if not name.startswith(".no_exist") and theirs.get(name) != what]
    require(not differ, f"laid out otherwise: {differ}")
    return {"theirs": len(theirs), "ours": len(ours)}


@check("hub/interrupted")
def interrupted() -> dict:
    """Ctrl-C leaves the beginning of a file; the same command goes on with it."""
    place = fresh("hub-interrupted")
    with hub() as server:
        server.pace = 400_000
        environment = server.environment(place)
        command = [str(ANELITH), "convert", "--model", ID, "--output", str(place / "out"), "--only", "1"]
        process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)
        weights = place / "hf/hub" / FOLDER / "blobs" / (etag("model.safetensors", server.files["model.safetensors"]) + ".incomplete")
        deadline = time.monotonic() + 60
        while not (weights.exists() and weights.stat().st_size > 200_000):
            require(time.monotonic() < deadline and process.poll() is None, "no weights came")
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=LIMIT_SECONDS)[1]
        require(process.returncode == 130 and "error: interrupted" in said, f"{process.returncode}: {said[-300:]}")
        left = weights.stat().st_size
        others = [path.name for path in weights.parent.iterdir() if path.name.endswith(".incomplete") and path != weights]
        require(not others, f"left: {others}")
        server.pace = None
        server.requests.clear()
        convert(place, environment, "--only", "1")
        ranges = [asked for _, path, asked in server.requests if "/storage/" in path]
        require(ranges == [f"bytes={left}-"] and not weights.exists(), f"{left} bytes were left, asked for {ranges}")
    return {"left": left}


@check("hub/shared-lock")
def shared_lock() -> dict:
    """While `huggingface_hub` holds a file's lock, anelith waits for it."""
    place = fresh("hub-shared-lock")
    with hub() as server:
        environment = server.environment(place)
        digest = etag("model.safetensors", server.files["model.safetensors"])
        lock = place / "hf/hub/.locks" / FOLDER / f"{digest}.lock"
        lock.parent.mkdir(parents=True)
        program = f"from huggingface_hub.utils import WeakFileLock\nimport sys\nwith WeakFileLock({str(lock)!r}):\n    print('held', flush=True)\n    sys.stdin.read()"
        holder = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        require(holder.stdout.readline() == "held\n", "the lock is not held")
        command = [str(ANELITH), "convert", "--model", ID, "--output", str(place / "out"), "--only", "1"]
        process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)
        said = ""
        while "another process downloads model.safetensors" not in said:
            line = process.stderr.readline()
            require(line != "", f"it did not wait: {said[-300:]}")
            said += line
        require(not any("/storage/" in path for _, path, _ in server.requests), "it did not wait")
        holder.communicate("")
        process.communicate(timeout=LIMIT_SECONDS)
        require(process.returncode == 0, f"ended with status {process.returncode}")
    return {}


@check("hub/refused")
def refused() -> dict:
    """What a hub refuses is an error of the input, in words that help."""
    place = fresh("hub-refused")
    with hub() as server:
        cases = [(401, "GatedRepo", "terms"), (401, "RepoNotFound", "HF_TOKEN"), (403, "", "HF_TOKEN"), (404, "RevisionNotFound", "--revision"), (404, "RepoNotFound", "check the id")]
        for status, code, word in cases:
            server.refusal = (status, code)
            said = convert(place, server.environment(place), status=3).stderr
            require(word in said and f"HTTP status {status}" in said, said[-400:])
        del server.files["model.safetensors"]
        server.refusal = None
        server.requests.clear()
        said = convert(place, server.environment(place), status=3).stderr
        require("pytorch_model.bin" in said and server.bodies() == [], said[-400:])
    require(not (place / "out").exists() and not (place / "hf").exists(), "something was written")
    return {"cases": len(cases) + 1}
