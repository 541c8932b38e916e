# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import pytest
import torch
from monai.losses import ContrastiveLoss
from torch.utils._python_dispatch import TorchDispatchMode

from monai_usspeech.losses import NTXentLoss, nt_xent_loss
from monai_usspeech.losses.nt_xent import nt_xent_and_hits


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def by_loops(view0, view1, temperature, valid=None):
    """One value per item, written from the equation."""
    n_items = len(view0)
    valid = [True] * n_items if valid is None else valid
    z = [*view0.tolist(), *view1.tolist()]
    values = []
    for item in range(n_items):
        loss = 0.0
        for i, j in ((item, item + n_items), (item + n_items, item)):
            others = [k for k in range(2 * n_items) if k != i and valid[k % n_items]]
            total = sum(math.exp(cosine(z[i], z[k]) / temperature) for k in others)
            loss += (math.log(total) - cosine(z[i], z[j]) / temperature) / 2 if valid[item] else 0.0
        values.append(loss)
    return values


def hits_by_loops(view0, view1, valid=None):
    """The share of anchors that are more similar to their positive than to every other embedding."""
    n_items, z = len(view0), [*view0.tolist(), *view1.tolist()]
    used = [i for i in range(2 * n_items) if valid is None or valid[i % n_items]]
    hits = 0
    for i in used:
        j = (i + n_items) % (2 * n_items)
        hits += all(cosine(z[i], z[j]) > cosine(z[i], z[k]) for k in used if k not in (i, j))
    return hits / len(used)


