# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""
Learn ultrasound representations from video and the sonographer's speech: a plugin for MONAI.

Importing the package imports every component module: that is how MONAI finds a component by its short name. With
``"imports": ["$import monai_usspeech"]`` in a configuration, ``"_target_": "ClipDataset"`` is enough.
"""

from __future__ import annotations

__version__ = "0.1.0"

from monai_usspeech import (
    data,
    engines,
    handlers,
    losses,
    metrics,
    networks,
    phantom,
    preparation,
    studies,
    transforms,
)

__all__ = [
    "__version__",
    "data",
    "engines",
    "handlers",
    "losses",
    "metrics",
    "networks",
    "phantom",
    "preparation",
    "studies",
    "transforms",
]
