# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
import importlib.util
import sys

import pydicom.uid
import pytest

from monai_usspeech.label._pydicom_names import restore_pydicom_names

NAME = "pydicom._storage_sopclass_uids"


def test_the_module_that_monai_label_needs_is_there():
    found = importlib.import_module(NAME)
    assert found.SegmentationStorage == "1.2.840.10008.5.1.4.1.1.66.4"


def test_it_is_made_where_pydicom_has_it_no_more(monkeypatch):
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    restore_pydicom_names()
    assert sys.modules[NAME] is pydicom.uid
    monkeypatch.delitem(sys.modules, NAME)


@pytest.mark.parametrize("loaded", [True, False])
def test_it_is_left_alone_where_pydicom_has_it(monkeypatch, loaded):
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    if loaded:
        monkeypatch.setitem(sys.modules, NAME, sys)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    restore_pydicom_names()
    assert sys.modules.get(NAME) is (sys if loaded else None)
