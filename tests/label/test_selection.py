# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The next clip, against explicit loops over clips and terms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.label.selection import STRATEGIES, CandidateClip, choose_clip, term_ranks


def clips_of(seed: int, count: int, dimension: int = 3, gaps: float = 0.0) -> list[CandidateClip]:
    rng = np.random.RandomState(seed)

    def maybe(value: float) -> float | None:
        return None if rng.random_sample() < gaps else float(value)

    return [
        CandidateClip(
            f"c{number:02d}",
            number,
            maybe(rng.random_sample()),
            rng.standard_normal(dimension),
            maybe(rng.uniform(-1, 1)),
        )
        for number in rng.permutation(count)
    ]


def rank_by_counting(values: list[float | None]) -> list[float]:
    """(how many are smaller + half of the other equals) / (n - 1); 0.5 without a value."""
    known = [value for value in values if value is not None]
    ranks = []
    for value in values:
        if value is None or len(known) < 2:
            ranks.append(0.5)
            continue
        smaller = sum(other < value for other in known)
        equal = sum(other == value for other in known) - 1
        ranks.append((smaller + equal / 2) / (len(known) - 1))
    return ranks


def slow_choice(clips, weights, labelled=(), served=(), exclude=()):
    """The mixed choice by loops."""
    left = sorted((c for c in clips if c.id not in {*labelled, *served, *exclude}), key=lambda clip: clip.id)
    centres = [c for c in clips if c.id in labelled or c.id in served]
    nearest = []
    for clip in left:
        if centres:
            nearest.append(min(math.dist(clip.embedding, centre.embedding) for centre in centres))
        else:
            mean = [sum(c.embedding[axis] for c in left) / len(left) for axis in range(len(clip.embedding))]
            nearest.append(-math.dist(clip.embedding, mean))
    ranks = {
        "uncertainty": rank_by_counting([clip.uncertainty for clip in left]),
        "diversity": rank_by_counting(nearest),
        "affinity": rank_by_counting([clip.affinity for clip in left]),
    }
    best, best_score = None, -1.0
    for place, clip in enumerate(left):
        score = 0.0
        for name, weight in weights.items():
            rank = ranks[name][place]
            score += weight * rank if weight > 0 else -weight * (1 - rank)
        score /= sum(abs(weight) for weight in weights.values())
        if score > best_score + 1e-12:
            best, best_score = clip, score
    return best, best_score


def test_ranks_are_counted():
    values = [0.3, None, 0.1, 0.3, 0.9, None]
    column = np.array([np.nan if value is None else value for value in values])
    assert term_ranks({"x": column})["x"] == pytest.approx(rank_by_counting(values))
    assert term_ranks({"x": np.array([7.0])})["x"].tolist() == [0.5]


@pytest.mark.parametrize("seed", range(8))
def test_the_mixed_choice_is_that_of_the_loops(seed: int):
    clips = clips_of(seed, 20, gaps=0.3)
    names = [clip.id for clip in clips]
    labelled, served, exclude = names[: seed % 4], names[4:6] if seed % 2 else [], names[6:7]
    weights = [{"uncertainty": 1.0, "diversity": 1.0, "affinity": 1.0}, {"uncertainty": 2.0, "affinity": -0.5}]
    for of_terms in weights:
        choice = choose_clip(clips, "mixed", labelled, served, exclude, weights=of_terms)
        best, score = slow_choice(clips, of_terms, labelled, served, exclude)
        assert choice is not None and choice.id == best.id and choice.frame == best.frame
        assert choice.score == pytest.approx(score)


def test_uncertainty_alone_takes_the_most_uncertain():
    clips = clips_of(1, 12)
    choice = choose_clip(clips, "uncertainty")
    assert choice is not None and choice.id == max(clips, key=lambda clip: clip.uncertainty).id
    assert choice.score == 1.0 and choice.parts["uncertainty"] == max(clip.uncertainty for clip in clips)


def test_diversity_walks_the_line_as_greedy_k_centre_does():
    clips = [CandidateClip(name, embedding=np.array([float(at)])) for name, at in zip("abcde", (0, 1, 2, 3, 10))]
    labelled: list[str] = []
    for _ in clips:
        choice = choose_clip(clips, "diversity", labelled)
        assert choice is not None
        labelled.append(choice.id)
    # the mean is 3.2: d first; then e, 7 away; then a, 3 away; then b and c are 1 away, the first by name wins
    assert labelled == ["d", "e", "a", "b", "c"]
    assert choose_clip(clips, "diversity", labelled) is None


