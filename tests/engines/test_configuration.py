# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.engines.configuration import check_command_line, command_line_configuration, write_configuration

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
    write_configuration(tmp_path, [PROGRAM, "run", "training", *files, *typed])
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["batch_size"] == 4
    assert written["train"]["dataset"] == {"_target_": "X", "gate": False, "seed": 7}


def uncaught(code: str) -> tuple[int, str]:
    """Exit status and standard error of a program that ends in an uncaught error."""
    program = "from monai_usspeech.engines import report_input_errors\n"
    program += "from monai_usspeech.data.files import InputError\nreport_input_errors()\n" + code
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.slow
def test_an_input_error_under_errors_of_monai_is_one_line():
    status, printed = uncaught(
        "try:\n    raise InputError('s001.mp4: no video.')\n"
        "except Exception as e:\n    raise RuntimeError('component') from e"
    )
    assert (status, printed) == (1, "error: s001.mp4: no video.\n")


@pytest.mark.slow
def test_another_error_keeps_its_traceback():
    status, printed = uncaught("1 / 0")
    assert status == 1
    assert "Traceback" in printed
    assert "ZeroDivisionError" in printed


@pytest.mark.slow
def test_an_input_error_of_a_data_loader_worker_is_one_line_too():
    status, printed = uncaught(
        "from torch.utils.data import DataLoader\n"
        "class Damaged(list):\n"
        "    def __getitem__(self, index):\n"
        "        raise InputError('frames.bin: frame 63 is damaged; run prepare again.')\n"
        "next(iter(DataLoader(Damaged([0]), num_workers=1)))"
    )
    assert (status, printed) == (1, "error: frames.bin: frame 63 is damaged; run prepare again.\n")
