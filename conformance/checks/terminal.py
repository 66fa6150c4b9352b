"""`anelith chat` as a person meets it: in a terminal of its own, typed at key by
key and read from the screen."""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import termios
import time
from pathlib import Path

from .demo import ANSWER, LUT4
from .harness import Failure, check, require
from .workspace import ANELITH, DEMO, Conversion, fresh

# What the keys send.
ENTER, TAB, UP, CTRL_C, CTRL_D = "\r", "\t", "\x1b[A", "\x03", "\x04"
PASTE = ("\x1b[200~", "\x1b[201~")

# Written whenever the program begins to read a line, and when it has one.
READING, READ = "\x1b[?2004h", "\x1b[?2004l"
DIM = "\x1b[2m"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

# Whose answers can be long.
LONG = Conversion("demo-long", DEMO, "qwen", ("--context", "1024"))

# Any token may come then, and the end of an answer seldom does: with this seed there are more than 500. Exact numbers on
# one thread take some seconds for them.
RAMBLING = ("--temperature", "100", "--seed", "6", "--precision", "exact", "--threads", "1")

# However busy the machine is.
LIMIT_SECONDS = 120


class Terminal:
    """A terminal of 100 columns with `anelith chat` in it."""

    def __init__(self, *options: str, state: Path, model: Conversion = LUT4, output: Path | None = None, environment: dict[str, str] | None = None):
        variables = {**os.environ, "TERM": "xterm-256color", "XDG_STATE_HOME": str(state), **(environment or {})}
        command = [str(ANELITH), "chat", "--meta", str(model.meta), *options]
        self.process, self.screen = pty.fork()
        if self.process == 0:
            if output:
                os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), 1)
            os.execve(command[0], command, variables)
        fcntl.ioctl(self.screen, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.modes = termios.tcgetattr(self.screen)
        # All that was written, and how much of it has been waited for.
        self.written, self.seen = "", 0
        self.bytes = b""
        self.wait(READING)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self.screen)

    def read(self, seconds: float) -> bool:
        """Take what is written within this time; whether anything may still come."""
        ready, _, _ = select.select([self.screen], [], [], seconds)
        if not ready:
            return True
        try:
            more = os.read(self.screen, 65536)
        except OSError:  # the other end is closed
            return False
        self.bytes += more
        self.written = self.bytes.decode(errors="ignore")
        return bool(more)

    def wait(self, text: str) -> str:
        """Wait until `text` is written, and return what came until its end, as it reads."""
        limit = time.monotonic() + LIMIT_SECONDS
        while (at := self.written.find(text, self.seen)) < 0:
            if not self.read(1) or time.monotonic() > limit:
                raise Failure(f"{text!r} was not written, but {self.written[self.seen:][-300:]!r}")
        passed, self.seen = self.written[self.seen : at + len(text)], at + len(text)
        return ESCAPES.sub("", passed).replace("\r", "")

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.screen, keys.encode())

    def ask(self, line: str) -> str:
        """Type a line, and return all that is written until the next can be typed."""
        self.type(line + ENTER)
        return self.wait(READING)

    def begin(self, line: str) -> None:
        """Type a line, and wait until its answer comes."""
        self.type(line + ENTER)
        self.wait(READ)
        before = len(self.bytes)
        while len(self.bytes) < before + 20:
            require(self.read(LIMIT_SECONDS), "no answer came")

    def end(self, expected: int) -> None:
        """Wait for the end of the program."""
        limit = time.monotonic() + LIMIT_SECONDS
        while self.read(1):
            require(time.monotonic() < limit, f"chat does not end; it wrote {self.written[-300:]!r}")
        _, status = os.waitpid(self.process, 0)
        require(os.waitstatus_to_exitcode(status) == expected, f"chat ended with {os.waitstatus_to_exitcode(status)}: {self.written[-300:]!r}")


def terminal(name: str, *options: str, model: Conversion = LUT4, **more) -> Terminal:
    """A conversation with the demo, whose history is of this check alone."""
    model.outputs()
    return Terminal(*options, state=fresh(f"terminal-{name}"), model=model, **more)


def says(found: str, *expected: str) -> None:
    """Fail unless all of `expected` is in what was written."""
    for text in expected:
        require(text in found, f"{text!r} is not in {found!r}")


@check("terminal/remembers")
def remembers() -> dict:
    """A conversation knows what was said, runs only what is new, and forgets when told to."""
    with terminal("remembers") as chat:
        says(chat.ask("My name is Ana."), "Ana")
        found = chat.ask("What is my name?")
        says(found, "Your name is Ana.", "tokens/s", "of 512 tokens in the context")
        reused = int(re.search(r"(\d+) re-used", found).group(1))
        require(reused > 15, f"{reused} tokens were re-used: {found!r}")
        says(chat.ask("/stats"), "of 512 tokens in the cache", f"{reused} were re-used", "memory")
        says(chat.ask("/retry"), "Your name is Ana.")
        chat.ask("/reset")
        require("Ana" not in chat.ask("What is my name?"), "it still knows the name")
        chat.type(CTRL_D)
        chat.end(0)
    return {"reused": reused}


