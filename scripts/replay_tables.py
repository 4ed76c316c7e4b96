#!/usr/bin/env python
"""Replays search strategies against tables of trained subsets: regret against epochs spent.

    python scripts/replay_tables.py scripts/tables/*.npz --figure docs/images/regret.svg

A table (scripts/judge_table.py) holds, of every subset of a backbone's units, which validation
samples were right after a short and after the whole schedule, and which test samples were. A
strategy that asks for a subset gets the validation side; what it chooses in the end is judged by
the test side: its regret is how far below the best subset of the table it scores. Nothing is
trained, so every strategy runs many times, each time on validation samples drawn anew (with
replacement) and with another seed. Trials that a table lacks count as lost. Where a strategy has
candidates stopped after some of their folds, the validation samples are divided into five, and a
fold costs a fifth of a trial.

Tables of one search with several seeds (`<study>-seed<k>.npz`) are also taken together: other
images, batches and heads each, so the spread of their means is that of the trainings as well.

The test scores of the best subset are the largest of many noisy ones, so every regret is somewhat
too large, by the same amount for all.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from judge_table import Table
from numpy.typing import NDArray

from layersearch.space import (
    Chronicle,
    History,
    SearchSpace,
    Subset,
    TrialRecord,
    TrialState,
    Unit,
)
from layersearch.space.records import PartOfTrial
from layersearch.strategies import Done, Look, Strategy, make_strategy
from layersearch.strategies.protocol import Eliminates

SAMPLES = {"validation": 1000, "test": 4000}
FOLDS = 5  # that the validation samples stand for


@dataclass
class Answer:
    """What one replay came to."""

    subset: Subset | None
    epochs: float = 0.0
    trainings: int = 0
    lacking: int = 0  # trials that the table does not have


Way = Callable[["Game"], Answer]


@dataclass
class Game:
    """One table with one draw of validation samples."""

    table: "Scores"
    drawn: NDArray[np.int64]
    seed: int
    answer: Answer = field(default_factory=lambda: Answer(None))

    def train(
        self,
        subset: Subset,
        *,
        number: int,
        look: int | None,
        why_beaten: Callable[[PartOfTrial], str] = lambda _: "",
    ) -> TrialRecord:
        """The trial that the table says it is, up to the fold after which it is beaten."""
        schedule = 0 if look is not None else -1
        row = self.table.rows.get(subset)
        self.answer.trainings += 1
        if row is None:
            self.answer.lacking += 1
            self.table.lacking[subset] += 1
            return TrialRecord(number=number, subset=subset, state=TrialState.FAILED, look=look)
        right = row.validation[schedule][self.drawn]
        shuffled = np.random.default_rng(self.seed).permutation(len(right))
        folds = np.array_split(shuffled, FOLDS)
        ended, beaten = FOLDS, False
        for fold in range(1, FOLDS):
            places = np.concatenate(folds[:fold])
            part = PartOfTrial(subset=subset, correct=right[places], places=places, look=look)
            if why_beaten(part):
                ended, beaten = fold, True
                break
        self.answer.epochs += float(self.table.schedules[schedule]) * ended / FOLDS
        if beaten:
            return TrialRecord(number=number, subset=subset, state=TrialState.PRUNED, look=look)
        return TrialRecord(
            number=number,
            subset=subset,
            state=TrialState.COMPLETE if look is None else TrialState.PRUNED,
            score=float(right.mean()),
            stderr=float(right.std() / len(right) ** 0.5),
            fold_scores=tuple(float(right[fold].mean()) for fold in folds),
            correct=right,
            look=look,
        )


@dataclass(frozen=True)
class Row:
    """A trained subset."""

    validation: NDArray[np.bool_]  # (schedules, N)
    test: NDArray[np.bool_]  # (M,)


class Scores:
    """A table, unpacked."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            table = Table(path, units=list(map(str, file["units"])))
            self.schedules = file["schedules"]
        self.name = path.stem
        self.study, _, _ = self.name.rpartition("-seed")
        self.units = table.units
        self.lacking = Counter[Subset]()  # those asked for in vain
        self.rows = {
            table.subset(bits): Row(
                np.unpackbits(row[0], axis=1)[:, : SAMPLES["validation"]].astype(bool),
                np.unpackbits(row[1])[: SAMPLES["test"]].astype(bool),
            )
            for bits, row in table.rows.items()
        }
        self.test = {subset: float(row.test.mean()) for subset, row in self.rows.items()}
        self.best = max(self.test.values())
        self.space = SearchSpace(
            Unit(name=name, depth=depth, parameters=(f"{name}.weight",), numel=1)
            for depth, name in enumerate(self.units)
        )


