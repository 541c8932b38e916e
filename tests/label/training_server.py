# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A server that has pretrained weights, and clips to train on: pictures whose bright half tells their class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from monai_usspeech.engines.weights import write_weights
from monai_usspeech.label.server_folder import ServerFolder
from monai_usspeech.networks import VideoSpeechNet

SIDE, BACKBONE = 32, "se_resnext_small"
CLASSES = ("femur", "lips")


def picture(number: int) -> np.ndarray:
    """Noise, brighter in the upper half for even numbers and in the lower one for odd ones."""
    image = np.random.RandomState(number).randint(0, 60, (SIDE, SIDE))
    half = slice(0, SIDE // 2) if number % 2 == 0 else slice(SIDE // 2, SIDE)
    image[half] += 150
    return image.astype(np.uint8)


def add_clips(folder: Path, count: int, classes: tuple[str, str] = CLASSES) -> list[dict[str, Any]]:
    """Labelled stills, two of each subject, and the list of them that a datastore gives."""
    datalist = []
    for number in range(count):
        image, label = folder / f"c{number:02d}.png", folder / f"c{number:02d}.json"
        Image.fromarray(picture(number)).save(image)
        content = {"class": classes[number % 2], "subject": f"p{number // 2}"}
        label.write_text(json.dumps({"schema": 1, "clip": content, "revision": 1 + number % 2}))
        datalist.append({"image": str(image), "label": str(label)})
    return datalist


def pretrained_server(folder: Path) -> ServerFolder:
    """A server that was started with pretrained weights alone."""
    torch.manual_seed(0)
    settings = {"backbone": BACKBONE, "output_stride": 16, "size": SIDE}
    network = VideoSpeechNet(BACKBONE, order=False, correspondence=False)
    write_weights(folder / "p.pt", network.state_dict(), {"subjects": ["s1"], "settings": settings})
    (folder / "studies").mkdir()
    return ServerFolder.create(
        folder / "a #1 [b], $c @d",  # characters that mean something in a configuration
        {"studies": str(folder / "studies"), "pretrained": str(folder / "p.pt"), "fan_crop": False},
    )
