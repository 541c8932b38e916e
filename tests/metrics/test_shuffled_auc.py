# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch

from monai_usspeech.metrics import ShuffledSaliencyAUC, compute_shuffled_auc, other_fixations
from monai_usspeech.metrics.shuffled_auc import CHUNK
from tests.metrics.vectors import bump, exact_auc_by_loop


def drawn(n=6, shape=(5, 6), seed=0):
    """Predictions with ties, and fixation counts."""
    generator = torch.Generator().manual_seed(seed)
    pred = torch.randint(0, 12, (n, *shape), generator=generator).double()
    counts = torch.randint(-4, 3, (n, *shape), generator=generator).clamp_min(0)
    assert counts.flatten(1).sum(1).min() > 0
    return pred, counts


def by_loop(pred, own, others):
    values = pred.flatten()
    positives = values.repeat_interleave(own.flatten()).tolist()
    return exact_auc_by_loop(positives, values.repeat_interleave(others.flatten()).tolist())


def test_equals_plain_loops():
    pred, counts = drawn()
    others = torch.stack([counts.sum(0) - own for own in counts])
    for weighted in (False, True):
        own = counts if weighted else (counts > 0).long()
        expected = [by_loop(*frame) for frame in zip(pred, own, others)]
        ours = compute_shuffled_auc(pred, counts, others, weighted)
        torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-13)


def test_one_map_of_negatives_serves_all_frames():
    pred, counts = drawn()
    one = counts.sum(0)
    torch.testing.assert_close(
        compute_shuffled_auc(pred, counts, one), compute_shuffled_auc(pred, counts, one.expand(6, -1, -1))
    )


def test_other_fixations_leave_out_the_own_frame_or_the_own_group():
    _, counts = drawn()
    expected = torch.stack([sum(counts[j] for j in range(6) if j != i) for i in range(6)])
    torch.testing.assert_close(other_fixations(counts), expected.double(), rtol=0, atol=0)
    groups = torch.tensor([7, 7, 2, 2, 7, 5])
    expected = torch.stack([sum(counts[j] for j in range(6) if groups[j] != groups[i]) for i in range(6)])
    torch.testing.assert_close(other_fixations(counts, groups), expected.double(), rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"groups \(5,\).*\(6, 5, 6\)"):
        other_fixations(counts, groups[:5])


def test_where_everybody_looks_is_no_merit():
    """Fixations drawn from one density: a map of it beats uniform negatives and is at chance against the others."""
    generator = torch.Generator().manual_seed(0)
    density = bump(12, 16, 5)
    counts = torch.zeros(200, 24 * 32, dtype=torch.long)
    drawn_pixels = torch.multinomial(density.flatten(), 200 * 5, replacement=True, generator=generator).view(200, 5)
    counts.scatter_(1, drawn_pixels, 1)
    counts = counts.view(200, 24, 32)
    pred = density.expand(200, -1, -1)
    assert compute_shuffled_auc(pred, counts, other_fixations(counts)).mean().item() == pytest.approx(0.5, abs=0.03)
    assert compute_shuffled_auc(pred, counts, torch.ones(24, 32)).mean().item() > 0.8


def test_frames_without_a_value_spoil_no_other():
    pred, counts = drawn()
    others = other_fixations(counts)
    alone = compute_shuffled_auc(pred, counts, others)
    counts[0], counts[2], others[4] = 0, 1, 0
    values = compute_shuffled_auc(pred, counts, others)
    assert values.isnan().tolist() == [True, False, True, False, True, False]
    torch.testing.assert_close(values[[1, 3, 5]], alone[[1, 3, 5]], rtol=0, atol=0)


def test_constant_prediction_is_at_chance():
    _, counts = drawn()
    values = compute_shuffled_auc(torch.full((6, 5, 6), 0.3), counts, other_fixations(counts))
    assert values.tolist() == [0.5] * 6


def test_errors_name_both_shapes():
    pred, counts = drawn()
    with pytest.raises(ValueError, match=r"others \(5, 5, 6\).*pred \(6, 5, 6\)"):
        compute_shuffled_auc(pred, counts, other_fixations(counts)[:5])
    with pytest.raises(ValueError, match="others holds negative"):
        compute_shuffled_auc(pred, counts, -counts[0].double())
    with pytest.raises(ValueError, match=r"\[H, W\], got \(6,\)"):
        ShuffledSaliencyAUC(others=[1, 2, 3, 4, 5, 6])
    with pytest.raises(ValueError, match="twice"):
        ShuffledSaliencyAUC(others=counts[0])(pred, torch.stack([counts, counts], 1))


@pytest.mark.parametrize("weighted", [False, True])
def test_three_sources_of_negatives(weighted):
    pred, counts = drawn(9)
    counts[3] = 0
    given = torch.arange(30).view(5, 6) % 4
    groups = torch.arange(9) // 3
    own_scan_out = other_fixations(counts, groups)
    for metric, target, others in (
        (ShuffledSaliencyAUC(weighted=weighted), counts, other_fixations(counts)),
        (ShuffledSaliencyAUC(given.tolist(), weighted=weighted), counts, given),
        (ShuffledSaliencyAUC(weighted=weighted), torch.stack([counts, own_scan_out.long()], 1), own_scan_out),
    ):
        for part in (slice(0, 4), slice(4, 9)):
            metric(pred[part], target[part])
        values = compute_shuffled_auc(pred, counts, others, weighted)
        torch.testing.assert_close(metric.get_buffer(), values, equal_nan=True, rtol=0, atol=0)
        assert metric.aggregate().item() == pytest.approx(values[~values.isnan()].mean().item(), abs=1e-14)
        assert (metric.n_frames, metric.n_counted) == (9, 8)
        metric.reset()
        assert metric.n_frames == 0


def test_working_in_parts_changes_nothing():
    pred, counts = drawn(CHUNK + 10)
    metric = ShuffledSaliencyAUC()
    metric(pred, counts)
    torch.testing.assert_close(
        metric.get_buffer(), compute_shuffled_auc(pred, counts, other_fixations(counts)), equal_nan=True
    )


def test_a_bad_batch_is_refused_when_it_comes():
    pred, counts = drawn()
    metric = ShuffledSaliencyAUC()
    with pytest.raises(ValueError, match="negative"):
        metric(-pred, counts)
