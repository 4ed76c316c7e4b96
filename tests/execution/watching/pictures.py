"""Pictures of searches, as displays get them."""

from dataclasses import replace

from layersearch.execution.standing import Allowance, Beginning, Status, WorkerNow
from layersearch.execution.watching import Picture
from layersearch.space import Subset
from layersearch.space.trial import Proposal, Report

BEGINNING = Beginning(
    command="search",
    study="digits",
    identity="abc",
    strategy="greedy",
    metrics=("accuracy",),
    directions=("maximize",),
    backbone="resnet",
    data="digits, 200 samples, 10 classes",
    units=7,
    notes=("two images are equal: a.png, b.png",),
)
STATUS = Status(
    done=13,
    running=0,
    workers=2,
    phase="round 2: what to add to {layer3.1}",
    remaining=4,
    covers="phase",
    best=Subset(["layer1.0", "layer3.1"]),
    best_score=0.935,
    best_stderr=0.0112,
    best_trial=9,
    answer=Subset(["layer3.1"]),
    round=2,
    candidates=6,
    candidates_done=3,
    scored=10,
    pruned=2,
    failed=1,
    last_pruned="trial 8, {layer1.1}: pruned after epoch 3 of fold 1",
    last_failed="trial 5, {layer2.0}: ValueError: the loss is nan",
    budget=(Allowance(name="epochs", limit=2400, used=520),),
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def proposal(number: int, *names: str) -> Proposal:
    return Proposal(number=number, subset=Subset(names or ["layer2.0"]))


def picture(running: int = 2, *, idle: int = 1, epochs: int = 11, node: str = "") -> Picture:
    """A search with so many workers; each trial is some epochs further than the one before."""
    clock = Clock()
    made = Picture(clock)
    made.began(BEGINNING)
    made.phase("searching")
    crew = []
    for index in range(running):
        trial = proposal(20 + index, "layer1.0", f"layer2.{index}")
        made.started(trial)
        for epoch in range(epochs + index):
            clock.now += 0.5
            score = 0.6 + 0.03 * (epoch % 8) + 0.01 * index
            made.reported(
                trial,
                Report(
                    fold=epoch // 8,
                    epoch=epoch % 8,
                    score=score,
                    step=epoch,
                    epochs_done=epoch + 1,
                    epochs_total=40,
                ),
            )
        crew.append(
            WorkerNow(name=str(index), doing="trains", device="cpu", trial=20 + index, where=node)
        )
    crew += [
        WorkerNow(name=str(index), doing="idle", device="cpu", where=node)
        for index in range(running, running + idle)
    ]

    made.told(replace(STATUS, running=running, workers=running + idle, crew=tuple(crew)))
    return made
