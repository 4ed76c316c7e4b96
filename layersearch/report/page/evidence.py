"""What the page is made from: a study's records, and its result if the search has ended.

Nothing is trained and nothing is written here; a study without a search's description, made by
another program, is read as far as it goes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import optuna
from optuna.study import StudyDirection

from layersearch.errors import LayersearchError
from layersearch.report.drawing import Scored
from layersearch.report.wording import Scale, look_text
from layersearch.space.bounds import Bounds
from layersearch.space.records import History, TrialRecord, TrialState
from layersearch.space.search_space import SearchSpace
from layersearch.space.subset import Subset
from layersearch.space.unit import Unit
from layersearch.study import attributes as names
from layersearch.study.fingerprint import stored_fingerprint
from layersearch.study.history import history


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a record does not hold: all values, in the study's own directions, and the curve."""

    values: tuple[float, ...]
    curve: Mapping[int, float]  # step -> score


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """A study, as the page needs it."""

    study: str
    metrics: tuple[str, ...]  # one an objective
    directions: tuple[str, ...]  # 'maximize' or 'minimize', one an objective
    history: History
    trials: Mapping[int, Trial]
    made_with: Mapping[str, Any] = field(default_factory=dict)  # the fingerprint's descriptions
    search: Mapping[str, Any] = field(default_factory=dict)  # config, versions, stages, folds
    result: Mapping[str, Any] | None = None
    look: int | None = None  # epochs of the looks that `history` holds as if they were the trials

    @property
    def metric(self) -> str:
        """That of the first objective, by which subsets are chosen."""
        return self.metrics[0]

    @property
    def sign(self) -> float:
        """Turns an oriented score into one in the study's own direction, and back."""
        return 1.0 if self.directions[0] == "maximize" else -1.0

    @cached_property
    def scale(self) -> Scale:
        """How scores are written."""
        return Scale(self.metric)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The search's description; empty where neither result nor study has it."""
        found = (self.result or {}).get("config") or self.search.get("config") or {}
        return found if isinstance(found, Mapping) else {}

    @cached_property
    def folds(self) -> int | None:
        """That a trial is trained on; a budget may have taken some of those that the data has."""
        trained = self.search.get("folds")
        return len(trained) if isinstance(trained, list) and trained else self.folds_of_data

    @property
    def folds_of_data(self) -> int | None:
        """Into which the training samples were divided."""
        described = (self.made_with.get("data") or {}).get("folds")
        count = described.get("count") if isinstance(described, Mapping) else None
        return count if isinstance(count, int) else None

    @cached_property
    def scored(self) -> tuple[TrialRecord, ...]:
        """The best trial of each subset that has a score, the best first."""
        records = [r for r in self.history.scores.values() if r.score is not None]
        return tuple(sorted(records, key=lambda r: (-(r.score or 0.0), self.size(r), r.number)))

    @cached_property
    def scores(self) -> Mapping[Subset, Scored]:
        """Subset -> score, in the study's own direction."""
        return {
            r.subset: Scored(mean=self.sign * float(r.score or 0.0), stderr=r.stderr)
            for r in self.scored
            if r.subset is not None
        }

    @cached_property
    def by_looks(self) -> "Evidence | None":
        """The looks of a race as if they were the trials; None where there are none with a score.

        Scores of looks and of whole schedules are never compared: what is shown of a study is shown
        of the one or of the other.
        """
        lengths = self.history.look_lengths
        if not lengths or self.look is not None:
            return None
        looks = [r.as_trial() for r in self.history if r.look == lengths[0]]
        return replace(self, history=History(looks), look=lengths[0])

    @property
    def compared(self) -> "Evidence":
        """The trials that the answer goes by: looks, where it has no other score."""
        looks = self.by_looks
        if looks is None or not looks.scored:
            return self
        own = None if self.result is None else self.chosen
        known = bool(self.scored) if own is None else own in self.scores
        return self if known or (own is not None and own not in looks.scores) else looks

    @property
    def searched(self) -> "Evidence":
        """The trials that the strategy goes by: looks, where it races."""
        section = self.config.get("strategy")
        racing = isinstance(section, Mapping) and section.get("protocol") == "fast"
        return self.by_looks or self if racing else self

    @property
    def profiled(self) -> "Evidence":
        """The trials that tell most of the units by themselves."""
        looks = self.by_looks
        if looks is None:
            return self
        singles = [Subset([unit.name]) for unit in self.units]
        here, there = (sum(s in found.scores for s in singles) for found in (self, looks))
        return looks if there > here else self

    @property
    def how(self) -> str:
        """', by looks of 1 epoch', to be added to what is shown; empty for whole schedules."""
        return "" if self.look is None else f", by {look_text(self.look)}"

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """By depth; of a study that does not say, those of its subsets, as they came."""
        space = self.made_with.get("space") or {}
        described = space.get("units") if isinstance(space, Mapping) else None
        if described:
            units = [
                Unit(
                    name=str(u["name"]), depth=int(u["depth"]), numel=int(u["numel"]), parameters=()
                )
                for u in described
            ]
            return tuple(sorted(units, key=lambda unit: unit.depth))
        seen = dict.fromkeys(name for r in self.history for name in r.subset or ())
        return tuple(Unit(name=name, depth=i, parameters=()) for i, name in enumerate(seen))

    @cached_property
    def unit_names(self) -> tuple[str, ...]:
        """By depth."""
        return tuple(unit.name for unit in self.units)

    @cached_property
    def space(self) -> SearchSpace | None:
        """The search space; None where the study does not say."""
        described = self.made_with.get("space")
        if not isinstance(described, Mapping):
            return None
        bounds: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in described["bounds"].items()
        }
        limits = described.get("limits") or {}
        try:
            return SearchSpace(
                self.units,
                bounds=Bounds(**bounds),
                limits=limits,
                costs=self._recorded_costs(limits) if limits else None,
            )
        except LayersearchError:
            return None

    def _recorded_costs(self, limits: Mapping[str, float]) -> Any:
        """Costs as trials recorded them; what was never tried counts as out of the space."""
        known = {r.subset: r.attributes for r in self.history if r.subset is not None}

        def costs(subset: Subset) -> Mapping[str, float]:
            attributes = known.get(subset, {})
            return {
                name: float(attributes.get(name, float("inf")))
                for name in limits
                if name != "trainable_parameters"
            }

        return costs

    @cached_property
    def chosen(self) -> Subset | None:
        """What the search chose, or the best so far; None before anything is scored."""
        if self.result is not None:
            return Subset(map(str, self.result["subset"]))
        found = self.scored or (self.by_looks.scored if self.by_looks is not None else ())
        return found[0].subset if found else None

    @property
    def everything(self) -> Subset:
        """All units: full finetuning."""
        return Subset(self.unit_names)

    def size(self, record: TrialRecord) -> int:
        """Tuned parameters of a trial, its head not counted."""
        value = record.attributes.get("trainable_parameters")
        if isinstance(value, int | float):
            return int(value)
        return sum(u.numel for u in self.units if record.subset and u.name in record.subset)

    def of_state(self, state: TrialState) -> list[TrialRecord]:
        """The trials that ended so, in order."""
        return [record for record in self.history if record.state is state]

    def shown(self, score: float | None, stderr: float | None = None) -> str:
        """An oriented score in words."""
        return self.scale.value(None if score is None else self.sign * score, stderr)