@check("terminal/stops")
def stops() -> dict:
    """Ctrl-C stops an answer as it comes, and the program goes on; the answer is kept as far as it came."""
    with terminal("stops", *RAMBLING, model=LONG) as chat:
        chat.begin("Tell me a story.")
        chat.type(CTRL_C)
        says(chat.wait("[stopped; /retry answers again]"), "^C")
        chat.wait(READING)
        says(chat.ask("/stats"), "it was stopped", "temperature 100", "seed 6")
        path = fresh("terminal-stops-saved") / "stopped.json"
        chat.ask(f"/save {path}")
        question, answer = json.loads(path.read_text())["messages"]
        require(question["content"] == "Tell me a story." and answer["content"], f"kept {question} {answer}")
        chat.ask("/set temperature 0")
        chat.ask("/reset")
        # The prompt alone takes a while.
        chat.type("word " * 450 + ENTER)
        chat.wait(READ)
        chat.type(CTRL_C)
        says(chat.wait(READING), "[stopped before it began")
        says(chat.ask("Who are you?"), ANSWER)
        chat.type("/quit" + ENTER)
        chat.end(0)
    return {"kept": len(answer["content"])}


@check("terminal/prompt")
def prompt() -> dict:
    """At the prompt Ctrl-C clears the line, and twice says how to leave; commands are completed, and unknown ones listed."""
    instructions = fresh("terminal-prompt-system") / "system.txt"
    instructions.write_text("Be brief.\n")
    with terminal("prompt") as chat:
        chat.type("Who are" + CTRL_C)
        chat.wait(READING)
        chat.type(CTRL_C)
        says(chat.wait(READING), "Ctrl-D", "/quit")
        says(chat.ask("Who are you?"), ANSWER)
        chat.type("/he" + TAB + ENTER)
        says(chat.wait(READING), "/save FILE", "/retry")
        says(chat.ask("/nonsense"), "error: there is no such command", "/reset, /system", "//")
        says(chat.ask("/set temperature hot"), "error: ", "a number")
        says(chat.ask("/set top_k 5"), "no effect")
        says(chat.ask("/system Be kind."), "begins anew")
        says(chat.ask("/system"), "Be kind.")
        says(chat.ask(f"/system @{instructions}"), "begins anew")
        says(chat.ask("/system"), "Be brief.")
        says(chat.ask("/system @nowhere.txt"), "error: cannot read the instructions", "/system @nowhere.txt")
        says(chat.ask("/system @/dev/zero"), "error: cannot read the instructions", "not a file")
        says(chat.ask("/system"), "Be brief.")
        says(chat.ask(ENTER), "> ")
        chat.type(CTRL_D)
        chat.end(0)
    return {}


@check("terminal/messages")
def messages() -> dict:
    """Messages of several lines: pasted, with a backslash, between quotes; and what begins with a slash."""
    path = fresh("terminal-messages-saved") / "saved.json"
    with terminal("messages") as chat:
        chat.type(PASTE[0] + "one\n\ttwo\\\nthree" + PASTE[1] + ENTER)
        chat.wait(READING)
        chat.ask("four\\")
        chat.ask("five")
        chat.ask('"""')
        chat.ask("/reset")
        chat.ask('six"""')
        chat.ask("//reset")
        chat.ask(f"/save {path}")
        chat.type(CTRL_D)
        chat.end(0)
    asked = [message["content"] for message in json.loads(path.read_text())["messages"] if message["role"] == "user"]
    expected = ["one\n\ttwo\\\nthree", "four\nfive", "/reset\nsix", "/reset"]
    require(asked == expected, f"asked {asked}")
    return {"messages": len(asked)}


@check("terminal/ahead")
def ahead() -> dict:
    """Lines that come all at once, as from a terminal that does not say what is pasted, are read one after the other."""
    with terminal("ahead") as chat:
        chat.type("My name is Ana." + ENTER + "What is my name?" + ENTER + "Who are you?" + ENTER)
        for answer in ("Ana", "Your name is Ana.", ANSWER):
            says(chat.wait(READING), answer)
        chat.type(CTRL_D)
        chat.end(0)
    return {}


