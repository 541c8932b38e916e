# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging

import pytest

from monai_usspeech.engines import queue_within_epoch


@pytest.mark.parametrize(
    ("wanted", "items", "batch", "kept"),
    [
        (1024, 1051, 32, 1024),
        (1024, 1024, 32, 992),  # an epoch of 32 batches: one batch less
        (1024, 100, 16, 96),
        (64, 16, 16, 16),  # one batch is the epoch: nothing shorter is left
        (8, 16, 16, 8),
    ],
)
def test_the_queue_is_shorter_than_an_epoch(wanted, items, batch, kept, caplog):
    with caplog.at_level(logging.WARNING):
        assert queue_within_epoch(wanted, items, batch) == kept
    assert bool(caplog.records) == (kept < wanted)
    assert all(f"{items} items" in record.getMessage() for record in caplog.records)
