# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Which clip to label next: the most uncertain, the most unlike what is labelled, the one its narration fits best.

The three are in units of their own, so each is turned into its rank among the clips that can be chosen, from 0 to 1,
and the ranks are added. Diversity is greedy k-centre: of the clips, the one furthest from all that are covered already
(Sener & Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018).

A low affinity may mean that the network has something to learn, or that nobody speaks of the picture; so the affinity
is one term among three, and a clip without speech counts as an average one. On synthetic scans the affinity cost labels
(``configs/studies/active_learning.json``), so the default goes by the other two.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from monai_usspeech.data.files import InputError, nearest_name

__all__ = [
    "DEFAULT_STRATEGY",
    "STRATEGIES",
    "TERMS",
    "WEIGHTS",
    "CandidateClip",
    "ClipChoice",
    "choose_clip",
    "term_ranks",
]

TERMS = ("uncertainty", "diversity", "affinity")
"""What clips are ranked by."""

WEIGHTS: dict[str, dict[str, float]] = {
    "uncertainty_diversity": {"uncertainty": 1.0, "diversity": 1.0},
    "mixed": {"uncertainty": 1.0, "diversity": 1.0, "affinity": 1.0},
    "uncertainty": {"uncertainty": 1.0},
    "diversity": {"diversity": 1.0},
}
"""The weights of the terms in the strategies that go by scores."""

STRATEGIES = (*WEIGHTS, "random", "first")
"""All strategies by name."""

DEFAULT_STRATEGY = "uncertainty_diversity"
"""What needed the fewest labels in ``configs/studies/active_learning.json``."""

_ROWS = 256  # clips whose distances are held at a time
_AVERAGE = 0.5


@dataclass(frozen=True, eq=False)
class CandidateClip:
    """A clip and what is known of it; None where it is not.

    Attributes:
        id: its name; names decide between equals, the first in order wins.
        frame: the frame to show first.
        uncertainty: of the plane model, larger is less sure.
        embedding: ``[D]``, by which clips are alike or not.
        affinity: how well narration and picture fit.
    """

    id: str
    frame: int | None = None
    uncertainty: float | None = None
    embedding: np.ndarray | None = None
    affinity: float | None = None

    @property
    def is_scored(self) -> bool:
        """Whether anything is known by which it could be ranked."""
        return any(value is not None for value in (self.uncertainty, self.embedding, self.affinity))


@dataclass(frozen=True)
class ClipChoice:
    """The clip to label next.

    Attributes:
        id: which.
        frame: the frame to show first; None: any.
        strategy: what it was chosen by in the end: ``"first"`` where nothing is scored.
        score: the weighted mean of its ranks, in [0, 1]; None when it was chosen without ranks.
        parts: ``uncertainty``, ``distance`` (to the nearest clip that is covered) and ``affinity`` as they are, None
            where they are not known.
        why: one sentence.
    """

    id: str
    frame: int | None
    strategy: str
    score: float | None
    parts: dict[str, float | None] = field(default_factory=dict)
    why: str = ""


def choose_clip(
    clips: Sequence[CandidateClip],
    strategy: str = DEFAULT_STRATEGY,
    labelled: Collection[str] = (),
    served: Collection[str] = (),
    exclude: Collection[str] = (),
    weights: Mapping[str, float] | None = None,
    rng: np.random.RandomState | None = None,
) -> ClipChoice | None:
    """Choose one clip.

    Args:
        clips: all clips, labelled ones too: their embeddings say what is covered.
        strategy: ``"uncertainty_diversity"``, ``"mixed"``, ``"uncertainty"``, ``"diversity"``, ``"random"``, or
            ``"first"`` (by name).
        labelled: names of the clips that have their label.
        served: names of those that somebody is at work on. They count as covered, and are chosen again only when no
            other is left.
        exclude: names that must not be chosen.
        weights: of the terms of ``"mixed"``, by name of :data:`TERMS`, default 1 each. A negative one turns the order
            round.
        rng: source of ``"random"``; default: another order every time.

    Returns:
        The choice; None when every clip is labelled or excluded. Clips without scores come last, by name, where the
        strategy goes by scores.

    Raises:
        InputError: for an unknown strategy or term, or weights that are no numbers or all 0.
    """
    chosen = _weights(strategy, weights)
    ordered = sorted(clips, key=lambda clip: clip.id)
    left = [clip for clip in ordered if clip.id not in labelled and clip.id not in exclude]
    fresh = [clip for clip in left if clip.id not in served]
    again = "" if fresh or not left else "every clip that is left was shown a short while ago; "
    fresh = fresh or left
    if not fresh:
        return None
    if strategy == "random":
        drawn = fresh[(rng or np.random.RandomState()).randint(len(fresh))]
        return ClipChoice(drawn.id, drawn.frame, "random", None, _parts(drawn), f"{again}drawn at random")
    scored = [clip for clip in fresh if clip.is_scored]
    if chosen is None or not scored:
        return _first(fresh[0], again, "" if chosen is None else _why_unscored(ordered))
    covered = [clip for clip in ordered if clip.id in labelled or (clip.id in served and not again)]
    return _by_scores(strategy, chosen, scored, covered, again)


