# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""From moving primitives to a scan-converted B-mode picture.

Everything up to the log envelope is computed on a polar (depth x beam) grid; one interpolation takes it to the canvas:
echo map -> specular walls -> attenuation along the beam (shadows, enhancement) -> scatterers -> point spread function
-> electronic noise -> envelope -> logarithm -> grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from monai_usspeech.phantom.geometry import SectorGeometry
from monai_usspeech.phantom.motion import Motion, contraction
from monai_usspeech.phantom.nuisance import stretched
from monai_usspeech.phantom.primitives import Primitive
from monai_usspeech.phantom.speckle import ScattererLattice, blur_polar, noise_bank

__all__ = ["Look", "Renderer"]

_CONTRAST = 1.35  # echo levels are raised to this power; without it organs drown in speckle


@dataclass(frozen=True)
class Look:
    """Settings of the scanner and the patient that stay the same during a scan.

    Args:
        gain: overall gain, dB. dynamic_range: dB between black and white.
        slope: error of the time-gain compensation, dB over the depth of the picture.
        noise: electronic noise at full depth, dB relative to unit tissue.
        lateral, axial: widths of the point spread function as shares of 1/96 of the fan and 1/192 of the depth.
        tissue: echogenicity of the surroundings. layers: (depth, width, echo, waviness) of each near-field layer.
    """

    gain: float = 0.0
    dynamic_range: float = 48.0
    slope: float = 0.0
    noise: float = -34.0
    lateral: float = 1.0
    axial: float = 1.1
    tissue: float = 0.45
    layers: tuple[tuple[float, float, float, float], ...] = ((0.1, 0.02, 2.0, 0.3),)

    @classmethod
    def random(cls, rng: np.random.Generator, nuisance: float = 1.0) -> Look:
        """Draw one scan's settings.

        Args:
            rng: source of the numbers. nuisance: factor on the spread of all but the layers, in 0..2.
        """
        layers, radius = [], 0.04
        for _ in range(int(rng.integers(2, 5))):
            radius += rng.uniform(0.04, 0.1)
            layers.append((radius, rng.uniform(0.008, 0.02), rng.uniform(1.2, 2.4), rng.uniform(-0.3, 0.3)))

        def draw(low: float, high: float) -> float:
            return stretched(rng.uniform(low, high), 0.5 * (low + high), nuisance)

        return cls(
            gain=draw(-4.0, 4.0),
            dynamic_range=draw(42.0, 54.0),
            slope=draw(-7.0, 5.0),
            noise=draw(-40.0, -28.0),
            lateral=draw(0.75, 1.2),
            axial=draw(0.9, 1.4),
            tissue=draw(0.3, 0.5),
            layers=tuple(layers),
        )


