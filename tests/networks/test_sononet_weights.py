# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Both public formats, written here from a drawn network as their programs write them."""

from __future__ import annotations

import io
from collections import OrderedDict

import numpy as np
import pytest
import torch

from monai_usspeech.networks import (
    FrameClassifier,
    SonoNet,
    SonoNetFeatures,
    VideoSpeechNet,
    load_initialisation,
    read_checkpoint,
    se_resnext_small,
)
from monai_usspeech.networks.sononet_weights import read_sononet_npz, sononet_width
from tests.networks.test_initialisation import changed, same


@pytest.fixture(scope="module")
def source():
    return changed(SonoNet(16)).eval()


def lasagne_arrays(network):
    """What lasagne's get_all_param_values gives: W, beta, gamma, mean, inv_std of each layer."""
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    layers = [f"features.{block}.{i}." for block, n in enumerate((2, 2, 3, 3, 3)) for i in range(n)]
    pairs = [(f"{layer}0", f"{layer}1") for layer in layers]
    arrays = []
    for kernel, norm in [*pairs, ("adaption.0", "adaption.1"), ("adaption.3", "adaption.4")]:
        inverse = 1 / np.sqrt(weights[f"{norm}.running_var"].astype(np.float64) + 1e-4)
        arrays += [weights[f"{kernel}.weight"], weights[f"{norm}.bias"], weights[f"{norm}.weight"]]
        arrays += [weights[f"{norm}.running_mean"], inverse.astype(np.float32)]
    return arrays


@pytest.fixture
def files(source, tmp_path):
    """The two files; old PyTorch wrote no zip file, an ordered dictionary and no step counters."""
    np.savez(tmp_path / "SonoNet16.npz", *lasagne_arrays(source))
    weights = OrderedDict((n, v) for n, v in source.state_dict().items() if not n.endswith("num_batches_tracked"))
    torch.save(weights, tmp_path / "SonoNet16.pth", _use_new_zipfile_serialization=False)
    return [tmp_path / "SonoNet16.npz", tmp_path / "SonoNet16.pth"]


@pytest.mark.parametrize("kind", ["auto", "sononet"])
def test_both_formats_give_the_same_logits(files, source, kind):
    image = torch.randn(2, 1, 64, 80)
    with torch.no_grad():
        expected = source(image)
        for file in files:
            network = SonoNet(16).eval()
            report = load_initialisation(network, file, source=kind)
            torch.testing.assert_close(network(image), expected, rtol=1e-5, atol=1e-5)
            assert len(report.loaded) == 75 and report.unexpected == () and report.untouched == ()
            assert len(report.missing) == 15 and all(name.endswith("num_batches_tracked") for name in report.missing)


def test_kernels_are_not_flipped(files, source):
    kernel = read_checkpoint(files[0])["features.0.0.0.weight"]
    assert torch.equal(kernel, source.features[0][0][0].weight) and not torch.equal(kernel, kernel.flip(2, 3))


def test_a_backbone_leaves_the_class_layers_aside(files, source):
    for file in files:
        for network in (SonoNetFeatures(16), FrameClassifier("sononet16"), VideoSpeechNet("sononet16")):
            report = load_initialisation(network, file)
            stream = getattr(network, "video_stream", network)
            for name in report.loaded:
                name = name.removeprefix("video_stream.")
                torch.testing.assert_close(stream.state_dict()[name], source.state_dict()[name])
            assert len(report.loaded) == 65
            assert len(report.unexpected) == 10 and all(name.startswith("adaption.") for name in report.unexpected)


def test_a_grey_stem_is_spread_over_three_channels(files):
    network = SonoNetFeatures(16, in_channels=3).eval()
    report = load_initialisation(network, files[1])
    assert report.adapted == ("features.0.0.0.weight: 1 channels spread to 3",)
    grey = SonoNetFeatures(16).eval()
    load_initialisation(grey, files[1])
    image = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(image.expand(1, 3, 32, 32)), grey(image), rtol=1e-4, atol=1e-4)


def test_another_network_is_refused_with_the_name_of_the_right_backbone(files, tmp_path):
    with pytest.raises(
        ValueError, match='SonoNet-16 weights, but the network is a ResNet; build it with backbone="sononet16"'
    ):
        load_initialisation(FrameClassifier("se_resnext_small"), files[0])
    with pytest.raises(ValueError, match="the network is a SonoNet-32"):
        load_initialisation(FrameClassifier("sononet32"), files[1])
    with pytest.raises(ValueError, match='source is "imagenet"'):
        load_initialisation(SonoNet(16), files[0], source="imagenet")
    with pytest.raises(ValueError, match=r"another shape \(adaption.3.weight \(14, 64, 1, 1\) in the file"):
        load_initialisation(SonoNet(16, num_classes=5), files[0])
    torch.save(se_resnext_small().state_dict(), tmp_path / "other.pt")
    with pytest.raises(ValueError, match="holds no SonoNet weights; it begins with conv1"):
        load_initialisation(SonoNet(16), tmp_path / "other.pt", source="sononet")
    assert sononet_width(read_checkpoint(tmp_path / "other.pt")) is None


def test_features_alone_do_not_make_a_classifier(source, tmp_path):
    weights = {name: value for name, value in source.state_dict().items() if name.startswith("features.")}
    torch.save(weights, tmp_path / "features.pt")
    assert load_initialisation(SonoNetFeatures(16), tmp_path / "features.pt").unexpected == ()
    with pytest.raises(ValueError, match="tensors missing from the file .adaption.0.weight"):
        load_initialisation(SonoNet(16), tmp_path / "features.pt")


def broken(case, arrays):
    if case == "short":
        return arrays[:-1]
    if case == "order":  # mean and inv_std of another shape in place of the next kernel
        arrays[4], arrays[5] = arrays[5], arrays[4]
    elif case == "negative":
        arrays[4] = -arrays[4]
    elif case == "width":
        arrays[0] = arrays[0][:8]
    return arrays


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("short", "holds 74 arrays; a SonoNet has 75"),
        ("order", r"arr_4 is \(16, 16, 3, 3\); SonoNet-16 has features.0.0.1.running_var \(16,\) there"),
        ("negative", "arr_4 holds inverse standard deviations, but not all are positive"),
        ("width", r"not a SonoNet; its first array is \(8, 1, 3, 3\)"),
    ],
)
def test_other_arrays_are_refused(source, tmp_path, case, words):
    np.savez(tmp_path / "odd.npz", *broken(case, lasagne_arrays(source)))
    with pytest.raises(ValueError, match=words):
        read_sononet_npz(tmp_path / "odd.npz")


def test_damaged_files_give_one_clear_error(files, tmp_path):
    content = files[0].read_bytes()
    (tmp_path / "truncated.npz").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "changed.npz").write_bytes(content[:5000] + b"\0" * 64 + content[5064:])
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    (tmp_path / "array.npz").write_bytes(buffer.getvalue())
    np.savez(tmp_path / "named.npz", kernel=np.zeros(3))
    np.savez(tmp_path / "objects.npz", np.array([{"code": 1}], dtype=object))
    for name in ("truncated", "empty", "changed", "array", "named", "objects"):
        with pytest.raises(ValueError, match=rf"{name}.npz: not the original SonoNet weights, or a damaged file"):
            read_checkpoint(tmp_path / f"{name}.npz")
    assert same(read_checkpoint(files[0]), read_sononet_npz(files[0]))
