# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Which groups of an image set are trained on, and which are tested: one fold of a cross-validation."""

from __future__ import annotations

import os

from monai_usspeech.data._field_checks import is_whole
from monai_usspeech.data.files import InputError
from monai_usspeech.data.image_sets import ImageSetDatalist
from monai_usspeech.data.splits import SubjectSplit

__all__ = ["image_set_split"]


def image_set_split(
    datalist: ImageSetDatalist | str | os.PathLike, n_folds: int = 5, fold: int = 0, seed: int = 0
) -> SubjectSplit:
    """Divide the groups of an image set.

    The folds that are written in the list are used when there are exactly ``n_folds`` of them (the seed then changes
    nothing); otherwise they are drawn with :meth:`ImageSetDatalist.draw_folds`. Nobody is kept for validation: the
    published evaluations (HiCo, Zhang et al., ACCV 2022) train for a fixed number of epochs. Folds are made of all
    groups; those without a labelled image are left out afterwards, so that more labels move no group to another fold.

    Args:
        datalist: an :class:`~monai_usspeech.data.ImageSetDatalist` or its JSON file.
        n_folds: folds of the cross-validation, at least 2 and at most the number of groups.
        fold: which of them is tested, from 0; of written folds the one at this place in their order.
        seed: of drawn folds.

    Returns:
        The split; ``validation`` is empty.

    Raises:
        InputError: on a number out of its range, or when no group with a label is on one of the two sides.
    """
    images = datalist if isinstance(datalist, ImageSetDatalist) else ImageSetDatalist.load(datalist)
    if not is_whole(n_folds) or n_folds < 2:
        raise InputError(f"n_folds is {n_folds!r}; give a whole number of at least 2.")
    if not is_whole(fold) or fold >= n_folds:
        raise InputError(f"fold is {fold!r}; with n_folds {n_folds} give 0 to {n_folds - 1}.")
    if images.n_folds != n_folds:
        images = images.draw_folds(n_folds, seed)
    numbers = sorted({image.fold for image in images if image.fold is not None})
    train, test = images.fold_groups(numbers[fold])
    labelled = {image.group for image in images if image.label is not None}
    if not labelled:
        raise InputError(
            f'image set "{images.name}": no image has a label, so there is nothing to test; such a list is for'
            " pretraining. Give labels (--labels of the layout videos), or another list."
        )
    train, test = (tuple(group for group in side if group in labelled) for side in (train, test))
    for side, groups in (("train on", train), ("test on", test)):
        if not groups:
            raise InputError(
                f'image set "{images.name}", fold {fold} of {n_folds}: no group with a label is left to {side}; lower'
                " n_folds or label more images."
            )
    return SubjectSplit(train, (), test)
