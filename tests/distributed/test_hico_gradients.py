# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The losses of HiCo and its comparison methods: two processes against one with the whole batch, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_usspeech.losses import (
    FixMatchLoss,
    HiCoLoss,
    MoCoLoss,
    NTXentLoss,
    PiModelLoss,
    SupervisedLoss,
    TemporalEnsemblingLoss,
    USCLLoss,
    ViewLoss,
)
from tests.distributed.processes import (
    TOLERANCE,
    check_mean,
    check_reports,
    check_sum,
    named,
    outcome,
    part_of,
    wrapped,
)

pytestmark = pytest.mark.slow

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
OUTPUTS = ("local", "medium", "global", "logits")
VIEW_LOSSES = {
    "default": lambda: ViewLoss(HiCoLoss(), OUTPUTS, stacked=True),
    "paper": lambda: ViewLoss(HiCoLoss(preset="paper"), OUTPUTS, stacked=True),
    "code": lambda: ViewLoss(HiCoLoss(preset="code"), OUTPUTS, stacked=True),
    "local": lambda: ViewLoss(HiCoLoss(terms=["local"]), OUTPUTS, stacked=True),
    "cross": lambda: ViewLoss(HiCoLoss(terms=["global", "global_medium"], block_size=3), OUTPUTS, stacked=True),
    "uscl": lambda: ViewLoss(USCLLoss(temperature=0.2, block_size=3), ["global", "logits"], stacked=True),
    "supervised": lambda: ViewLoss(SupervisedLoss(label_smoothing=0.1), ["logits"], stacked=True),
    "pi": lambda: ViewLoss(PiModelLoss(ramp_epochs=0), ["logits"]),
    "fixmatch": lambda: ViewLoss(FixMatchLoss(threshold=0.6), ["logits"]),
    "ensembling": lambda: ViewLoss(
        TemporalEnsemblingLoss(10, 3, ramp_epochs=0).double(), ["logits"], ["item", "label"]
    ),
}
SUMMED = [*(f"{kind} {labels}" for kind in VIEW_LOSSES if kind != "ensembling" for labels in LABELS), "ensembling"]


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


def network_and_rows(rank):
    torch.manual_seed(0)
    rows = torch.randn(8, 2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows[:, 1] += 2 * rows[:, 0]  # so that some of the positives are the nearest
    return wrapped(Toy().double()), part_of(rows, rank)


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
    for step in range(3):  # the queue of the later steps holds keys of both processes
        network.zero_grad()
        levels, logits = network(rows + step)  # not the same items again, whose own keys are in the queue
        result = outcome(loss(*levels[1]) + touched(levels, logits), network, loss)
    return {**result, "state": {"queue": loss.queue, "position": loss.position}}


def summed_case(name, rank):
    kind, _, labels = name.partition(" ")
    network, rows = network_and_rows(rank)
    label = part_of(torch.tensor(LABELS.get(labels, LABELS["spread"])), rank)
    item = part_of(torch.tensor([3, 0, 9, 4, 7, 1, 2, 9]), rank)  # 9 is in both processes
    loss = VIEW_LOSSES[kind]()
    # HiCo's loss is given every output, and leaves no parameter without a gradient whichever terms it reads.
    whole = isinstance(loss.loss, HiCoLoss)
    for step in range(2):  # the second pass fails under DistributedDataParallel when the first left a parameter out
        network.zero_grad()
        levels, logits = network(rows + step)
        views = [*levels, logits if kind != "ensembling" else logits[:1]]
        prediction = {output: torch.stack(list(values)) for output, values in zip(OUTPUTS, views)}
        value = loss(prediction, {"label": label, "item": item})
        result = outcome(value if whole else value + touched(levels, logits), network, loss)
    return {**result, "state": {key: value for key, value in loss.state_dict().items() if torch.is_tensor(value)}}


def cases(rank=None):
    results = {name: nt_xent_case(options, rank) for name, options in NT_XENT.items()}
    results["moco"] = moco_case(rank)
    return {**results, **{name: summed_case(name, rank) for name in SUMMED}}


@pytest.mark.parametrize("name", [*NT_XENT, "moco"])
def test_averaged_gradient_is_the_gradient_of_one_process_with_the_whole_batch(outcomes, name):
    single, parts = named(outcomes, name)
    check_mean(single, parts)
    check_reports(single, parts, ["figures"])
    assert 0 < single["figures"]["accuracy_contrast"] < 1


@pytest.mark.parametrize("name", SUMMED)
def test_sums_do_not_depend_on_how_the_labelled_items_are_spread(outcomes, name):
    check_sum(*named(outcomes, name), nothing=name == "supervised no label")


@pytest.mark.parametrize("name", ["moco", "ensembling"])
def test_memories_are_alike_in_all_processes(outcomes, name):
    single, parts = named(outcomes, name)
    for part in parts:
        for key, value in single["state"].items():
            assert value.abs().sum() > 0
            assert torch.allclose(part["state"][key].double(), value.double(), rtol=0, atol=TOLERANCE), key