class Renderer:
    """Draws frames of one scan.

    Args:
        geometry: the fan. look: the scanner's settings.
        size: canvas height and width, pixels.
        grid: beams and depth samples of the polar grid.
        rng: source of the scatterers and of the electronic noise.
    """

    def __init__(
        self, geometry: SectorGeometry, look: Look, size: int, grid: tuple[int, int], rng: np.random.Generator
    ) -> None:
        beams, depth = grid
        self.geometry, self.look, self.size, self.grid = geometry, look, size, grid
        radius, angle = geometry.polar_grid(beams, depth)
        self.step = float(radius[1] - radius[0])
        self.x = (radius[:, None] * angle.sin()[None, :])[None]
        self.y = (geometry.apex_y + radius[:, None] * angle.cos()[None, :])[None]
        self.beam_angle = angle
        share = (radius - radius[0]) / (radius[-1] - radius[0])
        self.receive = (10 ** ((look.slope * (share - 0.4)) / 20))[:, None]
        self.noise_level = (10 ** ((look.noise - 22 * (1 - share)) / 20))[:, None]
        wall = max((layer[0] for layer in look.layers), default=0.0) + 0.12
        self.wall = int((depth - 1) * wall / float(radius[-1] - radius[0]))
        self.near = self._near_field(radius, angle)
        coarsest = max(geometry.outer_radius * float(angle[1] - angle[0]), self.step)
        self.lattice = ScattererLattice(rng, 0.6 * coarsest)
        self.noise = noise_bank(rng, depth, beams)
        self.lateral, self.axial = look.lateral * beams / 96, look.axial * depth / 192
        field = blur_polar(self.lattice.sample(self.x, self.y, np.zeros(1)), self.lateral, self.axial)
        self.unit = float(field.square().sum(1).mean()) ** -0.5  # unit tissue has unit intensity behind the blur
        self.pixels, self.lookup = geometry.canvas_lookup(size)

    def _near_field(self, radius: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
        """Echo of uterus and abdominal wall: soft tissue crossed by bright layers near the transducer."""
        depth = (radius - radius[0])[:, None]
        echo = torch.full((len(radius), len(angle)), self.look.tissue**_CONTRAST)
        for centre, width, level, wave in self.look.layers:
            middle = centre + 0.06 * torch.sin(4 * wave * angle + 9 * wave)[None, :]
            echo += (level**_CONTRAST) * torch.exp(-0.5 * ((depth - middle) / width) ** 2)
        return echo[None]

    def _paint(
        self, shape: Primitive, motion: Motion, x: torch.Tensor, y: torch.Tensor, echo: torch.Tensor, loss: torch.Tensor
    ) -> None:
        """Blend one primitive (image units) over the echo and attenuation maps [B, depth, beams], in place."""
        shrink = np.sqrt(np.maximum(1 - ((motion.offset - shape.z) / shape.extent) ** 2, 0.0))
        if shrink.max() < 0.12:
            return
        shrink = shrink * (1 + shape.beat * (0.5 - contraction(motion.cycle + shape.phase)))
        # +0.05: breathing bends the picture a little beyond the centre's own shift
        rows, columns = self.geometry.polar_box(*motion.to_image(shape.x, shape.y), shape.reach + 0.05, *self.grid)
        if rows.stop <= rows.start or columns.stop <= columns.start:
            return
        window = (slice(None), rows, columns)
        c, s = float(np.cos(shape.angle)), float(np.sin(shape.angle))
        scale = torch.from_numpy(1.0 / np.maximum(shrink, 0.02)).float()[:, None, None]
        px, py = x[window], y[window]
        u = (px * c).add_(py, alpha=s).sub_(c * shape.x + s * shape.y).mul_(scale)
        v = (py * c).sub_(px, alpha=s).sub_(c * shape.y - s * shape.x).mul_(scale)
        cover, level = _coverage(shape, u, v)
        cover = cover * torch.from_numpy(shrink > 0.02).float()[:, None, None]
        if shape.echo > 1.4 and shape.kind != "disc":
            level = level * _specular(shape, u, v, self.beam_angle[columns], motion.rotation)
        target = echo[window]
        target += cover * (level - target)
        target = loss[window]
        target += cover * (shape.attenuation - target)

    def frames(self, shapes: Sequence[Primitive], motion: Motion, noise_at: np.ndarray) -> torch.Tensor:
        """Draw a batch of frames of one sweep.

        Args:
            shapes: primitives in painting order, image units.
            motion: state of the tissue at the B frames.
            noise_at: [B, 2] numbers in [0, 1): where in the noise bank each frame's noise is cut.

        Returns:
            uint8 [B, N]: the fan's pixels (:attr:`pixels` are their flat numbers).
        """
        beams, depth = self.grid
        x, y = self._tissue_coordinates(motion)
        echo = self.near.repeat(len(motion.dx), 1, 1)
        loss = torch.zeros_like(echo)
        for shape in shapes:
            self._paint(shape, motion, x, y, echo, loss)
        # the maternal wall lies in front of everything that moves behind it
        fade = torch.linspace(4.0, 0.0, self.wall).clamp_(max=1.0)[:, None]
        echo[:, : self.wall] += fade * (self.near[:, : self.wall] - echo[:, : self.wall])
        loss[:, : self.wall] *= 1 - fade
        through = torch.exp(loss.cumsum(dim=1).mul_(-self.step)).mul_(self.receive)
        field = self.lattice.sample(x, y, motion.offset).mul_((echo * through).mul_(self.unit)[:, None])
        field = blur_polar(field, self.lateral, self.axial)
        for frame, (row, column) in enumerate((noise_at * (depth, beams)).astype(int)):
            window = self.noise[:, row : row + depth, column : column + beams]
            field[frame].addcmul_(window, self.noise_level)
        envelope = field.square_().sum(dim=1).clamp_(min=1e-12)
        level = envelope.log10_().mul_(10.0).add_(self.look.gain + self.look.dynamic_range - 13.0)
        grey = level.mul_(255.0 / self.look.dynamic_range).clamp_(0.0, 255.0)
        lookup = self.lookup.expand(len(grey), -1, -1, -1)
        return F.grid_sample(grey[:, None], lookup, align_corners=True)[:, 0, 0].round_().to(torch.uint8)

    def _tissue_coordinates(self, motion: Motion) -> tuple[torch.Tensor, torch.Tensor]:
        """The tissue point under every polar sample [B, depth, beams]: :meth:`Motion.to_image` turned round."""
        dx, dy, rotation, breath = (
            torch.from_numpy(path).float()[:, None, None]
            for path in (motion.dx, motion.dy, motion.rotation, motion.breath)
        )
        row = (self.y - 0.3 * breath) / (1 + 0.4 * breath)
        u, v = self.x - dx, row - dy - 1.15
        c, s = rotation.cos(), rotation.sin()
        return c * u + s * v, c * v - s * u + 1.15


def _coverage(shape: Primitive, u: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | float]:
    """How much of each sample the shape covers (0..1), and its amplitude."""
    level = shape.echo**_CONTRAST
    if shape.kind == "bar":
        distance = torch.hypot((u.abs() - shape.a).clamp_(min=0.0), v)
        edge = max(0.012, 0.25 * shape.b)
        return distance.mul_(-1 / edge).add_(0.5 + shape.b / edge).clamp_(0.0, 1.0), level
    radius = ((u / shape.a).square_() + (v / shape.b).square_()).sqrt_()
    mean = (shape.a * shape.b) ** 0.5
    if shape.kind == "ring":
        return (radius - 1).abs_().mul_(-2 * mean / shape.width).add_(1.5).clamp_(0.0, 1.0), level
    edge = max(0.012, 0.06 * mean) / mean
    return radius.mul_(-1 / edge).add_(0.5 + 1 / edge).clamp_(0.0, 1.0), level


def _specular(
    shape: Primitive, u: torch.Tensor, v: torch.Tensor, beam: torch.Tensor, rotation: np.ndarray
) -> torch.Tensor:
    """Angle dependence of a wall's echo: 0.35 + 0.65 |cos|^1.5 of the angle between its normal and the beam."""
    turn = torch.from_numpy(rotation + shape.angle).float()[:, None, None]
    across = torch.sin(beam + turn)  # components of the beam's direction along the shape's own axes
    along = torch.cos(beam + turn)
    if shape.kind == "bar":
        cosine = along.abs()
    else:
        nu, nv = u / shape.a**2, v / shape.b**2
        cosine = (nu * across + nv * along).abs() / torch.hypot(nu, nv).clamp_(min=1e-6)
    return 0.35 + 0.65 * cosine.pow(1.5)
