# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Draw the pictures of docs/label.md: python docs/make_figures_label.py STUDY [folder]

STUDY is the folder of the finished study ``configs/studies/phantom.json``, whose networks know the SYNTHETIC scans that
are drawn. A scan that they have not seen is made, a server of the studies' networks is started on it, and what it
answers is drawn.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import itk
import numpy as np
from PIL import Image

from monai_usspeech.data.fan_video import FanVideoReader
from monai_usspeech.handlers.figures import figure_bytes
from monai_usspeech.handlers.gaze_strip import gaze_strip_figure
from monai_usspeech.phantom import generate_phantom

SETTINGS = {"difficulty": "easy", "seconds": 20.0, "frame_rate": 10.0, "size": 160, "grid": (72, 144)}
SEED = 71
RUN = "plus/fold0-seed0/model.pt"
QUALITY = 85


def save(picture: bytes, path: Path, width: int = 1100) -> None:
    """Write a picture for a page."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    if image.width > width:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    image.save(path, quality=QUALITY, optimize=True)
    print(f"{path}: {path.stat().st_size // 1024} KB")


def main() -> None:
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.label.server_process import ServerProcess

    study = Path(sys.argv[1])
    folder = Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parent / "images"
    models = {"--model": study / "standard_plane" / RUN, "--gaze_model": study / "gaze_saliency" / RUN}
    with tempfile.TemporaryDirectory() as place:
        generate_phantom(Path(place) / "scans", 1, seed=SEED, workers=1, progress=False, **SETTINGS)
        (clip,) = (Path(place) / "scans").rglob("*.mp4")
        options = [word for name, path in models.items() for word in (name, str(path.resolve()))]
        with ServerProcess(clip.parent, options) as server:
            answer = server.request("POST", f"/infer/standard_plane?image={clip.stem}&output=image")
            save(answer.content, folder / "label_timeline.jpg")
            answer = server.request("POST", f"/infer/gaze_saliency?image={clip.stem}&output=image")
        volume = Path(place) / "gaze.nrrd"
        volume.write_bytes(answer.content)
        maps = itk.array_from_image(itk.imread(volume))
        # the whole picture, as a viewer shows it: the volume's geometry lays the maps over it
        video, meta = FanVideoReader(size=maps.shape[1], fan_crop=False).get_data([clip])
        drawn = gaze_strip_figure(video[0], np.asarray(meta["frame_times"]), maps, "SYNTHETIC clip, gaze_saliency")
        save(figure_bytes(drawn), folder / "label_gaze.jpg")


if __name__ == "__main__":
    main()
