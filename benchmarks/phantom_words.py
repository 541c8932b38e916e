# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What the phantom's words say about its pictures, as the pair sampler meets them (``phantom_difficulty.py``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monai_usspeech.data.annotations import PLANES, plane_at
from monai_usspeech.phantom import Phantom
from monai_usspeech.phantom.anatomy import ORGANS
from monai_usspeech.phantom.course import PhantomCourse
from monai_usspeech.phantom.lexicon import ORGAN_WORDS, PLANE_WORDS
from monai_usspeech.phantom.narration import WordEvent
from monai_usspeech.phantom.speech_synthesis import SPEECH_RATE
from monai_usspeech.transforms.pair_sampling import PairRecord, draw_pairs
from monai_usspeech.transforms.voice_activity import clip_activity, energy_voice_activity, window_activity

WINDOW, CLIP, SHIFT_RANGE = 0.6, 2.0, 5
HEARD = 0.2  # seconds of a word that a window must hold to count
BACKGROUND = len(PLANES) - 1
ROWS = ("right", "organ", "false_negative", "spoken", "spoken_negative", "level", "level_negative")


def seconds_of(words: Sequence[WordEvent], start: float, word: str | None = None) -> float:
    """Seconds of the window that begins at ``start`` in which ``word`` (None: anything) is spoken."""
    chosen = [event for event in words if word is None or event.word == word]
    return sum(max(0.0, min(event.end, start + WINDOW) - max(event.start, start)) for event in chosen)


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a positive value exceeds a negative one, ties counted as a half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.mean() / (2 * len(negative)))


def other_plane_share(course: PhantomCourse, shift: int) -> tuple[float, float]:
    """Share of the moments on a plane at which another plane, and the same one, is shown ``shift`` clips away."""
    times = np.arange(0.0, course.phantom.seconds, 0.1)
    here = plane_at(course.planes, times)
    same = other = count = 0
    for sign in (-1, 1):
        away = times + sign * shift * CLIP
        inside = (here != BACKGROUND) & (away >= 0) & (away < course.phantom.seconds)
        there = plane_at(course.planes, away[inside])
        same += int((there == here[inside]).sum())
        other += int(((there != here[inside]) & (there != BACKGROUND)).sum())
        count += int(inside.sum())
    return (other / count, same / count) if count else (np.nan, np.nan)


