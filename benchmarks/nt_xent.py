# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Time and memory of NT-Xent, forward and backward: at once, in blocks, and ``monai.losses.ContrastiveLoss``.

    python benchmarks/nt_xent.py [--sizes 256 2048 4096] [--dim 128] [--block_size 256] [--repeats 5]

Each measurement runs in its own process, with one thread on the CPU. The table gives the median of the process time and
the highest resident memory during the steps, less that before them. The peer compares 2N x 2N pairs of D numbers; a
dash means that these would not fit into ``--memory`` GB. Linux only: the memory is read from ``/proc``.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

NAMES = ("whole", "blocks", "monai")


def make_step(name: str, n: int, dim: int, block_size: int) -> Callable[[], float]:
    """One forward and backward pass; returns the loss."""
    from monai.losses import ContrastiveLoss

    from monai_usspeech.losses import NTXentLoss

    generator = torch.Generator().manual_seed(0)
    views = [torch.randn(n, dim, generator=generator).requires_grad_() for _ in range(2)]
    ours = NTXentLoss(block_size=block_size if name == "blocks" else None)
    loss = ContrastiveLoss(temperature=0.5) if name == "monai" else ours

    def step() -> float:
        for view in views:
            view.grad = None
        value = loss(*views)
        value.backward()
        return float(value.detach())

    return step


def resident(field: str) -> float:
    """Mebibytes of this process: ``VmRSS`` now, ``VmHWM`` at most so far."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) / 1024


def measure(name: str, n: int, dim: int, block_size: int, repeats: int) -> tuple[float, float]:
    """Median milliseconds and peak mebibytes of one step, in this process."""
    torch.set_num_threads(1)
    make_step(name, 4, dim, 2)()  # loads every library that the step needs
    step, before, times = make_step(name, n, dim, block_size), resident("VmRSS"), []
    for _ in range(repeats):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return statistics.median(times) * 1e3, resident("VmHWM") - before


def main() -> None:
    """Parse the arguments, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 2048, 4096])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--block_size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", type=float, default=2.0, help="GB that the peer may take")
    parser.add_argument("--one", choices=NAMES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(*measure(given.one, given.sizes[0], given.dim, given.block_size, given.repeats))
        return
    print(f"{'N':>5}  {'loss':<22} {'ms':>9} {'peak MiB':>9}")
    labels = {"whole": "ours", "blocks": f"ours, {given.block_size} at a time", "monai": "monai ContrastiveLoss"}
    for n in given.sizes:
        for name, label in labels.items():
            if name == "monai" and 3 * (2 * n) ** 2 * given.dim * 4 > given.memory * 1e9:
                print(f"{n:>5}  {label:<22} {'-':>9} {'-':>9}")
                continue
            command = [sys.executable, __file__, "--one", name, "--sizes", str(n), "--dim", str(given.dim)]
            command += ["--block_size", str(given.block_size), "--repeats", str(given.repeats)]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            milliseconds, mebibytes = map(float, output.split()[-2:])
            print(f"{n:>5}  {label:<22} {milliseconds:>9.1f} {mebibytes:>9.1f}", flush=True)


if __name__ == "__main__":
    main()
