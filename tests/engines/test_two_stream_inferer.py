# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch

from monai_usspeech.engines.two_stream_inferer import TwoStreamInferer
from monai_usspeech.networks import VideoSpeechNet


def test_chunks_change_nothing_and_the_numbers_of_both_may_differ():
    torch.manual_seed(0)
    network = VideoSpeechNet("se_resnext_small", correspondence=False, order=False).eval()
    frames, speech = torch.randn(1, 5, 1, 32, 32), torch.randn(1, 9, 1, 32, 32)
    with torch.no_grad():
        found = TwoStreamInferer(chunk_size=2)(frames, network, speech_pos=speech)
        whole = network(frames.repeat(1, 2, 1, 1, 1)[:, :9], speech_pos=speech)
    assert found["video"].shape == (1, 5, 128) and found["speech"].shape == (1, 9, 128)
    assert torch.allclose(found["video"], whole["video"][:, :5], atol=1e-5)
    assert torch.allclose(found["speech"], whole["speech"], atol=1e-5)


def test_a_chunk_holds_at_least_one():
    with pytest.raises(ValueError, match="at least 1"):
        TwoStreamInferer(0)
