"""What the search cost against one full finetuning, and without caching and pruning.

Without the cache of frozen prefixes, every step of a training also runs the stages before the first
tuned one, and every validation the whole network; without pruning, every pruned trial trains all
its epochs. Both follow from what trials recorded and the multiply-adds of the chain's stages; the
fitting of heads, and what an epoch of a batch costs beyond multiply-adds, are not counted.

f: the first stage with a tuned unit; m_s: multiply-adds of stage s for one sample, forward.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from layersearch.report.page.curves import epochs_of
from layersearch.report.page.evidence import Evidence
from layersearch.report.page.section import Section, Table
from layersearch.report.wording import count, duration, times
from layersearch.space.records import TrialRecord, TrialState

_AMOUNTS = ("trainings", "epochs", "flops", "seconds")
_NAMES = {
    "trainings": "trainings (a fold of a subset)",
    "epochs": "epochs",
    "flops": "FLOPs (computed)",
    "seconds": "time (measured)",
}


@dataclass(frozen=True, kw_only=True)
class Computed:
    """FLOPs and epochs that trials take, by the formulas."""

    cached: float
    uncached: float
    unpruned: float  # nor cached
    epochs: int  # as they were
    unpruned_epochs: int
    trainings: int
    unpruned_trainings: int


def cost_section(evidence: Evidence) -> Section | None:
    """None before anything was trained."""
    spent = spent_by(evidence)
    if not spent.get("trainings") and not spent.get("epochs"):
        return None
    full = (evidence.result or {}).get("cost_of_full_finetune") or {}
    head, rows = _against_full(spent, full)
    tables = [Table(caption="The search, with all its trials", head=head, rows=rows)]
    notes = [
        (
            "Trainings and epochs are counted as they happened; seconds were measured, on the "
            "machine and with the workers of the search; FLOPs are computed from the multiply-adds "
            "of the network's stages, forward, and backward where there is something to tune. "
            "Retraining the winner and the baselines is not part of the search."
        ),
    ]
    if evidence.result is None:
        notes.append("Seconds are those of the trials added together: several may run at a time.")
    without = computed(evidence)
    if without is None:
        notes.append(
            "What it would have cost without caching is not known: this study does not hold the "
            "multiply-adds of its stages."
        )
    else:
        tables.append(_without(without))
        notes.append(
            "Without caching and pruning: computed, not measured, from what each trial trained. "
            "Stored features also cost time to write and read, which multiply-adds do not show."
        )
        if any(_amount(r, "epochs") and not _amount(r, "flops") for r in evidence.history):
            notes.append(
                "Trials that were stopped early record no FLOPs: they are computed in the table of "
                "savings, and left out of the one above it."
            )
    return Section(
        key="cost",
        title="What the search cost",
        lead=_lead(spent, full, without),
        tables=tables,
        notes=notes,
    )


def spent_by(evidence: Evidence) -> Mapping[str, float]:
    """What all trials took together: as the result says, or added up."""
    known = (evidence.result or {}).get("cost")
    if isinstance(known, Mapping):
        return {name: known[name] for name in _AMOUNTS if known.get(name) is not None}
    return {name: sum(_amount(r, name) for r in evidence.history) for name in _AMOUNTS}


def _amount(record: TrialRecord, name: str) -> float:
    value = record.attributes.get(name, 0)
    return value if isinstance(value, int | float) and "memo_of" not in record.attributes else 0


def _against_full(
    spent: Mapping[str, float], full: Mapping[str, float]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    head = ("", "the search") + (("one full finetuning", "ratio") if full else ())
    rows = []
    for name in _AMOUNTS:
        if name not in spent:
            continue
        row = [_NAMES[name], _written(name, spent[name])]
        if full:
            one = full.get(name)
            row += [
                _written(name, one) if one is not None else "",
                times(spent[name] / one) if one else "",
            ]
        rows.append(tuple(row))
    return head, rows


def _written(name: str, amount: float) -> str:
    if name == "seconds":
        return duration(amount)
    return count(amount) if name == "flops" else f"{amount:,.0f}"


def _without(found: Computed) -> Table:
    def row(name: str, trainings: int, epochs: int, flops: float) -> tuple[str, ...]:
        known = found.cached and flops != found.cached
        ratio = times(flops / found.cached) if known else ""
        return (name, f"{trainings:,}", f"{epochs:,}", count(flops), ratio)

    rows = [
        row("as it ran", found.trainings, found.epochs, found.cached),
        row("without caching", found.trainings, found.epochs, found.uncached),
        row(
            "without caching and pruning",
            found.unpruned_trainings,
            found.unpruned_epochs,
            found.unpruned,
        ),
    ]
    return Table(
        caption="What caching and pruning saved (computed)",
        head=("", "trainings", "epochs", "FLOPs", "against as it ran"),
        rows=rows,
    )


def _lead(
    spent: Mapping[str, float], full: Mapping[str, float], without: Computed | None
) -> Sequence[str]:
    lead = []
    if full.get("flops") and spent.get("flops"):
        ratio = times(spent["flops"] / full["flops"])
        clock = (
            f" and {times(spent['seconds'] / full['seconds'])} the time"
            if (full.get("seconds") and spent.get("seconds"))
            else ""
        )
        lead.append(f"The whole search took {ratio} the FLOPs{clock} of one full finetuning.")
    if without is not None and without.cached:
        ratio = times(without.unpruned / without.cached)
        lead.append(f"Without caching and pruning it would have taken {ratio} the FLOPs it did.")
    return lead


def computed(evidence: Evidence) -> Computed | None:
    """The counterfactuals; None where the study lacks what they need."""
    stages, folds = evidence.search.get("stages"), evidence.search.get("folds")
    if not _numbers(stages) or not isinstance(folds, list) or not all(map(_numbers, folds)):
        return None
    if not stages or not folds:
        return None
    totals = [0.0, 0.0, 0.0]
    counts = [0, 0, 0, 0]
    for record in evidence.history:
        epochs = int(_amount(record, "epochs"))
        if epochs and record.subset is not None and record.state is not TrialState.RUNNING:
            each = epochs_of(record, evidence) or max(1, epochs // len(folds))
            asked = len(folds) * each if record.state is TrialState.PRUNED else epochs
            cached, uncached = trial_costs(record, evidence, stages, folds)
            spent = _amount(record, "flops") or epochs * cached
            for i, flops in enumerate((spent, epochs * uncached, asked * uncached)):
                totals[i] += flops
            trainings = int(_amount(record, "trainings"))
            whole = len(folds) if record.state is TrialState.PRUNED else trainings
            for i, number in enumerate((epochs, asked, trainings, whole)):
                counts[i] += number
    return Computed(
        cached=totals[0],
        uncached=totals[1],
        unpruned=totals[2],
        epochs=counts[0],
        unpruned_epochs=counts[1],
        trainings=counts[2],
        unpruned_trainings=counts[3],
    )


def trial_costs(
    record: TrialRecord,
    evidence: Evidence,
    stages: Sequence[float],
    folds: Sequence[Sequence[float]],
) -> tuple[float, float]:
    """FLOPs of one epoch of this trial, with the frozen prefix at hand and without.

    Args:
        record: of a trial with a subset.
        evidence: for units and recipe.
        stages: multiply-adds of each stage for one sample; the last is the head.
        folds: samples to train on and to validate on, a pair a fold.
    """
    head = len(stages) - 1
    depths = {u.depth for u in evidence.units if record.subset and u.name in record.subset} | {head}
    first = min(depths)
    suffix, prefix = sum(stages[first:]), sum(stages[:first])
    step = suffix + sum(stages[first + 1 :]) + sum(stages[d] for d in depths if d <= head)
    trained = sum(fold[0] for fold in folds) / len(folds)
    validated = sum(fold[1] for fold in folds) / len(folds) / _validate_every(evidence)
    cached = 2 * (trained * step + validated * suffix)
    return cached, cached + 2 * (trained + validated) * prefix


def _validate_every(evidence: Evidence) -> int:
    value = (evidence.made_with.get("recipe") or {}).get("validate_every", 1)
    return value if isinstance(value, int) and value > 0 else 1


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, int | float) for v in value)
