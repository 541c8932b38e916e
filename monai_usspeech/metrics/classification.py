# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Precision, recall and F1 over classes of which a fold may lack some.

The macro mean is over the classes that occur, in the truth or among the predictions; a class in neither says nothing
and is left out, as scikit-learn does by default. The F1 of several classes is the mean of their F1 values, not the
F1 of the mean precision and recall. MONAI's ``ConfusionMatrixMetric`` pools the classes first (micro) under
``reduction="mean"``, and ignite's metrics count an absent class as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics import CumulativeIterationMetric
from torch import Tensor

__all__ = ["ClassificationScores", "MacroClassificationMetric", "confusion_matrix_of", "scores_from_confusion"]

METRIC_NAMES = ("f1", "precision", "recall", "accuracy")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassificationScores:
    """Scores of one confusion matrix or of many at once; all from 0 to 1, NaN where undefined.

    Args:
        precision, recall, f1: macro means over the classes that occur, ``[...]``.
        accuracy: share of items on the diagonal, ``[...]``.
        per_class_precision, per_class_recall, per_class_f1: ``[..., C]``, NaN for a class that does not occur.
        per_class_accuracy: share of items on which one class against the rest is right, ``[..., C]``, NaN likewise. It
            counts the items that are rightly not given the class, so a rare class that is never found scores high.
        support: items of each true class, ``[..., C]``.
        present: whether a class occurs in the truth or among the predictions, ``[..., C]``.
    """

    precision: Floats
    recall: Floats
    f1: Floats
    accuracy: Floats
    per_class_precision: Floats
    per_class_recall: Floats
    per_class_f1: Floats
    per_class_accuracy: Floats
    support: npt.NDArray[Any]
    present: npt.NDArray[np.bool_]


def confusion_matrix_of(pred: npt.ArrayLike, label: npt.ArrayLike, num_classes: int) -> npt.NDArray[np.int64]:
    """How many items of each true class (row) were given each class (column).

    Args:
        pred: int ``[N]``, 0 to ``num_classes - 1``; array, list or CPU tensor.
        label: int ``[N]``, likewise.
        num_classes: C.

    Returns:
        int64 ``[C, C]``.

    Raises:
        ValueError: when the shapes differ, the values are no integers, or one is not a class.
    """
    given, truth = np.asarray(pred), np.asarray(label)
    if given.ndim != 1 or given.shape != truth.shape:
        raise ValueError(f"pred {given.shape} and label {truth.shape} must be [N] and equal in shape.")
    for name, values in (("pred", given), ("label", truth)):
        if values.size and values.dtype.kind not in "iu":
            raise ValueError(f"{name} must hold integers, got {values.dtype}.")
        if values.size and not (values.min() >= 0 and values.max() < num_classes):
            raise ValueError(f"{name} must be within 0 and {num_classes - 1}, got {values.min()} to {values.max()}.")
    cells = truth.astype(np.int64) * num_classes + given.astype(np.int64)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.int64)


def scores_from_confusion(confusion: npt.ArrayLike) -> ClassificationScores:
    """Precision, recall, F1 and accuracy of confusion matrices with the true classes in rows.

    ``precision_c = M_cc / column sum``, ``recall_c = M_cc / row sum``, ``f1_c = 2 M_cc / (row sum + column sum)``,
    ``accuracy_c = (TP_c + TN_c) / N = (N - row sum - column sum + 2 M_cc) / N`` for N items.
    Where a class occurs and the denominator is 0 (never predicted, or never true) the value is 0.

    Args:
        confusion: ``[..., C, C]``, counts or weights; leading axes are for example folds or bootstrap draws.

    Raises:
        ValueError: when the last two axes differ or a count is negative or not finite.
    """
    matrix = np.asarray(confusion, dtype=np.float64)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or matrix.shape[-1] == 0:
        raise ValueError(f"confusion must be [..., C, C], got {matrix.shape}.")
    if not bool((np.isfinite(matrix) & (matrix >= 0)).all()):
        raise ValueError("confusion holds a negative or non-finite count.")
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    true, given = matrix.sum(-1), matrix.sum(-2)
    present = (true + given) > 0
    per_class = [_ratio(hits, given, present), _ratio(hits, true, present), _ratio(2 * hits, true + given, present)]
    total = true.sum(-1)
    every = total[..., None]
    macro = [_ratio(np.where(present, values, 0).sum(-1), present.sum(-1), total > 0) for values in per_class]
    return ClassificationScores(
        precision=macro[0],
        recall=macro[1],
        f1=macro[2],
        accuracy=_ratio(hits.sum(-1), total, total > 0),
        per_class_precision=per_class[0],
        per_class_recall=per_class[1],
        per_class_f1=per_class[2],
        per_class_accuracy=_ratio(every - true - given + 2 * hits, np.broadcast_to(every, true.shape), present),
        support=np.asarray(confusion).sum(-1),
        present=present,
    )


