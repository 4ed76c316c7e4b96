#!/usr/bin/env python
"""Do searches with several values, and under budgets, find what is there to be found?

    python scripts/benchmark_objectives.py                      # both parts
    python scripts/benchmark_objectives.py --only front         # ResNet-20: Pareto fronts
    python scripts/benchmark_objectives.py --only budgets       # ResNet-56: latency budgets
    python scripts/benchmark_objectives.py --quick              # tiny, to see that it runs

*front*: every subset of at most `--max-units` units is trained, which gives the true front of
accuracy and trainable parameters. Then NSGA-II searches the same space, trained anew under a budget
of trials, and its front is compared with the true one: how many of its members it has, and the area
that it dominates (hypervolume) as a share of the true front's. How much of that is luck is told by
searching the table of the exhaustive scores again with many seeds, which trains nothing.

*budgets*: greedy searches once without a budget, then under three latency budgets: a tight one, a
middle one (a quarter and half of the single units are cheaper), and one that rules nothing out.
What was trained is read from the studies.

Studies are kept under `--directory`: run again, the script resumes and prints its tables.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna

from layersearch import Result, Subset, run_search
from layersearch.build.components import build_components
from layersearch.build.given import NOTHING_GIVEN
from layersearch.config import load_config
from layersearch.execution import SearchProgress
from layersearch.objectives import pareto_front
from layersearch.space import SearchSpace
from layersearch.strategies.optuna_adapter import claimed, make_search_sampler
from layersearch.study import history

SPACES = Path(__file__).parents[1] / "search_spaces"
PARAMETERS = "trainable_parameters"
SHORT = (
    "data.folds=null",
    "data.train_samples=1000",
    "data.holdout=1000",
    "recipe.epochs=2",
    "final.baselines=[linear_probe]",
    "final.seeds=1",
)
QUICK = ("data.train_samples=100", "data.holdout=100", "recipe.epochs=1", "data.test_samples=200")
SEEDS = 20  # of the searches that train nothing
REPLAYED = ("nsga2", "nsga3", "tpe", "random")


def main() -> None:
    """Runs the parts that were asked for and prints their tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=("front", "budgets"))
    parser.add_argument("--quick", action="store_true", help="very few images and units")
    parser.add_argument("--max-units", type=int, default=2, help="of the exhaustive space")
    parser.add_argument("--trials", type=int, default=28, help="of the search for the front")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--directory", default="runs/objectives")
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if arguments.only != "budgets":
        front(arguments)
    if arguments.only != "front":
        budgets(arguments)


def run(name: str, file: str, arguments: argparse.Namespace, *overrides: str) -> Result:
    """Runs or resumes one search."""
    print(f"== {name}", flush=True)
    config = load_config(
        SPACES / file,
        [
            *SHORT,
            *(QUICK if arguments.quick else ()),
            f"execution.workers={arguments.workers}",
            f"study.directory={arguments.directory}",
            f"study.name={name}",
            *overrides,
            *arguments.override,
        ],
    )
    with SearchProgress(quiet=True) as progress:
        result = run_search(config, observers=[progress])
    if result.interrupted:
        raise SystemExit(130)
    return result


# --- The front against the exhaustive one ---------------------------------------------------------


