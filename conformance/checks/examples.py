"""What docs/serve.md shows: every command of curl and every program of Python and JavaScript in it, as it stands there, against
a server that was started as it says there. Only the address is another."""
import re
import shlex
import subprocess
import sys

from .clients import NODE_PACKAGES
from .demo import LUT4
from .harness import check, require
from .serving import Server
from .workspace import LIMIT_SECONDS, ROOT, fresh

GUIDE = ROOT / "docs/serve.md"
ADDRESS = re.compile(r"http://(?:127\.0\.0\.1|localhost):8080")
# How the examples call the model.
MODEL = "NAME"


def blocks(language: str) -> list[str]:
    """The examples in a language; those for a shell have none."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The commands of curl in the examples for a shell; lines that end in `\\`, or within quotes, go on."""
    found = []
    for block in blocks(""):
        command = ""
        for line in block.splitlines():
            command += line + "\n"
            if not line.endswith("\\") and is_closed(command):
                found.append(command.strip())
                command = ""
    return [command for command in found if command.startswith("curl")]


def is_closed(command: str) -> bool:
    """Whether no quote is open at the end."""
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True


def run(command: list[str]) -> str:
    """What a program prints that ends well."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    require(done.returncode == 0, f"{command[-1][:300]!r} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def shown(text: str, server: Server) -> str:
    """An example, with the address of `server`."""
    return ADDRESS.sub(server.url, text)


def serving() -> Server:
    """The server of the examples."""
    LUT4.outputs()
    return Server(LUT4.meta, "--model-name", MODEL)


@check("clients/examples/curl")
def curl() -> dict:
    """Each command is answered, and not with an error."""
    found = commands()
    require(len(found) >= 3, f"{GUIDE.name} has {len(found)} commands of curl")
    with serving() as server:
        for command in found:
            said = run(["bash", "-c", shown(command, server)])
            require(bool(said.strip()) and '"error"' not in said, f"{command!r} is answered {said[:300]!r}")
    return {"commands": len(found)}


@check("clients/examples/python")
def python() -> dict:
    """Each program prints something."""
    found = blocks("python")
    require(bool(found), f"{GUIDE.name} has no program in Python")
    with serving() as server:
        for program in found:
            require(bool(run([sys.executable, "-c", shown(program, server)]).strip()), f"{program!r} prints nothing")
    return {"programs": len(found)}


@check("clients/examples/javascript")
def javascript() -> dict:
    """Each program prints something."""
    found = [*blocks("javascript"), *blocks("js")]
    require(bool(found), f"{GUIDE.name} has no program in JavaScript")
    place = fresh("examples-javascript")
    # Modules are looked for beside the program.
    (place / "node_modules").symlink_to(NODE_PACKAGES / "node_modules")
    with serving() as server:
        for number, program in enumerate(found):
            path = place / f"example-{number}.mjs"
            path.write_text(shown(program, server))
            require(bool(run(["node", str(path)]).strip()), f"{program!r} prints nothing")
    return {"programs": len(found)}
