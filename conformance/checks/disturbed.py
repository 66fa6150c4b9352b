"""The pipeline cut short: by a kill, by a signal, by a disk that is full. The same
command afterwards leaves the bytes of an undisturbed run, and nothing else."""
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from .harness import Failure, check, require
from .pipeline import LIMIT_SECONDS, LOCK, RECORD, SEED, finish, larger, same_as, start, undisturbed, wait_for
from .workspace import ANELITH, DEMO, ROOT, digests, fresh, same_files

# The kills of one check, at random moments of the run they disturb.
KILLS = 40

# The signals of the other, and how many must come before the run has ended.
SIGNALS, CAUGHT = 20, 5


def killed_at_random(model: Path, options: tuple, label: str) -> dict:
    """`KILLS` times: a run, or the one that takes it up, ends by SIGKILL at a random
    moment. After up to four kills in a row the same command ends in the same bytes."""
    moments = random.Random(SEED)
    whole = fresh(f"pipeline-killed-{label}") / "whole"
    began = time.monotonic()
    # Random weights have no answer to give; step 6 fails on the larger model, after all else is done.
    status, said = finish(start(model, whole, *options))
    lasts = time.monotonic() - began
    kills = completed = rounds = 0
    stages: dict[str, int] = {}
    while kills < KILLS:
        rounds += 1
        output = whole.parent / f"round-{rounds}"
        for _ in range(moments.randint(1, 4)):
            process = start(model, output, *options)
            time.sleep(moments.uniform(0, lasts))
            process.kill()
            ended, said = finish(process)
            if ended != -signal.SIGKILL:
                completed += 1
                continue
            kills += 1
            steps = [line.split(":")[0] for line in said.splitlines() if line.startswith("step ")]
            stages[steps[-1] if steps else "before"] = stages.get(steps[-1] if steps else "before", 0) + 1
        ended, said = finish(start(model, output, *options))
        require(ended == status, f"round {rounds} ended with status {ended}, undisturbed {status}: {said[-300:]!r}")
        try:
            files = same_as(whole, output)
        except Failure as failure:
            raise Failure(f"round {rounds}, seed {SEED}: {failure}") from failure
        shutil.rmtree(output)
    hit = ", ".join(f"{step} {count}" for step, count in sorted(stages.items()))
    return {"kills": kills, "rounds": rounds, "seconds": lasts, "files": files, "in": repr(hit)}


@check("pipeline/killed/demo")
def killed_demo() -> dict:
    return killed_at_random(DEMO, (), "demo")


@check("pipeline/killed/larger")
def killed_larger() -> dict:
    return killed_at_random(larger("killed"), ("--lut", "6"), "larger")


@check("pipeline/killed/restart")
def killed_restart() -> dict:
    """The same where every run replaces outputs that are there."""
    return killed_at_random(DEMO, ("--restart", "1"), "restart")


@check("pipeline/killed/only-5")
def killed_describing() -> dict:
    """The same for the step that writes many files, alone in its directory."""
    return killed_at_random(DEMO, ("--only", "5"), "only-5")


def is_caught(ended: tuple[int, str], undisturbed_status: int, whole: Path, output: Path) -> bool:
    """Whether a run that got a signal was interrupted, with nothing left of what was
    under way; otherwise it must have ended as the undisturbed one did."""
    status, said = ended
    if "error: interrupted" not in said:
        require(status == undisturbed_status, f"neither interrupted nor as undisturbed: status {status}: {said[-300:]!r}")
        same_as(whole, output)
        return False
    require(status == 130, f"ended with status {status}: {said[-300:]!r}")
    require(said.count("error: ") == 1, f"more than one error: {said[-300:]!r}")
    left = [str(path) for path in output.rglob(".*") if path.name not in (RECORD, LOCK)] if output.exists() else []
    require(not left, f"left behind: {left}")
    return True


@check("pipeline/interrupted")
def interrupted() -> dict:
    """SIGINT and SIGTERM: status 130, no trace of what was under way, and the same
    command completes the work; or, too late, the end of an undisturbed run."""
    moments = random.Random(SEED)
    model = larger("interrupted")
    whole = fresh("pipeline-interrupted") / "whole"
    began = time.monotonic()
    # 8 bits for whole tensors: the longest stretch of work that a run has.
    options = ("--lut", "8,tensor")
    status, _ = finish(start(model, whole, *options))
    lasts, slowest, caught = time.monotonic() - began, 0.0, 0
    for attempt in range(SIGNALS):
        output = whole.parent / f"attempt-{attempt}"
        process = start(model, output, *options)
        # Before that the process may not have come to handle signals.
        wait_for(lambda: (output / LOCK).exists())
        time.sleep(moments.uniform(0, lasts))
        sent = time.monotonic()
        process.send_signal((signal.SIGINT, signal.SIGTERM)[attempt % 2])
        if is_caught(finish(process), status, whole, output):
            slowest, caught = max(slowest, time.monotonic() - sent), caught + 1
        if attempt % 5 == 0:
            again, said = finish(start(model, output, *options))
            require(again == status, f"afterwards status {again}, undisturbed {status}: {said[-300:]!r}")
            same_as(whole, output)
        shutil.rmtree(output, ignore_errors=True)
    require(caught >= CAUGHT, f"only {caught} of {SIGNALS} signals came in time")
    return {"signals": caught, "slowest_s": slowest}


# Disks that are full.


