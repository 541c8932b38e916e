# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""How far a drawn value lies from the middle of its range, as one factor over all that says nothing about the plane."""

from __future__ import annotations

__all__ = ["MOST_NUISANCE", "stretched"]

#: the largest factor; beyond it some ranges would leave what can be drawn
MOST_NUISANCE = 2.0


def stretched(value: float, centre: float, nuisance: float) -> float:
    """A value moved away from, or nearer to, the middle of the range it was drawn from.

    Args:
        value: as drawn. centre: middle of the range.
        nuisance: 1 gives ``value`` itself, to the last bit; 0 the centre.
    """
    return value if nuisance == 1 else centre + nuisance * (value - centre)
