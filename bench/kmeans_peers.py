#!/usr/bin/env python3
"""Hold anelith's k-means against scikit-learn's, kmeans1d and ckwrap.

Draws groups of weights, clusters them with the example `palettize` and with each of
the others that is installed, and prints two Markdown tables: time per group, and
squared error relative to anelith's. Everything runs on one core.

Errors are computed here, of all alike: from the fp16 weights and the fp16 table in
64 bits, each weight taking the nearest entry of the table. coremltools keeps the
clusters as they were before the table was rounded, which is never better; the last
column has the others' error before they round at all. The sums are rounded once
(math.fsum), so that "no larger" means just that, without a tolerance.

Exit status: 0 anelith's error is nowhere larger, 1 it is somewhere, 2 usage.

Environment: PALETTIZE, the example (target/release/examples/palettize). Needs numpy;
scikit-learn, kmeans1d and ckwrap are left out where they are missing.
"""
import os

# Before numpy and scikit-learn start their threads.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse  # noqa: E402
import math  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
PALETTIZE = os.environ.get("PALETTIZE", str(ROOT / "target/release/examples/palettize"))


def bf16(values):
    """fp16 weights as they come from a bf16 checkpoint."""
    bits = values.astype(np.float32).view(np.uint32)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32).astype(np.float16)


def normal(rng, size):
    """As the recorded benchmark has them: standard deviation 0.02."""
    return bf16(rng.normal(0.0, 0.02, size))


def heavy(rng, size):
    """Student's distribution of four degrees of freedom."""
    return bf16(0.02 * rng.standard_t(4, size))


