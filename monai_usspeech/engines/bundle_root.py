# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Where the bundle lies, whose weights a configuration wants."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["find_bundle_root"]

_MARK = "configs/metadata.json"


def find_bundle_root(arguments: Sequence[str] | None = None) -> str:
    """The folder of the bundle that is being run.

    A bundle is known by its ``configs/metadata.json``. Looked at, in this order: the folder above the configuration
    files named on the command line, the working directory, and ``bundle`` in it.

    Args:
        arguments: the command line, default ``sys.argv``.

    Returns:
        The first of these that is a bundle; ``"."`` when none is.
    """
    words = list(sys.argv if arguments is None else arguments)
    named: list[str] = []
    for place, word in enumerate(words):
        name, assigned, value = word.partition("=")
        if name == "--config_file":
            value = value if assigned else "".join(words[place + 1 : place + 2])
            named = re.findall(r"[^\[\](),'\"]+", value)  # one name, or a list as MONAI takes it: "['a.json','b.json']"
    folders = [Path(file.strip()).parent.parent for file in named if Path(file.strip()).parent.name == "configs"]
    return next((str(folder) for folder in (*folders, Path(), Path("bundle")) if (folder / _MARK).is_file()), ".")
