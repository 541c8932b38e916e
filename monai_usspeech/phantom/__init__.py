# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A SYNTHETIC source of scans: ultrasound video with narration, gaze and plane labels, made from nothing but a seed."""

from __future__ import annotations

from monai_usspeech.phantom.geometry import SectorGeometry
from monai_usspeech.phantom.narration import NarrationStyle, WordEvent
from monai_usspeech.phantom.phantom import Phantom, PhantomScan
from monai_usspeech.phantom.writer import generate, generate_phantom

__all__ = ["NarrationStyle", "Phantom", "PhantomScan", "SectorGeometry", "WordEvent", "generate", "generate_phantom"]