def _ratio(above: npt.ArrayLike, below: npt.ArrayLike, defined: npt.ArrayLike) -> Floats:
    """``above / below``, 0 where ``below`` is 0, NaN where not ``defined``."""
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    ratio = np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below > 0)
    return np.where(defined, ratio, np.nan)


class MacroClassificationMetric(CumulativeIterationMetric):
    """Macro precision, recall or F1 over the classes that occur, or accuracy, from logits or probabilities.

    ``metric(scores, label)`` takes ``[B, C]`` and ``[B]``, or lists of ``[C]`` tensors and of numbers, as an engine
    with decollation gives them. The predicted class is the highest score, the first of equal ones. The figure is that
    of the confusion matrix of all items, not a mean over batches.

    Args:
        metric_name: ``"f1"``, ``"precision"``, ``"recall"`` or ``"accuracy"``.
        num_classes: C.

    Raises:
        ValueError: for an unknown name.
    """

    def __init__(self, metric_name: str = "f1", num_classes: int = 14) -> None:
        super().__init__()
        if metric_name not in METRIC_NAMES:
            raise ValueError(f"metric_name must be one of {METRIC_NAMES}, got {metric_name!r}.")
        self.metric_name = metric_name
        self.num_classes = num_classes

    def _compute_list(self, y_pred: Sequence[Tensor] | Tensor, y: Any = None, **_: Any) -> list[Tensor]:  # type: ignore[override]
        # Decollation turns labels into plain numbers, which have no detach().
        scores = y_pred if isinstance(y_pred, Tensor) else torch.stack(list(y_pred))
        return self._compute_tensor(scores.detach(), torch.as_tensor([int(label) for label in y]))

    def _compute_tensor(self, y_pred: Tensor, y: Tensor) -> list[Tensor]:  # type: ignore[override]
        label = y.flatten() if y.shape[1:] == (1,) else y
        if y_pred.ndim != 2 or y_pred.shape[1] != self.num_classes or tuple(label.shape) != tuple(y_pred.shape[:1]):
            raise ValueError(
                f"scores {tuple(y_pred.shape)} and label {tuple(y.shape)} must be [B, {self.num_classes}] and [B]."
            )
        if bool(y_pred.isnan().any()):
            raise ValueError("scores hold NaN: the predicted class would be arbitrary.")
        predicted = y_pred.argmax(1).cpu()
        confusion_matrix_of(predicted.numpy(), label.cpu().numpy(), self.num_classes)  # refuses what is no class
        return [predicted.to(y_pred.device), label.to(y_pred.device).long()]

    def confusion(self) -> npt.NDArray[np.int64]:
        """Confusion matrix ``[C, C]`` of all items since the last reset, of all processes; true classes in rows.

        Raises:
            ValueError: when there were none.
        """
        buffers = self.get_buffer()
        if buffers is None:
            raise ValueError(f"{type(self).__name__} was given no items.")
        predicted, label = (torch.as_tensor(buffer).cpu().numpy() for buffer in buffers)
        return confusion_matrix_of(predicted, label, self.num_classes)

    def aggregate(self) -> Tensor:
        """The figure over all items, a float64 scalar."""
        return torch.as_tensor(getattr(scores_from_confusion(self.confusion()), self.metric_name))
