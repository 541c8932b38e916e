# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The bundle's files, against what MONAI's specification and MONAI's own checks ask of them."""

from __future__ import annotations

import configparser
import json

import jsonschema
import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export, load, verify_metadata, verify_net_in_out

import monai_usspeech
from monai_usspeech.data import PLANES
from tests.conftest import REPOSITORY

BUNDLE = REPOSITORY / "bundle"

# Written from the text of the MONAI bundle specification (metadata schema of 2024-07-25): required keys and types.
TENSOR = {
    "type": "object",
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
    "properties": {
        "type": {"type": "string"},
        "format": {"type": "string"},
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array", "items": {"type": ["integer", "string"]}},
        "dtype": {"type": "string"},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "channel_def": {"type": "object", "patternProperties": {"^[0-9]+$": {"type": "string"}}},
    },
}
NETWORK = {
    "type": "object",
    "required": ["inputs", "outputs"],
    "properties": {name: {"type": "object", "additionalProperties": TENSOR} for name in ("inputs", "outputs")},
}
VERSIONS = {"type": "object", "additionalProperties": {"type": "string"}}
METADATA = {
    "type": "object",
    "required": [
        "schema",
        "version",
        "changelog",
        "monai_version",
        "pytorch_version",
        "numpy_version",
        "required_packages_version",
        "task",
        "description",
        "authors",
        "copyright",
        "network_data_format",
    ],
    "properties": {
        "required_packages_version": VERSIONS,
        "changelog": VERSIONS,
        "supported_apps": {"type": "object"},
        "network_data_format": NETWORK,
    },
    "patternProperties": {"^[_a-zA-Z0-9]+_data_format$": NETWORK},
}


@pytest.fixture(scope="module")
def metadata() -> dict:
    return json.loads((BUNDLE / "configs/metadata.json").read_text())


def test_the_metadata_has_what_the_schema_requires(metadata):
    jsonschema.validate(metadata, METADATA)
    assert metadata["schema"].endswith("meta_schema_20240725.json")
    assert metadata["version"] == monai_usspeech.__version__
    assert metadata["version"] in metadata["changelog"]


def test_the_downstream_configurations_name_the_same_versions(metadata):
    other = json.loads((REPOSITORY / "configs/downstream/metadata.json").read_text())
    versions = [name for name in other if name.endswith("version")]
    assert len(versions) == 4 and all(other[name] == metadata[name] for name in versions)


def test_the_two_input_network_is_described(metadata):
    described = metadata["pretrain_data_format"]
    assert set(described["inputs"]) == {"image", "speech"}
    size = json.loads((BUNDLE / "configs/train.json").read_text())["size"]
    for tensor in described["inputs"].values():
        assert tensor["spatial_shape"] == [size, size]


FILES = ["LICENSE", "docs/README.md", "configs/logging.conf", "models/model.pt"]
CONFIGURATIONS = [f"configs/{name}.json" for name in ("train", "inference", "evaluate", "multi_gpu_train")]


@pytest.mark.parametrize("name", [*FILES, *CONFIGURATIONS])
def test_a_bundle_has_this_file(name):
    assert (BUNDLE / name).stat().st_size > 0


def test_monai_verifies_the_metadata(tmp_path):
    # MONAI takes a schema that lies at the path already, and so asks no server for it
    (tmp_path / "schema.json").write_text(json.dumps(METADATA))
    verify_metadata(meta_file=str(BUNDLE / "configs/metadata.json"), filepath=str(tmp_path / "schema.json"))


def test_the_classes_and_the_size_are_those_of_the_package(metadata):
    described = metadata["network_data_format"]
    inference = json.loads((BUNDLE / "configs/inference.json").read_text())
    assert described["inputs"]["image"]["spatial_shape"] == [inference["size"]] * 2
    output = described["outputs"]["pred"]
    named = [output["channel_def"][str(number)] for number in range(output["num_channels"])]
    # MONAI Label leaves out a channel of the name "background", and the classes would no longer be those of the scores
    assert named == [*PLANES[:-1], "no standard plane"] and PLANES[-1] == "background"
    low, high = described["inputs"]["image"]["value_range"]
    mean, std = inference["frame_mean"], inference["frame_std"]
    assert (low, high) == ((0 - mean) / std, (1 - mean) / std)


NETWORK_FILES = {
    "meta_file": str(BUNDLE / "configs/metadata.json"),
    "config_file": str(BUNDLE / "configs/inference.json"),
}


