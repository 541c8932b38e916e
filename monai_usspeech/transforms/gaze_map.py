# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""From gaze points to the two maps that saliency is measured by: where the eye was, and the same blurred.

Points are shares of the picture: row and column in [0, 1), (0, 0) is the upper left corner of the first pixel and
(1, 1) the lower right corner of the last. The blur stands for the part of the picture that the eye sees sharply and for
the error of the tracker. Where the distance to the screen is known, its standard deviation is one degree of visual
angle; where it is not, as in a recording of the screen alone, 2 % of the width is the default here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.networks.layers import GaussianFilter
from monai.transforms.transform import MapTransform, Transform
from monai.utils import TransformBackends, ensure_tuple_rep
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

__all__ = [
    "GazeMap",
    "GazeMapD",
    "GazeMapDict",
    "GazeMapd",
    "augmented_points",
    "blur_fixations",
    "fixation_map",
    "inside_picture",
]

TRUNCATED = 4.0  # standard deviations; beyond lies 6e-5 of a Gaussian


def inside_picture(points: NdarrayOrTensor) -> Tensor:
    """bool ``[N]``: which of the points ``[N, 2]`` (row, column) lie in ``[0, 1)`` on both axes; NaN does not."""
    place = _as_points(points)
    return ((place >= 0) & (place < 1)).all(dim=1)


def augmented_points(points: NdarrayOrTensor, affine: NdarrayOrTensor) -> Tensor:
    """
    Where points of a picture lie in the picture that was augmented by ``affine``.

    The affine of :func:`~monai_usspeech.transforms.augmentation.apply_augmentation` says for each place of the output
    where to look in the input, in ``(x, y)`` from -1 to 1; points go the other way::

        input = A output + t        output = A^-1 (input - t)

    Args:
        points: ``[N, 2]`` (row, column) as shares of the picture.
        affine: ``[2, 3]``, ``theta`` of :func:`torch.nn.functional.affine_grid`.

    Returns:
        float64 ``[N, 2]``; outside ``[0, 1)`` for points that the augmentation cut off.

    Raises:
        ValueError: When the shapes do not fit.
    """
    place = _as_points(points)
    theta: Tensor = convert_to_tensor(affine, dtype=torch.float64, track_meta=False)
    if theta.shape != (2, 3):
        raise ValueError(f"expected one affine [2, 3], got the shape {tuple(theta.shape)}")
    x_y = 2 * place.flip(1) - 1
    moved: Tensor = torch.linalg.solve(theta[:, :2], (x_y - theta[:, 2]).T).T
    return (moved.flip(1) + 1) / 2


def fixation_map(points: NdarrayOrTensor, size: int | tuple[int, int] = 64) -> Tensor:
    """
    Mark the cells that gaze points fall into; several points in one cell mark it once.

    Args:
        points: ``[N, 2]`` (row, column) as shares of the picture; those outside ``[0, 1)`` and NaN are passed over.
        size: rows and columns of the map.

    Returns:
        bool ``[h, w]``; cell ``(i, j)`` covers rows ``[i / h, (i + 1) / h)`` and columns ``[j / w, (j + 1) / w)``.

    Raises:
        ValueError: When the points are not ``[N, 2]``.
    """
    height, width = ensure_tuple_rep(size, 2)
    place = _as_points(points)
    # The product may round up to the size, so the last cell takes what falls on its far edge.
    row, column = (place[inside_picture(place)] * place.new_tensor((height, width))).long().unbind(1)
    marked = torch.zeros(height, width, dtype=torch.bool, device=place.device)
    marked[row.clamp(max=height - 1), column.clamp(max=width - 1)] = True
    return marked


def blur_fixations(fixations: NdarrayOrTensor, sigma: float = 0.02) -> Tensor:
    """
    Blur fixation maps with a Gaussian and let each sum to 1.

    What would fall outside the map is left out. The Gaussian is integrated over each cell and cut at 4 standard
    deviations.

    Args:
        fixations: bool or number ``[..., h, w]``, not negative.
        sigma: standard deviation on both axes, as a share of the map's width ``w``.

    Returns:
        float32 ``[..., h, w]``; a map without a fixation stays zero everywhere.

    Raises:
        ValueError: When ``sigma`` is not positive or there are fewer than two axes.
    """
    marked: Tensor = convert_to_tensor(fixations, dtype=torch.float32, track_meta=False)
    if marked.ndim < 2 or not sigma > 0:
        raise ValueError(f"need maps [..., h, w] and a positive sigma, got {tuple(marked.shape)} and {sigma}")
    blur = GaussianFilter(2, sigma * marked.shape[-1], truncated=TRUNCATED).to(marked.device)
    blurred: Tensor = blur(marked.reshape(-1, 1, *marked.shape[-2:])).reshape(marked.shape)
    total = blurred.sum(dim=(-2, -1), keepdim=True)
    return torch.where(total > 0, blurred / total, 0.0)


def _as_points(points: NdarrayOrTensor) -> Tensor:
    place: Tensor = convert_to_tensor(points, dtype=torch.float64, track_meta=False)
    if place.ndim != 2 or place.shape[1] != 2:
        raise ValueError(f"expected points [N, 2] (row, column), got the shape {tuple(place.shape)}")
    return place


class GazeMap(Transform):
    """
    Gaze points of a frame to a saliency map that sums to 1; see :func:`fixation_map` and :func:`blur_fixations`.

    Args:
        size: rows and columns of the map.
        sigma: standard deviation of the blur as a share of the width.

    Raises:
        ValueError: When ``sigma`` or ``size`` is not positive.

    Example:
        >>> GazeMap(size=64)(np.array([[0.25, 0.5]])).argmax() == 16 * 64 + 32
        tensor(True)
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, size: int | tuple[int, int] = 64, sigma: float = 0.02) -> None:
        self.size, self.sigma = ensure_tuple_rep(size, 2), sigma
        if not sigma > 0 or min(self.size) < 1:
            raise ValueError(f"sigma and size must be positive, got {sigma} and {size}")
        self.fixations = torch.zeros(self.size, dtype=torch.bool)
        """The fixation map of the last call."""

    def __call__(self, points: NdarrayOrTensor) -> Tensor:
        """
        Make the map of one frame.

        Args:
            points: ``[N, 2]`` (row, column) as shares of the picture.

        Returns:
            float32 ``[h, w]``; zero everywhere when no point lies inside.

        Raises:
            ValueError: When the points are not ``[N, 2]``.
        """
        self.fixations = fixation_map(points, self.size)
        return blur_fixations(self.fixations, self.sigma)


class GazeMapd(MapTransform):
    """
    Dictionary version of :class:`GazeMap`; the fixation map goes to ``"{key}_{fixations_postfix}"``.

    Args:
        keys: keys of points ``[N, 2]``; each becomes its saliency map.
        size: rows and columns of the map.
        sigma: standard deviation of the blur as a share of the width.
        fixations_postfix: see above.
        allow_missing_keys: do not raise when a key is missing.

    Raises:
        ValueError: When ``sigma`` or ``size`` is not positive.
    """

    backend = GazeMap.backend

    def __init__(
        self,
        keys: KeysCollection,
        size: int | tuple[int, int] = 64,
        sigma: float = 0.02,
        fixations_postfix: str = "fixations",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.gaze_map, self.fixations_postfix = GazeMap(size, sigma), fixations_postfix

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the maps."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.gaze_map(d[key])
            d[f"{key}_{self.fixations_postfix}"] = self.gaze_map.fixations
        return d


GazeMapD = GazeMapDict = GazeMapd
