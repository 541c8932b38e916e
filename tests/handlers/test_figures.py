# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from monai_usspeech.handlers.figures import figure_bytes, new_figure, save_figure


def dot():
    figure = new_figure(2.0, 1.0)
    figure.add_subplot().plot([0, 1], [0, 1])
    return figure


def test_the_file_and_the_bytes_hold_the_same_picture(tmp_path):
    save_figure(dot(), tmp_path / "a.png", dpi=50)
    with Image.open(tmp_path / "a.png") as file, Image.open(io.BytesIO(figure_bytes(dot(), dpi=50))) as memory:
        assert file.format == memory.format == "PNG" and file.size == memory.size == (100, 50)
        assert np.array_equal(np.asarray(file), np.asarray(memory))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_drawing_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.png"
    save_figure(dot(), path)
    before = path.read_bytes()
    broken = dot()
    broken.axes[0].set_title(r"$\nonsense{$")
    with pytest.raises(ValueError, match="nonsense"):
        save_figure(broken, path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
