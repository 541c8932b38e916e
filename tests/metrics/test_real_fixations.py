# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Recorded gaze (OSIE, Xu et al., Journal of Vision 14(1):28, 2014): do the metrics rank what must be ranked?

Eight viewers' map of a picture must predict the other seven viewers better than the place where people look in general,
and that better than nothing.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.io import loadmat
from scipy.ndimage import gaussian_filter

from monai_usspeech.metrics import (
    compute_nss,
    compute_saliency_auc,
    compute_saliency_cc,
    compute_saliency_kl,
    compute_saliency_sim,
    compute_shuffled_auc,
    other_fixations,
)

GRID = (60, 80)  # of pictures of 600 x 800
SIGMA = 2.4  # one degree of visual angle is about 24 pixels
N_PICTURES, N_OTHERS = 12, 40


def counts_of(viewers) -> np.ndarray:
    x, y = (np.concatenate([np.atleast_1d(viewer[key]) for viewer in viewers]) for key in ("fix_x", "fix_y"))
    column, row = (np.floor(values / 10).astype(int) for values in (x, y))
    inside = (row >= 0) & (row < GRID[0]) & (column >= 0) & (column < GRID[1])
    counts = np.zeros(GRID)
    np.add.at(counts, (row[inside], column[inside]), 1)
    return counts


def blurred(counts: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(np.stack([gaussian_filter(one, SIGMA, mode="constant") for one in counts]))


@pytest.fixture(scope="module")
def scores(real_data) -> dict[str, dict[str, float]]:
    """Mean of each metric for three predictions of the second half of the viewers."""
    pictures = loadmat(real_data / "saliency" / "osie" / "fixations.mat", simplify_cells=True)["fixations"]
    pictures = pictures[: N_PICTURES + N_OTHERS]
    first, second = (
        np.stack([counts_of(picture["subjects"][half]) for picture in pictures]) for half in (slice(8), slice(8, 15))
    )
    used = slice(N_PICTURES)
    fixations, target = torch.as_tensor(second[used]), blurred(second[used])
    everywhere = blurred(first[N_PICTURES:]).mean(0).expand(N_PICTURES, -1, -1)
    predictions = {
        "viewers": blurred(first[used]),
        "centre": everywhere,
        "chance": torch.rand(N_PICTURES, *GRID, generator=torch.Generator().manual_seed(0)),
    }
    others = other_fixations(torch.as_tensor(second))[used]
    return {
        name: {
            "nss": compute_nss(pred, fixations).mean().item(),
            "auc_judd": compute_saliency_auc(pred, fixations, "judd").mean().item(),
            "auc_exact": compute_saliency_auc(pred, fixations, "exact").mean().item(),
            "shuffled_auc": compute_shuffled_auc(pred, fixations, others).mean().item(),
            "cc": compute_saliency_cc(pred, target).mean().item(),
            "sim": compute_saliency_sim(pred, target).mean().item(),
            "kl": -compute_saliency_kl(pred, target).mean().item(),
        }
        for name, pred in predictions.items()
    }


@pytest.mark.parametrize("metric", ["nss", "auc_judd", "auc_exact", "cc", "sim", "kl"])
def test_viewers_beat_the_centre_and_the_centre_beats_chance(scores, metric):
    assert scores["viewers"][metric] > scores["centre"][metric] > scores["chance"][metric]


def test_shuffled_auc_gives_the_centre_nothing(scores):
    assert scores["viewers"]["shuffled_auc"] > scores["centre"]["shuffled_auc"] + 0.15
    assert scores["centre"]["shuffled_auc"] == pytest.approx(0.5, abs=0.1)
    assert scores["chance"]["shuffled_auc"] == pytest.approx(0.5, abs=0.05)
    assert scores["centre"]["auc_exact"] > 0.65


def test_chance_is_where_it_should_be(scores):
    assert scores["chance"]["nss"] == pytest.approx(0, abs=0.15)
    assert scores["chance"]["auc_exact"] == pytest.approx(0.5, abs=0.05)
    assert scores["chance"]["cc"] == pytest.approx(0, abs=0.1)
