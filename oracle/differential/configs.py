"""Draws of small configurations that together reach every value of every field.

A field has a deck of values. Every family draws `count` configurations; each deck
is dealt out evenly and shuffled, so that each value occurs and their combinations
are random. The same seed gives the same configurations.
"""
import math
import random
from dataclasses import dataclass, field

FAMILIES = ("llama", "qwen2", "qwen3")

HEADS = [(4, 4), (4, 2), (4, 1), (6, 2), (8, 1), (6, 6), (3, 1), (1, 1)]
HEAD_DIM = {
    "llama": ["derived", "null", "apart", "apart", "uneven"],
    "qwen2": ["derived", "apart", "uneven"],
    "qwen3": ["apart", "apart", "apart", "class default 128"],
}
APART = [8, 10, 16, 24, 32, 40, 64, 80, 128]
HIDDEN = [32, 40, 52, 64, 96, 45]
INTERMEDIATE = [37, 64, 101, 129, 8]
VOCABULARY = [257, 61, 100, 1009, 320, 16, 33001, 509]
LAYERS = [1, 2, 3]
EPSILON = [None, 1e-5, 1e-6, 1e-4, 1e-2, 3e-7]
THETA = [None, 1e4, 5e5, 1e6, 100.0, 10000]
TIED = ["untied", "absent (untied)", "tied", "tied, same lm_head shipped", "tied, other lm_head shipped"]
ROPE = [
    "no scaling", "default", "linear", "dynamic", "llama3", "llama3", "yarn", "yarn, attention_factor",
    "yarn, mscale", "yarn, beta", "yarn, length from max_position_embeddings",
]
SPELLING = ["rope_scaling.rope_type", "rope_scaling.type", "rope_scaling, both keys", "rope_parameters"]
BIAS = [None, False, True]
WINDOW = ["absent", "off", "on, as wide as the context", "on, wider than the context", "on, null"]
DTYPE = ["bf16", "f16", "f32"]
SHARDS = [1, 2, 3]
INV_FREQ = [False, False, True]
CONTEXT = [24, 40, 64, 96, 100, 256, 300]
BATCH = [1, 2, 5, 8, 13, 16]
EMBEDDING = [1.0, 0.3, 0.05]
IGNORED = {
    "llama": [{}, {"pretraining_tp": 2}, {"use_sliding_window": True, "sliding_window": 4}, {"use_mrope": False}],
    "qwen2": [{}, {"attention_bias": True}, {"mlp_bias": True}, {"use_mrope": False}, {"layer_types": "full"}],
    "qwen3": [{}, {"mlp_bias": True}, {"pretraining_tp": 2}, {"layer_types": "full"}],
}

# Where the tokens of a case lie, in turn for every rope type: all of the context, its last ones, its first ones.
PLACES = ["whole", "end", "start"]
# What does not fill the context asks for at most so many tokens.
TOKENS = 40
# Filling a longer context, or one of a larger vocabulary, takes minutes: its last tokens have to do.
WHOLE_CONTEXT, WHOLE_VOCABULARY = 150, 2000


@dataclass
class Case:
    """A checkpoint to make, and how to convert it."""

    name: str
    family: str
    config: dict
    """As transformers 4.52.4 is to read it."""
    written: dict
    """As anelith is to read it: the same model, perhaps in a newer spelling."""
    dtype: str
    shards: int
    inv_freq: bool
    tied: str
    context: int
    batch: int
    tokens: int
    first: int
    """The position of the first token; what lies before stays hidden."""
    embedding: float
    seed: int
    labels: dict = field(default_factory=dict)
    """Field to value, as the tables name them."""


def cases(seed: int, count: int) -> list[Case]:
    """`count` cases of each family."""
    return [case for family in FAMILIES for case in draw_family(family, seed, count)]


def draw_family(family: str, seed: int, count: int) -> list[Case]:
    rng = random.Random(f"{seed}/{family}")
    decks = {
        "heads": HEADS, "head_dim": HEAD_DIM[family], "apart": APART, "hidden": HIDDEN,
        "intermediate": INTERMEDIATE, "vocabulary": VOCABULARY, "layers": LAYERS, "epsilon": EPSILON,
        "theta": THETA, "tied": TIED, "rope": ROPE, "spelling": SPELLING, "attention_bias": BIAS,
        "mlp_bias": BIAS, "window": WINDOW, "dtype": DTYPE, "shards": SHARDS, "inv_freq": INV_FREQ,
        "context": CONTEXT, "batch": BATCH, "embedding": EMBEDDING, "ignored": IGNORED[family],
    }
    dealt = {name: deal(rng, deck, count) for name, deck in decks.items()}
    rows = [{name: cards[i] for name, cards in dealt.items()} for i in range(count)]
    for kind in ROPE:
        for i, row in enumerate(row for row in rows if row["rope"] == kind):
            row["place"] = PLACES[i % len(PLACES)]
    return [build(family, i, row, rng) for i, row in enumerate(rows)]


