# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What the controls of video-speech pretraining do to the pairs, before any network sees them.

    python benchmarks/controls.py --store STORE [--epochs 6] [--seed 0]

STORE was prepared from phantom scans with ``--voice_activity "['energy','oracle']"``. For each row: the share of clips
with high affinity, the number of valid pairs, the area under the ROC curve when positives are told from negatives by
the loudness of the window alone, and the share of positive and negative windows that hold 0.19 s of a word that names
what is shown while it sounds (unknown where the speech is that of another scan).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from monai_usspeech.data.clips import ClipDataset
from monai_usspeech.data.store import ScanStore

ROWS: dict[str, dict[str, Any]] = {
    "no filter": {"gate": False},
    "filter": {},
    "filter, permuted": {"affinity_control": "permuted"},
    "filter, positive only": {"gate_on": "positive"},
    "filter by the oracle": {"voice_activity": "oracle", "affinity_threshold": 0.1, "window_threshold": 0.333},
    "filter, shuffled": {"speech_source": "shuffled"},
}
KINDS = ("speech_pos", "speech_neg")


def measure(dataset: ClipDataset, epochs: int) -> tuple[int, float, list[float]]:
    """Valid pairs, area under the curve of the loudness, and the shares of windows that hold a matching word."""
    truth = [scan.voice_activity("oracle") for scan in dataset.scans]
    loudness: dict[str, list[float]] = {kind: [] for kind in KINDS}
    held: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for item in ((epoch, number) for epoch in range(epochs) for number in range(len(dataset))):
        sample = dataset[item]
        flags = truth[int(sample["scan_index"])]
        for k in np.flatnonzero(sample["pair_valid"].numpy()):
            for kind in KINDS:
                loudness[kind].append(float(sample[kind][k].double().square().mean()))
                first = int(np.ceil(float(sample[f"{kind}_start"][k]) * 100))
                held[kind].append(bool(flags[first : first + 60].sum() >= 19))
    values = np.concatenate([loudness[kind] for kind in KINDS])
    count = len(loudness[KINDS[0]])
    return count, roc_auc_score(np.repeat([1, 0], count), values), [float(np.mean(held[kind])) for kind in KINDS]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    store = ScanStore(arguments.store)
    print(f"{'':24}{'high':>8}{'pairs':>8}{'energy':>8}{'positive':>10}{'negative':>10}")
    for name, options in ROWS.items():
        dataset = ClipDataset(store, order=False, seed=arguments.seed, **options)
        count, auc, shares = measure(dataset, arguments.epochs)
        high = dataset.summary()["share_high_affinity"]
        known = [f"{share:10.0%}" if dataset.speech_source is None else f"{'-':>10}" for share in shares]
        print(f"{name:24}{high:8.0%}{count:8}{auc:8.3f}{''.join(known)}")


if __name__ == "__main__":
    main()
