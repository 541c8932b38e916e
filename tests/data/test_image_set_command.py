# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.data.image_set_command import write_image_set
from monai_usspeech.data.image_sets import ImageSetDatalist
from tests.data.image_set_factory import pictures

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of six patients' pictures; the first two of each class are the same picture."""
    for label in ("ill", "well"):
        pictures(tmp_path / "set", *(f"{label}/{number}.png" for number in range(6)))
    shutil.copy(tmp_path / "set/ill/0.png", tmp_path / "set/ill/1.png")
    shutil.copy(tmp_path / "set/ill/0.png", tmp_path / "set/well/0.png")
    return tmp_path / "set"


def test_the_table_counts_images_groups_folds_and_duplicates(folder: Path, tmp_path: Path, capsys):
    written = write_image_set("folders", folder, tmp_path / "out.json", n_folds=2)
    assert ImageSetDatalist.load(tmp_path / "out.json") == written
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].split() == ["class", "images", "groups", "fold", "0", "fold", "1"]
    assert lines[1].split()[:3] == ["ill", "6", "6"] and lines[3].split()[:3] == ["all", "12", "12"]
    folds = [sum(image.fold == fold for image in written) for fold in (0, 1)]
    assert lines[3].split()[3:] == [str(count) for count in folds]
    assert lines[4].startswith("Duplicate sets: 1 (3 files); across groups 1, across folds ")
    assert lines[4].endswith("across classes 1; such as 0.png = 1.png = 0.png")
    assert lines[-1] == f"Datalist: {tmp_path / 'out.json'}"


def test_merged_duplicates_stay_on_one_side(folder: Path, tmp_path: Path, capsys):
    for seed in range(4):
        written = write_image_set("folders", folder, tmp_path / "o.json", n_folds=3, seed=seed, duplicates="merge")
        same = [image for image in written if image.group == "ill/0.png"]
        assert len(same) == 3 and len({image.fold for image in same}) == 1
        assert "across groups 0, across folds 0, across classes 1" in capsys.readouterr().out


def test_unlabelled_videos_have_a_row_of_their_own(folder: Path, tmp_path: Path, capsys):
    pictures(folder, "alone.png")
    written = write_image_set("videos", folder, tmp_path / "o.json", n_folds=None, labels="folder")
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split() for line in lines[1:5]] == [
        ["ill", "6", "1"], ["well", "6", "1"], ["no", "label", "1", "1"], ["all", "13", "3"]
    ]  # fmt: skip
    assert "Note: 1 image of 13 without a label." in lines
    assert ImageSetDatalist.load(tmp_path / "o.json") == written


@pytest.mark.parametrize("n_folds", [0, None])
def test_folds_are_left_out_on_request(folder: Path, tmp_path: Path, capsys, n_folds: int | None):
    assert write_image_set("folders", folder, tmp_path / "o.json", n_folds=n_folds).n_folds == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["class", "images", "groups"]


def _refuse() -> None:
    raise InputError("refused")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layout": None}, "name all three: --layout pocus|"),
        ({"layout": "pocus"}, "not the POCUS set; expected covid/"),
        ({"output": "nowhere/o.json"}, "there is no folder"),
        ({"duplicates": "merged"}, 'Did you mean "merge"'),
        ({"n_folds": 13}, "13 folds need at least 13"),
        ({"n_folds": "null"}, "n_folds is 'null'"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"folder": 7}, "folder is 7; give a path"),
        ({"output": "."}, "is a folder; name the JSON file"),
        ({"max_frames": "many"}, "max_frames is 'many'"),
        ({"columns": "image"}, "columns is 'image'"),
        ({"intervall": 1}, 'no setting "intervall". Did you mean "interval"'),
        ({"check": _refuse}, "refused"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(folder: Path, tmp_path: Path, changes: dict, said: str):
    arguments = {"layout": "folders", "folder": folder, "output": tmp_path / "o.json", **changes}
    with pytest.raises(SystemExit) as stopped:
        write_image_set(**arguments)
    message = str(stopped.value)
    assert message.startswith("datalist: ") and said in message and "\n" not in message
    assert not (tmp_path / "o.json").exists()


@pytest.mark.slow
def test_the_command_of_the_documentation(folder: Path, tmp_path: Path):
    command = [sys.executable, "-m", "monai.bundle", "run", "datalist"]
    command += ["--config_file", "configs/data/image_set.json", "--layout", "folders", "--folder", str(folder)]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "o.json"), "--n_folds", "2"],
        cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Duplicate sets: 1 (3 files)" in done.stdout
    assert {entry["fold"] for entry in json.loads((tmp_path / "o.json").read_text())["images"]} == {0, 1}
    wrong = subprocess.run([*command, "--outptu", "o.json"], cwd=REPOSITORY, capture_output=True, text=True)
    assert wrong.returncode == 1 and "Traceback" not in wrong.stderr
    assert wrong.stderr.strip().splitlines()[-1].endswith('Did you mean "output"?')
