# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""From scan files to a scan store."""

from __future__ import annotations

from monai_usspeech.preparation.command import prepare
from monai_usspeech.preparation.report import PrepareReport, ScanRow
from monai_usspeech.preparation.scans import prepare_scans
from monai_usspeech.preparation.settings import PrepareSettings

__all__ = ["PrepareReport", "PrepareSettings", "ScanRow", "prepare", "prepare_scans"]
