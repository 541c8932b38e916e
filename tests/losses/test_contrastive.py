# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch.nn import functional as F

from monai_usspeech.losses import CrossModalContrastiveLoss, cross_modal_contrastive, hard_negative_penalty
from tests.losses.oracles import contrastive_by_loops, phi

LN2 = math.log(2)
VARIANTS = ("extended", "softplus", "infonce")


def golden():
    yv = torch.tensor([[0.5, -0.2, 0.1], [0.3, 0.8, -0.4]], dtype=torch.float64)
    ys = torch.tensor([[0.9, 0.1, 0.3], [-0.2, 1.1, 0.6]], dtype=torch.float64)
    yn = torch.tensor([[-0.4, 0.7, 0.2], [0.6, 0.5, -0.1]], dtype=torch.float64)
    return yv, ys, yn


def drawn(n=9, dim=5, seed=0, scale=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(3, n, dim, generator=generator, dtype=torch.float64) * scale).to(dtype).unbind(0)


def printed_equation(yv, ys, yn, pool):
    """Eq. 2 as printed: -log((exp a - exp b) / Z)."""
    a, b = (yv * ys).sum(1), (yv * yn).sum(1)
    parts = [yv @ ys.T, yv @ yn.T]
    if pool == "all":
        parts.append((yv @ yv.T).fill_diagonal_(-torch.inf))
    return -torch.log((a.exp() - b.exp()) / torch.cat(parts, 1).exp().sum(1))


@pytest.mark.parametrize(
    ("pool", "variant", "expected"),
    [
        ("all", "extended", (1.809894761171, 2.832540716537)),
        ("all", "softplus", (1.574000170789, 2.119593522645)),
        ("speech", "extended", (1.609647574512, 2.692683403536)),
        ("speech", "softplus", (1.373752984129, 1.979736209643)),
        ("all", "infonce", (1.656656104565 - 0.46, 1.986246355417 - 0.58)),
        ("speech", "infonce", (1.456408917906 - 0.46, 1.846389042415 - 0.58)),
    ],
)
def test_golden_vectors(pool, variant, expected):
    loss = CrossModalContrastiveLoss(variant, pool, reduction="none")(*golden())
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=2e-12)


def test_printed_equation_is_undefined_where_the_hard_negative_is_closer():
    printed = printed_equation(*golden(), "all")
    assert printed[0].item() == pytest.approx(1.809894761171, abs=1e-12)
    assert printed[1].isnan()


@pytest.mark.parametrize("pool", ["all", "speech"])
def test_extended_is_the_printed_equation_where_the_margin_is_at_least_epsilon(pool):
    yv, ys, yn = drawn(200, 6)
    margin = (yv * (ys - yn)).sum(1)
    same = margin >= LN2
    assert 20 < same.sum() < 180
    ours = cross_modal_contrastive(yv, ys, yn, pool=pool)
    torch.testing.assert_close(ours[same], printed_equation(yv, ys, yn, pool)[same], rtol=0, atol=1e-11)
    assert ours.isfinite().all()


@pytest.mark.parametrize(
    ("variant", "pool", "symmetric", "reach"), list(product(VARIANTS, ("all", "speech"), (False, True), (None, 2)))
)
def test_equals_plain_loops(variant, pool, symmetric, reach):
    yv, ys, yn = drawn(9)
    numbers = {
        "clip_id": [0, 0, 1, 1, 2, 3, 4, 5, 6],
        "valid": [True, True, True, False, True, True, False, True, True],
        "scan_index": [0, 0, 0, 0, 0, 1, 1, 1, 2],
        "clip_index": [3, 3, 5, 5, 9, 3, 4, 8, 3],
        "negative_clip_index": [5, 1, 6, 4, 8, 5, 2, 6, 4],
    }
    options = {"variant": variant, "pool": pool, "symmetric": symmetric, "exclude_neighbours": reach, "scale": 1.7}
    expected = contrastive_by_loops(yv.tolist(), ys.tolist(), yn.tolist(), *numbers.values(), options)
    tensors = {name: torch.tensor(values) for name, values in numbers.items()}
    ours = cross_modal_contrastive(yv, ys, yn, **tensors, **options)
    torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)
    del options["scale"]
    module = CrossModalContrastiveLoss(temperature=1 / 1.7, **options)
    mean = sum(expected) / sum(numbers["valid"])
    assert module(yv, ys, yn, **tensors).item() == pytest.approx(mean, abs=1e-12)
    module.reduction = "sum"
    assert module(yv, ys, yn, **tensors).item() == pytest.approx(sum(expected), abs=1e-12)


