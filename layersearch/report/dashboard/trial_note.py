"""The note of a trial: what it tuned, in which round, what came of it and what it cost."""

from collections.abc import Mapping
from typing import Any

from layersearch.report.dashboard import feasibility
from layersearch.report.dashboard.markdown import code, escaped, link, picture, table
from layersearch.report.page.evidence import Evidence
from layersearch.report.wording import Scale, count, duration, plural, subset_text
from layersearch.space.records import TrialRecord, TrialState
from layersearch.space.subset import Subset

CURVE = "learning_curve.png"  # of one trial
_COSTS = {  # attribute -> in words
    "trainable_parameters": "tuned parameters",
    "added_parameters": "added parameters, with the head",
    "task_bytes": "bytes of the saved task",
    "latency_ms": "added latency (ms)",
    "training_memory_bytes": "bytes to train",
    "flops": "FLOPs",
}
_LINKS = {"profile.png": "the profile", "curves.png": "all learning curves"}


def trial_note(
    record: TrialRecord,
    evidence: Evidence,
    *,
    rounds: Mapping[Subset, str],
    ranks: Mapping[int, int],
    addresses: Mapping[str, str],
) -> str:
    """Markdown.

    Args:
        record: of the trial.
        evidence: of its study.
        rounds: subset -> its part in the rounds of a greedy search.
        ranks: number -> place among the scored subsets, from 1.
        addresses: name of a file of the study, or of the trial -> where the dashboard serves it.
    """
    parts = [f"**{in_words(record.subset, evidence)}**"]
    parts.append(table(_facts(record, evidence, rounds, ranks)))
    if CURVE in addresses:
        parts.append(picture("learning curve", addresses[CURVE]))
    links = [link(words, addresses[name]) for name, words in _LINKS.items() if name in addresses]
    if "report.html" in addresses:
        links.insert(0, link("the report page", addresses["report.html"]))
    parts.append(" · ".join(links))
    return "\n\n".join(part for part in parts if part)


def in_words(subset: Subset | None, evidence: Evidence) -> str:
    """What a trial tunes."""
    if subset is None:
        return "It claimed no subset"
    if not subset:
        return "Tunes no unit, a new head alone: the linear probe"
    if subset == evidence.everything:
        return "Tunes everything and a new head: full finetuning"
    return f"Tunes {code(subset_text(subset.names), longest=1_000)} and a new head"


def _facts(
    record: TrialRecord,
    evidence: Evidence,
    rounds: Mapping[Subset, str],
    ranks: Mapping[int, int],
) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    part = None if record.subset is None else rounds.get(record.subset)
    if part:
        rows.append(("greedy", part))
    rows += _scores(record, evidence, ranks)
    if record.state in (TrialState.PRUNED, TrialState.FAILED) and not feasibility.broken(record):
        rows.append(
            (record.state.value, escaped(record.attributes.get("reason", "no reason given")))
        )
    rows.append(("feasible", feasibility.of_trial(record, evidence)))
    rows += _costs(record)
    if "memo_of" in record.attributes:
        rows.append(("not trained", f"the score is that of trial {record.attributes['memo_of']}"))
    for name, value in record.recipe.items():
        rows.append((escaped(name), escaped(value)))
    return rows


def _scores(
    record: TrialRecord, evidence: Evidence, ranks: Mapping[int, int]
) -> list[tuple[str, str]]:
    if record.score is None:
        return []
    values = evidence.trials[record.number].values
    rows = [(f"validation {escaped(evidence.metric)}", evidence.shown(record.score, record.stderr))]
    rows += [
        (escaped(name), Scale(name).value(value))
        for name, value in zip(evidence.metrics[1:], values[1:], strict=False)
    ]
    if record.fold_scores:
        shown = ", ".join(evidence.scale.number(score) for score in record.fold_scores)
        rows.append(("its folds", shown))
    if record.number in ranks:
        rows.append(("place", f"{ranks[record.number]} of {len(evidence.scored)} scored subsets"))
    return rows


def _costs(record: TrialRecord) -> list[tuple[str, str]]:
    attributes: Mapping[str, Any] = record.attributes
    rows = [
        (words, f"{attributes[name]:.3g}" if name == "latency_ms" else count(attributes[name]))
        for name, words in _COSTS.items()
        if isinstance(attributes.get(name), int | float)
    ]
    seconds, epochs = attributes.get("seconds"), attributes.get("epochs")
    if isinstance(seconds, int | float) and isinstance(epochs, int | float):
        spent = f"{plural(epochs, 'epoch')} in {plural(attributes.get('trainings', 0), 'training')}"
        rows.append(("took", f"{duration(seconds)}, {spent}"))
    return rows
