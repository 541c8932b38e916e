# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A picture of what was kept of each scan, for a person to look over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from monai_usspeech.data.datalist import Scan, ScanDatalist
from monai_usspeech.data.files import InputError, atomic_file
from monai_usspeech.data.store import StoredScan
from monai_usspeech.data.store_writer import scan_folder
from monai_usspeech.data.video import open_video
from monai_usspeech.preparation.report import ScanRow

__all__ = ["contact_sheet_page", "scan_tile", "write_contact_sheet"]

TILE = 192
LABEL = 16
SCANS_PER_PAGE = 60
_BOX_COLOUR = (255, 200, 0)


def _labelled(picture: Image.Image, text: str) -> Image.Image:
    tile = Image.new("RGB", (picture.width, picture.height + LABEL), "white")
    tile.paste(picture, (0, LABEL))
    ImageDraw.Draw(tile).text((2, 2), text, fill="black", font=ImageFont.load_default(11))
    return tile


def source_picture(image: np.ndarray, box: tuple[int, int, int, int], height: int = TILE) -> Image.Image:
    """A source frame (uint8 ``[H, W]``) scaled to ``height`` pixels, with the kept (top, left, bottom, right) drawn."""
    scale = height / image.shape[0]
    picture = Image.fromarray(image).convert("RGB").resize((max(1, round(image.shape[1] * scale)), height))
    top, left, bottom, right = (round(edge * scale) for edge in box)
    ImageDraw.Draw(picture).rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=_BOX_COLOUR)
    return picture


def scan_tile(stored: StoredScan, scan: Scan | None = None, fps: float | None = None) -> Image.Image:
    """One scan's picture: the kept frame from the middle; with ``scan``, the source frame with the kept box before it.

    Args:
        stored: the prepared scan.
        scan: the datalist's entry, to show the source frame as well. It may carry a patient's name.
        fps: the datalist's frames per second for formats without a clock.
    """
    kept = Image.fromarray(stored.read_frames([stored.n_frames // 2])[0]).resize((TILE, TILE)).convert("RGB")
    pictures = [kept]
    if scan is not None:
        with open_video(scan.video, fps=fps) as source:
            pictures.insert(0, source_picture(source.sample_frames(1)[0], stored.fan_box))
    row = Image.new("RGB", (sum(picture.width for picture in pictures), TILE))
    position = 0
    for picture in pictures:
        row.paste(picture, (position, 0))
        position += picture.width
    return _labelled(row, stored.id)


def contact_sheet_page(tiles: Sequence[Image.Image], width: int = 1600) -> Image.Image:
    """Lay tiles out in rows, left to right, on a white page of ``width`` pixels at most, unless a tile is wider."""
    gap = 6
    rows: list[list[Image.Image]] = [[]]
    for tile in tiles:
        if rows[-1] and sum(t.width + gap for t in rows[-1]) + tile.width > width:
            rows.append([])
        rows[-1].append(tile)
    page_width = max(sum(t.width + gap for t in row) for row in rows) - gap
    page = Image.new("RGB", (page_width, len(rows) * (TILE + LABEL + gap) - gap), "white")
    for y, row in enumerate(rows):
        x = 0
        for tile in row:
            page.paste(tile, (x, y * (TILE + LABEL + gap)))
            x += tile.width + gap
    return page


def write_contact_sheet(
    store: Path, datalist: ScanDatalist, table: Sequence[ScanRow], show_source: bool = False
) -> dict[str, str]:
    """Write ``fan_crops.png`` (and ``fan_crops_2.png``, ... beyond 60 scans) into the store.

    Args:
        store: the store's folder.
        datalist: the scans.
        table: their rows; failed scans are left out.
        show_source: show the source frames too.

    Returns:
        What is wrong, by id, with scans whose middle frame cannot be read: a damaged one among many must not cost the
        sheet of the others. They are left out of it.
    """
    whole = {row.id for row in table if row.status != "failed"}
    scans = [scan for scan in datalist if scan.id in whole]
    pages: list[Path] = []
    unreadable: dict[str, str] = {}
    for number in range(math.ceil(len(scans) / SCANS_PER_PAGE)):
        tiles = []
        for scan in scans[number * SCANS_PER_PAGE : (number + 1) * SCANS_PER_PAGE]:
            try:
                stored = StoredScan(scan_folder(store, scan.id))
                tiles.append(scan_tile(stored, scan if show_source else None, datalist.fps))
            except InputError as error:
                unreadable[scan.id] = str(error)
        if not tiles:
            continue
        pages.append(store / ("fan_crops.png" if number == 0 else f"fan_crops_{number + 1}.png"))
        with atomic_file(pages[-1]) as file:
            contact_sheet_page(tiles).save(file, format="PNG")
    for old in set(store.glob("fan_crops*.png")) - set(pages):
        old.unlink()
    return unreadable
