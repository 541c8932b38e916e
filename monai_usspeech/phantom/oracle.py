# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Which of the spoken words name what is on the screen while they sound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from monai_usspeech.data.annotations import PlaneInterval
from monai_usspeech.phantom.anatomy import ORGANS
from monai_usspeech.phantom.lexicon import ORGAN_WORDS, PLANE_WORDS
from monai_usspeech.phantom.narration import WordEvent

__all__ = ["MatchingWord", "matching_words"]


class MatchingWord(NamedTuple):
    """``word`` sounds and ``plane``, which it names, is shown from ``start`` to ``end`` (seconds of the scan)."""

    start: float
    end: float
    word: str
    plane: str


def _names(event: WordEvent, plane: str) -> bool:
    """Whether the word is that of the plane, or of the plane's organ."""
    if event.kind == "plane":
        return plane in PLANE_WORDS and PLANE_WORDS[plane][0] == event.word
    return event.kind == "organ" and plane in ORGANS and ORGAN_WORDS[ORGANS[plane]][0] == event.word


def matching_words(planes: Sequence[PlaneInterval], words: Sequence[WordEvent]) -> tuple[MatchingWord, ...]:
    """The parts of a narration that are about the picture.

    A word that goes on after its plane has left the screen counts only for as long as the plane is there; a word
    about a plane that is not there yet, about another plane, and chatter do not count.

    Args:
        planes: when which plane is on the screen, seconds.
        words: what is said when, seconds.

    Returns:
        The matching stretches, in the order they begin.
    """
    found = [
        MatchingWord(max(event.start, shown.start), min(event.end, shown.end), event.word, str(shown.plane))
        for event in words
        for shown in planes
        if event.start < shown.end and shown.start < event.end and _names(event, str(shown.plane))
    ]
    return tuple(sorted(found))
