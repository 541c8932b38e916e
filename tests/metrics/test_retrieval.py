# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import statistics

import pytest
import torch
from torch.nn import functional as F

from monai_usspeech.metrics import (
    RetrievalMedianRank,
    RetrievalRecall,
    compute_retrieval_ranks,
    compute_retrieval_recall,
    compute_retrieval_scores,
    retrieval_chance,
)

DIRECTIONS = ("video_to_speech", "speech_to_video")


def drawn(n=37, dim=5, noise=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    video = torch.randn(n, dim, generator=generator)
    return video, video + noise * torch.randn(n, dim, generator=generator)


def ranks_by_loop(query, candidates, similarity):
    """1 + the number of other candidates that are at least as similar as the partner."""
    ranks = []
    for i, q in enumerate(query.double()):
        scores = []
        for c in candidates.double():
            norm = math.sqrt(float(q @ q) * float(c @ c)) if similarity == "cosine" else 1.0
            scores.append(float(q @ c) / norm)
        ranks.append(1 + sum(scores[j] >= scores[i] for j in range(len(scores)) if j != i))
    return ranks


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_equals_plain_loops(similarity):
    video, speech = drawn()
    forth, back = compute_retrieval_ranks(video, speech, similarity=similarity)
    assert forth.dtype == torch.int64
    assert forth.tolist() == ranks_by_loop(video, speech, similarity)
    assert back.tolist() == ranks_by_loop(speech, video, similarity)
    assert forth.tolist() != back.tolist()
    for k in (1, 5, 40):
        recalls = compute_retrieval_recall(video, speech, k, similarity=similarity)
        assert recalls == tuple(sum(r <= k for r in ranks.tolist()) / 37 for ranks in (forth, back))


@pytest.mark.parametrize("chunk", [1, 7, 37, 1000])
def test_parts_give_what_the_full_matrix_gives(chunk):
    video, speech = drawn(noise=0.5)
    video[20:] = video[:17]  # ties by the dozen
    speech[20:] = speech[:17]
    unit_video, unit_speech = (F.normalize(x.double(), dim=1) for x in (video, speech))
    matrix = unit_video @ unit_speech.T
    own = matrix.diagonal()[:, None] - 1e-12
    forth, back = compute_retrieval_ranks(video, speech, chunk)
    assert torch.equal(forth, (matrix >= own).sum(1))
    assert torch.equal(back, (matrix.T >= own).sum(1))
    assert (forth[20:] >= 2).all() and torch.equal(forth[20:], forth[:17])


@pytest.mark.parametrize("level", [0.0, 1.0, 0.1, 3e-20, 1e4])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_one_embedding_for_all_finds_nothing(level, similarity):
    same = torch.full((50, 128), level) * torch.linspace(0.3, 1.7, 128)
    for chunk in (3, 1024):
        for ranks in compute_retrieval_ranks(same, same.flip(0), chunk, similarity):
            assert ranks.tolist() == [50] * 50
    assert compute_retrieval_recall(same, same, 49) == (0, 0)
    assert compute_retrieval_recall(same, same, 50) == (1, 1)


def test_perfect_and_random_embeddings():
    video, speech = drawn(400, 32, noise=0)
    names = ("r1", "r5", "r10", "median_rank", "mean_percentile")
    assert compute_retrieval_scores(video, 2 * speech) == {
        f"{direction}_{name}": 1 for direction in DIRECTIONS for name in names
    }
    unrelated = drawn(400, 32, seed=1)[0]
    for recall in compute_retrieval_recall(video, unrelated, 100):
        assert recall == pytest.approx(0.25, abs=0.09)


@pytest.mark.parametrize("n", [8, 9])
def test_scores_are_named_and_agree_with_ranks(n):
    video, speech = drawn(n, noise=2)
    scores = compute_retrieval_scores(video, speech, ks=(1, 3))
    for direction, ranks in zip(DIRECTIONS, compute_retrieval_ranks(video, speech)):
        assert scores[f"{direction}_r3"] == float((ranks <= 3).double().mean())
        assert scores[f"{direction}_median_rank"] == statistics.median(ranks.tolist())
        beaten = [sum(other > rank for other in range(1, n + 1)) / (n - 1) for rank in ranks.tolist()]
        assert scores[f"{direction}_mean_percentile"] == pytest.approx(statistics.mean(beaten))
    assert len(scores) == 8


def test_constant_and_single_embeddings():
    constant = compute_retrieval_scores(torch.ones(20, 4), torch.ones(20, 4))
    assert constant["video_to_speech_r10"] == constant["video_to_speech_mean_percentile"] == 0
    assert constant["speech_to_video_median_rank"] == 20
    single = compute_retrieval_scores(torch.ones(1, 4), torch.ones(1, 4))
    assert single["video_to_speech_r1"] == 1 and math.isnan(single["video_to_speech_mean_percentile"])


def test_chance_is_what_random_embeddings_get():
    generator = torch.Generator().manual_seed(0)
    rows = [compute_retrieval_scores(*torch.randn(2, 30, 16, generator=generator)) for _ in range(300)]
    for name, level in retrieval_chance(30).items():
        values = [row[f"video_to_speech_{name}"] for row in rows]
        assert abs(statistics.mean(values) - level) < 5 * statistics.stdev(values) / math.sqrt(300), name
    assert retrieval_chance(4)["r10"] == 1


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_metrics_rank_among_all_batches(direction):
    video, speech = drawn(noise=0.8)
    scores = compute_retrieval_scores(video, speech)
    for metric, name in (
        (RetrievalRecall(1, direction), "r1"),
        (RetrievalRecall(10, direction, chunk=4), "r10"),
        (RetrievalMedianRank(direction), "median_rank"),
    ):
        for part in (slice(0, 16), slice(16, 32), slice(32, 37)):
            metric(video[part], speech[part])
        assert metric.aggregate().item() == pytest.approx(scores[f"{direction}_{name}"], abs=1e-15)
        metric.reset()
        with pytest.raises(ValueError, match="no embeddings"):
            metric.aggregate()


def test_errors():
    video, speech = drawn()
    with pytest.raises(ValueError, match=r"video \(37, 5\) and speech \(36, 5\)"):
        compute_retrieval_ranks(video, speech[1:])
    with pytest.raises(ValueError, match=r"video \(4, 5\) and speech \(4, 4\)"):
        RetrievalRecall()(video[:4], speech[:4, :4])
    with pytest.raises(ValueError, match="NaN or infinite"):
        compute_retrieval_ranks(video, torch.where(speech > 1, torch.nan, speech))
    with pytest.raises(ValueError, match="k must be at least 1"):
        compute_retrieval_recall(video, speech, 0)
    with pytest.raises(ValueError, match="k must be at least 1"):
        RetrievalRecall(0)
    with pytest.raises(ValueError, match="'both'"):
        RetrievalRecall(1, "both")
    with pytest.raises(ValueError, match="'euclid'"):
        compute_retrieval_ranks(video, speech, similarity="euclid")
    with pytest.raises(ValueError, match="chunk"):
        compute_retrieval_ranks(video, speech, chunk=0)
