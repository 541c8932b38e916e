# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from monai_usspeech.losses import SigLIPLoss


def by_loops(video, speech, clip_id, valid, scale, bias):
    total = 0.0
    for i in range(len(video)):
        for j in range(len(speech)):
            if valid[i] and valid[j]:
                z = 1 if clip_id[i] == clip_id[j] else -1
                logit = scale * float(video[i] @ speech[j]) + bias
                total += math.log1p(math.exp(-z * logit))
    return total / sum(valid)


def test_equals_plain_loops():
    video, speech = (F.normalize(y, dim=1) for y in torch.randn(2, 7, 4, dtype=torch.float64))
    clip_id, valid = [0, 0, 1, 2, 2, 3, 4], [True, True, False, True, True, True, False]
    loss = SigLIPLoss(temperature=0.2, bias=-3.0).double()
    value = loss(2 * video, 0.5 * speech, torch.tensor(clip_id), torch.tensor(valid))
    assert value.item() == pytest.approx(by_loops(video, speech, clip_id, valid, 5.0, -3.0), abs=1e-6)
    every = loss(video, speech).item()
    assert every == pytest.approx(by_loops(video, speech, range(7), [True] * 7, 5.0, -3.0), abs=1e-6)


def test_gradcheck_and_low_precision():
    loss = SigLIPLoss().double()
    inputs = torch.randn(2, 4, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: loss(*y, clip_id=torch.tensor([0, 1, 1, 2])), inputs)
    low = torch.randn(2, 8, 16).bfloat16().requires_grad_()
    value = SigLIPLoss()(*low)
    value.backward()
    assert value.dtype == torch.float32 and value.isfinite() and low.grad.isfinite().all()


def test_nothing_valid_is_zero_with_a_graph():
    loss = SigLIPLoss()
    video = torch.randn(3, 4, requires_grad=True)
    value = loss(video, torch.randn(3, 4), valid=torch.zeros(3, dtype=torch.bool))
    value.backward()
    assert value.item() == 0 and (video.grad == 0).all()
    assert loss.log_scale.grad == 0 and loss.bias.grad == 0
