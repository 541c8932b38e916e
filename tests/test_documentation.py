# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What the documentation shows exists and works: links, pictures, options, and the configuration of the README."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

import monai_usspeech
from tests.data.media_factory import make_video
from tests.preparation.scan_files import FPS, fan_frames

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MONAI_OPTIONS = {"config_file"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_option_of_a_shown_command_is_in_its_configuration():
    checked = 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for arguments in re.findall(r"monai\.bundle run(?: \w+)? +(--.*)", text):
            files = re.findall(r"[\w/]+\.json", arguments.split("--config_file", 1)[1].split(" --", 1)[0])
            assert files and all((ROOT / file).exists() for file in files), f"{page.name}: {files}"
            known = {name for file in files for name in ConfigParser.load_config_file(ROOT / file)} | MONAI_OPTIONS
            used = set(re.findall(r"--(\w+)", arguments))
            assert used <= known, f"{page.name}: {used - known}"
            checked += 1
    assert checked >= 8


def test_every_component_that_the_readme_names_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("(d)`", "`")
    rows = re.findall(r"^\| (\w+) \| (`.*) \|$", text, re.MULTILINE)
    assert {room for room, _ in rows} >= {"transforms", "data", "networks", "losses", "metrics", "handlers", "studies"}
    rooms = [getattr(monai_usspeech, name) for name in monai_usspeech.__all__ if not name.startswith("_")]
    for room, cells in rows:
        for name in re.findall(r"`(\w+)`", cells):
            assert any(hasattr(module, name) for module in rooms), f"{room}: {name}"


def test_the_configuration_of_the_readme_runs_as_printed(tmp_path: Path):
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (shown,) = (json.loads(block) for block in blocks if '"imports"' in block)
    parser = ConfigParser(shown)
    make_video(tmp_path / "scan.mp4", fps=FPS, frames=fan_frames(0, 2 * FPS))
    video = parser.get_parsed_content("transform")({"video": str(tmp_path / "scan.mp4")})["video"]
    assert video.shape == (1, 2 * FPS, 256, 256) and video.dtype == torch.uint8
    loss = parser.get_parsed_content("loss")
    value = loss(*torch.randn(3, 8, 16), clip_id=torch.arange(8))
    assert torch.isfinite(value)
