# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Gradient clipping for MONAI trainers, which says how often it acts."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents

from monai_usspeech.engines.trainer import iteration_output, step_is_due

__all__ = ["GradientClipHandler"]


class GradientClipHandler:
    """Clip the gradients of each optimiser step, and say how often that happened.

    Acts after the backward pass of those iterations at which the optimiser steps. Under mixed precision the gradients
    are unscaled first; a step whose gradients are not finite is then left to the gradient scaler, which skips it and
    halves its scale. A long row of such steps is no matter of scale and is an error. Without mixed precision a gradient
    that is not finite is an error at once.

    ``engine.state.output["gradient"]`` holds ``gradient_norm`` (before clipping) and ``clipped`` (0 or 1), whose mean
    over an epoch is the share of clipped steps; with mixed precision also ``skipped`` (0 or 1). A skipped step has no
    norm and counts as neither clipped nor not.

    Args:
        parameters: what to clip; default: every parameter of the engine's optimiser.
        max_norm: the largest global 2-norm. The paper says only that gradients are clipped; 5.0 is this package's
            choice. None: nothing is clipped, and the norm is only watched.
        max_value: clip each element to ``[-max_value, max_value]`` instead; ``max_norm`` is then not used.

    Raises:
        ValueError: when a bound is not positive.
        RuntimeError: while training, when a gradient is not finite and mixed precision is off, or when that has made
            the scaler skip :attr:`MAX_SKIPPED` steps in a row.
    """

    MAX_SKIPPED = 50
    """Halved as often, the scaler's first scale of 65,536 is down to 6e-11: what is still infinite is so unscaled."""

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter] | None = None,
        max_norm: float | None = 5.0,
        max_value: float | None = None,
    ) -> None:
        bound = max_norm if max_value is None else max_value
        if bound is not None and bound <= 0:
            raise ValueError(f"A clipping bound must be positive, got {bound}.")
        self.parameters = None if parameters is None else list(parameters)
        self.max_norm, self.max_value = max_norm, max_value
        self._skipped = 0

    def attach(self, engine: SupervisedTrainer) -> None:
        """Register with a MONAI trainer."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: SupervisedTrainer) -> None:
        """Clip, when the optimiser is about to step."""
        if not step_is_due(engine):
            return
        if self.parameters is None:
            self.parameters = [p for group in engine.optimizer.param_groups for p in group["params"]]
        # A scaler that is disabled, as it is without a CUDA device, steps whatever the gradients are.
        scaler = engine.scaler if engine.amp and engine.scaler is not None and engine.scaler.is_enabled() else None
        if scaler is not None:
            scaler.unscale_(engine.optimizer)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        report = {} if scaler is None else {"skipped": float(not torch.isfinite(norm))}
        self._skipped = self._skipped + 1 if report.get("skipped") else 0
        if not torch.isfinite(norm) and (scaler is None or self._skipped >= self.MAX_SKIPPED):
            times = f", for the {self._skipped}th step in a row" if scaler is not None else ""
            raise RuntimeError(
                f"The gradient is not finite ({float(norm)}) at iteration {engine.state.iteration}{times}: the step "
                "was not taken. Lower the learning rate or max_norm, or run under "
                "torch.autograd.set_detect_anomaly(True) to find the operation."
            )
        figures = self._clip(gradients, norm)
        iteration_output(engine)["gradient"] = report if report.get("skipped") else {**report, **figures}

    def _clip(self, gradients: list[torch.Tensor], norm: torch.Tensor) -> dict[str, float]:
        """Clip, and say what the norm was and whether it was too large."""
        parameters = self.parameters or []
        if self.max_value is not None:
            clipped = any(bool((gradient.abs() > self.max_value).any()) for gradient in gradients)
            torch.nn.utils.clip_grad_value_(parameters, self.max_value)
        elif self.max_norm is not None:
            clipped = bool(norm > self.max_norm)
            torch.nn.utils.clip_grads_with_norm_(parameters, self.max_norm, norm)
        else:
            return {"gradient_norm": float(norm)}
        return {"gradient_norm": float(norm), "clipped": float(clipped)}
