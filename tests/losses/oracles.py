# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The contrastive loss in plain loops over plain numbers, written from its equation."""

from __future__ import annotations

import math


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def phi(d, variant, epsilon):
    if variant == "infonce":
        return 0.0
    if variant == "softplus":
        return math.log1p(math.exp(-d))
    if d >= epsilon:
        return -math.log(1 - math.exp(-d))
    return -math.log(1 - math.exp(-epsilon)) - (d - epsilon) / (math.exp(epsilon) - 1)


def contrastive_by_loops(yv, ys, yn, clip_id, valid, scan, clip, neg_clip, options):
    """One value per item; 0 where not valid."""
    variant, pool, scale = options["variant"], options["pool"], options["scale"]
    reach, epsilon = options.get("exclude_neighbours"), options.get("epsilon", math.log(2))
    values = []

    def near(i, place_j, j):
        return reach is not None and scan[i] == scan[j] and abs(clip[i] - place_j) <= reach

    def related(i, j):
        return clip_id[i] == clip_id[j] or near(i, clip[j], j)

    for i in range(len(yv)):
        if not valid[i]:
            values.append(0.0)
            continue
        total = total_back = 0.0
        for j in range(len(yv)):
            if not valid[j]:
                continue
            keep_match = j == i or not related(i, j)
            keep_negative = j == i or not near(i, neg_clip[j], j)
            keep_peer = j != i and not related(i, j)
            if keep_match:
                total += math.exp(scale * dot(yv[i], ys[j]))
                total_back += math.exp(scale * dot(ys[i], yv[j]))
            if keep_negative:
                total += math.exp(scale * dot(yv[i], yn[j]))
            if pool == "all" and keep_negative:
                total_back += math.exp(scale * dot(ys[i], yn[j]))
            if pool == "all" and keep_peer:
                total += math.exp(scale * dot(yv[i], yv[j]))
                total_back += math.exp(scale * dot(ys[i], ys[j]))
        a, b = scale * dot(yv[i], ys[i]), scale * dot(yv[i], yn[i])
        loss = math.log(total) - a + phi(a - b, variant, epsilon)
        if options.get("symmetric"):
            loss = (loss + math.log(total_back) - a) / 2
        values.append(loss)
    return values
