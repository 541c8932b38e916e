# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The 13 standard planes as lists of primitives.

Anatomy units: a fetal cross-section has a radius of about 1. Several planes are alike on purpose, as they are in life:
the trunk's wall and spine are shared by six planes, the skull by two, and both spine views are rows of bone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from monai_usspeech.phantom.primitives import Primitive, bar, disc, fluid, ring

__all__ = ["ORGANS", "PLANE_BUILDERS", "Anatomy", "plane_anatomy"]

#: which organ word fits a plane
ORGANS = {
    "3VT": "heart", "4CH": "heart", "LVOT": "heart", "RVOT": "heart", "abdomen": "tummy", "kidneys": "tummy",
    "femur": "leg", "BrainTv": "brain", "BrainTc": "brain", "lips": "face", "profile": "face",
    "SpineCor": "spine", "SpineSag": "spine",
}  # fmt: skip


@dataclass(frozen=True)
class Anatomy:
    """What one plane shows.

    Args:
        shapes: primitives in painting order, anatomy units.
        targets: (x, y) points that a sonographer looks at, the most important first; empty for background.
    """

    shapes: tuple[Primitive, ...]
    targets: tuple[tuple[float, float], ...] = ()


def _trunk(echo: float = 0.5, lungs: bool = True) -> list[Primitive]:
    """Cross-section of the trunk: wall, ribs, spine and its shadow."""
    shapes = [disc(0, 0, 1.0, 0.92, echo=echo, extent=1.3), ring(0, 0, 1.0, 0.92, 0.06, echo=1.6, extent=1.3)]
    if lungs:
        shapes += [disc(s * 0.5, 0.22, 0.36, 0.45, echo=0.75, extent=1.2) for s in (-1, 1)]
    for angle in (-2.75, -2.2, -0.95, -0.4, 0.15, 2.95):
        x, y = 0.93 * math.cos(angle), 0.86 * math.sin(angle)
        along = (-0.12 * math.sin(angle), 0.12 * math.cos(angle))
        edges = (x - along[0], y - along[1], x + along[0], y + along[1])
        shapes.append(bar(*edges, 0.03, echo=3.2, attenuation=9.0, extent=1.1))
    shapes += [disc(0, 0.66, 0.12, 0.09, echo=4.0, attenuation=10.8, extent=1.2)]
    shapes += [bar(s * 0.1, 0.84, s * 0.2, 0.76, 0.035, echo=4.0, attenuation=10.8, extent=1.2) for s in (-1, 1)]
    return shapes


_HEART = (-0.1, -0.12)
_AXIS = -2.25  # direction of the apex, radians


def _heart_point(u: float, v: float) -> tuple[float, float]:
    """Heart axes (u towards the apex, v across) to anatomy units."""
    c, s = math.cos(_AXIS), math.sin(_AXIS)
    return _HEART[0] + c * u - s * v, _HEART[1] + s * u + c * v


def _chamber(u: float, v: float, a: float, b: float, beat: float, phase: float = 0.0, turn: float = 0.0) -> Primitive:
    return fluid(*_heart_point(u, v), a, b, _AXIS + turn, beat=beat, phase=phase, extent=0.5)


def _vessel(*points: tuple[float, float], lumen: float, wall: float = 0.03, beat: float = 0.07) -> list[Primitive]:
    """A tube through the points: bright walls first, then the lumen."""
    pieces = list(zip(points[:-1], points[1:]))
    walls = [bar(*p, *q, lumen + wall, echo=1.8, beat=beat, extent=0.45) for p, q in pieces]
    return walls + [bar(*p, *q, lumen, echo=0.03, attenuation=-0.4, beat=beat, extent=0.45) for p, q in pieces]


def _heart_body() -> Primitive:
    return disc(*_heart_point(0.05, 0), 0.6, 0.44, _AXIS, echo=1.0, beat=0.02, extent=0.75)


def _aorta_behind() -> Primitive:
    return fluid(-0.17, 0.47, 0.075, echo=0.04, beat=0.08, extent=1.0)


def _four_chamber() -> Anatomy:
    shapes = [*_trunk(), _heart_body(), _aorta_behind()]
    shapes += [_chamber(0.25, s * 0.185, 0.27, 0.13, 0.2) for s in (-1, 1)]
    shapes += [_chamber(-0.24, s * 0.17, 0.16, 0.13, 0.15, 0.5) for s in (-1, 1)]
    crux, apex, roof = _heart_point(0, 0), _heart_point(0.52, 0), _heart_point(-0.36, 0)
    shapes += [bar(*crux, *apex, 0.035, echo=1.5, extent=0.5), bar(*crux, *roof, 0.018, echo=1.5, extent=0.5)]
    shapes += [bar(*_heart_point(-0.01, -0.28), *_heart_point(0.02, 0.28), 0.022, echo=2.4, extent=0.45)]
    return Anatomy(tuple(shapes), (crux, _heart_point(0.25, 0), _heart_point(-0.24, 0)))


