# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The pretrained networks of the experiment on strategies: one a seed, each a run of its own that resumes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.studies.cells import check_cells
from monai_usspeech.studies.command import study_config_folders
from monai_usspeech.studies.interruption import StudyInterrupted
from monai_usspeech.studies.plan import PROGRAM, StudyCell
from monai_usspeech.studies.progress import StudyProgress, failure_table
from monai_usspeech.studies.runner import run_cells
from monai_usspeech.studies.settings import PRETRAIN_STAGE, cell_name

__all__ = ["pretraining_cells", "run_pretraining"]

_KEYS = ("method", "files", "values")


def pretraining_cells(
    output_dir: str,
    pretrain_dir: str,
    pretrain: Mapping[str, Any],
    seeds: Sequence[int],
    folders: Sequence[str | Path] | None,
) -> list[StudyCell]:
    """The pretraining of each seed, checked before any runs.

    Args:
        output_dir: of the experiment.
        pretrain_dir: scans to learn from, without labels.
        pretrain: ``method``, a name; ``files``, configurations; ``values`` over them.
        seeds: one pretraining each.
        folders: where configurations are looked for after the current directory; default: the folders above the file
            that was named on the command line.

    Raises:
        InputError: for a file that is not there, or a value that the configurations do not have.
    """
    for name in pretrain:
        if name not in _KEYS:
            raise InputError(f'pretrain: no key "{name}".{nearest_name(name, _KEYS)}')
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds: are {list(seeds)}; give some, each once.")
    if not isinstance(pretrain.get("method"), str) or not isinstance(pretrain.get("files"), (list, tuple)):
        raise InputError("pretrain: give method, a name, and files, a list of configurations.")
    places = [Path.cwd(), *map(Path, study_config_folders() if folders is None else folders)]
    files = tuple(str(_find(file, places)) for file in pretrain["files"])
    cells = []
    for seed in seeds:
        folder = Path(output_dir).resolve() / cell_name(PRETRAIN_STAGE, pretrain["method"], 0, seed)
        values = {
            "dataset_dir": str(Path(pretrain_dir).resolve()),
            "output_dir": str(folder),
            "seed": seed,
            "initialisation": None,
            **(pretrain.get("values") or {}),
        }
        cells.append(
            StudyCell(PRETRAIN_STAGE, pretrain["method"], 0, seed, folder, files, "run", values, product="model.pt")
        )
    check_cells(cells)
    return cells


def run_pretraining(cells: Sequence[StudyCell], workers: int = 1, program: Sequence[str] = PROGRAM) -> None:
    """Run the pretrainings that are left, several at a time.

    Args:
        cells: of :func:`pretraining_cells`.
        workers: how many at a time.
        program: what runs one.

    Raises:
        SystemExit: when one failed, or after an interruption.
    """
    progress = StudyProgress(cells, workers)
    try:
        outcomes = run_cells(cells, workers, program=program, watch=progress)
    except StudyInterrupted as stop:
        print(f"\nstudy: {stop}; run the same command again to go on from here.", file=sys.stderr)
        raise SystemExit(stop.exit_status) from None
    finally:
        progress.close()
    failures = failure_table(outcomes)
    if failures:
        print(f"\nNot done:\n{failures}\nRunning the same command again tries these anew.", file=sys.stderr)
        raise SystemExit(1)


def _find(name: str, places: Sequence[Path]) -> Path:
    for folder in places:
        if (folder / name).is_file():
            return (folder / name).resolve()
    raise InputError(f"pretrain: {name}: no such file in {places[0]} or above the study's configuration.")
