# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""
What the frame-order head can learn from motion alone, by what it reads and by which orders share a label.

Usage:
    python -m benchmarks.frame_order [--steps 300] [--seeds 3]

Each clip shows a bright blob on a textured, noisy background in four frames of 48 x 48 pixels: on a straight path in
any direction, on one that always goes down, or on a random walk. ``se_resnext_small`` and the head are trained from
scratch with AdamW and judged on 2,000 new clips. Prints accuracy and cross-entropy as mean (least to largest over the
seeds); chance is 1/12 = 0.08 and log 12 = 2.48.
"""

from __future__ import annotations

import argparse
import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_usspeech.networks import OrderHead, se_resnext_small
from monai_usspeech.transforms.order import order_label

SIZE, CLIPS = 48, 24
PERMUTATIONS = torch.tensor(list(itertools.permutations(range(4))))


@dataclass(frozen=True)
class Variant:
    """A head and the label it is trained on."""

    name: str
    reversal: str = "shown"
    head: str = "pairwise"
    grid: int = 4

    def build(self, features: int) -> OrderHead:
        """The head for feature maps with ``features`` channels."""
        return OrderHead(features, head=self.head, grid=self.grid, symmetric=self.reversal == "shown")

    def labels(self) -> Tensor:
        """Class of each permutation ``[24]``."""
        return torch.tensor([order_label(p.tolist(), self.reversal) for p in PERMUTATIONS])


VARIANTS = (
    Variant("pooled features, differences of pairs", grid=1),
    Variant('4 x 4 grid, frames concatenated (`head="concat"`)', head="concat"),
    Variant('4 x 4 grid, differences of pairs (`head="pairwise"`)'),
    Variant('the same, label `order_reversal="time"`', reversal="time"),
)


def paths(motion: str, n: int, generator: torch.Generator) -> Tensor:
    """Places of the blob ``[n, 4, 2]``, in units of a third of the picture."""
    centre = (torch.rand(n, 1, 2, generator=generator) - 0.5) * 1.2
    if motion == "walk":
        return centre + (torch.randn(n, 4, 2, generator=generator) * 0.3).cumsum(1)
    speed = 0.25 + 0.35 * torch.rand(n, 1, 1, generator=generator)
    angle = torch.rand(n, 1, 1, generator=generator) * 2 * math.pi if motion == "straight" else torch.zeros(n, 1, 1)
    return centre + speed * torch.cat((angle.cos(), angle.sin()), -1) * (torch.arange(4.0) - 1.5)[None, :, None]


def draw(motion: str, n: int, textures: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Shuffled frames ``[n, 4, 1, 48, 48]`` and the number of each clip's permutation ``[n]``."""
    place = paths(motion, n, generator)
    axis = torch.linspace(-1.5, 1.5, SIZE)
    distance = (axis[:, None] - place[..., 0, None, None]) ** 2 + (axis - place[..., 1, None, None]) ** 2
    background = textures[torch.randint(0, len(textures), (n,), generator=generator)][:, None]
    noise = 0.1 * torch.randn(n, 4, SIZE, SIZE, generator=generator)
    frames = 2 * torch.exp(-distance / (2 * 0.25**2)) + background + noise
    number = torch.randint(0, len(PERMUTATIONS), (n,), generator=generator)
    index = PERMUTATIONS[number][:, :, None, None].expand_as(frames)
    return frames.gather(1, index)[:, :, None], number


def train(variant: Variant, motion: str, seed: int, steps: int) -> tuple[float, float]:
    """Accuracy and loss on new clips."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(64, 1, 12, 12, generator=generator)
    textures = F.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear")[:, 0] * 0.3
    backbone = se_resnext_small(output_stride=8)
    head, labels = variant.build(backbone.num_features), variant.labels()
    network = nn.ModuleList([backbone, head])
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)

    def logits(frames: Tensor) -> Tensor:
        out: Tensor = head(backbone.forward_features(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]))
        return out

    for _ in range(steps):
        frames, number = draw(motion, CLIPS, textures, generator)
        optimizer.zero_grad()
        F.cross_entropy(logits(frames), labels[number]).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        tests = [draw(motion, 100, textures, generator) for _ in range(20)]
        scores = torch.cat([logits(frames) for frames, _ in tests])
    truth = labels[torch.cat([number for _, number in tests])]
    return float((scores.argmax(1) == truth).float().mean()), float(F.cross_entropy(scores, truth))


def spread(values: list[float]) -> str:
    """Mean and range in words."""
    return f"{sum(values) / len(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Train every variant on every motion and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    motions = ("straight", "down", "walk")
    print("| head and label | " + " | ".join(f"{motion}: accuracy | loss" for motion in motions) + " |")
    print("|---|" + "---|---|" * len(motions))
    for variant in VARIANTS:
        cells = []
        for motion in motions:
            results = [train(variant, motion, seed, options.steps) for seed in range(options.seeds)]
            cells += [spread([accuracy for accuracy, _ in results]), spread([loss for _, loss in results])]
        print(f"| {variant.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
