# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from monai_usspeech.losses import SupervisedLoss
from monai_usspeech.losses.supervised import supervised_term
from tests.losses.test_consistency import LABEL, batch, cross_entropies


@pytest.mark.parametrize("n_views", [1, 2, 3])
def test_equals_the_mean_over_labelled_items_and_views_in_loops(n_views):
    logits, loss = batch(n_views), SupervisedLoss()
    expected = sum(sum(cross_entropies(view, LABEL)) / 3 for view in logits) / n_views
    value = loss(logits, torch.tensor(LABEL))
    assert value.item() == pytest.approx(expected, abs=1e-12)
    assert loss(list(logits), torch.tensor(LABEL)).item() == value.item()
    assert loss.terms["loss_supervised"].item() == pytest.approx(expected, abs=1e-12)
    right = sum(view[n].argmax().item() == true for view in logits for n, true in enumerate(LABEL) if true >= 0)
    assert 0 < right < 3 * n_views
    assert loss.figures["accuracy_supervised"].item() == pytest.approx(right / (3 * n_views))
    assert loss.figures["supervised_used"] == 3


def test_two_views_weigh_a_half_each_and_their_sum_is_twice_that():
    logits, label = batch(), torch.tensor([2, 1, 0, 0, 1, 2])
    expected = 0.5 * F.cross_entropy(logits[0], label) + 0.5 * F.cross_entropy(logits[1], label)
    assert SupervisedLoss()(logits, label).item() == pytest.approx(expected.item(), abs=1e-12)
    assert supervised_term(logits, label, views="sum").loss.item() == pytest.approx(2 * expected.item(), abs=1e-12)


def test_label_smoothing_is_the_cross_entropy_to_the_smoothed_target():
    logits, expected = batch(), 0.0
    for view in logits:
        for row, true in zip(view, LABEL):
            if true >= 0:
                target = [0.3 / 3 + 0.7 * (c == true) for c in range(3)]
                expected -= sum(t * p for t, p in zip(target, row.log_softmax(0).tolist())) / 6
    assert SupervisedLoss(label_smoothing=0.3)(logits, torch.tensor(LABEL)).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n_items", [0, 6])
def test_no_label_is_zero_with_a_graph(n_items):
    logits, loss = batch(n_items=n_items).requires_grad_(), SupervisedLoss()
    value = loss(logits, torch.full((n_items,), -1))
    value.backward()
    assert value.item() == 0 and logits.grad.shape == logits.shape and (logits.grad == 0).all()
    assert loss.terms == {} and loss.figures == {"supervised_used": 0}


def test_items_without_a_label_do_not_touch_the_rest():
    logits = batch().requires_grad_()
    SupervisedLoss()(logits, torch.tensor(LABEL)).backward()
    touched = (logits.grad != 0).any(2)
    assert (touched == (torch.tensor(LABEL) >= 0)).all()
    changed = torch.where((torch.tensor(LABEL) >= 0)[:, None], logits.detach(), 50.0)
    before, after = (SupervisedLoss()(values, torch.tensor(LABEL)) for values in (logits, changed))
    assert before.item() == after.item()


def test_gradcheck():
    logits, label = batch().requires_grad_(), torch.tensor(LABEL)
    assert torch.autograd.gradcheck(lambda logits: SupervisedLoss(0.1)(logits, label), logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_computed_in_float32(dtype):
    logits = (1e3 * batch()).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = SupervisedLoss()(logits, torch.tensor(LABEL))
    value.backward()
    assert value.dtype == torch.float32 and logits.grad.isfinite().all()
    exact = SupervisedLoss()(logits.detach().double(), torch.tensor(LABEL))
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)


def test_wrong_options_and_shapes():
    with pytest.raises(ValueError, match="label_smoothing"):
        SupervisedLoss(1.5)
    with pytest.raises(ValueError, match=r"views \[N, C\]"):
        SupervisedLoss()(torch.zeros(6, 3), torch.tensor(LABEL))
    with pytest.raises(ValueError, match=r"label \(2,\)"):
        SupervisedLoss()(batch(), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="views must be one of"):
        supervised_term(batch(), torch.tensor(LABEL), views="max")
