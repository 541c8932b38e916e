# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The plan of a study: nobody is tested on whom they learned from, and nothing is missing, double or unknown."""

from __future__ import annotations

import ast
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser

from monai_usspeech.data.files import InputError
from monai_usspeech.data.store import ScanStore
from monai_usspeech.studies.cells import cell_content
from monai_usspeech.studies.command import plan_study, study_config_folders
from monai_usspeech.studies.plan import command_word, deal_out
from monai_usspeech.studies.proof import prove_disjoint, prove_splits
from monai_usspeech.studies.reading import read_study
from tests.conftest import REPOSITORY
from tests.data.store_factory import make_store
from tests.studies.small_study import make_files, settings


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_files(tmp_path_factory.mktemp("plan"))


def given(command: list[str]) -> dict[str, Any]:
    """What MONAI's command would read of a cell's command line."""
    words = {w[2:]: command[i + 1] for i, w in enumerate(command) if w.startswith("--")}
    return {name: None if word == command_word(None) else DefaultParseValue(word) for name, word in words.items()}


def test_the_cells_are_methods_by_tasks_by_folds_by_seeds(root: Path):
    cells = plan_study(settings(root), [root]).cells
    # pretraining of two methods, planes of three, retrieval of one; three folds, two seeds
    assert Counter(cell.stage for cell in cells) == {"pretrain": 12, "planes": 18, "retrieval": 6}
    assert len({cell.folder for cell in cells}) == 36
    for place, cell in enumerate(cells):
        assert cell.needs is None or cells.index(cell.needs) < place
        assert cell.folder == root / "study" / cell.stage / cell.method / f"fold{cell.fold}-seed{cell.seed}"


def test_no_planned_command_trains_on_whom_it_or_its_dependants_test(root: Path):
    """The leak proof, from the command lines alone: folds are remade by an independent reading of the arguments."""
    plan = plan_study(settings(root), [root])
    everyone = set(ScanStore(root / "store").subjects)
    pretrained = {}
    for cell in plan.cells:
        values = given(cell.command())
        if cell.stage == "pretrain":
            pretrained[values["output_dir"] + "/model.pt"] = everyone - set(values["exclude_subjects"]), cell
    assert pretrained
    for cell in plan.cells:
        if cell.stage != "pretrain":
            values = given(cell.command())
            test = set(plan.held_out[values["fold"]])
            assert test and values["n_folds"] == 3 and values["split_seed"] == 0
            if values["initialisation"] is not None:
                trained, source = pretrained[values["initialisation"]]
                assert trained and not trained & test
                assert (source.method, source.seed) == (cell.method, values["seed"])
            else:
                assert cell.method == "random"
    tests = [set(subjects) for subjects in plan.held_out.values()]
    assert set.union(*tests) == everyone and sum(map(len, tests)) == len(everyone)


def test_a_pretraining_without_the_exclusion_is_refused_by_name(root: Path):
    plan = plan_study(settings(root), [root])
    cell = next(cell for cell in plan.cells if cell.stage == "pretrain" and cell.fold == 1)
    leaky = replace(cell, values={**cell.values, "exclude_subjects": list(plan.held_out[1][1:])})
    everyone = ScanStore(root / "store").subjects
    with pytest.raises(InputError, match=f'subject "{plan.held_out[1][0]}" is in both "training of pretrain/'):
        prove_disjoint([leaky], everyone, plan.held_out)
    wrong = replace(next(c for c in plan.cells if c.needs is cell), fold=2)
    with pytest.raises(InputError, match="which leaves out other subjects"):
        prove_disjoint([wrong], everyone, plan.held_out)
    with pytest.raises(InputError, match="is in both"):
        prove_disjoint([], everyone, {0: ("p000", "p001"), 1: ("p001", "p002")})


