"""Comparison of logits."""
import numpy


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
