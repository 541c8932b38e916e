# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The public corpora of tongue ultrasound with speech, in the folders in which they are handed out, as a scan datalist.

===================  ============================================================  =========================
corpus               utterance                                                     a person is
===================  ============================================================  =========================
UXTD                 ``core-uxtd/core/01M/001A.{ult,param,wav,txt}``               a folder below ``core``
UXSSD, UPX, Cleft    ``core-upx/core/01F/BL1/001A.{ult,param,wav,txt}``            a folder below ``core``
TaL80                ``TaL80/core/01fi/004_xaud.{ult,param,wav,txt,sync,mp4}``     a folder below ``core``
TaL1                 ``TaL1/core/day2/004_xaud.{ult,param,wav,txt,sync,mp4}``      one for all days
===================  ============================================================  =========================

Ultrasound and sound start at different times; ``TimeInSecsOfFirstFrame`` of the parameter file says by how much, and
``prepare`` reads it (see :func:`~monai_usspeech.data.speech.speech_origin`), so that ``speech_offset`` stays 0 here.

Source: UltraSuite (Eshky et al., Interspeech 2018), TaL (Ribeiro et al., SLT 2021) and the documentation of both.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from monai_usspeech.data.datalist import Scan, ScanDatalist
from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.data.ultrasuite import (
    FanConverter,
    UltrasuiteParameters,
    find_parameter_file,
    read_ultrasuite_parameters,
)
from monai_usspeech.transforms.fan_geometry import Box, largest_rectangle

__all__ = ["SPEECH_KINDS", "TONGUE_PICTURES", "CorpusCount", "read_tongue_corpora"]

KINDS = {
    "A": "words", "B": "non-words", "C": "sentences", "D": "articulations", "E": "no speech", "F": "conversation",
    "aud": "read aloud", "cal": "calibration sentence", "spo": "spontaneous", "whi": "whispered", "sil": "silent",
    "swa": "swallow",
}  # fmt: skip
"""Kinds of utterance: the last letter of UltraSuite's names, the word after the number in TaL's (without its x)."""
SPEECH_KINDS = ("A", "B", "C", "D", "F", "aud", "cal", "spo")
"""Those with a voice."""
TONGUE_PICTURES = ("whole", "inside", "detect")
_NAME = re.compile(r"\d+(?:([A-F])|_x?(aud|cal|spo|whi|sil|swa))")
_DAY = re.compile(r"day\d+(_.*)?")
_SPEAKERS = {"uxtd": 58, "uxssd": 8, "upx": 20, "cleft": 29, "ux2020": 37, "tal80": 81, "tal1": 1}  # as published
_UNSYNCHRONISED = ("cleft", "ux2020")
_EXPECTED = (
    "expected the folder of a corpus as it was downloaded, core-uxtd/ of UltraSuite or TaL80/ of TaL, with"
    " core/SPEAKER/001A.ult, core/SPEAKER/SESSION/001A.ult or core/SPEAKER/004_xaud.ult in it, or a folder that holds"
    " several such corpora"
)


@dataclass(frozen=True)
class CorpusCount:
    """What is taken of one corpus.

    Attributes:
        corpus: its name, as in the ids.
        speakers, sessions, utterances: counts; a speaker without sessions counts as one session.
        seconds: of ultrasound.
    """

    corpus: str
    speakers: int
    sessions: int
    utterances: int
    seconds: float


@dataclass(frozen=True)
class _Utterance:
    """A ``.ult`` file and what its place says."""

    path: Path
    corpus: str
    speaker: str
    session: str

    @property
    def subject(self) -> str:
        return self.corpus if _DAY.fullmatch(self.speaker) else f"{self.corpus}-{self.speaker}"

    @property
    def id(self) -> str:
        return "-".join(part for part in (self.corpus, self.speaker, self.session, self.path.stem) if part)

    @property
    def kind(self) -> str | None:
        match = _NAME.fullmatch(self.path.stem)
        return None if match is None else match[1] or match[2]


