# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.engines import SupervisedEvaluator
from PIL import Image
from torch import nn
from torch.nn.functional import interpolate

from monai_usspeech.handlers import grad_cam
from monai_usspeech.handlers.grad_cam import GradCAMHandler, class_activation, even_choice, grad_cam_figure

NAMES = ("p", "q", "r")


class Classifier(nn.Module):
    """Small maps, a global average, a linear head: Grad-CAM of it is known in closed form."""

    cam_layer = "maps"

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.maps = nn.Conv2d(1, 5, 3, stride=4, padding=1)
        self.head = nn.Linear(5, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.maps(image).mean(dim=(2, 3)))


def data(n: int = 40, size: int = 16, labels=None) -> list[dict[str, torch.Tensor]]:
    rng = np.random.RandomState(0)
    labels = rng.randint(0, 3, n) if labels is None else labels
    images = torch.from_numpy(rng.randn(n, 1, size, size).astype(np.float32))
    return [{"image": image, "label": torch.tensor(int(label))} for image, label in zip(images, labels)]


def evaluate(handler: GradCAMHandler, network: nn.Module, items, batch_size: int = 8) -> SupervisedEvaluator:
    loader = torch.utils.data.DataLoader(items, batch_size=batch_size)
    evaluator = SupervisedEvaluator("cpu", loader, network, val_handlers=[handler], decollate=False)
    evaluator.run()
    return evaluator


def test_the_map_is_the_weighted_sum_of_the_equation():
    network, images = Classifier().eval(), torch.stack([item["image"] for item in data(4)])
    maps = class_activation(network, images, "maps", [0, 1, 2, 0])
    with torch.no_grad():
        activations = network.maps(images)
    for row, index in enumerate([0, 1, 2, 0]):
        # alpha_k is the mean over pixels of dy/dA_k; for a global average and a linear head, w_k / pixels.
        score = torch.zeros(4, 4)
        for k in range(5):
            score += network.head.weight[index, k].detach() / 16 * activations[row, k]
        expected = interpolate(score.relu()[None, None], size=(16, 16), mode="bilinear", align_corners=False)[0, 0]
        assert np.allclose(maps[row], expected / expected.max(), atol=1e-5)


def test_explaining_leaves_the_network_as_it_was():
    network = Classifier().requires_grad_(False).train()
    images = torch.randn(2, 1, 16, 16)
    with torch.no_grad():  # as within an evaluator
        maps = class_activation(network, images, "maps", [0, 1])
    assert maps.any() and network.training
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())
    assert not network.maps._forward_hooks and not network.maps._backward_hooks


def test_an_unknown_layer_is_named():
    with pytest.raises(ValueError, match='Classifier has no layer "map"'):
        class_activation(Classifier(), torch.zeros(1, 1, 16, 16), "map", [0])


@pytest.mark.parametrize(
    ("counts", "number", "expected"),
    [
        ([9, 9, 9], 6, [2, 2, 2]),
        ([1, 9, 9], 6, [1, 3, 2]),
        ([9] * 5, 2, [1, 0, 0, 0, 1]),
        ([1, 2], 6, [1, 2]),
        ([], 3, []),
    ],
)
def test_examples_are_spread_over_the_classes(counts, number, expected):
    taken = even_choice(counts, number)
    assert sum(taken) == min(number, sum(counts))
    assert sorted(taken) == sorted(expected) and all(t <= c for t, c in zip(taken, counts))


def test_every_frame_of_a_class_is_chosen_as_often():
    chosen = np.zeros(10)
    for seed in range(600):
        handler = GradCAMHandler(Classifier(), "x.png", n_examples=3, seed=seed)
        kept: list[int] = []
        for frame in range(10):
            place = handler._place(0)
            if place is not None:
                handler._kept[0][place : place + 1] = [frame]  # type: ignore[list-item]
                kept[place : place + 1] = [frame]
        assert len(kept) == 3
        chosen[kept] += 1
    assert np.abs(chosen / 600 - 0.3).max() < 0.08  # 4 standard deviations


def test_the_only_frame_drawn_of_a_class_is_any_of_its_frames(tmp_path, monkeypatch):
    """With fewer places than kept frames, the first frame of a scan must not be the usual choice."""
    drawn: list[int] = []
    monkeypatch.setattr(grad_cam, "save_figure", lambda *_: None)
    monkeypatch.setattr(grad_cam, "grad_cam_figure", lambda *_: None)
    monkeypatch.setattr(grad_cam, "class_activation", lambda network, images, *_: drawn.append(int(images[0].max())))
    for seed in range(300):
        handler = GradCAMHandler(Classifier(), str(tmp_path / "x.png"), n_examples=3, classes=NAMES, seed=seed)
        frames = torch.arange(6.0)[:, None, None, None].expand(6, 1, 2, 2)
        for label in range(3):
            engine = Engine(lambda *_: None)
            engine.state.output = {"image": frames, "pred": torch.zeros(6, 3), "label": torch.full((6,), label)}
            handler._collect(engine)
        handler._draw(engine)
    assert np.abs(np.bincount(drawn, minlength=6) / 300 - 1 / 6).max() < 0.09  # 4 standard deviations


def test_the_handler_draws_the_same_frames_whatever_the_batch_size(tmp_path, monkeypatch):
    seen = []

    def figure(images, maps, titles):
        seen.append((images, maps, titles))
        return grad_cam_figure(images, maps, titles)

    monkeypatch.setattr(grad_cam, "grad_cam_figure", figure)
    network, items = Classifier(), data()
    for batch_size in (7, 16):
        handler = GradCAMHandler(network, str(tmp_path / "run" / "cam.png"), n_examples=6, classes=NAMES)
        evaluate(handler, network, items, batch_size)
    (images, maps, titles), (again, _, others) = seen
    assert np.array_equal(images, again) and titles == others
    assert images.shape == maps.shape == (6, 16, 16)
    assert [title[0] for title in titles] == ["p", "p", "q", "q", "r", "r"]
    with Image.open(tmp_path / "run" / "cam.png") as picture:
        assert picture.format == "PNG" and picture.width > 900
    with torch.no_grad():
        for image, (true, predicted, right) in zip(images, titles):
            name, confidence = predicted.split()
            chances = network.eval()(torch.from_numpy(image)[None, None]).softmax(1)[0]
            assert NAMES[int(chances.argmax())] == name and f"{chances.max():.2f}" == confidence
            assert right == (name == true)


def test_memory_is_bounded_and_given_back(tmp_path):
    network = Classifier()
    handler = GradCAMHandler(network, str(tmp_path / "cam.png"), n_examples=2, classes=NAMES)
    held = []
    collect = handler._collect

    def watch(engine):
        collect(engine)
        held.append(sum(e.image.untyped_storage().nbytes() for kept in handler._kept.values() for e in kept))

    handler._collect = watch  # type: ignore[method-assign]
    evaluate(handler, network, data(60))
    assert max(held) == 3 * 2 * 16 * 16 * 4
    assert handler._kept == {}


def test_a_test_set_of_one_class_can_be_drawn(tmp_path):
    network = Classifier()
    evaluate(GradCAMHandler(network, str(tmp_path / "cam.png"), classes=NAMES), network, data(3, labels=[1, 1, 1]))
    assert (tmp_path / "cam.png").is_file()
