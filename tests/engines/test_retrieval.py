# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging

import pytest
import torch

from monai_usspeech.data.files import InputError
from monai_usspeech.engines.retrieval import embedding_network, has_projection, load_embedding, projection_kind
from monai_usspeech.networks import VideoSpeechNet

OPTIONS = {"backbone": "se_resnext_small", "embedding_dim": 8}


def saved(path, **options):
    torch.manual_seed(1)
    network = VideoSpeechNet(**{**OPTIONS, **options})
    torch.save(network.state_dict(), path)
    return network


def retrieval_network(**options) -> VideoSpeechNet:
    torch.manual_seed(2)
    return VideoSpeechNet(**{**OPTIONS, "correspondence": False, "order": False, **options})


@pytest.mark.parametrize("projection", ["shared", "separate"])
def test_every_tensor_of_both_streams_and_projections_is_loaded(tmp_path, projection):
    trained = saved(tmp_path / "model.pt", projection=projection)
    assert projection_kind(tmp_path / "model.pt") == projection
    network = retrieval_network(projection=projection_kind(tmp_path / "model.pt"))
    load_embedding(network, tmp_path / "model.pt")
    wanted = trained.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in network.state_dict().items())
    images = torch.randn(2, 1, 1, 32, 32)
    prediction, expected = (net.eval()(frames=images, speech_pos=images.flip(-1)) for net in (network, trained))
    for name in ("video", "speech"):
        assert torch.equal(prediction[name], expected[name])


def test_weights_without_projection_are_refused_with_the_methods_that_have_one(tmp_path):
    saved(tmp_path / "model.pt", contrastive=False)
    with pytest.raises(InputError, match="has no projection.*cm_contra.*ours and plus.*--embedding features"):
        load_embedding(retrieval_network(), tmp_path / "model.pt")


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: weights.pop("speech_stream.conv1.0.weight"),
        lambda weights: weights.update({"video_projection.out.bias": torch.zeros(9)}),
        lambda weights: weights.update({"speech_projection.out.bias": torch.zeros(8)}),
    ],
    ids=["missing", "shape", "unknown"],
)
def test_weights_that_do_not_fit_to_the_last_tensor_are_refused_whole(tmp_path, change):
    weights = saved(tmp_path / "whole.pt").state_dict()
    change(weights)
    torch.save(weights, tmp_path / "model.pt")
    network = retrieval_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(InputError, match=r"model.pt holds the weights of another network \(1 tensors differ"):
        load_embedding(network, tmp_path / "model.pt")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_features_need_the_video_stream_alone(tmp_path):
    trained = saved(tmp_path / "model.pt", pairs=False)
    network = retrieval_network(contrastive=False, order=True)
    load_embedding(network, tmp_path / "model.pt", "features")
    wanted = trained.video_stream.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in network.video_stream.state_dict().items())
    frames = torch.randn(3, 1, 1, 32, 32)
    features = embedding_network(network, "features").eval()(frames)
    assert torch.equal(features, trained.video_stream.eval()(frames[:, 0]))
    assert embedding_network(network, "projection") is network


def test_random_weights_are_allowed_and_said(caplog):
    with caplog.at_level(logging.WARNING):
        load_embedding(retrieval_network(), None)
    assert "random" in caplog.text and projection_kind(None) == "shared"


def test_a_mistyped_embedding_is_told_the_nearest():
    assert has_projection("projection") and not has_projection("features")
    with pytest.raises(InputError, match='Did you mean "features"'):
        has_projection("feature")
