# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The cells of a study: each an ordinary run with its command."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fire.parser import DefaultParseValue

from monai_usspeech.data.files import InputError
from monai_usspeech.engines.initialise import INITIALISATION_WORDS
from monai_usspeech.studies.settings import PRETRAIN_STAGE, StudyMethod, StudySettings, StudyTask, cell_name

__all__ = ["PROGRAM", "StudyCell", "command_word", "deal_out", "plan_cells"]

PROGRAM = (sys.executable, "-m", "monai.bundle")
"""What runs a cell; the rest of its command line follows."""


@dataclass(frozen=True)
class StudyCell:
    """One run of a study.

    Args:
        stage: ``"pretrain"`` or the name of a task.
        method: the method's name.
        fold: the fold that is tested; of a pretraining that several share, the first.
        seed: the run's seed.
        folder: the run's ``output_dir``.
        files: its configuration files, absolute.
        run_id: what is run of them.
        values: what is given on the command line, by name.
        product: the file in ``folder`` that a finished run has.
        needs: the pretraining that must be done before.
    """

    stage: str
    method: str
    fold: int
    seed: int
    folder: Path
    files: tuple[str, ...]
    run_id: str
    values: Mapping[str, Any]
    product: str
    needs: StudyCell | None = None

    @property
    def name(self) -> str:
        """``stage/method/fold0-seed0``, as the folder is called."""
        return cell_name(self.stage, self.method, self.fold, self.seed)

    @property
    def chain(self) -> tuple[str, int, int]:
        """Cells that depend on each other have this in common: method, fold and seed of the pretraining, if any."""
        first = self.needs or self
        return first.method, first.fold, first.seed

    def command(self, program: Sequence[str] = PROGRAM) -> list[str]:
        """The command line, word by word."""
        words = [*program, "run", self.run_id, "--config_file", repr(list(self.files))]
        for name, value in self.values.items():
            words += [f"--{name}", command_word(value)]
        return words


def command_word(value: Any) -> str:
    """A value as a word of a command line that MONAI's command reads back as the same value.

    Words that would be read as something else (``"1e3"``, ``"a,b"``, a path with ``#``) are quoted. None is given as an
    expression: MONAI drops a plain None, and the configuration's own value would stand.
    """
    if value is None:
        return "$None"
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, str):
        return value if DefaultParseValue(value) == value and not value.startswith("-") else repr(value)
    return repr(value)


def plan_cells(
    study: StudySettings, held_out: Mapping[int, Sequence[str]], excluded: Mapping[int, Sequence[str]] | None = None
) -> list[StudyCell]:
    """All cells of a study, each after the one it needs; one fold and seed of all methods before the next.

    Folds whose pretraining leaves out the same subjects, as it does on data in which nobody is tested, share it: it is
    that of the first of them. From data of a method's own nobody is left out.

    Args:
        study: the settings.
        held_out: the test subjects of each fold.
        excluded: those of them that are in the data of the pretraining, default all.

    Raises:
        InputError: when a configuration file or a method's weights file is not there.
    """
    cells: list[StudyCell] = []
    excluded = held_out if excluded is None else excluded
    weights = _initialisations(study)
    pretraining: dict[tuple[str, int, tuple[str, ...]], StudyCell] = {}
    for seed in study.seeds:
        for fold in study.folds:
            for name, method in study.methods.items():
                left_out = () if method.pretrain_dir is not None else tuple(excluded[fold])
                key = (method.pretrained_as, seed, left_out)
                needs = pretraining.get(key)
                if method.pretrain is not None and needs is None:
                    needs = pretraining[key] = _pretrain_cell(study, method, weights[name], fold, seed, left_out)
                    cells.append(needs)
                for task in study.tasks.values():
                    if task.methods is None or name in task.methods:
                        cells.append(_downstream_cell(study, method, task, weights[name], fold, seed, needs))
    if not cells:
        raise InputError("the study has no cells: none of its tasks is for one of its methods; choose other methods.")
    return cells


