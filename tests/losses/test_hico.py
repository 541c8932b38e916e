# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch.nn import functional as F

from monai_usspeech.losses import HiCoLoss, NTXentLoss, hico_contrastive
from monai_usspeech.losses.nt_xent import nt_xent_and_hits
from tests.losses.test_nt_xent import by_loops, hits_by_loops


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


TERMS = ("local", "medium", "global", "global_local", "global_medium")
SUBSETS = [subset for size in (1, 2, 4) for subset in combinations(TERMS, size)]


@pytest.mark.parametrize("terms", SUBSETS, ids="+".join)
def test_some_terms_are_their_part_of_the_sum_and_nothing_else_is_read(terms):
    (local, medium, whole), logits = batch()
    label = torch.tensor([3, -1, 0, 4, -1, 1])
    every = HiCoLoss(balance=0.7)
    every(local, medium, whole, logits, label)
    loss = HiCoLoss(balance=0.7, terms=terms)
    given = {name: view.clone().requires_grad_() for name, view in (("local", local), ("medium", medium))}
    given["whole"] = whole.clone().requires_grad_()
    value = loss(**given, logits=logits, label=label)
    weights = {name: 0.3 if "_" in name else 0.7 for name in terms}
    expected = sum(weight * every.terms[f"loss_{name}"].item() for name, weight in weights.items())
    assert value.item() == pytest.approx(expected + 0.2 * every.terms["loss_soft"].item(), abs=1e-12)
    assert loss.terms.keys() == {f"loss_{name}" for name in (*terms, "soft")}
    value.backward()
    read = {level.replace("global", "whole") for name in terms for level in name.split("_")}
    assert {name for name, views in given.items() if views.grad is not None} == read
    without = {name: views if name in read else None for name, views in given.items()}
    assert loss(**without, logits=logits, label=label).item() == value.item()


def test_terms_that_are_left_out_are_not_computed(monkeypatch):
    calls = []

    def counted(*args, **kwargs):
        calls.append(args)
        return nt_xent_and_hits(*args, **kwargs)

    monkeypatch.setattr("monai_usspeech.losses.hico_terms.nt_xent_and_hits", counted)
    levels, _ = batch()
    for terms, expected in ((["local"], 1), (["global", "global_local"], 3), (TERMS, 7)):
        calls.clear()
        HiCoLoss(terms=terms)(*levels)
        assert len(calls) == expected


def test_the_global_term_alone_is_nt_xent():
    levels, _ = batch()
    value = HiCoLoss(temperature=0.3, balance=1.0, terms=["global"])(None, None, levels[2])
    assert value.item() == pytest.approx(NTXentLoss(0.3)(*levels[2]).item(), abs=1e-12)


@pytest.mark.parametrize("cross", ["cross_view", "same_view"])
def test_accuracies_are_the_shares_of_anchors_whose_positive_is_nearest(cross):
    (local, noise, _), _ = batch(n_items=9)
    medium, whole = local + 0.5 * noise, local - 0.4 * noise
    loss = HiCoLoss(cross=cross, block_size=4)
    loss(local, medium, whole)
    order = (1, 0) if cross == "cross_view" else (0, 1)
    expected = {"local": hits_by_loops(*local), "medium": hits_by_loops(*medium), "global": hits_by_loops(*whole)}
    for name, level in (("global_local", local), ("global_medium", medium)):
        expected[name] = sum(hits_by_loops(whole[view], level[order[view]]) for view in (0, 1)) / 2
    figures = {name: value.item() for name, value in loss.figures.items()}
    assert figures == pytest.approx({f"accuracy_{name}": share for name, share in expected.items()})
    assert max(figures.values()) > min(figures.values())


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
    for terms in ([], "local", ["local", "local"], ["P2"]):
        with pytest.raises(ValueError, match="terms must be"):
            HiCoLoss(terms=terms)
    with pytest.raises(ValueError, match=r"\['global', 'local'\], got \['medium', 'global'\]"):
        HiCoLoss(terms=["global_local"])(None, levels[1], levels[2])
    with pytest.raises(ValueError, match="two views"):
        HiCoLoss()(None, None, None)
    with pytest.raises(ValueError, match="two views"):
        HiCoLoss()(levels[0], levels[1], levels[2][:, :3])
    with pytest.raises(ValueError, match="both logits and label"):
        HiCoLoss()(*levels, logits)
    with pytest.raises(ValueError, match=r"label \[N\]"):
        HiCoLoss()(*levels, logits, torch.tensor([0, 1]))
