"""Writes the figures as docs/correctness.md: the same figures, the same text."""
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from .configs import FAMILIES
from .families import Result
from .figures import LIMIT
from .lossless import Lossless
from .named import MODELS
from .options import ARGMAX, BITS, CHECKPOINTS, GROUPS, OVERRIDES, Cost
from .positions import Place
from .refusals import Refusal
from .words import Word

HEAD = """# Correctness: every family, field and option against transformers

Written by `{command}`; do not edit. Made with {versions}.
Figures are mean KL divergences in nats of the converted model's logits from those
that transformers computes in f32, teacher-forced, over all positions. Their last
digit may differ from machine to machine.

The checkpoints are random, drawn from seed {seed}. transformers gets the weights as
fp16 holds them, because that is what a Core ML package stores; f16
checkpoints lose nothing by that. bf16 ones lose nothing in values of 2^-17 and more; smaller
ones are rounded to multiples of 2^-24, and vanish at 2^-25 and below. f32 ones lose what lies beyond
11 significant bits. None of this rounding is counted in the figures.
Every package is run in two ways, token by token through `infer` and in batches through
`prefill` first, and the worse counts; {executors}; in f32 and with
every value rounded to fp16 as the program says. A mean KL divergence above {f32:g} in f32
or {fp16:g} with fp16 rounding fails the run.
"""

TWO_EXECUTORS = """by anelith's own runtime (the package) and, apart
from it, by the executor `milref` of `../shared/oracle` (the compiled bundle)"""
ONE_EXECUTOR = """by anelith's own runtime alone: **this run had no `../shared`,
so no second executor confirms the figures, and what needs its files was not measured**"""

VERIFY_MARK = "<!-- written by `conformance/verify-table`"


@dataclass
class Figures:
    """What a run has found."""

    results: list[Result]
    models: list[Result]
    places: list[Place]
    refusals: list[Refusal]
    lossless: list[Lossless]
    words: list[Word]
    costs: list[Cost]


def figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1e}" if value else "0"


def table(head: list[str], rows: list[list]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(c).replace("|", "\\|") for c in row) + " |" for row in lines) + "\n"


def worst(results: list, precision: str, executor: str | None = None) -> float | None:
    found = [
        kl for r in results for (who, how), kl in r.kl.items() if how == precision and executor in (None, who)
    ]
    return max(found, default=None)


def write(about: dict, found: Figures) -> str:
    """The whole text. `about` holds command, versions, seed and executors."""
    parts = [HEAD.format(**about, **LIMIT), summary(found.results), fields(found.results), by_name(found.models)]
    parts += [beyond(found.places)]
    parts += [rejected(found.refusals), exactly(found.lossless), in_words(found.words), palettized(found.costs), every_case(found.results)]
    return "\n".join(parts)


def kept(document: Path) -> str:
    """The part of the document that conformance/verify-table writes, marks included; the table of every
    configuration stands before it."""
    text = document.read_text() if document.exists() else ""
    _, mark, rest = text.partition(VERIFY_MARK)
    return f"\n{mark}{rest}" if mark else ""


def summary(results: list[Result]) -> str:
    rows = []
    for family in FAMILIES:
        own = [r for r in results if r.case.family == family]
        cells = [family, len(own), sum(r.passed() for r in own)]
        for precision in LIMIT:
            cells += [figure(worst(own, precision, who)) for who in ("anelith", "milref")]
            middle = [r.kl["anelith", precision] for r in own if r.kl]
            cells.append(figure(median(middle)) if middle else "-")
        rows.append(cells)
    head = ["family", "configurations", "passed"]
    for precision in LIMIT:
        head += [f"{precision}: anelith, worst", f"{precision}: milref, worst", f"{precision}: anelith, median"]
    return "## Families\n\n" + table(head, rows) + "\n" + noticed(results)


def noticed(results: list[Result]) -> str:
    """What the comparison would see if a feature were ignored."""
    least = defaultdict(lambda: float("inf"))
    for result in results:
        for feature, kl in result.unnoticed.items():
            least[feature] = min(least[feature], kl)
    deviations = [r.deviation for r in results]
    text = (
        f"The logits have standard deviations from {min(deviations):.2f} to {max(deviations):.2f}. They depend on "
        "what is measured: the\nsmallest KL divergence, over all configurations that have the feature, of the same "
        "transformers model with\n"
    )
    shown = "; ".join(f"{feature} taken out: {figure(least[feature])}" for feature in sorted(least))
    return f"{text}{shown}.\n"


