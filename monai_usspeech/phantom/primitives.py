# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The three shapes that all anatomy of the phantom is made of: discs, rings and bars.

A shape lives in *anatomy units* (a fetal cross-section has a radius of about 1; x to the right, y downwards) and has an
out-of-plane centre and extent: a slice at offset z shows it shrunk by sqrt(1 - ((z - z0) / extent)^2), as the
cross-section of an ellipsoid shrinks, and not at all beyond its extent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Placement", "Primitive", "bar", "disc", "fluid", "ring"]


@dataclass(frozen=True)
class Primitive:
    """One analytic shape with its acoustic properties.

    Args:
        kind: ``"disc"`` (filled ellipse), ``"ring"`` (ellipse outline) or ``"bar"`` (capsule).
        x, y: centre.
        a, b: semi-axes of an ellipse, or half length and radius of a bar.
        angle: direction of the a axis, radians.
        echo: echogenicity: 0.03 fluid, 0.5 soft tissue, 5 bone.
        attenuation: amplitude loss in nepers per anatomy unit beyond that of soft tissue (fluid: negative).
        width: wall thickness of a ring.
        z: out-of-plane centre. extent: out-of-plane half extent.
        beat: relative change of size over a heart cycle. phase: cycle offset in [0, 1).
    """

    kind: str
    x: float
    y: float
    a: float
    b: float
    angle: float = 0.0
    echo: float = 0.5
    attenuation: float = 0.0
    width: float = 0.0
    z: float = 0.0
    extent: float = 0.5
    beat: float = 0.0
    phase: float = 0.0

    @property
    def reach(self) -> float:
        """Radius of a circle around the centre that holds the shape."""
        return (self.a + self.b if self.kind == "bar" else max(self.a, self.b) + self.width) * (1 + self.beat)

    def vary(
        self, rng: np.random.Generator, position: float = 0.035, size: float = 0.09, nuisance: float = 1.0
    ) -> Primitive:
        """The same shape in another fetus: moved, resized and of another brightness.

        Args:
            rng: source of the numbers.
            position: standard deviation of the shift, anatomy units.
            size: standard deviation of the log size.
            nuisance: factor on all three spreads; 0 gives the shape itself.
        """
        dx, dy = rng.normal(0.0, position, 2) * nuisance
        a, b = np.exp(rng.normal(0.0, size, 2) * nuisance)
        echo = math.exp(rng.uniform(math.log(0.75), math.log(1.3)) * nuisance)
        small = min(1.0, 2.0 * max(self.a, self.b))  # a small structure stays where its neighbours expect it
        return replace(
            self, x=self.x + dx * small, y=self.y + dy * small, a=self.a * a, b=self.b * b, echo=self.echo * echo
        )


def disc(x: float, y: float, a: float, b: float | None = None, angle: float = 0.0, **properties: float) -> Primitive:
    """A filled ellipse (a circle when ``b`` is left out)."""
    return Primitive("disc", x, y, a, a if b is None else b, angle, **properties)


def fluid(x: float, y: float, a: float, b: float | None = None, angle: float = 0.0, **properties: float) -> Primitive:
    """A filled ellipse of fluid: anechoic, and sound behind it is less attenuated."""
    return disc(x, y, a, b, angle, **{"echo": 0.03, "attenuation": -0.5, **properties})


def ring(x: float, y: float, a: float, b: float, width: float, angle: float = 0.0, **properties: float) -> Primitive:
    """An elliptic wall; a specular reflector, brightest where the beam meets it head on."""
    return Primitive("ring", x, y, a, b, angle, width=width, **properties)


def bar(x0: float, y0: float, x1: float, y1: float, radius: float, **properties: float) -> Primitive:
    """A capsule around the segment from (x0, y0) to (x1, y1)."""
    half = 0.5 * math.hypot(x1 - x0, y1 - y0)
    return Primitive("bar", (x0 + x1) / 2, (y0 + y1) / 2, half, radius, math.atan2(y1 - y0, x1 - x0), **properties)


@dataclass(frozen=True)
class Placement:
    """How anatomy units lie in the image: mirror, then rotate, scale and shift.

    Args:
        x, y: image position of the anatomy's origin.
        rotation: radians. scale: image units per anatomy unit. mirror: flip the x axis first.
    """

    x: float = 0.0
    y: float = 1.15
    rotation: float = 0.0
    scale: float = 0.5
    mirror: bool = False

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Anatomy units to image units."""
        x = -x if self.mirror else x
        c, s = math.cos(self.rotation), math.sin(self.rotation)
        return self.x + self.scale * (c * x - s * y), self.y + self.scale * (s * x + c * y)

    def primitive(self, shape: Primitive) -> Primitive:
        """The shape in image units (out-of-plane offsets keep their own unit)."""
        x, y = self.point(shape.x, shape.y)
        angle = (math.pi - shape.angle if self.mirror else shape.angle) + self.rotation
        size = self.scale
        loss = shape.attenuation / size
        return replace(
            shape, x=x, y=y, a=shape.a * size, b=shape.b * size, width=shape.width * size, angle=angle, attenuation=loss
        )
