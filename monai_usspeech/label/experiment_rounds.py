# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Label some clips, fit a probe, choose the next ones, and so on: one learning curve of one strategy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.label.experiment_data import PoolClip
from monai_usspeech.label.selection import CandidateClip, choose_clip
from monai_usspeech.metrics.classification import confusion_matrix_of, scores_from_confusion

__all__ = ["LabelledRounds", "RoundSettings", "fit_probe", "frame_entropy", "label_in_rounds", "probe_f1"]

Probe = Callable[[np.ndarray], np.ndarray]
"""From features ``[N, F]`` to probabilities ``[N, C]``."""


@dataclass(frozen=True)
class RoundSettings:
    """How labels are added.

    Attributes:
        first: clips that are labelled at the start, drawn by the seed, the same for all strategies.
        step: clips that are labelled between two probes.
        most: labelled clips at the end.
        regularisation: C of the probe's logistic regression.
        max_iterations: of its solver.
    """

    first: int = 10
    step: int = 10
    most: int = 100
    regularisation: float = 1.0
    max_iterations: int = 500

    def __post_init__(self) -> None:
        counts = all(isinstance(n, int) and n >= 1 for n in (self.first, self.step, self.most, self.max_iterations))
        if not counts or self.most <= self.first or not self.regularisation > 0:
            raise InputError(f"rounds: first, step, most, ... make no rounds: {asdict(self)}; give 1 <= first < most.")

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> RoundSettings:
        """From a configuration.

        Raises:
            InputError: for an unknown name, or values that make no rounds.
        """
        known = list(cls.__dataclass_fields__)
        for name in values:
            if name not in known:
                raise InputError(f'rounds: no setting "{name}".{nearest_name(str(name), known)}')
        return cls(**values)

    def sizes(self) -> list[int]:
        """Numbers of labelled clips at which a probe is fitted; the last step may be shorter."""
        return [*range(self.first, self.most, self.step), self.most]


@dataclass(frozen=True)
class LabelledRounds:
    """One learning curve.

    Attributes:
        labels: clips that were labelled, at each round.
        f1: macro F1 on the test frames.
        classes: planes among the labelled frames.
        chosen: the labelled clips in order.
    """

    labels: list[int]
    f1: list[float]
    classes: list[int]
    chosen: list[str]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def fit_probe(features: np.ndarray, labels: np.ndarray, settings: RoundSettings) -> Probe:
    """A linear probe: multinomial logistic regression on standardised features, classes weighted to count alike.

    Args:
        features: ``[N, F]``.
        labels: int ``[N]``, indices into :data:`~monai_usspeech.data.PLANES`.
        settings: regularisation and iterations.

    Returns:
        Probabilities of all planes; those that were not among the labels have 0.
    """
    seen = np.unique(labels)
    if len(seen) == 1:
        return lambda rows: np.repeat(np.eye(len(PLANES))[seen], len(rows), axis=0)
    model = LogisticRegression(
        C=settings.regularisation, class_weight="balanced", max_iter=settings.max_iterations, tol=1e-3
    )
    probe = make_pipeline(StandardScaler(), model).fit(features, labels)

    def probabilities(rows: np.ndarray) -> np.ndarray:
        found = np.zeros((len(rows), len(PLANES)))
        found[:, probe.classes_] = probe.predict_proba(rows)
        return found

    return probabilities


def probe_f1(probe: Probe, features: np.ndarray, labels: np.ndarray) -> float:
    """Macro F1 over the planes that occur, as the studies have it."""
    confusion = confusion_matrix_of(probe(features).argmax(axis=1), labels, len(PLANES))
    return float(scores_from_confusion(confusion).f1)


def frame_entropy(probabilities: np.ndarray) -> np.ndarray:
    """``-sum p log p / log C`` of rows ``[N, C]``: ``[N]`` in [0, 1]."""
    logs = np.log(np.where(probabilities > 0, probabilities, 1.0))
    return np.asarray(-(probabilities * logs).sum(axis=1) / math.log(probabilities.shape[1]))


def label_in_rounds(
    pool: Sequence[PoolClip],
    test: tuple[np.ndarray, np.ndarray],
    strategy: Mapping[str, Any],
    settings: RoundSettings,
    seed: int,
) -> LabelledRounds:
    """Run one strategy.

    Between two probes clips are chosen one after the other by the uncertainty of the same probe, those already chosen
    counting as covered: what a server does whose annotators label for a while before it is trained again.

    Args:
        pool: clips to label; their true planes are what the annotator says.
        test: features ``[N, F]`` and planes ``[N]`` of the test frames.
        strategy: ``strategy`` and, for ``"mixed"``, ``weights``; see
            :func:`~monai_usspeech.label.selection.choose_clip`.
        settings: how many, and the probe.
        seed: of the start and of ``"random"``.

    Raises:
        InputError: when the pool is smaller than the labels wanted.
    """
    if len(pool) < settings.most:
        raise InputError(f"rounds: the pool has {len(pool)} clips, and most is {settings.most}; give fewer.")
    clips = {clip.id: clip for clip in pool}
    start = np.random.RandomState(seed).choice(len(pool), settings.first, replace=False)
    chosen, rng = [pool[place].id for place in start], np.random.RandomState([seed, 1])
    rounds = LabelledRounds([], [], [], chosen)
    probe: Probe | None = None
    for size in settings.sizes():
        if probe is not None:
            _choose(clips, probe, strategy, chosen, size, rng)
        labels = np.concatenate([clips[name].labels for name in chosen])
        probe = fit_probe(np.concatenate([clips[name].features for name in chosen]), labels, settings)
        rounds.labels.append(len(chosen))
        rounds.f1.append(probe_f1(probe, *test))
        rounds.classes.append(len(np.unique(labels)))
    return rounds


def _choose(
    clips: Mapping[str, PoolClip],
    probe: Probe,
    strategy: Mapping[str, Any],
    chosen: list[str],
    size: int,
    rng: np.random.RandomState,
) -> None:
    """Add clips to ``chosen`` until it has ``size`` of them."""
    every = frame_entropy(probe(np.concatenate([clip.features for clip in clips.values()])))
    borders = np.cumsum([len(clip.features) for clip in clips.values()])[:-1]
    candidates = [
        CandidateClip(name, None, float(entropy.mean()), clip.embedding, clip.speech.affinity)
        for (name, clip), entropy in zip(clips.items(), np.split(every, borders))
    ]
    while len(chosen) < size:
        choice = choose_clip(candidates, labelled=set(chosen), rng=rng, **strategy)
        if choice is None:
            raise InputError("rounds: every clip of the pool is labelled.")
        chosen.append(choice.id)