def test_cosine_similarity_normalises_and_anchors_select_rows():
    yv, ys, yn = drawn(6)
    module = CrossModalContrastiveLoss("softplus", "speech", "cosine", 0.1, reduction="none")
    unit = [F.normalize(y, dim=1) for y in (yv, ys, yn)]
    torch.testing.assert_close(
        module(3 * yv, ys, 0.2 * yn), cross_modal_contrastive(*unit, variant="softplus", pool="speech", scale=10.0)
    )
    part = cross_modal_contrastive(yv, ys, yn, anchors=slice(2, 5))
    torch.testing.assert_close(part, cross_modal_contrastive(yv, ys, yn)[2:5])


def test_other_groups_of_a_clip_are_left_out_of_the_pool():
    yv, ys, yn = drawn(4)
    clip_id = torch.tensor([0, 0, 1, 2])
    alone = torch.tensor([True, False, True, True])  # item 0 against items 2 and 3 only, hard negatives aside
    masked = CrossModalContrastiveLoss("infonce", "speech", reduction="none")(yv, ys, yn, clip_id)[0]
    without = torch.cat((yv[0] @ ys[alone].T, yv[0] @ yn.T)).logsumexp(0) - yv[0] @ ys[0]
    torch.testing.assert_close(masked, without)
    unmasked = CrossModalContrastiveLoss("infonce", "speech", mask_same_clip=False, reduction="none")
    assert unmasked(yv, ys, yn, clip_id)[0] > masked


