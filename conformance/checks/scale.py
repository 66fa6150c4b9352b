"""Real shapes: what a conversion holds in memory, and that threads change nothing."""
import json
import shutil
import subprocess

from .harness import Failure, check, require
from .workspace import ANELITH, anelith, digests, fresh, same_files

BENCH = ANELITH.parent / "anelith-bench"

# Layers and vocabulary in the shapes of Qwen3-0.6B: 47 million weights; a longer embedding
# brings 115 million more, a deeper model 94 million.
BASE, LONG, DEEP = (2, 16_000), (2, 128_000), (8, 16_000)

# What the longer one may hold beyond the base: buffers that the base does not fill, and
# the lookup tables of the embedding.
SLACK = 12 << 20

# What the programs of a layer may take while they are combined and compiled.
LAYER = 4 << 20

# What any may hold; the target for the whole of Qwen3-0.6B and Llama-3.2-1B.
LIMIT = 512 << 20


def bench(*arguments) -> str:
    """Call the tool that makes checkpoints and measures; its standard output."""
    require(BENCH.exists(), f"{BENCH} is missing: build it with `cargo build --release`")
    done = subprocess.run([str(BENCH), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"anelith-bench {' '.join(map(str, arguments))}: {done.stderr.strip()[-300:]}")
    return done.stdout


def peak(sizes: tuple[int, int], lut: str, name: str) -> int:
    """The most memory, in bytes, that the conversion of a model of these sizes has
    resident at once."""
    place = fresh(f"scale-{name}")
    model, (layers, vocabulary) = place / "model", sizes
    bench("checkpoint", "qwen3", model, "--layers", layers, "--vocab", vocabulary)
    command = (ANELITH, "convert", "--model", model, "--output", place / "out", "--until", "5", "--lut", lut)
    measured = json.loads(bench("measure", "--log", place / "log", "--", *command))
    shutil.rmtree(place)
    return measured["peak"]


def memory(lut: str) -> dict:
    """Weights take no memory; layers take that of their programs."""
    base, long, deep = (peak(sizes, lut, f"memory-{lut.replace(',', '-')}") for sizes in (BASE, LONG, DEEP))
    require(max(long, deep) < LIMIT, f"{max(long, deep)} bytes resident, expected less than {LIMIT}")
    require(long < base + SLACK, f"{long} bytes resident, without the longer embedding {base}")
    layers = DEEP[0] - BASE[0]
    require(deep < base + layers * LAYER, f"{deep} bytes resident, with {layers} layers fewer {base}")
    return {"base_mb": base / 1e6, "long_mb": long / 1e6, "deep_mb": deep / 1e6}


for LUT in ("4", "8", "none", "4,t"):
    check(f"scale/memory/{LUT}", LUT)(memory)


@check("scale/threads")
def threads() -> dict:
    """The bytes are the same with any number of threads."""
    place = fresh("scale-threads")
    bench("checkpoint", "llama", place / "model", "--layers", "1", "--vocab", "8000")
    files = 0
    for lut in ("4", "2,t", "6,16", "none"):
        made = []
        for count in (1, 2, 3, 8):
            output = place / "out"
            anelith("convert", "--model", place / "model", "--output", output, "--lut", lut, "--until", "5", "--threads", count)
            made.append(digests(output))
            shutil.rmtree(output)
        for other in made[1:]:
            same_files(made[0], other)
        files += len(made[0])
    shutil.rmtree(place)
    return {"files": files}
