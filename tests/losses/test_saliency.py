# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import pytest
import torch

from monai_usspeech.losses import SaliencyKLLoss, saliency_kl_loss
from monai_usspeech.metrics import compute_saliency_kl
from monai_usspeech.networks import spatial_softmax


def by_loops(logits, target):
    """Divergences from the definition, one number at a time."""
    values = []
    for scores, wanted in zip(logits.flatten(1).tolist(), target.flatten(1).tolist()):
        normaliser = sum(math.exp(score) for score in scores)
        total = 0.0
        for score, weight in zip(scores, wanted):
            q, p = weight / sum(wanted), math.exp(score) / normaliser
            total += q * (math.log(q) - math.log(p)) if q > 0 else 0.0
        values.append(total)
    return values


def maps(n=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 1, 5, 6, generator=generator, dtype=torch.float64)
    target = torch.rand(n, 5, 6, generator=generator, dtype=torch.float64)
    return logits, target * (target > 0.6)  # most pixels exactly 0


def test_equals_plain_loops_for_targets_of_any_sum():
    logits, target = maps()
    expected = by_loops(logits, target)
    assert saliency_kl_loss(logits, target).tolist() == pytest.approx(expected, abs=1e-12)
    assert saliency_kl_loss(logits, 7 * target).tolist() == pytest.approx(expected, abs=1e-12)
    assert SaliencyKLLoss()(logits, target).item() == pytest.approx(sum(expected) / 4, abs=1e-12)
    assert SaliencyKLLoss(reduction="sum")(logits, target).item() == pytest.approx(sum(expected), abs=1e-12)
    assert SaliencyKLLoss(reduction="none")(logits, target).tolist() == pytest.approx(expected, abs=1e-12)


def test_is_the_metric_without_its_epsilon():
    logits, target = maps()
    metric = compute_saliency_kl(spatial_softmax(logits), target)
    torch.testing.assert_close(saliency_kl_loss(logits, target), metric, rtol=0, atol=1e-10)


def test_limit_cases():
    logits, target = maps(1)
    q = target / target.sum()
    entropy = -torch.xlogy(q, q).sum().item()
    constant = saliency_kl_loss(torch.full_like(logits, 3.0), target).item()
    assert constant == pytest.approx(math.log(30) - entropy, abs=1e-12)
    equal = torch.rand(1, 5, 6, dtype=torch.float64) + 0.1
    assert saliency_kl_loss(equal.log()[:, None] + 5, equal).item() == pytest.approx(0, abs=1e-12)
    point = torch.zeros(1, 5, 6, dtype=torch.float64)
    point[0, 2, 3] = 4.0
    expected = -torch.log_softmax(logits.flatten(), 0)[2 * 6 + 3].item()
    assert saliency_kl_loss(logits, point).item() == pytest.approx(expected, abs=1e-12)


def test_gradcheck_and_the_gradient_is_the_difference_of_the_densities():
    logits, target = maps(3)
    target[1] = 0
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: SaliencyKLLoss()(x, target), logits)
    saliency_kl_loss(logits, target)[0].backward()
    expected = spatial_softmax(logits.detach())[0] - target[0] / target[0].sum()
    torch.testing.assert_close(logits.grad[0, 0], expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_finite(dtype):
    logits, target = maps()
    low = (logits * 300).to(dtype).requires_grad_()
    value = SaliencyKLLoss()(low, target.to(dtype))
    value.backward()
    assert value.dtype == torch.float32 and value.isfinite() and low.grad.isfinite().all()
    plain = by_loops(logits.to(dtype).double(), target.to(dtype).double())
    assert saliency_kl_loss(logits.to(dtype), target.to(dtype)).tolist() == pytest.approx(plain, rel=1e-4)


def test_frames_without_gaze_or_not_valid_do_not_count():
    logits, target = maps()
    target[1] = 0
    target[3] = float("nan")
    valid = torch.tensor([True, True, True, False])
    logits.requires_grad_()
    value = SaliencyKLLoss()(logits, target, valid)
    kept = [0, 2]
    assert value.item() == pytest.approx(sum(by_loops(logits[kept], target[kept])) / 2, abs=1e-12)
    value.backward()
    assert (logits.grad[[1, 3]] == 0).all() and (logits.grad[kept] != 0).all()
    assert SaliencyKLLoss(reduction="none")(logits, target, valid)[[1, 3]].tolist() == [0, 0]
    assert SaliencyKLLoss()(logits, target).isnan()  # a broken target shows unless it was said to be invalid


def test_no_gaze_at_all_is_zero_with_a_graph():
    logits = torch.randn(2, 1, 4, 4, requires_grad=True)
    value = SaliencyKLLoss()(logits, torch.zeros(2, 4, 4))
    value.backward()
    assert value.item() == 0 and (logits.grad == 0).all()


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"target \[B, h, w\].*\(2, 1, 4, 4\) and \(2, 1, 4, 4\)"):
        saliency_kl_loss(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4))
    with pytest.raises(ValueError, match="logits must be"):
        saliency_kl_loss(torch.zeros(2, 2, 4, 4), torch.zeros(2, 4, 4))
    with pytest.raises(ValueError, match="valid must be"):
        SaliencyKLLoss()(torch.zeros(2, 1, 4, 4), torch.ones(2, 4, 4), torch.ones(2, 1, dtype=torch.bool))