def pairs_of(course: PhantomCourse, gate: bool, flags: np.ndarray, seed: int) -> list[PairRecord]:
    """The triples of every clip, drawn as in training."""
    rng, n_clips = np.random.RandomState(seed), int(course.phantom.seconds // CLIP)
    share = clip_activity(flags)[:n_clips]
    usable = np.ones(n_clips, bool) if not gate else share >= 0.5
    return [
        draw_pairs(
            rng, clip, n_clips, shift_range=SHIFT_RANGE, gate=gate, usable=usable, activity=window_activity(flags)
        )
        for clip in range(n_clips)
    ]


def window_rows(course: PhantomCourse, pairs: Sequence[PairRecord]) -> dict[str, list[float]]:
    """What the windows of valid triples hold: the right plane's word, speech at all, level."""
    rows: dict[str, list[float]] = {name: [] for name in ROWS}
    sound, words = course.speech().astype(float), course.narration.words

    def level(start: float) -> float:
        first = round(start * SPEECH_RATE)
        return float(10 * np.log10((sound[first : first + round(WINDOW * SPEECH_RATE)] ** 2).mean() + 1.0))

    for record in pairs:
        for k in np.flatnonzero(record.valid):
            label = int(plane_at(course.planes, record.frame_times[k]))
            positive, negative = float(record.positive_starts[k]), float(record.negative_starts[k])
            right = PLANE_WORDS.get(PLANES[label], ("",))[0]
            organ = ORGAN_WORDS.get(ORGANS.get(PLANES[label], ""), ("",))[0]
            rows["organ"].append(seconds_of(words, positive, organ) >= HEARD)
            rows["right"].append(seconds_of(words, positive, right) >= HEARD)
            rows["false_negative"].append(seconds_of(words, negative, right) >= HEARD)
            rows["spoken"].append(seconds_of(words, positive))
            rows["spoken_negative"].append(seconds_of(words, negative))
            rows["level"].append(level(positive))
            rows["level_negative"].append(level(negative))
    return rows


def words_while_shown(course: PhantomCourse) -> list[bool]:
    """For every plane's word: whether that plane is on the screen when it begins."""
    said = [event for event in course.narration.words if event.kind == "plane"]
    shown = plane_at(course.planes, np.array([event.start for event in said]))
    return [PLANE_WORDS.get(PLANES[label], ("",))[0] == event.word for event, label in zip(said, shown)]


def voice_scores(course: PhantomCourse, flags: np.ndarray) -> tuple[float, float]:
    """Recall and precision of the voice activity over frames of 10 ms; the truth is the words' times."""
    middle = (np.arange(len(flags)) + 0.5) / 100
    truth = np.zeros(len(flags), bool)
    for event in course.narration.words:
        truth |= (middle >= event.start) & (middle < event.end)
    hits = float((truth & flags).sum())
    return hits / max(int(truth.sum()), 1), hits / max(int(flags.sum()), 1)


def word_measures(phantom: Phantom, scans: int) -> dict[str, float]:
    """The table's rows about planes and words, means over scans (windows pooled over scans)."""
    pooled: dict[bool, dict[str, list[float]]] = {gate: {name: [] for name in ROWS} for gate in (False, True)}
    per_scan, timely = [], []
    for index in range(scans):
        course = phantom.course(index)
        flags = energy_voice_activity(course.speech(), SPEECH_RATE)
        for gate in (False, True):
            for name, values in window_rows(course, pairs_of(course, gate, flags, index)).items():
                pooled[gate][name] += values
        timely += words_while_shown(course)
        shown = plane_at(course.planes, np.arange(0.0, phantom.seconds, 0.1))
        stays = [interval.end - interval.start for interval in course.planes]
        shifts = [other_plane_share(course, shift) for shift in range(1, SHIFT_RANGE)]
        clips = (clip_activity(flags) >= 0.5).mean()
        frozen = np.mean(np.diff(course.timeline.tissue_time(np.arange(0.0, phantom.seconds, 0.1))) < 1e-6)
        per_scan.append([(shown == BACKGROUND).mean(), np.mean(stays or [np.nan]), frozen, clips,
                         *voice_scores(course, flags), *np.ravel(shifts)])  # fmt: skip
    background, stay, still, voiced, recall, precision, *away = np.nanmean(np.array(per_scan, float), axis=0)
    free, gated = ({name: np.array(values, float) for name, values in pooled[gate].items()} for gate in (False, True))
    result = {"background, share of time": background, "time on a plane, s": stay, "frozen, share of time": still}
    for which, kind in enumerate(("another plane", "the same plane")):
        for shift in range(1, SHIFT_RANGE):
            result[f"{kind} {shift * CLIP:.0f} s away"] = away[2 * (shift - 1) + which]
        result[f"{kind}, mean over the shifts"] = float(np.mean(away[which::2]))
    result |= {
        "windows with the right plane's word": free["right"].mean(),
        "windows with its organ's word": ((free["organ"] > 0) & (free["right"] == 0)).mean(),
        "windows with other speech": ((free["spoken"] >= HEARD) & (free["right"] + free["organ"] == 0)).mean(),
        "windows without speech": (free["spoken"] < HEARD).mean(),
        "plane words said while the plane is shown": float(np.mean(timely)) if timely else np.nan,
        "clips with enough voice": voiced,
        "voice activity: recall": recall,
        "voice activity: precision": precision,
    }
    if len(gated["right"]):
        result |= {
            "gated windows with the right plane's word": gated["right"].mean(),
            "gated negatives with the right plane's word": gated["false_negative"].mean(),
            "AUC of level, gated": area_under_curve(gated["level"], gated["level_negative"]),
            "AUC of spoken seconds, gated": area_under_curve(gated["spoken"], gated["spoken_negative"]),
        }
    return result
