# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The metrics inside MONAI's evaluator, configured as the documentation shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.engines import SupervisedEvaluator
from monai.handlers import IgniteMetricHandler, from_engine

import monai_usspeech.metrics  # noqa: F401 (MONAI finds components of imported modules)
from monai_usspeech.metrics import (
    MacroClassificationMetric,
    RetrievalRecall,
    SaliencyAUC,
    ShuffledSaliencyAUC,
    compute_nss,
    compute_retrieval_recall,
    compute_saliency_auc,
    compute_saliency_cc,
    compute_saliency_kl,
    compute_saliency_sim,
    compute_shuffled_auc,
    confusion_matrix_of,
    other_fixations,
    scores_from_confusion,
)

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


class Same(torch.nn.Module):
    """A network that returns its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def evaluator(items, handlers, decollate=False, label="label", batch_size=4):
    batches = [
        {key: torch.stack([item[key] for item in items[i : i + batch_size]]) for key in items[0]}
        for i in range(0, len(items), batch_size)
    ]

    def prepare(batch, device, non_blocking, **_):
        targets = {key: batch[key] for key in label} if isinstance(label, list) else batch[label]
        return batch["image"], targets

    key, *rest = handlers
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=batches,
        network=Same(),
        prepare_batch=prepare,
        key_val_metric={key: handlers[key]},
        additional_metrics={name: handlers[name] for name in rest},
        decollate=decollate,
    )


def saliency_frames(n=10):
    generator = torch.Generator().manual_seed(0)
    frames = []
    for i in range(n):
        fixations = torch.rand(6, 7, generator=generator) < (0 if i == 3 else 0.2)
        saliency = fixations * torch.rand(6, 7, generator=generator)
        frames.append({"image": torch.rand(1, 6, 7, generator=generator), "fixations": fixations, "saliency": saliency})
    return frames


def test_the_saliency_example_of_the_documentation_runs_as_printed():
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)]
    (shown,) = (block for block in blocks if "saliency_metrics" in block)
    handlers = ConfigParser(shown).get_parsed_content("saliency_metrics")
    frames = saliency_frames()
    engine = evaluator(frames, handlers, label=["fixations", "saliency"])
    engine.run()
    engine.run()  # a second epoch starts from nothing
    pred = torch.stack([frame["image"][0] for frame in frames])
    fixations, target = (torch.stack([frame[key] for frame in frames]) for key in ("fixations", "saliency"))
    expected = {
        "kl": compute_saliency_kl(pred, target),
        "nss": compute_nss(pred, fixations),
        "auc_judd": compute_saliency_auc(pred, fixations),
        "auc_exact": compute_saliency_auc(pred, fixations, "exact"),
        "shuffled_auc": compute_shuffled_auc(pred, fixations, other_fixations(fixations)),
        "cc": compute_saliency_cc(pred, target),
        "sim": compute_saliency_sim(pred, target),
        "sim_plain": compute_saliency_sim(pred, target, "plain"),
    }
    assert set(engine.state.metrics) == set(expected)
    for name, values in expected.items():
        assert values.isnan().sum() == 1
        assert engine.state.metrics[name] == pytest.approx(values.nanmean().item(), abs=1e-14), name
        torch.testing.assert_close(engine.state.metric_details[name], values, equal_nan=True)
        metric = handlers[name].metric_fn
        assert (metric.n_frames, metric.n_counted) == (10, 9)


@pytest.mark.parametrize("decollate", [False, True])
def test_classification_and_its_macro_mean(decollate):
    generator = torch.Generator().manual_seed(1)
    items = [
        {"image": torch.rand(5, generator=generator), "label": torch.randint(0, 4, (), generator=generator)}
        for _ in range(22)
    ]
    names = ("f1", "precision", "recall", "accuracy")
    output = from_engine(["pred", "label"])
    handlers = {n: IgniteMetricHandler(MacroClassificationMetric(n, 5), output_transform=output) for n in names}
    engine = evaluator(items, handlers, decollate)
    engine.run()
    pred = torch.stack([item["image"] for item in items]).argmax(1)
    label = torch.stack([item["label"] for item in items])
    scores = scores_from_confusion(confusion_matrix_of(pred, label, 5))
    for name in names:
        assert engine.state.metrics[name] == pytest.approx(float(getattr(scores, name)), abs=1e-14)


@pytest.mark.parametrize("decollate", [False, True])
def test_retrieval_among_all_batches(decollate):
    generator = torch.Generator().manual_seed(2)
    video = torch.randn(22, 6, generator=generator)
    speech = video + torch.randn(22, 6, generator=generator)
    items = [{"image": v, "label": s} for v, s in zip(video, speech)]
    output = from_engine(["pred", "label"])
    handlers = {
        direction: IgniteMetricHandler(RetrievalRecall(3, direction), output_transform=output)
        for direction in ("video_to_speech", "speech_to_video")
    }
    engine = evaluator(items, handlers, decollate)
    engine.run()
    expected = compute_retrieval_recall(video, speech, 3)
    assert tuple(engine.state.metrics[name] for name in handlers) == pytest.approx(expected, abs=1e-15)


def test_a_run_in_which_nobody_looked_has_no_value_and_says_so():
    frames = saliency_frames(4)
    for frame in frames:
        frame["fixations"][:] = False
    output = from_engine(["pred", "label"])
    metrics = {"auc_judd": SaliencyAUC(), "shuffled_auc": ShuffledSaliencyAUC()}
    handlers = {name: IgniteMetricHandler(metric, output_transform=output) for name, metric in metrics.items()}
    engine = evaluator(frames, handlers, label="fixations")
    engine.run()
    for name, metric in metrics.items():
        assert engine.state.metrics[name] != engine.state.metrics[name]
        assert (metric.n_frames, metric.n_counted) == (4, 0)


def test_the_plane_example_of_the_documentation_says_what_it_shows(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    exec(block, {})
    f1 = scores_from_confusion(confusion_matrix_of([0, 0, 2, 1], [0, 0, 1, 1], 4)).f1
    printed = capsys.readouterr().out
    assert printed.startswith(str(f1)) and "nan" in printed
