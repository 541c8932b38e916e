# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from monai_usspeech.losses import HiCoLoss, hico_contrastive, softened_cross_entropy
from tests.losses.test_nt_xent import by_loops


def golden_levels():
    i = torch.arange(12.0, dtype=torch.float64)

    def wave(speed, shift):
        return torch.sin(speed * i + shift).reshape(4, 3)

    return [(wave(0.37, 0.1), wave(0.37, 0.4)), (wave(0.74, 0.2), wave(0.74, 0.5)), (wave(1.11, 0.3), wave(1.11, 0.6))]


def batch(n_items=6, n_classes=5):
    generator = torch.Generator().manual_seed(0)
    levels = torch.randn(3, 2, n_items, 4, generator=generator, dtype=torch.float64)
    return levels, torch.randn(2, n_items, n_classes, generator=generator, dtype=torch.float64)


def soft_by_loops(logits, label, alpha, share):
    """Sum over the labelled items of the cross-entropy to (1 - alpha) y + share, written from Eq. 7 and 8."""
    total = 0.0
    for row, true in zip(logits.tolist(), label):
        if true >= 0:
            norm = math.log(sum(math.exp(value) for value in row))
            for c, value in enumerate(row):
                total -= ((1 - alpha) * (c == true) + share) * (value - norm)
    return total


def test_golden_values():
    levels = golden_levels()
    paper, code = hico_contrastive(*levels), hico_contrastive(*levels, cross="same_view")
    peer = sum(paper[name].mean().item() for name in ("local", "medium", "global"))
    assert peer == pytest.approx(2.796426579430, abs=1e-9)
    for terms, value in ((paper, 10.304031917367), (code, 10.256727597012)):
        crossed = terms["global_local"].mean() + terms["global_medium"].mean()
        assert crossed.item() == pytest.approx(value, abs=1e-9)
    assert HiCoLoss()(*levels).item() == pytest.approx(6.550229248398, abs=1e-9)
    assert HiCoLoss(preset="paper")(*levels).item() == pytest.approx(6.550229248398, abs=1e-9)
    assert HiCoLoss(preset="code")(*levels).item() == pytest.approx(6.526577088221, abs=1e-9)


@pytest.mark.parametrize("cross", ["cross_view", "same_view"])
def test_levels_equal_the_equations_in_loops(cross):
    (local, medium, whole), _ = batch()

    def ntx(view0, view1):
        return sum(by_loops(view0, view1, 0.3)) / len(view0)

    swap = cross == "cross_view"
    peer = ntx(*local) + ntx(*medium) + ntx(*whole)
    crossed = sum(ntx(whole[view], level[1 - view if swap else view]) for level in (local, medium) for view in (0, 1))
    loss = HiCoLoss(temperature=0.3, balance=0.7, cross=cross)
    assert loss(local, medium, whole).item() == pytest.approx(0.7 * peer + 0.3 * crossed, abs=1e-10)
    terms = {"loss_local", "loss_medium", "loss_global", "loss_global_local", "loss_global_medium"}
    assert loss.terms.keys() == terms
    assert loss.terms["loss_medium"].item() == pytest.approx(ntx(*medium), abs=1e-10)


@pytest.mark.parametrize(
    ("preset", "share", "factor"), [("default", 0.2 / 5, 0.5), ("paper", 0.2 / 5, 0.5), ("code", 0.2 / 3, 1.0)]
)
def test_softened_cross_entropy_of_each_preset(preset, share, factor):
    levels, logits = batch(n_items=6, n_classes=5)  # so alpha / C = alpha / (N - 1); four are labelled
    label = [3, -1, 0, 4, -1, 1]
    loss = HiCoLoss(preset=preset, beta=0.3)
    value = loss(*levels, logits, torch.tensor(label))
    soft = factor * sum(soft_by_loops(view, label, 0.2, share) for view in logits) / 4
    assert loss.terms["loss_soft"].item() == pytest.approx(soft, abs=1e-10)
    assert value.item() == pytest.approx(HiCoLoss(preset=preset)(*levels).item() + 0.3 * soft, abs=1e-10)
    hits = sum(view.argmax(1).tolist()[i] == true for view in logits for i, true in enumerate(label))
    assert loss.figures["accuracy_soft"].item() == pytest.approx(hits / 8)
    assert loss.figures["soft_used"] == 4


