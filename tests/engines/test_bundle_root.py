# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import pytest

from monai_usspeech.engines.bundle_root import find_bundle_root


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "clone" / "bundle"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs/metadata.json").write_text("{}")
    return folder


@pytest.mark.parametrize("form", ["--config_file {}", "--config_file={}", "--config_file ['{}','other.json']"])
def test_the_configuration_file_tells_from_anywhere(bundle, tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    words = ["monai/bundle/__main__.py", "run", *form.format(bundle / "configs/inference.json").split()]
    assert Path(find_bundle_root(words)) == bundle


def test_the_working_directory_and_the_folder_in_it(bundle, monkeypatch):
    monkeypatch.chdir(bundle)
    assert find_bundle_root(["python"]) == "."
    assert find_bundle_root(["python", "--config_file", "configs/inference.json"]) == "."
    monkeypatch.chdir(bundle.parent)
    assert find_bundle_root(["python"]) == "bundle"


def test_a_configuration_outside_a_bundle_names_no_bundle(bundle, tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_bundle_root(["python", "--config_file", "configs/own.json"]) == "."
    monkeypatch.chdir(bundle.parent)
    assert find_bundle_root(["python", "--config_file", str(tmp_path / "configs/own.json")]) == "bundle"
