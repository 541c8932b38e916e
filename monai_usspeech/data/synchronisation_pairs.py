# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Utterances for audio-ultrasound synchronisation: frames, and the speech windows that candidate offsets ask for."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from monai_usspeech.data.clip_parts import speech_level
from monai_usspeech.data.files import InputError
from monai_usspeech.data.splits import SubjectSplit, subject_split
from monai_usspeech.data.store import STORE_SAMPLE_RATE, ScanStore, StoredScan
from monai_usspeech.transforms.pair_sampling import frame_on_display

__all__ = ["SynchronisationDataset", "synchronisation_split"]

_ROUNDING = 1e-6


class _Plan(NamedTuple):
    """Of one utterance: times of the frames [F]; number of the first window; starts [W] and errors [n]; all in s."""

    times: np.ndarray
    first: int
    starts: np.ndarray
    errors: np.ndarray


class SynchronisationDataset(Dataset):
    """Each prepared scan with speech as one utterance whose sound was lost from its place, and is to be put back.

    Frames are taken every ``stride * step`` seconds. Candidate ``j`` of ``n_candidates`` pairs the frame at ``t`` with
    the speech window whose middle lies at ``t + errors[j]`` of the true time line, ``errors[j] = (j - p) * step``: its
    sound would lead by ``errors[j]``. The place ``p`` of the truth is drawn for each utterance uniformly from
    ``[0, n_candidates - 1]``, from the seed and the scan's id: a network that prefers the middle, or either end, of
    the candidates gains nothing. One candidate is at most half a step from the truth.

    A window counts where the recording covers it from end to end; nothing is padded. An utterance so short that, at
    some place of the truth, a candidate would have fewer than ``least_windows`` pairs is left out (:attr:`left_out`).

    An item is a dictionary of tensors that :class:`~monai_usspeech.engines.PrepareVideoSpeechBatch` takes, in batches
    of one (``F`` frames of side ``S``, ``W`` windows of ``n`` samples):

    ``frames``, ``speech_pos``
        uint8 ``[F, 1, S, S]``; int16 ``[W, n]``, the windows in order of time, one every ``step`` seconds; with
        ``speech_max_db``, ``speech_mean``, ``speech_std`` of the scan.
    ``first_window``
        int64: number of the first window, where candidate ``j`` pairs frame ``i`` with number ``stride * i + j``.
    ``errors``
        float64 ``[n_candidates]``, seconds.
    ``scan_index``, ``clip_index``, ``item``
        int64: index into :attr:`scans`, 0, number of the item.

    Source: Eshky et al. (Interspeech 2019): candidates 45 ms apart, windows of 200 ms, 24 candidates.

    Args:
        store: a :class:`ScanStore` or its folder.
        subjects: use these subjects only.
        exclude_subjects: leave these out.
        n_candidates: offsets to choose from.
        step: seconds between neighbouring candidates.
        stride: steps from one frame to the next.
        window_seconds: length of a speech window: that of the training.
        least_windows: pairs that each candidate must have.
        max_seconds: a longer scan is cut to its first so many seconds.
        statistics: level statistics to hand over: ``"scan"`` or ``"band"``, as in training.
        seed: of the places of the truth.

    Raises:
        InputError: on an unknown subject, a number out of its range, or when no utterance is long enough.
    """

    def __init__(
        self,
        store: ScanStore | str | os.PathLike,
        subjects: Iterable[str] | None = None,
        exclude_subjects: Iterable[str] | None = None,
        n_candidates: int = 24,
        step: float = 0.045,
        stride: int = 2,
        window_seconds: float = 0.2,
        least_windows: int = 5,
        max_seconds: float = 20.0,
        statistics: str = "scan",
        seed: int = 0,
    ) -> None:
        self.store = store if isinstance(store, ScanStore) else ScanStore(store)
        if statistics not in ("scan", "band"):
            raise InputError(f'SynchronisationDataset: statistics must be "scan" or "band", got "{statistics}".')
        _check_numbers({"n_candidates": n_candidates, "stride": stride, "least_windows": least_windows})
        _check_seconds({"step": step, "window_seconds": window_seconds, "max_seconds": max_seconds})
        self.n_candidates, self.step, self.stride, self.window_seconds = n_candidates, step, stride, window_seconds
        self.least_windows, self.max_seconds, self.statistics, self.seed = least_windows, max_seconds, statistics, seed
        chosen = [scan for scan in self.store.select(subjects=subjects, exclude=exclude_subjects) if scan.has_speech]
        plans = [(scan, self._plan(scan)) for scan in chosen]
        self.scans: tuple[StoredScan, ...] = tuple(scan for scan, plan in plans if plan is not None)
        self._plans = [plan for _, plan in plans if plan is not None]
        self.left_out = len(chosen) - len(self.scans)
        """Scans with speech that are too short for every candidate to have its pairs."""
        if not self.scans:
            span = (n_candidates - 1) * step + least_windows * stride * step + window_seconds / 2
            raise InputError(
                f"{self.store.root}: none of the {len(chosen)} chosen scans with speech is long enough, about"
                f" {span:.1f} s; give fewer n_candidates, a smaller step, or other subjects."
            )

    def _plan(self, scan: StoredScan) -> _Plan | None:
        """What is read of a scan; None when it is too short."""
        interval, half = self.stride * self.step, self.window_seconds / 2
        length = min(scan.duration, self.max_seconds)
        times = interval * (np.arange(math.ceil(length / interval)) + 0.5)
        times = times[times < length]
        key = (self.seed, zlib.crc32(scan.id.encode()))
        drawn = np.random.RandomState(np.random.Philox(np.random.SeedSequence(key))).random_sample()
        errors = (np.arange(self.n_candidates) - drawn * (self.n_candidates - 1)) * self.step
        first, last = scan.speech_range
        # By the worst places of the truth, not by its own: else short utterances would stay where it is in the middle.
        for worst in (-1, 1):
            begins = times + worst * (self.n_candidates - 1) * self.step - half
            covered = (begins >= first - _ROUNDING) & (begins + self.window_seconds <= last + _ROUNDING)
            if covered.sum() < self.least_windows:
                return None
        numbers = np.arange(self.stride * (len(times) - 1) + self.n_candidates)
        starts = times[0] + errors[0] + self.step * numbers - half
        inside = (starts >= first - _ROUNDING) & (starts + self.window_seconds <= last + _ROUNDING)
        return _Plan(times, int(np.argmax(inside)), starts[inside], errors)

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        item = range(len(self))[item]
        scan, plan = self.scans[item], self._plans[item]
        n_samples = round(self.window_seconds * STORE_SAMPLE_RATE)
        windows = np.stack([scan.read_speech(float(start), n_samples) for start in plan.starts])
        frames = scan.read_frames(frame_on_display(scan.times, plan.times))
        return {
            "frames": torch.from_numpy(frames[:, None]),
            "speech_pos": torch.from_numpy(windows),
            **{name: torch.as_tensor(value) for name, value in speech_level(scan, self.statistics).items()},
            "first_window": torch.tensor(plan.first),
            "errors": torch.from_numpy(plan.errors),
            "scan_index": torch.tensor(item),
            "clip_index": torch.tensor(0),
            "item": torch.tensor(item),
        }

    def __getitems__(self, items: Sequence[int]) -> list[dict[str, Tensor]]:
        """Fetch a batch; :class:`torch.utils.data.DataLoader` calls this once for each batch."""
        return [self[item] for item in items]

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects of the items, sorted."""
        return tuple(sorted({scan.subject for scan in self.scans}))

    def describe(self, item: int) -> tuple[str, str, float]:
        """Subject, scan, and seconds of it that are used."""
        scan = self.scans[item]
        return scan.subject, scan.id, min(scan.duration, self.max_seconds)

    def summary(self) -> dict[str, float]:
        """Figures for the log."""
        return {
            "utterances": len(self),
            "left_out": self.left_out,
            "subjects": len(self.subjects),
            "minutes": sum(self.describe(item)[2] for item in range(len(self))) / 60,
        }


def synchronisation_split(
    store: ScanStore | str | os.PathLike,
    subjects: Sequence[str] | None = None,
    n_folds: int = 3,
    fold: int = 0,
    seed: int = 0,
) -> SubjectSplit:
    """Who is tested on: named speakers, such as those of a published test set, or a fold.

    Args:
        store: a :class:`ScanStore` or its folder.
        subjects: these and no others; None: those of the fold.
        n_folds, fold, seed: as for :func:`~monai_usspeech.data.subject_split`.

    Returns:
        The split; with ``subjects``, its training side is empty: who was trained on is for the weights to say.

    Raises:
        InputError: on a subject that the store does not have, or what :func:`~monai_usspeech.data.subject_split`
            refuses.
    """
    store = store if isinstance(store, ScanStore) else ScanStore(store)
    if subjects is None:
        return subject_split(store, n_folds, fold, seed)
    named = (subjects,) if isinstance(subjects, str) else tuple(subjects)
    store.select(subjects=named)
    return SubjectSplit((), (), tuple(sorted(named)))


def _check_numbers(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        least = 2 if name == "n_candidates" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"SynchronisationDataset: {name} must be a whole number from {least}, got {value!r}.")


def _check_seconds(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
            raise InputError(f"SynchronisationDataset: {name} must be seconds above 0, got {value!r}.")
