# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import roc_auc_score

from monai_usspeech.metrics import (
    NormalizedScanpathSaliency,
    SaliencyAUC,
    chance_auc_judd,
    compute_nss,
    compute_saliency_auc,
)
from tests.metrics.vectors import VALUES, exact_auc_by_loop, example, fixated, judd_auc_by_loop, nss_by_loop, split

VARIANTS = ("judd", "exact")
BY_LOOP = {"judd": judd_auc_by_loop, "exact": exact_auc_by_loop}


def drawn(n=6, shape=(6, 7), seed=0, levels=None):
    """Predictions and count maps; with ``levels`` the predictions have only so many values, so ties abound."""
    generator = torch.Generator().manual_seed(seed)
    pred = torch.rand(n, *shape, generator=generator, dtype=torch.float64)
    if levels:
        pred = (levels * pred).floor()
    counts = (torch.rand(n, *shape, generator=generator) < 0.15).long()
    counts *= torch.randint(1, 4, counts.shape, generator=generator)
    assert counts.flatten(1).sum(1).min() > 0
    return pred, counts


def functions():
    return {"nss": compute_nss, **{v: lambda p, f, v=v: compute_saliency_auc(p, f, v) for v in VARIANTS}}


@pytest.mark.parametrize("number", [1, 2])
def test_golden_values(number):
    pred, _, fixations = example(number)
    values = {
        "nss": compute_nss(pred, fixations),
        "nss_n": compute_nss(pred, fixations, ddof=0),
        "auc_judd": compute_saliency_auc(pred, fixations),
        "auc_exact": compute_saliency_auc(pred, fixations, variant="exact"),
    }
    for name, value in values.items():
        assert value.dtype == torch.float64 and value.shape == (1,)
        assert value.item() == pytest.approx(VALUES[number][name], abs=2e-12), name


@pytest.mark.parametrize("levels", [None, 4, 2])
@pytest.mark.parametrize("variant", VARIANTS)
def test_auc_equals_plain_loops_with_and_without_ties(variant, levels):
    pred, counts = drawn(levels=levels)
    for weighted in (False, True):
        weights = counts if weighted else counts > 0
        expected = [BY_LOOP[variant](*split(p, w)) for p, w in zip(pred, weights)]
        ours = compute_saliency_auc(pred, counts, variant, weighted)
        torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-13)


@pytest.mark.parametrize("levels", [None, 3])
def test_exact_auc_is_that_of_scikit_learn(levels):
    pred, counts = drawn(levels=levels)
    rows = [((c > 0).flatten().tolist(), p.flatten().tolist()) for p, c in zip(pred, counts)]
    expected = torch.tensor([roc_auc_score(*row) for row in rows], dtype=torch.float64)
    torch.testing.assert_close(compute_saliency_auc(pred, counts, "exact"), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("ddof", [0, 1])
def test_nss_equals_plain_loops(ddof):
    pred, counts = drawn()
    for weighted in (False, True):
        weights = counts if weighted else (counts > 0).long()
        expected = [nss_by_loop(p.flatten().tolist(), w.flatten().tolist(), ddof) for p, w in zip(pred, weights)]
        ours = compute_nss(pred, counts, ddof, weighted)
        torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-13)


def test_judd_is_exact_plus_half_the_false_positives_at_the_lowest_fixation():
    pred, counts = drawn(40, seed=3)
    fixations = counts > 0
    excess = []
    for p, f in zip(pred, fixations):
        share = (p[~f] >= p[f].min()).double().mean()
        excess.append(share / (2 * f.sum()))
    difference = compute_saliency_auc(pred, fixations, "judd") - compute_saliency_auc(pred, fixations, "exact")
    torch.testing.assert_close(difference, torch.stack(excess), rtol=0, atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 5, 10])
def test_chance_of_judd_depends_on_the_number_of_fixations(n):
    generator = torch.Generator().manual_seed(n)
    fixations = torch.zeros(3000, 8, 8)
    fixations.flatten(1)[:, :n] = 1
    values = compute_saliency_auc(torch.rand(3000, 8, 8, generator=generator), fixations)
    tolerance = 4 * float(values.std()) / math.sqrt(3000)
    assert tolerance < 0.025
    assert float(values.mean()) == pytest.approx(0.5 + 1 / (2 * (n + 1)), abs=tolerance)
    assert chance_auc_judd(n).item() == pytest.approx(0.5 + 1 / (2 * (n + 1)), abs=1e-15)


def test_chance_of_judd_in_numbers():
    n = torch.tensor([1, 2, 3, 5, 10, 50])
    expected = torch.tensor([0.750, 0.667, 0.625, 0.583, 0.545, 0.510], dtype=torch.float64)
    torch.testing.assert_close(chance_auc_judd(n), expected, rtol=0, atol=5e-4)
    with pytest.raises(ValueError, match="at least 1"):
        chance_auc_judd(torch.tensor([1, 0]))


