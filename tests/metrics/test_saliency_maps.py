# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from monai_usspeech.metrics import (
    SaliencyCC,
    SaliencyKL,
    SaliencySIM,
    compute_saliency_cc,
    compute_saliency_kl,
    compute_saliency_sim,
)
from tests.metrics.vectors import VALUES, bump, example, kl_by_loop, sim_by_loop

FUNCTIONS = [compute_saliency_kl, compute_saliency_cc, compute_saliency_sim]


def drawn(n=5, shape=(6, 7), seed=0):
    return torch.rand(2, n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).unbind(0)


def entropy(target):
    q = (target / target.sum()).flatten()
    return float(-(q[q > 0] * q[q > 0].log()).sum())


@pytest.mark.parametrize("number", [1, 2])
def test_golden_values(number):
    pred, target, _ = example(number)
    values = {
        "kl": compute_saliency_kl(pred, target),
        "cc": compute_saliency_cc(pred, target),
        "sim": compute_saliency_sim(pred, target),
        "sim_plain": compute_saliency_sim(pred, target, variant="plain"),
    }
    for name, value in values.items():
        assert value.dtype == torch.float64 and value.shape == (1,)
        assert value.item() == pytest.approx(VALUES[number][name], abs=2e-12), name


def test_equal_plain_loops_and_numpy():
    pred, target = drawn()
    rows = [(p.flatten().tolist(), q.flatten().tolist()) for p, q in zip(pred, target)]
    expected = torch.tensor([kl_by_loop(*row) for row in rows], dtype=torch.float64)
    torch.testing.assert_close(compute_saliency_kl(pred, target), expected, rtol=0, atol=1e-13)
    expected = torch.tensor([np.corrcoef(*row)[0, 1] for row in rows], dtype=torch.float64)
    torch.testing.assert_close(compute_saliency_cc(pred, target), expected, rtol=0, atol=1e-13)
    for variant in ("mit", "plain"):
        expected = torch.tensor([sim_by_loop(*row, variant == "mit") for row in rows], dtype=torch.float64)
        torch.testing.assert_close(compute_saliency_sim(pred, target, variant), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_scale_of_a_map_does_not_matter(function, factor):
    pred, target = drawn(3)
    torch.testing.assert_close(function(factor * pred, target / factor), function(pred, target), rtol=1e-12, atol=0)


def test_a_perfect_prediction():
    _, target = drawn()
    ones = torch.ones(5, dtype=torch.float64)
    torch.testing.assert_close(compute_saliency_kl(target, target), 0 * ones, rtol=0, atol=1e-12)
    torch.testing.assert_close(compute_saliency_cc(target, target), ones)
    torch.testing.assert_close(compute_saliency_cc(1 - target, target), -ones)
    for variant in ("mit", "plain"):
        torch.testing.assert_close(compute_saliency_sim(3 * target, target, variant), ones)


def test_kl_is_not_symmetric_and_the_target_is_the_second_map():
    pred, target, _ = example(2)
    there, back = compute_saliency_kl(pred, target), compute_saliency_kl(target, pred)
    assert abs(float(there - back)) > 0.1


@pytest.mark.parametrize("level", [0.1, 1.0, 7.3])
def test_constant_prediction(level):
    _, target = drawn(1)
    pred = torch.full_like(target, level)
    assert compute_saliency_cc(pred, target).item() == 0
    assert compute_saliency_sim(pred, target, "mit").item() == 0
    uniform = np.minimum((target / target.sum()).numpy(), 1 / 42).sum()
    assert compute_saliency_sim(pred, target, "plain").item() == pytest.approx(uniform, abs=1e-13)
    assert compute_saliency_kl(pred, target).item() == pytest.approx(math.log(42) - entropy(target), abs=1e-12)


def test_prediction_of_zeros():
    _, target, _ = example(1)
    pred = torch.zeros_like(target)
    assert compute_saliency_kl(pred, target).item() == pytest.approx(33.29, abs=0.005)
    assert compute_saliency_cc(pred, target).item() == 0
    assert [compute_saliency_sim(pred, target, variant).item() for variant in ("mit", "plain")] == [0, 0]


def test_constant_target():
    pred, _ = drawn(1)
    target = torch.full_like(pred, 0.3)
    assert compute_saliency_cc(pred, target).item() == 0
    assert compute_saliency_sim(pred, target, "mit").item() == 0
    assert 0 < compute_saliency_kl(pred, target).item() < math.inf


@pytest.mark.parametrize(("epsilon", "expected"), [(2.2204e-16, 33.2), (1e-8, 15.6), (1e-7, 13.3), (1e-5, 8.7)])
def test_densities_that_do_not_meet_get_a_value_that_epsilon_decides(epsilon, expected):
    pred, target = bump(4, 4, 1), bump(19, 27, 1)
    assert compute_saliency_kl(pred, target, epsilon).item() == pytest.approx(expected, abs=0.051)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_frame_without_gaze_has_no_value_and_spoils_no_other(function):
    pred, target = drawn(3)
    alone = function(pred, target)
    target[1] = 0
    values = function(pred, target)
    assert values.isnan().tolist() == [False, True, False]
    torch.testing.assert_close(values[[0, 2]], alone[[0, 2]])


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("bad", "words"), [(math.nan, "NaN or inf"), (math.inf, "NaN or inf"), (-0.1, "negative")])
def test_bad_values_are_refused(function, bad, words):
    pred, target = drawn(2)
    broken = pred.clone()
    broken[1, 2, 3] = bad
    with pytest.raises(ValueError, match=f"pred holds {words}"):
        function(broken, target)
    with pytest.raises(ValueError, match=f"target holds {words}"):
        function(pred, broken)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_errors_name_both_shapes(function):
    pred, target = drawn(2)
    with pytest.raises(ValueError, match=r"pred \(2, 6, 7\) and target \(2, 6, 6\)"):
        function(pred, target[..., :6])
    with pytest.raises(ValueError, match=r"\[B, H, W\].*got \(2, 1, 6, 7\)"):
        function(pred[:, None], target[:, None])


