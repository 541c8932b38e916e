# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import pytest

from monai_usspeech.data import annotations
from monai_usspeech.data.files import InputError
from monai_usspeech.data.plane_names import (
    PLANES,
    PULSE_NAMES,
    SONONET_NAMES,
    SONONET_PLANES,
    StandardPlane,
    standard_plane,
)

OURS = {plane.value: plane for plane in StandardPlane}


@pytest.mark.parametrize("names", [OURS, SONONET_NAMES, PULSE_NAMES], ids=["ours", "sononet", "pulse"])
def test_each_mapping_is_complete_one_to_one_and_understood(names):
    assert len(names) == 14 and set(names.values()) == set(StandardPlane)
    for name, plane in names.items():
        spellings = (name, name.upper(), name.lower(), f" {name} ", name.replace("_", "-"), name.replace(" ", ""))
        assert {standard_plane(spelling) for spelling in spellings} == {plane}


def test_the_outputs_of_sononet_are_in_its_own_order():
    # The order of the published label list, told by its planes' names here.
    order = "3VT 4CH abdomen background BrainTc BrainTv femur kidneys lips LVOT profile RVOT SpineCor SpineSag"
    assert [str(plane) for plane in SONONET_PLANES] == order.split()
    assert sorted(PLANES.index(plane) for plane in SONONET_PLANES) == list(range(14))
    assert list(PULSE_NAMES.values()) == list(SONONET_PLANES)


def test_the_public_example_frames_are_named_by_their_plane(real_data: Path):
    found = {standard_plane(path.stem) for path in (real_data / "planes" / "sononet").glob("*.png")}
    assert found == set(StandardPlane) - {StandardPlane.BACKGROUND}
    assert standard_plane("BRAIN-CB") is StandardPlane.BRAIN_TRANSCEREBELLAR
    assert standard_plane("SPINE-SAGITTAL") is StandardPlane.SPINE_SAGITTAL


def test_annotations_speak_of_the_same_planes():
    assert annotations.StandardPlane is StandardPlane and annotations.PLANES is PLANES


@pytest.mark.parametrize(
    ("name", "hint"),
    [("kidney", 'Did you mean "kidneys"?'), ("SPIN_COR", 'Did you mean "SPINE_COR"?'), ("", "The names are 3VT, 4CH")],
)
def test_an_unknown_name_is_an_error_with_the_nearest(name, hint):
    with pytest.raises(InputError, match="is not a standard plane") as error:
        standard_plane(name)
    assert hint in str(error.value) and f'"{name}"' in str(error.value)


def test_the_table_of_the_documentation_is_the_code():
    page = Path(__file__).parents[2] / "docs" / "downstream_data.md"
    rows = [line.strip("| \n").split(" | ") for line in page.read_text(encoding="utf-8").splitlines()]
    table = [row for row in rows if len(row) == 4 and row[0].isdigit()]
    assert [(int(number), name.strip("`")) for number, name, _, _ in table] == list(enumerate(PLANES))
    for _, name, sononet, pulse in table:
        word, output = sononet.rsplit(" ", 1)
        plane = standard_plane(name.strip("`"))
        assert SONONET_NAMES[word] is PULSE_NAMES[pulse] is SONONET_PLANES[int(output.strip("()"))] is plane
