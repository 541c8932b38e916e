# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from monai_usspeech.data.files import InputError
from monai_usspeech.data.video import open_video, rgb_to_luma
from tests.data.media_factory import index_frame, make_video, read_index

SECRET = "Doe^Jane"


def _dicom(path: Path, frames: np.ndarray, syntax=ExplicitVRLittleEndian, photometric="MONOCHROME2", **tags) -> Path:
    """Write frames ``[T, H, W]`` or ``[T, H, W, 3]``; JPEG and JPEG 2000 through Pillow."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.PatientName = data.PatientID = SECRET
    data.Rows, data.Columns = frames.shape[1:3]
    data.NumberOfFrames = len(frames)
    data.SamplesPerPixel = 3 if frames.ndim == 4 else 1
    data.PhotometricInterpretation = photometric
    data.BitsAllocated = data.BitsStored = frames.dtype.itemsize * 8
    data.PixelRepresentation = int(frames.dtype.kind == "i")
    if frames.ndim == 4:
        data.PlanarConfiguration = 0
    for name, value in tags.items():
        setattr(data, name, value)
    data.HighBit = data.BitsStored - 1
    if syntax in (JPEGBaseline8Bit, JPEG2000Lossless):
        kind = {"quality": 95, "format": "JPEG"} if syntax == JPEGBaseline8Bit else {"format": "JPEG2000", "mct": 0}
        data.PixelData = encapsulate([_encoded(frame, kind) for frame in frames])
    else:
        data.PixelData = frames.tobytes()
    if syntax == RLELossless:
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.compress(RLELossless)
    data.save_as(path, enforce_file_format=True)
    return path


def _encoded(frame: np.ndarray, kind: dict) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, **kind)
    return buffer.getvalue()


def _numbered(n: int = 8, colour: bool = False) -> np.ndarray:
    frames = np.stack([index_frame(i) for i in range(n)])
    return np.repeat(frames[..., None], 3, axis=-1) if colour else frames


CLOCK = {"FrameTime": 40.0, "FrameIncrementPointer": 0x00181063}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("colour", [False, True])
def test_lossless_frames_come_back_as_stored(tmp_path, syntax, colour):
    frames = _numbered(colour=colour)
    path = _dicom(tmp_path / "a.dcm", frames, syntax, "RGB" if colour else "MONOCHROME2", **CLOCK)
    source = open_video(path)
    read = list(source.frames("rgb" if colour else "luma"))
    np.testing.assert_array_equal([f.image for f in read], frames)
    np.testing.assert_allclose([f.time for f in read], np.arange(8) * 0.04)
    assert source.info.kind == "dicom" and source.info.fps == pytest.approx(25) and source.problems == []
    assert source.info.duration == pytest.approx(0.32)
    assert [f.index for f in source.frames(stride=3, start=0.1)] == [3, 6]
    assert len(source.sample_frames(4)) == 4


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "YBR_FULL_422"])
def test_jpeg_luma_equals_the_converted_picture(tmp_path, photometric):
    colour = photometric != "MONOCHROME2"
    frames = _numbered(6, colour)
    if colour:
        frames[:, 20:40, :30] = (200, 60, 40)
    source = open_video(_dicom(tmp_path / "a.dcm", frames, JPEGBaseline8Bit, photometric, **CLOCK))
    luma = [f.image for f in source.frames()]
    assert [read_index(image) for image in luma] == list(range(6))
    reference = np.stack([rgb_to_luma(f.image) for f in source.frames("rgb")]).astype(int)
    assert np.abs(np.stack(luma) - reference).max() <= 8 and np.abs(np.stack(luma) - reference).mean() < 0.5
    assert [read_index(f.image) for f in source.frames(stride=4)] == [0, 4]


def test_ybr_full_is_converted(tmp_path):
    ybr = np.full((2, 8, 8, 3), 128, np.uint8)
    ybr[..., 0] = 90
    source = open_video(_dicom(tmp_path / "a.dcm", ybr, photometric="YBR_FULL", **CLOCK))
    assert np.all(next(source.frames()).image == 90) and np.all(next(source.frames("rgb")).image == 90)


def test_palette_is_applied(tmp_path):
    frames = np.zeros((2, 4, 4), np.uint8)
    frames[1] = 1
    tags = dict(CLOCK)
    for name, entries in (("Red", [10, 200]), ("Green", [20, 100]), ("Blue", [30, 50])):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [2, 0, 16]
        tags[f"{name}PaletteColorLookupTableData"] = (np.array(entries, "<u2") * 256).tobytes()
    path = _dicom(tmp_path / "a.dcm", frames, photometric="PALETTE COLOR", **tags)
    read = [f.image for f in open_video(path).frames("rgb")]
    assert np.all(read[0] == (10, 20, 30)) and np.all(read[1] == (200, 100, 50))


def test_monochrome1_is_inverted(tmp_path):
    path = _dicom(tmp_path / "a.dcm", 255 - _numbered(3), photometric="MONOCHROME1", **CLOCK)
    np.testing.assert_array_equal([f.image for f in open_video(path).frames()], _numbered(3))


@pytest.mark.parametrize(
    ("tags", "values", "expected"),
    [
        ({"BitsStored": 12}, [0, 2048, 4095], [0, 128, 255]),
        ({}, [0, 32768, 65535], [0, 128, 255]),
        ({"WindowCenter": 1000, "WindowWidth": 400}, [0, 800, 1000, 1200, 60000], [0, 0, 128, 255, 255]),
        ({"WindowCenter": ["500", "9"], "WindowWidth": ["201", "9"], "RescaleSlope": 0.5, "RescaleIntercept": 0},
         [798, 999, 1200], [0, 128, 255]),
    ],
)  # fmt: skip
def test_wide_grey_is_windowed(tmp_path, tags, values, expected):
    frames = np.broadcast_to(np.array(values, np.uint16)[None, None], (2, 2, len(values))).copy()
    image = next(open_video(_dicom(tmp_path / "a.dcm", frames, **CLOCK, **tags)).frames()).image
    assert np.abs(image[0].astype(int) - expected).max() <= 1


def test_signed_grey_starts_at_its_least_value(tmp_path):
    frames = np.array([[[-2048, 0, 2047]]] * 2, np.int16)
    image = next(open_video(_dicom(tmp_path / "a.dcm", frames, BitsStored=12, **CLOCK)).frames()).image
    assert np.abs(image[0].astype(int) - [0, 128, 255]).max() <= 1


@pytest.mark.parametrize(
    ("tags", "fps", "expected"),
    [
        ({"FrameTime": 40}, None, [0, 0.04, 0.08, 0.12]),
        ({"FrameTimeVector": [0, 10, 30, 60], "FrameIncrementPointer": 0x00181065}, None, [0, 0.01, 0.04, 0.1]),
        ({"FrameTimeVector": [0, 10, 30, 60]}, None, [0, 0.01, 0.04, 0.1]),
        ({"FrameTimeVector": [0, 10], "FrameTime": 20}, None, [0, 0.02, 0.04, 0.06]),
        ({"CineRate": 50}, None, [0, 0.02, 0.04, 0.06]),
        ({"FrameTime": 0, "RecommendedDisplayFrameRate": 10}, None, [0, 0.1, 0.2, 0.3]),
        ({"FrameTime": 40}, 5.0, [0, 0.04, 0.08, 0.12]),  # the file's own clock goes first
        ({}, 5.0, [0, 0.2, 0.4, 0.6]),
    ],
)
def test_clock(tmp_path, tags, fps, expected):
    source = open_video(_dicom(tmp_path / "a.dcm", _numbered(4), **tags), fps=fps)
    np.testing.assert_allclose([f.time for f in source.frames()], expected)
    assert bool(source.problems) == (len(tags.get("FrameTimeVector", [])) == 2)


def test_a_cine_without_clock_asks_for_fps_and_one_frame_needs_none(tmp_path):
    with pytest.raises(InputError, match=r"a\.dcm.*Set fps"):
        open_video(_dicom(tmp_path / "a.dcm", _numbered(4)))
    single = open_video(_dicom(tmp_path / "b.dcm", _numbered(1)))
    assert [f.time for f in single.frames()] == [0.0] and single.info.fps is None and single.info.duration is None


def test_region_is_the_largest_tissue_box(tmp_path):
    def region(x0, y0, x1, y1, data_type=1, spatial=1):
        item = Dataset()
        item.RegionSpatialFormat, item.RegionDataType = spatial, data_type
        item.RegionLocationMinX0, item.RegionLocationMinY0 = x0, y0
        item.RegionLocationMaxX1, item.RegionLocationMaxY1 = x1, y1
        return item

    regions = [region(0, 0, 95, 63, 9), region(10, 5, 59, 40), region(60, 5, 70, 9), region(0, 0, 90, 60, 1, 3)]
    source = open_video(_dicom(tmp_path / "a.dcm", _numbered(2), SequenceOfUltrasoundRegions=regions, **CLOCK))
    assert source.ultrasound_regions == (5, 10, 41, 60)
    assert open_video(_dicom(tmp_path / "b.dcm", _numbered(2), **CLOCK)).ultrasound_regions is None
    assert open_video(make_video(tmp_path / "a.mp4", 2)).ultrasound_regions is None


def test_dicom_is_known_by_content_too(tmp_path):
    path = _dicom(tmp_path / "IM_0001", _numbered(3), **CLOCK)
    assert open_video(path).info.kind == "dicom"


def test_nothing_about_the_patient_is_kept(tmp_path):
    source = open_video(_dicom(tmp_path / "a.dcm", _numbered(2), **CLOCK))
    list(source.frames())
    assert SECRET not in str(source.__dict__) and "PatientName" not in source._header


def test_bad_files(tmp_path):
    (tmp_path / "text.dcm").write_text("not a DICOM file at all, only text " * 10)
    with pytest.raises(InputError, match=r"text\.dcm: not a readable DICOM"):
        open_video(tmp_path / "text.dcm")
    header = _dicom(tmp_path / "header.dcm", _numbered(2), **CLOCK)
    header.write_bytes(header.read_bytes().replace(b"40.0", b"4x.0"))
    with pytest.raises(InputError, match=r"header\.dcm: the header is damaged"):
        open_video(header)
    report = _dicom(tmp_path / "report.dcm", _numbered(1))
    data = pydicom.dcmread(report)
    del data.PixelData, data.Rows, data.Columns
    data.save_as(report)
    with pytest.raises(InputError, match="holds no image"):
        open_video(report)
    data = pydicom.dcmread(_dicom(tmp_path / "lossless.dcm", _numbered(2), JPEGBaseline8Bit, **CLOCK))
    data.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    data.save_as(tmp_path / "lossless.dcm")
    with pytest.raises(InputError, match=r"lossless\.dcm.*cannot be decoded.*Convert"):
        open_video(tmp_path / "lossless.dcm")


@pytest.mark.parametrize("channels", ["luma", "rgb"])
def test_a_cut_cine_gives_the_frames_it_has(tmp_path, channels):
    path = _dicom(tmp_path / "a.dcm", _numbered(12, True), JPEGBaseline8Bit, "YBR_FULL_422", **CLOCK)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    source = open_video(path)
    numbers = [read_index(f.image) for f in source.frames(channels)]
    assert 3 <= len(numbers) < 12 and numbers == list(range(len(numbers)))
    assert source.truncated and any("could not be decoded" in problem for problem in source.problems)


@pytest.mark.parametrize("channels", ["luma", "rgb"])
def test_one_damaged_frame_is_left_out(tmp_path, channels):
    frames = [_encoded(f, {"quality": 95, "format": "JPEG"}) for f in _numbered(5, True)]
    frames[2] = b"\xff\xd8" + bytes(len(frames[2]) - 2)
    path = _dicom(tmp_path / "a.dcm", _numbered(5, True), JPEGBaseline8Bit, "YBR_FULL_422", **CLOCK)
    data = pydicom.dcmread(path)
    data.PixelData = encapsulate(frames)
    data.save_as(path)
    source = open_video(path)
    assert [f.index for f in source.frames(channels)] == [0, 1, 3, 4]
    assert source.problems == ["1 of 5 frames could not be decoded"] and not source.truncated


@pytest.mark.parametrize(("suffix", "clock"), [(".mp4", True), (".mp4", False), (".ts", True)])
def test_video_wrapped_in_dicom(tmp_path, suffix, clock):
    video = make_video(tmp_path / f"a{suffix}", 20, options={"bf": "0"}).read_bytes()
    path = _dicom(tmp_path / "a.dcm", _numbered(1, True), photometric="YBR_PARTIAL_420", **(CLOCK if clock else {}))
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    data.NumberOfFrames = 20
    data.PixelData = encapsulate([video + bytes(len(video) % 2)])
    data.save_as(path)
    source = open_video(path)
    frames = list(source.frames())
    assert [read_index(f.image) for f in frames] == list(range(20)) and source.info.kind == "dicom"
    np.testing.assert_allclose([f.time for f in frames], np.arange(20) * (0.04 if clock else 1 / 30), atol=1e-6)
    assert source.info.fps == pytest.approx(25 if clock else 30)
    assert [f.index for f in source.frames(start=0.2, stop=0.4, stride=2)] == ([6, 8] if clock else [6, 8, 10])
