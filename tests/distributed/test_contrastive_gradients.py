# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Two processes under DistributedDataParallel against one process with the whole batch, in float64."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn

from monai_usspeech.losses import CrossModalContrastiveLoss, SigLIPLoss, VideoSpeechLoss
from monai_usspeech.networks import VideoSpeechNet
from tests.distributed.processes import check_mean, check_sum, named, outcome, part_of, wrapped

pytestmark = pytest.mark.slow

CONTRASTIVE = {
    f"{variant}-{pool}-{'both' if symmetric else 'one'}-{reduction}": {
        "variant": variant,
        "pool": pool,
        "symmetric": symmetric,
        "reduction": reduction,
        "exclude_neighbours": 1 if symmetric else None,
        "similarity": "cosine" if symmetric else "dot",
        "learnable_temperature": symmetric,
        "temperature": 0.5,
    }
    for variant, pool, symmetric, reduction in product(
        ("extended", "softplus"), ("all", "speech"), (False, True), ("mean", "sum")
    )
}
# Valid clips of each process: all on both, unequal, none on the second, one pair in the whole batch (too few).
VALIDITY = {
    "all": [[1, 1, 1, 1, 1], [1, 1, 1]],
    "unequal": [[1, 0, 1, 1, 1], [0, 1, 0]],
    "one process has none": [[1, 1, 0, 1, 1], [0, 0, 0]],
    "too few": [[0, 1, 0, 0, 0], [0, 0, 0]],
}


class Toy(nn.Module):
    """Rows to embeddings of the three kinds."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5)) for _ in range(3))

    def forward(self, rows):
        return [layer(part) for layer, part in zip(self.layers, rows.unbind(1))]


def items(rank=None):
    """The whole batch of 8 clips, or a process's 5 or 3."""
    generator = torch.Generator().manual_seed(1)
    numbers = {
        "rows": torch.randn(8, 3, 4, generator=generator, dtype=torch.float64),
        "images": torch.randn(8, 2, 3, 1, 32, 32, generator=generator, dtype=torch.float64),
        "order_images": torch.randn(8, 4, 1, 32, 32, generator=generator, dtype=torch.float64),
        "label": torch.randint(0, 12, (8,), generator=generator),
        "clip_id": torch.tensor([0, 0, 1, 2, 3, 2, 4, 5]),
        "scan_index": torch.tensor([0, 0, 0, 1, 1, 1, 2, 2]),
        "clip_index": torch.tensor([0, 0, 1, 4, 5, 4, 7, 9]),
    }
    return {name: part_of(values, rank) for name, values in numbers.items()}


def valid_items(name, rank=None):
    lists = VALIDITY[name]
    return torch.tensor(sum(lists, []) if rank is None else lists[rank], dtype=torch.bool)


def contrastive_case(options, rank=None):
    torch.manual_seed(0)
    network = wrapped(Toy().double())
    loss = CrossModalContrastiveLoss(**options).double()
    batch = items(rank)
    given = {name: batch[name] for name in ("clip_id", "scan_index", "clip_index")}
    value = loss(*network(batch["rows"]), valid=valid_items("unequal", rank), **given)
    return outcome(value, network, loss)


def siglip_case(rank=None):
    torch.manual_seed(0)
    network, loss = wrapped(Toy().double()), SigLIPLoss(bias=-2.0).double()
    batch = items(rank)
    video, speech, unused = network(batch["rows"])
    value = loss(video, speech, batch["clip_id"], valid_items("unequal", rank)) + 0 * unused.sum()
    return outcome(value, network, loss)


