# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The shipped studies of HiCo: every row and value fits the configurations that it is given to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from monai_usspeech.data.files import InputError
from monai_usspeech.losses.hico_terms import TERMS
from monai_usspeech.studies.command import plan_study
from tests.conftest import REPOSITORY
from tests.data.image_set_factory import make_image_set

STUDIES = ("hico_components", "hico_methods", "hico_label_rate", "hico_batch_size")
COMPARED = (
    *("lfs_frozen", "lfs_full", "imagenet", "supervised", "pi_model", "temporal_ensembling", "fixmatch", "moco_v2"),
    *("simclr", "vcl", "uscl", "hico"),
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # two folds must each leave the largest batch of the studies, 128 videos
    return make_image_set(tmp_path_factory.mktemp("images"), n_groups=300, per_group=1, size=8)


def shipped(name: str, images: Path, preset: bool = True, **changed: Any) -> dict[str, Any]:
    """The settings of a study as its configuration resolves them."""
    files = [f"configs/studies/{name}.json", *(["configs/presets/hico_study_cpu.json"] if preset else [])]
    parser = ConfigParser()
    parser.read_config([str(REPOSITORY / file) for file in files])
    parser.update({"dataset_dir": str(images), "output_dir": str(images.parent / name), **changed})
    return dict(parser.get_parsed_content("settings"))


@pytest.mark.parametrize("name", STUDIES)
def test_every_row_also_an_optional_one_can_be_planned(name: str, images: Path):
    rows = json.loads((REPOSITORY / f"configs/studies/{name}.json").read_text(encoding="utf-8"))["all_methods"]
    rows.pop("ours", None)  # its weights are the user's
    study = shipped(name, images, preset=name != "hico_methods", methods=list(rows), folds=[0, 1])
    plan = plan_study(study, [REPOSITORY])
    assert {cell.method for cell in plan.cells if cell.stage == "image_set"} == set(rows)
    pretrained = {cell.method for cell in plan.cells if cell.stage == "pretrain"}
    assert pretrained == {key for key, row in rows.items() if "pretrain" in row}


def test_a_batch_that_the_training_set_cannot_fill_is_found_by_the_plan(images: Path):
    study = shipped("hico_methods", images, methods=["lfs_full", "simclr"], pretrain_options={"batch_size": 200})
    with pytest.raises(InputError, match="pretrain/simclr/fold0-seed0: 150 items do not fill one batch of 200"):
        plan_study(study, [REPOSITORY])


def test_the_compared_methods_take_part_unasked(images: Path):
    plan = plan_study(shipped("hico_methods", images), [REPOSITORY])
    assert tuple(plan.study.methods) == COMPARED and plan.study.n_folds == 2
    mode = {cell.method: cell.values.get("mode") for cell in plan.cells if cell.stage == "image_set"}
    assert mode["lfs_full"] == "finetune" and mode["lfs_frozen"] is None  # the task's default: the last layers
    starts = {cell.method: cell.values["initialisation"] for cell in plan.cells if cell.stage == "image_set"}
    assert starts["lfs_full"] is None and starts["imagenet"] == "imagenet"
    assert starts["hico"].endswith("model.pt")


def test_the_rows_of_the_components_differ_in_what_their_names_say(images: Path):
    plan = plan_study(shipped("hico_components", images), [REPOSITORY])
    values = {cell.method: cell.values for cell in plan.cells if cell.stage == "pretrain"}
    terms = {method: given.get("loss#loss#terms") for method, given in values.items()}
    assert {term for chosen in terms.values() for term in chosen or ()} == set(TERMS)
    assert terms["peer"] == ["local", "medium", "global"] and terms["hico"] is None
    assert values["peer_cross"]["label_rate"] == 0.0 and values["hico"]["label_rate"] == 1.0
    assert values["hard_labels"]["loss#loss#alpha"] == 0.0


@pytest.mark.parametrize(
    ("name", "option", "positions"),
    [
        ("hico_label_rate", "label_rate", [0.0, 0.1, 0.25, 0.5, 0.75, 1.0]),
        ("hico_batch_size", "batch_size", [8, 16, 32, 64, 128]),
    ],
)
def test_a_position_is_the_value_that_the_pretraining_gets(name: str, option: str, positions: list, images: Path):
    rows = json.loads((REPOSITORY / f"configs/studies/{name}.json").read_text(encoding="utf-8"))["all_methods"]
    plan = plan_study(shipped(name, images, methods=list(rows)), [REPOSITORY])
    for cell in plan.cells:
        if cell.stage == "pretrain" and plan.study.methods[cell.method].position is not None:
            assert cell.values[option] == plan.study.methods[cell.method].position
    hico = [row["position"] for row in rows.values() if row.get("series") == "HiCo"]
    assert hico == positions
    assert plan.study.position_title
