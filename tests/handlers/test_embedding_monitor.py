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


def views(*names: str, n_views: int = 2, items: int = 6) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(3)
    prediction = {name: torch.randn(n_views, items, 8, generator=generator) for name in names}
    prediction["logits"] = torch.randn(n_views, items, 3, generator=generator)
    output = {"pred": prediction, "label": {"label": torch.full((items,), -1)}}
    return SimpleNamespace(state=SimpleNamespace(output=output, metrics={}))


@pytest.mark.parametrize(
    ("names", "compared"), [(["embedding"], "embedding"), (["local", "medium", "global"], "global")]
)
def test_of_views_every_embedding_is_watched_and_one_compared(names, compared):
    look = views(*names)
    EmbeddingMonitorHandler()(look)
    metrics, prediction = look.state.metrics, look.state.output["pred"]
    figures = {f"{name}_{key}" for name in names for key in ("rank_collapse", "similarity")}
    assert set(metrics) == figures | {"pair_similarity"}
    for name in names:
        assert metrics[f"{name}_similarity"] == embedding_figures(prediction[name][0])["similarity"]
    one, other = prediction[compared]
    by_hand = [float(a @ b / (a.norm() * b.norm())) for a, b in zip(one, other)]
    assert metrics["pair_similarity"] == pytest.approx(sum(by_hand) / 6, abs=1e-6)


def test_the_pair_is_the_first_and_the_last_view_and_one_view_has_none():
    three = views("embedding", n_views=3)
    three.state.output["pred"]["embedding"][2] = 5 * three.state.output["pred"]["embedding"][0]
    EmbeddingMonitorHandler()(three)
    assert three.state.metrics["pair_similarity"] == pytest.approx(1.0, abs=1e-5)
    alone = views("embedding", n_views=1)
    EmbeddingMonitorHandler()(alone)
    assert set(alone.state.metrics) == {"embedding_rank_collapse", "embedding_similarity"}


@pytest.mark.parametrize("look", [views(), views("embedding", items=1)])
def test_logits_alone_or_one_item_have_no_figures(look):
    look.state.metrics.update({"embedding_similarity": 0.5, "loss": 1.0})
    EmbeddingMonitorHandler()(look)
    assert look.state.metrics == {"loss": 1.0}


def test_a_prediction_that_is_one_tensor_has_no_figures():
    look = SimpleNamespace(state=SimpleNamespace(output={"pred": torch.zeros(2, 3), "label": None}, metrics={}))
    EmbeddingMonitorHandler()(look)
    assert look.state.metrics == {}


def test_the_frames_of_clips_are_watched_whatever_their_pairs_are():
    views = torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(1))
    look = engine([[False, False]] * 5, video=torch.randn(5, 2, 8), speech=torch.randn(5, 2, 8), views=views)
    EmbeddingMonitorHandler()(look)
    metrics = look.state.metrics
    assert set(metrics) == {"views_rank_collapse", "views_similarity", "views_pair_similarity"}
    assert metrics["views_similarity"] == embedding_figures(views[:, 0])["similarity"]
    by_hand = [float(a @ b / (a.norm() * b.norm())) for a, b in zip(views[:, 0], views[:, 2])]
    assert metrics["views_pair_similarity"] == pytest.approx(sum(by_hand) / 5, abs=1e-6)
