# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""DICOM cine through pydicom, one frame at a time; H.264, HEVC and MPEG-2 wrapped in DICOM go through PyAV.

Of the header only the pixel description, the clock and the ultrasound regions are read: nothing about the patient
leaves this module.
"""

from __future__ import annotations

import io
import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import generate_fragments, generate_frames, parse_basic_offsets
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_color_lut, get_decoder, iter_pixels
from pydicom.uid import JPEGBaseline8Bit

from monai_usspeech.data.files import InputError
from monai_usspeech.data.video import Channels, IndexedVideoSource, VideoFrame, VideoInfo, VideoSource, rgb_to_luma
from monai_usspeech.data.video_pyav import MediaSource

__all__ = ["DicomSource", "DicomVideoSource", "frame_clock", "open_dicom", "to_uint8", "ultrasound_box"]

_VIDEO_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (*range(100, 109), *(f"{n}.1" for n in range(100, 107))))
_COLOURS = ("Red", "Green", "Blue")
_PALETTE = [f"{c}PaletteColorLookupTable{part}" for c in _COLOURS for part in ("Descriptor", "Data")]
_HEADER = [
    "TransferSyntaxUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation",
    "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "WindowCenter",
    "WindowWidth", "RescaleSlope", "RescaleIntercept", "FrameTime", "FrameTimeVector", "CineRate",
    "RecommendedDisplayFrameRate", "FrameIncrementPointer", "SequenceOfUltrasoundRegions",
    *_PALETTE, *(f"Segmented{c}PaletteColorLookupTableData" for c in _COLOURS),
]  # fmt: skip
# what pydicom and Pillow raise for damaged pixels has no common base; struct.error alone derives from Exception itself
_ANY_ERROR = Exception


def open_dicom(path: Path, fps: float | None = None) -> VideoSource:
    """Open a DICOM cine.

    Args:
        path: the file.
        fps: frames per second, for a file without FrameTime, FrameTimeVector, CineRate and RecommendedDisplayFrameRate.

    Raises:
        InputError: when the file is no DICOM image, cannot be decoded here, or has several frames and no clock.
    """
    header = _read_header(path)
    if str(header.file_meta.TransferSyntaxUID) in _VIDEO_SYNTAXES:
        return DicomVideoSource(path, header, fps)
    return DicomSource(path, header, fps)


class DicomSource(IndexedVideoSource):
    """Frames stored one by one: uncompressed, RLE, JPEG, JPEG 2000.

    Grey of more than 8 bits is windowed (WindowCenter, WindowWidth; else the range of BitsStored); MONOCHROME1 is
    inverted; palettes and YBR become RGB. The luma of a YBR picture is its Y, read without converting the colours.
    """

    def __init__(self, path: Path, header: Any, fps: float | None = None) -> None:
        self._header = header
        syntax = header.file_meta.TransferSyntaxUID
        count = max(int(header.get("NumberOfFrames") or 1), 1)
        try:
            available = get_decoder(syntax).is_available
            height, width = int(header.Rows), int(header.Columns)
        except NotImplementedError:  # what pydicom says of a syntax that it knows no decoder for
            available = False
        except AttributeError as error:
            raise InputError(f"{path}: the DICOM file holds no image ({error}). Give the cine itself.") from error
        if not available:
            raise InputError(
                f"{path}: its transfer syntax, {syntax.name}, cannot be decoded. "
                "Convert it to an uncompressed or JPEG 2000 one, for example with `gdcmconv --raw`."
            )
        times, notes = frame_clock(header, count, path, fps)
        step = times[-1] / (count - 1) if count > 1 else None
        info = VideoInfo(
            path=path, width=width, height=height, n_frames=count, fps=1 / step if step else None,
            duration=float(times[-1]) + step if step else None, start_time=0.0, kind="dicom",
        )  # fmt: skip
        super().__init__(info, times, notes)

    def _images(self, indices: Iterable[int], channels: Channels) -> Iterator[tuple[int, np.ndarray | None]]:
        header = self._header
        has_luma = header.PhotometricInterpretation.startswith("YBR") or (
            header.PhotometricInterpretation == "MONOCHROME2" and header.get("BitsStored") == 8
        )
        if channels == "luma" and has_luma and header.file_meta.TransferSyntaxUID == JPEGBaseline8Bit:
            yield from self._jpeg_luma(indices)
        else:
            yield from self._decoded(indices, channels)

    def _decoded(self, indices: Iterable[int], channels: Channels) -> Iterator[tuple[int, np.ndarray | None]]:
        pending = deque(indices)
        while pending:
            everything = len(pending) == self.info.n_frames
            try:
                # without indices pydicom walks the fragments once; with them it searches each frame from the start
                for pixels in iter_pixels(self.info.path, indices=None if everything else list(pending)):
                    if not pending:
                        break  # a file without offset table may yield more frames than it declares
                    image = to_uint8(pixels, self._header)
                    if channels == "luma":
                        image = rgb_to_luma(image) if image.ndim == 3 else image
                    elif image.ndim == 2:
                        image = np.repeat(image[..., None], 3, axis=-1)
                    yield pending.popleft(), image
                while pending:  # the file ended before its declared number of frames
                    yield pending.popleft(), None
            except _ANY_ERROR:
                if pending:
                    yield pending.popleft(), None  # the frame that failed; pydicom starts again behind it

    def _jpeg_luma(self, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray | None]]:
        """Decode only the Y component of JPEG frames: about fifteen times as fast as decoding colour."""
        wanted = deque(indices)
        with self.info.path.open("rb") as file:
            try:
                _seek_pixel_data(file)
                for index, data in enumerate(generate_frames(file, number_of_frames=self.info.n_frames)):
                    if not wanted:
                        return
                    if index == wanted[0]:
                        yield wanted.popleft(), self._luma_of_jpeg(data)
            except _ANY_ERROR as error:  # the fragments end here: the frames still wanted are lost
                self._remarks.append(f"the pixel data end early: {error}")
        while wanted:
            yield wanted.popleft(), None

    def _luma_of_jpeg(self, data: bytes) -> np.ndarray | None:
        try:
            image = Image.open(io.BytesIO(data), formats=("JPEG",))
            image.draft("L", image.size)
            luma = np.array(image if image.mode == "L" else image.convert("L"))
        except _ANY_ERROR:
            return None
        return luma if luma.shape == (self.info.height, self.info.width) else None

    @property
    def ultrasound_regions(self) -> tuple[int, int, int, int] | None:
        """See :attr:`VideoSource.ultrasound_regions`."""
        return ultrasound_box(self._header, self.info.height, self.info.width)


class DicomVideoSource(MediaSource):
    """A video stream wrapped in DICOM; the DICOM header's clock goes before the stream's own."""

    def __init__(self, path: Path, header: Any, fps: float | None = None) -> None:
        self._header = header
        with path.open("rb") as file:
            try:
                _seek_pixel_data(file)
                parse_basic_offsets(file)
                data = b"".join(generate_fragments(file))
            except _ANY_ERROR as error:
                raise InputError(f"{path}: its wrapped video cannot be unpacked ({error}). Copy it again.") from error
        has_clock = _has_clock(header)
        super().__init__(path, data, 25.0 if has_clock else fps)  # the header's clock replaces the nominal rate
        count = int(header.get("NumberOfFrames") or 0) or self.info.n_frames
        self._times = None
        if count and has_clock:
            self._times = frame_clock(header, count, path, fps)[0]
        self.info = replace(self.info, kind="dicom", n_frames=count)
        if self._times is not None and count and count > 1:
            step = self._times[-1] / (count - 1)
            self.info = replace(self.info, fps=1 / step, duration=float(self._times[-1] + step))

    def _frames(self, channels: Channels, stride: int, start: float, stop: float) -> Iterator[VideoFrame]:
        if self._times is None:
            yield from super()._frames(channels, stride, start, stop)
            return
        for frame in super()._frames(channels, stride, -math.inf, math.inf):
            if frame.index >= len(self._times) or self._times[frame.index] >= stop:
                break
            if self._times[frame.index] >= start:
                yield frame._replace(time=float(self._times[frame.index]))

    @property
    def ultrasound_regions(self) -> tuple[int, int, int, int] | None:
        """See :attr:`VideoSource.ultrasound_regions`."""
        return ultrasound_box(self._header, self.info.height, self.info.width)


def frame_clock(header: Any, count: int, path: Path, fps: float | None) -> tuple[np.ndarray, list[str]]:
    """Times of a cine's frames (PS3.3 C.7.6.5): FrameTime or FrameTimeVector, CineRate, display rate, ``fps``.

    Returns:
        float64 ``[count]`` seconds from the first frame, and remarks about unusable fields.

    Raises:
        InputError: when several frames have no clock.
    """
    notes: list[str] = []
    if count == 1:
        return np.zeros(1), notes
    if header.get("FrameTimeVector") is not None and header.get("FrameIncrementPointer") != 0x00181063:
        steps = np.atleast_1d(np.asarray(header.FrameTimeVector, dtype=np.float64)) / 1000
        if len(steps) == count and np.all(steps[1:] > 0):
            return np.cumsum(steps) - steps[0], notes
        notes.append(f"FrameTimeVector does not give {count} increasing times and was not used")
    step = float(header.get("FrameTime") or 0) / 1000
    rate = header.get("CineRate") or header.get("RecommendedDisplayFrameRate") or fps
    if not step > 0 and rate and float(rate) > 0:
        step = 1 / float(rate)
    if not step > 0:
        raise InputError(f"{path}: the DICOM file gives no time between its frames. Set fps to its frames per second.")
    return np.arange(count) * step, notes


def to_uint8(pixels: np.ndarray, header: Any) -> np.ndarray:
    """Bring one decoded frame to display values: uint8 ``[H, W]`` or RGB ``[H, W, 3]``."""
    kind = header.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        coloured = apply_color_lut(pixels, header)
        return coloured if coloured.dtype == np.uint8 else (coloured >> 8).astype(np.uint8)
    bits = int(header.get("BitsStored") or 8)
    if pixels.ndim == 3 or not kind.startswith("MONOCHROME"):
        return pixels if pixels.dtype == np.uint8 else np.rint(pixels * (255 / (2**bits - 1))).astype(np.uint8)
    image = pixels if bits == 8 and pixels.dtype == np.uint8 else _windowed(pixels, header, bits)
    return 255 - image if kind == "MONOCHROME1" else image


def _windowed(pixels: np.ndarray, header: Any, bits: int) -> np.ndarray:
    """Linear window of PS3.3 C.11.2.1.2.1, or the range that BitsStored allows."""
    slope, intercept = float(header.get("RescaleSlope") or 1), float(header.get("RescaleIntercept") or 0)
    values = pixels.astype(np.float64) * slope + intercept
    centre, width = header.get("WindowCenter"), header.get("WindowWidth")
    if centre is not None and width is not None:
        centre, width = float(np.atleast_1d(centre)[0]), float(np.atleast_1d(width)[0])
        scaled = (values - (centre - 0.5)) / max(width - 1, 1e-6) + 0.5
    else:
        least = -(2 ** (bits - 1)) if header.get("PixelRepresentation") else 0
        scaled = (values - (least * slope + intercept)) / ((2**bits - 1) * slope)
    return np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def ultrasound_box(header: Any, height: int, width: int) -> tuple[int, int, int, int] | None:
    """The largest two-dimensional ultrasound region (PS3.3 C.8.5.5), tissue first, clipped to the picture."""
    best: tuple[tuple[bool, int], tuple[int, int, int, int]] | None = None
    for region in header.get("SequenceOfUltrasoundRegions") or []:
        try:
            left, top = int(region.RegionLocationMinX0), int(region.RegionLocationMinY0)
            right, bottom = int(region.RegionLocationMaxX1) + 1, int(region.RegionLocationMaxY1) + 1
        except (AttributeError, TypeError, ValueError):
            continue  # an incomplete region says nothing about where the image is
        box = (max(top, 0), max(left, 0), min(bottom, height), min(right, width))
        area = (box[2] - box[0]) * (box[3] - box[1])
        if region.get("RegionSpatialFormat") != 1 or box[2] <= box[0] or box[3] <= box[1]:
            continue
        rank = (region.get("RegionDataType") == 1, area)
        best = max(best, (rank, box)) if best else (rank, box)
    return best[1] if best else None


def _has_clock(header: Any) -> bool:
    names = ("FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate")
    return any(header.get(name) for name in names)


def _read_header(path: Path) -> Any:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_HEADER)
        if "TransferSyntaxUID" not in header.file_meta:
            raise InvalidDicomError("no transfer syntax")
    except _ANY_ERROR as error:
        raise InputError(f"{path}: not a readable DICOM file ({error}). Export it again.") from error
    return header


def _seek_pixel_data(file: BinaryIO) -> None:
    """Place ``file`` at the basic offset table of its encapsulated pixel data (always explicit VR, little endian)."""
    pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["Rows"])
    if file.read(12)[:4] != b"\xe0\x7f\x10\x00":
        raise ValueError("no encapsulated pixel data")