def by_strategy(name: str, **options: Any) -> Way:
    """A strategy of the library, one worker."""

    def play(game: Game) -> Answer:
        space = game.table.space
        strategy: Strategy = make_strategy(name, options, space=space, seed=game.seed)
        chronicle = Chronicle()
        while not isinstance(proposal := strategy.propose(History(chronicle=chronicle)), Done):
            look = proposal.epochs if isinstance(proposal, Look) else None
            subset = proposal.subset if isinstance(proposal, Look) else proposal
            assert isinstance(subset, Subset)
            number = len(chronicle.ended)
            judge = partial(_why_beaten, strategy, History(chronicle=chronicle))
            chronicle.add(game.train(subset, number=number, look=look, why_beaten=judge))
        game.answer.subset = strategy.answer(History(chronicle=chronicle))
        return game.answer

    return play


def _why_beaten(strategy: object, history: History, part: PartOfTrial) -> str:
    return strategy.why_beaten(part, history) if isinstance(strategy, Eliminates) else ""


def by_sampler(
    make: Callable[[int], optuna.samplers.BaseSampler], trials: int, *, singles: bool = False
) -> Way:
    """One of Optuna's samplers, each trial by the whole schedule; the best trial is chosen.

    Args:
        make: a seed -> the sampler.
        trials: how many.
        singles: whether no unit, and each unit alone, come first.
    """

    def play(game: Game) -> Answer:
        study = optuna.create_study(direction="maximize", sampler=make(game.seed))
        units = game.table.units
        for first in (None, *units) if singles else ():
            study.enqueue_trial({unit: unit == first for unit in units})
        for _ in range(trials):
            trial = study.ask()
            on = [unit for unit in units if trial.suggest_categorical(unit, [False, True])]
            subset = Subset(on)
            record = game.train(subset, number=trial.number, look=None)
            trial.set_user_attr("subset", on)
            if record.score is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, record.score)
        if study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE]):
            game.answer.subset = Subset(study.best_trial.user_attrs["subset"])
        return game.answer

    return play


def exhaustive(game: Game) -> Answer:
    """The best of all by the whole schedule."""
    records = [
        game.train(subset, number=number, look=None)
        for number, subset in enumerate(game.table.rows)
    ]
    game.answer.subset = max(records, key=lambda r: r.score or 0.0).subset
    return game.answer


def linear_probe(game: Game) -> Answer:
    """No unit at all."""
    game.answer.subset = Subset()
    return game.answer


def full_finetune(game: Game) -> Answer:
    """Every unit."""
    game.answer.subset = Subset(game.table.units)
    return game.answer


