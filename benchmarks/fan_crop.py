# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""
How well the fan is found: figures on synthetic scans with a known fan, pictures of real recordings for the eye.

Usage:
    python -m benchmarks.fan_crop                                  # table on synthetic scans
    python -m benchmarks.fan_crop --sheet sheet.png FILE [FILE...] # contact sheet of recordings, for review
    python -m benchmarks.fan_crop --figure docs/images/fan_crop.png

In the pictures the mask is outlined in magenta and the rectangle that is kept in cyan.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from monai_usspeech.data.files import InputError, atomic_file
from monai_usspeech.data.video import open_video
from monai_usspeech.phantom.phantom import Phantom
from monai_usspeech.transforms.fan_geometry import FanGeometry, detect_fan, largest_rectangle

N_FRAMES = 16
TILE = 256
STILLS = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}


def read_frames(path: Path) -> list[np.ndarray]:
    """Grey frames ``[H, W]`` spread over a recording, or the one frame of a still picture."""
    if path.suffix.lower() in STILLS:
        with Image.open(path) as picture:
            return [np.asarray(picture.convert("L"))]
    with open_video(path, fps=30.0) as source:
        return source.sample_frames(N_FRAMES)


def draw(frames: Sequence[np.ndarray], found: FanGeometry | None, title: str) -> Image.Image:
    """One tile: the maximum over time with the fan's outline and the rectangle."""
    highest = np.max(frames, axis=0)
    picture = np.stack([highest] * 3, axis=-1)
    width = max(1, max(highest.shape) // TILE)
    if found is not None:
        picture[found.mask & ~ndimage.binary_erosion(found.mask, iterations=width)] = (255, 0, 255)
    tile = Image.fromarray(picture)
    if found is not None:
        top, left, bottom, right = found.box
        ImageDraw.Draw(tile).rectangle([left, top, right - 1, bottom - 1], outline=(0, 255, 255), width=width + 1)
    tile.thumbnail((TILE - 4, TILE - 4))
    canvas = Image.new("RGB", (TILE, TILE + 14))
    canvas.paste(tile, (2, 14))
    ImageDraw.Draw(canvas).text((2, 1), title[-42:], fill=(255, 255, 0), font=ImageFont.load_default(size=10))
    return canvas


def contact_sheet(paths: Sequence[Path], columns: int = 6) -> Image.Image:
    """Tiles of all recordings; what fails is printed and shown without outline."""
    tiles = []
    for path in paths:
        found = None
        try:
            frames = read_frames(path)
            found = detect_fan(frames)
        except InputError as error:
            print(error)
            continue
        except ValueError as error:
            print(f"{path}: {error}")
        tiles.append(draw(frames, found, path.name))
    return paste(tiles, columns)


def paste(tiles: Sequence[Image.Image], columns: int) -> Image.Image:
    """Put tiles of one size on a grid."""
    if not tiles:
        raise SystemExit("nothing to draw: no recording could be read")
    width, height = tiles[0].size
    sheet = Image.new("RGB", (columns * width, -(-len(tiles) // columns) * height))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % columns * width, number // columns * height))
    return sheet


def print_table(n_scans: int = 12) -> None:
    """Print the agreement with the known fan of synthetic scans, against the number of frames, as a Markdown table."""
    scans = [Phantom(seed=1, size=512, seconds=4.0).scan(index) for index in range(n_scans)]
    print(f"{n_scans} synthetic scans, 512 x 512 pixels\n")
    print("| frames | mask overlap (IoU), mean | lowest | rectangle inside fan, lowest | area of largest | ms |")
    print("|---|---|---|---|---|---|")
    for n_frames in (1, 2, 4, 16):
        rows = []
        for scan in scans:
            frames = scan.frames[np.linspace(0, len(scan.frames) - 1, n_frames).astype(int)]
            begin = time.perf_counter()
            found = detect_fan(frames)
            seconds = time.perf_counter() - begin
            truth = scan.fan_mask
            overlap = (found.mask & truth).sum() / (found.mask | truth).sum()
            (top, left, bottom, right), best = found.box, largest_rectangle(truth)
            area = (bottom - top) * (right - left) / ((best.bottom - best.top) * (best.right - best.left))
            rows.append((overlap, truth[top:bottom, left:right].mean(), area, seconds))
        overlap, inside, area, seconds = np.transpose(rows)
        print(
            f"| {n_frames} | {overlap.mean():.3f} | {overlap.min():.3f} | {inside.min():.4f} "
            f"| {area.mean():.2f} | {1000 * np.median(seconds):.0f} |"
        )


def figure() -> Image.Image:
    """Two synthetic scans, each with the rectangle and with what is kept."""
    tiles = []
    for index in (0, 3):
        scan = Phantom(seed=1, size=512, seconds=6.0).scan(index)
        frames = scan.frames[np.linspace(0, len(scan.frames) - 1, N_FRAMES).astype(int)]
        found = detect_fan(frames)
        top, left, bottom, right = found.box
        kept = np.asarray(Image.fromarray(frames[-1, top:bottom, left:right]).resize((TILE, TILE)))
        tiles += [draw(frames, found, "screen (synthetic), mask, rectangle"), draw([kept], None, "kept, 256 x 256")]
    return paste(tiles, len(tiles))


def save(picture: Image.Image, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    with atomic_file(path) as file:
        picture.quantize(128).save(file, format="PNG", optimize=True)
    print(path)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sheet", type=Path, help="PNG to write the contact sheet to")
    parser.add_argument("--figure", type=Path, help="PNG to write the figure of the documentation to")
    parser.add_argument("files", type=Path, nargs="*", help="recordings for the contact sheet")
    arguments = parser.parse_args()
    if arguments.sheet:
        save(contact_sheet(arguments.files), arguments.sheet)
    elif arguments.figure:
        save(figure(), arguments.figure)
    else:
        print_table()


if __name__ == "__main__":
    main()
