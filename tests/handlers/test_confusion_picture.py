# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from monai_usspeech.handlers.confusion_picture import confusion_figure

NAMES = ["a", "b", "c"]
COUNTS = np.array([[96, 4, 0], [30, 10, 60], [0, 0, 0]])


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_rows_are_shares_of_the_true_class():
    axes = confusion_figure([("one", COUNTS)], NAMES).axes[0]
    drawn = np.ma.filled(axes.images[0].get_array().astype(float), np.nan)
    for row in range(2):
        for column in range(3):
            assert drawn[row, column] == pytest.approx(100 * COUNTS[row, column] / COUNTS[row].sum())
    assert np.isnan(drawn[2]).all(), "a class without frames has no shares"


def test_numbers_stand_where_the_share_is_at_least_a_twentieth():
    axes = confusion_figure([("one", COUNTS)], NAMES).axes[0]
    assert texts(axes) == ["96", "30", "10", "60", "100", "100", "0", "n"]  # 4 % is left to its colour


def test_matrices_stand_side_by_side_under_their_titles():
    figure = confusion_figure([("one", COUNTS), ("two", COUNTS.T), ("three", COUNTS)], NAMES)
    panels = figure.axes[:3]
    assert [axes.get_title() for axes in panels] == ["one", "two", "three"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == NAMES
    assert all(label.get_text() == "" for axes in panels[1:] for label in axes.get_yticklabels())


@pytest.mark.parametrize(
    ("matrices", "message"), [([], "no confusion matrix"), ([("x", COUNTS[:2])], r"x: .*\[2, 3\]")]
)
def test_matrices_that_do_not_fit_are_refused(matrices, message):
    with pytest.raises(ValueError, match=message):
        confusion_figure(matrices, NAMES)
