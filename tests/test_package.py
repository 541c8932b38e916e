# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What another MONAI project relies on: names that resolve, and that are nobody else's."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from monai.bundle.config_item import ComponentLocator

import monai_usspeech

# The names of the design that users write in configurations.
PUBLIC = [
    "BalancedBatchSampler",
    "BestWeightsHandler",
    "ClassificationResultsHandler",
    "ClipBatchSampler",
    "ClipDataset",
    "ContrastiveNet",
    "CorrespondenceLoss",
    "CrossModalContrastiveLoss",
    "EmbeddingExportHandler",
    "EmbeddingMonitorHandler",
    "EvaluationProgressBar",
    "FanCrop",
    "FanCropd",
    "FixMatchLoss",
    "FrameClassifier",
    "FrameDataset",
    "FrameInferer",
    "FrameOrderLoss",
    "FrameShuffle",
    "FrameShuffled",
    "FrameViewDataset",
    "GazeDataset",
    "GazeMap",
    "GazeMapd",
    "GradCAMHandler",
    "GradientClipHandler",
    "HiCoLoss",
    "HiCoNet",
    "HistoryHandler",
    "ImageSetDatalist",
    "ImageSetDataset",
    "LogSpectrogram",
    "LogSpectrogramd",
    "LossEpochHandler",
    "MacroClassificationMetric",
    "MoCoLoss",
    "MomentumEncoderHandler",
    "MultiTermTrainer",
    "NTXentLoss",
    "NonFiniteLossHandler",
    "NormalizedScanpathSaliency",
    "PairPictureHandler",
    "Phantom",
    "PiModelLoss",
    "PlaneDataset",
    "PrepareFrameBatch",
    "PrepareVideoSpeechBatch",
    "PrepareViewBatch",
    "RandFrameViews",
    "RandFrameViewsd",
    "RandSamplePair",
    "RandSamplePaird",
    "RandVideoFrames",
    "RandVideoFramesd",
    "PyramidClassifier",
    "RetrievalDataset",
    "RetrievalRecall",
    "RunStateHandler",
    "SaliencyAUC",
    "SaliencyCC",
    "SaliencyKL",
    "SaliencyKLLoss",
    "SaliencyNet",
    "SaliencyResultsHandler",
    "SaliencySIM",
    "SampleVideoSpeechPairs",
    "SampleVideoSpeechPairsd",
    "ScanDatalist",
    "ScanStore",
    "ShuffledSaliencyAUC",
    "SonoNet",
    "StandardPlane",
    "SupervisedLoss",
    "SynchronisationDataset",
    "SynchronisationHandler",
    "TemporalEnsemblingLoss",
    "TrainingProgressBar",
    "TwoStreamInferer",
    "USCLLoss",
    "UltraSuiteReader",
    "UltrasoundVideoReader",
    "VideoSpeechLoss",
    "VideoSpeechNet",
    "ViewInferer",
    "ViewPictureHandler",
    "ViewLoss",
    "VoiceActivity",
    "VoiceActivityd",
    "WeightsAtStepsHandler",
    "build_image_set",
    "find_duplicates",
    "generate_phantom",
    "image_set_split",
    "load_initialisation",
    "phantom_store",
    "phantom_stores",
    "prepare_scans",
    "resnet18_fpn",
    "se_resnext50",
    "spatial_softmax",
    "subject_folds",
    "subject_split",
]


def own_names() -> dict[str, str]:
    """Every public class and function of the package, as MONAI's locator sees them: name to module."""
    names = {}
    for info in pkgutil.walk_packages(monai_usspeech.__path__, "monai_usspeech."):
        try:
            module = importlib.import_module(info.name)
        except ModuleNotFoundError as error:  # MONAI Label has an environment of its own, and tests there
            if error.name != "monailabel" or not info.name.startswith("monai_usspeech.label."):
                raise
            continue
        for name, member in inspect.getmembers(module, lambda m: inspect.isclass(m) or inspect.isfunction(m)):
            if member.__module__ == info.name and not name.startswith("_"):
                names[name] = info.name
    return names


def test_no_name_of_ours_is_one_of_monai():
    code = (
        "import json, monai\n"
        "from monai.bundle.config_item import ComponentLocator\n"
        "locator = ComponentLocator(); locator.get_component_module_name('Dataset')\n"
        "print(json.dumps(sorted(locator._components_table)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    monai_names = set(__import__("json").loads(printed.splitlines()[-1]))
    assert len(monai_names) > 1000
    assert sorted(set(own_names()) & monai_names) == []


@pytest.mark.parametrize("name", PUBLIC)
def test_a_short_name_resolves_to_us(name):
    module = ComponentLocator().get_component_module_name(name)
    assert isinstance(module, str)
    assert module.startswith("monai_usspeech.")


def test_every_short_name_means_one_thing():
    locator = ComponentLocator()
    ambiguous = [name for name in own_names() if not isinstance(locator.get_component_module_name(name), str)]
    assert ambiguous == []


def test_everything_public_is_documented_and_typed():
    bare = []
    for name, module in own_names().items():
        member = getattr(importlib.import_module(module), name)
        if not inspect.getdoc(member):
            bare.append(f"{module}.{name}: no docstring")
        if inspect.isfunction(member) and inspect.signature(member).return_annotation is inspect.Signature.empty:
            bare.append(f"{module}.{name}: no return type")
    assert bare == []


ROOMS = [
    *("transforms", "networks", "losses", "metrics"),
    *("data", "phantom", "preparation"),
    *("engines", "handlers", "studies", "label"),
]
MAY_IMPORT = {
    "transforms": set(),
    "networks": set(),
    "losses": set(),
    "metrics": set(),
    "data": {"transforms"},
    "phantom": {"data"},
    "preparation": {"data", "transforms"},
    "engines": {"data", "transforms", "networks", "losses", "metrics"},
    "handlers": {"data", "transforms", "networks", "losses", "metrics", "engines"},
    "studies": {"data", "transforms", "phantom", "preparation", "networks", "losses", "metrics", "engines", "handlers"},
    "label": {*("data", "transforms", "phantom", "networks", "losses", "metrics", "engines", "handlers", "studies")},
}


@pytest.mark.parametrize("room", ROOMS)
def test_imports_between_rooms_run_one_way(room):
    package = importlib.import_module(f"monai_usspeech.{room}")
    seen = set()
    for info in pkgutil.iter_modules(package.__path__, f"monai_usspeech.{room}."):
        source = Path(package.__path__[0], f"{info.name.rpartition('.')[2]}.py").read_text(encoding="utf-8")
        for line in source.splitlines():
            words = line.split()
            if words[:1] in (["from"], ["import"]) and words[1].startswith("monai_usspeech."):
                seen.add(words[1].split(".")[1])
    assert seen - {room} <= MAY_IMPORT[room]
