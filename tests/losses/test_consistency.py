# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import pytest
import torch

from monai_usspeech.losses import (
    FixMatchLoss,
    PiModelLoss,
    TemporalEnsemblingLoss,
    consistency_distance,
    pseudo_label_loss,
    ramp_down,
    ramp_up,
    ramped_rate,
)

LABEL = [2, -1, 0, -1, 1, -1]


def batch(n_views=2, n_items=6, n_classes=3):
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.randn(n_views, n_items, n_classes, generator=generator, dtype=torch.float64)


def softmax(row):
    weights = [math.exp(value) for value in row]
    return [weight / sum(weights) for weight in weights]


def cross_entropies(logits, label):
    return [-math.log(softmax(row)[true]) if true >= 0 else 0.0 for row, true in zip(logits.tolist(), label)]


def squared(p, q):
    return sum((a - b) ** 2 for a, b in zip(p, q)) / len(p)


def test_ramps_equal_their_equations():
    assert ramp_up(0) == pytest.approx(math.exp(-5))
    assert ramp_up(20) == pytest.approx(math.exp(-5 * 0.75**2))
    assert ramp_up(80) == ramp_up(500) == ramp_up(0, length=0) == 1
    assert [ramp_down(epoch, 300) for epoch in (0, 249, 250)] == [1, 1, 1]
    assert ramp_down(275, 300) == pytest.approx(math.exp(-12.5 / 4))
    assert ramp_down(300, 300) == pytest.approx(math.exp(-12.5))
    assert all(ramp_up(epoch) < ramp_up(epoch + 1) for epoch in range(80))


def test_the_rate_rises_stays_and_falls():
    rates = [ramped_rate(epoch, 300) for epoch in range(301)]
    assert rates[0] == pytest.approx(math.exp(-5)) and rates[300] == pytest.approx(math.exp(-12.5))
    assert rates[80:251] == [1.0] * 171
    assert sorted(rates[:81]) == rates[:81] and sorted(rates[250:])[::-1] == rates[250:]
    # where the ramps overlap both count
    assert ramped_rate(5, 10, up=8, down=8) == ramp_up(5, 8) * ramp_down(5, 10, 8)


def test_pi_model_equals_the_algorithm_in_loops():
    logits, loss = batch(), PiModelLoss(max_weight=100.0, labelled_share=0.25)
    loss.set_epoch(40)
    value = loss(*logits, torch.tensor(LABEL))
    supervised = sum(cross_entropies(logits[0], LABEL)) / 6
    pairs = zip(*(view.tolist() for view in logits))
    consistency = sum(squared(softmax(a), softmax(b)) for a, b in pairs) / 6
    weight = 25 * math.exp(-5 * 0.25)
    assert value.item() == pytest.approx(supervised + weight * consistency, abs=1e-10)
    assert loss.terms["loss_supervised"].item() == pytest.approx(supervised, abs=1e-10)
    assert loss.terms["loss_consistency"].item() == pytest.approx(consistency, abs=1e-10)
    assert loss.figures["supervised_used"] == 3
    assert loss.figures["consistency_weight"].item() == pytest.approx(weight)


def test_pi_model_sends_gradients_through_both_views_and_works_without_labels():
    logits, loss = batch().requires_grad_(), PiModelLoss()
    value = loss(*logits)
    value.backward()
    assert (logits.grad.abs().sum((1, 2)) > 0).all()
    assert loss.terms.keys() == {"loss_consistency"}
    nothing = torch.full((6,), -1)
    assert PiModelLoss()(*logits, nothing).item() == pytest.approx(value.item(), abs=1e-12)
    assert PiModelLoss()(logits[0], logits[0], nothing).item() == 0


