# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The scan datalist: which scans there are, whose they are, and where their files lie.

.. code-block:: json

    {"name": "my-scans", "fps": null,
     "scans": [{"id": "s001", "subject": "p001", "video": "s001.mp4", "speech": "s001.wav", "speech_offset": 0.0,
                "gaze": "s001_gaze.csv", "planes": "s001_planes.csv", "fan": null, "fold": 0}]}

Everything is checked when the list is read, before any work begins, and all that is wrong is said at once.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from monai_usspeech.data._datalist_checks import content_problems, file_problems, resolve
from monai_usspeech.data.files import InputError, read_json, write_json

__all__ = ["Scan", "ScanDatalist"]

_SPEECH_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


@dataclass(frozen=True)
class Scan:
    """One scan of a datalist.

    Attributes:
        id: names the scan everywhere, and its folder in the scan store; unique.
        subject: the person scanned; folds never split a subject.
        video: video file.
        speech: sound file; ``"video"`` for the sound track of the video file; None for a scan without speech.
        speech_offset: seconds added to the time of the speech; positive when the speech began after the video. A sound
            file begins at this time of the video; a track of the video is moved by it from its own clock.
        gaze: gaze CSV (:func:`~monai_usspeech.data.annotations.read_gaze`), or None.
        planes: planes CSV (:func:`~monai_usspeech.data.annotations.read_planes`), or None.
        oracle: CSV of when what is said names what is shown (:func:`~monai_usspeech.data.oracle.read_oracle`), or None.
        fan: (top, left, bottom, right) of the part of the frame to keep, in source pixels, bottom and right excluded;
            None to detect it.
        fold: the test fold of the scan, the same for all scans of its subject; None when folds are drawn elsewhere.
    """

    id: str
    subject: str
    video: Path
    speech: Path | Literal["video"] | None = None
    speech_offset: float = 0.0
    gaze: Path | None = None
    planes: Path | None = None
    fan: tuple[int, int, int, int] | None = None
    fold: int | None = None
    oracle: Path | None = None


