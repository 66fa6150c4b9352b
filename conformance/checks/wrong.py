"""Checkpoints made wrong, one way at a time, from the recorded ones of every family:
each is refused with status 3 and words that name file, tensor or field, what was
expected and what was found, and the output directory holds nothing afterwards."""
import json
import os
import shutil
import stat
import struct
from pathlib import Path
from typing import Callable

import numpy

from .checkpoints import read, write
from .harness import check, require
from .workspace import CHECKPOINTS, anelith, fresh

FAMILIES = {"llama": "llama", "qwen2": "qwen2.5", "qwen3": "qwen3"}

# A matrix that is not square, in the last layer.
VICTIM = "model.layers.1.mlp.down_proj.weight"
# Neither palettized nor a matrix, and the last one that step 1 reads.
NORM = "model.norm.weight"

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"

# A word that stands for the model directory.
DIR = "{dir}"


class Checkpoint:
    """A copy of a recorded checkpoint, its tensors by name, to be changed."""

    def __init__(self, model: str, label: str):
        self.directory = fresh(f"wrong-{label}") / model
        self.directory.mkdir()
        for path in (CHECKPOINTS / model).iterdir():
            if path.name != "expected.npz":
                shutil.copyfile(path, self.directory / path.name)
        header, data = read(self.path(SINGLE))
        header.pop("__metadata__", None)
        cut = lambda entry: data[slice(*entry["data_offsets"])]
        self.tensors = {name: [entry["dtype"], entry["shape"], cut(entry)] for name, entry in header.items()}

    def path(self, name: str) -> Path:
        """A file of the model directory."""
        return self.directory / name

    def config(self, **fields) -> None:
        """Set fields of config.json; a field set to `...` goes."""
        config = json.loads(self.path("config.json").read_text()) | fields
        config = {key: value for key, value in config.items() if value is not ...}
        self.path("config.json").write_text(json.dumps(config))

    def save(self) -> None:
        """Write the tensors as one file."""
        pack(self.path(SINGLE), self.tensors)

    def shard(self) -> None:
        """Write the tensors as two shards with an index; the victim is in the second."""
        names = sorted(self.tensors)
        half = names.index(VICTIM)
        self.path(SINGLE).unlink()
        weight_map = {}
        for shard, part in ((FIRST, names[:half]), (SECOND, names[half:])):
            pack(self.path(shard), {name: self.tensors[name] for name in part})
            weight_map |= {name: shard for name in part}
        self.path(INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))

    def index(self, change: Callable[[dict], None]) -> None:
        """Change the weight map of the index."""
        index = json.loads(self.path(INDEX).read_text())
        change(index["weight_map"])
        self.path(INDEX).write_text(json.dumps(index))

    def header(self, change: Callable[[dict], None], name: str = SINGLE) -> None:
        """Change a header and leave the data."""
        header, data = read(self.path(name))
        change(header)
        write(self.path(name), header, data)

    def element(self, name: str, bits: int) -> None:
        """Set the last element of a bf16 tensor to a bit pattern."""
        self.tensors[name][2] = self.tensors[name][2][:-2] + struct.pack("<H", bits)
        self.save()

    def retype(self, dtype: str, size: int) -> None:
        """Give the victim another dtype, `size` bytes an element, and zeros."""
        shape = self.tensors[VICTIM][1]
        self.tensors[VICTIM] = [dtype, shape, bytes(size * shape[0] * shape[1])]
        self.save()


def pack(path: Path, tensors: dict) -> None:
    """Write tensors as a safetensors file."""
    header, data = {}, bytearray()
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    write(path, header, bytes(data))


CASES: dict[str, tuple[Callable[[Checkpoint], None], list[str]]] = {}


def wrong(label: str, *words: str):
    """Register a way to damage a checkpoint, and what the refusal has to say."""

    def register(function):
        CASES[label] = (function, list(words))
        return function

    return register


def refused(label: str, model: str, family: str) -> dict:
    """`convert` refuses the damaged copy, in the words of the case."""
    damage, words = CASES[label]
    checkpoint = Checkpoint(model, f"{family}-{label}")
    damage(checkpoint)
    output = checkpoint.directory.parent / "out"
    sizes = ("--context", "64", "--batch", "16")
    done = anelith("convert", "--model", checkpoint.directory, "--output", output, *sizes, status=3)
    words = [word.replace(DIR, str(checkpoint.directory)) for word in words]
    missing = [word for word in ("error: ", "\n  where: ", *words) if word not in done.stderr]
    require(not missing, f"stderr lacks {missing}: {done.stderr[-600:]!r}")
    left = sorted(path.name for path in output.iterdir()) if output.exists() else []
    require(not left, f"left behind: {left}")
    return {"status": 3}


