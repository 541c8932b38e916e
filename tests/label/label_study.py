# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A studies folder, a server's folder and a list of clips as MONAI Label's own has it, for tests without a server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.engines.weights import write_weights
from monai_usspeech.label.model_files import ModelSpec, publish
from monai_usspeech.label.server_folder import ServerFolder
from monai_usspeech.networks import FrameClassifier, VideoSpeechNet
from tests.data.media_factory import make_audio, make_video
from tests.data.store_factory import moving_texture, speech_bursts

__all__ = ["ClipList", "make_clips", "make_pretrained", "make_server", "publish_planes"]


class ClipList:
    """The part of a datastore that scores and strategies use.

    Args:
        folder: of the clips.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.labelled: list[str] = []

    def list_images(self) -> list[str]:
        return [path.stem for path in self.folder.glob("*.mp4")]

    def get_image_uri(self, name: str) -> str:
        return str(self.folder / f"{name}.mp4")

    def get_labeled_images(self, label_tag=None, labels=None) -> list[str]:
        return list(self.labelled)


def make_clips(folder: Path, names: str = "abcd", with_speech: str = "ab") -> ClipList:
    """Clips of 3 s, some with speech beside them."""
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        frames = moving_texture(np.random.RandomState(number), 15, 64)
        make_video(folder / f"{name}.mp4", fps=5, frames=list(frames), size=(64, 64))
        if name in with_speech:
            samples, _ = speech_bursts(np.random.RandomState(number), 3.0)
            make_audio(folder / f"{name}.wav", (samples / 32768).astype(np.float32)[None], 24000)
    return ClipList(folder)


def make_pretrained(path: Path) -> Path:
    """Weights of a random pair of streams, with their facts."""
    torch.manual_seed(1)
    network = VideoSpeechNet("se_resnext_small", projection="separate", order=False, correspondence=False)
    settings = {"backbone": "se_resnext_small", "output_stride": 16, "size": 32, "statistics": "scan"}
    write_weights(path, network.state_dict(), {"method": "plus", "subjects": [], "settings": settings})
    return path


def make_server(folder: Path, studies: Path, pretrained: Path | None = None) -> ServerFolder:
    """A server's folder without a plane model."""
    settings = {"studies": str(studies), "fan_crop": False, "frame_rate": 5.0}
    return ServerFolder.create(folder, {**settings, "pretrained": None if pretrained is None else str(pretrained)})


def publish_planes(folder: ServerFolder, seed: int = 0) -> Path:
    """A random plane model in the place where training puts one."""
    torch.manual_seed(seed)
    network = FrameClassifier("se_resnext_small")
    path = folder.models / "standard_plane.pt"
    spec = ModelSpec(path, "standard_plane", "se_resnext_small", 16, 32, classes=PLANES)
    publish(path, network, {"settings": spec.settings(), "subjects": []})
    return path
