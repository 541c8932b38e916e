# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Two processes with unequal shares of the frames report what one process with all of them reports."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from monai_usspeech.metrics import (
    MacroClassificationMetric,
    RetrievalMedianRank,
    RetrievalRecall,
    SaliencyAUC,
    SaliencyCC,
    ShuffledSaliencyAUC,
)

SHARES = {None: slice(0, 11), 0: slice(0, 7), 1: slice(7, 11)}


def results(rank: int | None) -> list[float]:
    generator = torch.Generator().manual_seed(0)
    pred = torch.rand(11, 6, 7, generator=generator)
    fixations = torch.rand(11, 6, 7, generator=generator) < 0.2
    video = torch.randn(11, 4, generator=generator)
    speech = video + torch.randn(11, 4, generator=generator)
    label = torch.arange(11) % 3
    fixations[8] = False
    pred[2] = 0.5
    part = SHARES[rank]
    figures = []
    for metric, first, second in (
        (SaliencyCC(), pred, fixations),
        (SaliencyAUC(), pred, fixations),
        (ShuffledSaliencyAUC(), pred, fixations),
        (RetrievalRecall(2), video, speech),
        (RetrievalMedianRank("speech_to_video"), video, speech),
        (MacroClassificationMetric(num_classes=4), video, label),
    ):
        for i in range(part.start, part.stop, 3):
            batch = slice(i, min(i + 3, part.stop))
            metric(first[batch], second[batch])
        figures.append(float(metric.aggregate()))
        figures += [
            float(getattr(metric, name)) for name in ("n_frames", "n_counted", "n_constant") if hasattr(metric, name)
        ]
    return figures


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(results(rank), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_agree_with_one(tmp_path):
    mp.spawn(work, (str(tmp_path),), nprocs=2)
    expected = results(None)
    assert expected[1:4] == [11, 10, 1]
    for rank in (0, 1):
        assert torch.load(tmp_path / f"{rank}.pt") == pytest.approx(expected, abs=1e-14)
