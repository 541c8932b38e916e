# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Studies: methods x tasks x folds x seeds, each cell a run of its own, and the report on what they found."""

from __future__ import annotations

from monai_usspeech.studies.collect import CollectedStudy, collect_study
from monai_usspeech.studies.command import plan_study, report_study, run_study, show_study
from monai_usspeech.studies.plan import StudyCell, deal_out, plan_cells
from monai_usspeech.studies.proof import prove_disjoint
from monai_usspeech.studies.reading import read_study
from monai_usspeech.studies.report import write_report
from monai_usspeech.studies.runner import CellOutcome, run_cells
from monai_usspeech.studies.settings import StudyMethod, StudySettings, StudyTask

__all__ = [
    "CellOutcome",
    "CollectedStudy",
    "StudyCell",
    "StudyMethod",
    "StudySettings",
    "StudyTask",
    "collect_study",
    "deal_out",
    "plan_cells",
    "plan_study",
    "prove_disjoint",
    "read_study",
    "report_study",
    "run_cells",
    "run_study",
    "show_study",
    "write_report",
]