def test_the_distance_is_that_to_what_is_covered():
    clips = [CandidateClip(name, embedding=np.array([at, 0.0])) for name, at in zip("abc", (0.0, 4.0, 7.0))]
    choice = choose_clip(clips, "diversity", labelled=["a"])
    assert choice is not None and (choice.id, choice.parts["distance"]) == ("c", 7.0)
    choice = choose_clip(clips, "diversity", labelled=["a"], served=["c"])
    assert choice is not None and (choice.id, choice.parts["distance"]) == ("b", 3.0)


def test_a_clip_without_speech_is_neither_helped_nor_held_back():
    def chosen(uncertainty_of_high: float) -> str:
        clips = [
            CandidateClip("high", uncertainty=uncertainty_of_high, affinity=0.9),
            CandidateClip("low", uncertainty=0.5, affinity=0.1),
            CandidateClip("silent", uncertainty=0.5),
        ]
        choice = choose_clip(clips, "mixed", weights={"uncertainty": 1.0, "affinity": 1.0})
        assert choice is not None and ("affinity not known" in choice.why) == (choice.id == "silent")
        return choice.id

    # by affinity high has 1, silent 0.5 and low 0; alike in the rest, high is first, and silent goes before low
    assert chosen(0.5) == "high"
    assert chosen(0.1) == "silent"


def test_a_negative_weight_turns_the_order_round():
    clips = clips_of(2, 9)
    low = choose_clip(clips, "mixed", weights={"affinity": -1})
    assert low is not None and low.id == min(clips, key=lambda clip: clip.affinity).id


def test_first_goes_by_name_and_random_by_its_source():
    clips = clips_of(3, 10)
    first = choose_clip(clips, "first", labelled=["c00"], exclude=["c01"])
    assert first is not None and first.id == "c02"
    drawn = [choose_clip(clips, "random", rng=np.random.RandomState(seed)).id for seed in range(40)]
    again = [choose_clip(clips, "random", rng=np.random.RandomState(seed)).id for seed in range(40)]
    assert drawn == again and len(set(drawn)) > 5


def test_served_clips_are_passed_over_while_others_remain():
    clips = clips_of(4, 3)
    for strategy in STRATEGIES:
        choice = choose_clip(clips, strategy, served=["c00", "c01"], rng=np.random.RandomState(0))
        assert choice is not None and choice.id == "c02", strategy
        choice = choose_clip(clips, strategy, served=["c00", "c01", "c02"], rng=np.random.RandomState(0))
        assert choice is not None and "short while ago" in choice.why, strategy


def test_clips_without_scores_come_last_and_without_any_the_first_is_given():
    scored = [CandidateClip("z1", 5, 0.1), CandidateClip("z2", 6, 0.2)]
    bare = [CandidateClip("a1"), CandidateClip("a2")]
    given: list[str] = []
    for _ in range(4):
        choice = choose_clip([*bare, *scored], "mixed", labelled=given)
        assert choice is not None
        given.append(choice.id)
    assert given == ["z2", "z1", "a1", "a2"]
    nothing = choose_clip(bare, "mixed")
    assert nothing is not None
    assert (nothing.id, nothing.strategy, nothing.score) == ("a1", "first", None) and "run scoring" in nothing.why


def test_the_choice_does_not_depend_on_the_order_of_the_list():
    clips = clips_of(5, 15, gaps=0.2)
    for strategy in STRATEGIES:
        one = choose_clip(clips, strategy, rng=np.random.RandomState(1))
        other = choose_clip(clips[::-1], strategy, rng=np.random.RandomState(1))
        assert one == other


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"strategy": "mixd"}, 'Did you mean "mixed"'),
        ({"weights": {"afinity": 1.0}}, 'Did you mean "affinity"'),
        ({"weights": {"affinity": float("nan")}}, "give a number"),
        ({"weights": {"affinity": 0.0}}, "all are 0"),
        ({"strategy": "random", "weights": {"affinity": 1.0}}, "has none"),
    ],
)
def test_what_means_nothing_is_refused(arguments: dict, said: str):
    with pytest.raises(InputError, match=said):
        choose_clip(clips_of(0, 3), **{"strategy": "mixed", **arguments})
