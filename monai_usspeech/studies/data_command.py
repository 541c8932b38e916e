# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The steps of a study's configuration that make its SYNTHETIC data, before ``study`` or as a run id of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.studies.synthetic_store import SyntheticStore

__all__ = ["phantom_store", "phantom_stores"]

_INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C
_KEYS = ("store", "settings", "prepare", "scans")


def phantom_store(
    store: str | os.PathLike,
    settings: Mapping[str, Any] | None = None,
    prepare: Mapping[str, Any] | None = None,
    scans: str | os.PathLike | None = None,
    make: bool = True,
    workers: int | None = None,
    progress: bool = True,
) -> list[Path]:
    """Make one store of SYNTHETIC scans, unless it is there whole. See :func:`phantom_stores`.

    Args:
        store, settings, prepare, scans: see :class:`~monai_usspeech.studies.synthetic_store.SyntheticStore`.
        make, workers, progress: see :func:`phantom_stores`.

    Returns:
        The store's folder, in a list.

    Raises:
        SystemExit: see :func:`phantom_stores`.
    """
    wanted = {"store": store, "settings": settings, "prepare": prepare, "scans": scans}
    return phantom_stores([wanted], make=make, workers=workers, progress=progress)


def phantom_stores(
    stores: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any] | None = None,
    prepare: Mapping[str, Any] | None = None,
    make: bool = True,
    workers: int | None = None,
    progress: bool = True,
) -> list[Path]:
    """Make stores of SYNTHETIC scans that differ in some settings, each unless it is there whole.

    All of them are checked before the first is made. What is interrupted goes on when it is called again.

    Args:
        stores: for each ``store`` (its folder) and, where it differs from the others, ``settings``, ``prepare`` and
            ``scans``: arguments of :class:`~monai_usspeech.studies.synthetic_store.SyntheticStore`. Settings of
            settings are laid over too: ``{"store": "n50", "settings": {"narration": {"noise_share": 0.5}}}``.
        settings: those of all stores: arguments of :func:`~monai_usspeech.phantom.generate_phantom`.
        prepare: those of all stores: arguments of :func:`~monai_usspeech.preparation.prepare_scans`.
        make: ``False`` makes nothing, and ends with a message when a store is not there whole: for run ids that only
            look, such as ``plan``.
        workers: processes; None: one per core.
        progress: print what is made, and show bars.

    Returns:
        The stores' folders, in the given order.

    Raises:
        SystemExit: with one line, when a setting is wrong, a store was made with other settings, a scan cannot be
            prepared, or nothing may be made and something is missing; with status 130 after Ctrl-C.
    """
    try:
        wanted = [SyntheticStore(**_arguments(one, settings, prepare)) for one in stores]
        _check_apart(wanted)
        missing = [one for one in wanted if not one.is_whole()]
        if missing and not make:
            raise InputError(
                f"{missing[0]} is not there, or not whole; run the id that makes it, such as study, first."
            )
        for one in missing:
            one.make(workers, progress)
    except InputError as error:
        raise SystemExit(f"phantom_store: {error}") from None
    except KeyboardInterrupt:
        print("\nphantom_store: interrupted; run the same command again to go on from here.", file=sys.stderr)
        raise SystemExit(_INTERRUPTED) from None
    return [one.folder for one in wanted]


def _arguments(
    one: Mapping[str, Any], settings: Mapping[str, Any] | None, prepare: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What a store is to be, its own settings laid over those of all."""
    if not isinstance(one, Mapping) or not isinstance(one.get("store"), (str, os.PathLike)):
        raise InputError(f'stores: {one!r} names no folder; give {{"store": FOLDER, "settings": {{...}}}}.')
    for name in one:
        if name not in _KEYS:
            raise InputError(f'stores: {one["store"]}: no key "{name}".{nearest_name(str(name), _KEYS)}')
    for name, value in (("settings", settings), ("prepare", prepare), *one.items()):
        if name in ("settings", "prepare") and not isinstance(value or {}, Mapping):
            raise InputError(f"stores: {one['store']}: {name} is {value!r}; give names with their values.")
    return {
        "store": one["store"],
        "settings": _laid_over(settings or {}, one.get("settings") or {}),
        "prepare": _laid_over(prepare or {}, one.get("prepare") or {}),
        "scans": one.get("scans"),
    }


def _laid_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for name, value in over.items():
        inner = both.get(name)
        both[name] = _laid_over(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return both


def _check_apart(stores: Sequence[SyntheticStore]) -> None:
    """Two stores in one folder would be refused only when the first is made."""
    seen: set[Path] = set()
    for one in stores:
        for folder in (one.folder.resolve(), one.scan_files.resolve()):
            if folder in seen:
                raise InputError(f"stores: {folder} is named twice; give each store folders of its own.")
            seen.add(folder)
