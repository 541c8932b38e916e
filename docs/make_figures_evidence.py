# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Take the pictures of docs/evidence.md out of reports: python docs/make_figures_evidence.py STUDIES [folder]

STUDIES is the folder that holds the studies' folders, each with its ``report.html``. Of each the picture of all runs of
the frozen probe is taken, and for learning curves and sweeps the one of scores over the number that rows differ in.
"""

from __future__ import annotations

import base64
import io
import re
import sys
from pathlib import Path

from PIL import Image

WANTED = {
    "phantom": ("evidence_runs.png", "of every run, by method"),
    "phantom_controls": ("evidence_controls.png", "of every run, by method"),
    "phantom_steps": ("evidence_steps.png", "over optimiser steps"),
    "phantom_noise": ("evidence_noise.png", "over share of the time"),
    "phantom_dwell": ("evidence_dwell.png", "over mean time on a plane"),
}
WIDTH = 1100


def picture(page: str, words: str) -> bytes:
    """The first picture of a page whose alternative text has these words."""
    for tag in re.findall(r"<img [^>]*>", page):
        alt = re.search(r'alt="([^"]*)"', tag)
        source = re.search(r'src="data:image/png;base64,([^"]*)"', tag)
        if alt and source and words in alt.group(1):
            return base64.b64decode(source.group(1))
    raise SystemExit(f"the report has no picture of which it says: {words}")


def main() -> None:
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    folder = Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parent / "images"
    for study, (name, words) in WANTED.items():
        report = Path(sys.argv[1]) / study / "report.html"
        if not report.is_file():
            print(f"{report} is not there; {name} stays as it is")
            continue
        image = Image.open(io.BytesIO(picture(report.read_text(encoding="utf-8"), words)))
        if image.width > WIDTH:
            image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
        image.convert("RGB").save(folder / name, optimize=True)
        print(f"{folder / name}: {(folder / name).stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
