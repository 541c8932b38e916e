# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_usspeech.metrics.synchronisation import (
    chosen_candidate,
    compute_candidate_similarity,
    compute_synchronisation_scores,
    is_synchronised,
    synchronisation_chance,
)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("centre", [False, True])
def test_the_mean_similarity_equals_the_loop(similarity, centre):
    generator = torch.Generator().manual_seed(0)
    video, speech = torch.randn(7, 5, generator=generator), torch.randn(11, 5, generator=generator)
    stride, first, n = 2, 3, 6

    def product(a, b):
        value = float(a.double() @ b.double())
        return value / float(a.double().norm() * b.double().norm()) if similarity == "cosine" else value

    table = [[product(v, s) for s in speech] for v in video]
    whole = np.mean(table)
    expected = []
    for candidate in range(n):
        values = []
        for i in range(7):
            window = stride * i + candidate - first
            if 0 <= window < 11:
                value = table[i][window]
                if centre:
                    value += whole - np.mean(table[i]) - np.mean([row[window] for row in table])
                values.append(value)
        expected.append(np.mean(values))
    assert compute_candidate_similarity(video, speech, n, stride, first, similarity, centre) == pytest.approx(
        np.array(expected), abs=1e-6
    )


def test_a_candidate_without_pairs_is_nan_and_never_chosen():
    means = compute_candidate_similarity(torch.ones(2, 3), torch.ones(1, 3), 4, stride=1, first=0)
    assert np.isnan(means[1:]).all() and means[0] == pytest.approx(1.0)
    assert chosen_candidate(np.array([np.nan, -5.0]), np.array([0.0, 9.0])) == 1


def test_windows_alone_decide_the_plain_mean_and_not_the_centred_one():
    """Silent windows at one end look alike to every frame: the plain mean goes there, the centred one does not."""
    rng = np.random.RandomState(0)
    code = rng.standard_normal((40, 16))
    video = torch.from_numpy(np.concatenate([code[10:30], np.full((20, 1), 6.0)], 1))
    speech = torch.from_numpy(np.concatenate([code, np.where(np.arange(40) < 10, 6.0, 0.0)[:, None]], 1))
    plain = compute_candidate_similarity(video, speech, 21, similarity="dot")
    centred = compute_candidate_similarity(video, speech, 21, similarity="dot", centre=True)
    assert np.argmax(plain) == 0 and np.argmax(centred) == 10


def test_the_thresholds_are_those_of_the_paper():
    assert is_synchronised([0.0, 0.044, -0.124]).all()
    assert not is_synchronised([0.045, -0.125, 0.3, -0.5]).any()
    scores = compute_synchronisation_scores([0.01, -0.1, 0.2, -0.4])
    assert scores["accuracy"] == 0.5 and scores["median_error_ms"] == pytest.approx(150)
    assert scores["mean_discrepancy_ms"] == pytest.approx(-72.5)
    assert all(np.isnan(value) for value in compute_synchronisation_scores([]).values())


def test_ties_count_against():
    error = np.array([-0.4, -0.2, 0.0, 0.2])
    assert chosen_candidate(np.ones(4), error) == 0
    assert chosen_candidate(np.array([0.0, 1.0, 1.0, 0.0]), error) == 1


def test_chance_is_what_blind_choices_give():
    rng = np.random.RandomState(1)
    errors = [0.045 * (np.arange(n) - rng.uniform(0, n - 1)) for n in (24, 24, 10)]
    chance = synchronisation_chance(errors)
    drawn = np.array([[rng.choice(each) for each in errors] for _ in range(20_000)])
    assert chance["accuracy"] == pytest.approx(is_synchronised(drawn).mean(), abs=0.01)
    assert chance["median_error_ms"] == pytest.approx(1000 * np.median(np.abs(drawn)), abs=12)
    assert np.isnan(synchronisation_chance([])["accuracy"])


@pytest.mark.parametrize("change", [
    {"similarity": "cosin"}, {"n_candidates": 0}, {"stride": 0}, {"video": torch.full((2, 3), torch.nan)},
    {"speech": torch.ones(2, 4)}, {"video": torch.ones(0, 3)},
])  # fmt: skip
def test_wrong_arguments_are_refused(change):
    given = {"video": torch.ones(2, 3), "speech": torch.ones(2, 3), "n_candidates": 2, **change}
    with pytest.raises(ValueError, match="must|NaN"):
        compute_candidate_similarity(**given)
