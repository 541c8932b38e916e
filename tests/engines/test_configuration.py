# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.engines.configuration import check_command_line, command_line_configuration

PROGRAM = "lib/monai/bundle/__main__.py"


@pytest.fixture
def files(tmp_path):
    first, second = tmp_path / "train.json", tmp_path / "preset.json"
    dataset = {"_target_": "X", "gate": True}
    first.write_text(json.dumps({"batch_size": 32, "train": {"dataset": dataset}, "unset": None}))
    second.write_text(json.dumps({"batch_size": 8, "train#dataset#gate": False}))
    return ["--config_file", f"['{first}','{second}']"]


def test_other_programs_are_left_alone():
    assert command_line_configuration(["pytest", "--batchsize", "3"]) is None
    check_command_line(arguments=["pytest", "--batchsize", "3"])


@pytest.mark.parametrize(
    "typed",
    [
        ["--batch_size", "4"],
        ["--batch_size=4"],
        ["--train#dataset#gate", "False"],
        ["--train::dataset::codec", "raw"],
        ["--unset", "x"],
        ["--logging_file", "False"],
        ["--run_id", "training"],
    ],
)
def test_known_names_pass(files, typed):
    check_command_line(arguments=[PROGRAM, "run", "training", *files, *typed])


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--batchsize", "4"], r'--batchsize: the configuration has no "batchsize". Did you mean "batch_size"\?'),
        (["--train#datset#gate", "1"], r'no "train#datset". Did you mean "dataset"\?'),
        (["--zzzz=4"], r'the configuration has no "zzzz"\.$'),
    ],
)
def test_a_mistyped_name_is_refused_with_the_nearest(files, typed, message):
    with pytest.raises(InputError, match=message):
        check_command_line(arguments=[PROGRAM, "run", "training", *files, *typed])


def test_the_merged_configuration_is_written_beside_the_result(files, tmp_path):
    typed = ["--batch_size", "4", "--train#dataset#seed=7"]
    check_command_line(str(tmp_path / "run"), [PROGRAM, "run", "training", *files, *typed])
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written["batch_size"] == 4
    assert written["train"]["dataset"] == {"_target_": "X", "gate": False, "seed": 7}