def pairs(n_items, dim=5, seed=0):
    return torch.randn(2, n_items, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Sizes(TorchDispatchMode):
    """The largest tensor that an operation makes."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for part in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(part, torch.Tensor):
                self.largest = max(self.largest, part.numel())
        return out


def test_golden_value():
    n, c = torch.arange(4.0, dtype=torch.float64)[:, None], torch.arange(3.0, dtype=torch.float64)
    value = NTXentLoss(0.5)(torch.sin(3 * n + c + 1), torch.cos(0.5 * (3 * n + c)))
    assert value.item() == pytest.approx(2.721928685090476, abs=1e-12)


@pytest.mark.parametrize("block_size", [None, 1, 5, 100])
@pytest.mark.parametrize("temperature", [0.05, 0.5, 3.0])
def test_equals_a_double_loop(temperature, block_size):
    views, valid = pairs(7), [True, False, True, True, True, False, True]
    values = nt_xent_loss(*views, temperature, block_size=block_size)
    assert values.tolist() == pytest.approx(by_loops(*views, temperature), abs=1e-10)
    values = nt_xent_loss(*views, temperature, block_size=block_size, valid=torch.tensor(valid))
    assert values.tolist() == pytest.approx(by_loops(*views, temperature, valid), abs=1e-10)
    part = nt_xent_loss(*views, temperature, block_size=block_size, anchors=slice(2, 5))
    assert part.tolist() == pytest.approx(by_loops(*views, temperature)[2:5], abs=1e-10)


def test_equals_the_contrastive_loss_of_monai():
    view0, view1 = pairs(9).float()
    assert NTXentLoss(0.5)(view0, view1).item() == pytest.approx(ContrastiveLoss(0.5)(view0, view1).item(), abs=1e-6)


def test_reductions_and_symmetry():
    view0, view1 = pairs(6)
    values = NTXentLoss(reduction="none")(view0, view1)
    assert NTXentLoss()(view0, view1).item() == pytest.approx(values.mean().item(), abs=1e-12)
    assert NTXentLoss(reduction="sum")(view0, view1).item() == pytest.approx(values.sum().item(), abs=1e-12)
    assert torch.allclose(NTXentLoss(reduction="none")(view1, view0), values, atol=1e-12)
    assert torch.allclose(NTXentLoss(reduction="none")(7.0 * view0, 0.1 * view1), values, atol=1e-12)


def test_limits():
    same = torch.ones(32, 4)
    assert NTXentLoss()(same, same).item() == pytest.approx(math.log(63), abs=1e-5)  # nothing to tell apart: chance
    unit = torch.eye(32, dtype=torch.float64)
    best = math.log(math.exp(2) + 62) - 2
    assert NTXentLoss()(unit, unit).item() == pytest.approx(best, abs=1e-12)  # 2.24: far from 0 at temperature 0.5
    assert NTXentLoss()(*pairs(1)).item() == pytest.approx(0, abs=1e-15)  # by rounding: log exp x is not always x


@pytest.mark.parametrize("block_size", [None, 3])
def test_gradcheck(block_size):
    loss = NTXentLoss(0.3, block_size=block_size)
    assert torch.autograd.gradcheck(loss, tuple(pairs(4).requires_grad_().unbind()))


def test_blocks_have_the_same_gradient():
    gradients = []
    for block_size in (None, 1, 4, 7):
        views = pairs(11).requires_grad_()
        NTXentLoss(0.1, block_size=block_size)(*views).backward()
        gradients.append(views.grad)
    assert gradients[0].abs().max() > 1e-3
    assert all((gradient - gradients[0]).abs().max() < 1e-12 for gradient in gradients[1:])


def test_no_tensor_of_the_block_form_is_larger_than_a_block_or_the_embeddings():
    n_items, dim, block_size = 128, 6, 8
    sizes, kept = {}, {}
    for blocks in (None, block_size):
        views, held = pairs(n_items, dim).requires_grad_(), {}

        def keep(tensor, held=held):
            held[tensor.untyped_storage().data_ptr()] = tensor.numel()
            return tensor

        with Sizes() as seen:
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                value = NTXentLoss(block_size=blocks)(*views)
            value.backward()
        sizes[blocks], kept[blocks] = seen.largest, sum(held.values())
    assert sizes[None] == (2 * n_items) ** 2
    assert sizes[block_size] == block_size * 2 * n_items
    assert kept[None] > (2 * n_items) ** 2
    assert kept[block_size] < 10 * 2 * n_items * dim  # between forward and backward no logits are held


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("temperature", [0.5, 0.005])
@pytest.mark.parametrize("block_size", [None, 5])
def test_finite_at_low_temperature_and_precision(dtype, temperature, block_size):
    view0, view1 = (1e3 * pairs(16)).to(dtype)
    view1[:8] = -view0[:8]  # the worst case: positives point away
    views = [view.clone().requires_grad_() for view in (view0, view1)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = NTXentLoss(temperature, block_size)(*views)
        value.backward()
    exact = NTXentLoss(temperature)(view0.double(), view1.double())
    assert value.dtype == torch.float32 and all(view.grad.isfinite().all() for view in views)
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize("block_size", [None, 5])
def test_items_that_are_not_valid_do_not_touch_the_rest(block_size):
    views, valid = pairs(6), torch.tensor([True, True, False, True, False, True])
    views[0, 2], views[1, 4] = torch.nan, torch.inf
    views.requires_grad_()
    value = NTXentLoss(block_size=block_size)(*views, valid)
    value.backward()
    assert value.item() == pytest.approx(NTXentLoss()(*views.detach()[:, valid]).item(), abs=1e-12)
    assert (views.grad[:, ~valid] == 0).all() and views.grad.isfinite().all()


@pytest.mark.parametrize("block_size", [None, 2])
@pytest.mark.parametrize("n_items", [0, 3])
def test_nothing_valid_is_zero_with_a_graph(n_items, block_size):
    views = pairs(n_items).requires_grad_()
    value = NTXentLoss(block_size=block_size)(*views, torch.zeros(n_items, dtype=torch.bool))
    value.backward()
    assert value.item() == 0 and (views.grad == 0).all()


@pytest.mark.parametrize("block_size", [None, 1, 5])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_accuracy_is_the_share_of_anchors_whose_positive_is_nearest(block_size, reduction):
    view0, noise = pairs(9)
    view1, valid = view0 + 0.7 * noise, [True, False, True, True, True, False, True, True, True]
    loss = NTXentLoss(block_size=block_size, reduction=reduction)
    for given in (None, valid):
        loss(view0, view1, None if given is None else torch.tensor(given))
        expected = hits_by_loops(view0, view1, given)
        assert 0.2 < expected < 0.9
        assert loss.figures["accuracy_contrast"].item() == pytest.approx(expected)
    values, hits = nt_xent_and_hits(view0, view1, valid=torch.tensor(valid), anchors=slice(1, 6))
    assert values.shape == hits.shape == (5,) and hits[0] == 0 and set(hits.tolist()) <= {0.0, 0.5, 1.0}
    assert not hits.requires_grad


@pytest.mark.parametrize("block_size", [None, 3])
def test_limits_of_the_accuracy(block_size):
    loss, same = NTXentLoss(block_size=block_size), torch.zeros(8, 4)
    same[:, 0] = 1  # exactly the same direction, so that no rounding decides
    loss(same, same)
    assert loss.figures["accuracy_contrast"] == 0  # a collapsed network finds nothing
    loss(torch.eye(8), torch.eye(8))
    assert loss.figures["accuracy_contrast"] == 1
    loss(same, torch.full_like(same, torch.nan))
    assert loss.figures["accuracy_contrast"] == 0
    loss(same, same, torch.zeros(8, dtype=torch.bool))
    assert loss.figures == {}


def test_wrong_options_and_shapes():
    for options in ({"temperature": 0.0}, {"block_size": 0}, {"reduction": "median"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            NTXentLoss(**options)
    with pytest.raises(ValueError, match=r"\(3, 4\), \(2, 4\)"):
        NTXentLoss()(torch.ones(3, 4), torch.ones(2, 4))
    with pytest.raises(ValueError, match="valid"):
        nt_xent_loss(torch.ones(3, 4), torch.ones(3, 4), valid=torch.ones(2, dtype=torch.bool))
