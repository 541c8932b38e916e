# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""UltraSuite and AAA raw tongue ultrasound: ``.ult`` scanlines with their parameter text file.

A ``.ult`` file holds uint8 echo strengths, frame after frame, scanline after scanline, from the probe outwards. The
text file beside it (``NAME.param``, or ``NAMEUS.txt`` as AAA exports it) gives the geometry and the clock:

======================  =================================================================
NumVectors              scanlines, left to right
PixPerVector            samples along each scanline
ZeroOffset              samples from the apex of the fan to the first sample
Angle                   radians between neighbouring scanlines
FramesPerSec            frames per second
TimeInSecsOfFirstFrame  time of the first frame on the clock of the speech file
======================  =================================================================

Source: UltraSuite (Eshky et al., Interspeech 2018) and the parameter description of its tools.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monai_usspeech.data.files import InputError
from monai_usspeech.data.video import Channels, IndexedVideoSource, VideoInfo

__all__ = [
    "FanConverter", "UltraSuiteSource", "UltrasuiteParameters", "find_parameter_file", "read_ultrasuite_parameters",
]  # fmt: skip


@dataclass(frozen=True)
class UltrasuiteParameters:
    """Geometry and clock of a ``.ult`` recording.

    Attributes:
        vectors: scanlines per frame.
        pixels: samples per scanline.
        zero_offset: samples from the fan's apex to the first sample.
        angle: radians between neighbouring scanlines.
        fps: frames per second.
        first_frame: time of the first frame on the speech file's clock, in seconds.
        pixels_per_mm: samples per millimetre; 0 where not given.
    """

    vectors: int
    pixels: int
    zero_offset: float
    angle: float
    fps: float
    first_frame: float
    pixels_per_mm: float = 0.0


class UltraSuiteSource(IndexedVideoSource):
    """A ``.ult`` recording as a fan video, the probe at the bottom as UltraSuite shows it.

    Args:
        path: the ``.ult`` file; its parameter file is looked for beside it.
        raw: give the polar picture ``[vectors, pixels]`` in place of the fan.
    """

    def __init__(self, path: Path, raw: bool = False) -> None:
        self.parameters = p = read_ultrasuite_parameters(find_parameter_file(path))
        self._frame_bytes = p.vectors * p.pixels
        count, rest = divmod(path.stat().st_size, self._frame_bytes)
        if count == 0:
            raise InputError(
                f"{path}: {path.stat().st_size} bytes are less than one frame of NumVectors x PixPerVector = "
                f"{p.vectors} x {p.pixels}. Copy it again, or correct its parameter file."
            )
        notes = [f"the file is cut short: {rest} bytes of a further frame are left over"] if rest else []
        self._converter = None if raw else FanConverter(p)
        height, width = (p.vectors, p.pixels) if self._converter is None else self._converter.size
        info = VideoInfo(
            path=path, width=width, height=height, n_frames=count, fps=p.fps, duration=count / p.fps,
            start_time=p.first_frame, kind="ultrasuite",
        )  # fmt: skip
        super().__init__(info, np.arange(count) / p.fps, notes, truncated=bool(rest))

    def _images(self, indices: Iterable[int], channels: Channels) -> Iterator[tuple[int, np.ndarray | None]]:
        with self.info.path.open("rb") as file:
            for index in indices:
                file.seek(index * self._frame_bytes)
                data = file.read(self._frame_bytes)
                if len(data) < self._frame_bytes:
                    yield index, None
                    continue
                image = np.frombuffer(data, np.uint8).reshape(self.parameters.vectors, self.parameters.pixels)
                image = image.copy() if self._converter is None else self._converter(image)
                yield index, image if channels == "luma" else np.repeat(image[..., None], 3, axis=-1)


