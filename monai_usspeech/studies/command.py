# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The run ids of a study's configuration: ``study`` runs what is left and reports, ``plan`` and ``report`` tell."""

from __future__ import annotations

import ast
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from monai_usspeech.data.files import InputError
from monai_usspeech.studies.cells import cell_state, check_cells
from monai_usspeech.studies.interruption import StudyInterrupted
from monai_usspeech.studies.plan import PROGRAM, StudyCell, deal_out, plan_cells
from monai_usspeech.studies.progress import StudyProgress, cell_table, failure_table
from monai_usspeech.studies.proof import prove_disjoint, prove_splits, prove_training_sets, study_folds
from monai_usspeech.studies.reading import read_study
from monai_usspeech.studies.report import write_report
from monai_usspeech.studies.runner import CellOutcome, run_cells
from monai_usspeech.studies.settings import StudySettings
from monai_usspeech.studies.start_weights import check_start_weights
from monai_usspeech.studies.study_data import open_study_data
from monai_usspeech.studies.study_file import check_study_folder, write_study

__all__ = ["StudyPlan", "check_study", "plan_study", "report_study", "run_study", "show_study", "study_config_folders"]

_logger = logging.getLogger(__name__)

_LEVELS = 3  # configs/studies/x.json: its folder, configs, and the repository


class StudyPlan(NamedTuple):
    """A study that has been checked and can run.

    ``cells`` are all of it, ``part`` those of this call; ``subjects`` is everyone that pretraining can learn from,
    ``held_out`` the test subjects of each fold, ``data`` what the data say of themselves (see
    :class:`~monai_usspeech.studies.study_data.StudyData`), with those of the pretraining under ``pretraining`` where
    they are others, and those of methods that have their own under ``pretraining_of``.
    """

    study: StudySettings
    cells: list[StudyCell]
    part: list[StudyCell]
    subjects: tuple[str, ...]
    held_out: dict[int, tuple[str, ...]]
    data: dict[str, Any]


def study_config_folders(arguments: Sequence[str] | None = None) -> list[Path]:
    """The folders above the study's configuration, the nearest first: files are looked for there too.

    Args:
        arguments: the command line, default ``sys.argv``. MONAI does not tell a configuration where it lies.
    """
    words = list(sys.argv if arguments is None else arguments)
    for place, word in enumerate(words):
        name, assigned, value = word.partition("=")
        if name == "--config_file":
            text = value if assigned else (words[place + 1] if place + 1 < len(words) else "")
            try:
                files = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                files = text.split(",")
            first = files if isinstance(files, str) else files[0]
            return list(Path(first).resolve().parents)[:_LEVELS]
    return []


def check_study(settings: Mapping[str, Any]) -> None:
    """Check what can be checked of a study before its data are there: names, keys and kinds of values.

    For configurations that make their data first: a name that nothing defines is said before the scans are made.

    Args:
        settings: see :func:`~monai_usspeech.studies.reading.read_study`.

    Raises:
        SystemExit: with status 1 when something given cannot be used.
    """
    _Command("study")(read_study, settings)


def plan_study(settings: Mapping[str, Any], folders: Sequence[str | Path] | None = None) -> StudyPlan:
    """Check everything that can be checked before anything runs.

    Args:
        settings: see :func:`~monai_usspeech.studies.reading.read_study`.
        folders: where configuration and weights files are looked for after the current directory; default
            :func:`study_config_folders`.

    Raises:
        InputError: for unknown keys and names, missing files, a subject on both sides, a folder of another study.
    """
    study = read_study(settings, study_config_folders() if folders is None else folders)
    tested = open_study_data(study.dataset_dir)
    learned = tested if study.pretrain_dir is None else open_study_data(study.pretrain_dir)
    data = tested.facts() | ({} if learned is tested else {"pretraining": learned.facts()})
    own_dirs = {method.pretrained_as: method.pretrain_dir for method in study.methods.values() if method.pretrain_dir}
    own = {name: open_study_data(path) for name, path in own_dirs.items()}
    if own:
        data["pretraining_of"] = {name: found.facts() for name, found in own.items()}
    check_study_folder(study, data)
    held_out = study_folds(study, tested)
    everyone = set(learned.subjects)
    excluded = {fold: tuple(name for name in test if name in everyone) for fold, test in held_out.items()}
    if learned is not tested and not any(excluded.values()):
        _logger.warning(
            "pretrain_dir: none of the test subjects is in %s by name: see to it that they are not there under other"
            " names.",
            study.pretrain_dir,
        )
    cells = plan_cells(study, held_out, excluded)
    prove_disjoint(cells, learned.subjects, held_out, {name: found.subjects for name, found in own.items()})
    check_cells(cells)
    check_start_weights(cells)
    prove_splits(cells, held_out)
    prove_training_sets(cells)
    return StudyPlan(study, cells, deal_out(cells, *study.cells), learned.subjects, held_out, data)


