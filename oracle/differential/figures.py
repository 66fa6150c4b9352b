"""Comparison of logits, and the limits of what passes."""
import numpy

LIMIT = {"f32": 1e-6, "fp16": 1e-5}
"""The greatest mean KL divergence that passes, by the precision of execution."""


class Judged:
    """What was measured: `kl` of (executor, precision), or the `error` that came instead."""

    kl: dict
    error: str | None

    def passed(self) -> bool:
        within = all(kl <= LIMIT[precision] for (_, precision), kl in self.kl.items())
        return self.error is None and bool(self.kl) and within


def log_softmax(x: numpy.ndarray) -> numpy.ndarray:
    x = x.astype(numpy.float64)
    x = x - x.max(-1, keepdims=True)
    return x - numpy.log(numpy.exp(x).sum(-1, keepdims=True))


def divergence(expected: numpy.ndarray, found: numpy.ndarray) -> tuple[float, float]:
    """Mean and greatest KL divergence (nats) of `found` from `expected` over positions [T, V].

    Rounding can bring a divergence of nothing below zero; it counts as zero.
    """
    if expected.shape != found.shape:
        raise ValueError(f"logits of shape {found.shape}, expected {expected.shape}")
    if not numpy.isfinite(found).all():
        raise ValueError("logits that are not finite")
    p, q = log_softmax(expected), log_softmax(found)
    each = numpy.maximum((numpy.exp(p) * (p - q)).sum(-1), 0.0)
    return float(each.mean()), float(each.max())
