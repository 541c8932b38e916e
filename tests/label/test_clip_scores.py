# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Scores of a clip file, against the networks called by hand on its frames."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_usspeech.data.fan_video import FanVideoReader
from monai_usspeech.data.files import InputError
from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.label.clip_scores import clip_embedding, frame_uncertainty, score_clip
from monai_usspeech.label.model_files import ModelSpec, PretrainedSpec
from monai_usspeech.label.score_files import clip_stamp
from monai_usspeech.networks import FrameClassifier, VideoSpeechNet
from tests.data.media_factory import make_audio, make_video
from tests.data.store_factory import moving_texture, speech_bursts

READER = {"fan_crop": False, "frame_rate": 5.0, "fps": None}
SIZE = 32


def test_uncertainty_is_the_share_of_the_greatest_entropy():
    rng = np.random.RandomState(0)
    rows = rng.dirichlet(np.ones(14), size=5)
    expected = [-sum(p * math.log(p) for p in row if p > 0) / math.log(14) for row in rows]
    assert frame_uncertainty(torch.from_numpy(rows)).tolist() == pytest.approx(expected)
    limits = torch.stack([torch.full((14,), 1 / 14), torch.eye(14)[3]])
    assert frame_uncertainty(limits).tolist() == pytest.approx([1.0, 0.0])


def test_the_embedding_does_not_depend_on_the_size_of_features():
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    expected = [sum(float(row[axis] / row.norm()) for row in features) / 6 for axis in range(4)]
    scale = torch.arange(1, 7, dtype=torch.float32)[:, None]
    for same in (features, features * scale):
        assert clip_embedding(same).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A clip of 4 s at 10 frames a second, with speech beside it."""
    folder = tmp_path_factory.mktemp("clips")
    frames = moving_texture(np.random.RandomState(0), 40, 64)
    make_video(folder / "c1.mp4", fps=10, frames=list(frames), size=(64, 64))
    samples, _ = speech_bursts(np.random.RandomState(1), 4.0)
    make_audio(folder / "c1.wav", (samples / 32768).astype(np.float32)[None], 24000)
    return folder / "c1.mp4"


def plane_model(freeze: bool = False) -> tuple[FrameClassifier, ModelSpec]:
    torch.manual_seed(0)
    network = FrameClassifier("se_resnext_small", freeze=freeze)
    with torch.no_grad():
        network.head.weight.mul_(30)  # sure of itself, so that frames differ in it
    mode = "probe" if freeze else "finetune"
    spec = ModelSpec(Path("plane.pt"), "standard_plane", "se_resnext_small", 16, SIZE, mode=mode, classes=PLANES)
    return network.eval(), spec


def pretrained() -> tuple[VideoSpeechNet, PretrainedSpec]:
    torch.manual_seed(1)
    network = VideoSpeechNet("se_resnext_small", embedding_dim=16, projection="separate", order=False)
    spec = PretrainedSpec(Path("pre.pt"), "plus", "se_resnext_small", 16, SIZE, 0.4, 0.2, statistics="band")
    return network.eval(), spec


def frames_of(clip: Path, mean: float, std: float) -> tuple[torch.Tensor, np.ndarray]:
    reader = FanVideoReader(size=SIZE, **READER)
    video, meta = reader.get_data(reader.read(clip))
    return (torch.from_numpy(video[0]).float()[:, None] / 255 - mean) / std, meta["frame_indices"]


@pytest.mark.parametrize("freeze", [False, True])
def test_the_uncertainty_is_that_of_the_classifier_on_the_frames(clip: Path, freeze: bool):
    network, spec = plane_model(freeze)
    found = score_clip("c1", clip, READER, plane=(network, spec), models={"plane": "1:1"})
    frames, numbers = frames_of(clip, 0.5, 0.25)
    with torch.no_grad():
        rows = frame_uncertainty(network(frames).softmax(dim=1))
        embedding = clip_embedding(network.features(frames))
    assert found.frames == len(frames) == 20 and found.id == "c1"
    assert found.uncertainty == pytest.approx(float(rows.mean()), abs=1e-5) and 0.01 < found.uncertainty < 0.99
    assert found.uncertain_frame == numbers[int(rows.argmax())] and found.uncertain_frame % 2 == 0
    assert found.embedding == pytest.approx(embedding.tolist(), abs=1e-5)
    assert found.affinity is None and "no pretrained network" in found.why
    assert found.models == {"plane": "1:1", "pretrained": None} and found.source == clip_stamp(clip, "c1")


def test_the_embedding_and_the_affinity_are_those_of_the_pretrained_network(clip: Path):
    network, spec = pretrained()
    found = score_clip("c1", clip, READER, pretrained=(network, spec))
    frames, _ = frames_of(clip, 0.4, 0.2)
    with torch.no_grad():
        embedding = clip_embedding(network.video_stream(frames))
    assert found.embedding == pytest.approx(embedding.tolist(), abs=1e-5)
    assert found.uncertainty is None and found.uncertain_frame is None
    assert found.affinity is not None and -1 <= found.affinity <= 1 and found.why == ""
    assert found.affinity_margin is not None and 0 < found.speech_share < 1
    both = score_clip("c1", clip, READER, plane_model(), (network, spec))
    assert both.embedding == found.embedding and both.affinity == found.affinity and both.uncertainty is not None
    assert score_clip("c1", clip, READER, plane_model(), (network, spec)) == both


def test_a_stream_alone_gives_the_embedding_and_a_reason(clip: Path):
    network, spec = pretrained()
    found = score_clip("c1", clip, READER, pretrained=(network.video_stream, spec))
    assert found.affinity is None and "not learnt to compare" in found.why and len(found.embedding) == 256


def test_a_clip_without_sound_has_scores_too(clip: Path):
    found = score_clip("other", clip, READER, plane_model(), pretrained())
    assert found.uncertainty is not None and found.affinity is None and "no other.wav beside it" in found.why


def test_a_still_picture_has_scores_too(tmp_path):
    from PIL import Image

    Image.fromarray(moving_texture(np.random.RandomState(0), 1, 64)[0]).save(tmp_path / "still.png")
    found = score_clip("still", tmp_path / "still.png", READER, plane_model(), pretrained())
    assert found.frames == 1 and found.uncertain_frame == 0 and found.affinity is None and found.why


def test_what_cannot_be_read_is_told(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    with pytest.raises(InputError, match="bad.mp4"):
        score_clip("bad", tmp_path / "bad.mp4", READER, plane_model())
    with pytest.raises(InputError, match="needs a plane model"):
        score_clip("bad", tmp_path / "bad.mp4", READER)
