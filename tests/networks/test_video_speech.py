# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from itertools import product

import pytest
import torch

from monai_usspeech.networks import VideoSpeechNet

SMALL = {"backbone": "se_resnext_small", "embedding_dim": 16}


def inputs(b=2, k=3, side=32, seed=0):
    torch.manual_seed(seed)
    given = {name: torch.randn(b, k, 1, side, side) for name in ("frames", "speech_pos", "speech_neg")}
    return {**given, "order_frames": torch.randn(b, 4, 1, side, side)}


def test_outputs_have_the_contracted_shapes():
    prediction = VideoSpeechNet(**SMALL)(**inputs())
    assert {name: tuple(value.shape) for name, value in prediction.items()} == {
        "correspondence": (2, 3, 2, 2),
        "video": (2, 3, 16),
        "speech": (2, 3, 16),
        "negative": (2, 3, 16),
        "order": (2, 12),
    }


def test_the_papers_network():
    with torch.device("meta"):
        network = VideoSpeechNet()
        prediction = network(**{name: value.to("meta") for name, value in inputs(1, 2, 256).items()})
    assert prediction["video"].shape == (1, 2, 128) and prediction["order"].shape == (1, 12)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children() if part}
    assert count["video_stream"] == count["speech_stream"] == 25_504_624
    assert network.speech_projection is None


@pytest.mark.parametrize(
    ("pairs", "order", "correspondence", "contrastive", "projection", "order_head"),
    [
        case
        for case in product(
            (True, False), (True, False), (True, False), (True, False), ("shared", "separate"), ("pairwise", "concat")
        )
        if case[1] or (case[0] and (case[2] or case[3]))
    ],
)
def test_every_parameter_is_used_whatever_is_switched_off(
    pairs, order, correspondence, contrastive, projection, order_head
):
    network = VideoSpeechNet(
        **SMALL,
        projection=projection,
        pairs=pairs,
        order=order,
        order_head=order_head,
        correspondence=correspondence,
        contrastive=contrastive,
    )
    given = inputs(2, 2)
    with_pairs = pairs and (correspondence or contrastive)
    given = {name: value for name, value in given.items() if (order if name == "order_frames" else with_pairs)}
    prediction = network(**given)
    sum(value.sum() for value in prediction.values()).backward()
    unused = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert unused == []
    expected = {"correspondence"} if pairs and correspondence else set()
    expected |= {"video", "speech", "negative"} if pairs and contrastive else set()
    expected |= {"order"} if order else set()
    assert set(prediction) == expected


