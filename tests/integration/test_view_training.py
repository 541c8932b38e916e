# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The pieces of pretraining on frames in one trainer: dataset, views, network, loss and every handler."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from torch.utils.data import DataLoader

from monai_usspeech.data.batches import ClipBatchSampler
from monai_usspeech.data.frame_views import FrameViewDataset
from monai_usspeech.engines import MultiTermTrainer, PrepareViewBatch, ViewInferer
from monai_usspeech.handlers import (
    EmbeddingMonitorHandler,
    GradientClipHandler,
    HistoryHandler,
    LossEpochHandler,
    MomentumEncoderHandler,
    NonFiniteLossHandler,
    RunStateHandler,
    TrainingProgressBar,
    ViewPictureHandler,
)
from monai_usspeech.losses import FixMatchLoss, MoCoLoss, PiModelLoss, USCLLoss, ViewLoss
from monai_usspeech.networks import ContrastiveNet
from tests.data.store_factory import make_store

METHODS = {
    "moco": ({"positive": "image"}, {"embedding_dim": 8}, lambda: ViewLoss(MoCoLoss(8, 16), "embedding", ())),
    "uscl": (
        {"mix": 0.5},
        {"embedding_dim": 8, "classifier": "embedding"},
        lambda: ViewLoss(USCLLoss(), ("embedding", "logits"), stacked=True),
    ),
    "pi": ({"positive": "image"}, {"embedding_dim": None}, lambda: ViewLoss(PiModelLoss(), "logits")),
    "fixmatch": (
        {"positive": "image", "augment_second": {"strong": 2, "cutout": 0.5}},
        {"embedding_dim": None},
        lambda: ViewLoss(FixMatchLoss(threshold=0.1), "logits"),
    ),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("views") / "store", 3, seconds=8.0, size=32, speech=False, planes=True)


def train(store: Path, folder: Path, method: str, stop_at: int | None = None, seed: int = 0, broken: bool = False):
    """Two epochs of three batches; returns what the run state holds, by name."""
    data, shape, loss = METHODS[method]
    torch.manual_seed(seed)
    dataset = FrameViewDataset(store, clip_seconds=2.0, **data)
    n_classes = None if method == "moco" else dataset.num_classes
    network, loss = ContrastiveNet("se_resnext_small", hidden=8, num_classes=n_classes, **shape), loss()
    if broken:
        next(network.parameters()).data.fill_(math.nan)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    momentum = MomentumEncoderHandler(network, 0.9, "ema_train" if method == "moco" else "copy")
    sampler = ClipBatchSampler(len(dataset), 4)
    prepare = PrepareViewBatch(32)
    history = HistoryHandler(str(folder), optimizer, every=1, dataset=dataset)
    parts = {"network": network, "loss": loss, "optimizer": optimizer, "key_network": momentum.ema_model}
    state = {**parts, "history": history}
    trainer = MultiTermTrainer(
        device="cpu", max_epochs=2, train_data_loader=DataLoader(dataset, batch_sampler=sampler), network=network,
        optimizer=optimizer, loss_function=loss, prepare_batch=prepare,
        inferer=ViewInferer(momentum.ema_model if method == "moco" else None),
        train_handlers=[
            GradientClipHandler(max_norm=5.0),
            LossEpochHandler(loss),
            NonFiniteLossHandler(str(folder), dataset),
            momentum,
            RunStateHandler(str(folder / "run_state.pt"), state, sampler, weights=str(folder / "model.pt"),
                            every_iterations=1, product="key_network" if method == "fixmatch" else "network"),
            EmbeddingMonitorHandler(),
            history,
            ViewPictureHandler(str(folder / "views.png"), dataset, prepare, n_examples=2),
            TrainingProgressBar(disable=True),
        ],
    )  # fmt: skip

    @trainer.on(Events.ITERATION_COMPLETED)
    def stop(engine):
        if engine.state.iteration == stop_at:
            raise KeyboardInterrupt

    if stop_at is None:
        trainer.run()
    else:
        with pytest.raises(KeyboardInterrupt):
            trainer.run()
    return parts


@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_with_every_handler(store, tmp_path, method):
    parts = train(store, tmp_path, method)
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    (_, last) = [row for row in rows if row["kind"] == "epoch"]
    watched = {"embedding_rank_collapse", "embedding_similarity", "pair_similarity"}
    assert watched <= last.keys() if method in ("moco", "uscl") else watched.isdisjoint(last)
    assert all(math.isfinite(row["loss"]) for row in rows) and last["iteration"] == 6
    assert (tmp_path / "views.png").is_file() and (tmp_path / "curves.png").is_file()
    product = parts["key_network" if method == "fixmatch" else "network"].state_dict()
    written = torch.load(tmp_path / "model.pt", weights_only=True)
    assert product.keys() == written.keys() and all(torch.equal(product[name], written[name]) for name in product)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["moco", "uscl"])
def test_a_killed_run_ends_as_one_that_was_not(store, tmp_path, method):
    whole = train(store, tmp_path / "whole", method)
    train(store, tmp_path / "killed", method, stop_at=5)
    resumed = train(store, tmp_path / "killed", method, seed=9)
    for part in ("network", "key_network", "loss"):
        for name, value in whole[part].state_dict().items():
            assert torch.equal(value, resumed[part].state_dict()[name]), (part, name)
    assert (tmp_path / "whole/history.jsonl").read_text() == (tmp_path / "killed/history.jsonl").read_text()


def test_a_loss_that_is_no_number_names_the_videos(store, tmp_path):
    with pytest.raises(
        RuntimeError, match=r"The loss is nan at iteration 1 .* held scan s\d+ from .* s.*non_finite.pt"
    ):
        train(store, tmp_path, "uscl", broken=True)
    saved = torch.load(tmp_path / "non_finite.pt", weights_only=True)
    assert saved["batch"]["image"].shape == (4, 3, 1, 32, 32)
    assert len(json.loads((tmp_path / "non_finite.json").read_text())["items"]) == 4