@dataclass(frozen=True)
class ScanDatalist:
    """A checked list of scans.

    Attributes:
        name: a name for reports.
        scans: the scans, in the order of the file.
        fps: frames per second for formats that carry no clock; None where all carry one.

    Raises:
        InputError: when ids, subjects, folds, boxes or numbers cannot be used. All problems are in the one message.
    """

    name: str
    scans: tuple[Scan, ...]
    fps: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scans", tuple(self.scans))
        _raise_if_any(f'datalist "{self.name}"', content_problems(self._content(None)))

    @classmethod
    def load(cls, path: str | os.PathLike, check_files: bool = True) -> ScanDatalist:
        """Read a datalist and check all of it.

        Args:
            path: the JSON file; the paths in it are relative to its folder.
            check_files: also check that every file exists, that each planes CSV can be used, and that the first 100
                rows of each gaze CSV can.

        Returns:
            The list, with absolute paths.

        Raises:
            InputError: when anything is wrong: one line for each problem, with the scan, the field and the mend.
        """
        content, folder = read_json(path), Path(path).parent.resolve()
        problems = content_problems(content)
        if check_files:
            problems += file_problems(content, folder)
        _raise_if_any(str(path), problems)
        return cls(content["name"], tuple(_scan(entry, folder) for entry in content["scans"]), content.get("fps"))

    @classmethod
    def from_folder(
        cls, folder: str | os.PathLike, pattern: str = "*.mp4", subject: str | None = None, name: str | None = None
    ) -> ScanDatalist:
        """A first datalist for a folder of videos; save it, look it over, and mend it by hand.

        Beside ``clip.mp4`` it takes up ``clip.wav`` (or .flac, .ogg, .mp3), ``clip_gaze.csv``, ``clip_planes.csv`` and
        ``clip_oracle.csv``.
        A scan without such a sound file gets no speech: write ``"video"`` where the track of the video is narration.

        Args:
            folder: where the videos lie.
            pattern: which files are videos; ``"**/*.mp4"`` looks in the folders below as well.
            subject: regular expression with one group that finds the subject in the path below ``folder``, such as
                ``"^(p[0-9]+)_"``. None makes each video its own subject, which is right only with one video a person:
                otherwise folds split people.
            name: name of the list; None takes the folder's name.

        Raises:
            InputError: when no file fits the pattern, or the expression finds no subject.
        """
        root = Path(folder).resolve()
        videos = sorted(path for path in root.glob(pattern) if path.is_file() and not path.name.startswith("."))
        if not videos:
            raise InputError(f'{folder}: no file fits "{pattern}"; {_what_is_in(root)}.')
        below = [video.relative_to(root) for video in videos]
        # Two folders may use one name; then the folders become part of every id.
        unique = len({path.stem for path in below}) == len(below)
        ids = [path.stem if unique else "_".join(path.with_suffix("").parts) for path in below]
        subjects = ids if subject is None else [_subject_in(path, subject) for path in below]
        scans = [
            Scan(
                id=scan_id,
                subject=person,
                video=video,
                speech=_beside(video, _SPEECH_SUFFIXES),
                gaze=_beside(video, ("_gaze.csv",)),
                planes=_beside(video, ("_planes.csv",)),
                oracle=_beside(video, ("_oracle.csv",)),
            )
            for scan_id, person, video in zip(ids, subjects, videos)
        ]
        return cls(name or root.name, tuple(scans))

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects, each once, sorted."""
        return tuple(sorted({scan.subject for scan in self.scans}))

    def save(self, path: str | os.PathLike) -> None:
        """Write the list as JSON, whole or not at all.

        Args:
            path: the file to write, in a folder that exists; paths are written relative to this folder.
        """
        write_json(path, self._content(Path(path).parent.resolve()))

    def __len__(self) -> int:
        return len(self.scans)

    def __iter__(self) -> Iterator[Scan]:
        return iter(self.scans)

    def _content(self, folder: Path | None) -> dict[str, Any]:
        """What a JSON file in ``folder`` holds for this list (None: with the paths as they are)."""
        return {"name": self.name, "fps": self.fps, "scans": [_entry(scan, folder) for scan in self.scans]}


def _raise_if_any(where: str, problems: list[str]) -> None:
    if problems:
        head = [f"{len(problems)} problems in the datalist:"] if len(problems) > 1 else []
        raise InputError("\n".join(head + [f"{where}: {problem}" for problem in problems]))


def _scan(entry: Mapping[str, Any], folder: Path) -> Scan:
    """The scan that a checked entry of a datalist in ``folder`` describes."""
    tables = ("gaze", "planes", "oracle")
    files = {key: None if entry.get(key) is None else resolve(folder, entry[key]) for key in tables}
    speech = entry.get("speech")
    return Scan(
        id=entry["id"],
        subject=entry["subject"],
        video=resolve(folder, entry["video"]),
        speech=speech if speech is None or speech == "video" else resolve(folder, speech),
        speech_offset=float(entry.get("speech_offset", 0.0)),
        fan=None if entry.get("fan") is None else tuple(entry["fan"]),
        fold=entry.get("fold"),
        **files,
    )


def _entry(scan: Scan, folder: Path | None) -> dict[str, Any]:
    """The entry of a datalist in ``folder`` that describes the scan."""
    entry: dict[str, Any] = {
        "id": scan.id,
        "subject": scan.subject,
        "video": _written(scan.video, folder),
        "speech": scan.speech if scan.speech == "video" else _written(scan.speech, folder),
        "speech_offset": scan.speech_offset,
        "gaze": _written(scan.gaze, folder),
        "planes": _written(scan.planes, folder),
        "fan": None if scan.fan is None else list(scan.fan),
    }
    rare = {"oracle": _written(scan.oracle, folder), "fold": scan.fold}
    return {**entry, **{key: value for key, value in rare.items() if value is not None}}


def _written(path: str | os.PathLike | None, folder: Path | None) -> str | None:
    """A path as it is written in a datalist in ``folder``, with / between folders."""
    if path is None or folder is None:
        return None if path is None else os.fspath(path)
    absolute = resolve(Path.cwd(), os.fspath(path))
    try:
        text = Path(os.path.relpath(absolute, folder)).as_posix()
    except ValueError:  # another drive of a Windows machine
        text = absolute.as_posix()
    return "./video" if text == "video" else text  # a file called "video" is not the track of the video


def _beside(video: Path, endings: tuple[str, ...]) -> Path | None:
    """The first file beside ``video`` that has its name with one of the endings."""
    files = (video.with_name(video.stem + case) for ending in endings for case in (ending, ending.upper()))
    return next((path for path in files if path != video and path.is_file()), None)


def _subject_in(path: Path, expression: str) -> str:
    try:
        match = re.search(expression, path.as_posix())
    except re.error as error:
        raise InputError(f'subject: "{expression}" is not a regular expression ({error}).') from error
    if match is None or not match.groups() or not match[1]:
        raise InputError(f'{path}: subject "{expression}" finds nothing; give an expression whose first group does.')
    return str(match[1])


def _what_is_in(folder: Path) -> str:
    if not folder.is_dir():
        return "there is no such folder"
    kinds = Counter(path.suffix or "without ending" for path in sorted(folder.iterdir()) if path.is_file())
    return "it holds " + (", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5)) or "no files")
