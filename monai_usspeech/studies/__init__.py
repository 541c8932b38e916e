# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Studies: methods x tasks x folds x seeds, each cell a run of its own, and the report on what they found.

``command`` has the run ids of a study's configuration; what they call lies in three groups of modules, each in the
order in which it is gone through. Studies of synthetic scans make those first, in one step: ``data_command`` and
``synthetic_store``, the one place that knows both the phantom and the preparation.

Plan
    ``settings`` (what a study is), ``hypotheses`` (what is expected of it), ``reading`` (from a configuration, refusing
    what means nothing), ``study_data`` (a scan store or an image set: who is in it and in which fold), ``plan`` (its
    cells, with their commands), ``start_weights`` (what they start from will be there), ``proof`` (nobody is trained
    and tested on), ``study_file`` (``study.json``).
Run
    ``cells`` (what a cell computes, and what became of it), ``runner`` (several at a time), ``cell_process`` (one of
    them, its log and record), ``lock`` (one process in a folder), ``interruption`` (being told to stop), ``progress``
    (what a person sees).
Report
    ``collect`` (reads the folder); then numbers: ``subject_scores`` (per test subject), ``statistics`` (spread,
    differences, intervals), ``seed_interval`` (over seeds), ``reported_metrics`` (which are shown, and how),
    ``analysis`` (all of a task), ``verdicts`` (on the hypotheses); then words and tables: ``tables``, ``class_tables``
    (single classes), ``hypothesis_table``, ``pretext_table`` (how pretraining ended), ``table_notes`` (the sentences
    under them), ``table_format`` (as Markdown and CSV); then the page: ``report_pictures``, ``position_picture``
    (scores over the number that methods differ in), ``report_record`` (what makes it again), ``report_page`` (HTML),
    ``report`` (all).

Running and reporting meet in the folder alone: the report reads files, and needs no run.
"""

from __future__ import annotations

from monai_usspeech.studies.collect import CollectedStudy, collect_study
from monai_usspeech.studies.command import check_study, plan_study, report_study, run_study, show_study
from monai_usspeech.studies.data_command import phantom_store, phantom_stores
from monai_usspeech.studies.hypotheses import StudyHypothesis
from monai_usspeech.studies.plan import StudyCell, deal_out, plan_cells
from monai_usspeech.studies.proof import prove_disjoint, prove_splits, prove_training_sets
from monai_usspeech.studies.reading import read_study
from monai_usspeech.studies.report import write_report
from monai_usspeech.studies.runner import CellOutcome, run_cells
from monai_usspeech.studies.settings import StudyMethod, StudySettings, StudyTask
from monai_usspeech.studies.synthetic_store import SyntheticStore

__all__ = [
    "CellOutcome",
    "CollectedStudy",
    "StudyCell",
    "StudyHypothesis",
    "StudyMethod",
    "StudySettings",
    "StudyTask",
    "SyntheticStore",
    "check_study",
    "collect_study",
    "deal_out",
    "phantom_store",
    "phantom_stores",
    "plan_cells",
    "plan_study",
    "prove_disjoint",
    "prove_splits",
    "prove_training_sets",
    "read_study",
    "report_study",
    "run_cells",
    "run_study",
    "show_study",
    "write_report",
]