class FanConverter:
    """Scan conversion of polar frames ``[vectors, pixels]`` to the fan, by bilinear interpolation.

    The picture's pixels are as large as the samples along a scanline. Apex below the picture, first scanline at the
    left; outside the fan it is black. The polar source of an output pixel at (x right of, y above the apex) is
    ``vector = (V - 1) / 2 + atan2(x, y) / angle``, ``pixel = hypot(x, y) - zero_offset``.

    Args:
        parameters: the recording's geometry.
    """

    def __init__(self, parameters: UltrasuiteParameters) -> None:
        p = parameters
        half = min((p.vectors - 1) / 2 * p.angle, math.pi)
        near, far = p.zero_offset, p.zero_offset + p.pixels - 1
        lowest = min(near * math.cos(half), far * math.cos(half))
        width = 2 * math.ceil(far * (math.sin(half) if half < math.pi / 2 else 1.0)) + 1
        height = math.ceil(far - lowest) + 1
        x = np.arange(width) - (width - 1) / 2
        y = far - np.arange(height)
        vector = (p.vectors - 1) / 2 + np.arctan2(x[None, :], y[:, None]) / p.angle
        pixel = np.hypot(x[None, :], y[:, None]) - p.zero_offset
        self.size = (height, width)
        self.mask = (vector >= 0) & (vector <= p.vectors - 1) & (pixel >= 0) & (pixel <= p.pixels - 1)
        vector, pixel = vector[self.mask], pixel[self.mask]
        v0 = np.clip(np.floor(vector).astype(np.int64), 0, max(p.vectors - 2, 0))
        p0 = np.clip(np.floor(pixel).astype(np.int64), 0, p.pixels - 2)
        v1, dv, dp = np.minimum(v0 + 1, p.vectors - 1), vector - v0, pixel - p0
        low, high = v0 * p.pixels + p0, v1 * p.pixels + p0
        self._sources = np.stack([low, low + 1, high, high + 1])
        weights = np.stack([(1 - dv) * (1 - dp), (1 - dv) * dp, dv * (1 - dp), dv * dp])
        self._weights = weights.astype(np.float32)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Convert one uint8 ``[vectors, pixels]`` frame to the uint8 fan ``[H, W]``."""
        fan = np.zeros(self.size, np.uint8)
        fan[self.mask] = np.rint((frame.reshape(-1)[self._sources] * self._weights).sum(axis=0)).astype(np.uint8)
        return fan


def find_parameter_file(path: Path) -> Path:
    """The parameter file of a ``.ult`` recording: ``NAME.param``, ``NAMEUS.txt`` or ``NAME_US.txt`` beside it.

    Raises:
        InputError: when there is none.
    """
    names = [f"{path.stem}.param", f"{path.stem}US.txt", f"{path.stem}_US.txt", f"{path.stem}.PARAM"]
    for name in names:
        if (path.parent / name).is_file():
            return path.parent / name
    raise InputError(f"{path}: its parameter file is missing. Put {names[0]} or {names[1]} beside it.")


def read_ultrasuite_parameters(path: Path) -> UltrasuiteParameters:
    """Read the ``Name=value`` lines of a parameter file; a decimal comma is taken as a point.

    Raises:
        InputError: when a field is missing or is not a usable number.
    """
    values = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, found, value = line.partition("=")
        if found:
            values[name.strip()] = value.strip().replace(",", ".")

    def number(name: str, least: float, default: float | None = None) -> float:
        if name not in values and default is not None:
            return default
        try:
            value = float(values[name])
        except KeyError:
            raise InputError(f"{path}: the line {name}=... is missing. Add it.") from None
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= least):
            raise InputError(f"{path}: {name}={values[name]} is not a number of at least {least:g}. Correct it.")
        return value

    if number("BitsPerPixel", 1, default=8) != 8:
        raise InputError(f"{path}: BitsPerPixel={values['BitsPerPixel']}, and only 8 is read. Export with 8 bits.")
    return UltrasuiteParameters(
        vectors=int(number("NumVectors", 1)), pixels=int(number("PixPerVector", 2)),
        zero_offset=number("ZeroOffset", 0), angle=number("Angle", 1e-6), fps=number("FramesPerSec", 1e-3),
        first_frame=number("TimeInSecsOfFirstFrame", -1e6), pixels_per_mm=number("PixelsPerMm", 0, default=0.0),
    )  # fmt: skip
