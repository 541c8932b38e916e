# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The shipped studies on SYNTHETIC scans: every row fits its configurations, and all have the same budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser, create_workflow

from monai_usspeech.studies.cells import cell_parser, check_cells
from monai_usspeech.studies.plan import StudyCell, plan_cells
from monai_usspeech.studies.reading import read_study
from tests.conftest import REPOSITORY

STUDIES = [path.stem for path in sorted((REPOSITORY / "configs/studies").glob("phantom*.json"))]
SIZES = [[], ["configs/presets/phantom_gpu.json"]]
SWEEPS = [["configs/presets/phantom_noise.json"], ["configs/presets/phantom_dwell.json"]]
CASES = [*((name, []) for name in STUDIES), *(("phantom", presets) for presets in (SIZES[1], *SWEEPS))]


def shipped(name: str, presets: list[str], **changed: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(REPOSITORY / file) for file in (f"configs/studies/{name}.json", *presets)])
    parser.update(changed)
    return parser


def clips(parser: ConfigParser, store: str) -> int:
    """Clips of 2 s of one of the study's stores."""
    of_all = parser.get_parsed_content("phantom")
    stores = parser.get_parsed_content("stores")
    (found,) = (one for one in stores if Path(one["store"]).resolve() == Path(store).resolve())
    settings = {**of_all, **found["settings"]}
    return int(settings["n_scans"] * (settings["seconds"] // 2))


def pictures(parser: ConfigParser) -> int:
    """Frames and spectrograms that a step reads, at most."""
    alpha, beta, gamma, delta = (parser[name] for name in ("alpha", "beta", "gamma", "delta"))
    pairs, batch = parser["n_pairs"], parser["batch_size"]
    if "PlaneDataset" in str(parser["train#dataset"]):
        return int(batch * pairs)
    frames = (pairs if alpha or beta or delta else 0) + (4 if gamma else 0)
    windows = 2 * batch * pairs if alpha or beta else 0
    if windows and parser.get("train#trainer#prepare_batch#max_windows") is not None:
        windows = parser.get_parsed_content("train#trainer#prepare_batch#max_windows")
    return int(batch * frames + windows)


def planned(parser: ConfigParser, output: Path) -> list[StudyCell]:
    """All cells of a study, optional rows too; its data need not be there."""
    parser.update({"output_dir": str(output), "methods": list(parser["all_methods"])})
    study = read_study(parser.get_parsed_content("settings"), [REPOSITORY])
    return plan_cells(study, {fold: ["p1000"] for fold in study.folds}, {fold: [] for fold in study.folds})


@pytest.mark.parametrize(("name", "presets"), CASES)
def test_every_row_also_an_optional_one_can_be_planned(name: str, presets: list[str], tmp_path: Path):
    parser = shipped(name, presets)
    cells = planned(parser, tmp_path)
    check_cells(cells)
    assert {cell.method for cell in cells} >= set(parser["all_methods"])
    assert len({cell.seed for cell in cells}) >= 2
    assert len({cell.name for cell in cells}) == len(cells)


@pytest.mark.parametrize(("name", "presets"), CASES)
def test_no_test_scan_is_made_from_the_seed_of_a_scan_to_learn_from(name: str, presets: list[str], tmp_path: Path):
    parser = shipped(name, presets, output_dir=str(tmp_path))
    stores = parser.get_parsed_content("stores")
    test = [one for one in stores if one["store"] == parser.get_parsed_content("dataset_dir")]
    others = [one for one in stores if one not in test]
    assert len(test) == 1 and others
    first = test[0]["settings"]["first_scan"]
    for one in others:
        assert one["settings"]["seed"] != test[0]["settings"]["seed"]
        assert one["settings"].get("first_scan", 0) + one["settings"]["n_scans"] <= first


def budgets(parser: ConfigParser, cells: list[StudyCell]) -> tuple[dict[str, int], dict[str, int]]:
    """Optimiser steps of each pretraining, and the pictures that a step of it has at most."""
    steps, sizes = {}, {}
    for cell in cells:
        if cell.stage == "pretrain":
            run = cell_parser(cell)
            number = clips(parser, cell.values["dataset_dir"])
            batch = int(run["batch_size"])
            assert number % batch == 0, f"{cell.method}: the last clips of an epoch are left out"
            steps[cell.method] = number // batch * int(run["max_epochs"])
            sizes[cell.method] = pictures(run)
    return steps, sizes


@pytest.mark.parametrize("presets", [*SIZES, *SWEEPS])
def test_all_rows_take_the_same_steps_of_as_many_pictures(presets: list[str], tmp_path: Path):
    parser = shipped("phantom", presets, output_dir=str(tmp_path))
    steps, sizes = budgets(parser, planned(parser, tmp_path))
    assert len(set(steps.values())) == 1, steps
    assert len(set(sizes.values())) == 1, sizes


def test_a_point_of_a_learning_curve_takes_the_steps_of_its_place(tmp_path: Path):
    parser = shipped("phantom_steps", [], output_dir=str(tmp_path))
    steps, sizes = budgets(parser, planned(parser, tmp_path))
    rows = parser["all_methods"]
    assert steps == {name: row["position"] for name, row in rows.items() if "position" in row}
    assert set(sizes.values()) == {120}


@pytest.mark.parametrize("name", STUDIES)
def test_what_is_wrong_with_a_study_is_said_before_scans_are_made(name: str, tmp_path: Path, monkeypatch):
    made = []
    monkeypatch.setattr("monai_usspeech.studies.synthetic_store.SyntheticStore.make", lambda *_: made.append(name))
    file = str(REPOSITORY / f"configs/studies/{name}.json")
    with pytest.raises(SystemExit, match=r'study: methods: nothing defines "oursx"'):
        create_workflow(config_file=file, run_id="study", output_dir=str(tmp_path), methods=["oursx"]).run()
    assert not made