def _left_outflow() -> Anatomy:
    shapes = [*_trunk(), _heart_body(), _aorta_behind()]
    shapes += [_chamber(0.22, -0.06, 0.32, 0.12, 0.2, turn=0.12), _chamber(0.15, 0.24, 0.28, 0.07, 0.2)]
    shapes += [_chamber(-0.24, -0.24, 0.14, 0.12, 0.15, 0.5)]
    tube = (_heart_point(-0.04, 0.0), _heart_point(-0.3, 0.07), _heart_point(-0.56, 0.3))
    shapes += _vessel(*tube, lumen=0.075)
    shapes += [bar(*_heart_point(-0.08, -0.08), *_heart_point(-0.1, 0.1), 0.018, echo=2.6, beat=0.3, extent=0.4)]
    return Anatomy(tuple(shapes), (tube[1], tube[0]))


def _right_outflow() -> Anatomy:
    shapes = [*_trunk(), _heart_body(), _aorta_behind()]
    shapes += [_chamber(0.2, 0.17, 0.25, 0.16, 0.2), _chamber(0.12, -0.26, 0.22, 0.09, 0.15, 0.5)]
    tube = (_heart_point(0.0, 0.18), _heart_point(-0.2, 0.02), (-0.08, 0.42))
    shapes += _vessel(*tube, lumen=0.085)
    ao = _heart_point(-0.34, 0.24)
    shapes += [disc(*ao, 0.14, echo=2.0, extent=0.45), fluid(*ao, 0.095, beat=0.08, extent=0.45)]
    return Anatomy(tuple(shapes), (tube[1], ao))


def _three_vessels() -> Anatomy:
    shapes = [
        *_trunk(),
        disc(0, -0.55, 0.45, 0.2, echo=0.75, extent=0.6),
        disc(0, -0.02, 0.5, 0.4, echo=0.9, extent=0.7),
    ]
    shapes += _vessel((-0.36, -0.3), (-0.08, 0.42), lumen=0.105)
    shapes += _vessel((-0.04, -0.3), (-0.02, 0.36), lumen=0.075)
    shapes += [disc(0.28, -0.22, 0.115, echo=1.8, extent=0.45), fluid(0.28, -0.22, 0.08, beat=0.08, extent=0.45)]
    shapes += [disc(0.2, 0.2, 0.09, echo=3.2, attenuation=1.8, extent=0.4), fluid(0.2, 0.2, 0.045, extent=0.4)]
    return Anatomy(tuple(shapes), ((-0.2, 0.05), (0.28, -0.22), (0.2, 0.2)))


def _abdomen() -> Anatomy:
    shapes = [*_trunk(echo=0.72, lungs=False), disc(0.3, -0.1, 0.55, 0.6, echo=0.85, extent=1.0)]
    shapes += [fluid(-0.45, 0.08, 0.28, 0.19, 0.4, extent=0.45)]
    shapes += _vessel((0.02, -0.62), (0.1, -0.3), (0.3, -0.12), lumen=0.055, wall=0.035, beat=0.0)
    shapes += [fluid(-0.13, 0.46, 0.075, beat=0.08, extent=1.0), fluid(0.15, 0.4, 0.06, extent=1.0)]
    shapes += [bar(0.45, 0.35, 0.6, 0.25, 0.03, echo=0.25, extent=0.4)]
    return Anatomy(tuple(shapes), ((-0.45, 0.08), (0.15, -0.25)))


def _kidneys() -> Anatomy:
    shapes = [*_trunk(echo=0.68, lungs=False), disc(0.1, -0.4, 0.5, 0.32, echo=0.85, extent=0.8)]
    for side in (-1, 1):
        x, y, turn = side * 0.43, 0.38, side * 0.35
        shapes += [
            disc(x, y, 0.33, 0.26, turn, echo=0.2, extent=0.5),
            ring(x, y, 0.33, 0.26, 0.05, turn, echo=1.9, extent=0.5),
        ]
        shapes += [disc(x, y, 0.16, 0.09, turn, echo=1.5, extent=0.45), fluid(x, y, 0.1, 0.05, turn, extent=0.4)]
    shapes += [fluid(-0.08, 0.44, 0.06, beat=0.08, extent=1.0)]
    return Anatomy(tuple(shapes), ((-0.43, 0.38), (0.43, 0.38)))


