# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The sentences under the tables: what a mean, a spread and an interval are, and what they rest on."""

from __future__ import annotations

from monai_usspeech.studies.analysis import TaskAnalysis
from monai_usspeech.studies.collect import CollectedCell, CollectedStudy

__all__ = ["difference_sentences", "few_subjects", "kind_sentences", "pooled_sentence", "resampling_sentence",
           "spread_sentence", "support_sentence", "task_title"]  # fmt: skip

_COUNTED_OF_IMAGES = {"frames": "images", "scans": "files", "subjects": "groups"}
"""What the runs' counts are of an image set."""
FEW_SUBJECTS = 5
"""With fewer test subjects an interval is printed with a warning."""


def task_title(study: CollectedStudy, task: str) -> str:
    """The name of a task for headings."""
    return str(study.tasks[task].get("title") or task.replace("_", " ").capitalize())


def support_sentence(study: CollectedStudy, task: TaskAnalysis) -> str:
    """How much was tested on: frames, scans and subjects (of an image set: images, files and groups), summed over
    folds, of one method and seed."""
    counts: dict[str, float] = {}
    seen: set[int] = set()
    complete = sorted(study.of_task(task.key), key=lambda cell: cell.seed)
    for cell in complete:
        if cell.finished and cell.fold not in seen:
            seen.add(cell.fold)
            for name, value in cell.results.get("counts", {}).items():
                if isinstance(value, (int, float)) and name != "n":  # of retrieval: the same as its frames
                    counts[name] = counts.get(name, 0) + value
    if not counts:
        return ""
    words = _COUNTED_OF_IMAGES if task.kind == "image_set" else {}
    listed = ", ".join(f"{value:,.0f} {words.get(name, name).replace('_', ' ')}" for name, value in counts.items())
    return f"Tested on {listed}; summed over {_plural(len(seen), 'fold')}."


def spread_sentence(task: TaskAnalysis) -> str:
    """What stands behind ± in the table of scores."""
    summaries = [summary for metrics in task.summaries.values() for summary in metrics.values()]
    folds, seeds = any(s.sd_folds is not None for s in summaries), any(s.sd_seeds is not None for s in summaries)
    if not summaries:
        return "No run of this task has finished."
    if not folds and not seeds:
        return "One run per method: there is no spread to report, and differences may be chance."
    if not folds:
        return "One fold: the mean is over seeds; beside it the standard deviation (n − 1) over seeds."
    text = "Mean ± standard deviation (n − 1) over folds"
    if not seeds:
        return text + ", one seed. Folds share training subjects: this is no standard error."
    return (
        text + ", seeds averaged within a fold first; beside it, the standard deviation over the seeds of one fold,"
        " pooled over folds. Folds share training subjects: neither is a standard error."
    )


OPTIMISTIC = (
    "Optimistic: the weights are those of the epoch that scores best on the very images that are reported (selection"
    " best_test_epoch, as in the evaluation released with HiCo, protocol hico_code). Compare such rows with one another"
    " alone."
)
"""Said of runs whose weights were chosen on their test fold."""

POOLED_SENTENCES = {
    "image_set": "Scores of the confusion matrix of all folds together, seeds averaged: they differ a little from the"
    " mean over folds, because folds differ in size and in their share of each class.",
    "standard_plane": "Scores of the confusion matrix of all folds together, seeds averaged: they differ a little from"
    " the mean over folds, because rare planes weigh otherwise.",
    "gaze_saliency": "Means over the frames of all folds together, seeds averaged: they differ a little from the mean"
    " over folds, because folds differ in their number of frames.",
    "retrieval": "Share of the queries of all folds together, seeds averaged.",
}


def pooled_sentence(task: TaskAnalysis) -> str:
    """What the scores are that intervals belong to."""
    return POOLED_SENTENCES.get(task.kind, "")


def resampling_sentence(task: TaskAnalysis) -> str:
    """How the intervals were made and what they say."""
    gallery = " Subjects are drawn as queries; what is searched stays as it was." if task.kind == "retrieval" else ""
    return (
        f"Intervals: the middle 95 % of {task.n_resamples:,} resamples of the {task.n_subjects} test subjects (whole"
        f" subjects, with replacement, within folds; the same draws for all methods).{gallery} They say what"
        " other subjects would change, not what other training runs would."
    )


