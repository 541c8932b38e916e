# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Which process of a distributed run this is, and what lies inside its wrapper.

ignite's ``idist.get_rank`` may make a process group the first time it is called, which waits for every process: a
handler that one process alone has would hang there. torch answers at once.
"""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

__all__ = ["process_count", "process_rank", "unwrapped"]


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def process_rank() -> int:
    """The number of this process, from 0; 0 outside a distributed run."""
    return int(dist.get_rank()) if _distributed() else 0


def process_count() -> int:
    """How many processes there are; 1 outside a distributed run."""
    return int(dist.get_world_size()) if _distributed() else 1


def unwrapped(item: Any) -> Any:
    """The module inside a ``DistributedDataParallel`` wrapper, so that the weights' names do not depend on it."""
    return item.module if isinstance(item, DistributedDataParallel) else item
