# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""
How well the voice activity detectors tell speech from its absence, and how fast they are.

Usage:
    python -m benchmarks.voice_activity [--data FOLDER]

``FOLDER`` holds ``speech/vad_labels.csv`` (columns file, start_s, end_s, label; paths relative to ``FOLDER``; what is
not labelled is not speech) and optionally ``noise/`` with sounds without speech. Default: the environment variable
``USSPEECH_REAL_DATA``, else ``../shared/data`` beside the repository. Needs the package's ``test`` extra.

All detectors judge the same 10 ms frames; a frame is speech when its middle lies in a labelled segment. webrtcvad is
the yardstick only, the package does not use it.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from monai_usspeech.data.speech import read_speech
from monai_usspeech.transforms.voice_activity import energy_voice_activity, silero_voice_activity

RATE = 24000
SOUNDS = {".flac", ".mp3", ".ogg", ".wav"}
Detector = Callable[[np.ndarray], np.ndarray]


@dataclass
class Counts:
    """Frames counted over recordings, and the time it took."""

    true_positive: int = 0
    false_positive: int = 0
    positive: int = 0
    negative: int = 0
    seconds: float = 0.0

    @property
    def recall(self) -> float:
        """Share of speech frames that are found."""
        return self.true_positive / max(1, self.positive)

    @property
    def false_positive_rate(self) -> float:
        """Share of frames without speech that are called speech."""
        return self.false_positive / max(1, self.negative)

    @property
    def precision(self) -> float:
        """Share of speech among the frames called speech."""
        return self.true_positive / max(1, self.true_positive + self.false_positive)

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the shares of speech and of non-speech frames that are judged right; 0.5 by chance."""
        return (self.recall + 1 - self.false_positive_rate) / 2

    @property
    def speed(self) -> float:
        """Seconds of sound per second of work."""
        return (self.positive + self.negative) * 0.01 / max(self.seconds, 1e-9)


def webrtc_voice_activity(wave: np.ndarray, mode: int) -> np.ndarray:
    """Flags per 10 ms by webrtcvad, ``mode`` 0 (lenient) to 3 (strict), for a wave at 24 kHz."""
    import webrtcvad

    samples = soxr.resample(wave, RATE, 16000)
    pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2")
    frames = pcm[: len(pcm) // 160 * 160].reshape(-1, 160)
    detector = webrtcvad.Vad(mode)
    return np.array([detector.is_speech(frame.tobytes(), 16000) for frame in frames], dtype=bool)


def detectors() -> dict[str, Detector]:
    """The detectors by name."""
    named: dict[str, Detector] = {
        f"energy, hangover {hangover}": lambda wave, h=hangover: energy_voice_activity(wave, RATE, hangover=h)  # type: ignore[misc]
        for hangover in (8, 20)
    }
    named["silero"] = lambda wave: silero_voice_activity(wave, RATE)
    named |= {f"webrtcvad, mode {mode}": lambda wave, m=mode: webrtc_voice_activity(wave, m) for mode in range(4)}  # type: ignore[misc]
    return named


def labelled_speech(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read the labelled recordings: pairs of a wave ``[N]`` at 24 kHz and its true flags ``[frames]``."""
    segments: dict[str, list[tuple[float, float]]] = {}
    with open(folder / "speech" / "vad_labels.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            times = segments.setdefault(row["file"], [])
            if row["label"] == "speech":
                times.append((float(row["start_s"]), float(row["end_s"])))
    recordings = []
    for name, times in segments.items():
        wave = read_speech(folder / name, RATE).samples
        middles = (np.arange(len(wave) * 100 // RATE) + 0.5) * 0.01
        truth = np.zeros(len(middles), dtype=bool)
        for start, end in times:
            truth |= (middles >= start) & (middles < end)
        recordings.append((wave, truth))
    return recordings


def evaluate(detect: Detector, recordings: Iterable[tuple[np.ndarray, np.ndarray]]) -> Counts:
    """Run a detector over recordings, each from a fresh state, and pool the counts."""
    counts = Counts()
    for wave, truth in recordings:
        begin = time.perf_counter()
        flags = detect(wave)
        counts.seconds += time.perf_counter() - begin
        n_frames = min(len(flags), len(truth))  # resampling may drop the last frame
        flags, expected = flags[:n_frames], truth[:n_frames]
        counts.true_positive += int((flags & expected).sum())
        counts.false_positive += int((flags & ~expected).sum())
        counts.positive += int(expected.sum())
        counts.negative += int((~expected).sum())
    return counts


def noise_by_kind(folder: Path) -> dict[str, list[np.ndarray]]:
    """Sounds without speech at 24 kHz, by the part of the file name before its last underscore."""
    kinds: dict[str, list[np.ndarray]] = {}
    for path in sorted((folder / "noise").rglob("*")):
        if path.suffix.lower() in SOUNDS:
            kinds.setdefault(path.stem.rsplit("_", 1)[0], []).append(read_speech(path, RATE).samples)
    return kinds


def print_speech_table(folder: Path) -> None:
    """Print recall, false-positive rate, precision and speed as a Markdown table."""
    recordings = labelled_speech(folder)
    n_frames, n_speech = (sum(int(f(truth)) for _, truth in recordings) for f in (np.size, np.sum))
    print(f"{len(recordings)} recordings, {n_frames / 100:.0f} s, of which {n_speech / 100:.0f} s are speech\n")
    print("| detector | recall | false-positive rate | precision | balanced accuracy | speed, x real time |")
    print("|---|---|---|---|---|---|")
    for name, detect in detectors().items():
        detect(recordings[0][0][:RATE])  # loading code and weights is not part of the speed
        c = evaluate(detect, recordings)
        rates = (c.recall, c.false_positive_rate, c.precision, c.balanced_accuracy)
        print(f"| {name} | " + " | ".join(f"{rate:.3f}" for rate in rates) + f" | {c.speed:,.0f} |")


def print_noise_table(folder: Path) -> None:
    """Print the share of frames called speech in sounds without speech as a Markdown table."""
    chosen = {name: detectors()[name] for name in ("energy, hangover 8", "silero", "webrtcvad, mode 3")}
    print("\n| sound without speech | " + " | ".join(chosen) + " |")
    print("|---|" + "---|" * len(chosen))
    for kind, waves in noise_by_kind(folder).items():
        shares = [np.concatenate([detect(wave) for wave in waves]).mean() for detect in chosen.values()]
        print(f"| {kind} | " + " | ".join(f"{share:.2f}" for share in shares) + " |")


def main() -> None:
    """Read the command line and print the tables."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("USSPEECH_REAL_DATA", beside)))
    folder = parser.parse_args().data
    if not (folder / "speech" / "vad_labels.csv").is_file():
        parser.error(f"{folder} has no speech/vad_labels.csv; give the folder with --data")
    print_speech_table(folder)
    if (folder / "noise").is_dir():
        print_noise_table(folder)


if __name__ == "__main__":
    main()