def test_a_task_that_the_scans_have_no_annotations_for_is_refused_before_anything_runs(root: Path):
    shipped = str(REPOSITORY / "configs/downstream/gaze_saliency.json")
    tasks = {"gaze": {"configs": [shipped]}}
    methods = {"random": {"title": "Rand.Init."}}
    with pytest.raises(InputError, match="^gaze/random/fold0-seed0: .*no subject with gaze with a fix is in the test"):
        plan_study(settings(root, all_tasks=tasks, all_methods=methods), [root])
    make_store(root / "looked", n_scans=6, seconds=2.0, fps=4.0, size=8, speech=False, gaze=True)
    fewer = settings(root, all_tasks=tasks, all_methods=methods, dataset_dir=str(root / "looked"))
    plan = plan_study(fewer, [root])
    assert len(plan.cells) == 6
    with pytest.raises(InputError, match="n_label_subjects is 1"):
        plan_study({**fewer, "downstream_options": {"n_label_subjects": 1}}, [root])
    elsewhere = {fold: plan.held_out[(fold + 1) % 3] for fold in plan.held_out}
    with pytest.raises(InputError, match="who is not in fold 0"):
        prove_splits(plan.cells, elsewhere)


def test_random_is_no_file(root: Path):
    methods = {"drawn": {"initialisation": "random"}, "plain": {}, "fetched": {"initialisation": "imagenet"}}
    one_task = {"planes": {"configs": ["task.json"]}}
    cells = plan_study(settings(root, all_methods=methods, all_tasks=one_task), [root]).cells
    assert {cell.method: cell.values["initialisation"] for cell in cells} == {
        "drawn": None, "plain": None, "fetched": "imagenet"}  # fmt: skip


def test_weights_from_a_file_that_have_seen_a_test_subject_are_refused(root: Path):
    (root / "own.pt").write_bytes(b"weights")
    (root / "own.json").write_text(json.dumps({"subjects": ["p003"]}))
    methods = {"own": {"initialisation": "own.pt"}}
    one_task = {"planes": {"configs": ["task.json"]}}
    with pytest.raises(InputError, match="own.pt was trained on 1 of the test subjects"):
        plan_study(settings(root, all_methods=methods, all_tasks=one_task), [root])
    fold = next(f for f, test in plan_study(settings(root), [root]).held_out.items() if "p003" not in test)
    plan = plan_study(settings(root, all_methods=methods, all_tasks=one_task, folds=[fold]), [root])
    assert given(plan.cells[0].command())["initialisation"] == str(root / "own.pt")


@pytest.mark.parametrize("n_parts", [1, 2, 4, 5, 40])
def test_the_parts_together_are_every_cell_once_and_chains_stay_whole(root: Path, n_parts: int):
    cells = plan_study(settings(root), [root]).cells
    parts = [deal_out(cells, part, n_parts) for part in range(1, n_parts + 1)]
    assert sorted(cell.name for part in parts for cell in part) == sorted(cell.name for cell in cells)
    for part in parts:
        names = {cell.name for cell in part}
        assert all(cell.needs is None or cell.needs.name in names for cell in part)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 3  # the longest chain: pretrain, planes, retrieval


@pytest.mark.parametrize(
    "value",
    [
        "runs/study",
        "a,b",
        "a#b",
        "1e3",
        "None",
        "-x",
        "with space",
        "it's",
        "[x",
        True,
        -1,
        0.5,
        [1, "a b"],
        "%f",
    ],
)
def test_a_value_comes_out_of_the_command_line_as_it_went_in(value: Any):
    assert DefaultParseValue(command_word(value)) == value
    try:
        ours = ast.literal_eval(command_word(value))  # how the check of the command line reads it
    except (ValueError, SyntaxError):
        ours = command_word(value)
    assert ours == value


def test_none_on_a_command_line_is_one_that_monai_does_not_drop():
    parser = ConfigParser({"initialisation": "imagenet"})
    parser.update({"initialisation": DefaultParseValue(command_word(None))})
    assert parser.get_parsed_content("initialisation") is None