def run_study(
    settings: Mapping[str, Any],
    folders: Sequence[str | Path] | None = None,
    program: Sequence[str] = PROGRAM,
    report: bool = True,
    show: bool = True,
    open_in_browser: bool = False,
) -> list[CellOutcome]:
    """Run the cells that are left, then write the report. This is the run id ``study``.

    Args:
        settings: see :func:`~monai_usspeech.studies.reading.read_study`.
        folders: see :func:`plan_study`.
        program: what runs a cell.
        report: write the report; with several parts, only once all cells of all parts are done.
        show: print progress.
        open_in_browser: show the report when it is written.

    Returns:
        What became of the cells, when all of them are done.

    Raises:
        SystemExit: with status 1 when something given cannot be used or a cell is not done, with 128 plus the signal
            after an interruption.
    """
    with_status = _Command("study")
    plan = with_status(plan_study, settings, folders)
    outcomes: list[CellOutcome] = with_status(_run_part, plan, program, show)
    failures = failure_table(outcomes)
    if failures:
        print(f"\nNot done:\n{failures}\nRunning the same command again tries these anew.", file=sys.stderr)
    alone = plan.study.cells[1] == 1
    if report and any(cell_state(cell) == "done" for cell in plan.cells):
        if alone or all(cell_state(cell) == "done" for cell in plan.cells):
            print(f"Report: {with_status(_report, plan.study.output_dir, open_in_browser)}")
        else:
            print("Other parts are left: run the id report once they are done.")
    if failures:
        raise SystemExit(1)
    return outcomes


def _run_part(plan: StudyPlan, program: Sequence[str], show: bool) -> list[CellOutcome]:
    write_study(plan.study, plan.data, plan.held_out, plan.subjects)
    progress = StudyProgress(plan.part, plan.study.workers, show)
    try:
        return run_cells(plan.part, plan.study.workers, plan.study.devices, program, progress)
    finally:
        progress.close()


def show_study(settings: Mapping[str, Any], folders: Sequence[str | Path] | None = None) -> str:
    """Print the table of cells, what is done and how long the rest will take. This is the run id ``plan``.

    Raises:
        SystemExit: with status 1 when something given cannot be used.
    """
    with_status = _Command("plan")
    plan = with_status(plan_study, settings, folders)
    table: str = with_status(cell_table, plan.part, plan.study.workers)
    print(table)
    return table


def report_study(settings: Mapping[str, Any], open_in_browser: bool = False) -> Path:
    """Write the report of what is there. This is the run id ``report``.

    Raises:
        SystemExit: with status 1 when the folder holds no study.
    """
    path: Path = _Command("report")(_report, settings["output_dir"], open_in_browser)
    print(f"Report: {path}")
    return path


def _report(output_dir: str, open_in_browser: bool) -> Path:
    """Write the report; what became of the hypotheses is printed too."""
    return write_report(output_dir, open_in_browser, tell=lambda text: print(f"\n{text}\n"))


class _Command:
    """Call a function; what ends it becomes one line and an exit status."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except InputError as error:
            raise SystemExit(f"{self.name}: {error}") from None
        except StudyInterrupted as stop:
            print(f"\n{self.name}: {stop}; run the same command again to go on from here.", file=sys.stderr)
            raise SystemExit(stop.exit_status) from None
