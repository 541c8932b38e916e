# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import LoadImage, LoadImaged
from monai.transforms.io.array import SUPPORTED_READERS

from monai_usspeech.data.readers import UltrasoundVideoReader, UltraSuiteReader, register_readers
from tests.data.media_factory import make_video, read_index
from tests.data.test_ultrasuite import _recording

NAME = "monai_usspeech.data.readers.UltrasoundVideoReader"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("readers") / "a.mp4", 40)


def test_load_imaged_by_name(video):
    load = LoadImaged("video", reader=NAME, dtype=None, ensure_channel_first=True, stride=4, start=0.2, max_frames=5)
    image = load({"video": str(video)})["video"]
    assert isinstance(image, MetaTensor) and image.dtype == torch.uint8 and image.shape == (1, 5, 64, 96)
    meta = image.meta
    assert [read_index(frame) for frame in image[0].numpy()] == [8, 12, 16, 20, 24] == meta["frame_indices"].tolist()
    np.testing.assert_allclose(meta["frame_times"], np.arange(8, 28, 4) / 30)
    assert meta["original_channel_dim"] == 0 and list(meta["spatial_shape"]) == [5, 64, 96]
    assert torch.equal(image.affine, torch.eye(4, dtype=image.affine.dtype))
    assert meta["filename_or_obj"] == str(video) and meta["kind"] == "media" and meta["fps"] == 30
    assert all(value is not None for value in meta.values())


def test_rgb_and_bounds(video):
    image, meta = UltrasoundVideoReader("rgb", start=0.5, stop=1.0).get_data(UltrasoundVideoReader().read(video))
    assert image.shape == (3, 15, 64, 96) and image.dtype == np.uint8 and image.flags.c_contiguous
    assert meta["frame_indices"].tolist() == list(range(15, 30))


def test_several_files_are_stacked_as_channels(video):
    image = LoadImage(reader=UltrasoundVideoReader(max_frames=3), dtype=None, image_only=True)([video, video])
    assert image.shape == (2, 3, 64, 96) and torch.equal(image[0], image[1])


def test_batches_collate(video):
    load = LoadImaged("video", reader=UltrasoundVideoReader(max_frames=4), dtype=None)
    batch = next(iter(DataLoader(Dataset([{"video": video}] * 2, load), batch_size=2)))["video"]
    assert batch.shape == (2, 1, 4, 64, 96) and "frame_times" in batch.meta


def test_suffixes():
    reader = UltrasoundVideoReader()
    assert all(reader.verify_suffix(f"scan.{suffix}") for suffix in ("mp4", "MP4", "avi", "mkv", "mov", "gif", "mpeg"))
    # MONAI's own readers keep volumes and pictures
    assert not any(reader.verify_suffix(name) for name in ("a.dcm", "a.nii", "a.nii.gz", "a.png", "a.npy", "a.ult"))
    assert UltraSuiteReader().verify_suffix("a.ult") and not UltraSuiteReader().verify_suffix("a.mp4")


def test_registered_readers_are_chosen_by_suffix(video, tmp_path, monkeypatch):
    for name in ("ultrasoundvideoreader", "ultrasuitereader"):
        monkeypatch.delitem(SUPPORTED_READERS, name, raising=False)
    with pytest.raises(RuntimeError):  # which of MONAI's readers gives up depends on what is installed
        LoadImage(dtype=None)(video)
    order = list(SUPPORTED_READERS)
    register_readers()
    register_readers()
    assert list(SUPPORTED_READERS) == [*order, "ultrasoundvideoreader", "ultrasuitereader"]
    assert LoadImage(dtype=None)(video).shape == (1, 40, 64, 96)
    assert LoadImage(dtype=None)(_recording(tmp_path)).shape[:2] == (1, 5)
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    assert LoadImage(dtype=None)(tmp_path / "a.npy").shape == (2, 3)
    for name in ("ultrasoundvideoreader", "ultrasuitereader"):
        del SUPPORTED_READERS[name]


def test_ultrasuite_reader_raw_and_fan(tmp_path):
    path = _recording(tmp_path)
    raw, meta = UltraSuiteReader(raw=True).get_data(UltraSuiteReader(raw=True).read(path))
    stored = np.frombuffer(path.read_bytes(), np.uint8).reshape(1, 5, 63, 412)
    np.testing.assert_array_equal(raw, stored)
    assert meta["start_time"] == pytest.approx(0.5073) and meta["kind"] == "ultrasuite"
    fan = LoadImaged("u", reader="monai_usspeech.data.readers.UltraSuiteReader", dtype=None)({"u": path})["u"]
    assert fan.shape == (1, 5, 444, 855)


@pytest.mark.parametrize(
    "options", [{"channels": "grey"}, {"start": 2.0, "stop": 1.0}, {"stride": 0}, {"max_frames": 0}]
)
def test_wrong_options_fail_at_construction(options):
    with pytest.raises(ValueError, match="must be"):
        UltrasoundVideoReader(**options)


def test_a_selection_without_frames_and_a_broken_file_say_so(video, tmp_path):
    reader = UltrasoundVideoReader(start=100.0)
    with pytest.raises(ValueError, match="no frame lies from start=100"):
        reader.get_data(reader.read(video))
    (tmp_path / "a.mp4").write_text("text " * 100)
    with pytest.raises(RuntimeError, match="holds text, not a recording"):
        LoadImaged("video", reader=NAME)({"video": tmp_path / "a.mp4"})
