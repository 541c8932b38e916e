# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ignite.engine import Engine
from matplotlib.colors import to_hex
from PIL import Image
from torch.utils.data import DataLoader, default_collate

from monai_usspeech.data.batches import ClipBatchSampler
from monai_usspeech.data.clips import ClipDataset
from monai_usspeech.handlers.pair_picture import PairPictureHandler, draw_pairs_picture
from monai_usspeech.handlers.pair_timeline import COLOURS
from tests.data.store_factory import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("picture") / "store", n_scans=2, seconds=20.0, size=32)


def words(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in (*axes.texts, axes.title, axes._left_title)]


def test_the_picture_shows_what_the_batch_holds(store):
    dataset = ClipDataset(store, augment={})
    high = np.flatnonzero(dataset.high)[:2]
    batch = default_collate([dataset[int(i)] for i in high])
    figure = draw_pairs_picture(batch, dataset)
    text = words(figure)
    for row, item in enumerate(high):
        assert dataset.item_name(int(item)) in text
        assert any(f"class {int(batch['order_label'][row])} of" in t for t in text)
        for k in range(2):
            assert f"frame {k + 1} at {float(batch['frame_times'][row, k]):.2f} s" in text
            shift = int(batch["shift"][row, k])
            assert f"no match: {abs(shift)} {'later' if shift > 0 else 'earlier'}" in text
    # Two frames, four spectrograms and four order frames for each clip.
    assert sum(len(axes.images) for axes in figure.axes) == 2 * 10


def test_windows_and_voice_stand_at_their_times(store):
    dataset = ClipDataset(store, order=False, n_pairs=1)
    item = int(np.flatnonzero(dataset.high)[0])
    batch = default_collate([dataset[item]])
    timeline = draw_pairs_picture(batch, dataset).axes[0]
    boxes = {to_hex(patch.get_facecolor()).upper(): patch for patch in timeline.patches if hasattr(patch, "get_x")}
    for kind, key in (("positive", "speech_pos_start"), ("negative", "speech_neg_start")):
        box = boxes[COLOURS[kind]]
        assert box.get_x() == pytest.approx(float(batch[key][0, 0])) and box.get_width() == pytest.approx(0.6)
    flags = dataset.scans[0].voice_activity()
    first, last = max(item - 4, 0) * 200, min(item + 5, 10) * 200
    drawn = sum(np.ptp(path.vertices[:, 0]) for c in timeline.collections for path in c.get_paths())
    assert drawn == pytest.approx(flags[first:last].sum() * 0.01)


def test_valid_pairs_come_first_and_masked_ones_say_so(store):
    dataset = ClipDataset(store)
    low, high = int(np.flatnonzero(~dataset.high)[0]), int(np.flatnonzero(dataset.high)[0])
    batch = default_collate([dataset[low], dataset[high]])
    assert not any("masked" in t for t in words(draw_pairs_picture(batch, dataset, max_clips=1)))
    assert any(t.startswith("masked") for t in words(draw_pairs_picture(batch, dataset, max_clips=2)))


@pytest.mark.parametrize("order", [False, True])
def test_frames_without_speech_are_shown_side_by_side(store, order):
    dataset = ClipDataset(store, pairs=False, order=order, frames=True, n_pairs=3, augment={"shared": False})
    batch = default_collate([dataset[1], dataset[4]])
    figure = draw_pairs_picture(batch, dataset)
    text = words(figure)
    for row in range(2):
        for k in range(3):
            assert f"frame {k + 1} at {float(batch['frame_times'][row, k]):.2f} s" in text
    assert sum(len(axes.images) for axes in figure.axes) == 2 * (3 + 4 * order)
    assert any("first and the last frame" in t.get_text() for t in figure.texts) is not order
    marked = sorted(line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "o")
    assert marked == pytest.approx(sorted(batch["frame_times"][0].tolist()))


@pytest.mark.parametrize("reversal", ["shown", "time"])
def test_the_caption_names_both_orders_of_the_class(store, reversal):
    dataset = ClipDataset(store, pairs=False, order_reversal=reversal)
    others = set()
    for item in range(len(dataset)):
        batch = default_collate([dataset[item]])
        text = words(draw_pairs_picture(batch, dataset))
        (caption,) = (t for t in text if t.startswith("order class"))
        true_places = batch["order_times"][0].argsort().argsort().tolist()
        badges = [t for t in text if t in ("1", "2", "3", "4")]
        assert badges == [str(place + 1) for place in true_places]
        other = [4 - place for place in true_places] if reversal == "time" else badges[::-1]
        pair = {" ".join(badges), " ".join(map(str, other))}
        stated, _, rest = caption.partition(": ")[2].partition(", or ")
        assert stated == min(pair) and {stated, rest[:7]} == pair  # in every class the first in dictionary order leads
        assert rest[7:].startswith(f" ({reversal} backwards)")
        others.add(rest[:7])
    assert len(others) > 4


@pytest.mark.parametrize("row", [{"pairs": False}, {"gate": False}, {"statistics": "band", "n_pairs": 1}])
def test_every_method_row_can_be_drawn(store, row):
    dataset = ClipDataset(store, **row)
    figure = draw_pairs_picture(default_collate([dataset[0], dataset[7]]), dataset)
    assert dataset.item_name(7) in words(figure)


def test_a_clip_without_speech_can_be_drawn(tmp_path):
    make_store(tmp_path / "a", n_scans=1, seconds=12.0, size=16)
    make_store(tmp_path / "b", n_scans=2, seconds=12.0, size=16, speech=False)
    (tmp_path / "b" / "s001").rename(tmp_path / "a" / "s001")
    dataset = ClipDataset(tmp_path / "a")
    figure = draw_pairs_picture(default_collate([dataset[8]]), dataset)
    assert words(figure).count("no window") == 4


def test_the_handler_draws_once_for_each_run_folder(store, tmp_path):
    dataset = ClipDataset(store)
    path = tmp_path / "run" / "pairs.png"

    def train() -> None:
        trainer = Engine(lambda engine, batch: None)
        PairPictureHandler(str(path), dataset, max_clips=1).attach(trainer)
        loader = DataLoader(dataset, batch_sampler=ClipBatchSampler(len(dataset), 4))
        trainer.run(loader, max_epochs=2)

    train()
    first = path.read_bytes()
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.width > 1000
    train()
    assert path.read_bytes() == first and [p.name for p in path.parent.iterdir()] == ["pairs.png"]
