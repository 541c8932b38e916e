# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The files in which the server keeps what is known of its clips.

Each clip has a file of its own, ``scores/ID.json``: the server's list of clips is in its memory, and what another
process writes there is lost (a scoring run is another process).
"""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from monai_usspeech.data.files import InputError, read_json, write_json
from monai_usspeech.label.selection import CandidateClip

__all__ = [
    "SCORE_SCHEMA",
    "ClipScore",
    "ScoreFolder",
    "clip_stamp",
    "largest_group",
    "sound_beside",
    "weights_stamp",
]

SCORE_SCHEMA = 1
_SOUND_SUFFIXES = (".wav", ".flac")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipScore:
    """The scores of one clip.

    Attributes:
        id: the clip.
        source: ``size`` and ``mtime_ns`` of its file, and of the sound beside it.
        models: stamps of the weights, ``plane`` and ``pretrained``, None where there was none.
        reader: how it was read: ``fan_crop``, ``frame_rate``, ``fps``.
        frames: how many were looked at.
        uncertainty: mean over frames of the entropy of the plane probabilities, as a share of the greatest possible;
            None without a plane model.
        uncertain_frame: number in the file of the least certain frame.
        embedding: ``D`` numbers, see :func:`~monai_usspeech.label.clip_scores.clip_embedding`.
        affinity, affinity_margin, speech_share: see :class:`~monai_usspeech.label.speech_affinity.SpeechAffinity`.
        why: why there is no affinity.
    """

    id: str
    source: dict[str, int]
    models: dict[str, str | None]
    reader: dict[str, Any]
    frames: int
    uncertainty: float | None
    uncertain_frame: int | None
    embedding: tuple[float, ...]
    affinity: float | None
    affinity_margin: float | None
    speech_share: float | None
    why: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"schema": SCORE_SCHEMA, **asdict(self), "embedding": list(self.embedding)}

    @classmethod
    def from_json(cls, content: Any, name: str) -> ClipScore:
        """The reverse of :meth:`to_json`.

        Args:
            content: what was read.
            name: where, for errors.

        Raises:
            InputError: when it is no score of this form.
        """
        known = {field.name for field in fields(cls)}
        if not isinstance(content, dict) or content.get("schema") != SCORE_SCHEMA or set(content) != {"schema", *known}:
            raise InputError(
                f"{name}: not a clip's scores as this version writes them; remove the file and score again."
            )
        values = {key: content[key] for key in known}
        numbers = [values[key] for key in ("uncertainty", "affinity", "affinity_margin", "speech_share")]
        if not isinstance(values["embedding"], list) or not all(
            isinstance(value, (int, float)) and math.isfinite(value)
            for value in [*values["embedding"], *(number for number in numbers if number is not None)]
        ):
            raise InputError(f"{name}: holds something that is not a number; remove the file and score again.")
        return cls(**{**values, "embedding": tuple(values["embedding"])})

    def candidate(self) -> CandidateClip:
        """As the selection wants it."""
        embedding = np.array(self.embedding) if self.embedding else None
        return CandidateClip(self.id, self.uncertain_frame, self.uncertainty, embedding, self.affinity)


class ScoreFolder:
    """The scores of all clips, one file each.

    Args:
        path: the folder; made at the first writing.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)

    def file(self, name: str) -> Path:
        """Where the scores of a clip are.

        Raises:
            InputError: for a name that would lie elsewhere.
        """
        if not name or name.startswith(".") or Path(name).name != name or "\\" in name:
            raise InputError(f"{name!r}: is not the name of a clip.")
        return self.path / f"{name}.json"

    def write(self, score: ClipScore) -> None:
        """Keep the scores of a clip, whole or not at all."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.file(score.id), score.to_json())

    def read(self, name: str) -> ClipScore | None:
        """The scores of a clip; None when there are none, or none that can be read, with a line in the log."""
        path = self.file(name)
        if not path.is_file():
            return None
        try:
            found = ClipScore.from_json(read_json(path), str(path))
        except InputError as error:
            _logger.warning("%s", error)
            return None
        return found if found.id == name else None

    def read_all(self, names: Iterable[str]) -> dict[str, ClipScore]:
        """The scores of those of the clips that have some."""
        found = {name: self.read(name) for name in names}
        return {name: score for name, score in found.items() if score is not None}

    def prune(self, names: Collection[str]) -> list[str]:
        """Remove the scores of clips that are gone.

        Args:
            names: the clips that there are.

        Returns:
            Those whose scores were removed, sorted.
        """
        gone = [file for file in self.path.glob("*.json") if not file.name.startswith(".") and file.stem not in names]
        for file in gone:
            file.unlink(missing_ok=True)
        return sorted(file.stem for file in gone)


def sound_beside(path: str | os.PathLike, name: str) -> Path | None:
    """NAME.wav or NAME.flac beside a clip; None when there is neither."""
    places = (Path(path).with_name(name + suffix) for suffix in _SOUND_SUFFIXES)
    return next((place for place in places if place.is_file()), None)


def clip_stamp(path: str | os.PathLike, name: str) -> dict[str, int]:
    """What tells a clip's file, and the sound beside it, from others that may take their place.

    Raises:
        InputError: when the file is not there.
    """
    sound = sound_beside(path, name)
    stamp = {}
    for file, prefix in ((Path(path), ""), (sound, "sound_")):
        try:
            facts = None if file is None else file.stat()
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror or error}).") from error
        stamp[f"{prefix}size"] = 0 if facts is None else facts.st_size
        stamp[f"{prefix}mtime_ns"] = 0 if facts is None else facts.st_mtime_ns
    return stamp


def weights_stamp(path: str | os.PathLike | None) -> str | None:
    """What tells weights, a file or a bundle's folder, from those that replace them; None where there are none."""
    if path is None:
        return None
    place = Path(path)
    try:
        facts = (place / "models" / "model.pt" if place.is_dir() else place).stat()
    except OSError:
        return None
    return f"{facts.st_size}:{facts.st_mtime_ns}"


def largest_group(scores: Mapping[str, ClipScore], current: Mapping[str, str | None]) -> dict[str, ClipScore]:
    """The scores that can be compared with one another: those of the same models and the same reading.

    While clips are scored anew by a new model, old and new scores lie side by side. Numbers of two models are no order,
    and their embeddings are not even of one space; so the greater group counts, of equal ones that of the current
    models.

    Args:
        scores: by clip.
        current: stamps of the models that there are now.
    """
    groups = {
        name: (tuple(sorted(one.models.items())), str(sorted(one.reader.items()))) for name, one in scores.items()
    }
    counts = Counter(groups.values())
    if not counts:
        return {}
    now = tuple(sorted(current.items()))
    best = max(counts, key=lambda group: (counts[group], group[0] == now, str(group)))
    return {name: one for name, one in scores.items() if groups[name] == best}
