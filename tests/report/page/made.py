"""Studies made by hand: what a search would have recorded, without training anything."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from layersearch.study import attributes as names
from layersearch.study.fingerprint import keep_fingerprint

UNITS = ("stem", "layer1", "layer2", "layer3")
SAMPLES = 200
STAGES = (100, 400, 300, 200, 10)  # multiply-adds: one a unit, then the head
FOLDS = ((80, 20), (80, 20))
# Single units 0.82, 0.84, 0.86, 0.83; what a second one adds; a third adds nothing.
GAINS = {"stem": 0.02, "layer1": 0.04, "layer2": 0.06, "layer3": 0.03}


def score_of(subset: Sequence[str]) -> float:
    """Layer2 gains most, layer1 adds to it, more is worse."""
    gains = sorted((GAINS.get(name, 0.01) for name in subset), reverse=True)
    return 0.80 + sum(gains[:1]) + 0.5 * sum(gains[1:2]) - 0.01 * max(0, len(gains) - 2)


def trial(
    subset: Sequence[str],
    *,
    state: TrialState = TrialState.COMPLETE,
    score: float | Sequence[float] | None = None,
    epochs: int = 4,
    units: Sequence[str] = UNITS,
    **attributes: Any,
) -> FrozenTrial:
    """A trial of two folds of two epochs each; `epochs` fewer than 4 where it was stopped."""
    value = score_of(subset) if score is None else score
    values = [value] if isinstance(value, float) else list(value)
    right = np.arange(SAMPLES) < round(values[0] * SAMPLES)
    attrs: dict[str, Any] = {
        names.SUBSET: list(subset),
        names.EPOCHS: epochs,
        names.TRAININGS: 2 if epochs > 2 else 1,
        names.SECONDS: 1.5,
        "flops": 1e6,
        "trainable_parameters": 100 * len(subset),
        names.STDERR: 0.02,
        names.FOLD_SCORES: [values[0], values[0]],
        names.CORRECT: {
            "count": SAMPLES,
            "bits": base64.b64encode(np.packbits(right).tobytes()).decode(),
        },
    }
    if state is not TrialState.COMPLETE:
        for name in (names.STDERR, names.FOLD_SCORES, names.CORRECT):
            attrs.pop(name)
    several = len(values) > 1
    return create_trial(
        state=state,
        values=values if state is TrialState.COMPLETE else None,
        user_attrs={**attrs, **attributes},
        intermediate_values=(
            {} if several else {step: values[0] - 0.05 * (2 - step % 2) for step in range(epochs)}
        ),
    )


def study(
    trials: Iterable[FrozenTrial] = (),
    *,
    name: str = "made",
    directions: Sequence[str] = ("maximize",),
    units: Sequence[str] = UNITS,
    strategy: Mapping[str, Any] | None = None,
    metric: str | list[str] = "accuracy",
    storage: Any = None,
) -> optuna.Study:
    """A study of these trials, described as a search describes its own."""
    made = optuna.create_study(study_name=name, directions=list(directions), storage=storage)
    described = [{"name": unit, "depth": i, "numel": 100} for i, unit in enumerate(units)]
    bounds = {"min_units": 0, "max_units": None, "always": [], "never": [], "contiguous": None}
    keep_fingerprint(
        made,
        {
            "backbone": {"name": "small"},
            "data": {
                "final_train": {"count": 100},
                "classes": ["a", "b"],
                "folds": {"count": 2},
            },
            "recipe": {"epochs": 2, "validate_every": 1},
            "objective": {
                "metric": metric if isinstance(metric, str) else list(metric),
                "direction": directions[0],
            },
            "space": {"units": described, "bounds": bounds, "limits": {}},
        },
    )
    config = {"strategy": {"name": "greedy", **(strategy or {})}, "execution": {}}
    made.set_user_attr(
        names.SEARCH,
        {
            "config": config,
            "versions": {"python": "3.11.0", "torch": "2.6.0"},
            "stages": list(STAGES),
            "folds": [list(fold) for fold in FOLDS],
        },
    )
    made.add_trials(list(trials))
    return made


def greedy_trials(**attributes: Any) -> list[FrozenTrial]:
    """Those of a greedy search: the probe, everything, and three rounds."""
    subsets: list[tuple[str, ...]] = [(), UNITS, *((unit,) for unit in UNITS)]
    subsets += [tuple(u for u in UNITS if u in ("layer2", other)) for other in UNITS
                if other != "layer2"]  # fmt: skip
    subsets += [("stem", "layer1", "layer2"), ("layer1", "layer2", "layer3")]
    return [trial(subset, **attributes) for subset in subsets]


RESULT: dict[str, Any] = {
    "study": "made",
    "strategy": "greedy",
    "metric": {"name": "accuracy", "direction": "maximize"},
    "subset": ["layer1", "layer2"],
    "score": {"mean": 0.88, "stderr": 0.02},
    "parameters": {"tuned": 200, "total": 1000},
    "test": {
        "chosen": {"mean": 0.87, "stderr": 0.002, "seeds": 3, "scores": [0.868, 0.87, 0.872]},
        "linear_probe": {"mean": 0.80, "stderr": 0.001, "seeds": 3, "scores": [0.799, 0.8, 0.801]},
        "full_finetune": {"mean": 0.85, "stderr": 0.03, "seeds": 3, "scores": [0.80, 0.85, 0.90]},
    },
    "cost": {"trainings": 22, "epochs": 44, "flops": 11e6, "seconds": 16.5},
    "cost_of_full_finetune": {"trainings": 1, "epochs": 2, "flops": 1e6, "seconds": 1.0},
    "ending": "round 3: the best gains nothing",
    "trials": {"complete": 11},
    "config": {"strategy": {"name": "greedy"}, "execution": {}},
}
