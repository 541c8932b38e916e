# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from monai_usspeech.data.fan_video import FanVideoReader
from monai_usspeech.data.files import InputError
from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.label.clip_labels import ClipLabel, FrameLabel, parse_label
from monai_usspeech.label.labelled_frames import (
    LabelledClip,
    LabelledFrameDataset,
    frame_classes,
    read_labelled_clips,
    read_labelled_frames,
    validation_subjects,
)
from tests.data.media_factory import HEIGHT, WIDTH, make_video, read_index

FEMUR, LIPS, PROFILE = (PLANES.index(name) for name in ("femur", "lips", "profile"))
READER = FanVideoReader(WIDTH, fan_crop=(0, 0, HEIGHT, WIDTH), frame_rate=10)


def labelled(*frames, plane=None):
    return ClipLabel(plane=plane, frames=tuple(FrameLabel(number, name) for number, name in frames))


def by_hand(kept, label, stride):
    """The rule of the docstring, one kept frame at a time."""
    found = {}
    for place in range(len(kept)):
        best = None
        for frame in label.frames:
            distances = [abs(other - frame.frame) for other in kept]
            goes_here = distances.index(min(distances)) == place and distances[place] < stride
            if goes_here and (best is None or distances[place] < best[0]):
                best = (distances[place], PLANES.index(frame.plane))
        if best is not None:
            found[place] = best[1]
    return found


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_a_label_goes_to_the_nearest_frame_that_is_read(stride):
    rng = np.random.RandomState(stride)
    kept = np.arange(0, 60, stride)
    for _ in range(20):
        numbers = rng.choice(75, size=12, replace=False)
        label = labelled(*((int(number), PLANES[rng.randint(14)]) for number in sorted(numbers)))
        places, classes, missing = frame_classes(kept, label, stride)
        assert dict(zip(places.tolist(), classes.tolist())) == by_hand(kept.tolist(), label, stride)
        assert (np.diff(places) > 0).all()
        assert missing == sorted(int(number) for number in numbers if number >= kept[-1] + stride)


def test_of_two_labels_for_one_frame_the_nearer_counts_and_of_two_frames_the_earlier():
    kept = np.array([0, 4, 8])
    places, classes, _ = frame_classes(kept, labelled((2, "lips"), (5, "femur"), (6, "profile")), 4)
    assert places.tolist() == [0, 1] and classes.tolist() == [LIPS, FEMUR]


@pytest.mark.parametrize("n_frames", [1, 5, 32, 33, 200])
def test_the_class_of_a_clip_goes_to_frames_without_one(n_frames):
    label = labelled((0, "lips"), plane="femur")
    places, classes, missing = frame_classes(np.arange(n_frames), label)
    assert (places[0], classes[0], missing) == (0, LIPS, [])
    assert (classes[1:] == FEMUR).all()
    assert len(places) == 1 + min(n_frames - 1, 32)
    if n_frames == 200:
        steps = np.diff(places[1:])
        assert places[1] == 1 and places[-1] == 199 and steps.max() - steps.min() <= 1


def write_label(folder, name, **content):
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"schema": 1, **content}))
    return str(path)


