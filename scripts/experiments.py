#!/usr/bin/env python
"""Do greedy and TPE find what exhaustive search finds, at what cost, and is the winner better?

    python scripts/experiments.py                          # all of them; hours on two cores
    python scripts/experiments.py --only resnet20-jpeg     # those whose name begins so
    python scripts/experiments.py -o recipe.epochs=2       # over every search file

Each experiment is a search of `search_spaces/` under another strategy. Its study is kept under
`--directory`: run again, the script resumes, and prints the table of what is done. Strategies of
one task share nothing but the data and the seeds: each trains its own trials, so that costs are its
own.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layersearch import Result, run_profile, run_search
from layersearch.config import load_config
from layersearch.execution import SearchProgress

SPACES = Path(__file__).parents[1] / "search_spaces"


@dataclass(frozen=True)
class Experiment:
    """One search: a file and what differs from it."""

    name: str
    file: str
    overrides: tuple[str, ...]


GREEDY = (
    "strategy.name=greedy",
    "strategy.protocol=whole",
    "strategy.enqueue=[linear_probe, full_finetune]",
)
TPE = ("strategy.name=tpe", "strategy.trials=40", "strategy.enqueue=[linear_probe]")
PAIRS = ("strategy.name=exhaustive", "space.max_units=2")
PROFILE = ("strategy.name=profile", "strategy.parts=[linear_probe, single, runs_2, runs_3]")

EXPERIMENTS = [
    Experiment(f"resnet20-{task}-{name}", f"resnet20_{file}.yaml", overrides)
    for task, file in (("jpeg", "cifar10_jpeg"), ("mnist", "mnist"))
    for name, overrides in (("greedy", GREEDY), ("exhaustive-2", PAIRS), ("tpe", TPE))
] + [
    Experiment("resnet56-jpeg-greedy", "resnet56_cifar10_jpeg.yaml", GREEDY),
    Experiment("resnet56-jpeg-profile", "resnet56_cifar10_jpeg.yaml", PROFILE),
]


def main() -> None:
    """Runs the chosen experiments and prints their table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="beginning of the names")
    parser.add_argument("--directory", default="runs/experiments")
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    rows = []
    for experiment in EXPERIMENTS:
        if experiment.name.startswith(arguments.only):
            print(f"== {experiment.name}", flush=True)
            result = run(experiment, arguments.directory, arguments.override)
            if result.interrupted:
                break
            rows.append((experiment.name, result))
    print(table(rows))


def run(experiment: Experiment, directory: str, overrides: list[str]) -> Result:
    """Runs or resumes one experiment."""
    config = load_config(
        SPACES / experiment.file,
        [
            *experiment.overrides,
            f"study.name={experiment.name}",
            f"study.directory={directory}",
            *overrides,
        ],
    )
    with SearchProgress() as progress:
        if config.strategy.name == "profile":
            return run_profile(config, observers=[progress])
        return run_search(config, observers=[progress])


def table(rows: list[tuple[str, Result]]) -> str:
    """Markdown: what was chosen, its scores, the baselines, the cost."""
    head = ["experiment", "chosen", "validation", "test", "linear probe", "full finetuning",
            "LP-FT", "trainings", "epochs", "seconds"]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for name, result in rows:
        tests = [_score(result.test.get(who)) for who in ("chosen", "linear_probe",
                 "full_finetune", "lp_ft")]  # fmt: skip
        cost = result.cost
        spent = [f"{cost[what]:.0f}" for what in ("trainings", "epochs", "seconds")]
        cells = [name, str(result.subset), _score(result.score), *tests, *spent]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _score(score: Any) -> str:
    """'87.3 ± 0.4', in per cent; '' without one."""
    if not score or score["mean"] is None:
        return ""
    error = "" if score.get("stderr") is None else f" ± {100 * score['stderr']:.1f}"
    return f"{100 * score['mean']:.1f}{error}"


if __name__ == "__main__":
    main()
