# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The weights inside a pretraining's folder that downstream cells start from: are they there, or will they be?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from monai_usspeech.data.files import InputError
from monai_usspeech.studies.cells import cell_parser, is_finished
from monai_usspeech.studies.plan import StudyCell

__all__ = ["check_start_weights"]

_OF_A_STEP = re.compile(r"model_step(\d+)\.pt")


def check_start_weights(cells: Sequence[StudyCell]) -> None:
    """Check the cells that start from another file of a pretraining than its product, before anything runs.

    Args:
        cells: the planned cells.

    Raises:
        InputError: when a finished pretraining does not have the file, or when one that is still to come, or to go on,
            will not write it.
    """
    for cell in cells:
        if cell.needs is None:
            continue
        file = Path(str(cell.values["initialisation"]))
        if file.name == cell.needs.product or file.is_file():
            continue
        step = _OF_A_STEP.fullmatch(file.name)
        steps = sorted(_kept_steps(cell.needs) | ({int(step[1])} if step else set()))
        said = f"all_methods: {cell.method}: weights: {cell.needs.name}"
        if is_finished(cell.needs):
            mend = f"give its pretraining keep_steps {steps}" if step else "name a file that it writes (keep_steps)"
            raise InputError(f"{said} has finished without {file.name}; {mend}, and remove that folder, or choose"
                             " another output_dir, to pretrain anew.")  # fmt: skip
        if step is not None and int(step[1]) not in _kept_steps(cell.needs):
            raise InputError(f"{said} will not write {file.name}; give its pretraining keep_steps {steps}.")


def _kept_steps(cell: StudyCell) -> set[int]:
    """After which steps a pretraining keeps its weights, by its configuration."""
    steps = cell_parser(cell).get("keep_steps") or ()
    return set(steps) if isinstance(steps, (list, tuple)) else set()
