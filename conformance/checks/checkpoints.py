"""A few lines of safetensors: enough to read the checkpoints and to damage copies
of them."""
import json
import struct
from pathlib import Path

import numpy


def read(path: Path) -> tuple[dict, bytes]:
    """The header, as a dict, and the data that follows it."""
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def write(path: Path, header: dict, data: bytes) -> None:
    """The reverse of `read`."""
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def fp16_matrices(path: Path) -> dict[str, numpy.ndarray]:
    """Every tensor of rank 2 of a bf16 file as fp16, which is what a converter
    stores of it, widened to f64."""
    header, data = read(path)
    matrices = {}
    for name, entry in header.items():
        if name == "__metadata__" or len(entry["shape"]) != 2:
            continue
        if entry["dtype"] != "BF16":
            raise ValueError(f"{name} is {entry['dtype']}, only BF16 is read here")
        begin, end = entry["data_offsets"]
        bits = numpy.frombuffer(data[begin:end], "<u2").astype(numpy.uint32) << 16
        single = bits.view(numpy.float32).reshape(entry["shape"])
        matrices[name] = single.astype(numpy.float16).astype(numpy.float64)
    return matrices
