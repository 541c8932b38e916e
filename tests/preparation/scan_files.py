# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Small scans as files: a fan with drifting texture, a name and a running clock outside it, and speech-like sound."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import av
import numpy as np

from monai_usspeech.data.datalist import Scan, ScanDatalist
from tests.data.media_factory import make_audio, make_video
from tests.data.store_factory import moving_texture, speech_bursts

SIZE = (192, 160)  # width, height
FPS = 20


@cache
def fan_mask() -> np.ndarray:
    """bool [H, W]: a convex fan of 70 degrees."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    dy, dx = y + 20.0, x - SIZE[0] / 2
    radius = np.hypot(dy, dx)
    return np.asarray((radius > 45) & (radius < 170) & (np.abs(np.arctan2(dx, dy)) < np.deg2rad(35)))


@cache
def fan_frames(seed: int, n_frames: int) -> np.ndarray:
    """uint8 [T, H, W]: texture inside the fan; top left a still name, top right a clock that runs."""
    texture = moving_texture(np.random.RandomState(seed), n_frames, max(SIZE))[:, : SIZE[1], : SIZE[0]]
    frames = np.where(fan_mask(), np.clip(texture, 20, 200), 0).astype(np.uint8)
    frames[:, 4:12, 4:40:3] = 200
    for t in range(n_frames):
        frames[t, 4:12, 160 : 160 + 1 + t % 30] = 255
    return frames


def speech_wave(seed: int, seconds: float) -> np.ndarray:
    """float32 [1, N] at 24 kHz."""
    return (speech_bursts(np.random.RandomState(seed), seconds)[0] / 32768.0).astype(np.float32)[None]


def make_scan(folder: Path, number: int, seconds: float = 4.0, sound: str | None = "file") -> Scan:
    """Write the files of one scan; ``sound`` is ``"file"`` (WAV beside), ``"video"`` (its own track) or None."""
    wave = speech_wave(number, seconds)
    name = f"s{number:03d}"
    track = {"audio": wave, "audio_rate": 24_000} if sound == "video" else {}
    frames = fan_frames(number, round(seconds * FPS))
    video = make_video(folder / f"{name}.mp4", fps=FPS, size=SIZE, frames=frames, **track)
    speech: Path | str | None = make_audio(folder / f"{name}.wav", wave, 24_000) if sound == "file" else sound
    gaze = folder / f"{name}_gaze.csv"
    rows = [f"{t / 30:.4f},{90 + t % 9},{80 + t % 7}" for t in range(int(seconds * 30))]
    gaze.write_text("\n".join(["time,x,y", *rows]) + "\n")
    planes = folder / f"{name}_planes.csv"
    planes.write_text(f"start,end,plane\n0.5,1.5,4CH\n2.0,{seconds},femur\n")
    return Scan(name, f"p{number // 2:03d}", video, speech, gaze=gaze, planes=planes)


def cut_faststart(path: Path, share: float = 0.6) -> Path:
    """Put the index of an MP4 at its front and cut the file: it opens, and ends early."""
    moved = path.with_name(f"moved_{path.name}")
    with av.open(str(path)) as source, av.open(str(moved), "w", options={"movflags": "+faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    path.write_bytes(moved.read_bytes()[: int(share * moved.stat().st_size)])
    moved.unlink()
    return path


def make_datalist(folder: Path, n_scans: int = 3, seconds: float = 4.0, sound: str | None = "file") -> Path:
    """Write scans and their datalist; returns the datalist's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "scans.json"
    ScanDatalist("test", tuple(make_scan(folder, n, seconds, sound) for n in range(n_scans))).save(path)
    return path
