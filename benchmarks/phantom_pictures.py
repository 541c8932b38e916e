# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""How much of the phantom's planes, frame order and gaze can be had without learning (``phantom_difficulty.py``)."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold

from monai_usspeech.data.annotations import PLANES, plane_at
from monai_usspeech.metrics.fixations import compute_nss
from monai_usspeech.phantom import Phantom
from monai_usspeech.phantom.course import PhantomCourse
from monai_usspeech.phantom.geometry import to_pixels
from monai_usspeech.transforms.order import TIME_ORDERS, draw_order, draw_order_times, order_label

BACKGROUND = len(PLANES) - 1
MAP = 48  # side of the gaze maps; the canvas is as wide as they are


def small_frames(course: PhantomCourse, times: np.ndarray, side: int = 24) -> np.ndarray:
    """The inside of the fan at some times, averaged down to float32 [N, side, side]; ``times`` must not decrease."""
    course.times = np.asarray(times, float)
    frames = torch.from_numpy(np.concatenate(list(course.frames()))).float()
    size = frames.shape[-1]
    inner = frames[:, int(0.36 * size) : int(0.84 * size), int(0.26 * size) : int(0.74 * size)]
    small = torch.nn.functional.adaptive_avg_pool2d(inner[:, None], side)
    return np.asarray(small[:, 0].numpy())


def visit_times(course: PhantomCourse) -> tuple[np.ndarray, list[int]]:
    """Three moments of each visit to a plane, and the plane's number."""
    spans = [(interval.start, interval.end - interval.start) for interval in course.planes]
    times = np.array([start + share * length for start, length in spans for share in (0.2, 0.5, 0.8)])
    return times, plane_at(course.planes, times).tolist()


def pixel_probe(frames: np.ndarray, labels: np.ndarray, scans: np.ndarray, folds: int = 3) -> float:
    """Macro-F1 of a linear classifier of raw pixels on scans it has not seen; 0.08 is chance, 1 needs no network."""
    flat = frames.reshape(len(frames), -1)
    flat = (flat - flat.mean(1, keepdims=True)) / (flat.std(1, keepdims=True) + 1e-6)
    told = np.empty(len(labels), int)
    for train, test in GroupKFold(folds).split(flat, labels, scans):
        model = LogisticRegression(C=0.01, max_iter=300).fit(flat[train], labels[train])
        told[test] = model.predict(flat[test])
    return float(f1_score(labels, told, average="macro"))


def nearest_path(frames: np.ndarray) -> int:
    """The order whose path through four frames [4, H, W] is the shortest (sum of root mean square changes).

    A path is as long backwards, so the class is the one of ``reversal="time"``.
    """
    change = np.sqrt(((frames[:, None] - frames[None]) ** 2).mean((2, 3)))
    lengths = []
    for order in TIME_ORDERS:  # order[i] is the true position of the frame shown at i
        path = np.argsort(order)
        lengths.append(change[path[:-1], path[1:]].sum())
    return int(np.argmin(lengths))


def order_hits(course: PhantomCourse, rng: np.random.RandomState, clips: int = 6) -> list[bool]:
    """Whether the shortest path finds the order of four shuffled frames, in clips at random; frozen ones left out."""
    hits = []
    for clip in rng.permutation(int(course.phantom.seconds // 2))[:clips]:
        times = draw_order_times(rng, 2.0 * clip)
        if np.diff(course.timeline.tissue_time(times)).min() < 1e-3:
            continue
        order = draw_order(rng)
        hits.append(nearest_path(small_frames(course, times, 12)[order]) == order_label(order, "time"))
    return hits


def gaze_points(course: PhantomCourse) -> tuple[np.ndarray, np.ndarray]:
    """Times on a plane with a fix, every 0.2 s, and where the eye was then as shares of the canvas [N, 2]."""
    track = course.gaze()
    pick = np.arange(0, len(track.time), 12)
    times, points = track.time[pick], np.stack([track.x[pick], track.y[pick]], 1)
    seen = ~np.isnan(points[:, 0]) & (plane_at(course.planes, times) != BACKGROUND)
    points = (points + 0.5) / course.phantom.size
    return times[seen], np.clip(points[seen], 0.0, 1 - 1e-6)


def blobs(centres: np.ndarray, deviation: np.ndarray | float, weights: np.ndarray | None = None) -> torch.Tensor:
    """A sum of Gaussians [MAP, MAP]; centres [N, 2] (x, y) and deviations in shares of the canvas."""
    place = (np.arange(MAP) + 0.5) / MAP
    deviation = np.broadcast_to(deviation, (2,))
    x = np.exp(-0.5 * ((place[None] - centres[:, :1]) / deviation[0]) ** 2)
    y = np.exp(-0.5 * ((place[None] - centres[:, 1:]) / deviation[1]) ** 2)
    weights = np.ones(len(centres)) if weights is None else weights
    return torch.from_numpy(np.einsum("n,ni,nj->ij", weights, y, x))


def gaze_scores(courses: list[PhantomCourse]) -> tuple[float, float, float]:
    """NSS of the gaze on planes under a centre prior, the map of the other scans' gaze, and the true landmarks.

    The centre prior is one Gaussian with the mean and deviation of the other scans' gaze.
    """
    tracks = [gaze_points(course) for course in courses]
    scores: list[list[float]] = [[], [], []]
    for number, (course, (times, points)) in enumerate(zip(courses, tracks)):
        if not len(points):
            continue
        others = np.concatenate([track[1] for k, track in enumerate(tracks) if k != number])
        centre = blobs(others.mean(0, keepdims=True), others.std(0))
        habit = blobs(others[:: max(1, len(others) // 2000)], 0.03)
        fixations = torch.zeros(len(points), MAP, MAP, dtype=torch.bool)
        column, row = (points * MAP).astype(int).T
        fixations[np.arange(len(points)), row, column] = True
        truth = []
        for time in times:
            marks = np.array([(float(a[0]), float(b[0])) for a, b in course.landmarks(np.array([time]))])
            across, down = to_pixels(marks[:, 0], marks[:, 1], MAP)
            truth.append(blobs((np.stack([across, down], 1) + 0.5) / MAP, 0.025, 0.5 ** np.arange(len(marks))))
        guesses = (centre.expand_as(fixations), habit.expand_as(fixations), torch.stack(truth))
        for scored, guess in zip(scores, guesses):
            scored += compute_nss(guess, fixations).tolist()
    centre_nss, habit_nss, truth_nss = (float(np.nanmean(scored)) for scored in scores)
    return centre_nss, habit_nss, truth_nss


def picture_measures(phantom: Phantom, scans: int) -> dict[str, float]:
    """The table's rows about pictures and gaze."""
    frames, labels, groups, hits = [], [], [], []
    for index in range(scans):
        course = phantom.course(index)
        times, planes = visit_times(course)
        if len(times):
            frames.append(small_frames(course, times))
            labels += planes
            groups += [index] * len(times)
        hits += order_hits(course, np.random.RandomState(index))
    centre, habit, truth = gaze_scores([phantom.course(index) for index in range(scans)])
    return {
        "plane by a linear probe of raw pixels, macro-F1": pixel_probe(
            np.concatenate(frames), np.array(labels), np.array(groups)
        ),
        "frame order by the shortest path (chance 0.083)": float(np.mean(hits)),
        "gaze NSS of a centre prior": centre,
        "gaze NSS of the other scans' gaze": habit,
        "gaze NSS of the true landmarks": truth,
    }