def test_unknown_options():
    pred, target = drawn(1)
    with pytest.raises(ValueError, match="'sim_plain'"):
        compute_saliency_sim(pred, target, "sim_plain")
    with pytest.raises(ValueError, match="'matlab'"):
        SaliencySIM("matlab")
    with pytest.raises(ValueError, match="epsilon must be positive"):
        compute_saliency_kl(pred, target, 0)


def test_metrics_are_means_over_frames_with_gaze():
    pred, target = drawn(7)
    target[2] = 0
    for metric, function in (
        (SaliencyKL(), compute_saliency_kl),
        (SaliencyCC(), compute_saliency_cc),
        (SaliencySIM(), compute_saliency_sim),
        (SaliencySIM("plain"), lambda p, q: compute_saliency_sim(p, q, "plain")),
    ):
        first = metric(pred[:4], target[:4])
        metric(pred[4:, None], target[4:, None])
        values = function(pred, target)
        torch.testing.assert_close(first, values[:4], equal_nan=True)
        torch.testing.assert_close(metric.get_buffer(), values, equal_nan=True)
        torch.testing.assert_close(metric.aggregate(), values[[0, 1, 3, 4, 5, 6]].mean())
        assert (metric.n_frames, metric.n_counted) == (7, 6)


def test_correlation_counts_the_frames_that_have_none():
    pred, target = drawn(5)
    pred[1], target[2], pred[3], target[3] = 0.5, 0.2, 0.5, 0
    metric = SaliencyCC()
    assert metric.n_constant == 0
    values = metric(pred, target)
    assert values[[1, 2]].tolist() == [0, 0] and values[3].isnan()
    assert (metric.n_frames, metric.n_counted, metric.n_constant) == (5, 4, 2)


def test_half_precision_is_computed_in_double():
    pred, target = (x.to(torch.bfloat16) for x in drawn(3))
    for function in FUNCTIONS:
        torch.testing.assert_close(function(pred, target), function(pred.double(), target.double()), rtol=0, atol=0)
