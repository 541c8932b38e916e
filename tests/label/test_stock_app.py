# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Exported bundles in MONAI Label's own ``monaibundle`` app, of which nothing is changed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("monailabel")

import itk
import nibabel
from monailabel.interfaces.utils.app import app_instance, clear_cache

from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.label.bundle_export import export_bundle
from tests.label.test_bundle_export import BUNDLE, weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("stock")
    app_dir = root / "app"
    shutil.copytree(Path(sys.prefix) / "monailabel/sample-apps/monaibundle", app_dir)
    for task, name in (("standard_plane", "us_classification"), ("gaze_saliency", "us_gaze")):
        (root / task).mkdir()
        (app_dir / "model").mkdir(exist_ok=True)
        export_bundle(weights(root / task, task), app_dir / "model" / name, BUNDLE)
    studies = root / "studies"
    studies.mkdir()
    y, x = np.mgrid[:64, :96]
    inside = (np.hypot(x - 48, y + 20) < 80) & (abs(x - 48) < (y + 20) * 0.7)  # a fan, for its crop to be found
    noise = np.random.default_rng(0).integers(40, 255, (6, 64, 96))
    image = nibabel.Nifti1Image((noise * inside).astype(np.uint8).transpose(2, 1, 0), np.eye(4))
    image.header["pixdim"][4] = 0.1
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, studies / "cine.nii.gz")
    conf = {"models": "us_classification,us_gaze", "zoo_source": "local", "sam2": "false"}
    yield app_instance(str(app_dir), str(studies), conf)
    clear_cache()


def test_planes_are_a_classification(app):
    info = app.info()["models"]["us_classification"]
    assert info["type"] == "classification" and len(info["labels"]) == 14
    answer = app.infer({"model": "us_classification", "image": "cine", "device": "cpu"})["params"]
    named = [one["label"] for one in answer["prediction"]]
    assert named == [*(name.lower() for name in PLANES[:-1]), "no standard plane"]
    assert sum(one["score"] for one in answer["prediction"]) == pytest.approx(1, abs=1e-4)


def test_gaze_is_a_float_volume(app):
    answer = app.infer({"model": "us_gaze", "image": "cine", "device": "cpu"})
    values = itk.array_from_image(itk.imread(answer["file"]))
    assert values.dtype == np.float32 and values.shape == (6, 16, 24)  # frame, and the map's rows and columns
    assert values.sum((1, 2)) == pytest.approx(1, abs=1e-3)
