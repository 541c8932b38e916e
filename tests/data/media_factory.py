# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Makes small media files whose content is known: the frame number is drawn into the pixels, the sound holds clicks.

Every frame carries its number as 12 black or white blocks along the top (survives lossy codecs), a grey ramp in the
middle, and a lower third that is white in the frames named by ``bright`` and black elsewhere.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

INDEX_BITS = 12
BLOCK = 8  # pixels: a block spans whole macroblock halves, so that lossy codecs keep it
WIDTH, HEIGHT = INDEX_BITS * BLOCK, 64

_DEFAULT_CODEC = {
    ".mp4": ("libx264", "yuv420p"), ".mov": ("libx264", "yuv420p"), ".mkv": ("libx264", "yuv420p"),
    ".avi": ("mpeg4", "yuv420p"), ".gif": ("gif", "gray"), ".mpeg": ("mpeg2video", "yuv420p"),
    ".ts": ("libx264", "yuv420p"), ".webm": ("libvpx", "yuv420p"),
}  # fmt: skip
_DEFAULT_AUDIO = {".mp4": "aac", ".mov": "aac", ".mkv": "aac", ".avi": "pcm_s16le", ".mpeg": "mp2", ".ts": "aac"}


def index_frame(index: int, width: int = WIDTH, height: int = HEIGHT, bright: bool = False) -> np.ndarray:
    """A uint8 ``[height, width]`` picture that shows ``index`` as bits, most significant first."""
    image = np.zeros((height, width), np.uint8)
    for bit in range(INDEX_BITS):
        if index >> (INDEX_BITS - 1 - bit) & 1:
            image[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255
    third = height // 3
    image[third : 2 * third] = np.linspace(0, 255, width).astype(np.uint8)
    if bright:
        image[2 * third :] = 255
    return image


def read_index(image: np.ndarray) -> int:
    """The frame number that :func:`index_frame` drew into a uint8 ``[H, W]`` or ``[H, W, 3]`` picture."""
    grey = image if image.ndim == 2 else image.mean(-1)
    bits = [grey[1 : BLOCK - 1, b * BLOCK + 1 : (b + 1) * BLOCK - 1].mean() > 127 for b in range(INDEX_BITS)]
    return int("".join("1" if bit else "0" for bit in bits), 2)


def is_bright(image: np.ndarray) -> bool:
    """Whether the lower third of the picture is white."""
    return bool(image[2 * image.shape[0] // 3 + 2 :].mean() > 127)


def click_track(seconds: float, clicks: Iterable[float], sample_rate: int, channels: int = 1) -> np.ndarray:
    """Float32 ``[channels, N]``: silence with a 2 ms burst of a 3 kHz tone that starts at each time of ``clicks``."""
    wave = np.zeros(round(seconds * sample_rate), np.float32)
    burst = np.sin(2 * np.pi * 3000 * np.arange(round(0.002 * sample_rate)) / sample_rate).astype(np.float32) * 0.8
    for time in clicks:
        start = round(time * sample_rate)
        stop = min(start + len(burst), len(wave))
        wave[start:stop] = burst[: stop - start]
    return np.repeat(wave[None], channels, axis=0)


def click_times(wave: np.ndarray, sample_rate: int, level: float = 0.2) -> np.ndarray:
    """Onset times (s) of the bursts in a mono wave: first samples above ``level`` after 20 ms below it."""
    loud = np.flatnonzero(np.abs(wave) > level)
    if loud.size == 0:
        return np.zeros(0)
    first = np.concatenate([[True], np.diff(loud) > 0.02 * sample_rate])
    return loud[first] / sample_rate


def make_video(
    path: str | Path,
    n_frames: int = 30,
    fps: float | Fraction = 30,
    times: Sequence[float] | None = None,
    start: float = 0.0,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    bright: Iterable[int] = (),
    codec: str | None = None,
    pix_fmt: str | None = None,
    options: dict[str, str] | None = None,
    full_range: bool | None = None,
    frames: Sequence[np.ndarray] | None = None,
    audio: np.ndarray | None = None,
    audio_rate: int = 48000,
    audio_codec: str | None = None,
    audio_start: float = 0.0,
    rotation: int | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a video file whose frames show their number.

    Args:
        path: the file; its suffix chooses container and codec.
        n_frames, fps: length and constant rate; ignored where ``times`` gives each frame's presentation time (s, VFR).
        start: container time of the first frame in seconds.
        size: (width, height).
        bright: numbers of the frames whose lower third is white.
        codec, pix_fmt, options: encoder, its pixel format and its options (``{"g": "10", "bf": "2"}``).
        full_range: mark the luma as full (True) or limited (False) range; None leaves it unmarked (limited).
        frames: uint8 grey ``[H, W]`` or RGB ``[H, W, 3]`` pictures instead of the numbered ones.
        audio: float32 ``[channels, N]`` sound track at ``audio_rate`` Hz, sample 0 at container time ``audio_start``.
        rotation: counter-clockwise degrees of the display matrix.
        container_options: of the muxer, such as ``{"movflags": "faststart"}``.
    """
    path = Path(path)
    default_codec, default_format = _DEFAULT_CODEC[path.suffix.lower()]
    rate = Fraction(fps).limit_denominator(100_000)
    shown = [i / rate for i in range(n_frames if frames is None else len(frames))] if times is None else list(times)
    base = 1 / rate if times is None and start == 0 else Fraction(1, 90_000)
    bright = set(bright)
    if options is None and times is not None:
        options = {"bf": "0"}  # with reordered frames the muxer shortens the declared length of uneven ones
    with av.open(str(path), "w", options=container_options or {}) as container:
        encoder = codec or default_codec
        options = dict(options or {})
        if encoder == "libx264":  # with mbtree, or several threads, the same frames do not always give the same bytes
            options.setdefault("x264-params", "mbtree=0")
        stream = container.add_stream(encoder, rate=rate, options=options)
        stream.codec_context.thread_count = 1
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt or default_format
        stream.codec_context.time_base = base
        if full_range is not None:
            stream.codec_context.color_range = 2 if full_range else 1
        if rotation is not None:
            stream.set_display_rotation(rotation)
        sound = None
        if audio is not None:
            layout = {1: "mono", 2: "stereo"}[audio.shape[0]]
            sound = container.add_stream(audio_codec or _DEFAULT_AUDIO[path.suffix.lower()], rate=audio_rate)
            sound.layout = layout
        for index, time in enumerate(shown):
            image = index_frame(index, *size, bright=index in bright) if frames is None else frames[index]
            frame = _video_frame(image, stream.pix_fmt, full_range)
            frame.pts, frame.time_base = round((time + start) / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None and audio is not None:
            _mux_audio(container, sound, audio, audio_rate, audio_start)
    return path


def make_audio(path: str | Path, wave: np.ndarray, sample_rate: int = 48000, codec: str | None = None) -> Path:
    """Write float32 ``[channels, N]`` as WAV, FLAC, OGG or MP3; ``codec`` may name any encoder the container takes."""
    path = Path(path)
    default = {".wav": "pcm_s16le", ".flac": "flac", ".ogg": "libopus", ".mp3": "libmp3lame", ".m4a": "aac"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec or default[path.suffix.lower()], rate=sample_rate)
        stream.layout = {1: "mono", 2: "stereo"}[wave.shape[0]]
        _mux_audio(container, stream, wave, sample_rate, 0.0)
    return path


def trim_by_edit_list(path: Path, seconds: float) -> None:
    """Hide the first ``seconds`` of an MP4's video by moving its edit list, as ``ffmpeg -ss -c copy`` does.

    The factory's MP4 files have a media time base of 512 ticks a frame at 30 fps (15,360 Hz) and one elst entry.
    """
    data = bytearray(path.read_bytes())
    entry = data.index(b"elst") + 4 + 4 + 4  # name, version and flags, number of entries
    length, media_time = struct.unpack_from(">Ii", data, entry)
    struct.pack_into(">Ii", data, entry, length - round(seconds * 1000), media_time + round(seconds * 15360))
    path.write_bytes(bytes(data))


def _video_frame(image: np.ndarray, pix_fmt: str, full_range: bool | None) -> av.VideoFrame:
    """An encoder frame; the range is converted explicitly, so that the stored luma is what the flag says."""
    source = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="gray" if image.ndim == 2 else "rgb24")
    if pix_fmt == "gray" or pix_fmt.startswith(("rgb", "bgr")):
        return source.reformat(format=pix_fmt)
    target = 2 if full_range or pix_fmt.startswith("yuvj") else 1
    frame = source.reformat(format=pix_fmt, src_color_range=2, dst_color_range=target)
    frame.color_range = 0 if full_range is None else target
    return frame


def _mux_audio(container, stream, wave: np.ndarray, rate: int, start: float) -> None:
    """Encode ``[channels, N]`` in frames of 1,024 samples, the first at ``start`` seconds."""
    resampler = av.AudioResampler(format=stream.format.name, layout=stream.layout.name, rate=rate)
    base = Fraction(1, rate)
    for first in range(0, wave.shape[1], 1024):
        block = np.ascontiguousarray(wave[:, first : first + 1024], np.float32)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=stream.layout.name)
        frame.sample_rate, frame.time_base, frame.pts = rate, base, round(start * rate) + first
        for converted in resampler.resample(frame):
            container.mux(stream.encode(converted))
    for converted in resampler.resample(None):
        container.mux(stream.encode(converted))
    container.mux(stream.encode(None))
