# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from monai_usspeech.handlers.gaze_strip import gaze_strip_figure


def strip(count: int, **changes):
    given = {
        "frames": np.zeros((count, 16, 16), np.uint8),
        "times": np.arange(count) / 10,
        "density": np.full((count, 4, 4), 1 / 16),
        **changes,
    }
    return gaze_strip_figure(**given)


@pytest.mark.parametrize("count, shown", [(1, 1), (3, 3), (8, 8), (40, 8)])
def test_frames_are_spread_over_the_clip(count, shown):
    figure = strip(count)
    labels = [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel().endswith(" s")]
    assert len(labels) == shown
    times = [float(label.split()[0]) for label in labels]
    assert times == sorted(times)
    if count == 40:
        assert times[0] == pytest.approx(0.2) and times[-1] == pytest.approx(3.7)


def test_a_map_is_laid_over_its_own_frame():
    density = np.zeros((2, 4, 4))
    density[0, 0, 0] = density[1, 3, 3] = 1
    drawn = [axes.images[1].get_array() for axes in strip(2, density=density).axes[:2]]
    assert drawn[0][0, 0] == drawn[1][3, 3] == 16
    assert drawn[0][3, 3] == drawn[1][0, 0] == 1


@pytest.mark.parametrize(
    "changes", [{"times": np.zeros(2)}, {"density": np.zeros((4, 4))}, {"frames": np.zeros((0, 4, 4))}]
)
def test_shapes_that_do_not_fit_are_refused(changes):
    with pytest.raises(ValueError, match="expected T frames"):
        strip(3, **changes)