def test_temporal_ensembling_equals_the_algorithm_in_loops():
    """Three epochs over five items in batches of 3 and 2, the memory updated at the end of each epoch as printed."""
    n_items, n_classes, alpha = 5, 3, 0.6
    loss = TemporalEnsemblingLoss(n_items, n_classes, momentum=alpha, labelled_share=0.4).double()
    memory = [[0.0] * n_classes for _ in range(n_items)]
    label = [1, -1, 0, -1, -1]
    for epoch in range(3):
        loss.set_epoch(epoch)
        logits = torch.randn(n_items, n_classes, dtype=torch.float64)
        p = [softmax(row) for row in logits.tolist()]
        order = torch.randperm(n_items)
        for items in (order[:3], order[3:]):
            expected = 0.0
            for i, supervised in zip(items.tolist(), cross_entropies(logits[items], [label[i] for i in items])):
                expected += supervised / len(items)
                if epoch > 0:
                    target = [value / (1 - alpha**epoch) for value in memory[i]]
                    weight = 30 * 0.4 * math.exp(-5 * (1 - epoch / 80) ** 2)
                    expected += weight * squared(p[i], target) / len(items)
            value = loss(logits[items], items, torch.tensor(label)[items])
            assert value.item() == pytest.approx(expected, abs=1e-10)
        memory = [[alpha * a + (1 - alpha) * b for a, b in zip(*rows)] for rows in zip(memory, p)]
        assert loss.memory.tolist() == [pytest.approx(row, abs=1e-12) for row in memory]
        assert loss.visits.tolist() == [epoch + 1] * n_items


def test_constant_answers_are_their_own_target():
    logits, loss = batch()[0], TemporalEnsemblingLoss(6, 3).double()
    for _ in range(4):
        loss(logits, torch.arange(6))
        assert loss.terms["loss_consistency"].item() == pytest.approx(0, abs=1e-12)
    target, known = loss.target(torch.arange(6))
    assert torch.allclose(target, logits.softmax(1), atol=1e-12) and known.all()


def test_memory_is_saved_and_loaded_and_left_alone_in_evaluation(tmp_path):
    logits, item = batch(), torch.tensor([4, 0, 9, 2, 7, 5])
    first = TemporalEnsemblingLoss(10, 3).double()
    first.set_epoch(7)
    first(logits[0], item)
    torch.save(first.state_dict(), tmp_path / "loss.pt")
    second = TemporalEnsemblingLoss(10, 3).double()
    second.load_state_dict(torch.load(tmp_path / "loss.pt", weights_only=True))
    assert second.epoch == 7 and second.weight == first.weight
    assert second(logits[1], item).item() == first(logits[1], item).item() > 0
    before = second.memory.clone()
    second.eval()(logits[0], item)
    assert torch.equal(second.memory, before) and second.visits.sum() == 12


def test_an_item_that_comes_twice_counts_once_with_its_mean():
    logits, loss = batch()[0], TemporalEnsemblingLoss(4, 3).double()
    loss(logits[:3], torch.tensor([2, 0, 2]))
    assert loss.visits.tolist() == [1, 0, 1, 0]
    mean = (logits[0].softmax(0) + logits[2].softmax(0)) / 2
    assert torch.allclose(loss.target(torch.tensor([2]))[0][0], mean, atol=1e-12)


@pytest.mark.parametrize("pseudo", ["all", "unlabelled"])
def test_fixmatch_equals_its_equation_in_loops(pseudo):
    weak, strong = batch()
    threshold = 0.7
    loss = FixMatchLoss(threshold, weight=0.5, pseudo=pseudo)
    value = loss(weak, strong, torch.tensor(LABEL))
    total, count, confident = 0.0, 0, 0
    for a, b, true in zip(weak.tolist(), strong.tolist(), LABEL):
        if pseudo == "all" or true < 0:
            count += 1
            p = softmax(a)
            if max(p) >= threshold:
                confident += 1
                total -= math.log(softmax(b)[p.index(max(p))])
    assert 0 < confident < count
    expected = sum(cross_entropies(weak, LABEL)) / 3 + 0.5 * total / count
    assert value.item() == pytest.approx(expected, abs=1e-10)
    assert loss.terms["loss_pseudo"].item() == pytest.approx(total / count, abs=1e-10)
    assert loss.figures["confident_share"].item() == pytest.approx(confident / count)
    assert loss.figures["pseudo_used"] == count


