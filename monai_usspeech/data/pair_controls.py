# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Controls of video-speech pretraining: runs that must lose, or that must show what a shortcut would gain.

None of them is a method. docs/pairs.md says what each should do to the result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from monai_usspeech.data.clip_index import ClipIndex
from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.data.store import STORE_SAMPLE_RATE, StoredScan
from monai_usspeech.transforms.pair_sampling import PairRecord

__all__ = [
    "FoldedSpeech",
    "check_controls",
    "controlled_speech",
    "permuted_clips",
    "shuffled_speech",
    "speech_partners",
    "with_negatives_of",
]

_CHOICES = {"speech_source": ("shuffled",), "affinity_control": ("permuted",), "gate_on": ("positive",)}
_STREAMS = {"speech_source": 1, "affinity_control": 2}  # apart from the stream of any item, which ends in its number


def check_controls(pairs: bool, gate: bool, **controls: Any) -> None:
    """Refuse controls that do not exist, or that have nothing to act on.

    Args:
        pairs: whether there are pairs at all.
        gate: whether they are filtered.
        controls: ``speech_source``, ``affinity_control`` and ``gate_on``; None: no control.

    Raises:
        InputError: naming the option and the mend.
    """
    for name, value in controls.items():
        if value is None:
            continue
        known = _CHOICES[name]
        if value not in known:
            words = " or ".join(f'"{word}"' for word in known)
            raise InputError(
                f"ClipDataset: {name} must be null (no control) or {words}, got {value!r}."
                f"{nearest_name(str(value), known)}"
            )
        if not pairs:
            raise InputError(f'ClipDataset: {name}="{value}" is a control of pairs, and pairs is false; lay it over a'
                             " method that reads speech.")  # fmt: skip
        if name != "speech_source" and not gate:
            raise InputError(f'ClipDataset: {name}="{value}" is a control of the speech filter, and gate is false; lay'
                             " it over a method with gate=true.")  # fmt: skip


def _stream(seed: int, option: str) -> np.random.RandomState:
    return np.random.RandomState(np.random.Philox(np.random.SeedSequence((seed, 0, 0, _STREAMS[option]))))


class FoldedSpeech:
    """The speech of one scan on the time line of another: it begins again where its last whole clip ends.

    Args:
        scan: whose speech.
        seconds: length of the scan's whole clips; time ``t`` is its time ``t`` modulo ``seconds``.
    """

    def __init__(self, scan: StoredScan, seconds: float) -> None:
        self.scan, self.seconds = scan, seconds

    @property
    def id(self) -> str:
        """Whose speech it is."""
        return self.scan.id

    @property
    def speech_statistics(self) -> dict[str, Any] | None:
        """Levels of the speech: those of the scan that it is from."""
        return self.scan.speech_statistics

    def read_speech(self, start_seconds: float, n_samples: int) -> np.ndarray:
        """As :meth:`~monai_usspeech.data.store.StoredScan.read_speech`, at the folded time.

        Args:
            start_seconds: on the other scan's time line; rounded to the nearest sample.
            n_samples: how many samples at 24 kHz.

        Returns:
            int16 ``[n_samples]``.
        """
        period, position = round(self.seconds * STORE_SAMPLE_RATE), round(start_seconds * STORE_SAMPLE_RATE)
        pieces, missing = [np.zeros(0, np.int16)], n_samples
        while missing > 0:
            first = position % period
            count = min(missing, period - first)
            pieces.append(self.scan.read_speech(first / STORE_SAMPLE_RATE, count))
            position, missing = position + count, missing - count
        return np.concatenate(pieces)


def speech_partners(subjects: Sequence[str], seed: int) -> np.ndarray:
    """Whose speech each scan gets: never its own, and never its subject's as far as that can be.

    The scans are put in a random order, subject by subject and the largest first, and each takes the speech of the one
    that stands as many places on as the largest subject has scans. That avoids the own subject everywhere unless one
    subject has more than half of the scans, and then in as many cases as possible.

    Args:
        subjects: of each scan ``[n]``.
        seed: of the order.

    Returns:
        int64 ``[n]``: a permutation without a fixed point.

    Raises:
        ValueError: when there are fewer than two scans.
    """
    if len(subjects) < 2:
        raise ValueError(f"speech cannot be exchanged among {len(subjects)} scans")
    rng = _stream(seed, "speech_source")
    groups = defaultdict(list)
    for number in rng.permutation(len(subjects)):
        groups[subjects[number]].append(int(number))
    order = sorted(groups.values(), key=len, reverse=True)  # stable: subjects of one size stay in random order
    step = len(order[0]) if len(order) > 1 else 1
    flat = np.array([number for group in order for number in group])
    partners = np.empty(len(flat), np.int64)
    partners[flat] = np.roll(flat, -step)
    return partners


