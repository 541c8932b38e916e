# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_usspeech.data.datalist import Scan, ScanDatalist
from monai_usspeech.data.speech import read_speech
from monai_usspeech.data.store import ScanStore
from monai_usspeech.preparation import prepare_scans


@pytest.mark.slow
def test_recordings_of_very_different_kinds(real_data: Path, tmp_path: Path) -> None:
    tongue = real_data / "us_speech" / "tal" / "s" / "day2_see_157.avi"
    silent = real_data / "pocus" / "viral" / "Vir_whitelung_h1n1.mp4"
    heart = real_data / "dicom" / "examples_ybr_color.dcm"
    scans = (
        Scan("heart", "a", heart),
        Scan("silent", "b", silent, "video"),
        Scan("still", "c", real_data / "us_video_misc" / "sonosite-anon-eye1-video.mp4"),
        Scan("tongue", "d", tongue, "video"),
    )
    report = prepare_scans(
        ScanDatalist("real", scans), tmp_path, size=128, min_seconds=0.9, workers=0, progress=False
    )  # fmt: skip
    assert len(report.kept) == 4, str(report)
    notes = {row.id: row.note for row in report.table}
    assert "digitally silent" in notes["silent"] and "frozen" in notes["still"] and not notes["heart"] + notes["tongue"]

    stored = ScanStore(tmp_path)["tongue"]
    top, left, bottom, right = stored.fan_box
    # The sentence is printed above row 110 of the 831 x 1479 screen; the fan spans about 150 to 700 by 250 to 1040.
    assert 150 < top < bottom < 700 and 250 < left < right < 1040
    track = read_speech(tongue)
    n = stored.meta["speech"]["samples"]
    placed = stored.read_speech(0.0, n) / 32768.0
    first = round(stored.speech_range[0] * 24_000)
    overlap = min(n - first, len(track.samples))
    assert np.corrcoef(placed[first : first + overlap], track.samples[:overlap])[0, 1] > 0.999
