# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch

from monai_usspeech.losses.terms import LossTerm, SummedLoss, check_choice, reduce_items, share_figure


def test_reductions_count_valid_items_alone():
    values, valid = torch.tensor([1.0, torch.nan, 4.0, 7.0]), torch.tensor([True, False, True, True])
    assert reduce_items(values, valid, "mean").item() == 4
    assert reduce_items(values, valid, "mean", torch.tensor(6)).item() == 2
    assert reduce_items(values, valid, "sum").item() == 12
    assert reduce_items(values, valid, "none").tolist() == [1, 0, 4, 7]


def test_the_sum_is_weighted_and_a_term_of_nothing_is_absent():
    part = torch.tensor([1.5, 3.0, 0.0], requires_grad=True)
    terms = {
        "plain": LossTerm(part[0], 2.0, torch.tensor(4)),
        "counted": LossTerm(part[1], 0.5, torch.tensor(8), {"accuracy_counted": torch.tensor(6), "share": part[1]}),
        "empty": LossTerm(part[2], 1.0, torch.tensor(0), {"accuracy_empty": torch.tensor(0)}),
    }
    loss = SummedLoss()
    value = loss.summed(terms)
    value.backward()
    assert value.item() == 2 * 1.5 + 0.5 * 3
    assert part.grad.tolist() == [2.0, 0.5, 1.0]
    assert {name: float(term) for name, term in loss.terms.items()} == {"loss_plain": 1.5, "loss_counted": 3.0}
    figures = {name: float(figure) for name, figure in loss.figures.items()}
    assert figures == {"counted_used": 8, "empty_used": 0, "accuracy_counted": 0.75, "share": 0.375}
    assert not any(number.requires_grad for number in [*loss.terms.values(), *loss.figures.values()])


def test_a_count_that_is_not_worth_reporting_is_not():
    loss = SummedLoss()
    loss.summed({"all": LossTerm(torch.tensor(1.0), 1.0, torch.tensor(4), {"share": torch.tensor(3)}, unit="")})
    assert loss.figures == {"share": 0.75}


def test_a_share_of_nothing_is_absent():
    assert share_figure("share", torch.tensor([1.0, 0.5, 0.0]), torch.tensor(6)) == {"share": 0.25}
    assert share_figure("share", torch.tensor([]), torch.tensor(0)) == {}


def test_a_choice_that_is_none_names_those_there_are():
    assert check_choice("pool", "all", ("all", "speech")) == "all"
    with pytest.raises(ValueError, match=r"pool must be one of \('all', 'speech'\), got 'al'"):
        check_choice("pool", "al", ("all", "speech"))