def front(arguments: argparse.Namespace) -> None:
    """ResNet-20: accuracy against trainable parameters."""
    most = 1 if arguments.quick else arguments.max_units
    trials = 6 if arguments.quick else arguments.trials
    both = (
        f"objective.metric=[accuracy, {PARAMETERS}]",
        f"space.max_units={most}",
        "strategy.enqueue=[linear_probe]",
    )
    file = "resnet20_cifar10_jpeg.yaml"
    whole = run(f"all-{most}", file, arguments, *both, "strategy.name=exhaustive")
    population = max(4, trials // 4)
    found = run(
        f"nsga2-{most}-{trials}",
        file,
        arguments,
        *both,
        "strategy.name=nsga2",
        f"strategy.trials={trials}",
        f"strategy.options.population_size={population}",
    )
    table = scores_of(arguments.directory, f"all-{most}")
    searched = scores_of(arguments.directory, f"nsga2-{most}-{trials}")
    same = sum(searched[subset] == table[subset] for subset in searched)
    print(f"\n{len(table)} subsets trained exhaustively, {len(searched)} by NSGA-II; of these ")
    print(f"{same} have the same two values to the last bit in both studies.\n")
    print_front(whole, found)
    print()
    print_comparison(table, searched, space_of(file, both, arguments), trials, population)


def scores_of(directory: str, name: str) -> dict[Subset, tuple[float, float]]:
    """Subset -> (accuracy, -trainable parameters), higher being better, as a study has them."""
    path = (Path(directory) / name / "study.db").resolve()
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{path}")
    records = history(study).scores
    return {subset: (record.values[0], record.values[1]) for subset, record in records.items()}


def space_of(file: str, overrides: Sequence[str], arguments: argparse.Namespace) -> SearchSpace:
    """The space that was searched."""
    quick = QUICK if arguments.quick else ()
    config = load_config(SPACES / file, [*SHORT, *quick, *overrides, "strategy.name=exhaustive"])
    return build_components(config, NOTHING_GIVEN).space


def print_front(whole: Result, found: Result) -> None:
    """The members of the true front, and whether the search has them."""
    have = {tuple(member["subset"]) for member in found.front}
    print("| subset on the exhaustive front | parameters | accuracy | on NSGA-II's front |")
    print("| --- | --- | --- | --- |")
    for member in reversed(whole.front):
        values, error = member["values"], member["stderrs"]["accuracy"]
        print(
            f"| {Subset(member['subset'])} | {values[PARAMETERS]:,.0f} | "
            f"{100 * values['accuracy']:.1f} ± {100 * error:.1f} | "
            f"{'yes' if tuple(member['subset']) in have else 'no'} |"
        )


def print_comparison(
    table: Mapping[Subset, tuple[float, float]],
    searched: Mapping[Subset, tuple[float, float]],
    space: SearchSpace,
    trials: int,
    population: int,
) -> None:
    """How much of the true front searches find, the real one and those of many seeds."""
    print(f"| search | runs | trials | of the front's {len(true_front(table))} | hypervolume |")
    print("| --- | --- | --- | --- | --- |")
    members, share = found_of(table, searched)
    print(f"| NSGA-II, trained | 1 | {trials} | {members} | {share:.1%} |")
    for name in REPLAYED:
        for count in (trials // 2, trials):
            runs = [
                found_of(table, replay(name, table, space, count, seed, population))
                for seed in range(SEEDS)
            ]
            members_each, shares = zip(*runs, strict=True)
            print(
                f"| {name}, from the table | {SEEDS} | {count} | "
                f"{statistics.fmean(members_each):.1f} ± {_error(members_each):.1f} | "
                f"{statistics.fmean(shares):.1%} ± {_error(shares):.1%} |"
            )


def replay(
    name: str,
    table: Mapping[Subset, tuple[float, float]],
    space: SearchSpace,
    trials: int,
    seed: int,
    population: int,
) -> dict[Subset, tuple[float, float]]:
    """A search whose trainings are looked up: what it has seen after so many trials."""
    sampler = make_search_sampler(
        name,
        {"population_size": population} if name.startswith("nsga") else {},
        space=space,
        seed=seed,
        read_history=history,
        enqueue=[Subset()],
    )
    study = optuna.create_study(directions=["maximize", "maximize"], sampler=sampler)
    seen: dict[Subset, tuple[float, float]] = {}
    while len(seen) < trials:
        trial = study.ask()
        subset = claimed(trial)
        if subset is None:
            break  # the space is used up
        seen[subset] = table[subset]
        study.tell(trial, table[subset])
    return seen


def true_front(table: Mapping[Subset, tuple[float, float]]) -> list[Subset]:
    """The subsets that no other beats."""
    subsets = list(table)
    return [subsets[i] for i in pareto_front([table[subset] for subset in subsets])]


def found_of(
    table: Mapping[Subset, tuple[float, float]], seen: Mapping[Subset, tuple[float, float]]
) -> tuple[int, float]:
    """How many members of the true front were seen; the share of its hypervolume."""
    members = sum(subset in seen for subset in true_front(table))
    return members, area(seen.values(), table.values()) / area(table.values(), table.values())


def area(points: Any, reference: Any) -> float:
    """What points dominate, as a share of the rectangle that all of `reference` lie in."""
    low = [min(point[i] for point in reference) for i in (0, 1)]
    high = [max(point[i] for point in reference) for i in (0, 1)]
    whole = (high[0] - low[0]) * (high[1] - low[1])
    covered, reached = 0.0, low[1]
    for first, second in sorted(set(points), reverse=True):  # the best accuracy first
        if second > reached:
            covered += (first - low[0]) * (second - reached)
            reached = second
    return covered / whole if whole else 1.0


# --- Latency budgets ------------------------------------------------------------------------------


def budgets(arguments: argparse.Namespace) -> None:
    """ResNet-56: greedy with no budget, then under three."""
    file = "resnet56_cifar10_jpeg.yaml"
    shared = [
        "strategy.name=greedy",
        "strategy.enqueue=[linear_probe]",
        f"space.max_units={1 if arguments.quick else arguments.max_units}",
        *(["space.granularity=stage"] if arguments.quick else []),
    ]
    quick = "repeats: 5, warm_up: 2, held_out: 2, seconds: 30" if arguments.quick else ""
    free = run("free", file, arguments, *shared, f"objective.latency={{{quick}}}")
    table = Path(arguments.directory) / "free" / "latency.json"  # one for all, so that they compare
    costs = latencies(arguments.directory, "free")
    singles = sorted(cost for subset, cost in costs.items() if len(subset) == 1)
    tight, middle = singles[len(singles) // 4], singles[len(singles) // 2]
    rows = [("none", free, "free", None)]
    for label, budget in (("tight", tight), ("middle", middle), ("loose", 10 * singles[-1])):
        result = run(
            label,
            file,
            arguments,
            *shared,
            f"objective.latency.table={table}",
            f"objective.constraints={{latency_ms: {{max: {budget!r}}}}}",
        )
        rows.append((f"{label}: {budget:.3g} ms", result, label, budget))
    print("\n| budget | chosen | latency (ms) | validation | test | trained | over budget |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for label, result, name, budget in rows:
        trained = latencies(arguments.directory, name)
        over = sum(budget is not None and cost > budget for cost in trained.values())
        score, test = result.score, result.test["chosen"]
        print(
            f"| {label} | {result.subset} | {trained[result.subset]:.3g} | "
            f"{100 * score['mean']:.1f} ± {100 * score['stderr']:.1f} | {100 * test['mean']:.1f} | "
            f"{len(trained)} | {over} |"
        )
    recovered = rows[-1][1].subset == free.subset
    print(f"\nThe loose budget {'recovers' if recovered else 'does NOT recover'} {free.subset}.")


def latencies(directory: str, name: str) -> dict[Subset, float]:
    """Subset -> its added latency, of all that a study has trained, scored or not."""
    path = (Path(directory) / name / "study.db").resolve()
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{path}")
    return {
        Subset(trial.user_attrs["subset"]): trial.user_attrs["latency_ms"]
        for trial in study.get_trials(deepcopy=False)
        if trial.user_attrs.get("trainings")
    }


def _error(values: Sequence[float]) -> float:
    """The standard error of the mean."""
    return statistics.stdev(values) / len(values) ** 0.5


if __name__ == "__main__":
    main()