# Rounds of looks, as `leap: false` has them.
LOOKS: dict[str, Any] = {"z": 0.0, "lazy": 0.0, "look_epochs": 1, "finalists": 3}
WAYS: dict[str, Way] = {
    "linear probe": linear_probe,
    "full finetuning": full_finetune,
    "exhaustive": exhaustive,
    "greedy, paper": by_strategy("greedy", stop="paper"),
    "greedy, whole": by_strategy("greedy"),
    "greedy, whole, lazy": by_strategy("greedy", lazy=0.0),
    "greedy, whole, eliminate": by_strategy("greedy", eliminate=0.1),
    "greedy, whole, eliminate 0.5": by_strategy("greedy", eliminate=0.5),
    "greedy, looks": by_strategy("greedy", **LOOKS),
    "greedy, looks, eliminate": by_strategy("greedy", **LOOKS, eliminate=0.1),
    "greedy, looks, z 1": by_strategy("greedy", **{**LOOKS, "z": 1.0}),
    "greedy, looks, stop paper": by_strategy("greedy", **LOOKS, stop="paper"),
    "greedy, looks, 1 finalist": by_strategy("greedy", **{**LOOKS, "finalists": 1}),
    "greedy, fast": by_strategy("greedy", look_epochs=1, leap=True),
    "greedy, fast, 3 finalists": by_strategy("greedy", look_epochs=1, leap=True, finalists=3),
    "nested, patience 1": by_strategy("nested", look_epochs=1, patience=1),
    "nested, whole": by_strategy("nested"),
    "random, 20 trials": by_sampler(lambda seed: optuna.samplers.RandomSampler(seed=seed), 20),
    "TPE, 20 trials": by_sampler(lambda seed: optuna.samplers.TPESampler(seed=seed), 20),
    "TPE, 40 trials": by_sampler(lambda seed: optuna.samplers.TPESampler(seed=seed), 40),
    "TPE, 20 trials, single units first": by_sampler(
        lambda seed: optuna.samplers.TPESampler(seed=seed), 20, singles=True
    ),
    "TPE, 40 trials, single units first": by_sampler(
        lambda seed: optuna.samplers.TPESampler(seed=seed), 40, singles=True
    ),
    "GP, 20 trials": by_sampler(lambda seed: optuna.samplers.GPSampler(seed=seed), 20),
    "GP, 20 trials, single units first": by_sampler(
        lambda seed: optuna.samplers.GPSampler(seed=seed), 20, singles=True
    ),
}


def main() -> None:
    """Replays all ways on all tables, prints a table of each, and draws the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument(
        "--validation", type=int, default=SAMPLES["validation"], help="validation samples drawn"
    )
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--figure", type=Path, help="where to draw regret against epochs (SVG)")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument(
        "--lacking", type=Path, help="where to write the subsets that are missed, for judge_table"
    )
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {}  # study, table, way
    lacking = {}
    for path in arguments.tables:
        scores = Scores(path)
        results = replayed(scores, arguments.only, arguments.repeats, arguments.validation)
        found.setdefault(scores.study, {})[scores.name] = results
        print_results(scores, results)
        lacking[scores.name] = [list(subset) for subset, _ in scores.lacking.most_common()]
    together = {study: taken_together(list(tables.values())) for study, tables in found.items()}
    for study, tables in found.items():
        if len(tables) > 1:
            print_together(f"{study}, {len(tables)} seeds", together[study])
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))
    if arguments.lacking:
        arguments.lacking.write_text(json.dumps(lacking))
    if arguments.figure:
        draw(together, arguments.figure)


def drawn_samples(seed: int, count: int = SAMPLES["validation"]) -> NDArray[np.int64]:
    """Indices of validation samples, (count,), drawn with replacement."""
    return np.random.default_rng(seed).integers(0, SAMPLES["validation"], count)


def replayed(
    scores: Scores, ways: list[str], repeats: int, count: int = SAMPLES["validation"]
) -> dict[str, dict[str, float]]:
    """Means over the repeats, of every way, by so many validation samples."""
    results = {}
    for way in ways:
        answers = [
            WAYS[way](Game(scores, drawn_samples(seed, count), seed)) for seed in range(repeats)
        ]
        scores.lacking.update(
            a.subset for a in answers if a.subset is not None and a.subset not in scores.test
        )
        judged = [a for a in answers if a.subset in scores.test]
        if not judged:
            continue  # the table does not have what was chosen
        regrets = [scores.best - scores.test[a.subset] for a in judged if a.subset is not None]
        results[way] = {
            "regret": float(np.mean(regrets)),
            "stderr": float(np.std(regrets, ddof=1) / len(regrets) ** 0.5)
            if len(regrets) > 1
            else float("nan"),
            "units": float(np.mean([len(a.subset or ()) for a in judged])),
            "trainings": float(np.mean([a.trainings for a in answers])),
            "epochs": float(np.mean([a.epochs for a in answers])),
            "lacking": float(np.mean([a.lacking for a in answers])),
            "judged": len(judged),
        }
    return results


def taken_together(tables: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Of every way the means over tables that all have it; errors are those over the tables.

    One table keeps its own errors, of validation samples alone.
    """
    if len(tables) == 1:
        return tables[0]
    results = {}
    for way in tables[0]:
        rows = [table[way] for table in tables if way in table]
        if len(rows) < len(tables):
            continue
        regrets = [row["regret"] for row in rows]
        results[way] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        results[way]["stderr"] = float(np.std(regrets, ddof=1) / len(regrets) ** 0.5)
    return results


