# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from PIL import Image, ImageDraw

from monai_usspeech.transforms.fan import FanCrop, FanCropd, check_box, crop_and_resize
from monai_usspeech.transforms.fan_geometry import FanGeometry, _largest_rectangle_fast, detect_fan, largest_rectangle

SHAPE = (480, 640)


def sector(shape=SHAPE, degrees=70.0, near=60, far=430, depth=20, flip=False) -> np.ndarray:
    """True inside a sector whose apex lies ``near - depth`` pixels above the picture, or below it when flipped."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    rows = shape[0] - 1 - rows if flip else rows
    y, x = rows - (depth - near), columns - shape[1] / 2 + 0.5
    radius = np.hypot(x, y)
    return (radius >= near) & (radius <= far) & (np.abs(np.arctan2(x, y)) <= np.radians(degrees / 2))


def linear(shape=SHAPE) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[40:400, 180:460] = True
    return mask


def scan(mask, n_frames=16, seed=0, background=0, text=(), clock=False, shadow=None, still=False) -> np.ndarray:
    """Frames of speckle inside ``mask`` on a screen with text; uint8 [T, H, W]."""
    rng = np.random.RandomState(seed)
    speckle = rng.rayleigh(35, (n_frames, *mask.shape)).clip(0, 255)
    if still:
        speckle = np.repeat(speckle[:1], n_frames, axis=0)
    if shadow is not None:
        speckle[:, shadow] = 2
    screen = Image.new("L", mask.shape[::-1], background)
    draw = ImageDraw.Draw(screen)
    for place, words in text:
        draw.text(place, words, fill=255 - background)
    frames = np.where(mask, speckle, np.asarray(screen)).astype(np.uint8)
    for number, frame in enumerate(frames if clock else ()):
        picture = Image.fromarray(frame)
        ImageDraw.Draw(picture).text((mask.shape[1] - 90, 6), f"12:34:{number:02d} {rng.randint(1e6)}", fill=255)
        frame[:] = np.asarray(picture)
    return frames


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def check_geometry(found: FanGeometry, truth: np.ndarray, mask_overlap=0.95, area=0.93) -> None:
    """The mask is the fan; the rectangle lies in it, keeps the aspect, and is nearly the largest."""
    assert overlap(found.mask, truth) > mask_overlap
    top, left, bottom, right = found.box
    assert truth[top:bottom, left:right].mean() > 0.999
    assert 0.8 <= (right - left) / (bottom - top) <= 1.25
    best = largest_rectangle(truth)
    assert (bottom - top) * (right - left) > area * (best.bottom - best.top) * (best.right - best.left)
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    expected = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
    assert np.abs(np.subtract(found.outline, expected)).max() <= 12


WORDS = [((5, 5 + 14 * line), words) for line, words in enumerate(("NAME A. B.", "12.3 cm / 45 Hz", "MI 0.9  TIs 0.1"))]


@pytest.mark.parametrize(
    "mask",
    [sector(), sector(degrees=100, near=120), sector(flip=True), sector(degrees=60, near=2, depth=4), linear()],
    ids=["convex", "wide", "flipped", "phased", "linear"],
)
@pytest.mark.parametrize("background", [0, 255])
def test_fan_on_a_screen_with_text_and_clock(mask, background):
    frames = scan(mask, background=background, text=WORDS, clock=background == 0)
    check_geometry(detect_fan(frames), mask)


@pytest.mark.parametrize("n_frames", [1, 2, 3])
def test_few_frames(n_frames):
    check_geometry(detect_fan(list(scan(sector(), n_frames, text=WORDS))), sector())


def test_still_frames_fall_back_to_brightness():
    frames = scan(sector(), still=True, text=WORDS, clock=True)
    assert (frames[0] != frames[-1]).any() and (frames.std(0) > 4).mean() < 0.01  # only the clock moves
    check_geometry(detect_fan(frames), sector())


def test_still_frame_with_a_white_bar():
    frames = scan(sector(), 1)
    frames[:, 440:475, 20:620] = 255  # a redaction: bright, and without texture
    check_geometry(detect_fan(frames), sector())


def test_linear_picture_that_fills_the_frame_is_kept_whole():
    found = detect_fan(scan(np.ones((300, 310), dtype=bool)))
    assert found.box == (0, 0, 300, 310) and found.mask.all()


def test_shadow_is_part_of_the_fan():
    shadow = sector(degrees=12) & sector(near=140, depth=20 + 80)
    frames = scan(sector(), shadow=shadow)
    assert (frames.max(0) <= 8)[shadow].all()  # black in every frame, down to the lower border
    check_geometry(detect_fan(frames), sector())


def test_face_of_the_probe_is_not_part_of_the_fan():
    truth = sector(degrees=80, near=180, depth=30, far=520, shape=(560, 760))
    found = detect_fan(scan(truth))
    check_geometry(found, truth)
    assert not found.mask[:25, 370:390].any()  # above the arc, inside the convex hull


def test_split_screen_takes_one_half():
    left = np.zeros(SHAPE, dtype=bool)
    right = left.copy()
    left[60:400, 10:310], right[60:400, 330:620] = True, True
    found = detect_fan(scan(left | right))
    check_geometry(found, left)


@pytest.mark.parametrize("n_frames", [1, 8])
def test_no_fan_says_how_to_give_the_box(n_frames):
    black = np.zeros((n_frames, *SHAPE), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"no fan found in .* 480x640 .*box=\(top, left, bottom, right\)"):
        detect_fan(black)
    with pytest.raises(ValueError, match="no fan found"):
        detect_fan(scan(np.zeros(SHAPE, dtype=bool), n_frames, text=WORDS, clock=True))


def test_bad_frames():
    with pytest.raises(ValueError, match="at least one frame"):
        detect_fan([])
    with pytest.raises(ValueError, match=r"float64 \(480, 640\)"):
        detect_fan(np.zeros((2, *SHAPE)))
    with pytest.raises(ValueError, match=r"\(10, 10\), the first being \(12, 12\)"):
        detect_fan([np.zeros((12, 12), np.uint8), np.zeros((10, 10), np.uint8)])


def brute_force_area(mask: np.ndarray, narrow: float, wide: float) -> int:
    height, width = mask.shape
    return max(
        (
            (b - t) * (r - left)
            for t in range(height)
            for b in range(t + 1, height + 1)
            for left in range(width)
            for r in range(left + 1, width + 1)
            if narrow <= (r - left) / (b - t) <= wide and mask[t:b, left:r].all()
        ),
        default=0,
    )


@pytest.mark.parametrize("aspect", [(0.8, 1.25), (1.0, 1.0), (0.1, 10.0), (1.5, 2.0), (1.3, 1.32)])
def test_largest_rectangle_against_every_rectangle(aspect):
    rng = np.random.RandomState(0)
    for density in (0.6, 0.8, 0.9, 0.97, 1.0):
        mask = rng.uniform(size=(9, 11)) < density
        top, left, bottom, right = largest_rectangle(mask, aspect)
        assert mask[top:bottom, left:right].all()
        assert (bottom - top) * (right - left) == brute_force_area(mask, *aspect)
    assert largest_rectangle(np.zeros((5, 5), dtype=bool)) == (0, 0, 0, 0)
    with pytest.raises(ValueError, match="aspect"):
        largest_rectangle(np.ones((5, 5), dtype=bool), (1.2, 0.8))


@pytest.mark.parametrize("shape", [(1024, 1280), (701, 1003)])
def test_fast_search_stays_inside_and_misses_little(shape):
    mask = sector(shape, near=100, far=shape[0] - 20)
    start = time.perf_counter()
    top, left, bottom, right = _largest_rectangle_fast(mask, (0.8, 1.25))
    assert time.perf_counter() - start < 1
    assert mask[top:bottom, left:right].all() and 0.8 <= (right - left) / (bottom - top) <= 1.25
    best = largest_rectangle(mask)
    assert (bottom - top) * (right - left) > 0.98 * (best.bottom - best.top) * (best.right - best.left)


def test_ideal_sector_keeps_about_half():
    mask = sector((1000, 1300), degrees=70, near=150, far=980)
    top, left, bottom, right = largest_rectangle(mask[::2, ::2])
    assert (bottom - top) * (right - left) * 4 / mask.sum() == pytest.approx(0.55, abs=0.03)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.float16, torch.int16])
def test_crop_and_resize_matches_float_interpolation(dtype):
    frames = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (1, 3, 90, 110))).to(dtype)
    result = crop_and_resize(frames, (5, 10, 85, 100), (32, 40))
    assert result.dtype == dtype and result.shape == (1, 3, 32, 40)
    expected = F.interpolate(frames[..., 5:85, 10:100].double(), (32, 40), mode="bilinear", antialias=True)
    assert (result.double() - expected).abs().max() <= (1.0 if dtype in (torch.uint8, torch.int16) else 0.1)
    # anti-aliasing averages: the deviation of white noise falls, plain bilinear sampling would keep most of it
    assert result.double().std() < 0.5 * frames.double().std()
    white = crop_and_resize(torch.full((1, 1, 50, 50), 255).to(dtype), (0, 0, 50, 50), (17, 90))
    assert (white == 255).all()


def test_crop_without_resize_is_a_copy():
    frames = torch.arange(2 * 8 * 9).reshape(1, 2, 8, 9).float()
    result = crop_and_resize(frames, (1, 2, 5, 7))
    assert torch.equal(result, frames[..., 1:5, 2:7])
    result.zero_()
    assert frames.sum() > 0
    with pytest.raises(ValueError, match="leading axis"):
        crop_and_resize(frames[0, 0], (0, 0, 4, 4))


@pytest.mark.parametrize("box", [(0, 0, 50, 101), (-1, 0, 5, 5), (5, 5, 5, 9), (1, 2, 3), (0, 0, 1.5, 2)])
def test_boxes_that_do_not_fit(box):
    with pytest.raises(ValueError, match="box"):
        check_box(box, 50, 100)


@pytest.mark.parametrize("kind", ["uint8", "numpy", "unit", "colour", "half"])
def test_fan_crop_finds_the_same_box_for_every_kind_of_video(kind):
    frames = scan(sector(), 12)
    expected = detect_fan(frames).box
    video = torch.from_numpy(frames)[None]
    crop = FanCrop((64, 48))
    assert crop.box is None
    given = {
        "uint8": video,
        "numpy": frames[None],
        "unit": video.float() / 255,
        "colour": video.repeat(3, 1, 1, 1),
        "half": video.half(),
    }[kind]
    result = crop(given)
    assert crop.box == expected
    assert result.shape == (3 if kind == "colour" else 1, 12, 64, 48)
    assert result.dtype == (torch.uint8 if kind == "numpy" else given.dtype)
    if kind == "unit":
        assert 0 <= result.min() and result.max() <= 1


def test_fan_crop_of_an_image_and_fixed_box():
    image = torch.from_numpy(scan(sector(), 1))
    crop = FanCrop(32)
    assert crop(image).shape == (1, 32, 32) and crop.box == detect_fan(image.numpy()).box
    fixed = FanCrop(None, box=(10, 20, 110, 220))
    assert torch.equal(fixed(image), image[:, 10:110, 20:220]) and fixed.box == (10, 20, 110, 220)
    assert fixed(image, box=(0, 0, 5, 6)).shape == (1, 5, 6)
    with pytest.raises(ValueError, match="480x640"):
        FanCrop(box=(0, 0, 481, 640))(image)
    with pytest.raises(ValueError, match="give a box"):
        FanCrop()(image.to(torch.int16))
    with pytest.raises(ValueError, match="give a box"):
        FanCrop()(image.float() - 40)
    with pytest.raises(ValueError, match="video"):
        FanCrop()(image[0])


def test_fan_crop_keeps_meta_data_and_moves_the_affine():
    affine = torch.diag(torch.tensor([0.1, 0.5, 0.25, 1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor([3.0, -7.0, 11.0])
    source = MetaTensor(torch.rand(1, 3, 80, 100), affine=affine, meta={"filename_or_obj": "scan.mp4"})
    result = FanCrop((20, 30), box=(10, 15, 50, 75))(source)
    assert isinstance(result, MetaTensor) and result.meta["filename_or_obj"] == "scan.mp4"
    assert result.meta["fan_box"] == (10, 15, 50, 75) and "fan_box" not in source.meta
    # a point in the middle of the crop keeps its place in the world: pixel centres, frame 2
    new = torch.tensor([2.0, 20 / 2 - 0.5, 30 / 2 - 0.5, 1.0], dtype=torch.float64)
    old = torch.tensor([2.0, (10 + 50) / 2 - 0.5, (15 + 75) / 2 - 0.5, 1.0], dtype=torch.float64)
    assert torch.allclose(result.affine.double() @ new, affine @ old)
    new = torch.tensor([0.0, -0.5, -0.5, 1.0], dtype=torch.float64)
    old = torch.tensor([0.0, 10 - 0.5, 15 - 0.5, 1.0], dtype=torch.float64)
    assert torch.allclose(result.affine.double() @ new, affine @ old)
    image = FanCrop((20, 30), box=(10, 15, 50, 75))(MetaTensor(torch.rand(1, 80, 100)))
    assert image.affine[0, 0] == 2 and image.affine[1, 1] == 2 and image.affine[0, -1] == 10.5


def test_dictionary_transform_takes_the_items_own_box():
    video = torch.from_numpy(scan(sector(), 6))[None]
    transform = FanCropd("video", (16, 16), box_key="fan")
    found = transform({"video": video, "fan": None})
    assert found["video_fan_box"] == detect_fan(video[0].numpy()).box and found["video"].shape == (1, 6, 16, 16)
    assert transform({"video": video})["video_fan_box"] == found["video_fan_box"]
    given = transform({"video": video, "fan": [1, 2, 33, 44]})
    assert given["video_fan_box"] == (1, 2, 33, 44) and video.shape[-2:] == SHAPE
    both = FanCropd(("a", "b"), 8, box=(0, 0, 9, 9), allow_missing_keys=True)({"a": video})
    assert both.keys() == {"a", "a_fan_box"}


def read_frames(path: Path, n_frames: int = 16) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    return [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, n_frames).round().astype(int))]


def test_standard_planes_against_the_published_crop(real_data):
    """Baumgartner et al. 2017 cut these frames by hand to rows 115:734, columns 81:874."""
    paths = sorted((real_data / "planes" / "sononet").glob("*.png"))
    frames = [np.asarray(Image.open(path).convert("L")) for path in paths]
    found, by_hand = np.zeros((2, *frames[0].shape), dtype=bool)
    top, left, bottom, right = detect_fan(frames).box
    found[top:bottom, left:right] = True
    by_hand[115:734, 81:874] = True
    assert len(frames) == 13 and overlap(found, by_hand) > 0.85


def test_lung_videos_lose_their_black_border(real_data):
    paths = [*sorted((real_data / "pocus" / "regular").glob("*pat3Image*.mpeg"))[:3]]
    paths += sorted((real_data / "pocus" / "pneumonia").glob("Pneu_Avi_Video_00*.mp4"))[:2]
    for path in paths:
        frames = read_frames(path)
        found = detect_fan(frames)
        height, width = frames[0].shape
        top, left, bottom, right = found.box
        assert (bottom - top) * (right - left) > 0.25 * height * width, path.name
        assert found.mask[top:bottom, left:right].all(), path.name
        seen = np.max(frames, axis=0) > 8  # tissue at some time
        assert seen[top:bottom, left:right].mean() > 0.75, path.name  # the rest is fluid
        assert seen[top:bottom, left:right].mean() > seen.mean(), path.name


def test_tongue_video_on_a_white_screen(real_data):
    frames = read_frames(real_data / "us_speech" / "tal" / "sh" / "day1_she_065.avi", 8)
    found = detect_fan(frames)
    white = np.min(frames, axis=0) > 250
    top, left, bottom, right = found.box
    assert white.mean() > 0.5 and not white[top:bottom, left:right].any()
    assert (bottom - top) * (right - left) > 0.3 * (~white[150:750]).sum()