def rows(rng, size):
    """Like a trained matrix: eight rows of different scales, a few large columns."""
    weights = rng.laplace(0.0, 0.015, (8, size // 8)) * np.exp(rng.normal(0.0, 0.3, (8, 1)))
    weights[:, rng.integers(0, size // 8, 5)] *= 8.0
    return bf16(weights.ravel())


def few(rng, size):
    """Equal steps, as of weights that were quantized once: many ties, few values."""
    return (np.round(rng.normal(0.0, rng.uniform(1.0, 90.0), size)) / 1024).astype(np.float16)


def half(rng, size):
    """fp16 from the beginning: more distinct values."""
    return rng.normal(0.0, 0.02, size).astype(np.float16)


KINDS = {"normal": normal, "heavy-tailed": heavy, "rows": rows, "few values": few, "fp16": half}


def of_scikit_learn():
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    # Groups of fewer values than clusters.
    warnings.filterwarnings("ignore", category=ConvergenceWarning)

    def centroids(weights, clusters):
        """The call of coremltools 9.0."""
        kmeans = KMeans(clusters, init="k-means++", tol=1e-2, n_init=1, random_state=0)
        return kmeans.fit(weights.reshape(-1, 1)).cluster_centers_.ravel()

    return centroids


def of_kmeans1d():
    import kmeans1d

    return lambda weights, clusters: np.array(kmeans1d.cluster(weights, clusters).centroids)


def of_ckwrap():
    import ckwrap

    def centroids(weights, clusters):
        values, counts = np.unique(weights.astype(np.float64), return_counts=True)
        # It refuses as many clusters as there are values.
        if clusters >= len(values):
            return values
        return np.array(ckwrap.ckmeans(values, clusters, counts.astype(np.float64)).centers)

    return centroids


def peers():
    """The others that are installed: functions of weights and a number of clusters that give centroids."""
    found = {}
    for name, load in {"scikit-learn": of_scikit_learn, "kmeans1d": of_kmeans1d, "ckwrap": of_ckwrap}.items():
        try:
            found[name] = load()
        except ImportError:
            print(f"skipped: {name} is not installed", file=sys.stderr)
    return found


def squared_error(weights, table, indices=None):
    """Exact but for one rounding; with the nearest entries of the table unless told."""
    weights, table = weights.astype(np.float64), np.asarray(table, np.float64)
    if indices is None:
        table = np.unique(table)
        indices = np.searchsorted((table[1:] + table[:-1]) / 2, weights)
    return math.fsum((weights - table[indices]) ** 2)


def palettize(groups, bits):
    """Microseconds per group of the three stages, and each group's table and indices."""
    with tempfile.TemporaryDirectory() as folder:
        weights, tables, indices, times = (Path(folder) / name for name in ("weights", "tables", "indices", "times"))
        np.concatenate(groups).astype("<f2").tofile(weights)
        command = [PALETTIZE, weights, str(bits), str(len(groups[0])), tables, indices, times]
        subprocess.run(command, check=True)
        stages = [float(stage) for stage in times.read_text().split()]
        tables = np.fromfile(tables, "<f2").reshape(len(groups), 1 << bits)
        indices = np.fromfile(indices, np.uint8).reshape(len(groups), -1)
    return stages, tables, indices


class Comparison:
    """One other program on groups of one kind and number of bits."""

    def __init__(self, peer, groups, bits, ours):
        self.rounded, self.unrounded, self.seconds, self.worse = [], [], 0.0, []
        for i, (weights, own) in enumerate(zip(groups, ours)):
            start = time.process_time()
            centroids = peer(weights, 1 << bits)
            self.seconds += (time.process_time() - start) / len(groups)
            theirs = squared_error(weights, centroids.astype(np.float16))
            if own > theirs:
                self.worse.append((i, own, theirs))
            if own > 0.0:
                self.rounded.append(theirs / own)
                self.unrounded.append(squared_error(weights, centroids) / own)

    def ratios(self):
        """Error relative to ours: mean, largest, least, and the least before rounding."""
        if not self.rounded:
            return "kept exactly"
        figures = np.mean(self.rounded), max(self.rounded), min(self.rounded), min(self.unrounded)
        return "{:.6f} | {:.6f} | {:.9f} | {:.9f}".format(*figures)


def table(head, lines):
    print("| " + " | ".join(head) + " |")
    print("|---" * len(head) + "|")
    print("\n".join(f"| {line} |" for line in lines) + "\n", flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=5, help="groups per kind and number of bits (5)")
    parser.add_argument("--size", type=int, default=8 * 1024, help="weights per group (8192), a multiple of 8")
    parser.add_argument("--bits", type=int, nargs="+", default=[2, 4, 6, 8], choices=range(1, 9), metavar="BITS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peers", nargs="+", metavar="NAME", help="only these of scikit-learn, kmeans1d, ckwrap")
    chosen = parser.parse_args()
    if chosen.groups < 1 or chosen.size < 8 or chosen.size % 8:
        parser.error("expected at least one group, of a multiple of 8 weights")
    if not Path(PALETTIZE).is_file():
        parser.error(f"no {PALETTIZE}: cargo build --release -p anelith-convert --example palettize")
    return chosen


def main():
    chosen = arguments()
    others = {name: peer for name, peer in peers().items() if not chosen.peers or name in chosen.peers}
    times, errors, worse, compared = [], [], [], 0
    for kind, draw in KINDS.items():
        rng = np.random.default_rng(chosen.seed)
        groups = [draw(rng, chosen.size) for _ in range(chosen.groups)]
        distinct = np.mean([len(np.unique(weights)) for weights in groups])
        for bits in chosen.bits:
            stages, tables, indices = palettize(groups, bits)
            own = sum(stages) / 1e3
            ours = [squared_error(*group) for group in zip(groups, tables, indices)]
            line = f"{kind} | {distinct:.0f} | {bits} | {own:.3f} ({' + '.join(f'{s / 1e3:.3f}' for s in stages)})"
            for name, peer in others.items():
                found = Comparison(peer, groups, bits, ours)
                line += f" | {found.seconds * 1e3:.2f} ({found.seconds * 1e3 / own:.0f} x)"
                errors.append(f"{kind} | {bits} | {name} | {found.ratios()}")
                worse += [(kind, bits, name, *case) for case in found.worse]
                compared += len(groups)
            times.append(line)
    print(f"Milliseconds per group of {chosen.size} weights (ours: sort + solve + label):\n")
    table(["weights", "distinct", "bits", "anelith", *others], times)
    print("Squared error relative to anelith's, over the groups:\n")
    table(["weights", "bits", "of", "mean", "largest", "least", "least, unrounded"], errors)
    for kind, bits, name, group, own, theirs in worse:
        print(f"anelith is worse: {kind}, {bits} bits, group {group}, {name}: {own!r} against {theirs!r}", file=sys.stderr)
    print(f"{len(worse)} of {compared} comparisons in which anelith's error is larger")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
