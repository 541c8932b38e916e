# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A progress bar that can stand in a list of handlers."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine
from ignite.handlers import ProgressBar

__all__ = ["EvaluationProgressBar", "TrainingProgressBar"]


class TrainingProgressBar(ProgressBar):
    """ignite's progress bar with the loss and its terms beside it.

    MONAI attaches each handler with the engine alone; ignite's bar wants to be told there what to show. This one
    knows: the loss and every named term of it.

    Args:
        kwargs: as for :class:`ignite.handlers.ProgressBar`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"desc": "epoch", "ncols": 110, **kwargs})

    def attach(self, engine: Engine) -> None:  # type: ignore[override]  # MONAI attaches with the engine alone
        """Register with a :class:`~monai_usspeech.engines.MultiTermTrainer`."""
        super().attach(engine, output_transform=_losses)


class EvaluationProgressBar(ProgressBar):
    """ignite's progress bar for an evaluator: no loss beside it, and nothing left of it afterwards.

    Args:
        kwargs: as for :class:`ignite.handlers.ProgressBar`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"desc": "evaluation", "ncols": 110, **kwargs})


def _losses(output: dict[str, Any]) -> dict[str, float]:
    return {"loss": output["loss"].item(), **output["terms"]}
