"""What a search tells its callbacks, without a search."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from layersearch.execution.observer import Observers
from layersearch.execution.standing import Beginning, Ended, RetrainingNow, Status
from layersearch.space import Subset, TrialRecord, TrialState
from layersearch.space.trial import Proposal, Report

TRIALS = [
    Proposal(number=number, subset=Subset([f"layer{number}"]), recipe={"lr": 0.1})
    for number in range(3)
]


@pytest.fixture
def beginning(tmp_path: Path) -> Beginning:
    return Beginning(
        command="search",
        study="digits",
        identity="0123abcd",
        strategy="greedy",
        metrics=("accuracy",),
        directions=("maximize",),
        folder=str(tmp_path / "runs" / "digits"),
        config={"seed": 0, "recipe": {"epochs": 2, "lr": 0.1}, "study": {"name": "digits"}},
    )


def tell(callback: Any, beginning: Beginning) -> None:
    """A whole search: one trial scored, one pruned, one failed. Whatever it raises is raised."""
    audience = Observers([callback])
    audience.phase("loading")
    audience.began(beginning)
    for trial in TRIALS:
        audience.started(trial)
        for epoch in range(2):
            audience.reported(
                trial,
                Report(
                    fold=0,
                    epoch=epoch,
                    score=0.5 + 0.1 * epoch,
                    step=epoch,
                    epochs_done=epoch + 1,
                    epochs_total=2,
                ),
            )
    record = TrialRecord(
        number=0,
        subset=TRIALS[0].subset,
        state=TrialState.COMPLETE,
        score=0.6,
        stderr=0.01,
        attributes={"seconds": 1.5, "trainable_parameters": 42, "driver": "x", "feasible": True},
    )
    audience.finished(TRIALS[0], record, 0.6)
    audience.pruned(TRIALS[1], "no hope")
    audience.failed(TRIALS[2], "ValueError: nan", interrupted=False)
    audience.status(
        Status(
            done=3,
            running=0,
            workers=1,
            best=TRIALS[0].subset,
            best_score=0.6,
            scored=1,
            pruned=1,
            failed=1,
        )
    )
    audience.message("hello")
    now = RetrainingNow(
        name="chosen",
        subset=TRIALS[0].subset,
        seed=0,
        seeds=1,
        done=0,
        total=1,
        epoch=0,
        epochs=2,
    )
    audience.retraining(now)
    audience.retraining(replace(now, epoch=2, done=1, score=0.7))
    audience.ended(Ended(ending="done", reason="all is tried", subset=TRIALS[0].subset, score=0.6))
