# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A scan datalist for a folder of public recordings, and the picture of fan crops in the documentation.

The recordings themselves are not part of this repository. ``DIR`` holds them as ``us_speech/tal`` (UltraSuite TaL),
``pocus`` with its ``metadata.csv`` (Born et al. 2021), ``us_video_misc`` and ``dicom``, and a ``MANIFEST.csv`` with the
columns ``path``, ``licence`` and ``redistributable``::

    python benchmarks/real_recordings.py --data DIR --output real.json
    python -m monai.bundle run prepare --config_file configs/data/scans.json --datalist real.json --store real_store \
        --min_seconds 1.0
    python benchmarks/real_recordings.py --data DIR --output real.json --store real_store \
        --picture docs/images/real_fan_crops.png

The picture shows only clips whose licence allows passing them on.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

from monai_usspeech.data.datalist import Scan, ScanDatalist
from monai_usspeech.data.files import InputError, atomic_file
from monai_usspeech.data.store import ScanStore
from monai_usspeech.preparation.contact_sheet import contact_sheet_page, scan_tile

# The one speaker of TaL1 was recorded on several days; in TaL80 the prefix is the speaker.
TAL_SPEAKERS = {"day1_she_065": "TaL1", "day2_see_157": "TaL1", "70ms-003_cal_dark_theme": "TaL80-70ms"}
# Boxes corrected after a look at the contact sheet. This screen also shows the lips, which move more than the tongue.
REVIEWED = {"70ms-003_cal_dark_theme": (345, 130, 470, 278)}
PICTURED = (
    "clarius-ocular-short", "examples_ybr_color", "Reg_Image_181206_crop",
    "Reg_pat3Image_134711", "Pneu_prospective_file3", "Vir_whitelung_h1n1",
)  # fmt: skip


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; --data names the folder of recordings.")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tongue_scans(data: Path) -> list[Scan]:
    """Tongue ultrasound with its own synchronous speech."""
    videos = sorted(path for path in (data / "us_speech" / "tal").rglob("*") if path.suffix in (".avi", ".mp4"))
    names = [(path.stem, path) for path in videos]
    return [Scan(n, TAL_SPEAKERS.get(n, n), path, "video", fan=REVIEWED.get(n)) for n, path in names]


def lung_scans(data: Path) -> list[Scan]:
    """Lung ultrasound by patient group; sound tracks are read where there are any."""
    scans = []
    for row in _rows(data / "pocus" / "metadata.csv"):
        speech = "video" if int(row["audio_streams"]) else None
        scans.append(Scan(Path(row["file"]).stem, row["group"], data / row["file"], speech))
    return scans


def other_scans(data: Path) -> list[Scan]:
    """Eye clips and a DICOM cine."""
    videos = [*sorted((data / "us_video_misc").glob("*.mp4")), data / "dicom" / "examples_ybr_color.dcm"]
    return [Scan(path.stem, path.stem, path) for path in videos]


def picture(data: Path, scans: ScanDatalist, store: Path, target: Path) -> None:
    """Source frame with the kept box, and the crop, of the clips that may be passed on.

    Raises:
        InputError: when a clip to be shown may not be passed on.
    """
    allowed = {row["path"]: row["redistributable"].strip() == "yes" for row in _rows(data / "MANIFEST.csv")}
    prepared = {scan.id: scan for scan in ScanStore(store)}
    tiles = []
    for scan in scans:
        if scan.id not in PICTURED or scan.id not in prepared:
            continue
        if not allowed.get(os.path.relpath(scan.video, data.resolve()), False):
            raise InputError(f"{scan.video}: its licence does not allow showing it in the documentation.")
        tiles.append(scan_tile(prepared[scan.id], scan))
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(target) as file:
        contact_sheet_page(tiles, width=1100).save(file, format="PNG", optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of recordings")
    parser.add_argument("--output", type=Path, required=True, help="datalist to write")
    parser.add_argument("--store", type=Path, help="prepared store of that datalist, for --picture")
    parser.add_argument("--picture", type=Path, help="PNG of fan crops to write")
    given = parser.parse_args()
    try:
        data = given.data.resolve()
        scans = ScanDatalist("real-recordings", (*tongue_scans(data), *lung_scans(data), *other_scans(data)))
        scans.save(given.output)
        print(f"{given.output}: {len(scans)} scans of {len(scans.subjects)} subjects")
        if given.picture is not None:
            if given.store is None:
                raise InputError("--picture needs --store.")
            picture(data, scans, given.store, given.picture)
            print(given.picture)
    except InputError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
