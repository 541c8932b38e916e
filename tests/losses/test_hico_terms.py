# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from monai_usspeech.losses import hico_contrastive, softened_cross_entropy
from monai_usspeech.losses.hico_terms import hico_contrasts_and_hits
from tests.losses.test_hico import batch
from tests.losses.test_nt_xent import by_loops


def test_default_smoothing_is_label_smoothing_and_the_printed_one_a_multiple_of_it():
    logits, label = torch.randn(32, 12, dtype=torch.float64), torch.arange(32) % 12
    expected = F.cross_entropy(logits, label, label_smoothing=0.2, reduction="none")
    assert torch.allclose(softened_cross_entropy(logits, label), expected, atol=1e-12)
    spread = 12 * 0.2 / 31  # the printed target sums to 0.877, not to 1
    expected = (0.8 + spread) * F.cross_entropy(logits, label, label_smoothing=spread / (0.8 + spread))
    printed = softened_cross_entropy(logits, label, share=0.2 / 31).mean()
    assert 0.8 + spread == pytest.approx(0.877, abs=1e-3)
    assert printed.item() == pytest.approx(expected.item(), abs=1e-12)


def test_terms_asked_for_are_given_one_value_per_anchor():
    (local, medium, whole), _ = batch()
    terms = hico_contrastive(local, None, whole, 0.3, terms=["global_local", "global"], anchors=slice(1, 4))
    assert list(terms) == ["global_local", "global"]
    one, other = by_loops(whole[0], local[1], 0.3), by_loops(whole[1], local[0], 0.3)
    assert terms["global_local"].tolist() == pytest.approx([a + b for a, b in zip(one, other)][1:4], abs=1e-10)
    assert terms["global"].tolist() == pytest.approx(by_loops(*whole, 0.3)[1:4], abs=1e-10)


def test_a_level_that_a_term_reads_must_be_there():
    (local, medium, whole), _ = batch()
    with pytest.raises(ValueError, match=r"'global_medium' reads the levels \['global', 'medium'\]"):
        hico_contrastive(local, None, whole, terms=["local", "global_medium"])
    with pytest.raises(ValueError, match="'medium' reads"):
        hico_contrasts_and_hits({"local": local}, terms=["medium"])
    with pytest.raises(ValueError, match="terms must be one of"):
        hico_contrastive(local, medium, whole, terms=["P2"])
    with pytest.raises(ValueError, match="cross must be one of"):
        hico_contrastive(local, medium, whole, cross="none")
