# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Independent, named random streams: adding a draw to one part of the phantom never changes another part."""

from __future__ import annotations

import zlib

import numpy as np

__all__ = ["random_stream"]


def random_stream(seed: int, *keys: int | str) -> np.random.Generator:
    """A random generator that depends on the seed and the keys only.

    Args:
        seed: seed of the phantom, at least 0.
        keys: what the stream is for, such as ``(scan_index, "motion")``. Words enter by their CRC-32, so the stream is
            the same in every process and on every machine.

    Returns:
        a generator whose numbers are independent of those of any other keys.
    """
    words = [zlib.crc32(key.encode()) if isinstance(key, str) else int(key) for key in keys]
    return np.random.default_rng(np.random.SeedSequence([int(seed), *words]))