@check("terminal/history")
def history() -> dict:
    """The arrow recalls what was typed, in the next conversation too, from a file that only its owner reads."""
    LUT4.outputs()
    state = fresh("terminal-history")
    kept = state / "anelith/history"
    with Terminal(state=state) as chat:
        says(chat.ask("Who are you?"), ANSWER)
        says(chat.ask(UP), ANSWER)
        chat.type(CTRL_D)
        chat.end(0)
    require(kept.stat().st_mode & 0o777 == 0o600, f"its mode is {kept.stat().st_mode:o}")
    with Terminal(state=state) as chat:
        says(chat.ask(UP), ANSWER)
        chat.type(CTRL_D)
        chat.end(0)
    kept.unlink()
    with Terminal("--no-save-history", state=state) as chat:
        chat.ask("Who are you?")
        says(chat.ask(UP), ANSWER)
        chat.type(CTRL_D)
        chat.end(0)
    require(not kept.exists(), "the history was kept all the same")
    # A file is in the place of the directory.
    with Terminal(state=Path(LUT4.meta)) as chat:
        says(chat.ask("Who are you?"), ANSWER)
        chat.type(CTRL_D)
        chat.end(0)
    return {}


@check("terminal/saves")
def saves() -> dict:
    """A conversation goes on from a file; a wrong file leaves it as it is."""
    place = fresh("terminal-saves-files")
    path, wrong = place / "ana.json", place / "wrong.json"
    with terminal("saves") as chat:
        chat.ask("My name is Ana.")
        says(chat.ask(f"/save {path}"), "2 messages")
        chat.type(CTRL_D)
        chat.end(0)
    saved = json.loads(path.read_text())["messages"]
    require([message["role"] for message in saved] == ["user", "assistant"], f"saved {saved}")
    wrong.write_text('{"messages": [{"role": "assistant", "content": "x"}]}')
    with terminal("saves") as chat:
        says(chat.ask(f"/load {path}"), "2 messages")
        says(chat.ask(f"/load {wrong}"), "error: ", "message 1", "expected: user")
        says(chat.ask(f"/load {place / 'none.json'}"), "error: cannot read the conversation")
        says(chat.ask("What is my name?"), "Your name is Ana.")
        says(chat.ask(f"/save {LUT4.meta}"), "error: there is something else")
        chat.type(CTRL_D)
        chat.end(0)
    return {"messages": len(saved)}


@check("terminal/forgets")
def forgets() -> dict:
    """Where every question stands alone, nothing is remembered, saved or loaded; a question can be asked again."""
    with terminal("forgets", "--no-memory") as chat:
        says(chat.ask("My name is Ana."), "Ana")
        require("Ana" not in chat.ask("What is my name?"), "it knows the name")
        says(chat.ask("/save x.json"), "error: ", "--no-memory")
        says(chat.ask("/load x.json"), "error: ", "--no-memory")
        chat.ask("Who are you?")
        says(chat.ask("/retry"), ANSWER)
        chat.type(CTRL_D)
        chat.end(0)
    return {}


@check("terminal/elsewhere")
def elsewhere() -> dict:
    """Answers that go to a file are there as they are, and neither prompt nor figures are."""
    place = fresh("terminal-elsewhere-file")
    with terminal("elsewhere", output=place / "answers.txt") as chat:
        chat.ask("Who are you?")
        chat.ask("/help")
        chat.type(CTRL_D)
        chat.end(0)
    found = (place / "answers.txt").read_text()
    require(found == ANSWER + "\n", f"the file has {found!r}")
    return {}


@check("terminal/ends")
def ends() -> dict:
    """A request to terminate ends the program, and the terminal is as it was before."""
    for when in ("at the prompt", "in an answer"):
        with terminal("ends", *RAMBLING, model=LONG) as chat:
            if when == "in an answer":
                chat.begin("Tell me a story.")
            os.kill(chat.process, signal.SIGTERM)
            chat.wait("error: interrupted")
            require(termios.tcgetattr(chat.screen) == chat.modes, f"the terminal has other modes after a request {when}")
            chat.end(130)
    return {}


def thoughtful() -> Conversion:
    """The demo with a template that opens the thoughts, so that all that it says is some."""
    model = Conversion("terminal-thoughtful", DEMO, "qwen", ())
    LUT4.outputs()
    shutil.copytree(LUT4.directory, fresh(model.name), dirs_exist_ok=True)
    with (model.directory / "chat_template.jinja").open("a") as template:
        template.write("{{- '<think>\\n' }}")
    return model


@check("terminal/colors")
def colors() -> dict:
    """Thoughts are dim, but where no color is wanted; figures come unless nothing is to be said."""
    model = thoughtful()
    for options, environment, has_colors in ([], {}, True), (["--quiet"], {"NO_COLOR": "1"}, False):
        with Terminal(*options, state=fresh("terminal-colors"), model=model, environment=environment) as chat:
            found = chat.ask("Who are you?")
            chat.type(CTRL_D)
            chat.end(0)
            require((DIM in chat.written) == has_colors, f"with {environment} wrote {chat.written!r}")
            require(("tokens/s" in found) != bool(options), f"with {options} wrote {found!r}")
    return {}