def _femur() -> Anatomy:
    shapes = [
        disc(0, 0.05, 1.25, 0.5, 0.05, echo=0.42, extent=0.9),
        ring(0, 0.05, 1.25, 0.5, 0.05, 0.05, echo=1.5, extent=0.9),
    ]
    shapes += [bar(-0.9, s, 0.85, s * 1.1, 0.02, echo=0.9, extent=0.7) for s in (-0.24, 0.28)]
    shapes += [bar(-0.62, 0.0, 0.62, 0.06, 0.06, echo=5.0, attenuation=25.2, extent=0.45)]
    shapes += [disc(s * 0.66, 0.03 + s * 0.03, 0.11, 0.1, echo=3.2, attenuation=14.4, extent=0.4) for s in (-1, 1)]
    return Anatomy(tuple(shapes), ((-0.62, 0.0), (0.62, 0.06)))


def _skull() -> list[Primitive]:
    shapes = [
        disc(0, 0, 1.15, 0.86, echo=0.3, extent=1.3),
        ring(0, 0, 1.15, 0.86, 0.075, echo=4.0, attenuation=3.6, extent=1.3),
    ]
    shapes += [bar(-1.05, 0, -0.58, 0, 0.02, echo=1.6, extent=1.0), bar(-0.26, 0, 1.05, 0, 0.02, echo=1.5, extent=0.9)]
    shapes += [bar(-0.55, s * 0.075, -0.3, s * 0.075, 0.016, echo=2.0, extent=0.5) for s in (-1, 1)]
    return [*shapes, fluid(-0.42, 0, 0.12, 0.05, extent=0.45)]


def _transventricular() -> Anatomy:
    shapes = _skull()
    for side in (-1, 1):
        shapes += [disc(0.4, side * 0.37, 0.46, 0.16, -side * 0.22, echo=1.5, extent=0.5)]
        shapes += [fluid(0.4, side * 0.37, 0.43, 0.125, -side * 0.22, extent=0.5)]
        shapes += [disc(0.33, side * 0.38, 0.24, 0.09, -side * 0.22, echo=1.7, extent=0.45)]
        shapes += [fluid(-0.55, side * 0.2, 0.17, 0.05, side * 0.4, echo=0.05, extent=0.45)]
    return Anatomy(tuple(shapes), ((0.55, 0.37), (-0.42, 0.0), (0.55, -0.37)))


def _transcerebellar() -> Anatomy:
    shapes = [*_skull(), fluid(0.93, 0, 0.13, 0.36, extent=0.45)]
    shapes += [disc(0.02, s * 0.17, 0.24, 0.14, s * 0.25, echo=0.14, extent=0.5) for s in (-1, 1)]
    for side in (-1, 1):
        shapes += [disc(0.64, side * 0.25, 0.21, 0.24, echo=0.6, extent=0.45)]
        shapes += [ring(0.64, side * 0.25, 0.21, 0.24, 0.04, echo=1.9, extent=0.45)]
    return Anatomy((*shapes, disc(0.62, 0, 0.08, 0.09, echo=1.8, extent=0.4)), ((0.64, 0.22), (0.9, 0.0), (-0.42, 0.0)))


def _profile() -> Anatomy:
    shapes = [fluid(0.0, -0.75, 1.7, 0.9, extent=0.9), disc(-0.45, 0.35, 0.85, 0.8, echo=0.45, extent=0.8)]
    shapes += [ring(-0.45, 0.35, 0.8, 0.75, 0.06, echo=3.8, attenuation=5.4, extent=0.7)]
    shapes += [disc(0.42, 0.3, 0.55, 0.42, echo=0.55, extent=0.7), disc(0.6, 0.75, 0.5, 0.4, echo=0.5, extent=0.8)]
    shapes += [disc(0.2, -0.3, 0.17, 0.13, 0.5, echo=0.75, extent=0.4)]
    shapes += [bar(-0.02, -0.33, 0.14, -0.36, 0.03, echo=4.5, attenuation=10.8, extent=0.35)]
    shapes += [
        disc(0.46, -0.17, 0.1, 0.075, 0.4, echo=0.9, extent=0.35),
        disc(0.6, -0.07, 0.1, 0.075, 0.4, echo=0.9, extent=0.35),
    ]
    shapes += [disc(0.82, 0.1, 0.17, 0.15, echo=0.7, extent=0.45)]
    shapes += [bar(0.25, 0.02, 0.45, 0.07, 0.035, echo=4.0, attenuation=10.8, extent=0.4)]
    shapes += [bar(0.55, 0.28, 0.8, 0.2, 0.04, echo=4.0, attenuation=10.8, extent=0.4)]
    return Anatomy(tuple(shapes), ((0.12, -0.33), (0.52, -0.12), (0.82, 0.1)))