@pytest.mark.parametrize("speech", [True, False])
def test_views_are_projected_for_themselves_with_and_without_speech(speech):
    network = VideoSpeechNet(**SMALL, views=True, contrastive=speech, correspondence=False, order=False).eval()
    given = {name: value for name, value in inputs().items() if name == "frames" or (speech and "speech" in name)}
    prediction = network(**given)
    features = network.video_stream(given["frames"].flatten(0, 1)).unflatten(0, (2, 3))
    torch.testing.assert_close(prediction["views"], network.view_projection(features))
    assert set(prediction) == {"views", *(("video", "speech", "negative") if speech else ())}
    sum(value.sum() for value in prediction.values()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_each_stream_runs_its_images_as_one_batch():
    network = VideoSpeechNet(**SMALL)
    sizes = {}
    for name in ("video_stream", "speech_stream"):
        stem = getattr(network, name).conv1
        stem.register_forward_hook(lambda _, args, __, name=name: sizes.setdefault(name, []).append(len(args[0])))
    network(**inputs(2, 3))
    assert sizes == {"video_stream": [2 * 3 + 2 * 4], "speech_stream": [2 * 3 + 2 * 3]}


def test_outputs_belong_to_their_inputs():
    network = VideoSpeechNet(**SMALL, projection="separate").eval()
    torch.nn.init.normal_(network.speech_projection.out.weight)
    given = inputs()
    with torch.no_grad():
        whole = network(**given)
        for name, key in (("frames", "video"), ("speech_pos", "speech"), ("speech_neg", "negative")):
            alone = network(**{name: given[name][1:]})
            assert set(alone) == {key}
            torch.testing.assert_close(alone[key], whole[key][1:], rtol=1e-4, atol=1e-5)
        features = network.video_stream(given["frames"].flatten(0, 1))
        torch.testing.assert_close(
            network.project(features, "video").unflatten(0, (2, 3)), whole["video"], rtol=1e-4, atol=1e-5
        )
        order = network(order_frames=given["order_frames"][:1])["order"]
        torch.testing.assert_close(order, whole["order"][:1], rtol=1e-4, atol=1e-5)
        same = network(frames=given["frames"], speech_pos=given["speech_pos"], speech_neg=given["speech_pos"])
        torch.testing.assert_close(same["correspondence"][:, :, 0], same["correspondence"][:, :, 1])
        torch.testing.assert_close(same["correspondence"][:, :, 0], whole["correspondence"][:, :, 0])


def test_streams_share_no_weights_and_shared_projection_is_one():
    shared, separate = VideoSpeechNet(**SMALL), VideoSpeechNet(**SMALL, projection="separate")
    assert not {id(p) for p in shared.video_stream.parameters()} & {id(p) for p in shared.speech_stream.parameters()}
    features = torch.randn(2, shared.num_features)
    assert torch.equal(shared.project(features, "video"), shared.project(features, "speech"))
    assert not torch.allclose(separate.project(features, "video"), separate.project(features, "speech"))


def test_bfloat16_autocast_and_channels_last():
    network = VideoSpeechNet(**SMALL).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prediction = network(**inputs())
    assert all(value.isfinite().all() for value in prediction.values())


def test_errors_carry_both_sides():
    network, given = VideoSpeechNet(**SMALL), inputs()
    with pytest.raises(ValueError, match=r"frames must be \[B, n, 1, H, W\], got \(2, 3, 32, 32\)"):
        network(frames=given["frames"][:, :, 0])
    with pytest.raises(ValueError, match=r"\[B, K\].*\(2, 3, 1, 32, 32\).*\(1, 3, 1, 32, 32\)"):
        network(frames=given["frames"], speech_pos=given["speech_pos"][:1])
    with pytest.raises(ValueError, match=r"one batch.*\(2, 3, 1, 32, 32\).*\(2, 4, 1, 48, 48\)"):
        network(frames=given["frames"], order_frames=torch.zeros(2, 4, 1, 48, 48))
    with pytest.raises(ValueError, match=r"4 frames.*\(2, 3, 1, 32, 32\)"):
        network(order_frames=given["frames"])
    with pytest.raises(ValueError, match="without video-speech pairs"):
        VideoSpeechNet(**SMALL, pairs=False)(frames=given["frames"])
    with pytest.raises(ValueError, match="without video-speech pairs"):
        VideoSpeechNet(**SMALL, pairs=False, views=True)(frames=given["frames"], speech_pos=given["speech_pos"])
    with pytest.raises(ValueError, match="order=False"):
        VideoSpeechNet(**SMALL, order=False)(order_frames=given["order_frames"])
    with pytest.raises(ValueError, match="nothing to train"):
        VideoSpeechNet(**SMALL, pairs=False, order=False)
    with pytest.raises(ValueError, match="projection"):
        VideoSpeechNet(**SMALL, projection="both")
    with pytest.raises(ValueError, match="no projection"):
        VideoSpeechNet(**SMALL, contrastive=False).project(torch.zeros(1, 256), "video")


def test_speech_of_some_pairs_is_that_of_all_with_the_others_at_zero():
    network, given = VideoSpeechNet(**SMALL, order=False).eval(), inputs()
    given.pop("order_frames")
    used = torch.tensor([[True, False, True], [False, True, False]])
    few = {**given, **{name: given[name][used] for name in ("speech_pos", "speech_neg")}, "speech_used": used}
    every, some = network(**given), network(**few)
    zero = network.project(torch.zeros(network.num_features), "speech")
    for name in ("speech", "negative"):
        torch.testing.assert_close(some[name][used], every[name][used])
        torch.testing.assert_close(some[name][~used], zero.expand(3, -1))
    torch.testing.assert_close(some["video"], every["video"])
    torch.testing.assert_close(some["correspondence"][used], every["correspondence"][used])
    with pytest.raises(ValueError, match=r"n pairs of speech_used.*\(2, 1, 32, 32\).*\(2, 3\) with 3 true"):
        network(**{**few, "speech_pos": few["speech_pos"][:2], "speech_neg": few["speech_neg"][:2]})


def test_one_window_serves_all_frames_of_its_clip():
    network, given = VideoSpeechNet(**SMALL, order=False).eval(), inputs()
    given.pop("order_frames")
    one = {**given, **{name: given[name][:, :1] for name in ("speech_pos", "speech_neg")}}
    same = {**given, **{name: value.expand_as(given["frames"]) for name, value in one.items() if name != "frames"}}
    expected = network(**same)
    for name, value in network(**one).items():
        torch.testing.assert_close(value, expected[name])
    used = torch.tensor([[False], [True]])
    some = network(**{**one, **{name: one[name][used] for name in ("speech_pos", "speech_neg")}, "speech_used": used})
    torch.testing.assert_close(some["speech"][1], expected["speech"][1])
    with pytest.raises(ValueError, match="groups"):
        network(**{**given, **{name: given[name][:, :2] for name in ("speech_pos", "speech_neg")}})
