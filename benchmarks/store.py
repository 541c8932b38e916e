# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""How fast the scan store is read and made, beside what else one would use.

Reading: one thread, warm page cache, random training samples (2 + 4 frames of a 2 s clip and four windows of 0.6 s of
speech). The store checks a checksum on every read; the peers check nothing. Preparing: one process, as a multiple of
the video's own duration, beside bare decoding of the same file with PyAV, which no preparation can beat. Seconds are
processor seconds of one core, so that a busy machine changes little::

    python benchmarks/store.py --folder FOLDER
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from PIL import Image

from monai_usspeech.data.datalist import Scan, ScanDatalist
from monai_usspeech.data.store import STORE_SAMPLE_RATE, ScanStore, ScanStoreWriter
from monai_usspeech.preparation import prepare_scans

SIDE, RATE, CLIP, WINDOW = 288, 10, 20, 14_400
SOURCE = (1008, 784)  # width, height
Sample = tuple[np.ndarray, np.ndarray]


def speckle(n_frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 ``[T, H, W]``: speckle of about 3 pixels in a fan, drifting and slowly replaced."""
    rng = np.random.RandomState(seed)
    coarse = [Image.fromarray(rng.randint(0, 256, (height // 3, width // 3)).astype(np.uint8)) for _ in range(2)]
    fields = [np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), np.float32) for image in coarse]
    y, x = np.mgrid[:height, :width]
    dy, dx = y + 0.1 * height, x - 0.5 * width
    fan = (np.abs(np.arctan2(dx, dy)) < 0.6) & (np.hypot(dy, dx) > 0.25 * height) & (np.hypot(dy, dx) < 1.05 * height)
    frames = np.empty((n_frames, height, width), np.uint8)
    for t in range(n_frames):
        mixed = np.cos(0.02 * t) ** 2 * fields[0] + np.sin(0.02 * t) ** 2 * np.roll(fields[1], t, axis=1)
        frames[t] = np.where(fan, np.clip(mixed, 20, 235), 0)
    return frames


def write_stores(folder: Path, seconds: int) -> None:
    """The same scan as a raw store, a JPEG store, one ``.npy`` per kind, and one ``.npy`` per clip."""
    frames = speckle(seconds * RATE, SIDE, SIDE)
    speech = np.random.RandomState(1).randint(-3000, 3000, seconds * STORE_SAMPLE_RATE).astype(np.int16)
    for codec in ("raw", "jpeg"):
        with ScanStoreWriter(folder / codec, "scan", codec) as writer:
            for index, frame in enumerate(frames):
                writer.add_frame(frame, index / RATE, index)
            writer.set_speech(speech, (0.0, seconds))
            box = [0, 0, SIDE, SIDE]
            writer.finish({"subject": "p", "duration": seconds, "fan_box": box, "source_size": [SIDE, SIDE]})
    np.save(folder / "frames.npy", frames)
    np.save(folder / "speech.npy", speech)
    (folder / "clips").mkdir(exist_ok=True)
    for clip in range(len(frames) // CLIP):
        np.save(folder / "clips" / f"{clip}.npy", frames[clip * CLIP : (clip + 1) * CLIP])


def store_reader(folder: Path) -> Callable[[np.ndarray, np.ndarray], Sample]:
    """Read from a scan store."""
    scan = ScanStore(folder).scans[0]
    return lambda frames, starts: (
        scan.read_frames(frames),
        np.stack([scan.read_speech(start / STORE_SAMPLE_RATE, WINDOW) for start in starts]),
    )


def memmap_reader(folder: Path) -> Callable[[np.ndarray, np.ndarray], Sample]:
    """Read from memory-mapped ``.npy`` files."""
    frames_file, speech_file = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("frames", "speech"))
    return lambda frames, starts: (
        np.array(frames_file[frames]),
        np.stack([speech_file[start : start + WINDOW] for start in starts]),
    )


def clip_reader(folder: Path) -> Callable[[np.ndarray, np.ndarray], Sample]:
    """Load the whole ``.npy`` of a clip, as a dataset of cached clips does."""
    speech_file = np.load(folder / "speech.npy", mmap_mode="r")
    return lambda frames, starts: (
        np.load(folder / "clips" / f"{frames[0] // CLIP}.npy")[frames % CLIP],
        np.stack([speech_file[start : start + WINDOW] for start in starts]),
    )


def samples_per_second(read: Callable[[np.ndarray, np.ndarray], Sample], n_clips: int, seconds: float) -> float:
    """Random samples read in a second, after a warm-up over the whole file."""
    for clip in range(n_clips):
        read(np.arange(clip * CLIP, (clip + 1) * CLIP), np.array([clip * 2 * STORE_SAMPLE_RATE]))
    rng, count, begin = np.random.RandomState(0), 0, time.process_time()
    while time.process_time() - begin < seconds:
        clip = rng.randint(n_clips - 1)
        frames = clip * CLIP + np.sort(rng.choice(CLIP, 6, replace=False))
        read(frames, np.int64((2 * clip + rng.uniform(0, 1.4, 4)) * STORE_SAMPLE_RATE))
        count += 1
    return count / (time.process_time() - begin)


def benchmark_reading(folder: Path, seconds: int) -> None:
    """Print samples a second and the ratio to each peer."""
    write_stores(folder, seconds)
    readers = {
        "store, raw": store_reader(folder / "raw"),
        "store, JPEG q90": store_reader(folder / "jpeg"),
        "np.memmap, raw": memmap_reader(folder),
        ".npy per clip, raw": clip_reader(folder),
    }
    speeds = {name: samples_per_second(read, seconds // 2, 3.0) for name, read in readers.items()}
    print(f"\n{'reader (1 thread, warm)':24} {'samples/s':>10} {'to memmap':>10} {'to .npy per clip':>17}")
    for name, speed in speeds.items():
        ratios = [speed / speeds[peer] for peer in ("np.memmap, raw", ".npy per clip, raw")]
        print(f"{name:24} {speed:10.0f} {ratios[0]:10.2f} {ratios[1]:17.2f}")
    sizes = [(folder / codec / "scan" / "frames.bin").stat().st_size for codec in ("raw", "jpeg")]
    print(f"JPEG takes {sizes[1] / sizes[0]:.2f} of the space of raw.")


def write_video(path: Path, seconds: int, fps: int = 30) -> None:
    """Encode speckle as H.264, 1008 x 784 pixels at 30 frames a second, a key frame every 2 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "20", "g": "60"})
        stream.width, stream.height, stream.pix_fmt = *SOURCE, "yuv420p"
        frames = speckle(4 * fps, SOURCE[1], SOURCE[0])
        for t in range(seconds * fps):
            frame = av.VideoFrame.from_ndarray(frames[t % len(frames)], format="gray")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())


