# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What the machine writes beside the fan: the word SYNTHETIC, a running clock, settings, a grey bar and a depth ruler.

All of it lies outside the fan. A crop to the fan's inside removes it; a model that sees it can read the time.
"""

from __future__ import annotations

import numpy as np

from monai_usspeech.phantom.geometry import SectorGeometry, to_pixels

__all__ = ["Overlay", "text_image"]

# 3 x 5 pixel letters, five rows of three bits each, written as octal digits
_LETTERS = {
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717", "6": "74757", "7": "71122",
    "8": "75757", "9": "75717", "A": "25755", "B": "65656", "C": "34443", "D": "65556", "E": "74647", "F": "74644",
    "G": "34553", "H": "55755", "I": "72227", "J": "11152", "K": "55655", "L": "44447", "M": "57755", "N": "65555",
    "O": "25552", "P": "65644", "Q": "25563", "R": "65655", "S": "34216", "T": "72222", "U": "55557", "V": "55552",
    "W": "55775", "X": "55255", "Y": "55222", "Z": "71247", ".": "00002", ":": "02020", "-": "00700", " ": "00000",
    "/": "11244", "%": "51245",
}  # fmt: skip


def text_image(text: str, scale: int = 1) -> np.ndarray:
    """Draw a line of capitals, digits and ``.:-/% ``.

    Args:
        text: what to write; any other character is an error.
        scale: pixels per dot.

    Returns:
        bool [5 * scale, (4 * len(text) - 1) * scale].
    """
    dots = np.zeros((5, 4 * len(text)), dtype=bool)
    for place, letter in enumerate(text.upper()):
        for row, digit in enumerate(_LETTERS[letter]):
            dots[row, 4 * place : 4 * place + 3] = [int(digit) & bit for bit in (4, 2, 1)]
    return np.kron(dots[:, :-1], np.ones((scale, scale), dtype=bool))


class Overlay:
    """The machine's writing for one scan.

    Args:
        size: canvas height and width, pixels (96 at least, so that the writing fits beside the fan).
        geometry: the fan, which stays free of writing.
        rng: source of the settings shown and of the clock's start.
    """

    def __init__(self, size: int, geometry: SectorGeometry, rng: np.random.Generator) -> None:
        self.size, self.scale = size, max(1, size // 128)
        self.fan = geometry.mask(size)
        self.clock_start = float(rng.uniform(0, 3600))
        self.static = np.zeros((size, size), dtype=np.uint8)
        line = 7 * self.scale
        depth = f"{rng.uniform(9, 16):.0f}CM"
        self._write(self.static, "SYNTHETIC", self.scale, self.scale, 230)
        for row, text in enumerate((depth, f"MI{rng.uniform(0.7, 1.3):.1f}", f"G{rng.integers(30, 70)}%"), start=1):
            self._write(self.static, text, self.scale + row * line, self.scale, 150)
        self._grey_bar()
        self._ruler(geometry)

    def _write(self, canvas: np.ndarray, text: str, top: int, left: int, level: int) -> None:
        """Write in place; dots that would fall into the fan are left out."""
        image = text_image(text, self.scale)[: self.size - top, : self.size - left]
        window = (slice(top, top + image.shape[0]), slice(left, left + image.shape[1]))
        canvas[window][image & ~self.fan[window]] = level

    def _grey_bar(self) -> None:
        height, width = self.size // 5, 2 * self.scale
        top = self.size - height - 2 * self.scale
        bar = np.linspace(250, 5, height).astype(np.uint8)[:, None].repeat(width, axis=1)
        window = (slice(top, top + height), slice(self.scale, self.scale + width))
        self.static[window] = np.where(self.fan[window], self.static[window], bar)

    def _ruler(self, geometry: SectorGeometry) -> None:
        depths = np.linspace(geometry.apex_y + geometry.inner_radius, geometry.apex_y + geometry.outer_radius, 10)
        rows = np.round(to_pixels(np.zeros(10), depths, self.size)[1]).astype(int)
        for number, row in enumerate(rows):
            length = (3 if number % 5 == 0 else 2) * self.scale
            window = (slice(row, row + 1), slice(self.size - self.scale - length, self.size - self.scale))
            self.static[window] = np.where(self.fan[window], self.static[window], 170)

    def draw(self, frames: np.ndarray, times: np.ndarray, frozen: np.ndarray) -> None:
        """Write on frames, in place.

        Args:
            frames: uint8 [B, size, size]. times: wall time of each, seconds, [B]. frozen: bool [B], shown by a mark.
        """
        outside = ~self.fan
        frames[:, outside] = self.static[outside]
        for frame, time, still in zip(frames, times, frozen):
            clock = self.clock_start + float(time)
            text = f"{int(clock // 60):02d}:{clock % 60:04.1f}"
            left = self.size - (4 * len(text)) * self.scale
            self._write(frame, text, self.scale, left, 220)
            if still:
                self._write(frame, "FRZ", 8 * self.scale, self.size - 12 * self.scale, 220)
