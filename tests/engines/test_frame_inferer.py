# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_usspeech.engines.frame_inferer import FrameInferer


class Recorder(torch.nn.Module):
    """A frame's mean over the pixels, once for each channel; keeps the sizes of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, image: torch.Tensor, factor: float = 1.0) -> torch.Tensor:
        self.sizes.append(len(image))
        return factor * image.mean(dim=(2, 3))


def by_hand(clips: torch.Tensor) -> torch.Tensor:
    """The answer for clips [B, C, T, H, W], one frame at a time: [B, T, C]."""
    network = Recorder()
    rows = [[network(clip[None, :, t])[0] for t in range(clip.shape[1])] for clip in clips]
    return torch.stack([torch.stack(row) for row in rows])


@pytest.mark.parametrize("chunk", [1, 3, 7, 8, 64])
def test_every_frame_gets_the_answer_that_it_gets_alone(chunk):
    clips = torch.randn(2, 3, 7, 5, 4)
    network = Recorder()
    answer = FrameInferer(chunk)(clips, network)
    assert answer.shape == (2, 7, 3)
    torch.testing.assert_close(answer, by_hand(clips))
    assert max(network.sizes) <= chunk and sum(network.sizes) == 14


def test_images_lose_no_axis_and_arguments_reach_the_network():
    images = torch.randn(5, 1, 4, 4)
    answer = FrameInferer(2)(images, Recorder(), factor=2.0)
    torch.testing.assert_close(answer, 2 * images.mean(dim=(2, 3)))


def test_bytes_are_standardised_and_floating_point_is_not():
    bytes_ = torch.randint(0, 256, (1, 1, 4, 6, 6), dtype=torch.uint8)
    wanted = by_hand((bytes_.double() / 255 - 0.4) / 0.2).float()
    torch.testing.assert_close(FrameInferer(3, 0.4, 0.2)(bytes_, Recorder()), wanted)
    ready = (bytes_.float() / 255 - 0.4) / 0.2
    torch.testing.assert_close(FrameInferer(3)(ready, Recorder()), wanted)


def test_a_meta_tensor_is_taken_apart_as_a_plain_one():
    seen = []
    clip = torch.randn(1, 1, 3, 4, 4)
    answer = FrameInferer()(MetaTensor(clip), lambda image: seen.append(type(image)) or image.mean(dim=(2, 3)))
    assert seen == [torch.Tensor] and type(answer) is torch.Tensor
    torch.testing.assert_close(answer, by_hand(clip))


def test_maps_keep_their_shape():
    clip = torch.randn(1, 1, 3, 4, 6)
    torch.testing.assert_close(FrameInferer(2)(clip, lambda image: 2 * image), 2 * clip.transpose(1, 2))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.zeros(3, 4, 5), "got the shape"),
        (torch.zeros(1, 1, 0, 4, 4), "no frame"),
        (torch.zeros(1, 1, 2, 4, 4, dtype=torch.int16), "int16"),
    ],
)
def test_what_is_no_clip_is_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        FrameInferer()(inputs, Recorder())


@pytest.mark.parametrize("options", [{"chunk_size": 0}, {"frame_std": 0.0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        FrameInferer(**options)