def test_labels_are_read_by_clip_and_a_broken_one_is_named(tmp_path):
    datalist = [
        {"image": "b.mp4", "label": write_label(tmp_path, "b.v2", clip={"class": "femur", "subject": "p1"})},
        {"image": "a.mp4", "label": write_label(tmp_path, "a", clip={"class": "lips"})},
        {"image": "c.mp4", "label": write_label(tmp_path, "c")},
    ]
    clips, left_out = read_labelled_clips(datalist)
    assert [(clip.id, clip.subject, str(clip.path)) for clip in clips] == [("a", "a", "a.mp4"), ("b.v2", "p1", "b.mp4")]
    assert list(left_out) == ["c"] and "names no plane" in left_out["c"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A clip of 40 numbered frames, a still picture, and what cannot be read."""
    folder = tmp_path_factory.mktemp("clips")
    make_video(folder / "video.mp4", 40)  # 30 frames a second: every third is read
    Image.fromarray(np.full((HEIGHT, WIDTH), 80, np.uint8)).save(folder / "still.png")
    (folder / "broken.mp4").write_bytes(b"no video")
    return [
        LabelledClip("broken", folder / "broken.mp4", labelled(plane="femur")),
        LabelledClip("still", folder / "still.png", labelled(plane="profile")),
        LabelledClip("video", folder / "video.mp4", labelled((4, "femur"), (39, "lips"), (77, "lips"))),
    ]


def test_the_labelled_frames_of_clips_are_read(clips):
    frames, problems = read_labelled_frames(clips, READER)
    assert frames.images.shape == (3, 1, WIDTH, WIDTH) and frames.images.dtype == np.uint8
    assert frames.clip_index.tolist() == [1, 2, 2]
    assert frames.classes.tolist() == [PROFILE, FEMUR, LIPS]
    assert frames.frames.tolist() == [0, 3, 39]
    assert [read_index(image[0]) for image in frames.images[1:]] == [3, 39]
    assert frames.class_counts() == {"femur": 1, "lips": 1, "profile": 1}
    assert frames.subjects == ("still", "video")
    assert list(problems) == ["broken", "video"]
    assert "has no frame 77; 1 labels are not used" in problems["video"]


def test_frames_of_some_subjects(clips):
    frames, _ = read_labelled_frames(clips, READER)
    part = frames.of_subjects(["video", "nobody"])
    assert part.subjects == ("video",) and part.frames.tolist() == [3, 39]
    np.testing.assert_array_equal(part.images, frames.images[1:])
    assert LabelledFrameDataset(part).item_name(-1) == "clip video frame 39"


def test_clips_without_a_frame_are_an_error(clips):
    with pytest.raises(InputError, match=r"none of the 1 labelled clips gives a frame to train on: .*broken\.mp4"):
        read_labelled_frames(clips[:1], READER)


def test_samples_depend_on_seed_epoch_and_item_alone(clips):
    frames, _ = read_labelled_frames(clips, READER)
    dataset, plain = LabelledFrameDataset(frames, augment={}, seed=3), LabelledFrameDataset(frames)
    assert len(dataset) == 3 and dataset.labels.tolist() == frames.classes.tolist()
    sample = dataset[(2, 1)]
    assert sample["image"].shape == (1, WIDTH, WIDTH) and (int(sample["label"]), int(sample["item"])) == (FEMUR, 1)
    again = LabelledFrameDataset(frames, augment={}, seed=3)[(2, 1)]
    assert all(again[name].equal(value) for name, value in sample.items())
    assert not dataset[(3, 1)]["image_affine"].equal(sample["image_affine"])
    assert float(plain[1]["image_gain"]) == 1.0
    with pytest.raises(InputError, match='augment has no option "scal"'):
        LabelledFrameDataset(frames, augment={"scal": (0.5, 1.0)})


# Who judges


def names(count):
    return [f"p{number:03d}" for number in range(count)]


@pytest.mark.parametrize(("count", "wanted"), [(0, 0), (1, 0), (4, 0), (5, 1), (7, 1), (8, 2), (50, 10)])
def test_a_fifth_of_the_subjects_judges(count, wanted):
    chosen = validation_subjects(names(count))
    assert len(chosen) == wanted and set(chosen) <= set(names(count))
    assert chosen == validation_subjects(names(count)[::-1]) == tuple(sorted(chosen))


def test_the_seed_draws_who_judges():
    assert len({validation_subjects(names(20), seed) for seed in range(10)}) > 5


def test_nobody_judges_weights_that_have_learned_from_them():
    first = validation_subjects(names(10), 1)
    learned = set(names(10)) - set(first)
    later = validation_subjects(names(30), 1, learned, first)
    assert len(later) == 6 and not learned & set(later) and set(first) <= set(later)
    assert validation_subjects(names(10), 1, names(10)) == ()


def test_a_label_that_the_server_saved_keeps_its_revision():
    clip = LabelledClip(
        "a", None, parse_label({"schema": 1, "clip": {"class": "lips", "subject": "p7"}, "revision": 4})
    )
    assert (clip.subject, clip.label.revision) == ("p7", 4)
