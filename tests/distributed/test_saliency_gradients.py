# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The saliency loss of two processes is that of one with the whole batch, however the frames with gaze are spread."""

from __future__ import annotations

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from monai_usspeech.losses import SaliencyKLLoss
from tests.distributed.test_contrastive_gradients import (
    TOLERANCE,
    WORLD,
    check_gradients,
    free_port,
    outcome,
    wrapped,
)

# Frames with gaze of each process: all, unequal, none on the second.
GAZE = {"all": [1] * 8, "unequal": [1, 0, 1, 1, 1, 0, 1, 0], "one process has none": [1, 1, 0, 1, 1, 0, 0, 0]}


def case(gaze, reduction, rank=None):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, 1, 6, 7, generator=generator, dtype=torch.float64)
    target = torch.rand(8, 6, 7, generator=generator, dtype=torch.float64) * torch.tensor(GAZE[gaze])[:, None, None]
    part = {None: slice(None), 0: slice(0, 5), 1: slice(5, 8)}[rank]
    torch.manual_seed(0)
    network = wrapped(nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 1, 1)).double())
    loss = SaliencyKLLoss(reduction=reduction)
    return outcome(loss(network(images[part]), target[part]), network, loss)


def cases(rank=None):
    return {f"{gaze} {reduction}": case(gaze, reduction, rank) for gaze in GAZE for reduction in ("mean", "sum")}


def worker(rank, port, folder):
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=WORLD)
    torch.save(cases(rank), os.path.join(folder, f"{rank}.pt"))
    dist.destroy_process_group()


@pytest.mark.slow
def test_averaged_gradient_is_the_gradient_of_one_process_with_the_whole_batch(tmp_path):
    if not dist.is_gloo_available():
        pytest.skip("torch was built without gloo")
    mp.spawn(worker, args=(free_port(), str(tmp_path)), nprocs=WORLD)
    two = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]
    for name, single in cases().items():
        check_gradients(single, [rank[name] for rank in two])
        average = sum(rank[name]["value"] for rank in two) / WORLD
        assert average == pytest.approx(single["value"], abs=TOLERANCE)
