# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What lies around a standard plane, and what passes by while the sonographer searches for the next one."""

from __future__ import annotations

import math

import numpy as np

from monai_usspeech.phantom.anatomy import Anatomy
from monai_usspeech.phantom.primitives import Primitive, bar, disc, fluid, ring

__all__ = ["background_anatomy", "surroundings", "womb"]


def _limb(rng: np.random.Generator, x: float, y: float, **depth: float) -> list[Primitive]:
    radius = rng.uniform(0.22, 0.36)
    shapes = [
        disc(x, y, radius, radius * 0.9, echo=0.5, **depth),
        ring(x, y, radius, radius * 0.9, 0.04, echo=1.5, **depth),
    ]
    return [*shapes, disc(x, y, 0.3 * radius, echo=4.0, attenuation=7.0, **depth)]


def _cord(rng: np.random.Generator, x: float, y: float, **depth: float) -> list[Primitive]:
    angle = rng.uniform(0, 2 * np.pi)
    steps = [(x + 0.17 * k * math.cos(angle), y + 0.17 * k * math.sin(angle)) for k in range(3)]
    shapes = [disc(*p, 0.11, 0.09, echo=1.3, **depth) for p in steps]
    return shapes + [fluid(*p, 0.05, **depth) for p in steps]


def _hand(rng: np.random.Generator, x: float, y: float, **depth: float) -> list[Primitive]:
    fan = rng.uniform(0, 2 * np.pi) + np.linspace(-0.5, 0.5, 4)
    ends = [(x + 0.35 * math.cos(a), y + 0.35 * math.sin(a)) for a in fan]
    return [
        disc(x, y, 0.17, echo=0.6, **depth),
        *(bar(x, y, *p, 0.035, echo=2.6, attenuation=2.0, **depth) for p in ends),
    ]


def _placenta(rng: np.random.Generator, x: float, y: float, **depth: float) -> list[Primitive]:
    return [disc(x, y, rng.uniform(0.7, 1.2), rng.uniform(0.25, 0.45), rng.uniform(-0.5, 0.5), echo=1.0, **depth)]


def _pocket(rng: np.random.Generator, x: float, y: float, **depth: float) -> list[Primitive]:
    return [fluid(x, y, rng.uniform(0.3, 0.8), rng.uniform(0.2, 0.5), rng.uniform(0, np.pi), **depth)]


def _body(rng: np.random.Generator, x: float, y: float, **depth: float) -> list[Primitive]:
    """An oblique cut through trunk or head that shows no standard plane."""
    a, b, angle = rng.uniform(0.7, 1.0), rng.uniform(0.55, 0.8), rng.uniform(0, np.pi)
    bone = rng.random() < 0.4
    wall = {"echo": 3.5, "attenuation": 4.0} if bone else {"echo": 1.6}
    shapes = [
        disc(x, y, a, b, angle, echo=rng.uniform(0.3, 0.7), **depth),
        ring(x, y, a, b, 0.06, angle, **wall, **depth),
    ]
    for _ in range(int(rng.integers(1, 5))):
        u, v = rng.uniform(-0.5, 0.5, 2)
        size, turn = rng.uniform(0.08, 0.3, 2), rng.uniform(0, np.pi)
        shapes.append(disc(x + u, y + v, size[0], size[1], turn, echo=float(rng.choice([0.05, 0.8, 1.2])), **depth))
    side = 1 if rng.random() < 0.5 else -1
    spine = [(x + side * 0.4 * a, y + 0.12 * k) for k in range(int(rng.integers(0, 4)))]
    return [*shapes, *(disc(*p, 0.06, echo=4.0, attenuation=9.0, **depth) for p in spine)]


def background_anatomy(rng: np.random.Generator) -> Anatomy:
    """What passes by while no standard plane is on the screen: oblique cuts, limbs, cord, a hand, fluid."""
    shapes: list[Primitive] = []
    for build, least, most in ((_pocket, 1, 2), (_body, 1, 2), (_limb, 1, 3), (_cord, 1, 2), (_hand, 0, 1)):
        for _ in range(int(rng.integers(least, most + 1))):
            shapes += build(rng, *rng.uniform(-1.2, 1.2, 2), z=rng.uniform(-0.7, 0.7), extent=rng.uniform(0.5, 0.9))
    return Anatomy(tuple(shapes))


def womb(rng: np.random.Generator) -> list[Primitive]:
    """What stays in view during a whole scan, behind everything else: the placenta and pools of fluid."""
    angle = rng.uniform(0, 2 * np.pi)
    where = (1.3 * math.cos(angle), 1.0 * math.sin(angle))
    shapes = _placenta(rng, *where, z=rng.uniform(-1, 1), extent=4.0)
    for _ in range(int(rng.integers(1, 4))):
        shapes += _pocket(rng, *rng.uniform(-1.5, 1.5, 2), z=rng.uniform(-1, 1), extent=rng.uniform(2.2, 4.0))
    return shapes


def surroundings(rng: np.random.Generator, pocket_share: float = 0.6) -> list[Primitive]:
    """What lies around a plane: often a pocket of amniotic fluid, and one to three bystanders near the fan's edge.

    Args:
        rng: source of the numbers.
        pocket_share: probability that the fetus is seen within fluid.
    """
    shapes: list[Primitive] = []
    if rng.random() < pocket_share:
        x, y = rng.normal(0, 0.2, 2)
        shapes.append(fluid(x, y, rng.uniform(1.2, 1.6), rng.uniform(1.05, 1.35), extent=1.35))
    for _ in range(int(rng.integers(1, 4))):
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(1.35, 1.8)
        build = (_limb, _cord, _pocket)[int(rng.integers(3))]
        where = (radius * math.cos(angle), radius * math.sin(angle))
        shapes += build(rng, *where, z=rng.uniform(-0.5, 0.5), extent=rng.uniform(0.6, 1.1))
    return shapes
