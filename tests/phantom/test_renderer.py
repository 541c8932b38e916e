# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from monai_usspeech.phantom.geometry import SectorGeometry, to_pixels
from monai_usspeech.phantom.motion import Motion
from monai_usspeech.phantom.overlay import Overlay, text_image
from monai_usspeech.phantom.primitives import Primitive, bar, disc, fluid, ring
from monai_usspeech.phantom.renderer import Look, Renderer

SIZE = 128
LOOK = Look(noise=-60.0, layers=(), dynamic_range=60.0)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(SectorGeometry(), LOOK, SIZE, (72, 144), np.random.default_rng(0))


def still(n: int = 1, **paths: float) -> Motion:
    names = ("dx", "dy", "rotation", "offset", "breath", "cycle")
    return Motion(*(np.full(n, paths.get(name, 0.0)) for name in names))


def draw(renderer: Renderer, *shapes: Primitive, motion: Motion | None = None) -> np.ndarray:
    motion = motion or still()
    canvas = np.zeros((len(motion.dx), SIZE * SIZE))
    canvas[:, renderer.pixels.numpy()] = renderer.frames(shapes, motion, np.zeros((len(motion.dx), 2))).numpy()
    return canvas.reshape(-1, SIZE, SIZE)


def patch(frame: np.ndarray, x: float, y: float, half: int = 4) -> float:
    column, row = (int(round(float(value))) for value in to_pixels(np.array(x), np.array(y), SIZE))
    return float(frame[row - half : row + half + 1, column - half : column + half + 1].mean())


def test_fluid_is_black_bone_is_white_and_tissue_lies_between(renderer: Renderer):
    frame = draw(renderer, fluid(-0.4, 1.2, 0.2), disc(0.4, 1.2, 0.15, echo=5.0))[0]
    dark, tissue, bright = patch(frame, -0.4, 1.2), patch(frame, 0.0, 0.8), patch(frame, 0.4, 1.2)
    assert dark < 30 < tissue - 30 and bright > tissue + 40


def test_bone_casts_a_shadow_along_the_beam_and_fluid_enhances(renderer: Renderer):
    plain = draw(renderer)[0]
    frame = draw(
        renderer, bar(-0.45, 0.9, -0.15, 0.9, 0.05, attenuation=20.0, echo=5.0), fluid(0.3, 0.9, 0.12, attenuation=-1.5)
    )[0]
    shadow, open_tissue = patch(frame, -0.4, 1.4), patch(frame, 0.0, 1.4)
    assert shadow < patch(plain, -0.4, 1.4) - 60
    assert open_tissue == patch(plain, 0.0, 1.4)
    assert patch(frame, 0.42, 1.4) > patch(plain, 0.42, 1.4) + 5


def test_a_wall_is_brightest_where_the_beam_meets_it_head_on(renderer: Renderer):
    frame = draw(renderer, ring(0, 1.2, 0.4, 0.4, 0.06, echo=4.0))[0]
    top, side = patch(frame, 0.0, 0.8, 2), patch(frame, 0.4, 1.2, 2)
    assert top > side + 12


def test_out_of_plane_a_shape_shrinks_as_an_ellipsoid_and_vanishes(renderer: Renderer):
    shape = fluid(0, 1.2, 0.4, extent=0.5)
    offsets = np.array([0.0, 0.3, 0.49, 0.6])
    frames = draw(renderer, shape, motion=replace(still(4), offset=offsets))
    column, row = (int(v) for v in to_pixels(np.array(0.0), np.array(1.2), SIZE))
    window = frames[:, row - 25 : row + 26, column - 25 : column + 26]
    radius = np.sqrt((window < 40).sum((1, 2)) / np.pi) / SIZE * 2.5
    assert radius[0] == pytest.approx(0.4, abs=0.06)
    assert radius[1] == pytest.approx(0.4 * 0.8, abs=0.06)  # sqrt(1 - 0.6^2)
    assert radius[2] < 0.12 and radius[3] < 0.04


def test_tissue_appears_where_motion_says_it_does(renderer: Renderer):
    state = still(1, dx=0.15, dy=-0.1, rotation=0.4, breath=0.03)
    x, y = state.to_image(0.3, 1.3)
    frame = draw(renderer, disc(0.3, 1.3, 0.06, echo=5.0), motion=state)[0]
    rows, columns = np.nonzero(frame > 235)
    column, row = to_pixels(x, y, SIZE)
    assert abs(columns.mean() - column[0]) < 1.5 and abs(rows.mean() - row[0]) < 1.5


def test_painting_only_a_window_changes_nothing(renderer: Renderer, monkeypatch: pytest.MonkeyPatch):
    shapes = [
        ring(0.1, 1.1, 0.5, 0.3, 0.05, 0.4, echo=3.0),
        bar(-0.5, 0.7, 0.4, 1.5, 0.05, echo=4.0),
        fluid(0.6, 1.5, 0.3, 0.1, 1.0),
    ]
    state = Motion(*np.random.default_rng(3).normal(0, 0.1, (6, 5)))
    state.breath[:] = 0.03
    windowed = draw(renderer, *shapes, motion=state)
    whole = (slice(0, 144), slice(0, 72))
    monkeypatch.setattr(SectorGeometry, "polar_box", lambda self, *arguments: whole)
    np.testing.assert_array_equal(draw(renderer, *shapes, motion=state), windowed)


def test_a_beating_chamber_is_smaller_in_systole(renderer: Renderer):
    shape = fluid(0, 1.2, 0.3, beat=0.3)
    frames = draw(renderer, shape, motion=replace(still(2), cycle=np.array([0.2, 0.7])))
    systole, diastole = (int((frame[40:110, 34:94] < 25).sum()) for frame in frames)
    assert systole < 0.7 * diastole


def test_text_is_legible_and_the_overlay_stays_out_of_the_fan():
    drawn = "\n".join("".join("#" if dot else "." for dot in row) for row in text_image("T"))
    assert drawn == "###\n.#.\n.#.\n.#.\n.#."
    geometry = SectorGeometry()
    overlay = Overlay(SIZE, geometry, np.random.default_rng(0))
    frames = np.full((2, SIZE, SIZE), 77, dtype=np.uint8)
    overlay.draw(frames, np.array([0.0, 0.1]), np.array([False, True]))
    mask = geometry.mask(SIZE)
    assert (frames[:, mask] == 77).all()
    assert (frames[0] != frames[1]).any()  # the clock runs
    stamp = text_image("SYNTHETIC")
    assert (frames[:, 1:6, 1 : 1 + stamp.shape[1]][:, stamp] == 230).all()