def test_the_pseudo_label_has_no_gradient_to_the_weak_view():
    weak, strong = batch().requires_grad_().unbind()
    weak.retain_grad(), strong.retain_grad()
    FixMatchLoss(threshold=0.0)(weak, strong).backward()
    assert weak.grad is None or (weak.grad == 0).all()
    assert (strong.grad != 0).any(1).all()


def test_fixmatch_without_labels_or_without_unlabelled_items():
    weak, strong = batch()
    unlabelled = FixMatchLoss(pseudo="unlabelled")
    value = unlabelled(weak, strong, torch.tensor([0, 1, 2, 0, 1, 2]))
    assert value.item() == pytest.approx(sum(cross_entropies(weak, [0, 1, 2, 0, 1, 2])) / 6, abs=1e-10)
    assert "loss_pseudo" not in unlabelled.terms and "confident_share" not in unlabelled.figures
    every = FixMatchLoss(threshold=0.0)
    assert every(weak, strong).item() == pytest.approx(pseudo_label_loss(weak, strong, 0.0)[0].mean().item())
    assert "loss_supervised" not in every.terms


def test_gradcheck():
    # The last item is unlabelled; its pseudo-label must not change under the small steps of the check.
    logits, label = batch(n_items=3), torch.tensor([0, 2, -1])
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda y: PiModelLoss(ramp_epochs=0)(*y, label), logits)
    assert torch.autograd.gradcheck(lambda y: FixMatchLoss(threshold=0.0)(*y, label), logits)
    ensemble = TemporalEnsemblingLoss(3, 3, ramp_epochs=0).double()
    ensemble(logits[1].detach(), torch.arange(3))
    ensemble.eval()
    assert torch.autograd.gradcheck(lambda y: ensemble(y, torch.arange(3), label), logits[0])


def test_finite_in_bfloat16_and_on_an_empty_batch():
    label = torch.tensor([0, 1, 2, -1, -1, 1])
    for n_items in (0, 6):
        weak, strong = (100 * batch()[:, :n_items]).bfloat16().requires_grad_().unbind()
        ensemble = TemporalEnsemblingLoss(6, 3)
        losses = [
            PiModelLoss()(weak, strong, label[:n_items]),
            FixMatchLoss()(weak, strong, label[:n_items]),
            *(ensemble(view, torch.arange(n_items), label[:n_items]) for view in (weak, strong)),
        ]
        sum(losses).backward()
        assert all(value.isfinite() and value.dtype == torch.float32 for value in losses)
        assert n_items or all(value == 0 for value in losses)


def test_wrong_options_and_shapes():
    logits = batch()
    wrong = {
        "max_weight": lambda: PiModelLoss(max_weight=-1.0),
        "labelled_share": lambda: PiModelLoss(labelled_share=1.5),
        "momentum": lambda: TemporalEnsemblingLoss(3, 3, momentum=1.0),
        "threshold": lambda: FixMatchLoss(threshold=2.0),
        "pseudo": lambda: FixMatchLoss(pseudo="none"),
        "equal in shape": lambda: PiModelLoss()(logits[0], logits[1][:3]),
        "label": lambda: FixMatchLoss()(*logits, torch.tensor([0])),
        "item": lambda: TemporalEnsemblingLoss(6, 4)(logits[0], torch.arange(6)),
    }
    for words, call in wrong.items():
        with pytest.raises(ValueError, match=words):
            call()


def test_distance_is_at_most_two_over_the_classes():
    far = consistency_distance(torch.tensor([[1e4, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]]))
    assert far.item() == pytest.approx(2 / 3)
