# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What losses over items share: reductions, and sums of named terms, over the items of all processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.modules.loss import _Loss

from monai_usspeech.losses.gather import global_mean, global_sum, world_size

__all__ = ["LossTerm", "SummedLoss", "check_choice", "reduce_items", "share_figure"]

REDUCTIONS = ("mean", "sum", "none")
"""Of the values of items."""

VIEWS = ("mean", "sum")
"""Of the values of an item's views."""


def check_choice(name: str, value: str, known: tuple[str, ...]) -> str:
    """``value`` when it is one of ``known``.

    Raises:
        ValueError: when it is not; ``name`` says which option is meant.
    """
    if value not in known:
        raise ValueError(f"{name} must be one of {known}, got {value!r}.")
    return value


def reduce_items(values: Tensor, valid: Tensor, reduction: str, count: Tensor | None = None) -> Tensor:
    """Reduce one value per item over the valid items of all processes.

    Args:
        values: ``[N]``, of this process.
        valid: bool ``[N]``.
        reduction: ``"mean"`` or ``"sum"``: a scalar whose average over the processes is the mean or sum over all items;
            ``"none"``: ``[N]``, 0 where not valid.
        count: number of valid items of all processes where it is known already.

    Raises:
        ValueError: when the shapes differ.
    """
    if valid.shape != values.shape:
        raise ValueError(f"valid {tuple(valid.shape)} must match the items {tuple(values.shape)}.")
    if reduction == "mean":
        return global_mean(values, valid, global_sum(valid.sum()) if count is None else count)
    kept = torch.where(valid, values, torch.zeros_like(values))
    return kept.sum() * world_size() if reduction == "sum" else kept


def share_figure(name: str, hits: Tensor, count: Tensor) -> dict[str, Tensor]:
    """``{name: the sum of hits of all processes / count}``, detached, on the CPU; empty when ``count`` items are 0."""
    share = (global_sum(hits.sum()) / count).cpu()
    return {} if share.isnan() else {name: share}


@dataclass
class LossTerm:
    """One term of a sum.

    Attributes:
        loss: this process's share, as :func:`~monai_usspeech.losses.gather.global_mean` returns it.
        weight: its factor in the sum.
        count: int64 scalar, over how many items of all processes the term was taken; 0: the term says nothing.
        figures: sums over this process's items, which divided by ``count`` are worth reporting.
        unit: what is counted: ``count`` is reported as ``<unit>_used``. None: the term's own name, beside figures;
            empty: not reported, where every item always takes part.
    """

    loss: Tensor
    weight: float
    count: Tensor
    figures: dict[str, Tensor] = field(default_factory=dict)
    unit: str | None = None


class SummedLoss(_Loss):
    """Base of losses that are weighted sums of named terms.

    After each call ``terms`` holds the unweighted terms (``loss_<name>``) and ``figures`` what else is worth logging:
    detached scalars on the CPU, over the batch of all processes: ``<name>_used``, the items of a term that has figures
    and a count worth reporting, and those figures. A term that no item took part in is absent.
    """

    def __init__(self) -> None:
        super().__init__()
        self.terms: dict[str, Tensor] = {}
        self.figures: dict[str, Tensor] = {}

    def summed(self, terms: Mapping[str, LossTerm]) -> Tensor:
        """The weighted sum: the same value in all processes, each with its own share of the gradient."""
        parts = list(terms.values())
        dtype = torch.promote_types(parts[0].loss.dtype, torch.float32)
        figures = {name: (value, place) for place, term in enumerate(parts) for name, value in term.figures.items()}
        mine = [term.loss.detach() / world_size() for term in parts] + [value.detach() for value, _ in figures.values()]
        everywhere = global_sum(torch.stack([value.to(dtype) for value in mine]))
        counts = torch.stack([term.count for term in parts]).to(dtype)
        numbers = torch.cat((everywhere, counts)).cpu()  # one wait for the device, not one per number
        n_terms = len(parts)
        count = numbers[-n_terms:]
        self.terms = {f"loss_{name}": numbers[place] for place, name in enumerate(terms) if count[place] > 0}
        units = [name if term.unit is None else term.unit for name, term in terms.items()]
        used = {unit: place for place, unit in enumerate(units) if unit and (parts[place].figures or parts[place].unit)}
        self.figures = {f"{unit}_used": count[place] for unit, place in used.items()}
        for value, (name, (_, place)) in zip(numbers[n_terms:-n_terms], figures.items()):
            if count[place] > 0:
                self.figures[name] = value / count[place]
        total = torch.stack([term.weight * term.loss for term in parts]).sum()
        value = torch.stack([term.weight * loss for term, loss in zip(parts, everywhere)]).sum()
        return total + (value - total.detach())