METHOD = {"random": {}}
TASK = {"planes": {"configs": ["task.json"]}}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": [0]}, r'study: no key "seed". Did you mean "seeds"\?'),
        ({"all_methods": {"a": {"pretrian": []}}}, r'all_methods: a: no key "pretrian". Did you mean "pretrain"\?'),
        ({"all_tasks": {"a": {"config": []}}}, r'all_tasks: a: no key "config". Did you mean "configs"\?'),
        ({"methods": ["our"]}, r'methods: nothing defines "our". Did you mean "ours"\?'),
        ({"methods": []}, "methods: is empty"),
        ({"methods": "ours"}, "give a list of words"),
        ({"tasks": ["plane"]}, r'tasks: nothing defines "plane". Did you mean "planes"\?'),
        ({"reference": "best"}, 'reference: nothing defines "best"'),
        ({"all_tasks": {"pretrain": {"configs": ["task.json"]}}}, "cannot name a folder"),
        ({"all_tasks": {"a": {}}}, "all_tasks: a: has no configs"),
        ({"all_tasks": {"a": {"configs": ["task.json"], "methods": ["x"]}}}, 'nothing defines "x"'),
        ({"all_methods": {"a": {"options": {"seed": 1}}}, "all_tasks": TASK}, '"seed" is set by the study itself'),
        ({"all_methods": {"a": {"options": {"x": {}}}}, "all_tasks": TASK}, "components belong in a file"),
        ({"all_methods": {"a": {"weights": "m.pt"}}, "all_tasks": TASK}, "a: weights: the method has no pretraining"),
        *(
            ({"all_methods": {"a": {"pretrain": [], "weights": name}}, "all_tasks": TASK}, "a: weights: is .* file in")
            for name in ("../m.pt", "", "a/b.pt", 400)
        ),
        ({"hypotheses": {"H1": {"statment": "x"}}}, r'hypotheses: H1: no key "statment"\. Did you mean "statement"'),
        ({"folds": [0, 3]}, r"folds: 3 is not below n_folds \(3\)"),
        ({"folds": 1}, "give a list of whole numbers"),
        ({"seeds": [0, 0]}, "names one twice"),
        ({"n_folds": 1}, "n_folds: is 1; give a whole number from 2 on"),
        ({"workers": 0}, "workers: is 0"),
        ({"cells": "3/2"}, 'cells: is "3/2"; give i/n'),
        ({"n_folds": 7, "folds": [0]}, "7 folds need at least 7 subjects"),
    ],
)
def test_what_a_study_cannot_be_is_one_sentence(root: Path, changed: dict, message: str):
    with pytest.raises(InputError, match=message):
        plan_study(settings(root, **changed), [root])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"all_methods": {"a": {"pretrain": ["gone.json"]}}, "all_tasks": TASK}, "all_methods: a: pretrain: gone.json"),
        ({"all_methods": METHOD, "all_tasks": {"t": {"configs": ["gone.json"]}}}, "all_tasks: t: configs: gone.json"),
        (
            {
                "all_methods": {"a": {"initialisation": "gone.pt"}, "b": {}, "c": {"initialisation": "gone.npz"}},
                "all_tasks": TASK,
            },
            r"a: initialisation: gone.pt: no such file.*gone.npz: no such file.*--methods \"\['b'\]\"",
        ),
        ({"all_methods": METHOD, "all_tasks": {"t": {"configs": ["task.json"], "run": "runn"}}}, 'no run id "runn"'),
        (
            {"all_methods": {"a": {"options": {"learning_rat": 1}}}, "all_tasks": TASK},
            r'planes/a/fold0-seed0: --learning_rat: .* Did you mean "learning_rate"\?',
        ),
        ({"dataset_dir": "/nowhere"}, "/nowhere: no such scan store"),
    ],
)
def test_what_is_missing_is_told_before_anything_runs(root: Path, changed: dict, message: str):
    with pytest.raises(InputError, match=message):
        plan_study(settings(root, **changed), [root])
    assert not (root / "study").exists()


