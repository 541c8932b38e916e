# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import pytest
import torch

from monai_usspeech.losses import (
    CorrespondenceLoss,
    CrossModalContrastiveLoss,
    FrameOrderLoss,
    NTXentLoss,
    VideoSpeechLoss,
    correspondence_loss,
    frame_order_loss,
)


def batch(b=5, k=2, dim=6, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    prediction = {
        "correspondence": normal(b, k, 2, 2),
        "video": normal(b, k, dim),
        "speech": normal(b, k, dim),
        "negative": normal(b, k, dim),
        "order": normal(b, 12),
    }
    target = {
        "pair_valid": torch.rand(b, k, generator=generator) < 0.7,
        "order_valid": torch.tensor([True, False, True, True, False])[:b],
        "order_label": torch.randint(0, 12, (b,), generator=generator),
        "clip_id": torch.arange(b) + 7,
        "scan_index": torch.arange(b) // 3,
        "clip_index": torch.arange(b),
    }
    return prediction, target


def cross_entropy(logits, label):
    logits = logits.tolist()
    return math.log(sum(math.exp(x) for x in logits)) - logits[label]


def test_terms_equal_plain_loops():
    prediction, target = batch()
    loss = VideoSpeechLoss(alpha=0.5, beta=2.0, gamma=3.0)
    total = loss(prediction, target)
    pairs = [(b, k) for b in range(5) for k in range(2) if target["pair_valid"][b, k]]
    values = [
        cross_entropy(prediction["correspondence"][b, k, member], label)
        for b, k in pairs
        for member, label in ((0, 1), (1, 0))
    ]
    cls = sum(values) / len(values)
    orders = [b for b in range(5) if target["order_valid"][b]]
    order = sum(cross_entropy(prediction["order"][b], int(target["order_label"][b])) for b in orders) / len(orders)
    keep = target["pair_valid"].flatten()
    flat = [prediction[name].flatten(0, 1)[keep] for name in ("video", "speech", "negative")]
    cont = CrossModalContrastiveLoss()(*flat, clip_id=target["clip_id"].repeat_interleave(2)[keep]).item()
    assert loss.terms["loss_cls"].item() == pytest.approx(cls, abs=1e-12)
    assert loss.terms["loss_cont"].item() == pytest.approx(cont, abs=1e-12)
    assert loss.terms["loss_ord"].item() == pytest.approx(order, abs=1e-12)
    assert total.item() == pytest.approx(0.5 * cls + 2 * cont + 3 * order, abs=1e-12)
    assert loss.figures["pairs_used"] == len(pairs) and loss.figures["order_used"] == 3
    assert loss.figures["temperature"] == 1
    assert not any(value.requires_grad for value in (*loss.terms.values(), *loss.figures.values()))


def test_figures_count_what_is_right():
    prediction, target = batch()
    target["pair_valid"][:] = True
    target["pair_valid"][0, 0] = False
    right = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    prediction["correspondence"] = right.expand(5, 2, 2, 2).clone()
    prediction["correspondence"][0, 0] = right.flip(1)  # wrong twice, and not valid
    prediction["correspondence"][1, 0, 1] = right[0]  # one of the 18 members wrong
    prediction["speech"], prediction["negative"] = prediction["video"], -prediction["video"]
    prediction["order"] = torch.eye(12, dtype=torch.float64)[target["order_label"]]
    prediction["order"][0] = 0.0
    prediction["order"][0, (target["order_label"][0] + 1) % 12] = 1.0
    loss = VideoSpeechLoss()
    loss(prediction, target)
    assert loss.figures["accuracy_cls"].item() == pytest.approx(17 / 18)
    assert loss.figures["accuracy_cont"] == 1
    assert loss.figures["accuracy_ord"].item() == pytest.approx(2 / 3)


def test_chance_levels():
    assert correspondence_loss(torch.zeros(3, 2, 2)).tolist() == pytest.approx([math.log(2)] * 3)
    assert frame_order_loss(torch.zeros(2, 12), torch.tensor([0, 11])).tolist() == pytest.approx([math.log(12)] * 2)


def test_terms_without_valid_items_are_zero_and_keep_their_graph():
    prediction, target = batch()
    target["pair_valid"][:] = False
    target["order_valid"][:] = False
    target["order_label"][:] = -1
    loss = VideoSpeechLoss()
    total = loss(prediction, target)
    total.backward()
    assert total.item() == 0
    assert all(value.grad is not None and (value.grad == 0).all() for value in prediction.values())
    assert loss.terms == {} and "accuracy_cls" not in loss.figures and loss.figures["pairs_used"] == 0


def test_one_valid_pair_has_no_pool_and_is_skipped():
    prediction, target = batch()
    target["pair_valid"][:] = False
    target["pair_valid"][2, 1] = True
    loss = VideoSpeechLoss()
    total = loss(prediction, target)
    assert set(loss.terms) == {"loss_ord"} and loss.figures["pairs_used"] == 0
    assert total.item() == pytest.approx(loss.terms["loss_ord"].item())
    target["pair_valid"][3, 0] = True
    loss(prediction, target)
    assert set(loss.terms) == {"loss_cls", "loss_cont", "loss_ord"} and loss.figures["pairs_used"] == 2


def test_a_weight_of_zero_skips_its_term():
    prediction, target = batch()
    video_only = VideoSpeechLoss(alpha=0, beta=0)
    only_order = {"order": prediction["order"]}
    video_only(only_order, {name: target[name] for name in ("order_label", "order_valid")})
    assert set(video_only.terms) == {"loss_ord"} and set(video_only.figures) == {"accuracy_ord", "order_used"}
    learnable = CrossModalContrastiveLoss(learnable_temperature=True)
    assert not list(VideoSpeechLoss(beta=0, contrastive=learnable).parameters())
    baseline = VideoSpeechLoss(beta=0, gamma=0)
    baseline({"correspondence": prediction["correspondence"]}, {"pair_valid": target["pair_valid"]})
    assert set(baseline.terms) == {"loss_cls"}


def test_a_pair_counts_only_with_its_negative_and_neighbours_reach_the_contrastive_loss():
    prediction, target = batch()
    target["pair_valid"][:] = True
    neg_valid = torch.ones(5, 2, dtype=torch.bool)
    neg_valid[1] = False
    loss = VideoSpeechLoss(contrastive=CrossModalContrastiveLoss(exclude_neighbours=1))
    shift = torch.tensor([[1, -2], [2, 3], [4, -1], [1, 1], [-3, 2]])
    negative_clip = target["clip_index"][:, None] + shift
    loss(prediction, {**target, "neg_valid": neg_valid, "negative_clip_index": negative_clip})
    assert loss.figures["pairs_used"] == 8
    scan, clip = target["scan_index"].repeat_interleave(2), target["clip_index"].repeat_interleave(2)
    flat = [prediction[name].flatten(0, 1) for name in ("video", "speech", "negative")]
    expected = CrossModalContrastiveLoss(exclude_neighbours=1)(
        *flat, target["clip_id"].repeat_interleave(2), neg_valid.flatten(), scan, clip, clip + shift.flatten()
    )
    assert loss.terms["loss_cont"].item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_contrast_among_frames_is_the_loop_over_both_views():
    generator = torch.Generator().manual_seed(3)
    views = torch.randn(5, 3, 6, generator=generator, dtype=torch.float64)
    loss = VideoSpeechLoss(alpha=0, beta=0, gamma=0, delta=2.0, view_contrastive=NTXentLoss(0.2))
    total = loss({"views": views}, {"clip_id": torch.arange(5)})  # no pair and no order is asked for
    pool = torch.nn.functional.normalize(torch.cat((views[:, 0], views[:, 2])), dim=1).tolist()  # first and last frame
    values, hits = [], 0
    for i, anchor in enumerate(pool):
        similarity = {j: sum(a * b for a, b in zip(anchor, other)) / 0.2 for j, other in enumerate(pool) if j != i}
        partner = (i + 5) % 10
        values.append(math.log(sum(math.exp(s) for s in similarity.values())) - similarity[partner])
        hits += max(similarity, key=similarity.get) == partner
    assert total.item() == pytest.approx(2 * sum(values) / 10, abs=1e-12)
    assert loss.terms["loss_view"].item() == pytest.approx(sum(values) / 10, abs=1e-12)
    assert loss.figures["accuracy_view"].item() == pytest.approx(hits / 10)
    assert set(loss.terms) == {"loss_view"} and set(loss.figures) == {"accuracy_view"}


def test_all_clips_take_part_in_the_contrast_among_frames():
    prediction, target = batch()
    prediction["views"] = prediction["video"]
    alone, beside = (VideoSpeechLoss(delta=delta) for delta in (0.0, 0.5))
    without = alone(prediction, target)
    target["pair_valid"][0] = False  # this clip has no pair, its frames have
    views = NTXentLoss(0.1)(prediction["views"][:, 0], prediction["views"][:, 1])
    assert beside(prediction, target).item() != pytest.approx(without.item())
    assert beside.terms["loss_view"].item() == pytest.approx(views.item(), abs=1e-12)
    assert alone.view_contrastive is None and "accuracy_view" not in alone.figures


def test_gradcheck_and_low_precision():
    prediction, target = batch(3)
    names = list(prediction)
    loss = VideoSpeechLoss()
    assert torch.autograd.gradcheck(
        lambda *values: loss(dict(zip(names, values)), target), tuple(prediction[name] for name in names)
    )
    low, target = batch(dtype=torch.bfloat16)
    total = VideoSpeechLoss()(low, target)
    total.backward()
    assert total.dtype == torch.float32 and total.isfinite()
    assert all(value.grad.isfinite().all() for value in low.values())


def test_single_losses_reduce_over_valid_items():
    prediction, target = batch()
    logits, valid = prediction["correspondence"], target["pair_valid"]
    every = CorrespondenceLoss(reduction="none")(logits, valid)
    assert (every[~valid] == 0).all()
    assert CorrespondenceLoss()(logits, valid).item() == pytest.approx(every.sum().item() / valid.sum().item())
    assert CorrespondenceLoss(reduction="sum")(logits, valid).item() == pytest.approx(every.sum().item())
    assert CorrespondenceLoss()(logits).item() == pytest.approx(correspondence_loss(logits).mean().item())
    order, label = prediction["order"], target["order_label"].masked_fill(~target["order_valid"], -100)
    expected = frame_order_loss(order, label.clamp_min(0))[target["order_valid"]].mean().item()
    assert FrameOrderLoss()(order, label, target["order_valid"]).item() == pytest.approx(expected)


def test_errors_say_what_is_missing():
    prediction, target = batch()
    with pytest.raises(ValueError, match="one must be positive"):
        VideoSpeechLoss(0, 0, 0)
    with pytest.raises(ValueError, match='prediction has no "order".*gamma'):
        VideoSpeechLoss()({name: value for name, value in prediction.items() if name != "order"}, target)
    with pytest.raises(ValueError, match='target has no "clip_id".*beta'):
        VideoSpeechLoss()(prediction, {name: value for name, value in target.items() if name != "clip_id"})
    with pytest.raises(ValueError, match=r"\(4, 2\).*\(5, 2\)"):
        VideoSpeechLoss()(prediction, {**target, "pair_valid": target["pair_valid"][:4]})
    with pytest.raises(ValueError, match='prediction has no "views".*delta'):
        VideoSpeechLoss(delta=1)(prediction, target)
    with pytest.raises(ValueError, match=r"views \(5, 1, 6\).*K >= 2.*n_pairs"):
        VideoSpeechLoss(delta=1)({**prediction, "views": prediction["video"][:, :1]}, target)
    with pytest.raises(ValueError, match="reduction"):
        VideoSpeechLoss(contrastive=CrossModalContrastiveLoss(reduction="none"))
    with pytest.raises(ValueError, match="reduction"):
        VideoSpeechLoss(delta=1, view_contrastive=NTXentLoss(reduction="none"))
