"""Which subset a search chooses: the best one, or with several values a member of the Pareto front.

What comes after, the retraining and the saved task, is of that subset alone; the others of the
front are kept with the result. Another of them is retrained by the same search with another
`objective.choose`: nothing is trained twice.
"""

from dataclasses import dataclass
from typing import Any

from layersearch.build.components import Components
from layersearch.build.proposing import Proposing
from layersearch.errors import SearchError
from layersearch.objectives import COSTS, Objective, choose, pareto_front
from layersearch.space import History, SearchSpace, Subset, TrialRecord, TrialState
from layersearch.study import attributes as names


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a search came to, so far."""

    subset: Subset | None  # None: there is no score yet
    record: TrialRecord | None  # the trial that the choice goes by
    front: tuple[TrialRecord, ...] = ()  # the best first value first; empty with one value
    front_of: int = 0  # trials that it was found among

    @property
    def look(self) -> int | None:
        """Epochs of the look that the choice goes by; None: it goes by the whole schedule."""
        return None if self.record is None else self.record.look

    @property
    def numbers(self) -> dict[str, Any]:
        """The recipe numbers that the trial was given."""
        return {} if self.record is None else recipe_numbers(self.record)


def choose_subset(parts: Components, proposing: Proposing, history: History) -> Choice:
    """The choice among what has been tried.

    Raises:
        SearchError: the subset that `objective.choose` names has no score.
    """
    if not parts.objective.several:
        chosen = proposing.answer(history)
        return Choice(subset=chosen, record=None if chosen is None else _scored(chosen, history))
    scored = feasible_trials(history, parts.space)
    front = [scored[index] for index in pareto_front([record.values for record in scored])]
    rule = parts.config.objective.choose
    if not isinstance(rule, str):
        record = _named(parts.space.subset(rule, where="objective.choose"), history, front)
    elif front:
        values = [record.values for record in front]
        record = front[choose(values, rule, stderr=[record.stderr for record in front])]
    else:
        record = None
    return Choice(
        subset=None if record is None else record.subset,
        record=record,
        front=tuple(front),
        front_of=len(scored),
    )


def feasible_trials(history: History, space: SearchSpace) -> list[TrialRecord]:
    """The scored trials that keep all bounds and constraints.

    Of a subset that was trained with several recipes, each counts for itself.
    """
    return [record for record in distinct_trials(history) if record.subset in space]


def recipe_numbers(record: TrialRecord) -> dict[str, Any]:
    """The recipe numbers that a trial was given; the epochs of a look are none of the recipe's."""
    return {k: v for k, v in record.recipe.items() if record.look is None or k != "epochs"}


def distinct_trials(history: History) -> list[TrialRecord]:
    """The scored trials of the whole schedule, of each subset and recipe the first."""
    scored: dict[tuple[Subset, str], TrialRecord] = {}
    for record in history:
        if record.state is TrialState.COMPLETE and record.subset is not None:
            scored.setdefault((record.subset, names.canonical(record.recipe)), record)
    return list(scored.values())


def _scored(subset: Subset, history: History) -> TrialRecord | None:
    """Its trial by the whole schedule; before there is one, its longest look.

    A race that a budget ends may have come to no finalist: the answer then goes by looks.
    """
    lengths = sorted(history.look_lengths, reverse=True)
    found = (history.by_schedule(look).get(subset) for look in (None, *lengths))
    return next((record for record in found if record is not None), None)


def describe_choice(objective: Objective, choice: Choice, rule: Any) -> dict[str, Any]:
    """Values, front and rule for the result; empty with one value."""
    if not objective.several:
        return {}
    return {
        "metrics": [
            {"name": name, "direction": direction}
            for name, direction in zip(objective.names, objective.directions, strict=True)
        ],
        "values": None if choice.record is None else _values(objective, choice.record),
        "choose": rule if isinstance(rule, str) else list(rule),
        "front": [_member(objective, record, choice) for record in choice.front],
        "front_of": choice.front_of,
    }


def _member(objective: Objective, record: TrialRecord, choice: Choice) -> dict[str, Any]:
    errors = record.attributes.get(names.STDERRS) or [record.stderr]
    return {
        "trial": record.number,
        "subset": list(record.subset or ()),
        "recipe": dict(record.recipe),
        "values": _values(objective, record),
        "stderrs": dict(zip(objective.names, errors, strict=False)),
        "costs": {name: record.attributes[name] for name in COSTS if name in record.attributes},
        "chosen": choice.record is not None and record.number == choice.record.number,
    }


def _values(objective: Objective, record: TrialRecord) -> dict[str, float]:
    """By name, in the metrics' own directions."""
    return {
        name: value if direction == "maximize" else -value
        for name, direction, value in zip(
            objective.names, objective.directions, record.values, strict=True
        )
    }


def _named(subset: Subset, history: History, front: list[TrialRecord]) -> TrialRecord:
    record = history.scores.get(subset)
    if record is None:
        tried = ", ".join(str(member.subset) for member in front[:5]) or "nothing"
        raise SearchError(
            f"objective.choose: {subset} was not trained, or keeps not to a constraint; on the "
            f"front are {tried}{' …' if len(front) > 5 else ''}"
        )
    return record
