# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Parity with pysaliency (Kuemmerer et al.), where it is installed: ``pip install pysaliency``."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_usspeech.metrics import (
    compute_nss,
    compute_saliency_auc,
    compute_saliency_cc,
    compute_saliency_kl,
    compute_saliency_sim,
    compute_shuffled_auc,
    other_fixations,
)

theirs = pytest.importorskip("pysaliency.metrics")
roc = pytest.importorskip("pysaliency.roc")


@pytest.fixture(params=[None, 6], ids=["no ties", "ties"])
def frames(request):
    """Predictions, targets and fixations of ten frames."""
    random = np.random.RandomState(0)
    pred, target = random.rand(2, 10, 12, 16)
    if request.param:
        pred = np.floor(request.param * pred)
    return pred, target, random.rand(10, 12, 16) < 0.05


@pytest.fixture
def area(monkeypatch):
    """Their area under the curve. It calls ``np.trapz``, which NumPy 2.4 no longer has."""
    if not hasattr(np, "trapz"):
        monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)
    return lambda positives, negatives, judd: roc.general_roc(positives, negatives, judd=judd)[0]


def same(ours, expected):
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-12)


def test_maps(frames):
    pred, target, _ = frames
    p, q = torch.as_tensor(pred), torch.as_tensor(target)
    # Theirs rounds the regularisation to 2.2204e-16.
    same(compute_saliency_kl(p, q, 2.2204e-16), [theirs.MIT_KLDiv(a.copy(), b.copy()) for a, b in zip(pred, target)])
    same(compute_saliency_cc(p, q), [theirs.CC(a, b) for a, b in zip(pred, target)])
    same(compute_saliency_sim(p, q, "plain"), [theirs.SIM(a, b) for a, b in zip(pred, target)])


def test_scanpath_saliency(frames):
    pred, _, fixations = frames
    expected = [theirs.NSS(p, *np.nonzero(f)[::-1]).mean() for p, f in zip(pred, fixations)]
    same(compute_nss(torch.as_tensor(pred), torch.as_tensor(fixations), ddof=0), expected)


@pytest.mark.parametrize(("variant", "judd"), [("exact", 0), ("judd", 1)])
def test_areas(frames, area, variant, judd):
    pred, _, fixations = frames
    expected = [area(p[f], p[~f], judd) for p, f in zip(pred, fixations)]
    same(compute_saliency_auc(torch.as_tensor(pred), torch.as_tensor(fixations), variant), expected)


def test_shuffled_area(frames, area):
    pred, _, fixations = frames
    others = other_fixations(torch.as_tensor(fixations))
    counts = others.numpy().astype(int)
    expected = [area(p[f], np.repeat(p.ravel(), n.ravel()), 0) for p, f, n in zip(pred, fixations, counts)]
    same(compute_shuffled_auc(torch.as_tensor(pred), torch.as_tensor(fixations), others), expected)
