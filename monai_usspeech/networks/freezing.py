# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Networks of which a part is not trained, and within which a smaller part may still be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

__all__ = ["STANDARDISE", "PartlyFrozen"]

STANDARDISE: dict[str, Any] = {"eps": 1e-10, "momentum": None, "affine": False}
"""Arguments of the batch normalisation that standardises the features of a frozen network.

The variance of a feature is about 1e-6 in a network as it was drawn. The features do not drift: the plain mean over
batches (momentum None) is right from the first batch on, where a running mean begins at 0 and 1.
"""

_NORMS = ("eval", "train")


class PartlyFrozen(nn.Module):
    """A module that can leave parts of itself out of the training.

    A network inherits this beside its own base and calls :meth:`freeze_parts` once its parts exist.
    """

    def freeze_parts(self, parts: Sequence[str], trained: Sequence[str] = (), frozen_norm: str = "eval") -> None:
        """Take the gradients of some submodules away.

        Args:
            parts: dotted names of the submodules to freeze.
            trained: dotted names of submodules inside them that are trained after all; their batch normalisation
                follows ``train()`` and ``eval()``.
            frozen_norm: ``"eval"``: the batch normalisation of the frozen parts keeps its statistics and uses them in
                training too; ``"train"``: it normalises by the batch in training and goes on collecting, as the
                released code of HiCo has it.

        Raises:
            ValueError: for another ``frozen_norm``.
        """
        if frozen_norm not in _NORMS:
            raise ValueError(f"frozen_norm must be one of {_NORMS}, got {frozen_norm!r}.")
        for name in parts:
            self.get_submodule(name).requires_grad_(False)
        for name in trained:
            self.get_submodule(name).requires_grad_(True)
        self.parts_in_eval = list(parts) if frozen_norm == "eval" else []
        self.trained_parts = list(trained)
        self.train(self.training)

    def train(self, mode: bool = True) -> PartlyFrozen:
        """Set training or evaluation mode; frozen parts keep their batch statistics in either, unless asked not to."""
        super().train(mode)
        in_eval: Sequence[str] = getattr(self, "parts_in_eval", ())
        for name in in_eval:
            self.get_submodule(name).eval()
        for name in self.trained_parts if in_eval else ():
            self.get_submodule(name).train(mode)
        return self
