# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.data.image_sets import ImageSetDatalist, LabelledImage


def entry(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {"image": f"a{number}.png", "label": "benign", "group": f"p{number}", **changes}


def write_list(folder: Path, *entries: Any, **changes: Any) -> Path:
    path = folder / "images.json"
    content = {"name": "test", "classes": ["benign", "malignant"], "images": list(entries), **changes}
    path.write_text(json.dumps(content))
    return path


def problems_of(path: Path, check_files: bool = False) -> list[str]:
    with pytest.raises(InputError) as error:
        ImageSetDatalist.load(path, check_files=check_files)
    lines = str(error.value).splitlines()
    return lines[1:] if len(lines) > 1 else lines


def many(n_groups: int = 12, per_group: int = 5) -> ImageSetDatalist:
    """Groups of five images; every third group is malignant."""
    images = [
        LabelledImage(Path(f"g{g}_{i}.png"), "malignant" if g % 3 == 0 else "benign", f"g{g}")
        for g in range(n_groups)
        for i in range(per_group)
    ]
    return ImageSetDatalist("many", ("benign", "malignant"), tuple(images))


def test_every_field_arrives_and_is_written_back(tmp_path: Path):
    path = write_list(tmp_path, entry(fold=2), entry(2, image="v.mp4", label="malignant", time=1.5, fold=0))
    datalist = ImageSetDatalist.load(path, check_files=False)
    root = tmp_path.resolve()
    assert list(datalist) == [
        LabelledImage(root / "a1.png", "benign", "p1", None, 2),
        LabelledImage(root / "v.mp4", "malignant", "p2", 1.5, 0),
    ]
    assert datalist.labels.tolist() == [0, 1] and datalist.groups == ("p1", "p2")
    (tmp_path / "below").mkdir()
    datalist.save(tmp_path / "below" / "again.json")
    assert ImageSetDatalist.load(tmp_path / "below" / "again.json", check_files=False) == datalist
    assert json.loads((tmp_path / "below" / "again.json").read_text())["images"][0]["image"] == "../a1.png"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lable": "benign"}, '"lable": unknown key. Did you mean "label"?'),
        ({"label": "benigne"}, '"benigne" is none of the classes benign, malignant. Did you mean "benign"?'),
        ({"label": ""}, '"label": is ""'),
        ({"group": ""}, '"group": is ""'),
        ({"time": -1}, '"time": is -1; give seconds'),
        ({"fold": 1.5}, '"fold": is 1.5'),
        ({"image": None}, '"image": is null'),
    ],
)
def test_a_wrong_entry_is_named_with_its_mend(tmp_path: Path, changes: dict[str, Any], said: str):
    (line,) = problems_of(write_list(tmp_path, entry(), entry(2, **changes)))
    assert "image 2" in line and said in line


def test_all_problems_are_said_at_once(tmp_path: Path):
    path = write_list(tmp_path, entry(fold=0), entry(2, group="p1", fold=1), entry(), 7, fps=3)
    lines = problems_of(path)
    assert len(lines) == 5
    said = "\n".join(lines)
    assert '"fps": unknown key' in said and "image 4: is 7" in said
    assert 'group "p1" is in fold 1 here and in fold 0 in image 1' in said
    assert "is the same image as image 1" in said


def test_missing_files_are_named_once_and_a_long_list_is_cut(tmp_path: Path):
    frames = [entry(1, image="v.mp4", time=float(t)) for t in range(3)]
    lines = problems_of(write_list(tmp_path, *frames, *(entry(n) for n in range(2, 40))), check_files=True)
    assert len(lines) == 21 and lines[-1] == "... and 19 more."
    assert sum('"v.mp4"' in line for line in lines) == 1


def test_images_may_be_without_a_label(tmp_path: Path):
    path = write_list(tmp_path, entry(label=None), entry(2), entry(3, label="malignant"))
    datalist = ImageSetDatalist.load(path, check_files=False)
    assert datalist.labels.tolist() == [-1, 0, 1] and datalist.counts() == {"benign": 1, "malignant": 1}
    datalist.save(tmp_path / "again.json")
    assert ImageSetDatalist.load(tmp_path / "again.json", check_files=False) == datalist
    bare = {key: value for key, value in entry().items() if key != "label"}
    assert problems_of(write_list(tmp_path, bare)) == [f'{path}: image 1 "a1.png": "label": missing; add it.']


def test_a_list_without_labels_needs_no_classes(tmp_path: Path):
    entries = [entry(n, label=None) for n in range(6)]
    datalist = ImageSetDatalist.load(write_list(tmp_path, *entries, classes=[]), check_files=False)
    assert datalist.classes == () and datalist.counts() == {} and datalist.labels.tolist() == [-1] * 6
    assert datalist.draw_folds(3).n_folds == 3
    (line,) = problems_of(write_list(tmp_path, *entries, entry(7), classes=[]))
    assert '"classes": is [] and some images have a label' in line


def test_images_are_selected_by_group():
    datalist = many(4, 2)
    assert datalist.select() == tuple(range(8))
    assert datalist.select(["g2", "g0"]) == (0, 1, 4, 5)
    assert datalist.select(["g2", "g0"], exclude=["g0"]) == (4, 5) and datalist.select(exclude=["g1"])[2] == 4
    with pytest.raises(InputError, match=r'"many" has no group "h2"'):
        datalist.select(exclude=["h2"])
    with pytest.raises(InputError, match="no image is left"):
        datalist.select([])
    with pytest.raises(InputError, match="subjects: is 'g0'; give a list"):
        datalist.select("g0")


@pytest.mark.parametrize("classes", [[], ["a", "a"], "ab", [1]])
def test_classes_must_be_different_names(tmp_path: Path, classes: Any):
    assert any('"classes": is' in line for line in problems_of(write_list(tmp_path, entry(), classes=classes)))


def test_folds_keep_groups_whole_and_classes_even():
    drawn = many().draw_folds(3, seed=4)
    assert drawn.n_folds == 3 and many().n_folds == 0
    fold_of: dict[str, set[int]] = {}
    for image in drawn:
        fold_of.setdefault(image.group, set()).add(image.fold)
    assert all(len(folds) == 1 for folds in fold_of.values())
    shares = [np.mean([i.label == "malignant" for i in drawn if i.fold == fold]) for fold in range(3)]
    assert max(shares) - min(shares) <= 0.25  # four malignant groups of twelve: one or two in each fold
    assert many().draw_folds(3, seed=4) == drawn and many().draw_folds(3, seed=5) != drawn


def test_the_groups_of_a_fold_are_a_split():
    drawn = many().draw_folds(3)
    tested = [drawn.fold_groups(fold)[1] for fold in range(3)]
    assert sorted(sum(tested, ())) == sorted(drawn.groups)
    for fold in range(3):
        train, test = drawn.fold_groups(fold)
        assert not set(train) & set(test) and {*train, *test} == set(drawn.groups)
    with pytest.raises(InputError, match="no image is in fold 3; the folds are 0, 1, 2"):
        drawn.fold_groups(3)
    with pytest.raises(InputError, match="in no fold; call draw_folds"):
        many().fold_groups(0)


def test_more_folds_than_groups_is_an_error():
    with pytest.raises(InputError, match="13 folds need at least 13"):
        many().draw_folds(13)


def test_a_list_built_in_python_is_checked_too():
    images = many().images
    with pytest.raises(InputError, match='group "g0" is in no fold here and in fold 1'):
        ImageSetDatalist("x", ("benign", "malignant"), (replace(images[0], fold=1), *images[1:]))
