# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What tests over two processes share: the same cases in two gloo processes, and in one with the whole batch.

A test module has a function ``cases(rank)`` at its top level, which computes a dictionary of outcomes: for rank 0 and 1
with that process's part of the items, and for None with all of them. The fixture ``outcomes`` (``conftest.py``) runs
it.
"""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

WORLD = 2
TOLERANCE = 1e-12


def part_of(values, rank):
    """All of 8 items, or the first process's 5, or the second's 3."""
    return values[{None: slice(None), 0: slice(0, 5), 1: slice(5, 8)}[rank]]


def wrapped(network):
    """The network as a training with several processes has it."""
    return DistributedDataParallel(network) if dist.is_initialized() else network


def outcome(value, network, *losses):
    """Value and gradients after a backward pass, and what the losses report; a parameter that is not read has 0."""
    value.backward()
    parameters = [pair for module in (network, *losses) for pair in module.named_parameters()]
    gradients = {
        name.removeprefix("module."): torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in parameters
    }
    result = {"value": value.item(), "gradients": gradients}
    for loss in losses:
        result.update({kind: getattr(loss, kind) for kind in ("terms", "figures") if hasattr(loss, kind)})
    return result


def _worker(rank, cases, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    torch.save(cases(rank), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def in_two_processes(cases, folder):
    """The list of ``cases(rank)`` of each of two processes, which write into ``folder``; skips without gloo."""
    if not dist.is_gloo_available():
        pytest.skip("torch was built without gloo")
    mp.spawn(_worker, args=(cases, str(folder)), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


def one_and_two(cases, folder):
    """``cases(None)`` of one process, and the list of ``cases(rank)`` of each of two."""
    two = in_two_processes(cases, folder)
    return cases(None), two


def named(outcomes, name):
    """One case of what :func:`one_and_two` gives: of one process, and of each of two."""
    one, two = outcomes
    return one[name], [rank[name] for rank in two]


def check_gradients(single, parts, nothing=False):
    """The averaged gradient, which every process has, is that of one process with the whole batch; 0 if ``nothing``."""
    assert any(gradient.abs().max() > 1e-3 for gradient in single["gradients"].values()) is not nothing
    for part in parts:
        assert part["gradients"].keys() == single["gradients"].keys()
        for name, gradient in part["gradients"].items():
            assert (gradient - single["gradients"][name]).abs().max() < TOLERANCE, name


def check_average(single, parts):
    """The processes' values average to that of one process with the whole batch."""
    average = sum(part["value"] for part in parts) / WORLD
    assert average == pytest.approx(single["value"], abs=TOLERANCE)


def check_reports(single, parts, kinds=("terms", "figures")):
    """Every process reports the numbers of one process with the whole batch."""
    for part in parts:
        for kind in kinds:
            assert part[kind].keys() == single[kind].keys()
            for name, value in part[kind].items():
                assert value.item() == pytest.approx(single[kind][name].item(), abs=TOLERANCE), name


def check_mean(single, parts):
    """A loss whose processes each have their share: value and gradient are right on average."""
    check_gradients(single, parts)
    check_average(single, parts)


def check_sum(single, parts, nothing=False):
    """A sum of terms: value and reports are those of the whole batch in every process, the gradient is on average."""
    check_gradients(single, parts, nothing)
    check_reports(single, parts)
    for part in parts:
        assert part["value"] == pytest.approx(single["value"], abs=TOLERANCE)