def read_tongue_corpora(
    folder: str | os.PathLike,
    name: str | None = None,
    kinds: Sequence[str] | str = SPEECH_KINDS,
    picture: str = "whole",
    min_seconds: float = 1.0,
) -> tuple[ScanDatalist, tuple[CorpusCount, ...], tuple[str, ...]]:
    """Make the datalist of one tongue corpus or several: one scan for each utterance, the speakers as subjects.

    Args:
        folder: a corpus as it was downloaded (``core-upx``, ``TaL80``), its ``core``, or the folder of several corpora.
        name: of the list; None: the names of the corpora.
        kinds: which utterances (see ``KINDS`` in this module); ``"all"`` takes each ``.ult`` file, whatever its name.
        picture: what ``prepare`` shall keep of the fan: ``"whole"``, the picture with the fan in it; ``"inside"``, the
            largest rectangle inside the fan, by the geometry of the parameter file; ``"detect"``: ``prepare`` looks
            for it in the frames, as in any video.
        min_seconds: shorter recordings are left out.

    Returns:
        The list (``speech_offset`` 0: the parameter files hold the clock); counts by corpus; and notes for a person:
        what was left out and why, and what differs from the published corpora.

    Raises:
        InputError: for another layout (saying what was expected and found), an unknown kind or picture, a negative
            length, or when nothing is left.
    """
    root = Path(folder)
    wanted = _checked(kinds, picture, min_seconds)
    found = _utterances(root)
    left_out: dict[str, list[str]] = defaultdict(list)
    scans, lengths = [], {}
    for utterance in found:
        try:
            lengths[utterance] = _seconds(utterance, wanted, min_seconds)
        except InputError as error:
            reason, _, _ = str(error).partition("; ")
            left_out[reason].append(utterance.id)
            continue
        box = _box(_parameters(utterance.path), picture)
        sound = utterance.path.with_suffix(".wav")
        scans.append(Scan(utterance.id, utterance.subject, utterance.path.absolute(), sound.absolute(), fan=box))
    notes = [f"left out: {len(ids)} {reason}, such as {ids[0]}" for reason, ids in left_out.items()]
    if not scans:
        raise InputError(f"{root}: none of its {len(found)} utterances can be used: " + "; ".join(notes) + ".")
    counts = _counts(lengths)
    notes += _differences(counts)
    return ScanDatalist(name or "-".join(count.corpus for count in counts), tuple(scans)), counts, tuple(notes)


def _checked(kinds: Sequence[str] | str, picture: str, min_seconds: float) -> tuple[str, ...] | None:
    """The kinds as a tuple, None for all."""
    if picture not in TONGUE_PICTURES:
        hint = nearest_name(str(picture), TONGUE_PICTURES)
        raise InputError(f'picture is "{picture}"; give one of {", ".join(TONGUE_PICTURES)}.{hint}')
    if isinstance(min_seconds, bool) or not isinstance(min_seconds, (int, float)) or not min_seconds >= 0:
        raise InputError(f"min_seconds is {min_seconds!r}; give seconds, 0 or more.")
    words = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    if words == ("all",):
        return None
    for word in words:
        if word not in KINDS:
            known = ", ".join(f"{kind} ({meaning})" for kind, meaning in KINDS.items())
            raise InputError(f'kinds: there is no kind "{word}"; there are {known}, and "all".')
    return words


def _utterances(root: Path) -> list[_Utterance]:
    """All ``.ult`` files of the corpora in a folder, sorted.

    Raises:
        InputError: when there is no corpus, or none with a recording.
    """
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder; {_EXPECTED}.")
    cores = _core_folders(root)
    found = []
    for corpus, core in cores:
        for path in sorted(core.rglob("*.ult")):
            parts = path.relative_to(core).parent.parts
            if parts and not path.name.startswith("."):
                found.append(_Utterance(path, corpus, parts[0], "-".join(parts[1:])))
    if not found:
        raise InputError(f"{root}: not a tongue ultrasound corpus; {_EXPECTED}; found {_content(root, cores)}.")
    return found


def _core_folders(root: Path) -> list[tuple[str, Path]]:
    """(corpus, its ``core`` folder) for each corpus in a folder."""
    here = root.resolve()
    if here.name == "core":
        return [(_corpus_name(here), root)]
    cores = [path for path in (root / "core", *sorted(root.glob("*/core"))) if path.is_dir()]
    if (root / "core").is_dir():
        cores = cores[:1]  # beside it lies TaL's samples/core: utterances of the same corpus once more
    return [(_corpus_name(core.resolve()), core) for core in cores]


