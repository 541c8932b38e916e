# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from monai_usspeech.losses import MoCoLoss, moco_loss
from tests.losses.test_nt_xent import cosine, pairs


def by_loops(query, key, queue, temperature):
    values = []
    for q, k in zip(query.tolist(), key.tolist()):
        own = math.exp(cosine(q, k) / temperature)
        total = own + sum(math.exp(cosine(q, negative) / temperature) for negative in queue.tolist())
        values.append(-math.log(own / total))
    return values


def test_equals_plain_loops():
    query, key = pairs(6)
    queue = torch.randn(9, 5, dtype=torch.float64)
    expected = by_loops(query, key, queue, 0.2)
    assert moco_loss(query, key, queue).tolist() == pytest.approx(expected, abs=1e-10)
    loss = MoCoLoss(5, 9, reduction="none").double()
    loss.queue.copy_(queue)
    assert loss(query, key).tolist() == pytest.approx(expected, abs=1e-10)


def test_accuracy_is_the_share_of_queries_that_are_nearest_to_their_key():
    key, noise = pairs(12)
    query, loss = key + 0.8 * noise, MoCoLoss(5, 9).double()
    queue = loss.queue.tolist()
    loss(query, key)
    right = [all(cosine(q, k) > cosine(q, n) for n in queue) for q, k in zip(query.tolist(), key.tolist())]
    assert 0 < sum(right) < 12
    assert loss.figures["accuracy_contrast"].item() == pytest.approx(sum(right) / 12)
    same = torch.eye(5, dtype=torch.float64)[:1].expand(4, 5)
    loss.queue = same[:1].expand(9, 5)
    loss(same, same)
    assert loss.figures["accuracy_contrast"] == 0  # a tie is no hit


def test_equals_cross_entropy_and_its_limits():
    query, key = (F.normalize(y, dim=1) for y in pairs(4))
    queue = F.normalize(torch.randn(7, 5, dtype=torch.float64), dim=1)
    logits = torch.cat(((query * key).sum(1, keepdim=True), query @ queue.T), 1) / 0.07
    expected = F.cross_entropy(logits, torch.zeros(4, dtype=torch.int64))
    assert moco_loss(query, key, queue, 0.07).mean().item() == pytest.approx(expected.item(), abs=1e-12)
    same = torch.ones(3, 5)
    assert moco_loss(same, same, torch.ones(8, 5)).tolist() == pytest.approx([math.log(9)] * 3, abs=1e-6)


def test_the_queue_is_a_ring_of_the_last_keys():
    """Batches of 4 into a queue of 10, which is no multiple, against a list of all keys."""
    loss = MoCoLoss(5, 10).double()
    seen = list(loss.queue.clone())
    for step in range(6):
        query, key = pairs(4, seed=step)
        expected = sum(by_loops(query, key, torch.stack(seen[-10:]), 0.2)) / 4
        assert loss(query, key).item() == pytest.approx(expected, abs=1e-10)  # compared before the keys go in
        seen += list(F.normalize(key, dim=1))
        last = torch.stack(seen[-10:])
        assert torch.allclose(loss.queue.roll(-int(loss.position), 0), last, atol=1e-12)
    assert loss.position == 24 % 10


def test_a_batch_larger_than_the_queue_leaves_its_last_keys():
    loss = MoCoLoss(5, 3).double()
    query, key = pairs(8)
    loss(query, key)
    assert torch.allclose(loss.queue.roll(-int(loss.position), 0), F.normalize(key[-3:], dim=1), atol=1e-12)


def test_gradient_is_of_the_query_alone_and_right():
    loss = MoCoLoss(5, 7).double()
    views = pairs(4).requires_grad_()
    loss(*views).backward()  # the queue has changed between the two passes
    assert (views.grad[1] == 0).all() and (views.grad[0] != 0).any()
    loss.eval()
    assert torch.autograd.gradcheck(lambda query: loss(query, views[1].detach()), views[0].detach().requires_grad_())


def test_queue_is_saved_loaded_seeded_and_left_alone_in_evaluation(tmp_path):
    first = MoCoLoss(5, 7, seed=1).double()
    first(*pairs(4))
    torch.save(first.state_dict(), tmp_path / "loss.pt")
    second = MoCoLoss(5, 7, seed=2).double()
    assert not torch.equal(second.queue, MoCoLoss(5, 7, seed=1).double().queue)
    second.load_state_dict(torch.load(tmp_path / "loss.pt", weights_only=True))
    for step in (1, 2):
        assert second(*pairs(4, seed=step)).item() == first(*pairs(4, seed=step)).item()
    assert torch.equal(first.queue, second.queue) and first.position == second.position == 5
    before = second.queue.clone()
    second.eval()(*pairs(4))
    assert torch.equal(second.queue, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_finite_at_low_temperature_and_precision(dtype):
    query, key = pairs(8).to(dtype).requires_grad_().unbind()
    query.retain_grad()
    loss = MoCoLoss(5, 16, temperature=0.005)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(query, key)
    value.backward()
    assert value.dtype == torch.float32 and value.isfinite() and query.grad.isfinite().all()
    assert loss.queue.dtype == torch.float32


def test_wrong_options_and_shapes():
    for options in ({"queue_size": 0}, {"temperature": 0.0}, {"reduction": "median"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            MoCoLoss(**options)
    with pytest.raises(ValueError, match=r"\(7, 4\)"):
        MoCoLoss(4, 7)(torch.ones(2, 5), torch.ones(2, 5))