def _by_scores(
    strategy: str,
    weights: Mapping[str, float],
    scored: Sequence[CandidateClip],
    covered: Sequence[CandidateClip],
    again: str,
) -> ClipChoice:
    """The clip whose ranks, weighted, are the highest."""
    centres = [np.asarray(clip.embedding, np.float64) for clip in covered if clip.embedding is not None]
    values = _values(scored, centres)
    ranks = term_ranks(values)
    total = sum(abs(weight) for weight in weights.values())
    scores = np.sum([_turned(ranks[name], weight) for name, weight in weights.items()], axis=0) / total
    best = int(np.argmax(scores))  # the first of equals
    clip, parts = scored[best], _parts(scored[best])
    if centres and clip.embedding is not None:
        parts["distance"] = float(values["diversity"][best])
    why = again + _in_words(weights, parts, {name: float(rank[best]) for name, rank in ranks.items()}, not centres)
    return ClipChoice(clip.id, clip.frame, strategy, float(scores[best]), parts, why)


def term_ranks(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Ranks from 0 (smallest) to 1 (largest) of each term.

    Args:
        values: of each term, float ``[n]``; NaN where a clip has none.

    Returns:
        float64 ``[n]`` in [0, 1]; equals share the mean of their places, and a clip without a value has 0.5, which is
        the mean of all ranks: it is neither helped nor held back.
    """
    ranks = {}
    for name, column in values.items():
        known = np.isfinite(column)
        ranks[name] = np.full(len(column), _AVERAGE)
        if known.sum() > 1:
            ranks[name][known] = (rankdata(column[known]) - 1) / (known.sum() - 1)
    return ranks


def _weights(strategy: str, weights: Mapping[str, float] | None) -> dict[str, float] | None:
    """The weights of a strategy; None for one that needs no scores."""
    if strategy not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        raise InputError(f'strategy: "{strategy}" is none of {known}.{nearest_name(str(strategy), STRATEGIES)}')
    if weights is None:
        return WEIGHTS.get(strategy)
    if strategy != "mixed":
        raise InputError(f'weights: the strategy "{strategy}" has none; they are for "mixed".')
    for name, value in weights.items():
        if name not in TERMS:
            raise InputError(f'weights: no term "{name}".{nearest_name(str(name), TERMS)}')
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
            raise InputError(f"weights: {name} is {value!r}; give a number.")
    if not any(weights.values()):
        raise InputError("weights: all are 0, which leaves nothing to go by.")
    return {name: float(value) for name, value in weights.items() if value}


def _values(scored: Sequence[CandidateClip], centres: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    def column(numbers: list[float | None]) -> np.ndarray:
        return np.array([np.nan if number is None else number for number in numbers], np.float64)

    return {
        "uncertainty": column([clip.uncertainty for clip in scored]),
        "diversity": _novelty(scored, centres),
        "affinity": column([clip.affinity for clip in scored]),
    }


def _novelty(scored: Sequence[CandidateClip], centres: Sequence[np.ndarray]) -> np.ndarray:
    """Distance of each clip to the nearest of the centres ``[D]``, float64 ``[n]``; NaN without an embedding.

    Without centres, when nothing is labelled yet, a typical clip is the best to begin with: then it is the nearness to
    the mean of all, 0 or below.
    """
    known = [place for place, clip in enumerate(scored) if clip.embedding is not None]
    found = np.full(len(scored), np.nan)
    if not known:
        return found
    points = np.stack([np.asarray(scored[place].embedding, np.float64) for place in known])
    if not centres:
        found[known] = -np.linalg.norm(points - points.mean(axis=0), axis=1)
        return found
    others = np.stack(centres)
    blocks = range(0, len(points), _ROWS)
    found[known] = np.concatenate([cdist(points[first : first + _ROWS], others).min(axis=1) for first in blocks])
    return found


def _turned(ranks: np.ndarray, weight: float) -> np.ndarray:
    return weight * ranks if weight > 0 else -weight * (1 - ranks)


def _parts(clip: CandidateClip) -> dict[str, float | None]:
    return {"uncertainty": clip.uncertainty, "distance": None, "affinity": clip.affinity}


def _first(clip: CandidateClip, again: str, reason: str) -> ClipChoice:
    why = f"{again}{reason}the first by name"
    return ClipChoice(clip.id, clip.frame, "first", None, _parts(clip), why)


def _why_unscored(clips: Sequence[CandidateClip]) -> str:
    if any(clip.is_scored for clip in clips):
        return "the clips that are left have no scores yet (run scoring): "
    return "no clip has scores yet (run scoring): "


def _in_words(
    weights: Mapping[str, float], parts: Mapping[str, float | None], ranks: Mapping[str, float], began: bool
) -> str:
    """``"uncertainty 0.61 (rank 0.93 of 1), ..."``; ``began``: nothing is covered yet."""
    said = []
    for name in weights:
        shown = "distance" if name == "diversity" else name
        value, rank = parts[shown], f"(rank {ranks[name]:.2f} of 1)"
        if value is not None:
            said.append(f"{shown} {value:.2f} {rank}")
        elif name == "diversity" and began:
            said.append(f"nothing is labelled yet, so nearness to the middle of all clips {rank}")
        else:
            said.append(f"{shown} not known, taken as average")
    return ", ".join(said)