def fields(results: list[Result]) -> str:
    """Field by value by family; each cell counts the configurations and has their worst figures."""
    cells = defaultdict(lambda: defaultdict(list))
    for result in results:
        for name, value in result.case.labels.items():
            cells[name, value][result.case.family].append(result)
    names = list(dict.fromkeys(name for result in results for name in result.case.labels))
    order = sorted(cells, key=lambda cell: (names.index(cell[0]), sort_key(cell[1])))
    rows = []
    for name, value in order:
        found = [cells[name, value].get(family) for family in FAMILIES]
        rows.append([f"`{name}`" if " " not in name else name, value, *map(cell_text, found)])
    text = (
        "## Fields\n\nIn each cell: how many configurations, the worst figure in f32, the worst with fp16 rounding "
        "(of both\nexecutors and both routes).\n\n"
    )
    return text + table(["field", "value", *FAMILIES], rows)


def sort_key(value: str) -> tuple:
    try:
        return (0, float(value), "")
    except ValueError:
        return (1, 0.0, value)


def cell_text(results: list[Result] | None) -> str:
    if not results:
        return "-"
    failed = sum(not r.passed() for r in results)
    return f"{len(results)}: {pair(results)}" + (f", **{failed} failed**" if failed else "")


def pair(results: list) -> str:
    """The worst figure in each precision."""
    return ", ".join(figure(worst(results, precision)) for precision in LIMIT)


def by_name(results: list[Result]) -> str:
    """Models by their own configurations."""
    head = ["model", "family", "kept", "context", "positions", "f32", "fp16", ""]
    rows = []
    for r in results:
        case, scaling = r.case, r.case.config.get("rope_scaling") or {}
        kept = ("rope_theta", "rms_norm_eps", "tie_word_embeddings", "max_position_embeddings")
        shown = [f"{key} {json.dumps(case.config[key])}" for key in kept]
        shown += [f"rope {scaling['rope_type']}"] if scaling else []
        shown += [f"sliding_window {case.config['sliding_window']}, off"] if case.config.get("sliding_window") else []
        rows.append([
            case.name, case.family, ", ".join(shown), case.context, case.labels["positions"],
            figure(worst([r], "f32")), figure(worst([r], "fp16")), verdict(r),
        ])
    text = (
        "## Models by name\n\nThe models' own `config.json`, every field kept but the sizes (hidden, MLP, heads, layers, "
        "vocabulary), which are\nscaled down; random weights in bf16, in two shards; the last positions of the context. "
        "The special tokens' ids lie\nbeyond the small vocabulary, which no calculation reads.\n\n"
    )
    missing = "" if len(results) == len(MODELS) else "\nThe others were not measured: `../shared` was not at hand.\n"
    return text + table(head, rows) + missing


def verdict(result: Result) -> str:
    return "passed" if result.passed() else f"**failed** {result.error or ''}"


def beyond(places: list[Place]) -> str:
    rows = [
        [p.family, p.context, f"{p.first} to {p.last}", *(figure(worst([p], how)) for how in LIMIT), figure(p.cut)]
        for p in places
    ]
    text = (
        "## Positions beyond 65535\n\nA few tokens far out in a long context, with a mask that lets only them be seen; "
        "transformers gets the same\n`position_ids`. The last column is what positions cut to 16 bits would give.\n\n"
    )
    return text + table(["family", "context", "positions", "f32", "fp16", "cut"], rows)


def rejected(refusals: list[Refusal]) -> str:
    refused = (
        "## Refusals\n\nSound checkpoints made wrong, each given to `anelith convert`: exit status and first line of the "
        "answer, which is held to\nname the reason; and what the answer says it expected and found, where it does.\n\n"
    )
    warned = (
        "\n## Warnings\n\nFields that the class in transformers ignores, and what else is not as it seems: "
        "converted, with one line.\n\n"
    )
    rows = [(r.status, [r.what, r.families, r.status, f"`` {r.line} ``", f"`` {r.details} ``" if r.details else ""]) for r in refusals]
    head = ["wrong", "family", "status", "answer", "expected and found"]
    text = refused + table(head, [row for status, row in rows if status])
    return text + warned + table(["odd", *head[1:4]], [row[:4] for status, row in rows if not status])


