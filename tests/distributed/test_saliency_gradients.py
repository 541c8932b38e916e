# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The saliency loss of two processes is that of one with the whole batch, however the frames with gaze are spread."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_usspeech.losses import SaliencyKLLoss
from tests.distributed.processes import check_mean, named, outcome, part_of, wrapped

# Frames with gaze of each process: all, unequal, none on the second.
GAZE = {"all": [1] * 8, "unequal": [1, 0, 1, 1, 1, 0, 1, 0], "one process has none": [1, 1, 0, 1, 1, 0, 0, 0]}


def case(gaze, reduction, rank=None):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, 1, 6, 7, generator=generator, dtype=torch.float64)
    target = torch.rand(8, 6, 7, generator=generator, dtype=torch.float64) * torch.tensor(GAZE[gaze])[:, None, None]
    torch.manual_seed(0)
    network = wrapped(nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 1, 1)).double())
    loss = SaliencyKLLoss(reduction=reduction)
    return outcome(loss(network(part_of(images, rank)), part_of(target, rank)), network, loss)


def cases(rank=None):
    return {f"{gaze} {reduction}": case(gaze, reduction, rank) for gaze in GAZE for reduction in ("mean", "sum")}


@pytest.mark.slow
def test_averaged_gradient_is_the_gradient_of_one_process_with_the_whole_batch(outcomes):
    for name in outcomes[0]:
        check_mean(*named(outcomes, name))