# What the specification lists.


@wrong("missing-tensor", f"tensor `{VICTIM}` is missing", SINGLE, "expected: a tensor", "found: ")
def missing_tensor(model: Checkpoint) -> None:
    del model.tensors[VICTIM]
    model.save()


@wrong("unknown-tensor", "`model.layers.1.mlp.extra_proj.weight`", SINGLE, "expected: ", "found: ")
def unknown_tensor(model: Checkpoint) -> None:
    model.tensors["model.layers.1.mlp.extra_proj.weight"] = model.tensors[VICTIM]
    model.save()


@wrong("transposed", f"tensor `{VICTIM}`", SINGLE, "expected: [", "found: [160, ")
def transposed(model: Checkpoint) -> None:
    dtype, shape, content = model.tensors[VICTIM]
    turned = numpy.frombuffer(content, "<u2").reshape(shape).T
    model.tensors[VICTIM] = [dtype, shape[::-1], turned.tobytes()]
    model.save()


@wrong("dtype-i32", f"tensor `{VICTIM}`", SINGLE, "expected: F32, F16 or BF16", "found: I32")
def dtype_i32(model: Checkpoint) -> None:
    model.retype("I32", 4)


@wrong("nan", f"tensor `{VICTIM}`", SINGLE, "expected: a finite value", "found: NaN")
def nan(model: Checkpoint) -> None:
    model.element(VICTIM, 0x7FC0)


@wrong("beyond-fp16", f"tensor `{VICTIM}`", SINGLE, "at most 65504", "found: 65536")
def beyond_fp16(model: Checkpoint) -> None:
    model.element(VICTIM, 0x4780)


@wrong("truncated-shard", SECOND, "truncated", "expected: ", "found: ")
def truncated_shard(model: Checkpoint) -> None:
    model.shard()
    path = model.path(SECOND)
    path.write_bytes(path.read_bytes()[:-1000])


@wrong("missing-shard", f"shard `{SECOND}` is missing", INDEX, f"expected: the file {SECOND}", "found: ")
def missing_shard(model: Checkpoint) -> None:
    model.shard()
    model.path(SECOND).unlink()


@wrong("header-length", SINGLE, "truncated", "expected: ", "found: ")
def header_length(model: Checkpoint) -> None:
    path = model.path(SINGLE)
    raw = path.read_bytes()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw[8:])


@wrong("overlapping", SINGLE, f"`{VICTIM}`", "data_offsets", "expected: ", "found: ")
def overlapping(model: Checkpoint) -> None:
    def overlap(header: dict) -> None:
        header[VICTIM]["data_offsets"] = [offset - 2 for offset in header[VICTIM]["data_offsets"]]

    model.header(overlap)


@wrong("no-architecture", "config.json", "llama, qwen2, qwen3", "expected: ", "found: ")
def no_architecture(model: Checkpoint) -> None:
    model.config(model_type=..., architectures=...)


@wrong("unknown-architecture", "Unknown architecture `FooForCausalLM` in config.json", "expected: ", "llama, qwen2, qwen3")
def unknown_architecture(model: Checkpoint) -> None:
    model.config(model_type=..., architectures=["FooForCausalLM"])


@wrong("vocab-size", "tensor `model.embed_tokens.weight`", "expected: [511, ", "found: [512, ", "config.json")
def vocab_size(model: Checkpoint) -> None:
    model.config(vocab_size=511)


@wrong("no-tokenizer", "no tokenizer.json", "expected: the file tokenizer.json", "found: ")
def no_tokenizer(model: Checkpoint) -> None:
    model.path("tokenizer.json").unlink()


# What users meet besides.


@wrong("nan-in-the-last-norm", f"tensor `{NORM}`", "found: NaN")
def nan_in_norm(model: Checkpoint) -> None:
    model.element(NORM, 0x7FC0)


@wrong("infinity", f"tensor `{VICTIM}`", "found: -inf")
def infinity(model: Checkpoint) -> None:
    model.element(VICTIM, 0xFF80)


for _dtype, _size in (("F64", 8), ("I8", 1), ("F8_E4M3", 1), ("BOOL", 1)):
    wrong(f"dtype-{_dtype.lower()}", f"tensor `{VICTIM}`", SINGLE, "expected: F32, F16 or BF16", f"found: {_dtype}")(
        lambda model, dtype=_dtype, size=_size: model.retype(dtype, size)
    )


