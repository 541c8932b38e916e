# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from monai_usspeech.networks import CorrespondenceHead, OrderHead, ProjectionHead, se_resnext_small

PERMUTATIONS = list(permutations(range(4)))
CANONICAL = [p for p in PERMUTATIONS if p[0] < p[-1]]
LABELS = torch.tensor([CANONICAL.index(p if p[0] < p[-1] else p[::-1]) for p in PERMUTATIONS])


def test_widths_are_the_papers_for_2048_features():
    with torch.device("meta"):
        cls, proj, order = CorrespondenceHead(2048), ProjectionHead(2048), OrderHead(2048)
        assert cls(torch.empty(3, 2, 2048), torch.empty(3, 2, 2048)).shape == (3, 2, 2)
        assert proj(torch.empty(3, 2, 2048)).shape == (3, 2, 128)
        assert order(torch.empty(3, 4, 2048, 16, 16)).shape == (3, 12)
    assert (cls.fuse.in_features, cls.fuse.out_features) == (4096, 512)
    assert (proj.hidden.out_features, proj.out.out_features) == (2048, 128)
    assert (order.reduce.out_channels, order.frame.in_features, order.frame.out_features) == (128, 2048, 512)
    assert order.classify.in_features == 6 * 256


def test_a_linear_classifier_of_the_concatenation_cannot_learn_correspondence_and_the_head_can():
    # Four topics; a positive pair shares its topic, a negative has any other. Both marginals are uniform either way.
    topics = [(v, s) for v in range(4) for s in range(4)]
    weights = torch.tensor([3.0 if v == s else 1.0 for v, s in topics])  # as many positives as negatives
    label = torch.tensor([int(v == s) for v, s in topics])
    video, speech = (F.one_hot(torch.tensor(side), 4).float() for side in zip(*topics))

    def loss(logits):
        return (F.cross_entropy(logits, label, reduction="none") * weights).sum() / weights.sum()

    linear = nn.Linear(8, 2)
    nn.init.zeros_(linear.weight), nn.init.zeros_(linear.bias)
    value = loss(linear(torch.cat((video, speech), 1)))
    value.backward()
    # The loss is convex in the linear classifier, so a vanishing gradient at "I do not know" makes that the optimum.
    assert value.item() == pytest.approx(math.log(2))
    assert linear.weight.grad.abs().max() < 1e-7 and linear.bias.grad.abs().max() < 1e-7

    torch.manual_seed(0)
    head = CorrespondenceHead(4, hidden=32)
    optimizer = torch.optim.Adam(head.parameters(), 0.02)
    for _ in range(200):
        optimizer.zero_grad()
        value = loss(head(video, speech))
        value.backward()
        optimizer.step()
    assert value.item() < 0.05
    assert torch.equal(head(video, speech).argmax(1), label)


@pytest.mark.parametrize("head", ["pairwise", "concat"])
def test_order_logits_are_the_same_for_frames_shown_backwards(head):
    torch.manual_seed(0)
    features = torch.randn(5, 4, 32, 4, 4)
    order = OrderHead(32, head=head)
    assert torch.equal(order(features), order(features.flip(1)))
    assert not torch.allclose(order(features), order(features[:, [1, 0, 2, 3]]), atol=1e-4)
    free = OrderHead(32, head=head, symmetric=False)
    assert not torch.allclose(free(features), free(features.flip(1)), atol=1e-4)


@pytest.mark.parametrize("side", [2, 4, 6, 8])
def test_order_head_keeps_the_layout_at_any_map_size(side):
    torch.manual_seed(0)
    order = OrderHead(16)
    features = torch.randn(2, 4, 16, side, side)
    moved = features.clone()
    moved[:, 0] = features[:, 0].flip(-1)  # the same global average, another layout
    assert not torch.allclose(order(features), order(moved), atol=1e-4)


def moving_blobs(n, generator):
    """Four shuffled frames ``[n, 4, 1, 32, 32]`` of a blob that falls at a random place and speed, and the class."""
    start = (torch.rand(n, 1, 2, generator=generator) - 0.5) * 1.2
    speed = 0.3 + 0.3 * torch.rand(n, 1, generator=generator)
    y = start[..., 0] + speed * (torch.arange(4.0) - 1.5)
    x = start[..., 1].expand(-1, 4)
    axis = torch.linspace(-1.5, 1.5, 32)
    image = torch.exp(-((axis[:, None] - y[..., None, None]) ** 2 + (axis - x[..., None, None]) ** 2) / 0.12)
    image = 2 * image + 0.1 * torch.randn(image.shape, generator=generator)
    drawn = torch.randint(0, 24, (n,), generator=generator)
    shown = torch.tensor(PERMUTATIONS)[drawn]
    return image.gather(1, shown[:, :, None, None].expand_as(image))[:, :, None], LABELS[drawn]


def test_order_head_learns_a_moving_blob():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    backbone = se_resnext_small(output_stride=8)
    head = OrderHead(backbone.num_features)
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=100)
    hits = []
    for _ in range(100):
        frames, label = moving_blobs(24, generator)
        logits = head(backbone.forward_features(frames.flatten(0, 1)).unflatten(0, (24, 4)))
        optimizer.zero_grad()
        F.cross_entropy(logits, label).backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        schedule.step()
        hits.append((logits.argmax(1) == label).float().mean().item())
    # 24 new clips a step, so this is accuracy on unseen clips; chance is 1/12, and 480 clips give it an error of 0.013.
    assert sum(hits[-20:]) / 20 > 0.5


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"\(2, 8\) and \(3, 8\)"):
        CorrespondenceHead(8)(torch.zeros(2, 8), torch.zeros(3, 8))
    with pytest.raises(ValueError, match=r"\[B, 4, C, h, w\].*\(2, 3, 16, 4, 4\)"):
        OrderHead(16)(torch.zeros(2, 3, 16, 4, 4))
    with pytest.raises(ValueError, match="head.*mlp"):
        OrderHead(16, head="mlp")
