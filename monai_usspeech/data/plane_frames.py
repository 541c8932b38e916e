# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Frames with the standard plane they show."""

from __future__ import annotations

from typing import Any

import numpy as np

from monai_usspeech.data.annotations import plane_at
from monai_usspeech.data.frames import FrameDataset
from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.data.splits import scan_annotated
from monai_usspeech.data.store import StoredScan

__all__ = ["PlaneDataset"]


class PlaneDataset(FrameDataset):
    """Frames of scans with plane labels. The arguments are those of :class:`FrameDataset`.

    A sample has one more key:

    ``label``
        int64: index into :data:`~monai_usspeech.data.PLANES` of the plane at the frame's time; background where no
        interval covers it. Scans that nobody labelled (no intervals at all) are left out.

    Raises:
        InputError: as :class:`FrameDataset`, and when none of the chosen scans has plane labels.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._labels: list[np.ndarray] = []
        super().__init__(*args, **kwargs)
        self.labels = np.concatenate(self._labels)
        """int64 ``[N]``: class number of each item."""
        del self._labels

    def _serves(self, scan: StoredScan) -> bool:
        return scan_annotated(scan, "planes")

    def _annotated(self, scan: StoredScan, frames: np.ndarray) -> np.ndarray:
        self._labels.append(plane_at(scan.planes, scan.times[frames]))
        return frames

    def _complete(self, sample: dict[str, Any], number: int) -> None:
        sample["label"] = self.labels[number]

    def _why_empty(self, n_scans: int) -> str:
        return (
            f"none of the {n_scans} chosen scans has plane labels; name a planes file for them in the datalist and run"
            " prepare again (no video is read a second time), or choose other subjects."
        )

    def summary(self) -> dict[str, Any]:
        """As :meth:`FrameDataset.summary`, with the frames of each plane under ``planes``."""
        counts = np.bincount(self.labels, minlength=len(PLANES))
        return {**super().summary(), "planes": {name: int(count) for name, count in zip(PLANES, counts)}}
