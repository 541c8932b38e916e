# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest
import torch

from monai_usspeech.data.files import InputError
from monai_usspeech.engines.weights import (
    check_unseen,
    freezes_backbone,
    load_trained,
    provenance_path,
    seen_subjects,
    trained_with,
    write_weights,
)


@pytest.fixture
def weights(tmp_path):
    network = torch.nn.Linear(3, 2)
    write_weights(tmp_path / "model.pt", network.state_dict(), {"subjects": ["p001", "p002"]})
    return tmp_path / "model.pt"


def test_facts_lie_beside_the_weights(weights):
    assert json.loads(provenance_path(weights).read_text()) == {"subjects": ["p001", "p002"]}
    assert set(torch.load(weights, weights_only=True)) == {"weight", "bias"}


def test_weights_that_saw_a_test_subject_are_refused(weights):
    check_unseen(weights, ["p003", "p004"])
    with pytest.raises(InputError, match=r"1 of the test subjects.*--exclude_subjects \"\['p002'\]\""):
        check_unseen(weights, ["p002", "p003"])


def test_weights_to_be_evaluated_are_refused_by_their_own_name(weights):
    with pytest.raises(InputError, match=r"^output_dir: .*1 of the test subjects.*leave out \['p002'\]\.$"):
        check_unseen(weights, ["p002", "p003"], "output_dir")


def test_a_link_to_weights_is_no_way_around(weights, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere/ours.pt"
    link.symlink_to(weights)
    with pytest.raises(InputError, match="p002"):
        check_unseen(link, ["p002"])


def test_weights_are_used_as_they_were_trained(weights, tmp_path):
    write_weights(tmp_path / "plus.pt", {}, {"subjects": [], "settings": {"statistics": "band", "hop_length": None}})
    assert trained_with(tmp_path / "plus.pt", "statistics", "scan") == "band"
    assert trained_with(str(tmp_path / "plus.pt"), "hop_length", 120) is None
    assert trained_with(tmp_path / "plus.pt", "window_seconds", 0.6) == 0.6
    for unknown in (weights, tmp_path / "none.pt", "imagenet", None):
        assert trained_with(unknown, "statistics", "scan") == "scan"
    (tmp_path / "plus.json").write_text("{")
    with pytest.raises(InputError, match=r"plus\.json"):
        trained_with(tmp_path / "plus.pt", "statistics", "scan")


def test_weights_remember_whom_their_start_has_seen(weights, tmp_path):
    assert seen_subjects(None, ["p003"]) == ["p003"]
    assert seen_subjects(weights, ("p003", "p002")) == ["p003", "p002", "p001"]
    later = tmp_path / "later.pt"
    write_weights(later, {}, {"subjects": seen_subjects(weights, ["p003"])})
    with pytest.raises(InputError, match="p001"):
        check_unseen(later, ["p001"])


def test_weights_are_evaluated_with_the_settings_of_their_training(tmp_path):
    network, path = torch.nn.Linear(3, 2), tmp_path / "model.pt"
    write_weights(path, network.state_dict(), {"subjects": [], "settings": {"size": [224, 288], "fold": 0}})
    load_trained(network, path, {"size": (224, 288), "fold": 0})
    load_trained(network, path)
    with pytest.raises(InputError, match=r"size was \[224, 288\] and is 256\. Give those of its training"):
        load_trained(network, path, {"size": 256, "fold": 0})


def test_what_cannot_be_checked_is_said(tmp_path, caplog):
    check_unseen(None, ["p001"])
    check_unseen("imagenet", ["p001"])
    assert caplog.text == ""
    torch.save({}, tmp_path / "foreign.pt")
    check_unseen(tmp_path / "foreign.pt", ["p001"])
    assert "says nothing of whom it was trained on" in caplog.text
    (tmp_path / "foreign.json").write_text("[]")
    with pytest.raises(InputError, match="foreign.json"):
        check_unseen(tmp_path / "foreign.pt", ["p001"])


def test_trained_weights_come_back_whole(weights):
    network = torch.nn.Linear(3, 2)
    load_trained(network, weights)
    assert torch.equal(network.weight, torch.load(weights, weights_only=True)["weight"])


def test_weights_of_another_network_are_refused_and_nothing_is_loaded(weights):
    network = torch.nn.Linear(4, 2)
    before = network.weight.clone()
    with pytest.raises(InputError, match="another network"):
        load_trained(network, weights)
    assert torch.equal(network.weight, before)
    with pytest.raises(InputError, match="run the configuration's training first"):
        load_trained(network, weights.with_name("absent.pt"))
    weights.write_bytes(b"half")
    with pytest.raises(InputError, match=r"model\.pt"):
        load_trained(network, weights)


def test_a_mode_is_one_of_the_words_that_the_task_has():
    assert freezes_backbone("probe") and freezes_backbone("last_layers") and not freezes_backbone("finetune")
    with pytest.raises(InputError, match='Did you mean "probe"'):
        freezes_backbone("prob")
    assert freezes_backbone("probe", last_layers=False)
    with pytest.raises(InputError, match='none of "finetune", "probe"'):
        freezes_backbone("last_layers", last_layers=False)


def test_weights_are_written_in_the_usual_layout(tmp_path):
    network = torch.nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
    assert not network.weight.is_contiguous()
    write_weights(tmp_path / "model.pt", network.state_dict())
    written = torch.load(tmp_path / "model.pt", weights_only=True)
    assert all(tensor.is_contiguous() for tensor in written.values())
    torch.testing.assert_close(written["weight"], network.weight.detach(), rtol=0, atol=0)
