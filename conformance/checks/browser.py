"""The page of `anelith serve` in a real browser: Chromium, which playwright-core drives and axe-core looks at. What a
person does stands in conformance/clients/browser.mjs."""
import shutil
from pathlib import Path

from .clients import node
from .demo import LUT4
from .harness import check
from .serving import Server
from .workspace import DEMO, anelith, fresh

KEY = "the-right-key"


def verified() -> Path:
    """A conversion with what `anelith verify` says of it, which the page shows."""
    place = fresh("browser-verified") / "model"
    shutil.copytree(LUT4.directory, place)
    (place / "verify.json").write_text(anelith("verify", "--model", DEMO, "--meta", place, "--json").stdout)
    return place


def scenario(name: str) -> dict:
    """One visit, or some, to a server of its own."""
    LUT4.outputs()
    environment = {"ANELITH_API_KEY": KEY} if name == "key" else {}
    with Server(verified() if name == "answers" else LUT4.meta, environment=environment) as server:
        return node("browser.mjs", name, server.url, environment={"KEY": KEY})


for _name in ("answers", "stops", "remembers", "settings", "keyboard", "appearance", "text", "accessibility", "troubles", "key"):
    check(f"browser/{_name}", _name)(scenario)
