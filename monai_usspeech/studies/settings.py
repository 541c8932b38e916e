# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What a study is: methods, tasks, folds and seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_usspeech.data.files import InputError
from monai_usspeech.studies.hypotheses import StudyHypothesis

__all__ = ["PRETRAIN_STAGE", "StudyMethod", "StudySettings", "StudyTask", "cell_name"]

PRETRAIN_STAGE = "pretrain"
"""The stage, and the folder, of the pretraining cells; no task can have this name."""


def cell_name(stage: str, method: str, fold: int, seed: int) -> str:
    """``stage/method/fold0-seed0``: the name of a cell, and its folder inside the study's."""
    return f"{stage}/{method}/fold{fold}-seed{seed}"


@dataclass(frozen=True)
class StudyMethod:
    """One row of the tables: where the weights come from that downstream training starts with.

    Args:
        name: the row's short name, also the name of its folders.
        title: the row's name in tables; default ``name``.
        pretrain: configuration files laid over the study's ``pretrain``; None when there is no pretraining.
        pretrain_values: plain values given to this method's pretraining, such as ``{"label_rate": 0.1}``.
        pretrain_dir: data of its own for this method's pretraining, in place of the study's: rows that differ in what
            they learn from. Nobody that the study tests may be in them.
        pretrain_of: another method, whose pretraining this one starts from instead of one of its own: rows that differ
            downstream alone. :func:`~monai_usspeech.studies.read_study` copies ``pretrain``, ``pretrain_dir``,
            ``pretrain_values`` and ``initialisation`` from there.
        weights: the file in the pretraining's folder that downstream cells start from, such as ``"model_step400.pt"``
            (see :class:`~monai_usspeech.handlers.WeightsAtStepsHandler`); default its product, ``model.pt``.
        initialisation: a weights file, or the word ``"imagenet"``; None or ``"random"`` starts at random. With
            ``pretrain`` it is what pretraining starts from.
        downstream: configuration files laid over those of every task, for this method alone.
        options: values given to every downstream cell of this method.
        task_options: the same for one task: ``{task: {name: value}}``.
        note: a remark for the tables.
        optional: take part only when named in ``methods``.
        position: the number that the methods of a study differ in, such as the label rate. The report draws the metrics
            of the methods that have one over it.
        series: the curve that the position belongs to, for studies that draw several.
    """

    name: str
    title: str = ""
    pretrain: tuple[str, ...] | None = None
    pretrain_values: Mapping[str, Any] = field(default_factory=dict)
    pretrain_dir: str | None = None
    pretrain_of: str | None = None
    weights: str | None = None
    initialisation: str | None = None
    downstream: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    task_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    note: str = ""
    optional: bool = False
    position: float | None = None
    series: str = ""

    @property
    def pretrained_as(self) -> str:
        """The method that the pretraining is of, and in whose folder it lies."""
        return self.pretrain_of or self.name


@dataclass(frozen=True)
class StudyTask:
    """One downstream task.

    Args:
        name: its short name, also the name of its folder.
        title: its name in tables; default ``name``.
        configs: the configuration files of a cell's run.
        run: the run id of a cell.
        options: values given to every cell of this task.
        methods: the only methods that this task makes sense for; None means all.
        pretrained: False starts every method at random.
        product: the file that a finished cell has.
    """

    name: str
    title: str = ""
    configs: tuple[str, ...] = ()
    run: str = "run"
    options: Mapping[str, Any] = field(default_factory=dict)
    methods: tuple[str, ...] | None = None
    pretrained: bool = True
    product: str = "results.json"


@dataclass(frozen=True)
class StudySettings:
    """A whole study. The fields are the keys of a study's configuration; see ``docs/studies.md``.

    ``methods`` and ``tasks`` are those that take part, by name; ``reference`` is the method that reports compare with.
    ``dataset_dir`` and ``pretrain_dir`` are a scan store's folder or an image set's datalist. Pretraining uses
    ``pretrain_dir``, by default the study's own data, without those of the fold's test subjects that are in it **by
    name**: that one person has one name in both is for the user to see to. ``position_title`` names the axis of the
    methods' positions. ``hypotheses`` are what is expected, in the order of the report.
    """

    name: str
    dataset_dir: str
    output_dir: str
    methods: dict[str, StudyMethod]
    tasks: dict[str, StudyTask]
    description: str = ""
    reference: str | None = None
    n_folds: int = 3
    folds: tuple[int, ...] = (0, 1, 2)
    seeds: tuple[int, ...] = (0, 1, 2)
    split_seed: int = 0
    cells: tuple[int, int] = (1, 1)
    workers: int = 1
    devices: tuple[int | str, ...] | None = None
    pretrain_dir: str | None = None
    position_title: str = ""
    hypotheses: Mapping[str, StudyHypothesis] = field(default_factory=dict)
    pretrain: tuple[str, ...] = ()
    pretrain_preset: tuple[str, ...] = ()
    pretrain_options: Mapping[str, Any] = field(default_factory=dict)
    downstream_preset: tuple[str, ...] = ()
    downstream_options: Mapping[str, Any] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()

    @property
    def pretrain_data(self) -> str:
        """Where the data of the pretraining are."""
        return self.pretrain_dir or self.dataset_dir

    def find(self, name: str, field_name: str) -> Path:
        """The file of that name: absolute, in the current directory, or beside the study's configuration.

        Raises:
            InputError: when it is in none of these places.
        """
        for folder in (Path.cwd(), *self.folders):
            if (folder / name).is_file():
                return (folder / name).resolve()
        above = " or in the folders above the study's configuration" if self.folders else ""
        places = "" if Path(name).is_absolute() else f" in {Path.cwd()}{above}"
        raise InputError(f"{field_name}: {name}: no such file{places}.")
