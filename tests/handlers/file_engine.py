# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""An engine that hands over files as an evaluator does once it has decollated them."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine

__all__ = ["run_files"]


def run_files(handler: Any, items: list) -> None:
    """Feed a handler the items one by one; an exception among them is raised."""

    def process(engine, batch):
        if isinstance(batch, Exception):
            raise batch
        return [batch]

    engine = Engine(process)
    handler.attach(engine)
    engine.run(items)
