# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Metrics: pure ``compute_*`` functions and their ``CumulativeIterationMetric`` twins."""

from __future__ import annotations

from monai_usspeech.metrics.classification import (
    ClassificationScores,
    MacroClassificationMetric,
    confusion_matrix_of,
    scores_from_confusion,
)
from monai_usspeech.metrics.fixations import (
    NormalizedScanpathSaliency,
    SaliencyAUC,
    chance_auc_judd,
    compute_nss,
    compute_saliency_auc,
)
from monai_usspeech.metrics.frame_mean import FrameMeanMetric
from monai_usspeech.metrics.retrieval import (
    RetrievalMedianRank,
    RetrievalRecall,
    compute_retrieval_ranks,
    compute_retrieval_recall,
    compute_retrieval_scores,
    retrieval_chance,
)
from monai_usspeech.metrics.saliency_maps import (
    SaliencyCC,
    SaliencyKL,
    SaliencySIM,
    compute_saliency_cc,
    compute_saliency_kl,
    compute_saliency_sim,
)
from monai_usspeech.metrics.shuffled_auc import ShuffledSaliencyAUC, compute_shuffled_auc, other_fixations
from monai_usspeech.metrics.synchronisation import (
    compute_candidate_similarity,
    compute_synchronisation_scores,
    synchronisation_chance,
)

__all__ = [
    "ClassificationScores",
    "FrameMeanMetric",
    "MacroClassificationMetric",
    "NormalizedScanpathSaliency",
    "RetrievalMedianRank",
    "RetrievalRecall",
    "SaliencyAUC",
    "SaliencyCC",
    "SaliencyKL",
    "SaliencySIM",
    "ShuffledSaliencyAUC",
    "chance_auc_judd",
    "compute_candidate_similarity",
    "compute_nss",
    "compute_retrieval_ranks",
    "compute_retrieval_recall",
    "compute_retrieval_scores",
    "compute_saliency_auc",
    "compute_saliency_cc",
    "compute_saliency_kl",
    "compute_saliency_sim",
    "compute_shuffled_auc",
    "compute_synchronisation_scores",
    "confusion_matrix_of",
    "other_fixations",
    "retrieval_chance",
    "scores_from_confusion",
    "synchronisation_chance",
]
