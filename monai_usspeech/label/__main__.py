# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""``python -m monai_usspeech.label``: see :mod:`monai_usspeech.label.command`."""

from __future__ import annotations

from monai_usspeech.label.command import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
