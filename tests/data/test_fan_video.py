# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import LoadImaged
from PIL import Image

from monai_usspeech.data.fan_video import FanVideoReader
from monai_usspeech.data.files import InputError
from monai_usspeech.data.readers import UltrasoundVideoReader
from monai_usspeech.transforms.fan import FanCrop, crop_and_resize
from tests.data.media_factory import make_video, read_index
from tests.preparation.scan_files import FPS, SIZE, fan_frames

N_FRAMES = 16  # as many as the fan is looked for on: then the reader and FanCrop look at the same frames


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("fan") / "a.mp4", fps=FPS, size=SIZE, frames=fan_frames(0, N_FRAMES))


def test_reading_small_is_reading_whole_and_cropping(clip):
    whole = LoadImaged("image", reader=UltrasoundVideoReader(), dtype=None)({"image": clip})["image"].as_tensor()
    crop = FanCrop((48, 48))
    wanted = crop(whole)
    video, meta = FanVideoReader(48, frame_rate=None).get_data([clip])
    assert video.dtype == np.uint8 and video.shape == (1, N_FRAMES, 48, 48)
    assert tuple(meta["fan_box"]) == tuple(crop.box)
    np.testing.assert_array_equal(video, wanted.numpy())


def test_a_still_picture_is_a_clip_of_one_frame(tmp_path):
    picture = fan_frames(1, 1)[0]
    Image.fromarray(picture).save(tmp_path / "a.png")
    video, meta = FanVideoReader(32, fan_crop=(20, 60, 100, 130)).get_data(tmp_path / "a.png")
    wanted = crop_and_resize(torch.from_numpy(picture)[None], (20, 60, 100, 130), (32, 32))
    np.testing.assert_array_equal(video[0], wanted.numpy())
    assert meta["frame_times"].tolist() == [0.0] and tuple(meta["fan_box"]) == (20, 60, 100, 130)


@pytest.mark.parametrize("word", [False, "false", "False"])
def test_without_a_crop_the_whole_picture_is_resized(clip, word):
    video, meta = FanVideoReader(32, fan_crop=word, frame_rate=None).get_data(clip)
    whole, _ = UltrasoundVideoReader().get_data(UltrasoundVideoReader().read(clip))
    box = (0, 0, SIZE[1], SIZE[0])
    np.testing.assert_array_equal(video, crop_and_resize(torch.from_numpy(whole), box, (32, 32)).numpy())
    assert tuple(meta["fan_box"]) == box


@pytest.mark.parametrize(("rate", "every"), [(None, 1), (100, 1), (10, 3), (15, 2), (1, 30)])
def test_frames_are_left_out_evenly(tmp_path, rate, every):
    path = make_video(tmp_path / "a.mp4", 40)  # 30 frames per second, each with its number drawn into it
    video, meta = FanVideoReader(96, fan_crop=(0, 0, 64, 96), frame_rate=rate).get_data(path)
    wanted = list(range(0, 40, every))
    assert meta["frame_indices"].tolist() == wanted
    np.testing.assert_allclose(meta["frame_times"], np.asarray(wanted) / 30)
    # 64 x 96 became 96 x 96: the rows that carry the number are a few more
    assert [read_index(frame) for frame in video[0]] == wanted


def test_bounds_in_time_are_kept(clip):
    _, meta = FanVideoReader(16, frame_rate=10, start=0.2, stop=0.6).get_data(clip)
    assert meta["frame_indices"].tolist() == [4, 6, 8, 10]


def test_a_picture_without_a_fan_names_the_mend(tmp_path):
    Image.fromarray(np.zeros((60, 80), np.uint8)).save(tmp_path / "black.png")
    with pytest.raises(InputError, match="black.png: no ultrasound fan .* --fan_crop false"):
        FanVideoReader().get_data(tmp_path / "black.png")


def test_a_box_outside_the_picture_is_refused(clip):
    with pytest.raises(InputError, match="fan_crop: the box"):
        FanVideoReader(fan_crop=[0, 0, 10_000, 10]).get_data(clip)


def test_monai_passes_the_sentence_on_about_a_broken_file(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    load = LoadImaged("image", reader=FanVideoReader(), dtype=None)
    with pytest.raises(InputError, match="a.mp4: .* not a recording"):
        load({"image": tmp_path / "a.mp4"})


@pytest.mark.parametrize(
    ("options", "message"),
    [({"size": 0}, "size"), ({"frame_rate": 0}, "frame_rate"), ({"fan_crop": "yes"}, "fan_crop")],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FanVideoReader(**options)
