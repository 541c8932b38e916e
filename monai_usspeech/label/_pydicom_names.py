# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Lets MONAI Label be imported beside pydicom 3, which our DICOM reader is written for.

MONAI Label up to 0.8.5 imports pydicom-seg, which imports a private module of pydicom 2. Its names are in
``pydicom.uid`` since pydicom 3.
"""

from __future__ import annotations

import importlib.util
import sys

__all__ = ["restore_pydicom_names"]

_OLD_NAME = "pydicom._storage_sopclass_uids"


def restore_pydicom_names() -> None:
    """Give pydicom's storage classes their old module name too, where pydicom itself has given it up."""
    if _OLD_NAME in sys.modules or importlib.util.find_spec(_OLD_NAME) is not None:
        return
    import pydicom.uid

    sys.modules[_OLD_NAME] = pydicom.uid
