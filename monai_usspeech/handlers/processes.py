# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Which process of a distributed run this is.

ignite's ``idist.get_rank`` may make a process group the first time it is called, which waits for every process: a
handler that one process alone has would hang there. torch answers at once.
"""

from __future__ import annotations

import torch.distributed as dist

__all__ = ["process_count", "process_rank"]


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def process_rank() -> int:
    """The number of this process, from 0; 0 outside a distributed run."""
    return int(dist.get_rank()) if _distributed() else 0


def process_count() -> int:
    """How many processes there are; 1 outside a distributed run."""
    return int(dist.get_world_size()) if _distributed() else 1
