# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch

from monai_usspeech.losses import NTXentLoss, USCLLoss
from tests.losses.test_consistency import LABEL, batch, cross_entropies
from tests.losses.test_nt_xent import by_loops, hits_by_loops, pairs


@pytest.mark.parametrize("block_size", [None, 3])
def test_equals_the_equation_in_loops(block_size):
    embedding, logits = pairs(6), batch()
    loss = USCLLoss(temperature=0.3, weight=0.7, block_size=block_size)
    value = loss(embedding, logits, torch.tensor(LABEL))
    contrast = sum(by_loops(*embedding, 0.3)) / 6
    supervised = sum(sum(cross_entropies(view, LABEL)) / 3 for view in logits)  # CE_1 + CE_2
    assert value.item() == pytest.approx(contrast + 0.7 * supervised, abs=1e-10)
    assert loss.terms["loss_contrast"].item() == pytest.approx(contrast, abs=1e-10)
    assert loss.terms["loss_supervised"].item() == pytest.approx(supervised, abs=1e-10)
    right = sum(view[n].argmax().item() == true for view in logits for n, true in enumerate(LABEL) if true >= 0)
    figures = {"accuracy_contrast": hits_by_loops(*embedding), "supervised_used": 3, "accuracy_supervised": right / 6}
    assert {name: value.item() for name, value in loss.figures.items()} == pytest.approx(figures)


def test_without_labels_it_is_nt_xent():
    embedding, logits = pairs(6), batch().requires_grad_()
    expected = NTXentLoss()(*embedding).item()
    loss = USCLLoss()
    value = loss(embedding, logits, torch.full((6,), -1))
    value.backward()
    assert value.item() == pytest.approx(expected, abs=1e-12)
    assert (logits.grad == 0).all() and "loss_supervised" not in loss.terms and loss.figures["supervised_used"] == 0
    assert USCLLoss()(embedding).item() == pytest.approx(expected, abs=1e-12)
    assert USCLLoss(weight=0.0)(embedding, logits).item() == pytest.approx(expected, abs=1e-12)


def test_gradcheck():
    inputs = (pairs(3, 2).requires_grad_(), batch(n_items=3).requires_grad_())
    label = torch.tensor([1, -1, 2])
    assert torch.autograd.gradcheck(lambda embedding, logits: USCLLoss(0.3)(embedding, logits, label), inputs)


def test_finite_at_low_temperature_and_precision():
    embedding, logits = pairs(6).bfloat16().requires_grad_(), batch().bfloat16().requires_grad_()
    value = USCLLoss(temperature=0.005)(embedding, logits, torch.tensor(LABEL))
    value.backward()
    assert value.dtype == torch.float32 and value.isfinite()
    assert embedding.grad.isfinite().all() and logits.grad.isfinite().all()
    assert USCLLoss()(pairs(1), batch(n_items=1), torch.tensor([0])).isfinite()


def test_wrong_options_and_shapes():
    for options in ({"temperature": 0.0}, {"weight": -1.0}, {"block_size": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            USCLLoss(**options)
    with pytest.raises(ValueError, match="two views"):
        USCLLoss()(pairs(6)[:1])
    with pytest.raises(ValueError, match="both logits and label"):
        USCLLoss()(pairs(6), batch())
    with pytest.raises(ValueError, match=r"two views \[N, C\]"):
        USCLLoss()(pairs(6), batch(n_views=3), torch.tensor(LABEL))
