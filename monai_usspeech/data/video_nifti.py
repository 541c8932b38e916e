# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""NIfTI cine through nibabel: ``(W, H, 1, T)`` or ``(W, H, T)``, with RGB as a colour type or a last axis of 3.

The first axis runs along the image row (x, left to right), the second down the column (y): a frame is
``data[:, :, 0, t].T``. The affine's orientation is not applied, since exporters of ultrasound do not set it.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import nibabel
import numpy as np

from monai_usspeech.data.files import InputError
from monai_usspeech.data.video import Channels, IndexedVideoSource, VideoInfo, rgb_to_luma

__all__ = ["NiftiSource"]

_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


class NiftiSource(IndexedVideoSource):
    """A cine in a NIfTI file. Frames are read one at a time through ``dataobj``.

    Values of 8 bits are kept. Wider ones are scaled to 0..255 from the header's ``cal_min``/``cal_max``, or from the
    smallest and largest value of the file. From a compressed file, going forward is cheap and going back is not.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file.
        fps: frames per second; needed when the header gives no time step with a unit.
    """

    def __init__(self, path: Path, fps: float | None = None) -> None:
        image = _load(path)
        self._range: tuple[float, float] | None = None
        self._layout = _layout(path, image)
        step = _time_step(image)
        width, height = image.shape[:2]
        count = image.shape[self._layout[0]]
        if step is None and fps:
            step = 1 / fps
        if step is None and count > 1:
            raise InputError(f"{path}: the file gives no time between its frames. Set fps to its frames per second.")
        times = np.arange(count) * (step or 0.0)
        info = VideoInfo(
            path=path, width=width, height=height, n_frames=count, fps=1 / step if step else None,
            duration=count * step if step else None, start_time=0.0, kind="nifti",
        )  # fmt: skip
        super().__init__(info, times)

    def _images(self, indices: Iterable[int], channels: Channels) -> Iterator[tuple[int, np.ndarray | None]]:
        image = _load(self.info.path)  # one handle for the whole walk: a .gz is then read forward once
        is_rgb = self._layout[1]
        low, high = (0.0, 255.0) if _is_bytes(image) else self._value_range(image)
        for index in indices:
            raw = self._slice(image, index)
            if raw is None:
                yield index, None
                continue
            if raw.dtype != np.uint8:
                scaled = (np.nan_to_num(raw.astype(np.float64), nan=low) - low) * (255 / max(high - low, 1e-12))
                raw = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
            if channels == "luma":
                yield index, np.ascontiguousarray(rgb_to_luma(raw) if is_rgb else raw)
            else:
                yield index, np.ascontiguousarray(raw if is_rgb else np.repeat(raw[..., None], 3, axis=-1))

    def _slice(self, image: nibabel.Nifti1Image, index: int) -> np.ndarray | None:
        """Frame ``index`` as ``[H, W]`` or ``[H, W, 3]`` in the file's own values; None where it cannot be read."""
        time_axis, is_rgb = self._layout
        selection: list[int | slice] = [slice(None)] * len(image.shape)
        selection[time_axis] = index
        if time_axis == 3:
            selection[2] = 0
        try:
            data = np.asarray(image.dataobj[tuple(selection)])
        except (OSError, EOFError, ValueError, zlib.error):
            return None
        if data.dtype.fields:  # NIfTI's RGB24 and RGBA32 are structures of bytes
            data = np.stack([data[name] for name in "RGB"], axis=-1)
        frame: np.ndarray = data.transpose(1, 0, 2) if is_rgb else data.T
        return frame

    def _value_range(self, image: nibabel.Nifti1Image) -> tuple[float, float]:
        if self._range is None:
            low, high = float(image.header["cal_min"]), float(image.header["cal_max"])
            if not (math.isfinite(low) and math.isfinite(high) and high > low):
                low, high = math.inf, -math.inf
                for index in range(len(self.times)):
                    frame = self._slice(image, index)
                    frame = np.zeros(0) if frame is None else frame[np.isfinite(frame)]
                    if frame.size:
                        low, high = min(low, float(frame.min())), max(high, float(frame.max()))
            if not high >= low:
                raise InputError(f"{self.info.path}: the file holds no finite value. Export it again.")
            self._range = (low, high)
        return self._range


def _load(path: Path) -> nibabel.Nifti1Image:
    try:
        image = nibabel.load(path, keep_file_open=True)
    except (nibabel.filebasedimages.ImageFileError, OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: not a readable NIfTI file ({error}). Export it again.") from error
    if not isinstance(image, (nibabel.Nifti1Image, nibabel.Nifti2Image)):
        raise InputError(f"{path}: not a NIfTI file, for all its name. Export it as NIfTI.")
    return image


def _layout(path: Path, image: nibabel.Nifti1Image) -> tuple[int, bool]:
    """(axis of time, whether the file is RGB)."""
    shape = image.shape
    structured = bool(image.get_data_dtype().fields)
    spatial, last_is_colour = shape, False
    if len(shape) >= 4 and shape[-1] == 3 and not structured and (len(shape) == 5 or shape[2] > 1):
        spatial, last_is_colour = shape[:-1], True
    if len(spatial) == 3:
        return 2, structured or last_is_colour
    if len(spatial) == 4 and spatial[2] == 1:
        return 3, structured or last_is_colour
    raise InputError(f"{path}: shape {shape} is no cine. Export it as (W, H, 1, T) or (W, H, T), with 3 last for RGB.")


def _time_step(image: nibabel.Nifti1Image) -> float | None:
    """Seconds between frames from pixdim[4], where the header also gives its unit."""
    step = float(image.header["pixdim"][4])
    unit = _SECONDS.get(image.header.get_xyzt_units()[1])
    return step * unit if unit and math.isfinite(step) and step > 0 else None


def _is_bytes(image: nibabel.Nifti1Image) -> bool:
    proxy, dtype = image.dataobj, image.get_data_dtype()
    unscaled = getattr(proxy, "slope", 1) == 1 and getattr(proxy, "inter", 0) == 0
    return bool(dtype.fields) or (dtype == np.uint8 and unscaled)
