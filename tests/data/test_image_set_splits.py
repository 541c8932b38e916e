# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.data.image_set_splits import image_set_split
from monai_usspeech.data.image_sets import ImageSetDatalist, LabelledImage


def images(n_groups: int = 10, unlabelled: tuple[int, ...] = (), folds: tuple[int, ...] = ()) -> ImageSetDatalist:
    """Two images of each group; the groups take turns in the classes, and in the folds where these are given."""
    entries = [
        LabelledImage(
            Path(f"{group}_{number}.png"),
            None if group in unlabelled else ("ill", "well")[group % 2],
            f"g{group}",
            fold=folds[group % len(folds)] if folds else None,
        )
        for group in range(n_groups)
        for number in range(2)
    ]
    return ImageSetDatalist("x", ("ill", "well"), tuple(entries))


@pytest.mark.parametrize("folds", [(), (0, 1, 2, 3, 4), (0, 1)])
def test_every_group_is_tested_once_and_not_trained_on_then(folds: tuple[int, ...]):
    datalist, tested = images(folds=folds), []
    for fold in range(5):
        split = image_set_split(datalist, 5, fold, seed=3)
        assert split.validation == () and {*split.train, *split.test} == set(datalist.groups)
        tested += split.test
    assert sorted(tested) == sorted(datalist.groups)


def test_written_folds_are_used_when_their_number_fits():
    datalist = images(folds=(4, 7))
    for seed in (0, 1):
        assert image_set_split(datalist, 2, 1, seed).test == tuple(f"g{group}" for group in (1, 3, 5, 7, 9))
    drawn = {image_set_split(datalist, 5, 0, seed).test for seed in range(4)}
    assert len(drawn) > 1 and image_set_split(datalist, 5, 0, 2) == image_set_split(images(), 5, 0, 2)


def test_the_list_may_be_a_file(tmp_path: Path):
    whole = images()
    for image in whole:
        (tmp_path / image.image).touch()
    here = replace(whole, images=tuple(replace(image, image=tmp_path / image.image) for image in whole))
    here.save(tmp_path / "list.json")
    assert image_set_split(tmp_path / "list.json", 5, 2) == image_set_split(whole, 5, 2)


def test_groups_without_a_label_are_on_no_side_and_move_nobody():
    fewer = images(folds=(0, 1), unlabelled=(0, 3))
    for fold in range(2):
        whole, split = image_set_split(images(folds=(0, 1)), 2, fold), image_set_split(fewer, 2, fold)
        assert split.test == tuple(group for group in whole.test if group not in ("g0", "g3"))
        assert split.train == tuple(group for group in whole.train if group not in ("g0", "g3"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n_folds": 1}, "n_folds is 1"),
        ({"fold": 5}, "with n_folds 5 give 0 to 4"),
        ({"fold": -1}, "fold is -1"),
        ({"n_folds": 11}, "11 folds need at least 11"),
    ],
)
def test_folds_that_cannot_be_are_refused(settings: dict, said: str):
    with pytest.raises(InputError, match=said):
        image_set_split(images(), **settings)


def test_a_list_without_labels_is_for_pretraining():
    with pytest.raises(InputError, match="no image has a label.*pretraining"):
        image_set_split(images(4, unlabelled=(0, 1, 2, 3)), 2, 0)


def test_a_side_without_labels_is_refused():
    datalist = images(4, unlabelled=(0, 2), folds=(0, 1))
    with pytest.raises(InputError, match="no group with a label is left to test on"):
        image_set_split(datalist, 2, 0)
    with pytest.raises(InputError, match="no group with a label is left to train on"):
        image_set_split(datalist, 2, 1)