def read_evidence(study: optuna.Study, result: Mapping[str, Any] | None = None) -> Evidence:
    """What the page needs of a study.

    Args:
        study: is only read.
        result: of the search (see `results`), if it has ended.
    """
    attrs = study.user_attrs
    made_with = stored_fingerprint(study)
    directions = tuple(
        d.name.lower() if d is not StudyDirection.NOT_SET else "minimize" for d in study.directions
    )
    search = attrs.get(names.SEARCH)
    return Evidence(
        study=study.study_name,
        metrics=_metrics(study, made_with, len(directions)),
        directions=directions,
        history=history(study),
        trials={
            t.number: Trial(values=tuple(t.values or ()), curve=_curve(t))
            for t in study.get_trials(deepcopy=False)
        },
        made_with=made_with,
        search=search if isinstance(search, Mapping) else {},
        result=result,
    )


def _metrics(study: optuna.Study, made_with: Mapping[str, Any], objectives: int) -> tuple[str, ...]:
    described = (made_with.get("objective") or {}).get("metric")
    given: Sequence[Any] = study.metric_names or (
        described if isinstance(described, list) else [described] if described else []
    )
    if len(given) == objectives:
        return tuple(map(str, given))
    return tuple(f"objective {i + 1}" for i in range(objectives)) if objectives > 1 else ("score",)


def _curve(trial: optuna.trial.FrozenTrial) -> Mapping[int, float]:
    if trial.intermediate_values:
        return trial.intermediate_values
    kept = trial.user_attrs.get(names.CURVE)
    return {int(k): float(v) for k, v in kept.items()} if isinstance(kept, Mapping) else {}