def test_items_that_are_not_valid_do_not_exist():
    yv, ys, yn = drawn(7)
    valid = torch.tensor([True, False, True, True, False, True, False])
    module = CrossModalContrastiveLoss(symmetric=True)
    spoilt = [torch.where(valid[:, None], y, torch.tensor(math.nan)).requires_grad_() for y in (yv, ys, yn)]
    loss = module(*spoilt, valid=valid)
    torch.testing.assert_close(loss, module(yv[valid], ys[valid], yn[valid]))
    loss.backward()
    for y in spoilt:
        assert y.grad.isfinite().all() and (y.grad[~valid] == 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_gradcheck(variant, symmetric):
    inputs = [y.requires_grad_() for y in drawn(5, 3)]
    module = CrossModalContrastiveLoss(variant, temperature=0.7, symmetric=symmetric, similarity="cosine")
    assert torch.autograd.gradcheck(lambda *y: module(*y, clip_id=torch.tensor([0, 0, 1, 2, 3])), inputs)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_of_the_learnt_temperature(variant):
    module = CrossModalContrastiveLoss(variant, temperature=0.3, learnable_temperature=True).double()
    inputs = drawn(5, 3)

    def at(log_scale):
        with torch.no_grad():
            module.log_scale.fill_(log_scale)
        return module(*inputs)

    at(0.4).backward()
    assert module.log_scale.grad.item() == pytest.approx((at(0.4 + 1e-6) - at(0.4 - 1e-6)).item() / 2e-6, rel=1e-6)


def test_learnt_temperature_stops_at_a_scale_of_100_and_comes_back():
    module = CrossModalContrastiveLoss("infonce", similarity="cosine", temperature=0.01, learnable_temperature=True)
    with torch.no_grad():
        module.log_scale.fill_(9.0)
    yv, ys, yn = drawn(6, dtype=torch.float32)
    module(yv, ys, yn).backward()  # wrong pairs at a high scale: a lower scale is better
    assert module.log_scale.item() == pytest.approx(math.log(100))
    assert float(module.temperature) == pytest.approx(0.01)
    assert module.log_scale.grad > 0


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_finite_for_large_low_precision_and_identical_embeddings(variant, dtype):
    for scale, same in ((1.0, False), (50.0, False), (1.0, True), (50.0, True)):
        yv, ys, yn = (y.requires_grad_() for y in drawn(16, 128, scale=scale, dtype=dtype))
        loss = CrossModalContrastiveLoss(variant)(yv, ys, ys if same else yn)
        loss.backward()
        assert loss.dtype == torch.float32 and loss.isfinite()
        assert yv.grad.isfinite().all() and ys.grad.isfinite().all()


def test_autocast_does_not_reach_inside():
    yv, ys, yn = drawn(8, 16, dtype=torch.float32)
    expected = CrossModalContrastiveLoss(temperature=0.05)(yv, ys, yn)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(CrossModalContrastiveLoss(temperature=0.05)(yv, ys, yn), expected)


@pytest.mark.parametrize("variant", ["extended", "softplus"])
def test_pulls_the_positive_and_pushes_the_hard_negative_at_every_margin(variant):
    other = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    for margin in torch.linspace(-30, 30, 241, dtype=torch.float64).tolist():
        yv = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
        similarity = torch.tensor([margin / 2, -margin / 2], dtype=torch.float64, requires_grad=True)
        ys, yn = (torch.stack((a, torch.zeros_like(a)))[None] for a in similarity)
        embeddings = (torch.cat((y, other)) for y in (yv, ys, yn))
        cross_modal_contrastive(*embeddings, variant=variant, anchors=slice(0, 1)).sum().backward()
        assert similarity.grad[0] < 0 < similarity.grad[1]


def test_penalty_is_continuous_convex_and_has_slope_at_most_one():
    d = torch.linspace(-5, 40, 100001, dtype=torch.float64, requires_grad=True)
    value = hard_negative_penalty(d)
    (slope,) = torch.autograd.grad(value.sum(), d)
    assert (slope >= -1 - 1e-12).all() and (slope <= 0).all()
    assert (slope.diff() >= -1e-12).all() and slope.diff().max() < 2e-3  # convex, and no jump at epsilon
    expected = torch.tensor([phi(float(x), "extended", LN2) for x in d.detach()[::500]], dtype=torch.float64)
    torch.testing.assert_close(value[::500], expected, rtol=0, atol=1e-12)
    far = hard_negative_penalty(torch.tensor([30.0]))  # float32 keeps its digits in the tail
    assert far.item() == pytest.approx(math.exp(-30.0), rel=1e-5)


@pytest.mark.parametrize("epsilon", [0.05, 0.1, 0.5, 1.0])
def test_penalty_for_other_epsilon(epsilon):
    d = torch.linspace(-2, 3, 101, dtype=torch.float64, requires_grad=True)
    expected = torch.tensor([phi(float(x), "extended", epsilon) for x in d.detach()], dtype=torch.float64)
    torch.testing.assert_close(hard_negative_penalty(d, epsilon=epsilon), expected, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(lambda x: hard_negative_penalty(x, epsilon=epsilon), d)


def test_perfectly_separated_pairs_cost_nothing_and_order_does_not_matter():
    eye = torch.eye(6, dtype=torch.float64) * 30
    assert CrossModalContrastiveLoss()(eye, eye, -eye).item() == pytest.approx(0.0, abs=1e-12)
    yv, ys, yn = drawn(8)
    shuffle = torch.randperm(8)
    module = CrossModalContrastiveLoss(reduction="none")
    torch.testing.assert_close(module(yv, ys, yn)[shuffle], module(yv[shuffle], ys[shuffle], yn[shuffle]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"variant": "clamp"}, "variant"),
        ({"pool": "neg"}, "pool"),
        ({"similarity": "l2"}, "similarity"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": 0.001, "learnable_temperature": True}, "temperature"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"reduction": "median"}, "reduction"),
    ],
)
def test_options_are_checked(options, words):
    with pytest.raises(ValueError, match=words):
        CrossModalContrastiveLoss(**options)


def test_shapes_are_checked_with_both_sides():
    yv, ys, yn = drawn(4)
    with pytest.raises(ValueError, match=r"\(4, 5\), \(3, 5\), \(4, 5\)"):
        CrossModalContrastiveLoss()(yv, ys[:3], yn)
    with pytest.raises(ValueError, match=r"clip_id \(3,\).*\(4, 5\)"):
        CrossModalContrastiveLoss()(yv, ys, yn, clip_id=torch.arange(3))
    with pytest.raises(ValueError, match="scan_index"):
        CrossModalContrastiveLoss(exclude_neighbours=5)(yv, ys, yn)
