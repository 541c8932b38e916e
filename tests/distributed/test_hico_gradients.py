# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The losses of HiCo and its comparison methods: two processes against one with the whole batch, in float64."""

from __future__ import annotations

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from monai_usspeech.losses import FixMatchLoss, HiCoLoss, MoCoLoss, NTXentLoss, PiModelLoss, TemporalEnsemblingLoss
from tests.distributed.test_contrastive_gradients import check_gradients, free_port

pytestmark = pytest.mark.slow

WORLD = 2
TOLERANCE = 1e-12
VALID = [True, False, True, True, True, False, True, True]
# Labels of the whole batch; the first process has the first 5 items, the second the last 3.
LABELS = {
    "spread": [0, -1, 2, -1, 1, 1, -1, 2],
    "one process has none": [0, -1, 2, -1, 1, -1, -1, -1],
    "one label": [-1, -1, 2, -1, -1, -1, -1, -1],
    "no label": [-1] * 8,
}
NT_XENT = {
    f"nt-xent {reduction} {block_size}": {"reduction": reduction, "block_size": block_size}
    for reduction in ("mean", "sum")
    for block_size in (None, 3)
}
SUMMED = [
    *(f"{kind} {labels}" for kind in ("default", "paper", "code", "pi", "fixmatch") for labels in LABELS),
    "ensembling",
]


class Toy(nn.Module):
    """Two views of an item to six embeddings and two logits of three classes."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(6, 5) for _ in range(3))
        self.classifier = nn.Linear(5, 3)

    def forward(self, rows):
        views = [self.trunk(view) for view in rows.unbind(1)]
        levels = [[head(view) for view in views] for head in self.heads]
        return levels, [5 * self.classifier(view) for view in levels[2]]


def part_of(values, rank):
    return values[{None: slice(None), 0: slice(0, 5), 1: slice(5, 8)}[rank]]


def network_and_rows(rank):
    torch.manual_seed(0)
    network = Toy().double()
    rows = torch.randn(8, 2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wrapped = DistributedDataParallel(network) if dist.is_initialized() else network
    return wrapped, part_of(rows, rank)


def outcome(value, network, loss):
    value.backward()
    gradients = {name.removeprefix("module."): p.grad.clone() for name, p in network.named_parameters()}
    result = {"value": value.item(), "gradients": gradients}
    return {**result, **{kind: getattr(loss, kind) for kind in ("terms", "figures") if hasattr(loss, kind)}}


def touched(levels, logits):
    """0, with a graph to every parameter."""
    return 0.0 * (sum(view.sum() for level in levels for view in level) + sum(view.sum() for view in logits))


def nt_xent_case(options, rank):
    network, rows = network_and_rows(rank)
    levels, logits = network(rows)
    loss = NTXentLoss(0.2, **options)
    value = loss(*levels[0], part_of(torch.tensor(VALID), rank))
    return outcome(value + touched(levels, logits), network, loss)


def moco_case(rank):
    network, rows = network_and_rows(rank)
    loss = MoCoLoss(5, 11).double()
    for _ in range(3):  # the queue of the later steps holds keys of both processes
        network.zero_grad()
        levels, logits = network(rows)
        result = outcome(loss(*levels[1]) + touched(levels, logits), network, loss)
    return {**result, "state": {"queue": loss.queue, "position": loss.position}}


def summed_case(name, rank):
    kind, _, labels = name.partition(" ")
    network, rows = network_and_rows(rank)
    label = part_of(torch.tensor(LABELS.get(labels, LABELS["spread"])), rank)
    item = part_of(torch.tensor([3, 0, 9, 4, 7, 1, 2, 9]), rank)  # 9 is in both processes
    ensembling = TemporalEnsemblingLoss(10, 3, ramp_epochs=0).double()
    for step in range(2 if kind == "ensembling" else 1):
        network.zero_grad()
        levels, logits = network(rows + step)
        if kind in ("default", "paper", "code"):
            loss = HiCoLoss(preset=kind)
            value = loss(*levels, logits, label)
        elif kind == "ensembling":
            loss = ensembling
            value = loss(logits[0], item, label)
        else:
            loss = PiModelLoss(ramp_epochs=0) if kind == "pi" else FixMatchLoss(threshold=0.6)
            value = loss(*logits, label)
        result = outcome(value + touched(levels, logits), network, loss)
    return {**result, "state": {"memory": ensembling.memory, "visits": ensembling.visits}}


def cases(rank=None):
    results = {name: nt_xent_case(options, rank) for name, options in NT_XENT.items()}
    results["moco"] = moco_case(rank)
    return {**results, **{name: summed_case(name, rank) for name in SUMMED}}


def worker(rank, port, folder):
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=WORLD)
    torch.save(cases(rank), os.path.join(folder, f"{rank}.pt"))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Results of one process with the whole batch, and of each of two."""
    if not dist.is_gloo_available():
        pytest.skip("torch was built without gloo")
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(worker, args=(free_port(), str(folder)), nprocs=WORLD)
    return cases(), [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


@pytest.mark.parametrize("name", [*NT_XENT, "moco"])
def test_averaged_gradient_is_the_gradient_of_one_process_with_the_whole_batch(outcomes, name):
    single, parts = outcomes[0][name], [rank[name] for rank in outcomes[1]]
    check_gradients(single, parts)
    average = sum(part["value"] for part in parts) / WORLD
    assert average == pytest.approx(single["value"], abs=TOLERANCE)


@pytest.mark.parametrize("name", SUMMED)
def test_sums_do_not_depend_on_how_the_labelled_items_are_spread(outcomes, name):
    single, parts = outcomes[0][name], [rank[name] for rank in outcomes[1]]
    check_gradients(single, parts)
    for part in parts:
        assert part["value"] == pytest.approx(single["value"], abs=TOLERANCE)
        for kind in ("terms", "figures"):
            assert part[kind].keys() == single[kind].keys()
            for key, value in part[kind].items():
                assert value.item() == pytest.approx(single[kind][key].item(), abs=TOLERANCE), key


@pytest.mark.parametrize("name", ["moco", "ensembling"])
def test_memories_are_alike_in_all_processes(outcomes, name):
    single, parts = outcomes[0][name], [rank[name] for rank in outcomes[1]]
    for part in parts:
        for key, value in single["state"].items():
            assert value.abs().sum() > 0
            assert torch.allclose(part["state"][key].double(), value.double(), rtol=0, atol=TOLERANCE), key
