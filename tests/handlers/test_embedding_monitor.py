# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from monai_usspeech.handlers.embedding_monitor import EmbeddingMonitorHandler, embedding_figures


def test_collapsed_and_spread_embeddings_are_told_apart():
    spread = torch.randn(256, 16, generator=torch.Generator().manual_seed(0))
    collapsed = torch.ones(256, 1) * torch.arange(1.0, 17.0)
    assert embedding_figures(spread)["rank_collapse"] < 0.2
    assert abs(embedding_figures(spread)["similarity"]) < 0.02
    assert embedding_figures(collapsed)["rank_collapse"] > 0.9
    assert embedding_figures(collapsed)["similarity"] == pytest.approx(1.0, abs=1e-5)


def test_similarity_is_the_mean_over_pairs_of_different_items():
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    pairs = [torch.cosine_similarity(x[i], x[j], dim=0) for i in range(7) for j in range(7) if i != j]
    assert embedding_figures(x)["similarity"] == pytest.approx(float(torch.stack(pairs).mean()), abs=1e-6)


def engine(valid, **prediction):
    output = {"pred": prediction, "label": {"pair_valid": torch.tensor(valid)}}
    return SimpleNamespace(state=SimpleNamespace(output=output, metrics={}))


def test_only_valid_pairs_count():
    video = torch.randn(2, 2, 8, generator=torch.Generator().manual_seed(2))
    speech = video.clone()
    speech[1, 1] = -video[1, 1]
    look = engine([[True, True], [True, False]], video=video, speech=speech)
    EmbeddingMonitorHandler()(look)
    assert look.state.metrics["pair_similarity"] == pytest.approx(1.0, abs=1e-5)
    assert {"video_rank_collapse", "speech_similarity"} <= set(look.state.metrics)


@pytest.mark.parametrize(("valid", "prediction"), [([[True, False]], {"video": 1, "speech": 1}), ([[True, True]], {})])
def test_without_two_pairs_or_without_speech_nothing_is_reported(valid, prediction):
    look = engine(valid, **{name: torch.randn(1, 2, 4) for name in prediction})
    EmbeddingMonitorHandler()(look)
    assert look.state.metrics == {}


def test_figures_of_the_epoch_before_do_not_stay():
    look = engine([[True, True]], **{name: torch.randn(1, 2, 4) for name in ("video", "speech")})
    look.state.metrics["loss"] = 1.0
    EmbeddingMonitorHandler()(look)
    assert len(look.state.metrics) == 6
    look.state.output["label"]["pair_valid"] = torch.tensor([[True, False]])
    EmbeddingMonitorHandler()(look)
    assert look.state.metrics == {"loss": 1.0}
