"""How sure a search is of its choice: against the runner-up, the baselines, and what is as good.

Only scores of one schedule are compared: those of the whole recipe with each other, and in a race
the looks of one length with each other. The statistics are those of `objectives.best`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any

from layersearch.build.choosing import Choice, distinct_trials, recipe_numbers
from layersearch.build.components import Components
from layersearch.objectives import LEVEL, Best, Interval
from layersearch.space import History, SearchSpace, Subset, TrialRecord

LISTED = 50  # subsets that are as good, in the result
# What makes a subset cheap: the first of these that values or constraints are about, else how many
# parameters it tunes.
COSTS = (
    "latency_ms",
    "training_memory_bytes",
    "step_multiply_adds",
    "added_parameters",
    "task_bytes",
)
SIZE = "trainable_parameters"
# Per-sample correctness stands for the score if its mean is the score up to this much: folds of
# unequal size make a mean over folds differ a little from the pooled mean.
_SAME_METRIC = 0.01


def confidence(parts: Components, history: History, choice: Choice) -> dict[str, Any] | None:
    """How the chosen subset stands against all others that were scored.

    Args:
        parts: of the search.
        history: its trials.
        choice: what it came to.

    Returns: as `report.results` describes it, the schedule by which the choice was made first. None
        before there is a choice, and with several values, where the front tells what is as good.
    """
    if choice.record is None or choice.subset is None or parts.objective.several:
        return None
    cost = next((name for name in COSTS if name in parts.objective.costs), SIZE)
    everything = Subset(unit.name for unit in parts.space.units)
    lengths = dict.fromkeys((choice.look, None, *history.look_lengths))
    contests = [
        Contest.of(history, look, choice, space=parts.space, cost=cost, everything=everything)
        for look in lengths
    ]
    sign = 1.0 if parts.objective.direction == "maximize" else -1.0
    schedules = [contest.describe(sign=sign) for contest in contests if contest is not None]
    return {"level": LEVEL, "cost": cost, "schedules": schedules}


@dataclass(frozen=True, kw_only=True, eq=False)
class Contest:
    """All that was scored by one schedule, and the chosen subset among it."""

    trials: tuple[TrialRecord, ...]  # the chosen one first
    space: SearchSpace
    cost: str
    everything: Subset
    look: int | None = None

    @classmethod
    def of(
        cls,
        history: History,
        look: int | None,
        choice: Choice,
        *,
        space: SearchSpace,
        cost: str,
        everything: Subset,
    ) -> "Contest | None":
        """The contest of one schedule; None where the chosen subset has no score by it."""
        records = [
            record
            for record in (
                distinct_trials(history)
                if look is None
                else list(history.by_schedule(look).values())
            )
            if record.score is not None and isfinite(record.score)
        ]
        assert choice.subset is not None
        if choice.look == look:
            mine = choice.record
        else:
            mine = history.by_schedule(look).get(choice.subset)
        if mine is None or mine.score is None:
            return None
        others = [record for record in records if record.number != mine.number]
        return cls(trials=(mine, *others), space=space, cost=cost, everything=everything, look=look)

    @cached_property
    def best(self) -> Best:
        """The scores, compared."""
        return Best(
            [_score(record) for record in self.trials],
            correct=[_correct(record) for record in self.trials],
            folds=[record.fold_scores for record in self.trials],
            stderrs=[record.stderr for record in self.trials],
        )

    @cached_property
    def places(self) -> Mapping[Subset, int]:
        """The best trial of each other subset that may be chosen, the best subset first."""
        chosen = self.trials[0].subset
        ranked = sorted(
            range(1, len(self.trials)),
            key=lambda place: (-_score(self.trials[place]), self.trials[place].number),
        )
        found: dict[Subset, int] = {}
        for place in ranked:
            subset = self.trials[place].subset
            if subset is not None and subset != chosen and subset in self.space:
                found.setdefault(subset, place)
        return found

    def describe(self, *, sign: float) -> dict[str, Any]:
        """As JSON; scores in the study's own direction, which `sign` restores."""
        good = self.best.good
        as_good = [] if good is None else self._as_good()
        runner_up = next(iter(self.places.values()), None)
        return {
            "look_epochs": self.look,
            "compared": len({record.subset for record in self.trials}),
            "trials": len(self.trials),
            "on": self.best.basis,
            "count": self.best.pairs,
            "method": self.best.method,
            "chosen": self._entry(0, sign=sign),
            "runner_up": None if runner_up is None else self._entry(runner_up, sign=sign),
            "baselines": {
                name: self._entry(place, sign=sign)
                for name, subset in (
                    ("linear_probe", Subset()),
                    ("full_finetune", self.everything),
                )
                if (place := self._place(subset)) is not None
            },
            "as_good": [self._entry(place, sign=sign) for place in as_good[:LISTED]],
            "as_good_count": None if good is None else len(as_good),
        }

    def _as_good(self) -> list[int]:
        """Places of other subsets that may be the best, the cheapest first."""
        good = self.best.good
        assert good is not None
        found = {place: subset for subset, place in self.places.items() if good[place]}
        return sorted(
            found,
            key=lambda place: (
                self._cost(found[place], self.cost),
                self._cost(found[place], SIZE),
                -_score(self.trials[place]),
            ),
        )

    def _place(self, subset: Subset) -> int | None:
        """The best trial of a subset that need not be in the space; None: it is the chosen one."""
        if subset == self.trials[0].subset:
            return None
        places = [i for i, record in enumerate(self.trials) if record.subset == subset]
        return max(places, key=lambda place: _score(self.trials[place]), default=None)

    def _entry(self, place: int, *, sign: float) -> dict[str, Any]:
        record = self.trials[place]
        assert record.subset is not None
        entry: dict[str, Any] = {
            "subset": list(record.subset),
            "trial": record.number,
            "recipe": recipe_numbers(record),
            "may_be_best": None if self.best.good is None else bool(self.best.good[place]),
            "score": {"mean": sign * _score(record), "stderr": record.stderr},
            "costs": {
                name: self._cost(record.subset, name) for name in dict.fromkeys((self.cost, SIZE))
            },
        }
        if place:
            entry["against"] = _against(
                self.best.interval(0, place),
                difference=_score(self.trials[0]) - _score(record),
                samples=self.best.pairs if self.best.basis == "samples" else 0,
            )
        return entry

    def _cost(self, subset: Subset, name: str) -> float:
        if name == SIZE:
            return self.space.trainable_parameters(subset)
        return float(self.space.costs(subset)[name])


def _against(interval: Interval | None, *, difference: float, samples: int) -> dict[str, Any]:
    """As `report.Comparison` reads it."""
    known: dict[str, Any] = {"stderr": None, "low": None, "high": None, "verdict": "unknown"}
    if interval is not None:
        known = {
            "stderr": interval.stderr,
            "low": interval.low,
            "high": interval.high,
            "verdict": interval.verdict,
        }
    return {"difference": difference, **known, "seeds": 1, "samples": samples}


def _score(record: TrialRecord) -> float:
    assert record.score is not None
    return record.score


def _correct(record: TrialRecord) -> Any:
    """Which samples were right, if the score is their share."""
    correct = record.correct
    if correct is None or len(correct) == 0:
        return None
    return correct if abs(float(correct.mean()) - _score(record)) <= _SAME_METRIC else None