@pytest.mark.parametrize("level", [0.0, 0.1, 5.0])
def test_constant_prediction(level):
    _, _, fixations = example(1)
    pred = torch.full((1, 4, 5), level)
    values = {name: function(pred, fixations).item() for name, function in functions().items()}
    assert values == {"nss": 0, "judd": 0.5, "exact": 0.5}


@pytest.mark.parametrize("name", ["nss", "judd", "exact"])
def test_frames_without_a_value_spoil_no_other(name):
    function = functions()[name]
    pred, counts = drawn()
    alone = function(pred, counts)
    counts[1], counts[4] = 0, 1
    pred[4] = 0.5  # a constant prediction does not turn a frame without a value into one
    values = function(pred, counts)
    assert values.isnan().tolist() == [False, True, False, False, True, False]
    torch.testing.assert_close(values[[0, 2, 3, 5]], alone[[0, 2, 3, 5]], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["nss", "judd", "exact"])
def test_several_samples_on_one_pixel_count_once_unless_weighted(name):
    pred, counts = drawn()
    function = functions()[name]
    torch.testing.assert_close(function(pred, counts), function(pred, counts > 0), rtol=0, atol=0)
    options = {} if name == "nss" else {"variant": name}
    weighted = (compute_nss if name == "nss" else compute_saliency_auc)(pred, counts, weighted=True, **options)
    assert not torch.allclose(weighted, function(pred, counts))


@pytest.mark.parametrize("name", ["judd", "exact"])
def test_auc_sees_only_the_order_of_values(name):
    pred, counts = drawn(levels=9)
    function = functions()[name]
    torch.testing.assert_close(function(pred.exp() * 1e-12, counts), function(pred, counts), rtol=0, atol=0)


def test_nss_does_not_depend_on_scale_and_offset():
    pred, counts = drawn()
    torch.testing.assert_close(compute_nss(1e-200 * pred, counts), compute_nss(pred, counts))
    torch.testing.assert_close(compute_nss(pred + 3, counts), compute_nss(pred, counts), rtol=1e-10, atol=1e-12)


def test_best_and_worst():
    fixations = fixated([(0, 0), (3, 4)], (4, 5))
    assert compute_saliency_auc(fixations.double(), fixations, "judd").item() == 1
    assert compute_saliency_auc(fixations.double(), fixations, "exact").item() == 1
    assert compute_saliency_auc((~fixations).double(), fixations, "exact").item() == 0
    assert compute_nss((~fixations).double(), fixations).item() < 0 < compute_nss(fixations.double(), fixations).item()


@pytest.mark.parametrize("name", ["nss", "judd", "exact"])
@pytest.mark.parametrize(("bad", "words"), [(math.nan, "NaN or inf"), (-math.inf, "NaN or inf"), (-1.0, "negative")])
def test_bad_values_are_refused(name, bad, words):
    pred, counts = drawn()
    pred[2, 1, 1] = bad
    with pytest.raises(ValueError, match=f"pred holds {words}"):
        functions()[name](pred, counts)
    with pytest.raises(ValueError, match=f"fixations holds {words}"):
        functions()[name](counts.double(), pred)


def test_errors_name_both_shapes_and_the_option():
    pred, counts = drawn()
    with pytest.raises(ValueError, match=r"pred \(6, 6, 7\) and fixations \(5, 6, 7\)"):
        compute_nss(pred, counts[:5])
    for build in (lambda: compute_saliency_auc(pred, counts, "borji"), lambda: SaliencyAUC("borji")):
        with pytest.raises(ValueError, match="'borji'"):
            build()
    for build in (lambda: compute_nss(pred, counts, ddof=2), lambda: NormalizedScanpathSaliency(ddof=2)):
        with pytest.raises(ValueError, match="ddof must be 0 or 1"):
            build()


def test_metrics_are_means_over_frames_with_gaze():
    pred, counts = drawn()
    counts[3] = 0
    for metric, values in (
        (NormalizedScanpathSaliency(ddof=0, weighted=True), compute_nss(pred, counts, 0, True)),
        (SaliencyAUC(), compute_saliency_auc(pred, counts, "judd")),
        (SaliencyAUC("exact", weighted=True), compute_saliency_auc(pred, counts, "exact", True)),
    ):
        metric(pred[:2], counts[:2])
        metric(list(pred[2:, None]), list(counts[2:, None]))  # a decollated batch
        torch.testing.assert_close(metric.get_buffer(), values, equal_nan=True, rtol=0, atol=0)
        torch.testing.assert_close(metric.aggregate(), values[[0, 1, 2, 4, 5]].mean())
        assert (metric.n_frames, metric.n_counted) == (6, 5)
