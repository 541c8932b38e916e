# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Time and memory of the contrastive loss, forward and backward, beside ``monai.losses.ContrastiveLoss``.

    python benchmarks/contrastive.py [--sizes 64 128 256 512 1024] [--dim 128] [--device cpu] [--repeats 7]

The peer compares 2N views with one another; ours compares N frames with N speech, N hard negatives and, in the paper's
pool, N frames. Each measurement runs in its own process, with one thread on the CPU; the table gives medians of process
time, peak memory above that of the loaded program, and both as multiples of ours with the paper's options. A dash means
that the peer's pairwise table would not fit into ``--memory`` GB. The last line asks both for a finite value at
temperature 0.005.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch

NAMES = ("paper", "cosine", "monai")
LABELS = {"paper": "ours, paper", "cosine": "ours, cosine", "monai": "monai ContrastiveLoss"}


def make_step(name: str, n: int, dim: int, device: str, temperature: float = 0.1) -> Callable[[], float]:
    """One forward and backward pass; returns the loss."""
    from monai.losses import ContrastiveLoss

    from monai_usspeech.losses import CrossModalContrastiveLoss

    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(n, dim, generator=generator).to(device).requires_grad_() for _ in range(3)]
    clip_id = torch.arange(n, device=device)
    losses = {
        "paper": CrossModalContrastiveLoss(),
        "cosine": CrossModalContrastiveLoss("softplus", "speech", "cosine", temperature, symmetric=True),
    }
    peer = ContrastiveLoss(temperature=temperature)

    def step() -> float:
        for values in inputs:
            values.grad = None
        loss = peer(inputs[0], inputs[1]) if name == "monai" else losses[name](*inputs, clip_id=clip_id)
        loss.backward()
        return float(loss.detach())

    return step


def measure(name: str, n: int, dim: int, device: str, repeats: int) -> tuple[float, float]:
    """Median milliseconds and peak mebibytes of one step, in this process."""
    torch.set_num_threads(1)
    make_step(name, 2, dim, device)()  # loads every library that the step needs
    step = make_step(name, n, dim, device)
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter() if on_gpu else time.process_time()
        step()  # ends with the value on the CPU, so the device is done
        times.append((time.perf_counter() if on_gpu else time.process_time()) - start)
    if on_gpu:
        return statistics.median(times[1:]) * 1e3, (torch.cuda.max_memory_allocated() - before) / 2**20
    return statistics.median(times[1:]) * 1e3, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10


def measured_apart(name: str, n: int, args: argparse.Namespace) -> tuple[float, float] | None:
    """:func:`measure` in a process of its own; None when the peer's table of ``(2N)^2 D`` numbers is too large."""
    if name == "monai" and 3 * (2 * n) ** 2 * args.dim * 4 > args.memory * 1e9:
        return None
    command = [sys.executable, __file__, "--one", name, "--sizes", str(n), "--dim", str(args.dim)]
    command += ["--device", args.device, "--repeats", str(args.repeats)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    milliseconds, mebibytes = map(float, output.split()[-2:])
    return milliseconds, mebibytes


def main() -> None:
    """Parse the arguments, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512, 1024])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory", type=float, default=4.0, help="GB that the peer may take")
    parser.add_argument("--one", choices=NAMES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(*measure(args.one, args.sizes[0], args.dim, args.device, args.repeats))
        return
    print(f"{'N':>5}  {'loss':<22} {'ms':>9} {'ratio':>7} {'peak MiB':>9} {'ratio':>7}")
    for n in args.sizes:
        ours = measured_apart("paper", n, args)
        assert ours is not None
        for name in NAMES:
            result = ours if name == "paper" else measured_apart(name, n, args)
            if result is None:
                print(f"{n:>5}  {LABELS[name]:<22} {'-':>9} {'-':>7} {'-':>9} {'-':>7}")
                continue
            ratios = [value / max(base, 0.1) for value, base in zip(result, ours)]
            print(
                f"{n:>5}  {LABELS[name]:<22} {result[0]:>9.2f} {ratios[0]:>7.2f} {result[1]:>9.1f} {ratios[1]:>7.1f}",
                flush=True,
            )
    values = {name: make_step(name, 64, args.dim, args.device, 0.005)() for name in ("cosine", "monai")}
    print(f"temperature 0.005: ours {values['cosine']:.3f}, monai {values['monai']:.3f}")


if __name__ == "__main__":
    main()
