# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A MONAI Label server for ultrasound clips: see what the model says, correct it, train, be shown the next clip.

``python -m monai_usspeech.label start --studies DIR`` starts it. MONAI Label itself (the extra ``label``) is needed by
``app``, ``asgi``, ``datastore``, ``infers``, ``scoring``, ``strategies`` and ``trainers`` alone; nothing else imports
those, and this room is imported by no other.

Server
    ``command`` (the command line), ``start_plan`` (checks it), ``server_folder`` (where the server keeps its things),
    ``asgi`` (MONAI Label behind the guard), ``guard`` and ``guard_rules`` (which requests pass), ``app`` (what the
    server offers).
Clips and labels
    ``clip_folder`` (which files are clips), ``uploads`` (whether a file that was sent is one), ``clip_labels`` (what a
    label says), ``label_files`` (keeps labels and their history), ``datastore`` (the same to MONAI Label).
"""

from __future__ import annotations

from monai_usspeech.label._pydicom_names import restore_pydicom_names

__all__: list[str] = []

restore_pydicom_names()  # before anything of this room imports MONAI Label
