# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from monai_usspeech.data import ClipDataset
from monai_usspeech.engines import PrepareVideoSpeechBatch
from tests.data.store_factory import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("prepare") / "store", n_scans=2, seconds=30.0, size=32)


def mixed_batch(dataset: ClipDataset) -> dict[str, torch.Tensor]:
    """Clips with valid pairs and clips without."""
    high = dataset.high
    items = [*np.flatnonzero(high)[:3], *np.flatnonzero(~high)[:2]]
    batch: dict[str, torch.Tensor] = default_collate([dataset[int(item)] for item in items])
    assert batch["pair_valid"].any() and not batch["pair_valid"].all()
    return batch


@pytest.mark.parametrize("statistics", ["scan", "band"])
def test_speech_of_valid_pairs_alone_is_what_it_is_among_all(store, statistics):
    batch = mixed_batch(ClipDataset(store, order=False, statistics=statistics))
    prepare = PrepareVideoSpeechBatch(size=24)
    prepare.spectrogram.settings = type(prepare.spectrogram.settings)(size=(24, 24), normalise=statistics)
    _, _, _, every = prepare(batch)
    prepare.valid_speech_only = True
    frames, targets, _, some = prepare(batch)
    used = some["speech_used"]
    assert torch.equal(used, batch["pair_valid"]) and frames.shape[:2] == used.shape
    for name in ("speech_pos", "speech_neg"):
        assert some[name].shape == (int(used.sum()), 1, 24, 24)
        torch.testing.assert_close(some[name], every[name][used])
    assert "speech_used" not in every and torch.equal(targets["pair_valid"], batch["pair_valid"])


def test_one_pair_is_read_where_none_is_valid(store):
    batch = mixed_batch(ClipDataset(store, order=False))
    batch["pair_valid"] = torch.zeros_like(batch["pair_valid"])
    _, targets, _, arguments = PrepareVideoSpeechBatch(size=24, valid_speech_only=True)(batch)
    assert arguments["speech_used"].sum() == 1 and len(arguments["speech_pos"]) == 1
    assert not targets["pair_valid"].any()  # it passes through the network and counts for nothing


def test_without_hard_negatives_pairs_need_no_partner(store):
    with_them, without = (ClipDataset(store, order=False, hard_negatives=flag) for flag in (True, False))
    lacking = {"speech_neg", "speech_neg_start", "shift", "negative_clip_index", "neg_valid"}
    for number in range(len(without)):
        sample, same = without[number], with_them[number]
        assert set(same) - set(sample) == lacking
        for name in sample:
            if name != "pair_valid":
                assert torch.equal(sample[name].nan_to_num(-1), same[name].nan_to_num(-1))
        expected = ~sample["speech_pos_start"].isnan() & bool(sample["affinity"])
        assert torch.equal(sample["pair_valid"], expected) and not (same["pair_valid"] & ~expected).any()
    assert (without.high | ~with_them.high).all()  # a clip that had a partner needs none now
    _, _, _, arguments = PrepareVideoSpeechBatch(size=24)(default_collate([without[0]]))
    assert set(arguments) == {"speech_pos"}


def test_a_shared_window_is_read_once(store):
    every = ClipDataset(store, order=False, hard_negatives=False, n_pairs=3)
    shared = ClipDataset(store, order=False, hard_negatives=False, n_pairs=3, shared_window=True)
    for number in range(len(every)):
        own, one = every[number], shared[number]
        found = own["speech_pos_start"].isfinite()
        first = own["speech_pos_start"][found][:1] if found.any() else own["speech_pos_start"][:1]
        assert torch.equal(one["speech_pos_start"].nan_to_num(-1), first.expand(3).nan_to_num(-1))
        assert torch.equal(one["frame_times"], own["frame_times"])  # the frames stay as drawn
        assert torch.equal(one["pair_valid"], (found.any() & bool(one["affinity"])).expand(3))
    batch = mixed_batch(shared)
    _, targets, _, arguments = PrepareVideoSpeechBatch(size=24, valid_speech_only=True, shared_window=True)(batch)
    used = batch["pair_valid"][:, :1]
    assert torch.equal(arguments["speech_used"], used) and len(arguments["speech_pos"]) == used.sum()
    assert torch.equal(targets["pair_valid"], batch["pair_valid"])
    assert PrepareVideoSpeechBatch(size=24, shared_window=True)(batch)[3]["speech_pos"].shape[:2] == (5, 1)


@pytest.mark.parametrize("shared_window", [False, True])
def test_a_batch_reads_so_many_windows_at_most(store, shared_window):
    batch = mixed_batch(ClipDataset(store, order=False, hard_negatives=False, shared_window=shared_window))
    prepare = PrepareVideoSpeechBatch(size=24, valid_speech_only=True, shared_window=shared_window, max_windows=2)
    _, targets, _, arguments = prepare(batch)
    assert arguments["speech_used"].sum() == 2 and len(arguments["speech_pos"]) == 2
    # A pair counts where its window was read, and nowhere else: with one window to a clip both its frames do.
    assert torch.equal(targets["pair_valid"], batch["pair_valid"] & arguments["speech_used"])
    assert targets["pair_valid"].sum() == (4 if shared_window else 2)
    for wrong in ({"max_windows": 0}, {"max_windows": 2, "valid_speech_only": False}):
        with pytest.raises(ValueError, match="max_windows"):
            PrepareVideoSpeechBatch(**{"size": 24, "valid_speech_only": True, **wrong})