def test_options_reach_the_cells_the_nearest_wins(root: Path):
    methods = {"a": {"options": {"mode": "b"}, "task_options": {"two": {"mode": "c"}}}, "plus": {"optional": True}}
    tasks = {name: {"configs": ["task.json"], "options": {"mode": "a", "learning_rate": 2}} for name in ("one", "two")}
    tasks["bare"] = {"configs": ["task.json"], "pretrained": False}
    study = settings(root, all_methods=methods, all_tasks=tasks, downstream_options={"learning_rate": 1, "mode": "z"})
    cells = {cell.stage: given(cell.command()) for cell in plan_study(study, [root]).cells}
    chosen = {stage: (values["mode"], values["learning_rate"]) for stage, values in cells.items()}
    assert chosen == {"one": ("b", 2), "two": ("c", 2), "bare": ("b", 1)}
    assert cells["bare"]["initialisation"] is None
    assert list(read_study(study).methods) == ["a"]
    assert list(read_study({**study, "methods": ["plus", "a"]}).methods) == ["a", "plus"]


STEPS = {
    "plus": {"pretrain": ["ours.json"], "optional": True},
    "plus_2": {"title": "Plus, 2 steps", "pretrain_of": "plus", "weights": "model_step2.pt", "position": 2},
    "plus_4": {"title": "Plus, 4 steps", "pretrain_of": "plus", "position": 4},
}


def test_rows_start_from_the_weights_after_a_step(root: Path):
    """The method that they are of takes part through them alone: its pretraining is planned, once, its tasks not."""
    study = settings(root, all_methods=STEPS, all_tasks=TASK, pretrain_options={"keep_steps": [2]}, folds=[0])
    cells = plan_study(study, [root]).cells
    assert [cell.name for cell in cells if cell.seed == 0] == [
        "pretrain/plus/fold0-seed0", "planes/plus_2/fold0-seed0", "planes/plus_4/fold0-seed0"]  # fmt: skip
    pretraining, two, four = cells[:3]
    assert given(two.command())["initialisation"] == str(pretraining.folder / "model_step2.pt")
    assert given(four.command())["initialisation"] == str(pretraining.folder / "model.pt")
    assert two.needs is four.needs is pretraining
    assert cell_content(two)["initialisation"] == cell_content(four)["initialisation"] + ", model_step2.pt"
    more = settings(root, all_methods=STEPS, all_tasks=TASK, pretrain_options={"keep_steps": [2, 3]}, folds=[0])
    assert cell_content(plan_study(more, [root]).cells[0]) == cell_content(pretraining)  # what is kept is no result


def test_a_step_that_will_not_be_there_is_told_before_anything_runs(root: Path, tmp_path: Path):
    elsewhere = {"output_dir": str(tmp_path / "study"), "folds": [0], "seeds": [0]}
    study = settings(root, all_methods=STEPS, all_tasks=TASK, **elsewhere)
    with pytest.raises(InputError, match=r"weights: pretrain/plus/fold0-seed0 will not write .*keep_steps \[2\]"):
        plan_study(study, [root])
    kept = {**study, "pretrain_options": {"keep_steps": [2]}}
    folder = plan_study(kept, [root]).cells[0].folder
    folder.mkdir(parents=True)
    (folder / "model.pt").touch()
    (folder / "cell.json").write_text(json.dumps({"state": "done"}))
    with pytest.raises(InputError, match=r"has finished without model_step2.pt; give its pretraining keep_steps \[2\]"):
        plan_study(kept, [root])
    (folder / "model_step2.pt").touch()
    assert len(plan_study(study, [root]).cells) == 3  # it is there, whatever the configuration says now


def test_files_are_found_above_the_configuration(tmp_path: Path):
    for typed in ("['{0}/configs/studies/x.json','y.json']", "{0}/configs/studies/x.json"):
        words = ["python", "run", "study", "--config_file", typed.format(tmp_path)]
        assert study_config_folders(words)[:3] == [tmp_path / "configs/studies", tmp_path / "configs", tmp_path]
    assert study_config_folders(["pytest"]) == []