def _lips() -> Anatomy:
    shapes = [fluid(0, -0.45, 1.4, 1.0, extent=0.9), disc(0, 0.75, 0.95, 0.5, echo=0.5, extent=0.8)]
    shapes += [disc(s * 0.55, 0.25, 0.38, 0.42, echo=0.6, extent=0.6) for s in (-1, 1)]
    shapes += [disc(0, -0.32, 0.36, 0.26, echo=0.85, extent=0.4)]
    shapes += [fluid(s * 0.15, -0.24, 0.065, 0.075, echo=0.04, extent=0.35) for s in (-1, 1)]
    shapes += [
        bar(-0.36, 0.08, 0.36, 0.08, 0.12, echo=1.2, extent=0.4),
        disc(0, 0.0, 0.05, 0.06, echo=0.4, extent=0.35),
    ]
    shapes += [
        bar(-0.4, 0.245, 0.4, 0.245, 0.025, echo=0.05, extent=0.4),
        bar(-0.28, 0.39, 0.28, 0.39, 0.1, echo=1.1, extent=0.4),
    ]
    shapes += [
        disc(0, 0.72, 0.34, 0.2, echo=0.8, extent=0.5),
        bar(-0.3, 0.95, 0.3, 0.95, 0.04, echo=3.5, attenuation=9.0, extent=0.5),
    ]
    return Anatomy(tuple(shapes), ((0, 0.08), (0.15, -0.24), (-0.15, -0.24)))


def _sagittal_spine() -> Anatomy:
    shapes = [disc(0, 0.25, 1.6, 0.75, echo=0.5, extent=0.9), ring(0, 0.25, 1.6, 0.75, 0.05, echo=1.4, extent=0.9)]
    path = [(x, -0.1 + 0.16 * x * x + 0.06 * x) for x in np.linspace(-1.3, 1.25, 13)]
    shapes += [bar(*p, *q, 0.07, echo=0.06, extent=0.4) for p, q in zip(path[:-1:3], path[3::3])]
    for x, y in path:
        gap = 0.17 * (1 - 0.45 * max(x, 0) / 1.25)  # the canal narrows towards the sacrum
        shapes += [bar(x - 0.045, y + gap, x + 0.045, y + gap, 0.05, echo=4.5, attenuation=12.6, extent=0.45)]
        shapes += [bar(x - 0.03, y - gap, x + 0.04, y - gap + 0.02, 0.03, echo=3.5, attenuation=7.2, extent=0.4)]
    return Anatomy(tuple(shapes), ((0.95, 0.15), (0.0, -0.1), (-0.9, 0.0)))


def _coronal_spine() -> Anatomy:
    shapes = [disc(0, 0, 1.6, 0.85, echo=0.5, extent=0.9)]
    shapes += [disc(-0.75, s * 0.45, 0.6, 0.3, echo=0.75, extent=0.6) for s in (-1, 1)]
    for x in np.linspace(-1.25, 1.15, 12):
        gap = 0.15 * (1 - 0.75 * max(x - 0.55, 0))
        shapes += [
            bar(x - 0.04, s * gap, x + 0.04, s * gap, 0.042, echo=4.3, attenuation=9.0, extent=0.45) for s in (-1, 1)
        ]
    for x in (-1.1, -0.8, -0.5, -0.2):
        shapes += [bar(x, s * 0.26, x + 0.24, s * 0.72, 0.028, echo=2.8, attenuation=5.4, extent=0.5) for s in (-1, 1)]
    shapes += [bar(0.72, s * 0.34, 1.1, s * 0.52, 0.06, echo=4.0, attenuation=12.6, extent=0.4) for s in (-1, 1)]
    return Anatomy(tuple(shapes), ((0.0, 0.0), (0.85, 0.0), (-0.85, 0.0)))


#: plane name -> function that returns its mean anatomy
PLANE_BUILDERS: dict[str, Callable[[], Anatomy]] = {
    "3VT": _three_vessels, "4CH": _four_chamber, "abdomen": _abdomen, "femur": _femur, "BrainTv": _transventricular,
    "kidneys": _kidneys, "LVOT": _left_outflow, "lips": _lips, "profile": _profile, "RVOT": _right_outflow,
    "BrainTc": _transcerebellar, "SpineCor": _coronal_spine, "SpineSag": _sagittal_spine,
}  # fmt: skip


def plane_anatomy(plane: str, rng: np.random.Generator, nuisance: float = 1.0) -> Anatomy:
    """One fetus' version of a standard plane.

    Args:
        plane: one of the 13 names in :data:`PLANE_BUILDERS`.
        rng: source of the individual variation.
        nuisance: factor on that variation.
    """
    mean = PLANE_BUILDERS[plane]()
    return Anatomy(tuple(shape.vary(rng, nuisance=nuisance) for shape in mean.shapes), mean.targets)