def deal(rng: random.Random, deck: list, count: int) -> list:
    """Every card of the deck equally often, as far as `count` allows, in random order."""
    cards = [deck[i % len(deck)] for i in range(count)]
    rng.shuffle(cards)
    return cards


def build(family: str, index: int, row: dict, rng: random.Random) -> Case:
    """The configuration that one row of cards stands for."""
    config = {"model_type": family, "architectures": [class_name(family)], "hidden_act": "silu"}
    labels = {}
    shape_fields(config, labels, family, row, rng)
    for key, card in (("rms_norm_eps", row["epsilon"]), ("rope_theta", row["theta"])):
        labels[key] = "absent" if card is None else f"{card:g}"
        if card is not None:
            config[key] = card
    limit = rope_fields(config, labels, row, rng)
    context = min(row["context"], limit)
    original = original_length(config)
    if row["place"] != "start" and original:
        context = max(context, min(limit, original * 3 // 2))
    bias_fields(config, labels, family, row)
    window_fields(config, labels, family, row, context)
    tied_field(config, labels, row["tied"])
    ignored_fields(config, labels, row["ignored"])
    short = context <= WHOLE_CONTEXT and row["vocabulary"] <= WHOLE_VOCABULARY
    whole = row["place"] == "whole" and short
    tokens = context if whole else min(context, TOKENS)
    first = 0 if row["place"] == "start" else context - tokens
    place_labels(labels, context, range(first, first + tokens), original)
    batch = min(row["batch"], tokens - 1)
    labels["weights"] = f"{row['dtype']}, {'one file' if row['shards'] == 1 else 'shards'}"
    labels["rotary_emb.inv_freq"] = "shipped" if row["inv_freq"] else "absent"
    labels["context"], labels["batch"] = str(context), str(batch)
    written = respell(config, labels, row["spelling"])
    return Case(
        name=f"{family}-{index:02}", family=family, config=config, written=written, dtype=row["dtype"],
        shards=row["shards"], inv_freq=row["inv_freq"], tied=row["tied"], context=context, batch=batch,
        tokens=tokens, first=first, embedding=row["embedding"], seed=rng.randrange(1 << 31), labels=labels,
    )


def class_name(family: str) -> str:
    return {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}[family]


def shape_fields(config: dict, labels: dict, family: str, row: dict, rng: random.Random) -> None:
    heads, kv_heads = row["heads"]
    hidden, kind = row["hidden"], row["head_dim"]
    if kind == "uneven" and heads == 1:
        kind = "derived"
    if kind in ("derived", "null", "uneven"):
        hidden = heads * rng.choice([8, 10, 16, 20, 24])
    if kind == "uneven":
        hidden += rng.randrange(1, heads)
    if kind == "apart":
        config["head_dim"] = row["apart"]
    if kind == "null":
        config["head_dim"] = None
    config |= {
        "hidden_size": hidden, "intermediate_size": row["intermediate"], "num_attention_heads": heads,
        "num_hidden_layers": row["layers"], "vocab_size": row["vocabulary"], "bos_token_id": 1, "eos_token_id": 2,
    }
    kv_fields(config, labels, family, heads, kv_heads)
    labels["head_dim"] = {"uneven": "derived, hidden not divisible", "null": "null (derived)"}.get(kind, kind)
    labels["hidden_size"] = "odd" if hidden % 2 else "even"
    labels["intermediate_size"] = "odd" if row["intermediate"] % 2 else "even"
    labels["num_hidden_layers"] = str(row["layers"])
    labels["vocab_size"] = str(row["vocabulary"])


def kv_fields(config: dict, labels: dict, family: str, heads: int, kv_heads: int) -> None:
    """Full heads also by what an absent or null field means."""
    kind = "multi-query" if kv_heads == 1 and heads > 1 else "full" if kv_heads == heads else "grouped"
    labels["num_key_value_heads"] = kind
    if kind == "full" and heads == 6:
        labels["num_key_value_heads"] = "absent (full)" if family == "llama" else "null (full)"
        if family != "llama":
            config["num_key_value_heads"] = None
    else:
        config["num_key_value_heads"] = kv_heads


def rope_fields(config: dict, labels: dict, row: dict, rng: random.Random) -> int:
    """Sets the rotary fields, and returns the longest context they allow."""
    kind = row["rope"]
    labels["rope"] = kind
    name = kind.split(",")[0]
    config["max_position_embeddings"] = 2048
    if name == "no scaling":
        return 2048
    scaling = {"rope_type": name}
    config["rope_scaling"] = scaling
    if name in ("linear", "dynamic"):
        scaling["factor"] = rng.choice([1.5, 2.0, 4.0])
        config["max_position_embeddings"] = 96
        return 96 if name == "dynamic" else math.floor(96 * scaling["factor"])
    if name == "llama3":
        scaling |= {
            "factor": rng.choice([8.0, 32.0]), "low_freq_factor": 1.0, "high_freq_factor": rng.choice([2.0, 4.0]),
            "original_max_position_embeddings": rng.choice([32, 64, 128]),
        }
    if name == "yarn":
        return yarn_fields(config, scaling, kind, rng)
    return config["max_position_embeddings"]


def original_length(config: dict) -> int | None:
    """The length that a rope type scales from, where positions may lie beyond it."""
    scaling = config.get("rope_scaling") or {"rope_type": "default"}
    if scaling["rope_type"] in ("default", "dynamic"):
        return None
    return scaling.get("original_max_position_embeddings", config["max_position_embeddings"])


def place_labels(labels: dict, context: int, positions: range, original: int | None) -> None:
    if len(positions) == context:
        labels["positions"] = "the whole context"
    else:
        labels["positions"] = "the first ones" if positions.start == 0 else "the last of the context"
    if original:
        rope = labels["rope"].split(",")[0]
        side = "beyond" if positions.start >= original else "across"
        side = "below" if positions.stop <= original else side
        labels["original length"] = f"{rope}, {side}"


def yarn_fields(config: dict, scaling: dict, kind: str, rng: random.Random) -> int:
    """YaRN where max_position_embeddings = factor x original: there all versions of transformers agree."""
    original, factor = rng.choice([32, 48, 64]), rng.choice([1.5, 2.0, 4.0, 8.0])
    config["max_position_embeddings"] = int(original * factor)
    scaling |= {"factor": factor, "original_max_position_embeddings": original}
    if kind.endswith("attention_factor"):
        scaling["attention_factor"] = rng.choice([0.8, 1.3])
    if kind.endswith("mscale"):
        scaling |= {"mscale": rng.choice([0.7, 1.5]), "mscale_all_dim": 1.0}
    if kind.endswith("beta"):
        scaling |= {"beta_fast": rng.choice([4.0, 8.0]), "beta_slow": rng.choice([0.5, 2.0])}
    if kind.endswith("max_position_embeddings"):
        del scaling["original_max_position_embeddings"]
        config["max_position_embeddings"] = original
    return int(original * factor)


def bias_fields(config: dict, labels: dict, family: str, row: dict) -> None:
    read = {"llama": ("attention_bias", "mlp_bias"), "qwen2": (), "qwen3": ("attention_bias",)}[family]
    for key in read:
        labels[key] = {None: "absent", False: "false", True: "true"}[row[key]]
        if row[key] is not None:
            config[key] = row[key]


def window_fields(config: dict, labels: dict, family: str, row: dict, context: int) -> None:
    if family == "llama":
        return
    kind = labels["sliding_window"] = row["window"]
    if kind == "off":
        config |= {"use_sliding_window": False, "sliding_window": 8, "max_window_layers": 0}
    elif kind == "on, null":
        config |= {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 0}
    elif kind != "absent":
        width = context if "as wide" in kind else context + 7
        config |= {"use_sliding_window": True, "sliding_window": width, "max_window_layers": 1}


def tied_field(config: dict, labels: dict, tied: str) -> None:
    labels["tie_word_embeddings"] = tied
    if not tied.startswith("absent"):
        config["tie_word_embeddings"] = tied != "untied"


def ignored_fields(config: dict, labels: dict, extra: dict) -> None:
    for key, value in extra.items():
        shown = "all full_attention" if key == "layer_types" else str(value).lower()
        config[key] = ["full_attention"] * config["num_hidden_layers"] if key == "layer_types" else value
        labels.setdefault("ignored fields", "")
        labels["ignored fields"] += f"{', ' * bool(labels['ignored fields'])}{key} {shown}"
    labels.setdefault("ignored fields", "none")


def respell(config: dict, labels: dict, spelling: str) -> dict:
    """The same configuration with the rotary fields in the given spelling."""
    written = dict(config)
    scaling = written.pop("rope_scaling", None)
    if spelling == "rope_parameters":
        scaling = scaling or {"rope_type": "default"}
        theta = written.pop("rope_theta", 10000.0)
        written["rope_parameters"] = scaling | {"rope_theta": theta}
    elif scaling is not None:
        keys = {"rope_scaling.type": ["type"], "rope_scaling, both keys": ["type", "rope_type"]}
        names = {key: scaling["rope_type"] for key in keys.get(spelling, ["rope_type"])}
        written["rope_scaling"] = names | {k: v for k, v in scaling.items() if k != "rope_type"}
    labels["rope spelling"] = spelling if scaling is not None else "rope_theta alone"
    return written


def tiny(family: str) -> dict:
    """A small sound configuration, for measurements of something else than configurations."""
    return {
        "model_type": family, "architectures": [class_name(family)], "hidden_size": 32, "intermediate_size": 48,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "num_hidden_layers": 1,
        "vocab_size": 97, "max_position_embeddings": 131072, "rope_theta": 1e6, "rms_norm_eps": 1e-5,
        "bos_token_id": 1, "eos_token_id": 2,
    }
