# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The smallest training that has every moving part: dropout, momentum, a schedule, shuffled batches, two loss terms."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from monai_usspeech.engines.trainer import MultiTermTrainer


class Numbers(Dataset):
    def __init__(self, n: int = 24) -> None:
        generator = torch.Generator().manual_seed(5)
        self.x = torch.randn(n, 4, generator=generator)
        self.y = self.x @ torch.tensor([1.0, -2.0, 0.5, 3.0])

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self.x[index], "label": self.y[index], "scan_index": index // 6, "clip_index": index % 6}

    def clip_name(self, scan: int, clip: int) -> str:
        return f"scan s{scan} clip {clip}"


class Batches:
    """Shuffled batches that know where they are."""

    def __init__(self, n: int = 24, size: int = 4) -> None:
        self.n, self.size, self.epoch, self.batch = n, size, 0, 0

    def set_position(self, epoch: int, batch: int) -> None:
        self.epoch, self.batch = epoch, batch

    def __len__(self) -> int:
        return self.n // self.size

    def __iter__(self):
        order = torch.randperm(self.n, generator=torch.Generator().manual_seed(100 + self.epoch)).tolist()
        return iter([order[i : i + self.size] for i in range(self.batch * self.size, self.n, self.size)])


class TwoTerms(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.terms: dict[str, torch.Tensor] = {}
        self.figures: dict[str, float] = {}

    def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        error = (prediction.squeeze(1) - target).square().mean()
        size = prediction.square().mean()
        self.terms = {"loss_error": error.detach(), "loss_size": size.detach()}
        self.figures = {"largest": float(prediction.detach().abs().max())}
        return error + 0.01 * size


def tiny_training(handlers=None, epochs: int = 3, accumulation: int = 1, lr: float = 0.01, seed: int = 0):
    """A trainer, its parts by name, and its batch sampler. ``handlers(parts, sampler)`` makes the handlers."""
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    loss, sampler, dataset = TwoTerms(), Batches(), Numbers()
    parts = {"network": network, "loss": loss, "optimizer": optimizer, "lr_scheduler": schedule}
    trainer = MultiTermTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=DataLoader(dataset, batch_sampler=sampler),
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        train_handlers=None if handlers is None else handlers(parts, sampler),
        accumulation_steps=accumulation,
    )
    return trainer, parts, sampler
