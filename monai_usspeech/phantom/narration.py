# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What is said when: the sonographer names what she sees, and talks about other things in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from monai_usspeech.data.annotations import PlaneInterval
from monai_usspeech.phantom.anatomy import ORGANS
from monai_usspeech.phantom.lexicon import CHATTER_WORDS, ORGAN_WORDS, PLANE_WORDS
from monai_usspeech.phantom.speech_synthesis import SPEECH_RATE, draw_voice, speak

__all__ = ["Narration", "NarrationStyle", "WordEvent", "narrate"]


@dataclass(frozen=True)
class NarrationStyle:
    """How densely and how faithfully a scan is narrated.

    Args:
        gap: mean silence between two utterances on a plane, seconds.
        plane_share, organ_share: probability that an utterance on a plane is the plane's own word, or its organ's.
        wrong_share: probability that it is another plane's word. The rest is chatter.
        quiet_share: probability that an utterance is left out and a pause of 0.5-2 s put in its place.
        search_gap: mean silence between two utterances while searching, seconds; these are chatter or a plane's word
            (``foretell_share``: the sonographer says what she looks for).
        foretell_share: see ``search_gap``.
        lag: range of the seconds between the arrival of a plane and the first word about it.
        second_voice: probability that a chatter word is spoken by somebody else in the room.
        noise_share: share of the time during which nobody speaks at all: stretches of 2-6 s that begin whatever is on
            the screen and hold nothing but the room's noise.
        trail: share of the lag by which the talk goes on after the plane has left. 0: it ends with the plane; 1: the
            whole talk of a plane comes later by the lag.
        chatter_share: probability that an utterance on a plane is chatter; the other three shares are scaled to fill
            the rest. None: what the three leave.
    """

    gap: float = 0.6
    plane_share: float = 0.65
    organ_share: float = 0.22
    wrong_share: float = 0.03
    quiet_share: float = 0.10
    search_gap: float = 2.0
    foretell_share: float = 0.1
    lag: tuple[float, float] = (0.2, 0.8)
    second_voice: float = 0.25
    noise_share: float = 0.0
    trail: float = 0.0
    chatter_share: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name == "chatter_share" and self.chatter_share is None:
                continue
            values = np.atleast_1d(np.asarray(getattr(self, field.name), float))
            if not (values >= 0).all():
                raise ValueError(f"{field.name} is {getattr(self, field.name)}; it must not be negative.")
            if field.name not in ("gap", "search_gap", "lag") and (values > 1).any():
                raise ValueError(f"{field.name} is {getattr(self, field.name)}; a probability lies in 0..1.")
        if self.plane_share + self.organ_share + self.wrong_share > 1 + 1e-9:
            raise ValueError(
                f"plane_share {self.plane_share}, organ_share {self.organ_share} and wrong_share {self.wrong_share} "
                "are probabilities of one choice and must not exceed 1 together."
            )
        if self.chatter_share is not None and self.chatter_share < 1 and not any(self.shares):
            raise ValueError("chatter_share is below 1, but plane_share, organ_share and wrong_share are all 0.")

    @property
    def shares(self) -> tuple[float, float, float]:
        """Probabilities of a plane's word, its organ's and a wrong plane's; the rest is chatter."""
        shares = (self.plane_share, self.organ_share, self.wrong_share)
        if self.chatter_share is None or not sum(shares):
            return shares
        factor = (1 - self.chatter_share) / sum(shares)
        return (factor * self.plane_share, factor * self.organ_share, factor * self.wrong_share)


@dataclass(frozen=True)
class WordEvent:
    """One spoken word (or short phrase), times in seconds of the scan.

    Args:
        start, end: when it sounds. word: what is said.
        kind: ``"plane"``, ``"organ"`` or ``"chatter"``.
    """

    start: float
    end: float
    word: str
    kind: str


@dataclass(frozen=True)
class Narration:
    """All that is said during a scan.

    Args:
        voice: float64 [N] at 24 kHz, speech without any noise, root mean square about 1 while somebody speaks.
        words: the events in the order they begin.
    """

    voice: np.ndarray
    words: tuple[WordEvent, ...]