# Mounts a file system at $2 and fills it up to $1 kilobytes, converts into it, copies
# what is there to $3.after, frees the space, converts again, and copies the outcome to
# $3.tree. All of it in mounts of its own, which end with the script.
FULL_DISK = """
mount -t tmpfs -o size=8192k,mode=0777 tmpfs "$2" || exit 99
dd if=/dev/zero of="$2/filler" bs=1024 count=$((8192 - $1)) 2>/dev/null || exit 98
place=$2 result=$3; shift 3
"$@" >/dev/null 2>"$result.stderr"; echo $? >"$result.status"
cp -a "$place" "$result.after" || exit 97
rm "$place/filler" "$result.after/filler"
"$@" >/dev/null 2>"$result.again"; echo $? >"$result.status2"
cp -a "$place" "$result.tree" || exit 96
"""


def with_small_disk(script: str, *arguments) -> None:
    """Run a shell script that mounts, as the superuser or as one in a namespace."""
    namespace = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    command = [*namespace, "sh", "-c", script, "sh", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    require(done.returncode == 0, f"a small disk needs root, or `unshare -rm`: {done.returncode} {done.stderr[-300:]!r}")


def whole_outputs(reference: Path, directory: Path) -> None:
    """Every output in `directory` is the one of `reference`: what is there is complete."""
    for path in directory.iterdir():
        require(".partial" not in path.name and ".old" not in path.name, f"left behind: {path.name}")
        if path.is_dir():
            same_files(digests(reference / path.name), digests(path))
        elif path.name not in (RECORD, LOCK):
            require(path.read_bytes() == (reference / path.name).read_bytes(), f"{path.name} is not whole")


@check("pipeline/disk-full")
def disk_full() -> dict:
    """A real disk of many sizes, so that it is full at many files: status 1, the file
    by name, whole outputs or none, and with room the same command succeeds."""
    hit: dict[str, int] = {}
    fitted = 0
    for size in (8, 40, *range(100, 2700, 100)):
        place = fresh("pipeline-disk") / "disk"
        place.mkdir()
        result = place.parent / "result"
        output = place / "out"
        with_small_disk(FULL_DISK, size, place, result, ANELITH, "convert", "--model", DEMO, "--output", output, "--skip-check")
        read_back = lambda suffix: Path(f"{result}.{suffix}").read_text()
        said, status = read_back("stderr"), int(read_back("status"))
        after = Path(f"{result}.after") / "out"
        if status == 0:
            fitted += 1
        else:
            require(status == 1 and said.count("error: ") == 1, f"{size} kB: status {status}: {said[-300:]!r}")
            where = [line.split(": ", 1)[1] for line in said.splitlines() if line.startswith("  where: ")]
            require(bool(where) and where[0].startswith(str(output)), f"{size} kB: names no file: {said[-300:]!r}")
            require("free some space" in said, f"{size} kB: no mend line: {said[-300:]!r}")
            name = Path(where[0]).name
            hit[name] = hit.get(name, 0) + 1
            if after.exists():
                whole_outputs(undisturbed(), after)
        require(int(read_back("status2")) == 0, f"{size} kB, with room: {read_back('again')[-300:]!r}")
        same_as(undisturbed(), Path(f"{result}.tree") / "out")
    require(len(hit) >= 4 and fitted > 0, f"the sizes are too much alike: full at {hit}, {fitted} fitted")
    return {"full_at": repr(", ".join(sorted(hit))), "runs": sum(hit.values())}


# The same with outputs of another run in place, which must stay.
FULL_ABOVE_OUTPUTS = """
mount -t tmpfs -o size=$1k,mode=0777 tmpfs "$2" || exit 99
place=$2 result=$3; shift 3
cp -a "$1"/. "$place/out"; shift
"$@" --restart 1 --lut 8 >/dev/null 2>"$result.stderr"; echo $? >"$result.status"
cp -a "$place" "$result.after" || exit 98
"$@" >/dev/null 2>"$result.again"; echo $? >"$result.status2"
"""


@check("pipeline/disk-full-above-outputs")
def disk_full_above_outputs() -> dict:
    """A rebuild for which there is no room leaves the outputs that were there, and
    with the old options all of them are up to date."""
    place = fresh("pipeline-disk-above") / "disk"
    place.mkdir()
    result = place.parent / "result"
    command = (ANELITH, "convert", "--model", DEMO, "--output", place / "out", "--skip-check")
    with_small_disk(FULL_ABOVE_OUTPUTS, 2600, place, result, undisturbed(), *command)
    read_back = lambda suffix: Path(f"{result}.{suffix}").read_text()
    said = read_back("stderr")
    require(int(read_back("status")) == 1 and "weight.bin" in said, f"status {read_back('status')}: {said[-300:]!r}")
    same_as(undisturbed(), Path(f"{result}.after") / "out")
    again = read_back("again")
    require(int(read_back("status2")) == 0 and again.count("  up to date: ") == 5, f"{again[-300:]!r}")
    return {"outputs": 5}


# Step 0 on a disk that is too small for any model.
NO_ROOM = """
mount -t tmpfs -o size=1m,mode=0777 tmpfs "$1" || exit 99
result=$2; shift 2
"$@" >/dev/null 2>"$result.stderr"; echo $? >"$result.status"
ls -A "$(dirname "$result")/disk" >"$result.after"
"""


@check("pipeline/no-room")
def no_room() -> dict:
    """Step 0 says so before anything is written."""
    place = fresh("pipeline-no-room") / "disk"
    place.mkdir()
    result = place.parent / "result"
    with_small_disk(NO_ROOM, place, result, ANELITH, "convert", "--model", DEMO, "--output", place / "out")
    said = Path(f"{result}.stderr").read_text()
    require(Path(f"{result}.status").read_text().strip() == "1", f"status: {said[-300:]!r}")
    words = ("error: the disk has no room", "expected: ", "found: ", "to mend: free some space")
    require(all(word in said for word in words), f"{said[-300:]!r}")
    require(Path(f"{result}.after").read_text() == "", "something was written")
    return {"status": 1}
