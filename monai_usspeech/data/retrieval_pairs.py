# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""One frame and one speech window for each clip, the same at every reading: what retrieval is measured on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from monai_usspeech.data.annotations import plane_at
from monai_usspeech.data.clip_index import ClipIndex
from monai_usspeech.data.clip_parts import speech_level
from monai_usspeech.data.files import InputError
from monai_usspeech.data.store import STORE_SAMPLE_RATE, ScanStore, StoredScan
from monai_usspeech.transforms.pair_sampling import STEP, PairSettings, frame_on_display
from monai_usspeech.transforms.voice_activity import window_activity

__all__ = ["RetrievalDataset"]


class RetrievalDataset(Dataset):
    """Pairs of a frame and a speech window from clips with enough voice; nothing is drawn at random.

    Clip ``n`` of a scan covers ``[n, n + 1) * clip_seconds``. Its frame is the one on display in the middle of the
    clip; its window is the one with the most voice, the first of equals. A clip counts when speech covers it and its
    share of active voice reaches the threshold.

    An item is a dictionary of tensors that :class:`~monai_usspeech.engines.PrepareVideoSpeechBatch` takes (``S`` = side
    of the stored frames, ``n`` = samples of a window):

    ``frames``
        uint8 ``[1, 1, S, S]``.
    ``speech_pos``
        int16 ``[1, n]``; with ``speech_max_db``, ``speech_mean``, ``speech_std``, the level statistics of the scan.
        Absent with ``speech=False``.
    ``plane``
        int64: the standard plane at the frame's time (index into ``PLANES``), -1 in a scan without labels.
    ``frame_time``, ``speech_start``
        float64 seconds of the scan.
    ``scan_index``, ``clip_index``, ``item``
        int64: index into :attr:`scans`, number of the clip in the scan, number of the item.

    Args:
        store: a :class:`ScanStore` or its folder.
        subjects: use these subjects only.
        exclude_subjects: leave these out.
        speech: give the speech window. The clips are the same without it.
        clip_seconds: length of a clip.
        window_seconds: length of a speech window.
        voice_activity: which of the store's voice activity flags to go by.
        threshold: least share of active voice of a clip, in [0, 1]. None: every clip that speech covers, with the
            window in its middle; with ``speech=False`` every clip of every scan.
        statistics: level statistics to hand over: ``"scan"`` or ``"band"``, as in training.

    Raises:
        InputError: on an unknown subject, a number out of its range, or when no clip is left.
    """

    def __init__(
        self,
        store: ScanStore | str | os.PathLike,
        subjects: Iterable[str] | None = None,
        exclude_subjects: Iterable[str] | None = None,
        speech: bool = True,
        clip_seconds: float = 2.0,
        window_seconds: float = 0.6,
        voice_activity: str = "energy",
        threshold: float | None = 0.5,
        statistics: str = "scan",
    ) -> None:
        self.store = store if isinstance(store, ScanStore) else ScanStore(store)
        if statistics not in ("scan", "band"):
            raise InputError(f'RetrievalDataset: statistics must be "scan" or "band", got "{statistics}".')
        try:
            level = 0.5 if threshold is None else threshold
            PairSettings(clip_seconds=clip_seconds, window_seconds=window_seconds, threshold=level)
        except (TypeError, ValueError) as error:
            raise InputError(f"RetrievalDataset: {error}") from error
        self.speech, self.statistics, self.threshold = speech, statistics, threshold
        self.clip_seconds, self.window_seconds = clip_seconds, window_seconds
        need_speech = speech or threshold is not None
        chosen = self.store.select(subjects=subjects, exclude=exclude_subjects)
        self.scans: tuple[StoredScan, ...] = tuple(scan for scan in chosen if scan.has_speech or not need_speech)
        if not self.scans:
            raise InputError(
                f"{self.store.root}: none of the {len(chosen)} chosen scans has speech; test other subjects."
            )
        self.index = ClipIndex(self.scans, clip_seconds, voice_activity if threshold is not None else None)
        taken = self.index.usable(threshold) if need_speech else np.ones(len(self.index), bool)
        self._clips = np.flatnonzero(taken)
        if len(self._clips) == 0:
            raise InputError(
                f"{self.store.root}: none of the {len(self.index)} clips of the chosen scans has voice in"
                f" {level:.0%} of it; lower threshold, or choose another voice_activity."
            )

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        item = range(len(self))[item]
        scan_index, clip = self.locate(item)
        scan, time = self.scans[scan_index], (clip + 0.5) * self.clip_seconds
        plane = plane_at(scan.planes, time) if scan.planes else -1
        frame = frame_on_display(scan.times, np.array([time]))
        sample = {
            "frames": torch.from_numpy(scan.read_frames(frame)[:, None]),
            "plane": torch.tensor(int(plane)),
            "frame_time": torch.tensor(time, dtype=torch.float64),
            "scan_index": torch.tensor(scan_index),
            "clip_index": torch.tensor(clip),
            "item": torch.tensor(item),
        }
        if self.speech:
            start = self._window(scan_index, clip)
            window = scan.read_speech(start, round(self.window_seconds * STORE_SAMPLE_RATE))
            sample["speech_pos"] = torch.from_numpy(window[None])
            sample["speech_start"] = torch.tensor(start, dtype=torch.float64)
            sample.update({key: torch.as_tensor(v) for key, v in speech_level(scan, self.statistics).items()})
        return sample

    def __getitems__(self, items: Sequence[int]) -> list[dict[str, Tensor]]:
        """Fetch a batch; :class:`torch.utils.data.DataLoader` calls this once for each batch."""
        return [self[item] for item in items]

    def _window(self, scan_index: int, clip: int) -> float:
        """Start of the clip's speech window, in seconds of the scan."""
        begin = clip * self.clip_seconds
        if self.threshold is None:
            return begin + 0.5 * (self.clip_seconds - self.window_seconds)
        first, flags = self.index.flags(scan_index, clip, clip + 1)
        cells = round(self.clip_seconds / STEP)
        own = np.zeros(cells, bool)  # the last clip may lack a flag or two at its end
        here = flags[clip * cells - first :][:cells]
        own[: len(here)] = here
        return begin + STEP * int(np.argmax(window_activity(own, round(self.window_seconds / STEP))))

    # What an item is

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects of the items, sorted."""
        return tuple(sorted({self.scans[index].subject for index in {self.locate(i)[0] for i in range(len(self))}}))

    def locate(self, item: int) -> tuple[int, int]:
        """``(scan index, clip index)`` of an item."""
        return self.index.locate(int(self._clips[item]))

    def describe(self, item: int) -> tuple[str, str, float]:
        """Subject, scan, and time of the frame in seconds."""
        scan_index, clip = self.locate(item)
        scan = self.scans[scan_index]
        return scan.subject, scan.id, (clip + 0.5) * self.clip_seconds

    def summary(self) -> dict[str, float]:
        """Figures for the log: items, clips to choose from, scans and subjects among the items."""
        scans = {self.locate(item)[0] for item in range(len(self))}
        subjects = {self.scans[index].subject for index in scans}
        return {"items": len(self), "clips": len(self.index), "scans": len(scans), "subjects": len(subjects)}