def _choose(rng: np.random.Generator, plane: str, upcoming: str, style: NarrationStyle) -> tuple[str, str, str]:
    """Kind, word and spelling of the next utterance."""
    draw = rng.random()
    plane_share, organ_share, wrong_share = style.shares
    if plane == "background":
        if draw < style.foretell_share:
            return ("plane", *PLANE_WORDS[upcoming])
    elif draw < plane_share:
        return ("plane", *PLANE_WORDS[plane])
    elif draw < plane_share + organ_share:
        return ("organ", *ORGAN_WORDS[ORGANS[plane]])
    elif draw < plane_share + organ_share + wrong_share:
        others = [other for other in PLANE_WORDS if other != plane]
        return ("plane", *PLANE_WORDS[others[int(rng.integers(len(others)))]])
    return ("chatter", *CHATTER_WORDS[int(rng.integers(len(CHATTER_WORDS)))])


def _situation(time: float, planes: Sequence[PlaneInterval], lag: float, trail: float) -> tuple[str, str, float]:
    """The plane the speaker has in mind, the one that comes next, and when this changes."""
    for interval in planes:
        if time < interval.start + lag:
            return "background", str(interval.plane), interval.start + lag
        if time < interval.end + trail * lag:
            return str(interval.plane), str(interval.plane), interval.end + trail * lag
    return "background", str(planes[-1].plane) if planes else "4CH", np.inf


def _silences(rng: np.random.Generator, seconds: float, share: float) -> list[tuple[float, float]]:
    """Stretches without speech: 2-6 s each, with pauses between them that make them ``share`` of the time."""
    if share <= 0:
        return []
    if share >= 1:
        return [(0.0, seconds)]
    between = 4.0 * (1 - share) / share
    time = 0.0 if rng.random() < share else rng.exponential(between)
    found = []
    while time < seconds:
        found.append((time, time + rng.uniform(2.0, 6.0)))
        time = found[-1][1] + rng.exponential(between)
    return found


def narrate(
    rng: np.random.Generator, seconds: float, planes: Sequence[PlaneInterval], style: NarrationStyle
) -> Narration:
    """Narrate a scan.

    Args:
        rng: source of the speakers, words, pauses and of the synthesiser's noise.
        seconds: length of the scan.
        planes: when which plane is on the screen, in order.
        style: how densely and how faithfully.
    """
    total = round(seconds * SPEECH_RATE)
    voice, words = np.zeros(total), []
    sonographer, other = draw_voice(rng), draw_voice(rng)
    silences = _silences(rng.spawn(1)[0], seconds, style.noise_share)  # of its own, so that the speakers stay the same
    time = float(rng.exponential(0.8))
    while time < seconds:
        over = next((end for start, end in silences if start <= time < end), None)
        if over is not None:
            time = over + rng.exponential(style.gap)
            continue
        plane, upcoming, until = _situation(time, planes, rng.uniform(*style.lag), style.trail)
        if rng.random() < style.quiet_share:
            time += rng.uniform(0.5, 2.0)
            continue
        kind, word, spelling = _choose(rng, plane, upcoming, style)
        speaker = other if kind == "chatter" and rng.random() < style.second_voice else sonographer
        sound = speak(spelling, speaker, rng) * np.exp(rng.normal(0.0, 0.2)) * (0.6 if speaker is other else 1.0)
        first = round(time * SPEECH_RATE)
        if first + len(sound) > total:
            break
        voice[first : first + len(sound)] += sound
        end = (first + len(sound)) / SPEECH_RATE
        words.append(WordEvent(first / SPEECH_RATE, end, word, kind))
        pause = 0.15 + rng.exponential(style.search_gap if plane == "background" else style.gap)
        # a plane that comes up cuts the silence short: there is something to say
        time = end + pause if plane != "background" or end + pause < until else max(end + 0.15, until)
    return Narration(voice, tuple(words))