def test_monai_verifies_what_goes_in_and_what_comes_out():
    verify_net_in_out(net_id="network_def", **NETWORK_FILES)


def test_the_exported_network_gives_the_same_answers(tmp_path):
    weights = BUNDLE / "models/model.pt"
    exported = tmp_path / "model.ts"
    ckpt_export(net_id="network_def", filepath=str(exported), ckpt_file=str(weights), **NETWORK_FILES)
    parser = ConfigParser(ConfigParser.load_config_file(NETWORK_FILES["config_file"]))
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    scripted = torch.jit.load(str(exported)).eval()
    for size in (96, 64):
        image = torch.randn(3, 1, size, size, generator=torch.Generator().manual_seed(size))
        with torch.no_grad():
            torch.testing.assert_close(scripted(image), network(image))


def test_monai_loads_the_network_with_its_weights():
    network = load("bundle", bundle_dir=str(REPOSITORY), workflow_type="inference", device="cpu")
    stored = torch.load(BUNDLE / "models/model.pt", weights_only=True)
    loaded = network.state_dict()
    assert set(loaded) == set(stored) and all(torch.equal(loaded[name], stored[name]) for name in stored)
    assert network.eval()(torch.zeros(1, 1, 96, 96)).shape == (1, len(PLANES))


def test_the_weights_are_small_and_say_what_they_are(metadata):
    assert (BUNDLE / "models/model.pt").stat().st_size < 5_000_000
    for text in (metadata["description"], (BUNDLE / "docs/README.md").read_text()):
        assert "synthetic" in text and "model.pt" in text


def test_the_logging_file_is_one(metadata):
    parsed = configparser.ConfigParser()
    parsed.read(BUNDLE / "configs/logging.conf")
    assert "loggers" in parsed


def test_the_licences_are_the_same():
    assert (BUNDLE / "LICENSE").read_text() == (REPOSITORY / "LICENSE").read_text()


CONFIGS = sorted(p for folder in ("bundle/configs", "configs") for p in (REPOSITORY / folder).rglob("*.json"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_configuration_has_no_duplicate_key_and_no_long_program(path, monkeypatch):
    monkeypatch.setenv("MONAI_FAIL_ON_DUPLICATE_CONFIG", "1")
    ConfigParser.load_config_file(str(path))
    expressions = [text for text in _strings(json.loads(path.read_text())) if text.startswith("$")]
    assert [text for text in expressions if len(text) > 160] == []


def _strings(value):
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from _strings(inner)


BASES = {
    "bundle/configs/evaluate.json": "bundle/configs/inference.json",
    "bundle/configs/gaze.json": "bundle/configs/inference.json",
    "configs/presets/downstream_cpu.json": "configs/downstream/standard_plane.json",
    "configs/presets/image_set_cpu.json": "configs/downstream/image_set.json",
    **{
        f"configs/downstream/{name}.json": "configs/downstream/image_set.json"
        for name in ("hico_code", "hico_code_pyramid", "pyramid_heads")
    },
    "configs/presets/study_cpu.json": "configs/studies/initialisation.json",
    "configs/presets/hico_study_cpu.json": "configs/studies/hico_methods.json",
    "configs/presets/phantom_cpu.json": "bundle/configs/train.json",
    "configs/presets/phantom_downstream_cpu.json": "configs/downstream/standard_plane.json",
    "configs/presets/phantom_gpu.json": "configs/studies/phantom.json",
    "configs/presets/phantom_gpu_pretrain.json": "bundle/configs/train.json",
}
OVERLAYS = [*BASES, *(f"configs/pretrain/{path.name}" for path in (REPOSITORY / "configs/pretrain").glob("*.json"))]


@pytest.mark.parametrize("name", sorted({*OVERLAYS, "configs/presets/cpu.json"}))
def test_every_overlay_replaces_something_that_is_there(name):
    base = ConfigParser()
    base.read_config(str(REPOSITORY / BASES.get(name, "bundle/configs/train.json")))
    new = {"description"}  # a word to the reader
    if name.endswith("evaluate.json"):  # what a store of labelled scans needs beyond a list of clips
        new |= {"subjects", "exclude_subjects", "interval", "batch_size", "standardise", "frame_scale"}
        new |= {"settings", "split", "key_metric"}
    if name.endswith("gaze.json"):  # the network's own, and what MONAI Label is told of the file type
        new |= {"map_size", "displayable_configs"}
    for key in json.loads((REPOSITORY / name).read_text()):
        parent = key.rpartition("#")[0]
        assert key in base or key in new or (parent and parent in base), f"{name}: {key}"
