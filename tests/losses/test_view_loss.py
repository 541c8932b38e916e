# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

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

LABEL = torch.tensor([2, -1, 0, -1, 1, -1])
TARGET = {"label": LABEL, "item": torch.tensor([3, 0, 5, 1, 2, 4])}


class Recorder(nn.Module):
    """Keeps what it was called with."""

    def forward(self, *views, label=None, item=None):
        self.views, self.given = views, {"label": label, "item": item}
        return torch.zeros(())


def outputs(n_views=2, **sizes):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(n_views, 6, size, generator=generator) for name, size in sizes.items()}


def test_views_become_arguments_in_order():
    prediction, recorder = outputs(a=4, b=3), Recorder()
    ViewLoss(recorder, inputs=["b", "a"], targets=["item", "label"])(prediction, TARGET)
    expected = [*prediction["b"], *prediction["a"]]
    assert len(recorder.views) == 4 and all(map(torch.equal, recorder.views, expected))
    assert recorder.given["item"] is TARGET["item"] and recorder.given["label"] is LABEL
    ViewLoss(recorder, inputs="a", targets=[], stacked=True)(prediction, TARGET)
    assert len(recorder.views) == 1 and recorder.views[0] is prediction["a"]
    assert recorder.given == {"label": None, "item": None}
    ViewLoss(recorder, inputs="whatever", targets=[])(prediction["b"], {})
    assert all(map(torch.equal, recorder.views, prediction["b"]))


@pytest.mark.parametrize("stacked", [True, False])
def test_without_optional_logits_there_are_no_labels_either(stacked):
    recorder, prediction = Recorder(), outputs(a=4)
    ViewLoss(recorder, ["a", "logits"], ["label", "item"], stacked)(prediction, TARGET)
    assert recorder.views[1 if stacked else 2 :] == ((None,) if stacked else (None, None))
    assert recorder.given["label"] is None and recorder.given["item"] is TARGET["item"]
    # A missing name that is not the logits leaves the labels alone.
    ViewLoss(recorder, ["a", "b", "logits"], stacked=stacked, optional="b")(outputs(a=4, logits=3), TARGET)
    assert recorder.given["label"] is LABEL


def test_every_loss_gets_what_a_direct_call_gets():
    p = outputs(local=5, medium=5, embedding=5, logits=3)
    p["global"] = p["embedding"] + 1
    hico = {"inputs": ["local", "medium", "global", "logits"], "stacked": True}
    cases = [
        (HiCoLoss(), hico, (p["local"], p["medium"], p["global"], p["logits"], LABEL)),
        (USCLLoss(), {"inputs": ["embedding", "logits"], "stacked": True}, (p["embedding"], p["logits"], LABEL)),
        (SupervisedLoss(), {"inputs": ["logits"], "stacked": True}, (p["logits"], LABEL)),
        (NTXentLoss(), {"inputs": ["embedding"], "targets": []}, tuple(p["embedding"])),
        (MoCoLoss(5, 7), {"inputs": ["embedding"], "targets": []}, tuple(p["embedding"])),
        (PiModelLoss(), {"inputs": ["logits"]}, (*p["logits"], LABEL)),
        (FixMatchLoss(threshold=0.5), {"inputs": ["logits"]}, (*p["logits"], LABEL)),
    ]
    for loss, options, arguments in cases:
        loss.eval()
        through = ViewLoss(loss, **options)
        value = through(p, TARGET)
        terms, figures = through.terms, through.figures
        assert value.item() == loss(*arguments).item() != 0, type(loss).__name__
        assert terms == getattr(loss, "terms", {}) and figures == loss.figures and figures
    without = {name: value for name, value in p.items() if name != "logits"}
    levels = (p["local"], p["medium"], p["global"])
    assert ViewLoss(HiCoLoss(), **hico)(without, TARGET).item() == HiCoLoss()(*levels).item()


def test_fixmatch_learns_from_the_labels_of_the_weak_view_and_the_confident_answers():
    """The logits of a network for a weak view (first) and a strong one, against the equation."""
    logits = outputs(logits=3)["logits"].double().requires_grad_()
    loss = ViewLoss(FixMatchLoss(threshold=0.6), inputs=["logits"])
    value = loss({"logits": logits}, TARGET)
    value.backward()
    p_weak, p_strong = logits.detach().softmax(2)
    labelled = [n for n in range(6) if LABEL[n] >= 0]
    expected = -sum(p_weak[n, LABEL[n]].log().item() for n in labelled) / len(labelled)
    confident = [n for n in range(6) if p_weak[n].max() >= 0.6]
    assert 0 < len(confident) < 6
    expected -= sum(p_strong[n, p_weak[n].argmax()].log().item() for n in confident) / 6
    assert value.item() == pytest.approx(expected, abs=1e-10)
    used = (logits.grad != 0).any(2)
    assert used[0].nonzero().flatten().tolist() == labelled  # no gradient through the pseudo-labels
    assert used[1].nonzero().flatten().tolist() == confident


def test_one_view_and_the_epoch_reach_temporal_ensembling():
    loss = ViewLoss(TemporalEnsemblingLoss(6, 3, ramp_epochs=10), ["logits"], ["item", "label"])
    loss.set_epoch(3)
    prediction = outputs(n_views=1, logits=3)
    loss(prediction, TARGET)
    assert loss.loss.epoch == 3 and (loss.loss.visits == 1).all()
    assert torch.allclose(loss.loss.memory[TARGET["item"]], 0.4 * prediction["logits"][0].softmax(1))
    twin = ViewLoss(TemporalEnsemblingLoss(6, 3, ramp_epochs=10), ["logits"], ["item", "label"])
    twin.load_state_dict(loss.state_dict())
    assert twin.loss.epoch == 3
    assert twin(prediction, TARGET).item() == loss(prediction, TARGET).item()
    ViewLoss(NTXentLoss(), "embedding", []).set_epoch(3)  # a loss that does not ask is left alone


def test_errors_name_what_is_missing_and_what_there_is():
    p = outputs(embedding=5, logits=3)
    with pytest.raises(ValueError, match=r"no 'local'.*\['embedding', 'logits'\]"):
        ViewLoss(HiCoLoss(), ["local", "medium", "global", "logits"], stacked=True)(p, TARGET)
    with pytest.raises(ValueError, match=r"no 'logits'.*\['embedding'\]"):  # optional, and the only input
        ViewLoss(SupervisedLoss(), ["logits"], stacked=True)({"embedding": p["embedding"]}, TARGET)
    with pytest.raises(ValueError, match=r"target has no 'item'.*\['label'\]"):
        ViewLoss(TemporalEnsemblingLoss(6, 3), ["logits"], ["item", "label"])(p, {"label": LABEL})
    with pytest.raises(ValueError, match="views, got {'embedding': 2, 'logits': 1}"):
        ViewLoss(USCLLoss(), ["embedding", "logits"], stacked=True)({**p, "logits": p["logits"][:1]}, TARGET)
    with pytest.raises(ValueError, match="at least one output"):
        ViewLoss(NTXentLoss(), [])


def test_a_loss_that_cannot_take_what_it_is_given_is_an_error_of_one_sentence():
    p = outputs(embedding=5, logits=3)
    with pytest.raises(ValueError, match="NTXentLoss cannot be called with .*'label'"):
        ViewLoss(NTXentLoss(), ["embedding"])(p, TARGET)  # the labels are not taken for the third argument, valid
    with pytest.raises(ValueError, match=r"PiModelLoss .*\(each view an argument\).*'logits1'"):
        ViewLoss(PiModelLoss(), ["logits"])(outputs(n_views=1, logits=3), TARGET)