def benchmark_preparing(folder: Path, seconds: int) -> None:
    """Print the speed of preparing as a multiple of real time, and of bare decoding."""
    video = folder / "video.mp4"
    write_video(video, seconds)
    begin = time.process_time()
    with av.open(str(video)) as container:
        container.streams.video[0].thread_type = "NONE"
        frames = sum(1 for _ in container.decode(video=0))
    bare = seconds / (time.process_time() - begin)
    print(f"\n{frames} frames, {SOURCE[0]} x {SOURCE[1]}, {video.stat().st_size * 8 / seconds / 1e6:.1f} Mbit/s")
    print(f"{'1 process':34} {'x real time':>12} {'to bare decoding':>17}")
    print(f"{'bare decoding (PyAV)':34} {bare:12.1f} {1.0:17.2f}")
    scans = ScanDatalist("speed", (Scan("scan", "p", video),))
    for codec, frame_rate in (("jpeg", 10.0), ("jpeg", None), ("raw", None)):
        store = folder / "prepared"
        shutil.rmtree(store, ignore_errors=True)
        begin = time.process_time()
        report = prepare_scans(scans, store, codec=codec, frame_rate=frame_rate, workers=0, progress=False)
        if report.failed:
            raise SystemExit(str(report))
        speed = seconds / (time.process_time() - begin)
        kind = f"prepare, {codec}, {'every frame' if frame_rate is None else f'{frame_rate:g} frames/s'}"
        print(f"{kind:34} {speed:12.1f} {speed / bare:17.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="an empty folder for about 0.5 GB of test files")
    parser.add_argument("--seconds", type=int, default=120, help="length of the scan that is read")
    parser.add_argument("--video_seconds", type=int, default=40, help="length of the video that is prepared")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    benchmark_reading(given.folder, given.seconds)
    benchmark_preparing(given.folder, given.video_seconds)


if __name__ == "__main__":
    main()
