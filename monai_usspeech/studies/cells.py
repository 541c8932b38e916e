# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What became of a cell: its record ``cell.json``, what it was made from, and the lock of the process that runs it.

``cell.json`` says ``state`` ("running", "done", "failed" or "interrupted"), ``seconds`` (over all attempts),
``command``, ``returncode``, ``error``, ``started`` and ``finished`` (UTC), and ``content`` with its ``fingerprint``. It
is there from the start, so that a cell that is killed with its study goes on only as what it was begun as.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from monai_usspeech.data.files import InputError, changed_values, read_json
from monai_usspeech.engines.configuration import check_command_line
from monai_usspeech.studies.plan import StudyCell

__all__ = [
    "cell_content",
    "cell_parser",
    "cell_record",
    "cell_state",
    "check_cells",
    "fingerprint",
    "is_finished",
    "typical_seconds",
]

# They say where and how fast a cell runs and what of it is kept, not what it computes.
_IMMATERIAL = tuple(
    "description dataset_dir output_dir initialisation num_workers device save_every keep_steps".split()
)


@lru_cache(maxsize=256)
def _configuration(files: tuple[str, ...]) -> dict[str, Any]:
    try:
        return dict(ConfigParser.load_config_files(list(files)))
    except (OSError, ValueError) as error:
        raise InputError(f"{', '.join(files)}: cannot be read as a configuration ({error}).") from error


@lru_cache(maxsize=64)
def _file_hash(path: str, size: int, modified: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(content: Mapping[str, Any]) -> str:
    """A hash of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def cell_parser(cell: StudyCell) -> ConfigParser:
    """A cell's configuration as its process will have it: the files merged, the cell's values put in."""
    parser = ConfigParser(copy.deepcopy(_configuration(cell.files)))
    parser.update(dict(cell.values))
    return parser


def cell_content(cell: StudyCell) -> dict[str, Any]:
    """What a cell computes: its merged configuration, and what it starts from.

    A pretrained start is named by the fingerprint of that pretraining, with the file where that is not its product; a
    weights file by the hash of its bytes, so that
    moving the study, the store or the repository changes nothing, and another file under the same name does.
    """
    configuration = {name: value for name, value in cell_parser(cell).get().items() if name not in _IMMATERIAL}
    start: str | None = cell.values.get("initialisation")
    if cell.needs is not None:
        file = Path(str(start)).name
        start = f"pretraining {fingerprint(cell_content(cell.needs))}"
        start += "" if file == cell.needs.product else f", {file}"
    elif start is not None and Path(start).is_file():
        status = Path(start).stat()
        start = f"sha256 {_file_hash(start, status.st_size, status.st_mtime_ns)}"
    plain = json.loads(json.dumps(configuration, default=str))
    return {"run_id": cell.run_id, "initialisation": start, "configuration": plain}


def check_cells(cells: Sequence[StudyCell]) -> None:
    """Check the names that cells are given against their configurations, before any of them runs.

    Raises:
        InputError: for a value's name that a configuration does not have, with the nearest, and for a missing run id.
    """
    seen = set()
    for cell in cells:
        kind = (cell.files, cell.run_id, tuple(cell.values))
        if kind in seen:
            continue
        seen.add(kind)
        configuration = _configuration(cell.files)
        if cell.run_id not in configuration:
            raise InputError(f'{cell.name}: {", ".join(cell.files)}: no run id "{cell.run_id}".')
        try:
            check_command_line(cell.command(("monai/bundle/__main__.py",)))
        except InputError as error:
            raise InputError(f"{cell.name}: {error}") from None


def cell_record(cell: StudyCell) -> dict[str, Any]:
    """``cell.json``, or an empty dictionary when there is none.

    Raises:
        InputError: when it is there and cannot be read.
    """
    path = cell.folder / "cell.json"
    record = read_json(path) if path.is_file() else {}
    if not isinstance(record, dict):
        raise InputError(f"{path}: not a cell's record; remove the file to run the cell again.")
    return record


def cell_state(cell: StudyCell) -> str:
    """``"done"``, ``"failed"``, ``"partly"`` (interrupted, will go on) or ``"left"``.

    Raises:
        InputError: when the cell is done, or has a state to go on from, but was made with another configuration than it
            would have now.
    """
    record = cell_record(cell)
    if record.get("state") == "done" and (cell.folder / cell.product).is_file():
        _check_same(cell, record, "finished")
        return "done"
    begun = (cell.folder / "run_state.pt").is_file()
    if begun and "fingerprint" in record:  # it would go on from there, from whatever it was started with
        _check_same(cell, record, "begun")
    if record.get("state") == "failed":
        return "failed"
    return "partly" if record.get("state") == "interrupted" or begun else "left"


def is_finished(cell: StudyCell) -> bool:
    """Whether a cell's product is there and its record says done."""
    return (cell.folder / cell.product).is_file() and cell_record(cell).get("state") == "done"


def _check_same(cell: StudyCell, record: Mapping[str, Any], how: str) -> None:
    now = cell_content(cell)
    if record.get("fingerprint") == fingerprint(now):
        return
    changed = changed_values(_flat(record.get("content")), _flat(now))
    what = "; ".join(changed[:3]) + (f"; and {len(changed) - 3} more" if len(changed) > 3 else "")
    raise InputError(
        f"{cell.folder}: {how} with another configuration ({what or 'its record was changed'}). Choose another"
        " output_dir, go back to the old configuration, or remove this folder to compute the cell anew."
    )


def _flat(content: Any, path: str = "") -> dict[str, Any]:
    if isinstance(content, Mapping):
        items: Iterable[tuple[Any, Any]] = content.items()
    elif isinstance(content, list):
        items = enumerate(content)
    else:
        return {path.removeprefix("configuration#"): content}
    return {name: leaf for key, part in items for name, leaf in _flat(part, f"{path}#{key}" if path else key).items()}


def typical_seconds(cells: Iterable[StudyCell]) -> dict[str, float]:
    """How long the finished cells of each stage took on average, in seconds."""
    taken: dict[str, list[float]] = {}
    for cell in cells:
        record = cell_record(cell)
        if record.get("state") == "done" and "seconds" in record:
            taken.setdefault(cell.stage, []).append(float(record["seconds"]))
    return {stage: sum(values) / len(values) for stage, values in taken.items()}
