# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What the handlers share that draw the first training batch."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from ignite.engine import Engine, Events
from matplotlib.figure import Figure
from torch import Tensor

from monai_usspeech.handlers.figures import save_figure
from monai_usspeech.handlers.processes import process_rank

__all__ = ["FirstBatchPicture"]


class FirstBatchPicture(ABC):
    """Draw the first batch of a training, once.

    Args:
        path: the file; left as it is when it exists, so a resumed run keeps its first picture.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self.logger = logging.getLogger(type(self).__module__)
        self._done = False

    @abstractmethod
    def figure(self, batch: Mapping[str, Tensor]) -> Figure:
        """The picture of a collated batch."""

    def attach(self, engine: Engine) -> None:
        """Register with a trainer whose ``engine.state.batch`` is a collated batch."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Draw the current batch, unless there is a picture already. Only the first process draws."""
        if self._done:
            return
        self._done = True
        if process_rank() != 0 or self.path.exists():
            return
        figure = self.figure(cast(Mapping[str, Tensor], engine.state.batch))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, self.path, dpi=110)
        self.logger.info("The first training batch is drawn in %s.", self.path)