def exactly(found: list[Lossless]) -> str:
    cells = {(one.family, one.bits, one.group): "failed" if one.error else pair([one]) for one in found}
    rows = [
        [family, bits, *(cells[family, bits, group] for group in GROUPS)] for family in FAMILIES for bits in BITS
    ]
    text = (
        "## Palettization that loses nothing\n\nMatrices of only 2^bits values and odd sizes (hidden 45, MLP 101, 1009 "
        "tokens), so that no group divides all of\nthem: every group must find exactly those values. In each cell f32, "
        "fp16; the limits above hold. With the tables of fields,\nwhich are without palettization, this covers family by "
        "field by option: the two do not meet, as palettization\nreplaces weights one by one and reads no field.\n\n"
    )
    return text + table(["family", "`--lut` bits", *(f"group {g}" for g in GROUPS)], rows)


def in_words(found: list[Word]) -> str:
    cells = defaultdict(dict)
    for word in found:
        cells[word.options, word.asserted][word.family] = f"**failed** {word.error}" if word.error else "yes"
    rows = [
        [f"`{options}`", asserted, *(own.get(family, "-") for family in FAMILIES)]
        for (options, asserted), own in cells.items()
    ]
    text = "## Words of the command line\n\n" + table(["options", "must give", *FAMILIES], rows)
    tables = [word for word in found if word.table]
    if tables:
        text += f"\nThe report table, as `{tables[0].options}` prints it ({tables[0].family}):\n\n"
        text += f"```\n{tables[0].table}\n```\n"
    return text


def palettized(costs: list[Cost]) -> str:
    if not costs:
        return "## Options\n\nNot measured: run with `--without-shared`, the reference checkpoints were not at hand.\n"
    of = {(c.checkpoint, c.options): c for c in costs}
    exact = [
        [name, figure(of[name, ("--lut", "none")].kl_f32), figure(of[name, ("--lut", "none")].kl)]
        for name in CHECKPOINTS
    ]
    rows = [
        [name, bits, *(figure(of[name, ("--lut", f"{bits},{group}")].kl) for group in GROUPS)]
        for name in CHECKPOINTS
        for bits in BITS
    ]
    text = "## Options\n\nThe recorded reference checkpoints, which are random and tiny: with `--lut none`\n\n"
    text += table(["checkpoint", "f32", "fp16"], exact)
    text += (
        "\nand palettized, with fp16 rounding. These figures say what a number of bits does to weights that were never "
        "trained;\nthey are no gate.\n\n"
    )
    text += table(["checkpoint", "`--lut` bits", *(f"group {g}" for g in GROUPS)], rows)
    return text + "\n" + overrides(of)


def overrides(of: dict) -> str:
    rows = [[f"`{' '.join(o)}`", *(figure(of[name, o].kl) for name in CHECKPOINTS)] for o in OVERRIDES]
    text = (
        "Overrides for embedding and LM head (a split of the head of qwen3 and qwen3-tied has 2,048 elements, too few to "
        "be\npalettized):\n\n"
    )
    text += table(["options", *CHECKPOINTS], rows)
    picked = [[f"`{' '.join(lut)} --argmax`"] for lut in ARGMAX]
    for row, lut in zip(picked, ARGMAX):
        found = [of[name, (*lut, "--argmax")] for name in CHECKPOINTS]
        row += ["failed" if c.error else f"{c.differences} of {c.compared}" for c in found]
    text += (
        "\n`--argmax`, compared with the logits of the same conversion without it: at how many positions and "
        "vocabulary splits\nindex or value differ from the greatest logit.\n\n"
    )
    return text + table(["options", *CHECKPOINTS], picked)


def every_case(results: list[Result]) -> str:
    rows = [
        [
            r.case.name, r.case.labels["rope"], r.case.labels["head_dim"], r.case.labels["num_key_value_heads"],
            r.case.labels["weights"], r.case.context, r.case.batch, figure(worst([r], "f32")),
            figure(worst([r], "fp16")), verdict(r),
        ]
        for r in results
    ]
    head = ["case", "rope", "head_dim", "key-value heads", "weights", "context", "batch", "f32", "fp16", ""]
    return "## Every configuration\n\nOne of them alone: `oracle/run --case NAME`.\n\n" + table(head, rows)