@wrong("dtype-nobody-knows", SINGLE, VICTIM, "Q4_K", "expected: ", "found: ")
def dtype_unknown(model: Checkpoint) -> None:
    model.header(lambda header: header[VICTIM].update(dtype="Q4_K"))


@wrong("in-two-shards", VICTIM, FIRST, SECOND, "expected: ", "found: ")
def in_two_shards(model: Checkpoint) -> None:
    model.shard()
    header, data = read(model.path(FIRST))
    dtype, shape, content = model.tensors[VICTIM]
    header[VICTIM] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
    write(model.path(FIRST), header, data + bytes(len(content)))


@wrong("index-lacks-a-tensor", VICTIM, SECOND, INDEX, "expected: ", "found: ")
def index_lacks(model: Checkpoint) -> None:
    model.shard()
    model.index(lambda weight_map: weight_map.pop(VICTIM))


@wrong("index-names-the-other-shard", VICTIM, FIRST, INDEX, "expected: ", "found: ")
def index_names_other(model: Checkpoint) -> None:
    model.shard()
    model.index(lambda weight_map: weight_map.update({VICTIM: FIRST}))


@wrong("index-leads-outside", INDEX, "../" + SECOND, "expected: ", "found: ")
def index_outside(model: Checkpoint) -> None:
    model.shard()
    model.index(lambda weight_map: weight_map.update({VICTIM: "../" + SECOND}))


@wrong("index-no-json", INDEX, "expected: ", "found: ")
def index_no_json(model: Checkpoint) -> None:
    model.shard()
    model.path(INDEX).write_text('{"weight_map": [')


@wrong("shards-without-index", ".safetensors files and no index", "expected: ")
def no_index(model: Checkpoint) -> None:
    model.shard()
    model.path(INDEX).unlink()


@wrong("header-no-json", SINGLE, "expected: ", "found: ")
def header_no_json(model: Checkpoint) -> None:
    path = model.path(SINGLE)
    raw = bytearray(path.read_bytes())
    raw[8] = ord("[")
    path.write_bytes(raw)


@wrong("header-of-an-exabyte", SINGLE, "expected: at most ", "found: ")
def header_huge(model: Checkpoint) -> None:
    path = model.path(SINGLE)
    path.write_bytes(struct.pack("<Q", 1 << 60) + path.read_bytes()[8:])


@wrong("shape-of-2-to-the-63", SINGLE, f"`{VICTIM}`", "expected: ", "found: ")
def shape_huge(model: Checkpoint) -> None:
    model.header(lambda header: header[VICTIM].update(shape=[1 << 63, 1 << 63]))


@wrong("shape-negative", SINGLE, "expected: ", "found: ")
def shape_negative(model: Checkpoint) -> None:
    model.header(lambda header: header[VICTIM].update(shape=[-128, 160]))


@wrong("hole-in-the-data", SINGLE, "expected: ", "found: ")
def hole(model: Checkpoint) -> None:
    model.header(lambda header: header.pop(VICTIM))


@wrong("data-behind-the-end", SINGLE, "expected: ", "found: ")
def behind(model: Checkpoint) -> None:
    with open(model.path(SINGLE), "ab") as file:
        file.write(bytes(16))


@wrong("empty-file", SINGLE, "expected: ", "found: 0 bytes")
def empty(model: Checkpoint) -> None:
    model.path(SINGLE).write_bytes(b"")


@wrong("directory-for-the-weights", SINGLE, "expected: a file", "found: a directory")
def directory(model: Checkpoint) -> None:
    model.path(SINGLE).unlink()
    model.path(SINGLE).mkdir()


@wrong("pipe-for-the-weights", SINGLE, "expected: a file", "found: ")
def pipe(model: Checkpoint) -> None:
    model.path(SINGLE).unlink()
    os.mkfifo(model.path(SINGLE))


@wrong("lfs-pointer", SINGLE, "Git LFS pointer", "git lfs pull", "expected: ", "found: ")
def lfs_pointer(model: Checkpoint) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 1234567\n"
    model.path(SINGLE).write_text(pointer)


@wrong("pickle-only", "pytorch_model.bin", "safetensors", "expected: ", "found: ")
def pickle_only(model: Checkpoint) -> None:
    model.path(SINGLE).rename(model.path("pytorch_model.bin"))