def _corpus_name(core: Path) -> str:
    """``"upx"`` for ``core-upx/core``, ``"tal80"`` for ``TaL80/core`` and ``TaL80/samples/core``."""
    parent = core.parent.parent if core.parent.name == "samples" else core.parent
    return re.sub(r"[^a-z0-9]+", "_", parent.name.lower().removeprefix("core-")).strip("_") or "tongue"


def _content(root: Path, cores: Sequence[tuple[str, Path]]) -> str:
    """What is there in place of a corpus."""
    place = cores[0][1] if cores else root
    entries = sorted(place.iterdir())
    folders = [f"{path.name}/" for path in entries if path.is_dir()]
    endings = Counter(path.suffix or "file without ending" for path in entries if path.is_file())
    named = [*folders[:5], *([f"{len(folders) - 5} more folders"] if len(folders) > 5 else [])]
    named += [f"{count} {ending}" for ending, count in endings.most_common(4)]
    where = "core/ " if cores else ""
    return f"{where}with {', '.join(named) or 'nothing'}" if cores else ", ".join(named) or "nothing"


def _seconds(utterance: _Utterance, wanted: tuple[str, ...] | None, min_seconds: float) -> float:
    """Length of a recording that can be used.

    Raises:
        InputError: when it is to be left out; the part before "; " names the reason, the same for all such.
    """
    path, kind = utterance.path, utterance.kind
    if wanted is not None and kind is None:
        raise InputError('with another name than 001A or 004_aud (--kinds "all" takes them)')
    if wanted is not None and kind not in wanted:
        raise InputError(f"of kind {kind} ({KINDS[str(kind)]})")
    if not path.with_suffix(".wav").is_file():
        raise InputError("without their .wav")
    try:
        parameters = _parameters(path)
    except InputError as error:
        raise InputError(f"whose parameter file is missing or cannot be read; {error}") from error
    seconds = path.stat().st_size // (parameters.vectors * parameters.pixels) / parameters.fps
    if seconds == 0:
        raise InputError("without a whole frame")
    if seconds < min_seconds:
        raise InputError(f"shorter than {min_seconds:g} s")
    return seconds


def _parameters(path: Path) -> UltrasuiteParameters:
    return read_ultrasuite_parameters(find_parameter_file(path))


def _box(parameters: UltrasuiteParameters, picture: str) -> tuple[int, int, int, int] | None:
    """What to keep of the picture, in pixels of the fan; None to let ``prepare`` find it."""
    if picture == "detect":
        return None
    p = parameters
    top, left, bottom, right = _fan_box(p.vectors, p.pixels, p.zero_offset, p.angle, picture == "inside")
    return top, left, bottom, right


@lru_cache(maxsize=64)
def _fan_box(vectors: int, pixels: int, zero_offset: float, angle: float, inside: bool) -> Box:
    """A corpus has few geometries: each is worked out once."""
    fan = FanConverter(UltrasuiteParameters(vectors, pixels, zero_offset, angle, 1.0, 0.0))
    return largest_rectangle(fan.mask) if inside else Box(0, 0, *fan.size)


def _counts(lengths: dict[_Utterance, float]) -> tuple[CorpusCount, ...]:
    counts = []
    for corpus in dict.fromkeys(utterance.corpus for utterance in lengths):
        own = [utterance for utterance in lengths if utterance.corpus == corpus]
        speakers = {utterance.subject for utterance in own}
        sessions = {(utterance.speaker, utterance.session) for utterance in own}
        seconds = sum(lengths[utterance] for utterance in own)
        counts.append(CorpusCount(corpus, len(speakers), len(sessions), len(own), seconds))
    return tuple(counts)


def _differences(counts: Iterable[CorpusCount]) -> list[str]:
    """What a person should know about these corpora."""
    notes = []
    for count in counts:
        published = _SPEAKERS.get(count.corpus, count.speakers)
        if count.speakers != published:
            notes.append(f"{count.corpus} was published with {published} speakers, here are {count.speakers}")
        if count.corpus in _UNSYNCHRONISED:
            notes.append(
                f"the hardware synchronisation of {count.corpus} failed or is not reliable, as its authors say: do not"
                " train pairs on it, and do not measure synchronisation on it"
            )
    return notes
