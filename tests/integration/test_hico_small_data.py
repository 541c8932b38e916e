# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What HiCo's configurations do with few videos, few labels, and with data that changed under a run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow

from monai_usspeech.data.files import InputError
from tests.data.image_set_factory import make_image_set
from tests.integration.hico import run, workflow


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return make_image_set(tmp_path_factory.mktemp("few"), n_groups=20, per_group=2)


def part(made: ConfigWorkflow, name: str) -> object:
    return made.parser.get_parsed_content(name)


def test_fixmatch_takes_all_labels_where_there_are_fewer_than_its_share(images, tmp_path):
    made = run("fixmatch", images, tmp_path, label_rate=0.05, max_epochs=1, batch_size=16)
    assert (part(made, "train#dataset").labels >= 0).sum() == 1
    sampler = part(made, "train#batch_sampler")
    (labelled,) = (part(made, "train#dataset").labels >= 0).nonzero()[0]
    assert sampler.n_high == 1 and all(labelled in [item for _, item in batch] for batch in sampler)
    usual = workflow("fixmatch", images, tmp_path / "usual", batch_size=16)
    usual.initialize()
    assert part(usual, "train#batch_sampler").n_high == 2


def test_the_share_of_labelled_items_is_a_setting_of_the_run(images, tmp_path):
    run("fixmatch", images, tmp_path, max_epochs=1, label_rate=0.5)
    with pytest.raises(RuntimeError) as refused:
        run("fixmatch", images, tmp_path, max_epochs=1, label_rate=0.5, labelled_share=0.25)
    assert "labelled_share was 0.125 and is 0.25" in str(refused.value.__cause__)


def test_the_confident_answer_to_the_weak_view_is_the_label_of_the_strong_one(images, tmp_path):
    made = workflow("fixmatch", images, tmp_path)
    made.initialize()
    batch = next(iter(part(made, "train#dataloader")))
    assert not batch["image_cutout"][:, 0].any() and batch["image_cutout"][:, 1].any()
    assert (batch["image_gain"][:, 0] == 1).all() and (batch["image_blur"][:, 0] == 0).all()
    sure, other = torch.tensor([[20.0, 0.0]]).expand(8, 2), torch.tensor([[0.0, 3.0]]).expand(8, 2)
    loss = part(made, "loss")
    loss({"logits": torch.stack((sure, other))}, {"label": torch.full((8,), -1)})
    assert loss.terms["loss_pseudo"] == pytest.approx(math.log1p(math.exp(3.0)))
    loss({"logits": torch.stack((sure, other))}, {"label": torch.zeros(8, dtype=torch.int64)})
    assert loss.terms["loss_supervised"] == pytest.approx(0, abs=1e-6)  # the weak view's


def test_the_queue_is_shorter_than_the_epoch_and_drawn_from_the_seed(images, tmp_path):
    queues = []
    for seed in (0, 1):
        made = workflow("moco_v2", images, tmp_path / str(seed), queue_size=1024, seed=seed)
        made.initialize()
        assert part(made, "settings")["loss"]["queue_size"] == 16  # two batches of 8; an epoch has 20 videos
        queues.append(part(made, "loss").loss.queue)
    assert queues[0].shape == (16, 128) and not torch.equal(*queues)


def test_the_momentum_encoder_begins_as_the_network_it_follows(images, tmp_path):
    """The copy is made of the weights that the run starts from, not of those drawn before they are loaded."""
    run("simclr", images, tmp_path / "start", max_epochs=1)
    made = workflow("moco_v2", images, tmp_path / "run", initialisation=str(tmp_path / "start/model.pt"), seed=5)
    made.initialize()
    part(made, "train#trainer")
    start = torch.load(tmp_path / "start/model.pt", weights_only=True)
    copy, network = part(made, "train#inferer").key_network, part(made, "network")
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in copy.state_dict().items())
    stream = [name for name in start if name.startswith("video_stream.")]
    assert stream and all(torch.equal(start[name], copy.state_dict()[name]) for name in stream)
    assert copy.training and copy is not network


def test_a_run_does_not_go_on_with_other_data(images, tmp_path):
    output = tmp_path / "run"
    run("vcl", images, output, max_epochs=1)
    other = make_image_set(tmp_path / "other", n_groups=20, per_group=2, prefix="q")
    with pytest.raises(RuntimeError) as refused:
        run("vcl", other, output, max_epochs=2)
    assert isinstance(refused.value.__cause__, InputError) and "train_subjects" in str(refused.value.__cause__)