def test_default_smoothing_is_label_smoothing_and_the_printed_one_a_multiple_of_it():
    logits, label = torch.randn(32, 12, dtype=torch.float64), torch.arange(32) % 12
    expected = F.cross_entropy(logits, label, label_smoothing=0.2, reduction="none")
    assert torch.allclose(softened_cross_entropy(logits, label), expected, atol=1e-12)
    spread = 12 * 0.2 / 31  # the printed target sums to 0.877, not to 1
    expected = (0.8 + spread) * F.cross_entropy(logits, label, label_smoothing=spread / (0.8 + spread))
    printed = softened_cross_entropy(logits, label, share=0.2 / 31).mean()
    assert 0.8 + spread == pytest.approx(0.877, abs=1e-3)
    assert printed.item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("preset", ["default", "paper", "code"])
@pytest.mark.parametrize("labels", [[], [2]])
def test_no_label_or_one_label_is_guarded(preset, labels):
    levels, logits = batch()
    logits.requires_grad_()
    label = torch.tensor(labels + [-1] * (6 - len(labels)))
    loss = HiCoLoss(preset=preset)
    value = loss(*levels, logits, label)
    value.backward()
    without = HiCoLoss(preset=preset)(*levels).item()
    if labels and preset == "default":
        one = F.cross_entropy(logits[:, 0], label[:1].repeat(2), label_smoothing=0.2)
        assert value.item() == pytest.approx(without + 0.2 * one.item(), abs=1e-10)
    else:
        assert value.item() == pytest.approx(without, abs=1e-12)
        assert (logits.grad == 0).all()
        assert "loss_soft" not in loss.terms and "accuracy_soft" not in loss.figures
        assert loss.figures["soft_used"] == 0


def test_one_item_is_finite_and_beta_zero_reads_no_labels():
    levels, logits = batch(n_items=1)
    assert HiCoLoss()(*levels, logits, torch.tensor([1])).isfinite()
    assert HiCoLoss(beta=0.0)(*levels, logits).item() == 0


@pytest.mark.parametrize("preset", ["default", "paper", "code"])
def test_gradcheck(preset):
    levels, logits = batch(n_items=3, n_classes=3)
    levels = levels[..., :2].clone()
    label, loss = torch.tensor([1, -1, 2]), HiCoLoss(preset=preset, block_size=2)
    inputs = (levels.requires_grad_(), logits.requires_grad_())
    assert torch.autograd.gradcheck(lambda levels, logits: loss(*levels, logits, label), inputs)


def test_finite_in_bfloat16():
    levels, logits = (values.bfloat16().requires_grad_() for values in batch())
    value = HiCoLoss(temperature=0.005)(*levels, logits, torch.tensor([0, 1, 2, -1, 3, 4]))
    value.backward()
    assert value.dtype == torch.float32 and value.isfinite()
    assert levels.grad.isfinite().all() and logits.grad.isfinite().all()


def test_options_override_the_preset():
    loss = HiCoLoss(preset="code", cross="cross_view")
    assert (loss.cross, loss.smoothing, loss.views) == ("cross_view", "code", "sum")
    assert loss(*golden_levels()).item() == pytest.approx(6.550229248398, abs=1e-9)


def test_wrong_options_and_shapes():
    levels, logits = batch()
    for options in ({"preset": "best"}, {"cross": "none"}, {"smoothing": "x"}, {"views": "max"}, {"balance": 2.0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            HiCoLoss(**options)
    with pytest.raises(ValueError, match="two views"):
        HiCoLoss()(levels[0], levels[1], levels[2][:, :3])
    with pytest.raises(ValueError, match="both logits and label"):
        HiCoLoss()(*levels, logits)
    with pytest.raises(ValueError, match=r"label \[N\]"):
        HiCoLoss()(*levels, logits, torch.tensor([0, 1]))
