"""The last test: the winner and the baselines, retrained and compared on the test split.

The runner-up of the search may be one of them: retrained and tested as the winner is, on samples
that no search sees, it tells whether the search could tell the two apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from layersearch.build.components import Components
from layersearch.build.retrainings import Retrainings
from layersearch.execution.observer import Observers
from layersearch.execution.standing import RetrainingNow
from layersearch.objectives import Objective, standard_error
from layersearch.report import compare
from layersearch.report.confidence import runner_up
from layersearch.space import Subset, contender_name
from layersearch.subtuning import (
    Contender,
    Verdict,
    Workplace,
    contenders,
    judge,
    open_test_split,
)


@dataclass(frozen=True, kw_only=True)
class Tested:
    """What came of it."""

    verdicts: tuple[Verdict, ...]  # the chosen subset's first
    failed: Mapping[str, str]  # baselines that could not be retrained, with why


@dataclass(frozen=True, kw_only=True, eq=False)
class FinalTest:
    """Retrains the winner and what it is compared with.

    Args:
        parts: of the search.
        field: the chosen subset first; see `contenders`.
        audience: is told how it goes.
        kept: where finished retrainings are kept.
    """

    parts: Components
    field: Sequence[Contender]
    audience: Observers
    kept: Retrainings

    def run(self, workplace: Workplace) -> Tested:
        """Each in turn; the winner must succeed, a baseline may fail."""
        materials = self.parts.materials
        samples, test = open_test_split(
            materials, workplace, purpose="the winner and the baselines"
        )
        verdicts: list[Verdict] = []
        failed: dict[str, str] = {}
        for contender in self.field:
            try:
                verdict = judge(
                    workplace,
                    contender,
                    samples=materials.data.final_train,
                    test=test,
                    test_labels=samples.labels,
                    objective=materials.objective,
                    seeds=self.parts.config.final.seeds,
                    seed=materials.seed,
                    after_seed=self._after_seed,
                    after_epoch=self._after_epoch,
                    kept=self.kept,
                    costs=self.parts.space.costs(contender.subset),
                )
            except Exception as error:
                # Full finetuning may run out of memory where the winner does not: that is no
                # reason to lose the winner.
                if not verdicts:
                    raise
                failed[contender.name] = f"{type(error).__name__}: {error}"
                name = contender_name(contender.name)
                self.audience.message(f"{name} cannot be retrained: {error}")
            else:
                verdicts.append(verdict)
        test.close(remove=True)
        return Tested(verdicts=tuple(verdicts), failed=failed)

    def _after_seed(self, name: str, number: int, score: float) -> None:
        self._after_epoch(name, number, self.field[self._place(name)].recipe.epochs, score)
        seeds, metric = self.parts.config.final.seeds, self.parts.materials.objective.name
        self.audience.message(
            f"{contender_name(name)}, retrained on all training samples "
            f"({number + 1} of {seeds}): test {metric} {score:.4f}"
        )

    def _after_epoch(self, name: str, number: int, epoch: int, score: float | None = None) -> None:
        place, seeds = self._place(name), self.parts.config.final.seeds
        self.audience.retraining(
            RetrainingNow(
                name=name,
                subset=self.field[place].subset,
                seed=number,
                seeds=seeds,
                done=place * seeds + number + (score is not None),
                total=len(self.field) * seeds,
                epoch=epoch,
                epochs=self.field[place].recipe.epochs,
                metric=self.parts.materials.objective.name,
                score=score,
            )
        )

    def _place(self, name: str) -> int:
        return next(place for place, found in enumerate(self.field) if found.name == name)


def field_of(
    parts: Components, workplace: Workplace, chosen: Contender, values: Mapping[str, Any]
) -> list[Contender]:
    """The chosen subset, and what `final.baselines` asks for.

    Args:
        parts: of the search.
        workplace: knows all units.
        chosen: what the search found, and the recipe that it was found with.
        values: of the result so far, for the runner-up.
    """
    second = runner_up(values)
    return contenders(
        chosen.subset,
        chosen.recipe,
        everything=Subset(unit.name for unit in workplace.chain.units),
        baselines=parts.config.final.baselines,
        runner_up=None
        if second is None
        else Contender(
            name="runner_up",
            subset=Subset(second["subset"]),
            recipe=parts.materials.recipe.with_numbers(second["recipe"]),
        ),
    )


def scores_on_test(parts: Components, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Test scores, comparisons, and what a full finetuning costs, as the result has them."""
    labels = parts.materials.data.test.open("per-sample comparison").labels
    hits = {verdict.name: _hits(parts.objective, verdict, labels) for verdict in verdicts}
    chosen = verdicts[0]
    test: dict[str, Any] = {}
    for verdict in verdicts:
        test[verdict.name] = {
            "mean": verdict.mean,
            "stderr": verdict.stderr,
            "seeds": len(verdict.scores),
            "scores": list(verdict.scores),
        }
        if verdict.name == "runner_up":
            test[verdict.name]["subset"] = list(verdict.subset)
        if parts.objective.several:
            test[verdict.name]["values"] = _values(parts.objective, verdict, labels)
        if verdict is not chosen:
            test[verdict.name]["against"] = compare(
                chosen.scores,
                verdict.scores,
                chosen_samples=hits[chosen.name],
                baseline_samples=hits[verdict.name],
                direction=parts.objective.direction,
            ).to_json()
    return {"test": test, **_cost_of_full(verdicts)}


def _hits(objective: Objective, verdict: Verdict, labels: Tensor) -> list[NDArray[np.bool_]] | None:
    """Which test samples each run got right; None where the metric is no share of them."""
    right = [objective.correct(logits, labels) for logits in verdict.logits]
    known = [hit for hit in right if hit is not None]
    return known if len(known) == len(right) else None


def _cost_of_full(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    full = next((verdict for verdict in verdicts if verdict.name == "full_finetune"), None)
    if full is None:
        return {}
    return {
        "cost_of_full_finetune": {
            "trainings": 1,
            "epochs": full.epochs,
            "flops": full.flops,
            "seconds": full.seconds,
        }
    }


def _values(objective: Objective, verdict: Verdict, labels: Tensor) -> dict[str, Any]:
    """The test scores of every value that is a metric: its mean over the seeds, and its error."""
    runs = [objective.measures(logits, labels) for logits in verdict.logits]
    return {
        name: {
            "mean": float(np.mean([run[name] for run in runs])),
            "stderr": standard_error([run[name] for run in runs]),
        }
        for name in runs[0]
    }
