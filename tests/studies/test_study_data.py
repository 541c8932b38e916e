# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What a study knows of its data, and what it proves of them: scan stores and image sets alike."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.data.image_set_splits import image_set_split
from monai_usspeech.data.splits import subject_split
from monai_usspeech.data.store import ScanStore
from monai_usspeech.studies.command import plan_study
from monai_usspeech.studies.plan import deal_out
from monai_usspeech.studies.proof import prove_disjoint
from monai_usspeech.studies.reading import read_study
from monai_usspeech.studies.study_data import open_study_data
from monai_usspeech.studies.study_file import write_study
from tests.data.image_set_factory import make_image_set
from tests.studies.small_study import make_files, settings

ONE_TASK = {"planes": {"configs": ["task.json"]}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_files(tmp_path_factory.mktemp("data"))
    make_image_set(folder / "set")
    make_image_set(folder / "other", prefix="v")
    make_image_set(folder / "overlapping", n_groups=4)
    return folder


def test_a_folder_is_a_store_and_a_file_an_image_set(root: Path):
    store, images = open_study_data(root / "store"), open_study_data(root / "set/images.json")
    assert store.subjects == ScanStore(root / "store").subjects
    facts = store.facts()
    assert (facts["scans"], facts["subjects"]) == (6, 6) and len(facts["sha256"]) == 64
    assert images.subjects == tuple(f"g{number}" for number in range(10))
    facts = images.facts()
    assert (facts["names"], facts["images"], facts["groups"]) == (["patterns"], 40, 10)
    assert facts["store"] == str((root / "set/images.json").resolve())
    for missing in ("gone.json", "gone"):
        with pytest.raises(InputError, match="gone.*no such"):
            open_study_data(root / missing)


def test_the_folds_are_those_of_the_downstream_configurations(root: Path):
    for fold in range(3):
        expected = subject_split(root / "store", n_folds=3, fold=fold, seed=4).test
        assert open_study_data(root / "store").test_subjects(3, fold, 4) == tuple(sorted(expected))
        expected = image_set_split(root / "set/images.json", n_folds=3, fold=fold, seed=4).test
        assert open_study_data(root / "set/images.json").test_subjects(3, fold, 4) == tuple(sorted(expected))


def test_the_hash_of_an_image_set_follows_its_content_not_its_place(root: Path, tmp_path: Path):
    def digest(folder: Path) -> str:
        return str(open_study_data(folder / "images.json").facts()["sha256"])

    before = digest(root / "set")
    shutil.copytree(root / "set", tmp_path / "moved")
    assert digest(tmp_path / "moved") == before
    content = json.loads((root / "set/images.json").read_text())
    for field, value in (("label", "level"), ("group", "another"), ("fold", 1)):
        changed: dict[str, Any] = json.loads(json.dumps(content))
        for image in changed["images"][:4]:
            image[field] = value
        for image in changed["images"][4:] if field == "fold" else ():
            image["fold"] = 0
        (tmp_path / "moved/images.json").write_text(json.dumps(changed))
        assert digest(tmp_path / "moved") != before, field
    (tmp_path / "moved/images.json").write_text(json.dumps(content, indent=4))
    assert digest(tmp_path / "moved") == before
    with open(tmp_path / "moved/g0_0.png", "ab") as file:
        file.write(b"more")
    assert digest(tmp_path / "moved") != before


def test_a_study_of_an_image_set_leaves_out_the_groups_that_it_tests(root: Path):
    images = str(root / "set/images.json")
    plan = plan_study(settings(root, dataset_dir=images, all_tasks=ONE_TASK), [root])
    assert sorted(sum(plan.held_out.values(), ())) == [f"g{number}" for number in range(10)]
    pretrained = [cell for cell in plan.cells if cell.stage == "pretrain"]
    assert len(pretrained) == 2 * 3 * 2
    for cell in pretrained:
        assert cell.values["exclude_subjects"] == list(plan.held_out[cell.fold])
        assert cell.values["dataset_dir"] == str(Path(images).resolve())


def test_pretraining_on_other_data_is_done_once_for_all_folds(root: Path):
    images, other = str(root / "set/images.json"), str(root / "other/images.json")
    study = settings(root, dataset_dir=images, pretrain_dir=other, all_tasks=ONE_TASK)
    plan = plan_study(study, [root])
    pretrained = [cell for cell in plan.cells if cell.stage == "pretrain"]
    assert [(cell.method, cell.fold, cell.seed) for cell in pretrained] == [
        (method, 0, seed) for seed in (0, 1) for method in ("video", "ours")
    ]
    assert all(cell.values["exclude_subjects"] is None for cell in pretrained)
    assert all(cell.values["dataset_dir"] == str(Path(other).resolve()) for cell in pretrained)
    tested = [cell for cell in plan.cells if cell.stage == "planes" and cell.needs is not None]
    assert len(tested) == 2 * 3 * 2 and all(cell.values["dataset_dir"] == images for cell in tested)
    assert all(cell.values["initialisation"] == str(cell.needs.folder / "model.pt") for cell in tested if cell.needs)
    for n_parts in (2, 3):  # whoever runs a cell has its pretraining
        for part in (deal_out(plan.cells, number, n_parts) for number in range(1, n_parts + 1)):
            assert all(cell.needs is None or cell.needs in part for cell in part)


@pytest.mark.parametrize("other", ["other", "overlapping"])
def test_other_data_in_which_nobody_has_a_known_name_get_a_warning(root: Path, caplog, other):
    study = settings(root, dataset_dir=str(root / "set/images.json"), pretrain_dir=str(root / other / "images.json"))
    plan_study({**study, "all_tasks": ONE_TASK}, [root])
    assert ("under other names" in caplog.text) == (other == "other")


def test_names_that_both_data_have_are_left_out_of_the_pretraining(root: Path):
    images, other = str(root / "set/images.json"), str(root / "overlapping/images.json")
    study = settings(root, dataset_dir=images, pretrain_dir=other)
    plan = plan_study({**study, "all_tasks": ONE_TASK}, [root])
    known = {f"g{number}" for number in range(4)}
    left_out: dict[int, set[str]] = {}
    for cell in plan.cells:
        if cell.stage == "pretrain":
            left_out[cell.fold] = set(cell.values["exclude_subjects"] or ())
    for fold, test in plan.held_out.items():
        assert left_out.get(fold, set()) == known & set(test)
    fold = next(fold for fold, names in left_out.items() if names)
    cell = next(cell for cell in plan.cells if cell.stage == "pretrain" and cell.fold == fold)
    leaky = replace(cell, values={**cell.values, "exclude_subjects": None})
    with pytest.raises(InputError, match="is in both"):
        prove_disjoint([leaky], known, plan.held_out)
    user = next(c for c in plan.cells if c.needs is cell)
    with pytest.raises(InputError, match="which leaves out other subjects"):
        prove_disjoint([replace(user, needs=leaky)], known, plan.held_out)


def test_other_pretraining_data_do_not_go_on_in_the_same_folder(root: Path, tmp_path: Path):
    images = str(root / "set/images.json")
    study = settings(root, dataset_dir=images, all_tasks=ONE_TASK, output_dir=str(tmp_path / "study"))
    plan = plan_study({**study, "pretrain_dir": str(root / "other/images.json")}, [root])
    written = json.loads(write_study(plan.study, plan.data, plan.held_out, plan.subjects).read_text())
    assert written["data"]["images"] == 40 and written["data"]["pretraining"]["store"].endswith("other/images.json")
    assert written["splits"]["0"]["pretraining"] == [f"v{number}" for number in range(10)]
    plan_study({**study, "pretrain_dir": str(root / "other/images.json")}, [root])
    with pytest.raises(InputError, match="the data of the pretraining were others"):
        plan_study({**study, "pretrain_dir": str(root / "overlapping/images.json")}, [root])
    with pytest.raises(InputError, match="the data of the pretraining were others"):
        plan_study(study, [root])
    with pytest.raises(InputError, match="the images were others"):
        plan_study({**study, "dataset_dir": str(root / "other/images.json"), "pretrain_dir": None}, [root])


def test_a_method_learns_from_data_of_its_own(root: Path, tmp_path: Path):
    images, other = str(root / "set/images.json"), str(root / "other/images.json")
    methods = {
        "base": {"pretrain": ["video.json"]},
        "elsewhere": {"pretrain": ["video.json"], "pretrain_dir": other},
        "end": {"pretrain_of": "elsewhere", "options": {"mode": "probe"}},
    }
    study = settings(root, dataset_dir=images, all_tasks=ONE_TASK, all_methods=methods, seeds=[0])
    study["output_dir"] = str(tmp_path / "study")
    plan = plan_study(study, [root])
    pretrained = {(cell.method, cell.fold): cell for cell in plan.cells if cell.stage == "pretrain"}
    assert set(pretrained) == {("base", 0), ("base", 1), ("base", 2), ("elsewhere", 0)}  # one serves all folds
    for (method, fold), cell in pretrained.items():
        own = method == "elsewhere"
        assert cell.values["dataset_dir"] == str(Path(other if own else images).resolve())
        assert cell.values["exclude_subjects"] == (None if own else list(plan.held_out[fold]))
    starts = [cell.needs for cell in plan.cells if cell.method in ("elsewhere", "end") and cell.stage != "pretrain"]
    assert len(starts) == 6 and all(needs is pretrained["elsewhere", 0] for needs in starts)

    written = json.loads(write_study(plan.study, plan.data, plan.held_out, plan.subjects).read_text())
    assert list(written["data"]["pretraining_of"]) == ["elsewhere"]
    fewer = plan_study({**study, "methods": ["base"]}, [root])  # what is known of the others stays
    written = json.loads(write_study(fewer.study, fewer.data, fewer.held_out, fewer.subjects).read_text())
    assert written["data"]["pretraining_of"]["elsewhere"]["store"].endswith("other/images.json")
    make_image_set(tmp_path / "new", prefix="w")
    changed = {**methods, "elsewhere": {**methods["elsewhere"], "pretrain_dir": str(tmp_path / "new/images.json")}}
    with pytest.raises(InputError, match="the data of the pretraining of elsewhere were others"):
        plan_study({**study, "all_methods": changed}, [root])


def test_data_of_a_methods_own_hold_nobody_who_is_tested(root: Path):
    images, overlapping = str(root / "set/images.json"), str(root / "overlapping/images.json")
    method = {"pretrain": ["video.json"], "pretrain_dir": overlapping}
    study = settings(root, dataset_dir=images, all_tasks=ONE_TASK, all_methods={"leaky": method})
    with pytest.raises(InputError, match='"g[0-3]".* is in both "training of pretrain/leaky'):
        plan_study(study, [root])
    # In a fold that none of them is tested in, they may be learnt from.
    known = {f"g{number}" for number in range(4)}
    free = settings(root, dataset_dir=images, all_tasks=ONE_TASK, all_methods={"apart": {"pretrain": ["video.json"]}})
    held_out = plan_study(free, [root]).held_out
    for fold, test in held_out.items():
        if not known & set(test):
            plan_study({**study, "folds": [fold]}, [root])
    for wrong in ({"pretrain_dir": other} for other in (5, "")):
        with pytest.raises(InputError, match="all_methods: leaky: pretrain_dir: is .*give a scan store"):
            read_study({**study, "all_methods": {"leaky": {**method, **wrong}}}, [root])
    with pytest.raises(InputError, match="all_methods: leaky: pretrain_dir: the method has no pretraining"):
        read_study({**study, "all_methods": {"leaky": {"pretrain_dir": overlapping}}}, [root])


METHODS = {
    "base": {"pretrain": ["video.json"], "pretrain_values": {"alpha": 0.5}},
    "tenth": {"pretrain": [], "pretrain_values": {"alpha": 0.1}, "position": 0.1, "series": "a"},
    "other_end": {"pretrain_of": "base", "downstream": ["end.json"], "options": {"mode": "probe"}},
}


def test_values_of_a_method_reach_its_pretraining_and_rows_can_share_one(root: Path):
    (root / "end.json").write_text(json.dumps({"learning_rate": 5.0}))
    study = settings(root, all_methods=METHODS, all_tasks=ONE_TASK, folds=[0], seeds=[0])
    cells = {cell.name: cell for cell in plan_study({**study, "pretrain_options": {"alpha": 9}}, [root]).cells}
    assert list(cells) == [
        *("pretrain/base/fold0-seed0", "planes/base/fold0-seed0", "pretrain/tenth/fold0-seed0"),
        *("planes/tenth/fold0-seed0", "planes/other_end/fold0-seed0"),
    ]
    assert cells["pretrain/base/fold0-seed0"].values["alpha"] == 0.5
    assert cells["pretrain/tenth/fold0-seed0"].values["alpha"] == 0.1
    assert [Path(name).name for name in cells["pretrain/tenth/fold0-seed0"].files] == ["train.json"]
    shared = cells["planes/other_end/fold0-seed0"]
    assert shared.needs is cells["pretrain/base/fold0-seed0"]
    assert [Path(name).name for name in shared.files] == ["task.json", "end.json"]
    alone = plan_study({**study, "methods": ["other_end"]}, [root]).cells  # the pretraining is still base's
    assert [cell.name for cell in alone] == ["pretrain/base/fold0-seed0", "planes/other_end/fold0-seed0"]
    assert alone[0].values == {**cells["pretrain/base/fold0-seed0"].values}
    assert read_study(study).methods["tenth"].position == 0.1


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"pretrain_of": "bse"}, r'm: pretrain_of: nothing defines "bse". Did you mean "base"\?'),
        ({"pretrain_of": "plain"}, "plain has no pretraining of its own"),
        (
            {"pretrain_of": "base", "pretrain": []},
            "take pretrain, pretrain_dir, pretrain_values and initialisation out",
        ),
        ({"pretrain_values": {"alpha": 1}}, "m: pretrain_values: the method has no pretraining"),
        ({"pretrain": [], "pretrain_values": {"seed": 1}}, '"seed" is set by the study itself'),
        ({"position": "left"}, "m: position: is 'left'; give a number"),
        ({"position": True}, "give a number"),
        ({"downstream": "end.json"}, "m: downstream: .* give a list of words"),
        ({"downstream": ["gone.json"]}, "all_methods: m: downstream: gone.json: no such file"),
        ({"pretrain": [], "pretrain_values": {"alhpa": 1}}, r'--alhpa: .* Did you mean "alpha"\?'),
    ],
)
def test_what_a_method_cannot_be_is_one_sentence(root: Path, method: dict[str, Any], message: str):
    methods = {"base": METHODS["base"], "plain": {}, "m": method}
    with pytest.raises(InputError, match=message):
        plan_study(settings(root, all_methods=methods, all_tasks=ONE_TASK), [root])


def test_other_pretraining_data_are_named_by_a_word(root: Path):
    with pytest.raises(InputError, match="pretrain_dir: is 3; give a scan store or a datalist"):
        plan_study(settings(root, pretrain_dir=3), [root])
