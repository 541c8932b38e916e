# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Between a network that is called once per view and a loss that takes tensors: which output is which argument."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn.modules.loss import _Loss

__all__ = ["ViewLoss"]


class ViewLoss(_Loss):
    """Call a loss with the outputs of a network for each view of a batch, by their names.

    The loss gets ``prediction[name]`` for each of ``inputs``, in that order, and then ``target[name]`` for each of
    ``targets`` as the keyword argument of that name: a target that the loss has no argument for is an error, and never
    taken for something else. A name in ``optional`` that is missing becomes None; without ``"logits"`` the ``"label"``
    becomes None too, for nothing else reads it.

    ``terms`` and ``figures`` are those of the loss, empty when it has none, and ``state_dict`` holds its state.

    Args:
        loss: a loss on tensors.
        inputs: outputs of the network that the loss reads.
        targets: entries of the target that the loss reads.
        stacked: whether the loss takes all views of an output as one argument ``[V, B, ...]`` (``HiCoLoss``,
            ``USCLLoss``, ``SupervisedLoss``) or each view ``[B, ...]`` as an argument of its own (``NTXentLoss``,
            ``MoCoLoss``, ``PiModelLoss``, ``FixMatchLoss``, and with one view ``TemporalEnsemblingLoss``).
        optional: names that may be missing, as long as one of ``inputs`` is there.

    Raises:
        ValueError: without any input.

    Example:
        >>> loss = ViewLoss(FixMatchLoss(), inputs=["logits"])
        >>> loss({"logits": torch.randn(2, 8, 3)}, {"label": torch.tensor([0, 2, 1, -1, -1, -1, -1, -1])}).shape
        torch.Size([])
    """

    def __init__(
        self,
        loss: nn.Module,
        inputs: str | Sequence[str],
        targets: str | Sequence[str] = ("label",),
        stacked: bool = False,
        optional: str | Sequence[str] = ("logits",),
    ) -> None:
        super().__init__()
        self.loss = loss
        self.inputs, self.targets, self.optional = _names(inputs), _names(targets), _names(optional)
        self.stacked = bool(stacked)
        if not self.inputs:
            raise ValueError("inputs must name at least one output of the network.")

    @property
    def terms(self) -> dict[str, Tensor]:
        """The named terms of the last call."""
        return dict(getattr(self.loss, "terms", {}))

    @property
    def figures(self) -> dict[str, Tensor]:
        """What else is worth logging of the last call."""
        return dict(getattr(self.loss, "figures", {}))

    def set_epoch(self, epoch: int) -> None:
        """Tell the loss which epoch begins, counted from 0; nothing when it does not ask."""
        begin = getattr(self.loss, "set_epoch", None)
        if begin is not None:
            begin(epoch)

    def forward(self, prediction: Tensor | Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """The loss of one batch.

        Args:
            prediction: what the network gives, each output ``[V, B, ...]`` with V views of B items; a tensor stands
                for the one output in ``inputs``.
            target: ``label``, ``item`` and so on, ``[B]`` each.

        Returns:
            What the loss returns.

        Raises:
            ValueError: when a name is missing, outputs differ in their number of views, or the loss does not take what
                it is given.
        """
        if isinstance(prediction, Tensor):
            prediction = {self.inputs[0]: prediction}
        given = [prediction.get(name) for name in self.inputs]
        self._check_inputs(prediction)
        arguments: list[Tensor | None] = given
        if not self.stacked:
            n_views = next(len(value) for value in given if value is not None)
            arguments = [view for value in given for view in ([None] * n_views if value is None else value.unbind())]
        named = {name: self._target(name, prediction, target) for name in self.targets}
        try:
            inspect.signature(self.loss.forward).bind(*arguments, **named)
        except TypeError as error:
            form = "all views stacked" if self.stacked else "each view an argument"
            raise ValueError(
                f"{type(self.loss).__name__} cannot be called with the outputs {list(self.inputs)} ({form}) and the "
                f"targets {list(self.targets)}: {error}."
            ) from error
        value: Tensor = self.loss(*arguments, **named)
        return value

    def _check_inputs(self, prediction: Mapping[str, Tensor]) -> None:
        missing = [name for name in self.inputs if name not in prediction]
        if len(missing) == len(self.inputs) or any(name not in self.optional for name in missing):
            raise ValueError(f"the network gives no {missing[0]!r}, which the loss reads; it gives {list(prediction)}.")
        views = {name: len(prediction[name]) for name in self.inputs if name in prediction}
        if len(set(views.values())) > 1:
            raise ValueError(f"the outputs must have equally many views, got {views}.")

    def _target(self, name: str, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor | None:
        if name == "label" and "logits" in self.inputs and "logits" not in prediction:
            return None
        if name not in target and name not in self.optional:
            raise ValueError(f"the target has no {name!r}, which the loss reads; it has {list(target)}.")
        return target.get(name)


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
