# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Several forward passes before one backward pass, in two processes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from monai_usspeech.engines.view_inferer import ViewInferer
from tests.distributed.processes import TOLERANCE, WORLD, one_and_two

pytestmark = pytest.mark.slow


def network():
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*layers).double()


def gradients(trained, rank):
    """The gradients of the two views of a process's own items, added up over two backward passes."""
    views = torch.randn(2, 4, 1, 8, 8, generator=torch.Generator().manual_seed(rank), dtype=torch.float64)
    for _ in range(2):
        ViewInferer()(views, trained).square().sum().backward()
    return [parameter.grad for parameter in trained.parameters()]


def cases(rank):
    if rank is None:
        return [gradients(network(), each) for each in range(WORLD)]
    found = {"averaged": gradients(DistributedDataParallel(network(), broadcast_buffers=False), rank)}
    try:
        gradients(DistributedDataParallel(network()), rank)
    except RuntimeError as error:
        found["refused"] = str(error)
    return found


@pytest.fixture(scope="module")
def own_and_parts(tmp_path_factory):
    return one_and_two(cases, tmp_path_factory.mktemp("ranks"))


def test_the_gradient_of_all_views_is_averaged_when_buffers_are_not_broadcast(own_and_parts):
    own, parts = own_and_parts
    for part in parts:
        for averaged, *alone in zip(part["averaged"], *own):
            torch.testing.assert_close(averaged, sum(alone) / WORLD, rtol=0, atol=TOLERANCE)


def test_broadcast_buffers_are_refused_by_the_backward_pass(own_and_parts):
    # what ViewInferer's docstring warns of; when torch no longer refuses, the warning can go
    _, parts = own_and_parts
    assert all("modified by an inplace operation" in part["refused"] for part in parts)