@wrong("gguf-only", "model-Q4_K_M.gguf", "safetensors", "expected: ", "found: ")
def gguf_only(model: Checkpoint) -> None:
    model.path(SINGLE).unlink()
    model.path("model-Q4_K_M.gguf").write_bytes(b"GGUF\3\0\0\0" + bytes(64))


LOOKALIKES = {"a GGUF file": b"GGUF\3\0\0\0", "a ZIP file": b"PK\3\4\0\0\0\0", "a web page": b"<!DOCTYPE html>", "a pickle": b"\x80\2}q"}
for _kind, _start in LOOKALIKES.items():
    wrong(f"{_kind.replace(' ', '-')}-called-safetensors".lower(), SINGLE, _kind, "expected: a safetensors file", "found: ")(
        lambda model, start=_start: model.path(SINGLE).write_bytes(start + bytes(64))
    )


@wrong("no-weights", "no weights", SINGLE, "expected: ", "found: ")
def no_weights(model: Checkpoint) -> None:
    model.path(SINGLE).unlink()


for _file in (SINGLE, "config.json", "tokenizer.json", "merges.txt"):

    @wrong(f"link-to-nowhere-{_file}", _file, "expected: ", "found: ")
    def dangling(model: Checkpoint, file: str = _file) -> None:
        model.path(file).unlink(missing_ok=True)
        model.path(file).symlink_to("../blobs/gone")


for _file in ("config.json", "tokenizer.json"):

    @wrong(f"directory-for-{_file}", _file, "expected: a file", "found: a directory")
    def directory_for(model: Checkpoint, file: str = _file) -> None:
        model.path(file).unlink()
        model.path(file).mkdir()


CONFIG_TEXTS = {
    "latin-1": b'{"model_type": "\xe9"}',
    "no-json": b'{"model_type": "llama", }',
    "byte-order-mark": b"\xef\xbb\xbf{}",
    "utf-16": '{"model_type": "llama"}'.encode("utf-16"),
    "empty": b"",
    "list": b"[]",
    "nested": b'{"a":' * 100_000,
    "not-a-number": b'{"model_type": "llama", "hidden_size": NaN}',
}
for _label, _text in CONFIG_TEXTS.items():
    wrong(f"config-{_label}", "config.json", "expected: ", "found: ")(
        lambda model, text=_text: model.path("config.json").write_bytes(text)
    )

CONFIG_FIELDS = {
    "string": ("hidden_size", "128"),
    "negative": ("num_hidden_layers", -2),
    "zero": ("num_attention_heads", 0),
    "fraction": ("intermediate_size", 160.5),
    "2-to-the-63": ("vocab_size", 1 << 63),
    "2-to-the-64": ("hidden_size", 1 << 64),
    "beyond-f64": ("rms_norm_eps", "1e999"),
    "null": ("num_hidden_layers", None),
    "boolean": ("num_attention_heads", True),
    "list": ("hidden_size", [128]),
    "odd-head": ("head_dim", 31),
    "heads-not-divisible": ("num_key_value_heads", 3),
    "activation": ("hidden_act", "gelu"),
    "truth-as-text": ("tie_word_embeddings", "true"),
}
for _label, (_field, _value) in CONFIG_FIELDS.items():
    wrong(f"field-{_label}", f"`{_field}`", "config.json", "expected: ", "found: ")(
        lambda model, field=_field, value=_value: model.config(**{field: value})
    )

for _family, _model in FAMILIES.items():
    for _label in CASES:
        check(f"wrong/{_family}/{_label}", _label, _model, _family)(refused)


@check("wrong/unreadable")
def unreadable() -> dict:
    """A file without permission is the machine's refusal: status 1, the file by name.
    The superuser reads everything, so another user runs the command."""
    figures = {}
    for name in (SINGLE, "config.json", "tokenizer.json"):
        model = Checkpoint("qwen3", f"unreadable-{name}")
        model.path(name).chmod(0)
        home = model.directory.parent
        home.chmod(home.stat().st_mode | stat.S_IWOTH)
        arguments = ("convert", "--model", model.directory, "--output", home / "out")
        done = anelith(*arguments, status=1, unprivileged=True)
        require(name in done.stderr and "ermission" in done.stderr, f"stderr: {done.stderr[-400:]!r}")
        require("to mend: " in done.stderr, f"no mend line: {done.stderr[-400:]!r}")
        require(not (home / "out").exists(), "something was written")
        figures[name] = 1
    return figures
