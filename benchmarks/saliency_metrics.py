# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Time and agreement of the saliency metrics beside scikit-learn and SciPy, frame by frame.

    python benchmarks/saliency_metrics.py [--frames 256] [--size 64] [--fixations 5] [--repeats 7]

Both get the same maps in the same process, on one thread and in turn, so that a busy machine slows both. The peers
have no batch: they are called once for each frame. The table gives medians of process time for one frame, the peer's
time as a multiple of ours, and the largest difference between the two results.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.stats import entropy, pearsonr
from sklearn.metrics import roc_auc_score

from monai_usspeech.metrics import (
    compute_saliency_auc,
    compute_saliency_cc,
    compute_saliency_kl,
    compute_shuffled_auc,
    other_fixations,
)
from monai_usspeech.transforms.gaze_map import blur_fixations

Scores = Callable[[], np.ndarray]


def make_maps(n_frames: int, size: int, n_fixations: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random predictions and blurred targets (float64), and fixations (bool), ``[n_frames, size, size]`` each."""
    random = np.random.RandomState(0)
    fixations = np.zeros((n_frames, size * size), bool)
    for frame in fixations:
        frame[random.choice(size * size, n_fixations, replace=False)] = True
    fixated = torch.from_numpy(fixations).unflatten(1, (size, size))
    pred = torch.from_numpy(random.rand(n_frames, size, size)) + 1e-3
    return pred, blur_fixations(fixated, 0.05).double(), fixated


def peer_shuffled(values: np.ndarray, fixated: np.ndarray, others: np.ndarray) -> float:
    """scikit-learn's area: fixated pixels against all pixels, these weighted by the fixations of other frames."""
    labels = np.concatenate([np.ones(fixated.sum()), np.zeros(len(values))])
    weights = np.concatenate([np.ones(fixated.sum()), others])
    return float(roc_auc_score(labels, np.concatenate([values[fixated], values]), sample_weight=weights))


def pairs(n_frames: int, size: int, n_fixations: int) -> dict[str, tuple[str, Scores, Scores]]:
    """For each metric its peer's name, ours, and the peer over the same frames."""
    pred, target, fixations = make_maps(n_frames, size, n_fixations)
    others = other_fixations(fixations)
    p, q, f, o = (maps.flatten(1).numpy() for maps in (pred, target, fixations, others))
    return {
        "AUC, exact": (
            "sklearn roc_auc_score",
            lambda: compute_saliency_auc(pred, fixations, "exact").numpy(),
            lambda: np.array([roc_auc_score(label, values) for label, values in zip(f, p)]),
        ),
        "shuffled AUC": (
            "the same, weighted",
            lambda: compute_shuffled_auc(pred, fixations, others).numpy(),
            lambda: np.array([peer_shuffled(*frame) for frame in zip(p, f, o)]),
        ),
        "CC": (
            "scipy pearsonr",
            lambda: compute_saliency_cc(pred, target).numpy(),
            lambda: np.array([pearsonr(values, wanted)[0] for values, wanted in zip(p, q)]),
        ),
        "KL": (
            "scipy entropy",
            lambda: compute_saliency_kl(pred, target).numpy(),
            lambda: np.array([entropy(wanted, values) for values, wanted in zip(p, q)]),
        ),
    }


def seconds(scores: Scores) -> float:
    """Process time of one call."""
    start = time.process_time()
    scores()
    return time.process_time() - start


def main() -> None:
    """Parse the arguments, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=256)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--fixations", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'metric':<14} {'peer':<22} {'ours us':>9} {'peer us':>9} {'ratio':>6} {'difference':>11}")
    for name, (peer_name, ours, peer) in pairs(args.frames, args.size, args.fixations).items():
        difference = float(np.abs(ours() - peer()).max())
        times = [(seconds(ours), seconds(peer)) for _ in range(args.repeats)]
        mine, theirs = (1e6 * statistics.median(column) / args.frames for column in zip(*times))
        print(f"{name:<14} {peer_name:<22} {mine:>9.1f} {theirs:>9.1f} {theirs / mine:>6.2f} {difference:>11.1e}")


if __name__ == "__main__":
    main()