def shuffled_speech(
    scans: Sequence[StoredScan], index: ClipIndex, seed: int
) -> tuple[tuple[StoredScan | FoldedSpeech, ...], ClipIndex]:
    """Let each scan's frames meet the speech of another scan.

    Scans without speech, or shorter than a clip, keep what they have.

    Args:
        scans: the scans of the training set.
        index: their clips.
        seed: of the choice.

    Returns:
        Where to read the speech of each scan, and the clips with coverage and voice activity of that speech.

    Raises:
        InputError: when fewer than two scans have speech.
    """
    counts = np.diff(index.offsets)
    speaking = [n for n, scan in enumerate(scans) if scan.has_speech and counts[n] > 0]
    if len(speaking) < 2:
        raise InputError(
            f'ClipDataset: speech_source="shuffled" exchanges speech between scans, and {len(speaking)} of the'
            f" {len(scans)} chosen scans have speech; choose more subjects."
        )
    voices: list[StoredScan | FoldedSpeech] = list(scans)
    source = np.arange(len(index))
    for number, place in enumerate(speech_partners([scans[n].subject for n in speaking], seed)):
        scan, other = speaking[number], speaking[place]
        voices[scan] = FoldedSpeech(scans[other], float(counts[other] * index.clip_seconds))
        begin, end = index.offsets[scan : scan + 2]
        source[begin:end] = index.offsets[other] + np.arange(counts[scan]) % counts[other]
    return tuple(voices), index.rearranged(source, coverage=True)


def permuted_clips(index: ClipIndex, threshold: float, seed: int) -> ClipIndex:
    """Give each clip the voice activity of another clip: as much is filtered as before, and nothing is known by it.

    The 10 ms flags of whole clips change places among all clips that speech covers, so the share of high clips stays
    at every threshold, and within a clip the filter chooses windows as freely as it would elsewhere.

    Args:
        index: the clips of the training set.
        threshold: share of active voice of a high clip.
        seed: of the permutation.

    Raises:
        InputError: when all clips are high, or none is, so that a permutation changes nothing.
    """
    covered, high = np.flatnonzero(index.covered), index.usable(threshold)
    if high.sum() in (0, len(covered)):
        kind = "none" if not high.any() else "all"
        raise InputError(
            f'ClipDataset: affinity_control="permuted" exchanges clips with and without voice, and {kind} of the'
            f" {len(covered)} clips with speech reach an active share of {threshold:g}; change affinity_threshold."
        )
    rng, source = _stream(seed, "affinity_control"), np.arange(len(index))
    while np.array_equal(high[source], high):  # a draw of few clips may leave all as they were
        source[covered] = rng.permutation(covered)
    return index.rearranged(source, coverage=False)


def controlled_speech(
    scans: Sequence[StoredScan],
    index: ClipIndex,
    threshold: float,
    seed: int,
    speech_source: str | None = None,
    affinity_control: str | None = None,
) -> tuple[tuple[StoredScan | FoldedSpeech, ...], ClipIndex]:
    """The speech that each scan's frames meet, and the clips as the filter is to see them.

    Args:
        scans: the scans of the training set.
        index: their clips.
        threshold: share of active voice of a high clip.
        seed: of both controls.
        speech_source: ``"shuffled"``: see :func:`shuffled_speech`; None: each scan's own.
        affinity_control: ``"permuted"``: see :func:`permuted_clips`; None: as it is.

    Raises:
        InputError: when the scans cannot serve the control.
    """
    voices: tuple[StoredScan | FoldedSpeech, ...] = tuple(scans)
    if speech_source is not None:
        voices, index = shuffled_speech(scans, index, seed)
    if affinity_control is not None:
        index = permuted_clips(index, threshold, seed)
    return voices, index


def with_negatives_of(record: PairRecord, free: PairRecord) -> PairRecord:
    """Frames and positive windows of one record with the negative windows of another.

    Args:
        record: pairs whose two windows were filtered.
        free: pairs of the same clip drawn without the filter.

    Returns:
        The mixture; a triple is valid where both of its windows were drawn.
    """
    valid = ~np.isnan(record.positive_starts) & ~np.isnan(free.negative_starts)
    return replace(
        record,
        negative_starts=free.negative_starts,
        negative_activity=free.negative_activity,
        shifts=free.shifts,
        valid=valid,
    )
