# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The bundle's files, against what MONAI's specification asks of them."""

from __future__ import annotations

import configparser
import json

import jsonschema
import pytest
from monai.bundle import ConfigParser

import monai_usspeech
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


def test_the_two_input_network_is_described(metadata):
    described = metadata["pretrain_data_format"]
    assert set(described["inputs"]) == {"image", "speech"}
    size = json.loads((BUNDLE / "configs/train.json").read_text())["size"]
    for tensor in described["inputs"].values():
        assert tensor["spatial_shape"] == [size, size]


@pytest.mark.parametrize("name", ["LICENSE", "docs/README.md", "configs/logging.conf", "configs/train.json"])
def test_a_bundle_has_this_file(name):
    assert (BUNDLE / name).stat().st_size > 0


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


def test_every_overlay_replaces_something_that_is_there():
    train = ConfigParser()
    train.read_config(str(BUNDLE / "configs/train.json"))
    new_arguments = {"description"}  # a word to the reader
    for folder in ("pretrain", "presets"):
        for path in sorted((REPOSITORY / "configs" / folder).glob("*.json")):
            for key in json.loads(path.read_text()):
                parent = key.rpartition("#")[0]
                assert key in train or key in new_arguments or (parent and parent in train), f"{path.name}: {key}"
