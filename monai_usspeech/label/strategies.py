# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The next clip to label, as a strategy of MONAI Label."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.exception import ImageNotFoundException
from monailabel.interfaces.tasks.strategy import Strategy

from monai_usspeech.data.files import InputError, read_json, write_json
from monai_usspeech.label.score_files import (
    ScoreFolder,
    clip_stamp,
    largest_group,
    weights_stamp,
)
from monai_usspeech.label.selection import STRATEGIES, CandidateClip, choose_clip
from monai_usspeech.label.server_folder import ServerFolder

__all__ = ["SERVED_SECONDS", "NextClip", "ServedClips"]

SERVED_SECONDS = 20 * 60.0
"""For so long a clip that was shown counts as being worked on."""

_DESCRIPTIONS = {
    "uncertainty_diversity": "The clip most uncertain and most unlike the labelled ones, by rank",
    "mixed": "The clip most uncertain, most unlike the labelled ones, and whose speech fits best, by rank",
    "uncertainty": "The clip whose planes the model is least sure of",
    "diversity": "The clip most unlike those that are labelled",
    "random": "Any clip",
    "first": "The first clip by name",
}


class ServedClips:
    """Which clips were shown a short while ago, in a file: a server that is started anew still knows.

    Args:
        path: the file.
        seconds: how long a clip counts.
    """

    def __init__(self, path: Path, seconds: float = SERVED_SECONDS) -> None:
        self.path, self.seconds = path, seconds

    def recent(self, now: float) -> dict[str, float]:
        """Clips and when they were shown, in seconds since 1970.

        Args:
            now: the present time. What lies in the future (a clock was set back) does not count.
        """
        try:
            content = read_json(self.path) if self.path.is_file() else {}
        except InputError:
            content = {}  # a convenience: it is written anew
        times = content.get("served") if isinstance(content, Mapping) else None
        found = times.items() if isinstance(times, Mapping) else ()
        return {
            str(name): float(at)
            for name, at in found
            if isinstance(at, (int, float)) and now - self.seconds < at <= now
        }

    def add(self, name: str, now: float) -> None:
        """Note that a clip is shown now; what is long past is forgotten."""
        write_json(self.path, {"served": {**self.recent(now), name: now}})


class NextClip(Strategy):
    """Choose the clip to label next (see :func:`~monai_usspeech.label.selection.choose_clip`).

    A request may have ``exclude``, the names of clips not to be given. Clips with a final label are never given, and
    those that were given in the last 20 minutes only when no others are left. Without scores it is the first clip by
    name, and ``why`` says so.

    Args:
        name: of the strategy.
        folder: of the server.
        rng: of ``"random"``; default: another order every time.
    """

    def __init__(self, name: str, folder: ServerFolder, rng: np.random.RandomState | None = None) -> None:
        if name not in STRATEGIES:
            raise InputError(f'strategy: "{name}" is none of {", ".join(STRATEGIES)}.')
        super().__init__(_DESCRIPTIONS[name])
        self.name, self.folder, self.rng = name, folder, rng
        self.served = ServedClips(folder.scores.with_name("served.json"))  # no clip's scores can have that place

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """The choice as plain values; None when every clip has its label.

        Returns:
            ``id``; ``frame``, to be shown first, or None; ``strategy``, by which it was chosen in the end, and the same
            as ``chosen_by``: MONAI Label lays a record of its own over ``strategy`` when a clip is given again;
            ``uncertainty``, ``affinity`` and ``distance`` to the nearest covered clip, None where not known; ``rank``
            in [0, 1], 1 being first in everything, None when it was not ranked; ``why``, a sentence.

        Raises:
            InputError: when ``exclude`` is no list of names.
        """
        exclude = _names(request.get("exclude"))
        now = time.time()
        choice = choose_clip(
            self._candidates(datastore),
            self.name,
            labelled=set(datastore.get_labeled_images()),
            served=set(self.served.recent(now)),
            exclude=exclude,
            rng=self.rng,
        )
        if choice is None:
            return None
        self.served.add(choice.id, now)
        known = {name: choice.parts.get(name) for name in ("uncertainty", "affinity", "distance")}
        return {
            "id": choice.id,
            "frame": choice.frame,
            "strategy": choice.strategy,
            "chosen_by": choice.strategy,
            **known,
            "rank": choice.score,
            "why": choice.why,
        }

    def _candidates(self, datastore: Datastore) -> list[CandidateClip]:
        """All clips, with those scores that can be compared and are of the files that are there."""
        names = datastore.list_images()
        weights = self.folder.scoring_weights
        stamps = {name: weights_stamp(path) for name, path in weights.items()}
        scores = largest_group(ScoreFolder(self.folder.scores).read_all(names), stamps)
        found = []
        for name in names:
            score = scores.get(name)
            try:
                same = score is not None and score.source == clip_stamp(datastore.get_image_uri(name), name)
            except (InputError, ImageNotFoundException):
                same = False  # the file is gone or cannot be read: nothing is known of it
            found.append(score.candidate() if score is not None and same else CandidateClip(name))
        return found


def _names(given: Any) -> set[str]:
    if given is None:
        return set()
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise InputError(f"exclude: is {given!r}; give a list of names of clips.")
    return set(names)
