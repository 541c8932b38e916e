# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Training samples from a scan store: video-speech pairs and shuffled frames of 2 s clips."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_usspeech.data.clip_index import ClipIndex
from monai_usspeech.data.clip_parts import (
    ORDER_FRAMES,
    clip_augmentation,
    clip_order_times,
    order_visible,
    pair_values,
    speech_level,
)
from monai_usspeech.data.drawn_items import DrawnItems, as_input_error, checked_augmentation, item_random_state
from monai_usspeech.data.files import InputError
from monai_usspeech.data.pair_controls import check_controls, controlled_speech, with_negatives_of
from monai_usspeech.data.store import ScanStore, StoredScan
from monai_usspeech.transforms.order import draw_order, draw_order_times, order_label
from monai_usspeech.transforms.pair_sampling import (
    STEP,
    PairRecord,
    PairSettings,
    draw_pairs,
    frame_on_display,
    with_shared_window,
)
from monai_usspeech.transforms.voice_activity import window_activity

__all__ = ["ClipDataset"]


class ClipDataset(DrawnItems):
    """Clips of prepared scans as pretraining samples.

    Clip ``n`` of a scan covers ``[n, n + 1) * clip_seconds``; the tail is dropped. What is drawn for an item depends on
    ``(seed, epoch, item)`` alone, so it is the same with any number of workers and after a resume. Index with a number
    (epoch 0) or with ``(epoch, number)``, as :class:`~monai_usspeech.data.batches.ClipBatchSampler` does.

    A sample is a dictionary of tensors (``K = n_pairs``; ``S`` = side of the stored frames; ``n`` = samples of a
    window):

    ``frames``
        uint8 ``[K, 1, S, S]``: the frame on display at each of ``frame_times``.
    ``speech_pos``, ``speech_neg``
        int16 ``[K, n]``: positive and negative window; zeros where there is none.
    ``pair_valid``, ``neg_valid``
        bool ``[K]``: both windows found, and enough voice when gated; a negative window found.
    ``affinity``
        float32: 1 when the clip may give pairs, else 0.
    ``frame_times``, ``speech_pos_start``, ``speech_neg_start``, ``shift``
        float64 ``[K]`` seconds of the scan (NaN: no window), and int64 ``[K]`` (0: none): what was drawn.
    ``negative_clip_index``
        int64 ``[K]``: the clip in which the negative window begins (-1: none).
    ``speech_max_db``, ``speech_mean``, ``speech_std``
        float32 (``[256]`` for the last two with ``statistics="band"``): level statistics of the scan's speech.
    ``order_frames``
        uint8 ``[4, 1, S, S]``: already shuffled.
    ``order_label``, ``order_valid``
        int64 in 0..11; bool: four different frames whose order can be seen.
    ``order_times``
        float64 ``[4]`` seconds of the scan, in the order shown.
    ``scan_index``, ``clip_index``
        int64: index into :attr:`scans`, number of the clip in the scan.
    ``frames_affine``, ``frames_gain``, ``frames_gamma``, ``order_frames_affine``, ...
        float32 ``[K or 4, ...]``: the drawn augmentation, unless ``augment`` is None.

    Gating (Jiao et al., MICCAI 2020, "affinity"): with ``gate`` a clip gives pairs only when the share of active
    voice over the clip reaches the threshold; its negative comes from such a clip too, and both windows must reach
    it. The other clips keep their place for the frame-order task; their windows are drawn without the gate and their
    pairs are not valid.

    Args:
        store: a :class:`ScanStore` or its folder.
        subjects: use these subjects only.
        exclude_subjects: leave these out (the test fold).
        pairs: give the pair keys. Clips of scans without speech then serve the order task only.
        order: give the order keys. Without them and ``frames``, scans without speech are left out.
        gate: see above.
        n_pairs, clip_seconds, window_seconds, shift_range, shift_unit, shift_sign: see
            :func:`~monai_usspeech.transforms.pair_sampling.draw_pairs`.
        voice_activity: which of the store's voice activity flags gate the pairs.
        affinity_threshold: least share of active voice of a gated clip and of a gated window.
        window_threshold: that of a gated window, when it is another.
        affinity_start: threshold of epoch 0, which then moves in a straight line to ``affinity_threshold``. None:
            constant.
        affinity_epochs: the epoch from which ``affinity_threshold`` holds.
        statistics: level statistics to hand over: ``"scan"`` (one mean) or ``"band"`` (one for each of 256 bands).
        augment: arguments of :func:`~monai_usspeech.transforms.augmentation.draw_augmentation`; ``jitter`` and
            ``noise`` (here 5/256 and 0.02 unless given) act on the order frames only. None: no augmentation keys.
        order_gap: shortest and longest time between neighbouring order frames, in seconds; raised to the scan's frame
            interval.
        order_threshold: least mean change between neighbouring order frames, as a share of the grey range.
        order_reversal: which reversal of an order has the same label: ``"shown"``, the frames shown backwards (as
            published), or ``"time"``, with time running backwards; see
            :func:`~monai_usspeech.transforms.order.order_label`. With ``"time"`` the network needs
            ``order_symmetric=False``.
        seed: of all random numbers.
        speech_source: a control, see docs/pairs.md: ``"shuffled"`` lets each scan's frames meet the speech of another
            scan. Times of windows stay on the scan's own line; :attr:`voices` says what is read there. None: its own.
        affinity_control: a control: ``"permuted"`` exchanges the voice activity of whole clips. None: as it is.
        gate_on: a control: ``"positive"`` filters the positive window only. None: both windows.
        frames: give the frames (``frames``, ``frame_times`` and their augmentation) without ``pairs`` too, and keep
            clips without speech for them: a contrast among frames needs nothing else.
        hard_negatives: ``False`` leaves out the negative windows and what belongs to them (``speech_neg``, ``shift``,
            ``neg_valid`` and so on): a pair is valid when its positive window is. What is drawn is the same.
        shared_window: all K frames of a clip meet one window, the first that was found. Needs ``hard_negatives=False``.

    Raises:
        InputError: on a subject that the store does not have, an unknown option, a number out of its range, no clip at
            all, or (with ``pairs``) not one clip that could give a pair.
    """

    def __init__(
        self,
        store: ScanStore | str | os.PathLike,
        subjects: Iterable[str] | None = None,
        exclude_subjects: Iterable[str] | None = None,
        pairs: bool = True,
        order: bool = True,
        gate: bool = True,
        n_pairs: int = 2,
        clip_seconds: float = 2.0,
        window_seconds: float = 0.6,
        shift_range: int = 5,
        shift_unit: str = "interval",
        shift_sign: str = "both",
        voice_activity: str = "energy",
        affinity_threshold: float = 0.5,
        affinity_start: float | None = None,
        affinity_epochs: int = 20,
        statistics: str = "scan",
        augment: Mapping[str, Any] | None = None,
        order_gap: tuple[float, float] = (10 / 30, 19 / 30),
        order_threshold: float = 0.01,
        order_reversal: str = "shown",
        seed: int = 0,
        window_threshold: float | None = None,
        speech_source: str | None = None,
        affinity_control: str | None = None,
        gate_on: str | None = None,
        frames: bool = False,
        hard_negatives: bool = True,
        shared_window: bool = False,
    ) -> None:
        if not (pairs or order or frames):
            raise InputError("ClipDataset: pairs, order and frames are all false, which leaves nothing to learn.")
        if statistics not in ("scan", "band"):
            raise InputError(f'ClipDataset: statistics must be "scan" or "band", got "{statistics}".')
        if order_reversal not in ("shown", "time"):
            raise InputError(f'ClipDataset: order_reversal must be "shown" or "time", got "{order_reversal}".')
        if affinity_start is not None and not (0 <= affinity_start <= 1 and affinity_epochs >= 1):
            raise InputError(
                "ClipDataset: affinity_start must lie in [0, 1] and affinity_epochs be >= 1,"
                f" got {affinity_start} and {affinity_epochs}."
            )
        if window_threshold is not None and not 0 <= window_threshold <= 1:
            raise InputError(f"ClipDataset: window_threshold must lie in [0, 1], got {window_threshold}.")
        if shared_window and hard_negatives:
            raise InputError(
                "ClipDataset: shared_window needs hard_negatives=False: each frame has its own hard negative."
            )
        check_controls(pairs, gate, speech_source=speech_source, affinity_control=affinity_control, gate_on=gate_on)
        self.store = store if isinstance(store, ScanStore) else ScanStore(store)
        self.pairs, self.order, self.gate, self.seed, self.statistics = pairs, order, gate, seed, statistics
        self.frames, self.hard_negatives, self.shared_window = frames or pairs, hard_negatives, shared_window
        self.voice_activity, self.window_threshold = voice_activity, window_threshold
        self.speech_source, self.affinity_control, self.gate_on = speech_source, affinity_control, gate_on
        with as_input_error("ClipDataset"):
            self.settings = PairSettings(
                clip_seconds, window_seconds, n_pairs, shift_range, shift_unit, shift_sign, affinity_threshold
            )
            if order:
                draw_order_times(np.random.RandomState(0), 0.0, clip_seconds, order_gap)  # a wrong gap shows now
        self.affinity_start, self.affinity_epochs = affinity_start, affinity_epochs
        self.augment = None if augment is None else checked_augmentation(augment, "ClipDataset")
        self.order_gap, self.order_threshold, self.order_reversal = order_gap, order_threshold, order_reversal
        scans = self.store.select(subjects=subjects, exclude=exclude_subjects)
        self.scans: tuple[StoredScan, ...] = tuple(scan for scan in scans if order or frames or scan.has_speech)
        index = ClipIndex(self.scans, clip_seconds, voice_activity if pairs and gate else None)
        self.voices, self.index = controlled_speech(
            self.scans, index, affinity_threshold, seed, speech_source, affinity_control
        )
        self._check()

    def _check(self) -> None:
        root, seconds = self.store.root, self.settings.clip_seconds
        if self.pairs and not any(scan.has_speech for scan in self.scans):
            raise InputError(
                f"{root}: none of the chosen scans has speech, which pairs need; choose other subjects, or train on"
                " frame order alone (pairs=False here, configs/pretrain/video.json for the training command)."
            )
        if len(self) == 0:
            raise InputError(f"{root}: none of the {len(self.scans)} chosen scans lasts one clip of {seconds:g} s.")
        if self.pairs and not self.high.any():
            level = self.settings.threshold
            kind = f"with speech and an active share of {level:g}" if self.gate else "with speech"
            reach = f"{self.settings.shift_range - 1} {self.settings.shift_unit}s"
            none = f"none {kind} has another such clip of its scan within {reach}"
            raise InputError(
                f"{root}: no clip can give a pair: {none if self.hard_negatives else f'there is none {kind}'}. Lower"
                " affinity_threshold, choose another voice_activity, or train on frame order alone (pairs=False here,"
                " configs/pretrain/video.json for the training command)."
            )

    def __len__(self) -> int:
        return len(self.index)

    def _sample(self, epoch: int, number: int) -> dict[str, Tensor]:
        scan_index, clip = self.locate(number)
        rng = item_random_state(self.seed, epoch, number)
        scan, times, seconds = self.scans[scan_index], self.scans[scan_index].times, self.settings.clip_seconds
        sample: dict[str, Any] = {"scan_index": np.int64(scan_index), "clip_index": np.int64(clip)}
        wanted: list[np.ndarray] = []
        if self.pairs:
            record, affinity = self.draw(rng, scan_index, clip, epoch)
            wanted.append(frame_on_display(times, record.frame_times))
            sample.update(pair_values(self.voices[scan_index], record, affinity, self.settings, self.hard_negatives))
            sample.update(speech_level(self.voices[scan_index], self.statistics))
        elif self.frames:
            sample["frame_times"] = (clip + rng.random_sample(self.settings.n_pairs)) * seconds
            wanted.append(frame_on_display(times, sample["frame_times"]))
        if self.order:
            order_times, distinct = clip_order_times(rng, times, clip * seconds, seconds, self.order_gap)
            permutation = draw_order(rng)
            wanted.append(frame_on_display(times, order_times))
        frames = scan.read_frames(np.concatenate(wanted))[:, None]
        if self.frames:
            sample["frames"] = frames[: self.settings.n_pairs]
        if self.order:
            ordered = frames[-ORDER_FRAMES:]
            sample["order_valid"] = np.bool_(distinct and order_visible(ordered, self.order_threshold))
            sample["order_frames"], sample["order_times"] = ordered[permutation], order_times[permutation]
            sample["order_label"] = np.int64(order_label(permutation, self.order_reversal))
        if self.augment is not None:
            sample.update(clip_augmentation(rng, self.augment, self.settings.n_pairs if self.frames else 0, self.order))
        return {name: torch.from_numpy(np.ascontiguousarray(value)) if np.ndim(value) else torch.tensor(value)
                for name, value in sample.items()}  # fmt: skip

    # What an item is

    @property
    def subjects(self) -> tuple[str, ...]:
        """Who is in this dataset, sorted: whoever trains on it must not be tested on them."""
        return tuple(sorted({scan.subject for scan in self.scans}))

    def locate(self, number: int) -> tuple[int, int]:
        """``(scan index, clip index)`` of item ``number``.

        Raises:
            IndexError: when there is no such item.
        """
        return self.index.locate(number)

    def item_name(self, number: int) -> str:
        """Item ``number`` in words: ``"scan s003 clip 12 (24.0-26.0 s)"``."""
        return self.clip_name(*self.locate(number))

    def clip_name(self, scan_index: int, clip_index: int) -> str:
        """A clip in words, from the ``scan_index`` and ``clip_index`` of a sample."""
        begin = clip_index * self.settings.clip_seconds
        end = begin + self.settings.clip_seconds
        return f"scan {self.scans[scan_index].id} clip {clip_index} ({begin:.1f}-{end:.1f} s)"

    def threshold(self, epoch: int) -> float:
        """The affinity threshold that holds in an epoch (counted from 0)."""
        final = self.settings.threshold
        if self.affinity_start is None:
            return final
        done = min(epoch / self.affinity_epochs, 1.0)
        return self.affinity_start + (final - self.affinity_start) * done

    @property
    def high(self) -> np.ndarray:
        """bool ``[len(self)]``: clips that can give valid pairs at the final threshold (with voice, and a partner)."""
        return self.high_clips(self.affinity_epochs)

    def high_clips(self, epoch: int) -> np.ndarray:
        """bool ``[len(self)]``: clips that can give valid pairs in an epoch."""
        if not self.hard_negatives:
            return self.index.usable(self._level(epoch))
        if self.gate_on == "positive":
            high: np.ndarray = self.index.usable(self._level(epoch)) & self.index.with_partner(None, self.settings)
            return high
        return self.index.with_partner(self._level(epoch), self.settings)

    def _level(self, epoch: int) -> float | None:
        return self.threshold(epoch) if self.gate else None

    def summary(self) -> dict[str, float]:
        """Figures for the log: counts, hours, and the shares of clips with speech, with high affinity, with pairs."""
        high = self.index.usable(self._level(self.affinity_epochs)) if self.pairs else np.zeros(len(self), bool)
        return {
            "scans": len(self.scans),
            "subjects": len(self.subjects),
            "clips": len(self),
            "hours": len(self) * self.settings.clip_seconds / 3600,
            "share_with_speech": float(self.index.covered.mean()),
            "share_high_affinity": float(high.mean()),
            "share_with_pairs": float(self.high.mean()) if self.pairs else 0.0,
        }

    # Drawing

    def draw(self, rng: np.random.RandomState, scan_index: int, clip: int, epoch: int) -> tuple[PairRecord, bool]:
        """Draw the pairs of a clip, without reading frames or speech.

        Returns:
            The record, and whether the clip's affinity is high. When it is not, no triple is valid. Without hard
            negatives a triple of a clip with high affinity is valid when its positive window was found.
        """
        record, affinity = self._drawn(rng, scan_index, clip, epoch)
        if self.shared_window:
            record = with_shared_window(record)
        if not self.hard_negatives:
            record = replace(record, valid=~np.isnan(record.positive_starts) & affinity)
        return record, affinity

    def _drawn(self, rng: np.random.RandomState, scan_index: int, clip: int, epoch: int) -> tuple[PairRecord, bool]:
        arguments, level = vars(self.settings), self._level(epoch)
        usable, covered = self.index.usable(level, scan_index), self.index.usable(None, scan_index)
        if level is None:
            return draw_pairs(rng, clip, len(usable), usable=usable, **arguments), bool(usable[clip])
        arguments = {**arguments, "threshold": level if self.window_threshold is None else self.window_threshold}
        reach = math.ceil((self.settings.shift_range - 1) * self.settings.shift_seconds / self.settings.clip_seconds)
        first, flags = self.index.flags(scan_index, clip - reach, clip + reach + 1)
        shares = window_activity(flags, round(self.settings.window_seconds / STEP))
        arguments.update(activity=shares, activity_start=first)
        if usable[clip]:
            record = draw_pairs(rng, clip, len(usable), gate=True, usable=usable, **arguments)
            if self.gate_on == "positive":
                record = with_negatives_of(record, draw_pairs(rng, clip, len(usable), usable=covered, **arguments))
            return record, True
        # The sound of a clip with little voice still passes through the network's normalisation: draw real windows.
        record = draw_pairs(rng, clip, len(usable), usable=covered, **arguments)
        return replace(record, valid=np.zeros_like(record.valid)), False
