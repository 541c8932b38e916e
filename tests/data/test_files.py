# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from monai_usspeech.data.files import (
    InputError,
    atomic_file,
    changed_values,
    check_folder_and_output,
    nearest_name,
    read_json,
    write_json,
)


def test_atomic_file_appears_under_its_name_only_when_whole(tmp_path: Path):
    target = tmp_path / "result.bin"
    with atomic_file(target) as file:
        file.write(b"half")
        file.flush()
        assert not target.exists()
        file.write(b" and half")
    assert target.read_bytes() == b"half and half"
    assert os.listdir(tmp_path) == ["result.bin"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_atomic_file_keeps_the_old_content_when_the_body_raises(tmp_path: Path, error: type[BaseException]):
    target = tmp_path / "result.txt"
    target.write_text("old")
    with pytest.raises(error), atomic_file(target, "w") as file:
        file.write("new")
        raise error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.txt"]


def test_atomic_file_leaves_nothing_when_there_was_nothing(tmp_path: Path):
    with pytest.raises(RuntimeError), atomic_file(tmp_path / "result.bin") as file:
        file.write(b"new")
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_atomic_file_is_on_the_disk_before_it_takes_its_name(tmp_path: Path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (done.append(name), real(*args)))
    with atomic_file(tmp_path / "result.bin") as file:
        file.write(b"content")
    assert done == ["fsync", "replace"]
    assert (tmp_path / "result.bin").read_bytes() == b"content"


def test_atomic_file_is_as_readable_as_any_other_file(tmp_path: Path):
    (tmp_path / "plain").write_text("")
    with atomic_file(tmp_path / "atomic"):
        pass
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")]
    assert modes[0] == modes[1]


def test_json_survives_the_round_trip_and_a_failed_write(tmp_path: Path):
    path = tmp_path / "content.json"
    content = {"name": "Käthe", "list": [1, 2.5, None, True]}
    write_json(path, content)
    assert read_json(path) == content
    with pytest.raises(TypeError):
        write_json(path, {"first": 1, "second": object()})  # fails after the first key is written
    assert read_json(path) == content
    assert os.listdir(tmp_path) == ["content.json"]


def test_json_is_indented_and_ends_with_a_line_break(tmp_path: Path):
    write_json(tmp_path / "content.json", {"a": 1})
    assert (tmp_path / "content.json").read_text() == json.dumps({"a": 1}, indent=4) + "\n"


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1,}', b"\xff\xfe\x00"])
def test_read_json_names_the_file_that_is_not_json(tmp_path: Path, content: bytes):
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="broken.json: not valid JSON"):
        read_json(path)


def test_read_json_names_the_missing_file(tmp_path: Path):
    with pytest.raises(InputError, match="absent.json: no such file"):
        read_json(tmp_path / "absent.json")


def test_read_json_names_the_folder_that_is_no_file(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path)


def test_nearest_name_hints_at_what_is_close_and_keeps_silent_otherwise():
    assert nearest_name("spech", ["video", "speech", "gaze"]) == ' Did you mean "speech"?'
    assert nearest_name("zzz", ["video", "speech", "gaze"]) == ""
    assert nearest_name("video", []) == ""


def test_changed_values_are_told_in_words():
    before, after = {"a": 1, "b": "x", "c": None, "d": [1]}, {"a": 2, "b": "x", "d": [1], "e": 0}
    assert changed_values(before, after) == ["a was 1 and is 2", "e was absent and is 0"]
    assert changed_values(before, after, ("e", "b")) == ["e was absent and is 0"]
    assert changed_values(after, dict(after)) == []


def test_the_paths_of_a_command_are_checked_before_anything_is_read(tmp_path: Path):
    check_folder_and_output(tmp_path / "absent", str(tmp_path / "o.json"))
    for folder, output, said in (
        (5, "o.json", "^folder is 5; give a path, with ./"),
        (".", None, "^output is None; give a path"),
        (".", tmp_path / "absent/o.json", "^output: there is no folder .*absent; make it first"),
        (".", tmp_path, "is a folder; name the JSON file to write"),
    ):
        with pytest.raises(InputError, match=said):
            check_folder_and_output(folder, output)
