# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The standard planes: their names here, and the names that SonoNet and the PULSE recordings give them.

The order of :data:`PLANES` gives the class numbers everywhere in this package. SonoNet's outputs come in another order;
:data:`SONONET_PLANES` translates them::

    class_number = PLANES.index(SONONET_PLANES[output])

Sources: the label list of the public SonoNet weights (Baumgartner et al., IEEE TMI 2017), and the label list of the
public code for the PULSE recordings (Fu et al., "Anatomy-Aware Contrastive Representation Learning for Fetal
Ultrasound", 2022), which follows SonoNet's order.
"""

from __future__ import annotations

from enum import Enum

from monai_usspeech.data.files import InputError, nearest_name

__all__ = ["PLANES", "PULSE_NAMES", "SONONET_NAMES", "SONONET_PLANES", "StandardPlane", "standard_plane"]


class StandardPlane(str, Enum):
    """The 13 fetal standard planes and background, in the order of the published tables (Jiao et al. 2020)."""

    THREE_VESSELS_TRACHEA = "3VT"
    FOUR_CHAMBERS = "4CH"
    ABDOMEN = "abdomen"
    FEMUR = "femur"
    BRAIN_TRANSVENTRICULAR = "BrainTv"
    KIDNEYS = "kidneys"
    LEFT_OUTFLOW_TRACT = "LVOT"
    LIPS = "lips"
    PROFILE = "profile"
    RIGHT_OUTFLOW_TRACT = "RVOT"
    BRAIN_TRANSCEREBELLAR = "BrainTc"
    SPINE_CORONAL = "SpineCor"
    SPINE_SAGITTAL = "SpineSag"
    BACKGROUND = "background"

    def __str__(self) -> str:
        return self.value


PLANES: tuple[str, ...] = tuple(plane.value for plane in StandardPlane)
"""The 14 names; the index of a name is its class number everywhere in this package."""

SONONET_NAMES: dict[str, StandardPlane] = {
    "3VV": StandardPlane.THREE_VESSELS_TRACHEA,
    "4CH": StandardPlane.FOUR_CHAMBERS,
    "Abdominal": StandardPlane.ABDOMEN,
    "Background": StandardPlane.BACKGROUND,
    "Brain (Cb.)": StandardPlane.BRAIN_TRANSCEREBELLAR,
    "Brain (Tv.)": StandardPlane.BRAIN_TRANSVENTRICULAR,
    "Femur": StandardPlane.FEMUR,
    "Kidneys": StandardPlane.KIDNEYS,
    "Lips": StandardPlane.LIPS,
    "LVOT": StandardPlane.LEFT_OUTFLOW_TRACT,
    "Profile": StandardPlane.PROFILE,
    "RVOT": StandardPlane.RIGHT_OUTFLOW_TRACT,
    "Spine (cor.)": StandardPlane.SPINE_CORONAL,
    "Spine (sag.)": StandardPlane.SPINE_SAGITTAL,
}
"""SonoNet's words, in the order of its outputs. Its three-vessel view stands for the view with the trachea."""

SONONET_PLANES: tuple[StandardPlane, ...] = tuple(SONONET_NAMES.values())
"""The plane of each of SonoNet's 14 outputs."""

PULSE_NAMES: dict[str, StandardPlane] = {
    "3VT": StandardPlane.THREE_VESSELS_TRACHEA,
    "4CH": StandardPlane.FOUR_CHAMBERS,
    "ACP": StandardPlane.ABDOMEN,
    "BG": StandardPlane.BACKGROUND,
    "SOB": StandardPlane.BRAIN_TRANSCEREBELLAR,
    "HCP": StandardPlane.BRAIN_TRANSVENTRICULAR,
    "FLP": StandardPlane.FEMUR,
    "KIDNEYS_CORONAL": StandardPlane.KIDNEYS,
    "NOSE_LIPS": StandardPlane.LIPS,
    "LVOT": StandardPlane.LEFT_OUTFLOW_TRACT,
    "PROFILE": StandardPlane.PROFILE,
    "RVOT": StandardPlane.RIGHT_OUTFLOW_TRACT,
    "SPINE_COR": StandardPlane.SPINE_CORONAL,
    "SPINE_SAG": StandardPlane.SPINE_SAGITTAL,
}
"""The codes of the PULSE recordings (ACP: abdominal circumference, FLP: femur length, HCP: head circumference, SOB:
suboccipitobregmatic plane)."""

_SPELLED_OUT = {"spine coronal": StandardPlane.SPINE_CORONAL, "spine sagittal": StandardPlane.SPINE_SAGITTAL}


def _key(name: str) -> str:
    """Letters and digits alone: ``BRAIN-CB`` and ``Brain (Cb.)`` are one word."""
    return "".join(character for character in name.casefold() if character.isalnum())


_BY_KEY: dict[str, StandardPlane] = {
    _key(name): plane
    for words in (_SPELLED_OUT, PULSE_NAMES, SONONET_NAMES, {plane.value: plane for plane in StandardPlane})
    for name, plane in words.items()
}


def standard_plane(name: str) -> StandardPlane:
    """The plane of a name of this package, of SonoNet or of the PULSE recordings.

    Args:
        name: upper and lower case, spaces and punctuation do not matter: ``"4ch"``, ``"BRAIN-CB"``, ``"spine_sag"``.

    Raises:
        InputError: when nobody calls a plane so; says the nearest name, or all of them when none is near.
    """
    try:
        return _BY_KEY[_key(name)]
    except KeyError:
        hint = nearest_name(name, [*PLANES, *SONONET_NAMES, *PULSE_NAMES]) or f" The names are {', '.join(PLANES)}."
        raise InputError(f'plane "{name}" is not a standard plane.{hint}') from None