def print_together(name: str, results: dict[str, dict[str, float]]) -> None:
    """A Markdown table of means over seeds."""
    print(
        f"\n{name}\n\n| strategy | regret, points | units | epochs |\n| --- | ---: | ---: | ---: |"
    )
    for way, row in results.items():
        print(
            f"| {way} | {100 * row['regret']:.2f} ± {100 * row['stderr']:.2f} "
            f"| {row['units']:.1f} | {row['epochs']:.0f} |"
        )


def print_results(scores: Scores, results: dict[str, dict[str, float]]) -> None:
    """A Markdown table."""
    print(
        f"\n{scores.name}: {len(scores.rows)} of {2 ** len(scores.units)} subsets, the best one "
        f"{100 * scores.best:.2f} on the test split\n\n"
        "| strategy | regret, points | units | trainings | epochs | lacking | judged |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    for way, row in results.items():
        print(
            f"| {way} | {100 * row['regret']:.2f} ± {100 * row['stderr']:.2f} "
            f"| {row['units']:.1f} | {row['trainings']:.0f} | {row['epochs']:.0f} "
            f"| {row['lacking']:.1f} | {row['judged']:.0f} |"
        )


def draw(found: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Regret against epochs, a panel a study; ways have numbers, families a colour and a marker."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    searches = [
        way for way in WAYS if any(rows.get(way, {}).get("epochs") for rows in found.values())
    ]
    numbers = {way: number for number, way in enumerate(searches, start=1)}
    figure, axes = plt.subplots(
        1, len(found), figsize=(5 * len(found) + 2.6, 4.8), squeeze=False, layout="constrained"
    )
    handles = {}
    for axis, (name, results) in zip(axes[0], found.items(), strict=True):
        shown = {way: row for way, row in results.items() if way in numbers}
        top = 100 * float(np.quantile([row["regret"] for row in shown.values()], 0.95)) * 1.25
        axis.set(xscale="log", ylim=(0, top), xlabel="epochs trained", title=name,
                 ylabel="regret on the test split, points")  # fmt: skip
        above = []
        for way, row in results.items():
            regret = 100 * row["regret"]
            if way in shown and regret < top:
                error = 0.0 if np.isnan(row["stderr"]) else 100 * row["stderr"]  # one replay
                colour, marker = _family(way)
                handles[way] = axis.errorbar(row["epochs"], regret, yerr=error, color=colour,
                                             fmt=marker, markersize=4, linewidth=0.8)  # fmt: skip
                axis.annotate(str(numbers[way]), (row["epochs"], regret), fontsize=7, color=colour,
                              textcoords="offset points", xytext=(4, 2))  # fmt: skip
            elif regret < top:
                axis.axhline(regret, color="0.7", linewidth=0.8, zorder=0)
                axis.annotate(way, (1, regret), xycoords=("axes fraction", "data"), ha="right",
                              va="bottom", fontsize=7, color="0.4")  # fmt: skip
            else:
                number = f"{numbers[way]} " if way in numbers else ""
                above.append(f"{number}{way} {regret:.1f}")
        axis.text(0.99, 0.99, "above: " + "; ".join(above) if above else "", ha="right", va="top",
                  transform=axis.transAxes, fontsize=7, color="0.4")  # fmt: skip
    listed = [way for way in searches if way in handles]
    figure.legend(
        [handles[way] for way in listed],
        [f"{numbers[way]}  {way}" for way in listed],
        loc="outside right upper",
        fontsize=7,
        frameon=False,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def _family(way: str) -> tuple[str, str]:
    """Colour and marker."""
    if "fast" in way:
        return "#cc79a7", "D"
    if "looks" in way:
        return "#009e73", "o"
    if way.startswith("greedy"):
        return "#0072b2", "s"
    if way.startswith("nested"):
        return "#d55e00", "^"
    return ("black", "*") if way == "exhaustive" else ("#7f7f7f", "v")


if __name__ == "__main__":
    main()