def video_speech_case(validity, rank=None):
    torch.manual_seed(0)
    # In evaluation mode batch normalisation does not tie the items of a process together.
    network = VideoSpeechNet("se_resnext_small", embedding_dim=8, projection="separate").double().eval()
    contrastive = CrossModalContrastiveLoss(similarity="cosine", temperature=0.2, learnable_temperature=True)
    network, loss = wrapped(network), VideoSpeechLoss(1.0, 0.5, 2.0, contrastive).double()
    batch = items(rank)
    frames, positive, negative = batch["images"].unbind(2)
    valid = valid_items(validity, rank)
    target = {
        "pair_valid": torch.stack((valid, torch.zeros_like(valid) if validity == "too few" else valid), dim=1),
        "order_valid": ~valid if validity == "unequal" else valid,
        "order_label": batch["label"],
        "clip_id": batch["clip_id"],
    }
    inputs = {"frames": frames, "speech_pos": positive, "speech_neg": negative, "order_frames": batch["order_images"]}
    for _ in range(2):  # the second pass fails under DistributedDataParallel when the first left a parameter out
        network.zero_grad()
        loss.zero_grad()
        result = outcome(loss(network(**inputs), target), network, loss)
    return result


def plus_case(validity, rank=None):
    """Both contrasts without hard negatives, with the speech of valid pairs alone."""
    torch.manual_seed(0)
    options = {"projection": "separate", "correspondence": False, "order": False, "views": True}
    network = VideoSpeechNet("se_resnext_small", embedding_dim=8, **options).double().eval()
    contrastive = CrossModalContrastiveLoss(
        "infonce", "speech", "cosine", 0.2, learnable_temperature=True, symmetric=True, exclude_neighbours=1
    )
    network, loss = wrapped(network), VideoSpeechLoss(0.0, 0.5, 0.0, contrastive, delta=2.0).double()
    batch = items(rank)
    frames, speech, _ = batch["images"].unbind(2)
    valid = valid_items(validity, rank)
    valid = torch.stack((valid, torch.zeros_like(valid) if validity == "too few" else valid), dim=1)
    used = valid.clone()
    used[0, 0] |= ~used.any()  # as PrepareVideoSpeechBatch does it: a process without a pair reads one
    target = {"pair_valid": valid, **{name: batch[name] for name in ("clip_id", "scan_index", "clip_index")}}
    for _ in range(2):
        network.zero_grad()
        loss.zero_grad()
        prediction = network(frames=frames, speech_pos=speech[used], speech_used=used)
        result = outcome(loss(prediction, target), network, loss)
    return result


def views_case(rank=None):
    torch.manual_seed(0)
    network = VideoSpeechNet("se_resnext_small", embedding_dim=8, pairs=False, order=False, views=True).double().eval()
    network, loss = wrapped(network), VideoSpeechLoss(0.0, 0.0, 0.0, delta=1.0)
    return outcome(loss(network(frames=items(rank)["images"][:, :, 0]), {}), network, loss)


def cases(rank=None):
    results = {name: contrastive_case(options, rank) for name, options in CONTRASTIVE.items()}
    results.update({"siglip": siglip_case(rank), "views": views_case(rank)})
    for name in VALIDITY:
        results.update({f"video-speech {name}": video_speech_case(name, rank), f"plus {name}": plus_case(name, rank)})
    return results


@pytest.mark.parametrize("name", [*CONTRASTIVE, "siglip"])
def test_averaged_gradient_is_the_gradient_of_one_process_with_the_whole_batch(outcomes, name):
    check_mean(*named(outcomes, name))


@pytest.mark.parametrize("validity", VALIDITY)
def test_joint_loss_gradient_and_value_do_not_depend_on_how_valid_items_are_spread(outcomes, validity):
    single, parts = named(outcomes, f"video-speech {validity}")
    check_sum(single, parts)
    assert ("loss_cont" in single["terms"]) == (validity != "too few")


@pytest.mark.parametrize("validity", VALIDITY)
def test_the_contrast_among_frames_does_not_depend_on_where_the_speech_is(outcomes, validity):
    single, parts = named(outcomes, f"plus {validity}")
    check_sum(single, parts)
    assert set(single["terms"]) == {"loss_view"} | ({"loss_cont"} if validity != "too few" else set())
    gradients = single["gradients"]  # a term alone must not hide behind the other
    assert gradients["view_projection.out.weight"].abs().max() > 1e-3
    assert (gradients["speech_projection.out.weight"].abs().max() > 1e-3) == (validity != "too few")


def test_the_contrast_among_frames_alone(outcomes):
    single, parts = named(outcomes, "views")
    check_sum(single, parts)
    assert set(single["terms"]) == {"loss_view"} and set(single["figures"]) == {"accuracy_view"}
