# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Sets of the phantom's settings under one name each: three grades of difficulty, and the demonstration's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_usspeech.data.files import InputError, nearest_name

__all__ = ["DIFFICULTIES", "difficulty_settings"]

#: difficulty -> arguments of :class:`~monai_usspeech.phantom.Phantom`. Three are graded: from a narration that follows
#: short visits closely to one that trails behind long visits, with silence, chatter and unlike scans. "demo" is the
#: package's demonstration: visits as long as those of "hard", all else between "easy" and "standard".
DIFFICULTIES: Mapping[str, Mapping[str, Any]] = {
    "easy": {
        "dwell": (2.0, 4.0), "search": (0.8, 2.0), "snr": (16.0, 28.0), "nuisance": 0.5, "gaze": {"wander": 0.02},
        "narration": {
            "gap": 0.25, "plane_share": 0.80, "organ_share": 0.12, "wrong_share": 0.0, "quiet_share": 0.0,
            "noise_share": 0.0, "lag": (0.0, 0.3), "trail": 0.0,
        },
    },
    "standard": {
        "dwell": (2.5, 5.0), "search": (1.0, 3.0), "snr": (8.0, 22.0), "nuisance": 1.0, "gaze": {"wander": 0.08},
        "narration": {
            "gap": 0.25, "plane_share": 0.62, "organ_share": 0.20, "wrong_share": 0.03, "quiet_share": 0.05,
            "noise_share": 0.25, "lag": (0.2, 0.8), "trail": 0.5,
        },
    },
    "hard": {
        "dwell": (4.0, 8.0), "search": (1.5, 5.0), "snr": (4.0, 16.0), "nuisance": 1.5, "gaze": {"wander": 0.2},
        "narration": {
            "gap": 0.25, "plane_share": 0.45, "organ_share": 0.20, "wrong_share": 0.05, "quiet_share": 0.10,
            "noise_share": 0.4, "lag": (0.5, 2.0), "trail": 1.0,
        },
    },
    "demo": {
        "dwell": (4.0, 8.0), "search": (1.5, 6.0), "snr": (8.0, 22.0), "nuisance": 1.0, "gaze": {"wander": 0.08},
        "narration": {
            "gap": 0.25, "plane_share": 0.65, "organ_share": 0.22, "wrong_share": 0.03, "quiet_share": 0.05,
            "noise_share": 0.0, "lag": (0.2, 0.8), "trail": 0.0,
        },
    },
}  # fmt: skip


def difficulty_settings(difficulty: str | None) -> Mapping[str, Any]:
    """The settings of a difficulty; none for None.

    Args:
        difficulty: a key of :data:`DIFFICULTIES`.

    Raises:
        InputError: on an unknown name.
    """
    if difficulty is None:
        return {}
    if not isinstance(difficulty, str) or difficulty not in DIFFICULTIES:
        near = nearest_name(str(difficulty), list(DIFFICULTIES))
        raise InputError(f"Phantom: difficulty is {difficulty!r}; it is one of {', '.join(DIFFICULTIES)}.{near}")
    return DIFFICULTIES[difficulty]
