"""The five reference checkpoints: structure by coremltools, numbers by the judge.

Their weights are random, so step 6 has nothing to ask them; steps 1 to 5 run,
each alone."""
import contextlib
import io
import shutil
from pathlib import Path

from .demo import generated
from .harness import check, require
from .oracles import accepts_bundle, accepts_package, judge
from .workspace import CHECKPOINTS, OUT, Conversion, digest

SIZES = ("--context", "256", "--batch", "32")
PREFIXES = {"qwen3": "qwen", "qwen3-tied": "qwen", "qwen2.5": "qwen25", "llama": "llama", "llama-plain": "llama"}

# kl_mean that optimal tables give (4 bits, groups of 8), measured independently.
OPTIMAL_KL = {"qwen3": 0.0216, "qwen3-tied": 0.0190, "qwen2.5": 0.0436, "llama": 0.0534, "llama-plain": 0.0559}
KL_SLACK = 0.10

# kl_mean un-palettized: executed in f32, and rounding to fp16 as the program says.
KL_F32, KL_FP16 = 1e-6, 1e-5
FP16_LIMITS = ((("--prefill", "--tokens", "96"), KL_F32, "kl_f32"), (("--prefill", "--tokens", "96", "--fp16"), KL_FP16, "kl_fp16"))


def conversion(model: str, lut: str) -> Conversion:
    """Steps 1 to 5 of one checkpoint at one `--lut`."""
    return Conversion(f"{model}-{lut}", CHECKPOINTS / model, PREFIXES[model], ("--lut", lut, *SIZES), (1, 2, 3, 4, 5))


def structure(model: str, lut: str) -> dict:
    """coremltools accepts the three packages, the bundle is what Apple's compiler
    would write, and all four carry the same weight.bin."""
    made = conversion(model, lut)
    made.outputs()
    accepts_package(made.package())
    accepts_package(made.package("_prefill"), unreferenced=True)
    report = accepts_package(made.package("_combined"))
    accepts_bundle(made.package("_combined"), made.bundle)
    packages = [made.package(suffix) / "Data/com.apple.CoreML" for suffix in ("", "_prefill", "_combined")]
    weights = [place / "weights/weight.bin" for place in (*packages, made.bundle)]
    require(len({digest(path) for path in weights}) == 1, "the packages and the bundle differ in weight.bin")
    return {"types_checked": report["outputs_type_checked"], "weight_bytes": weights[0].stat().st_size}


def within_limits(model: Path, expected: Path) -> dict:
    """The judge's figures for un-palettized weights, held to the two limits."""
    figures = {}
    for options, limit, name in FP16_LIMITS:
        judged = judge(model, expected, *options)
        figures[name] = judged["kl_mean"]
        require(judged["kl_mean"] <= limit, f"{name} {judged['kl_mean']:.3g} is above {limit:g}")
        require(judged["same_top"] == 1.0, f"{name}: the top token is the same at {judged['same_top']:.3f} of the positions")
    return figures


def judged(model: str) -> dict:
    """The un-palettized bundle computes what transformers computes."""
    made = conversion(model, "none")
    made.outputs()
    return within_limits(made.bundle, CHECKPOINTS / model / "expected.npz")


def greedy(model: str) -> dict:
    """Our own runtime, in f32, generates the recorded ids."""
    import numpy

    made = conversion(model, "none")
    made.outputs()
    expected = numpy.load(CHECKPOINTS / model / "expected.npz")
    recorded = expected["greedy"].tolist()
    got = generated(made, expected["greedy_prompt"].tolist(), len(recorded))
    require(got == recorded, f"generated {got}, recorded {recorded}")
    return {"ids": len(got)}


def multifunction(model: str) -> dict:
    """coremltools combines the packages of steps 1 and 2 into one that computes
    the same."""
    made = conversion(model, "none")
    made.outputs()
    target = OUT / f"{model}-multifunction.mlpackage"
    shutil.rmtree(target, ignore_errors=True)
    combine_with_coremltools(made.package(), made.package("_prefill"), target)
    expected = CHECKPOINTS / model / "expected.npz"
    figures = within_limits(target, expected)
    ours = within_limits(made.bundle, expected)
    for name, value in figures.items():
        difference = abs(value - ours[name])
        require(difference <= 1e-3 * ours[name] + 1e-12, f"{name} is {value:.6g}, of our own bundle {ours[name]:.6g}")
    return figures


def combine_with_coremltools(infer: Path, prefill: Path, target: Path) -> None:
    """coremltools.utils.save_multifunction, without its progress bars."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        import coremltools

        functions = coremltools.utils.MultiFunctionDescriptor()
        functions.add_function(str(infer), src_function_name="main", target_function_name="infer")
        functions.add_function(str(prefill), src_function_name="main", target_function_name="prefill")
        functions.default_function_name = "infer"
        coremltools.utils.save_multifunction(functions, str(target))


def palettized(model: str) -> dict:
    """At 4 bits the loss is what optimal tables give."""
    made = conversion(model, "4")
    made.outputs()
    figures = judge(made.bundle, CHECKPOINTS / model / "expected.npz", "--tokens", "40")
    got, want = figures["kl_mean"], OPTIMAL_KL[model]
    require(abs(got - want) <= KL_SLACK * want, f"kl_mean {got:.4f}, optimal tables give {want:.4f} ± {KL_SLACK:.0%}")
    return {"kl_mean": got, "optimal": want}


for _model in PREFIXES:
    check(f"reference/{_model}/none/structure", _model, "none")(structure)
    check(f"reference/{_model}/none/judge", _model)(judged)
    check(f"reference/{_model}/none/greedy", _model)(greedy)
    check(f"reference/{_model}/none/multifunction", _model)(multifunction)
    check(f"reference/{_model}/lut4/structure", _model, "4")(structure)
    check(f"reference/{_model}/lut4/judge", _model)(palettized)
