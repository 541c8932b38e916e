# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from monai_usspeech.engines.view_inferer import ViewInferer


class Small(nn.Module):
    """Convolution, batch normalisation, average: two named outputs; counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.classify = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.calls = 0

    def forward(self, image: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        self.calls += 1
        embedding = scale * self.norm(self.conv(image)).relu().mean((2, 3))
        return {"embedding": embedding, "logits": self.classify(embedding)}


@pytest.fixture
def network() -> Small:
    torch.manual_seed(0)
    return Small()


def views(n: int = 2) -> Tensor:
    return torch.randn(n, 5, 1, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_each_view_goes_through_the_network_once(network, n):
    oracle = copy.deepcopy(network)
    image = views(n)
    answer = ViewInferer()(image, network, scale=2.0)
    assert network.calls == n
    assert {name: tuple(value.shape) for name, value in answer.items()} == {"embedding": (n, 5, 4), "logits": (n, 5, 3)}
    for view in range(n):
        for name, value in oracle(image[view], 2.0).items():
            assert torch.equal(answer[name][view], value)
    # batch normalisation took each view's statistics once, in the order of the views
    torch.testing.assert_close(network.norm.running_mean, oracle.norm.running_mean)
    assert int(network.norm.num_batches_tracked) == n


def test_the_gradient_is_that_of_all_views(network):
    image, oracle = views(), copy.deepcopy(network)
    ViewInferer()(image, network)["logits"].square().sum().backward()
    sum(oracle(view)["logits"].square().sum() for view in image).backward()
    for mine, true in zip(network.parameters(), oracle.parameters()):
        torch.testing.assert_close(mine.grad, true.grad)


def test_a_network_that_answers_with_a_tensor(network):
    answer = ViewInferer()(views(3), lambda image: network(image)["embedding"])
    assert answer.shape == (3, 5, 4)


def test_the_last_view_is_the_key_and_gives_no_gradient(network):
    key_network = copy.deepcopy(network)
    with torch.no_grad():
        key_network.conv.weight.mul_(2.0)
    image, true = views(3), copy.deepcopy(key_network)
    answer = ViewInferer(key_network)(image, network)["embedding"]
    assert (network.calls, key_network.calls) == (2, 1)
    assert torch.equal(answer[2], true(image[2])["embedding"])
    answer[2].sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())
    assert all(p.grad is None for p in key_network.parameters())


def test_what_does_not_fit_is_an_error(network):
    with pytest.raises(ValueError, match=r"expected views \[V, B, C, h, w\], got the shape \(5, 1, 12, 12\)"):
        ViewInferer()(views()[0], network)
    with pytest.raises(ValueError, match="at least two views, got 1"):
        ViewInferer(network)(views(1), network)
    with pytest.raises(ValueError, match="answers of different names"):
        ViewInferer(lambda image: {"key": image})(views(2), lambda image: {"embedding": image})
