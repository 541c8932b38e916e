# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from ignite.engine import Events
from torch import nn
from torch.utils.data import DataLoader

from monai_usspeech.engines.trainer import MultiTermTrainer
from monai_usspeech.engines.view_inferer import ViewInferer
from monai_usspeech.handlers.momentum_encoder import MomentumEncoderHandler
from monai_usspeech.handlers.run_state import RunStateHandler
from monai_usspeech.losses.moco import MoCoLoss
from tests.engines.tiny import Batches, tiny_training


class StopError(Exception):
    """Stands for a killed process."""


@pytest.mark.parametrize(("accumulation", "steps"), [(1, [1, 2, 3, 4, 5, 6]), (4, [4, 6]), (6, [6])])
def test_the_copy_moves_once_a_step_by_the_equation(accumulation, steps):
    made = []

    def handlers(parts, sampler):
        made.append(MomentumEncoderHandler(parts["network"], momentum=0.9))
        return made

    trainer, parts, _ = tiny_training(handlers, epochs=1, accumulation=accumulation)
    network, copy = dict(parts["network"].named_parameters()), dict(made[0].ema_model.named_parameters())
    expected = {name: value.detach().clone() for name, value in network.items()}

    @trainer.on(Events.ITERATION_COMPLETED)
    def by_hand(engine):
        if engine.state.iteration in steps:
            for name, value in network.items():
                expected[name] = 0.9 * expected[name] + 0.1 * value.detach()
        for name, value in copy.items():
            torch.testing.assert_close(value, expected[name])

    trainer.run()
    assert not any(value.requires_grad for value in copy.values())
    assert not torch.allclose(copy["0.weight"], network["0.weight"], atol=1e-4)


@pytest.mark.parametrize(("accumulation", "steps"), [(1, range(1, 13)), (4, [4, 6, 10, 12])])
def test_warming_up_keeps_less_at_first(accumulation, steps):
    made = []

    def handlers(parts, sampler):
        made.append(MomentumEncoderHandler(parts["network"], momentum=0.4, handle_buffers="copy", warm_up=True))
        return made

    trainer, parts, _ = tiny_training(handlers, epochs=2, accumulation=accumulation)
    network, copy = parts["network"][0], made[0].ema_model[0]
    expected, shares = [network.weight.detach().clone()], []

    @trainer.on(Events.ITERATION_COMPLETED)
    def by_hand(engine):
        if engine.state.iteration in steps:
            number = len(shares) + 1
            shares.append(min(0.4, (1 + number) / (10 + number)))
            expected.append(shares[-1] * expected[-1] + (1 - shares[-1]) * network.weight.detach())
        torch.testing.assert_close(copy.weight, expected[-1])

    trainer.run()
    assert len(shares) == len(steps) and shares[0] == 2 / 11
    assert (shares[-1] == 0.4) is (accumulation == 1)


def normed() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Pictures(torch.utils.data.Dataset):
    def __init__(self) -> None:
        self.x = torch.randn(24, 2, 1, 10, 10, generator=torch.Generator().manual_seed(3))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, item: int) -> dict[str, torch.Tensor]:
        return {"image": self.x[item], "label": torch.tensor(-1)}


class QueryAndKey(nn.Module):
    """MoCo's loss of stacked views."""

    def __init__(self) -> None:
        super().__init__()
        self.contrast = MoCoLoss(embedding_dim=8, queue_size=16)

    def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.contrast(prediction[0], prediction[1])


def moco(
    folder, buffers: str = "ema_train", stop_at: int | None = None, product: str = "network", seed: int = 0
) -> dict:
    torch.manual_seed(seed)
    network, loss, sampler = normed(), QueryAndKey(), Batches()
    encoder = MomentumEncoderHandler(network, 0.8, handle_buffers=buffers)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    # the handler and its copy are interchangeable here
    average = encoder if buffers == "copy" else encoder.ema_model
    parts = {"network": network, "loss": loss, "optimizer": optimizer, "key_network": average}
    state = RunStateHandler(
        str(folder / "run_state.pt"), parts, sampler,
        weights=str(folder / "model.pt"), every_iterations=1, product=product,
    )  # fmt: skip
    trainer = MultiTermTrainer(
        device="cpu", max_epochs=2, train_data_loader=DataLoader(Pictures(), batch_sampler=sampler), network=network,
        optimizer=optimizer, loss_function=loss, train_handlers=[state, encoder],
        inferer=ViewInferer(encoder.ema_model if buffers == "ema_train" else None),
        prepare_batch=lambda batch, *_: (batch["image"].transpose(0, 1), batch["label"]),
    )  # fmt: skip

    @trainer.on(Events.ITERATION_COMPLETED)
    def stop(engine):
        if engine.state.iteration == stop_at:
            raise StopError

    if stop_at is None:
        trainer.run()
    else:
        with pytest.raises(StopError):
            trainer.run()
    return {**parts, "key_network": encoder.ema_model}


@pytest.mark.parametrize("buffers", ["ema_train", "copy"])
@pytest.mark.parametrize("stop_at", [2, 6, 9])
def test_a_killed_run_ends_with_the_same_copy(tmp_path, buffers, stop_at):
    whole = moco(tmp_path / "whole", buffers)
    moco(tmp_path / "killed", buffers, stop_at=stop_at)
    resumed = moco(tmp_path / "killed", buffers, seed=99)
    for part in ("network", "key_network", "loss"):
        for name, value in whole[part].state_dict().items():
            assert torch.equal(value, resumed[part].state_dict()[name]), (part, name)


def test_keys_are_normalised_by_their_own_batch_and_the_average_by_what_the_network_knows(tmp_path):
    key = moco(tmp_path / "moco")
    assert key["key_network"].training
    assert int(key["key_network"][1].num_batches_tracked) == 12 == int(key["network"][1].num_batches_tracked)
    assert not torch.equal(key["key_network"][1].running_mean, key["network"][1].running_mean)
    average = moco(tmp_path / "average", "copy")
    assert not average["key_network"].training
    assert torch.equal(average["key_network"][1].running_mean, average["network"][1].running_mean)
    assert not torch.equal(average["key_network"][0].weight, average["network"][0].weight)


@pytest.mark.parametrize("product", ["network", "key_network"])
def test_either_network_can_be_the_product(tmp_path, product):
    parts = moco(tmp_path, "copy", product=product)
    written = torch.load(tmp_path / "model.pt", weights_only=True)
    assert all(torch.equal(value, written[name]) for name, value in parts[product].state_dict().items())
    assert not torch.equal(parts["network"][0].weight, parts["key_network"][0].weight)


def test_a_number_out_of_range_is_an_error():
    for momentum in (0.0, 1.0, -0.1):
        with pytest.raises(ValueError, match="momentum must lie between 0 and 1"):
            MomentumEncoderHandler(normed(), momentum)
    with pytest.raises(ValueError, match='"ema_train" or "copy", got "update"'):
        MomentumEncoderHandler(normed(), handle_buffers="update")