def difference_sentences(task: TaskAnalysis, reference: str) -> list[str]:
    """What the numbers in the table of differences from the method of that title are."""
    found = [item for metrics in task.seed_differences.values() for item in metrics.values()]
    seeds, subjects = any(item.interval for item in found), any(map(bool, task.difference_intervals.values()))
    sentences = [
        f"Method minus {reference}, run by run over the (fold, seed) pairs that both finished: mean ± standard"
        " deviation (n − 1) over pairs. Runs of one fold share their test subjects, so pairs are not independent.",
    ]
    if any(metric.percent for metric in task.metrics):
        sentences.append("Percent columns are in percentage points.")
    if seeds:
        sentences.append("Seeds: 95 % interval (Student's t) of the difference over seeds, folds averaged first. It"
                         " says what other training runs would change.")  # fmt: skip
    elif found:
        sentences.append("Fewer than two seeds: what other training runs would change is not known.")
    if subjects:
        sentences.append("Subjects: 95 % interval of the difference of the pooled scores, from the resamples of test"
                         " subjects that the next table is made of.")  # fmt: skip
    if seeds or subjects:
        sentences.append("Not resolved: an interval contains 0, so the sign of the difference is open. The intervals"
                         " are not corrected for the number of comparisons.")  # fmt: skip
    return sentences


def few_subjects(task: TaskAnalysis) -> list[str]:
    """A warning when intervals rest on fewer than five subjects."""
    if task.n_subjects >= FEW_SUBJECTS:
        return []
    return [f"Only {_plural(task.n_subjects, 'test subject')}: too few for the intervals to mean much."]


def kind_sentences(study: CollectedStudy, task: TaskAnalysis) -> list[str]:
    """What the columns of a kind of task mean."""
    if task.kind == "standard_plane":
        return ["Macro averages over the planes of a test fold: F1 is the mean of the planes' F1, not the harmonic mean"
                " of the columns before it; a plane neither shown nor predicted in a fold is left out."]  # fmt: skip
    if task.kind == "image_set":
        return ["Accuracy is over the images of a test fold; the others are macro averages over its classes (F1: the"
                " mean of the classes' F1). A test subject is a group of the list, a video or a patient.",
                *_protocol_sentences(study, task)]  # fmt: skip
    if task.kind == "gaze_saliency":
        return ["Means over frames with gaze. AUC (Judd) is the primary AUC: it lies above 0.5 by chance when fixations"
                " are few; AUC (exact) is 0.5 by chance. KL (nats), NSS, CC and SIM depend on the map size and blur, so"
                " compare them within this study only."]  # fmt: skip
    if task.kind == "retrieval":
        pools = {cell.results.get("counts", {}).get("n") for cell in study.of_task(task.key) if cell.finished}
        sizes = sorted(int(pool) for pool in pools if isinstance(pool, (int, float)))
        chance = f" Chance of R@k is k / n; n is {' or '.join(map(str, sizes))}." if sizes else ""
        return ["V→S: the speech of a clip is looked for with its video; S→V: the other way. R@k: share of queries"
                " whose own partner is among the k nearest; ties count against." + chance]  # fmt: skip
    return []


def _protocol_sentences(study: CollectedStudy, task: TaskAnalysis) -> list[str]:
    """A warning when runs chose their weights on the test fold, with the methods when not all did."""
    finished = [cell for cell in study.of_task(task.key) if cell.finished]
    methods = list(dict.fromkeys(cell.method for cell in finished if _chosen_on_test(cell)))
    if not methods:
        return []
    if all(map(_chosen_on_test, finished)):
        return [OPTIMISTIC]
    return [f"{OPTIMISTIC} They are: {', '.join(map(study.title, methods))}."]


def _chosen_on_test(cell: CollectedCell) -> bool:
    details = cell.results.get("details", {})
    return bool(details.get("protocol") == "hico_code" or details.get("selection") == "best_test_epoch")


def _plural(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