def _initialisations(study: StudySettings) -> dict[str, str | None]:
    """The weights that each method starts from; all that are missing are told at once."""
    weights: dict[str, str | None] = {}
    missing = {}
    for name, method in study.methods.items():
        weights[name] = None if method.initialisation == "random" else method.initialisation
        if method.initialisation not in (None, *INITIALISATION_WORDS):
            try:
                weights[name] = str(study.find(str(method.initialisation), f"all_methods: {name}: initialisation"))
            except InputError as error:
                missing[name] = str(error)
    if missing:
        rest = [name for name in study.methods if name not in missing]
        mend = f'or leave the methods out: --methods "{rest}"' if rest else "or choose other methods"
        raise InputError(f"{' '.join(missing.values())} Put them there, {mend}.")
    return weights


def _files(study: StudySettings, field_name: str, *groups: Iterable[str]) -> tuple[str, ...]:
    return tuple(str(study.find(name, field_name)) for group in groups for name in group)


def _folder(study: StudySettings, stage: str, method: str, fold: int, seed: int) -> Path:
    return Path(study.output_dir).resolve() / cell_name(stage, method, fold, seed)


def _pretrain_cell(
    study: StudySettings, method: StudyMethod, weights: str | None, fold: int, seed: int, held_out: Sequence[str]
) -> StudyCell:
    name = method.pretrained_as
    where = f"all_methods: {name}: pretrain"
    folder = _folder(study, PRETRAIN_STAGE, name, fold, seed)
    values = {
        "dataset_dir": str(Path(method.pretrain_dir or study.pretrain_data).resolve()),
        "output_dir": str(folder),
        "seed": seed,
        "initialisation": weights,
        **study.pretrain_options,
        **method.pretrain_values,
        "exclude_subjects": list(held_out) or None,
    }
    files = _files(study, where, study.pretrain, method.pretrain or (), study.pretrain_preset)
    return StudyCell(PRETRAIN_STAGE, name, fold, seed, folder, files, run_id="run", values=values, product="model.pt")


def _downstream_cell(
    study: StudySettings,
    method: StudyMethod,
    task: StudyTask,
    weights: str | None,
    fold: int,
    seed: int,
    needs: StudyCell | None,
) -> StudyCell:
    if not task.pretrained:
        weights, needs = None, None
    if needs is not None:
        weights = str(needs.folder / (method.weights or needs.product))
    folder = _folder(study, task.name, method.name, fold, seed)
    values = {
        "dataset_dir": str(Path(study.dataset_dir).resolve()),
        "output_dir": str(folder),
        "method": method.name,
        "initialisation": weights,
        "fold": fold,
        "n_folds": study.n_folds,
        "split_seed": study.split_seed,
        "seed": seed,
        **study.downstream_options,
        **task.options,
        **method.options,
        **method.task_options.get(task.name, {}),
    }
    where = f"all_tasks: {task.name}: configs"
    files = _files(study, where, task.configs)
    files += _files(study, f"all_methods: {method.name}: downstream", method.downstream)
    files += _files(study, "downstream_preset", study.downstream_preset)
    return StudyCell(task.name, method.name, fold, seed, folder, files, task.run, values, task.product, needs)


def deal_out(cells: Sequence[StudyCell], part: int, n_parts: int) -> list[StudyCell]:
    """The cells of one of several parts that are run on different machines.

    Cells that need one another are in the same part. Chains go, the longest first, to the part that has the fewest
    cells so far, so parts differ by at most the length of a chain. The parts together are all cells, each once.

    Args:
        cells: all cells.
        part: which part, from 1.
        n_parts: how many there are.
    """
    lengths: dict[tuple[str, int, int], int] = {}
    for cell in cells:
        lengths[cell.chain] = lengths.get(cell.chain, 0) + 1
    load = [0] * n_parts
    owner = {}
    for chain in sorted(lengths, key=lambda chain: -lengths[chain]):  # stable: equal lengths keep the plan's order
        owner[chain] = load.index(min(load))
        load[owner[chain]] += lengths[chain]
    return [cell for cell in cells if owner[cell.chain] == part - 1]
