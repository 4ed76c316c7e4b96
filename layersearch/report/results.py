"""result.json: what came out of a search, for programs to read.

    study, strategy  names
    metric           {name, direction: maximize | minimize}
    subset           names of the units to tune, by depth; empty: the head alone
    score            {mean, stderr, look_epochs}: on the validation samples, in the search; of the
                     first value. look_epochs: of the look that the choice goes by, a complete
                     schedule of fewer epochs; null: it goes by the whole schedule
    confidence       how sure the choice is; null with several values, where the front tells:
                     level    of the intervals, and of `as_good`: 0.95
                     cost     by which subsets are cheap: trainable_parameters, or another that
                              the objective is about
                     schedules  [what was compared by one schedule, that of the choice first:
                     {look_epochs: null for the whole schedule; compared: subsets; trials; on:
                     samples | folds | independent | null, which is compared pair by pair; count:
                     of these; method: max-t | bonferroni; chosen; runner_up: the next best, or
                     null; baselines: {linear_probe, full_finetune} as far as they have such a
                     score; as_good: other subsets that may be the best, the cheapest first, 50 at
                     most; as_good_count: of all of them, null where the noise is not known}]
                     each of these subsets is {subset, trial, recipe, may_be_best: whether no other
                     is shown to be better, score: {mean, stderr}, costs, against: as in `test`, on
                     validation samples, with intervals that allow for how the chosen one was found}
    metrics          with several values only, as all up to `front_of`: [{name, direction}]
    values           {name: value} of the chosen subset, on the validation samples
    choose           how it was chosen among the front: best | one_stderr | knee, or names of units
    front            the Pareto front, the best first value first: [{subset, values, stderrs: {name:
                     value}, costs, trial (its number), recipe (sampled numbers), chosen}]
    front_of         how many subsets that keep all constraints were compared
    test             {chosen, linear_probe, full_finetune, lp_ft, runner_up (with its `subset`)},
                     as far as they were asked for:
                     {mean, stderr, seeds, scores: one a seed} on the test split, after retraining;
                     with several values also `values`: {name: {mean, stderr}} of the metrics;
                     a baseline also `against`: the chosen subset compared with it, pair by pair
                     {difference (positive: chosen is better), stderr, low, high, seeds, samples,
                     verdict: better | worse | within noise | unknown}
    cost             {trainings, epochs, flops, seconds} of the search, retraining not counted
    cost_of_full_finetune   the same of one full finetuning
    parameters       {tuned, total}: values in the chosen units, in the whole backbone
    rounds           of greedy, in order: [{base, subset, score, stderr, gain, gain_stderr,
                     accepted, candidates, skipped, leap, look_epochs, stop}]: the best of the
                     candidates, and its gain over the base, pair by pair on the same samples
                     (positive: better); leap: the subset, where several units were added at once
    profile          [{subset, mean, stderr, trainable_parameters, look_epochs}] of single units
                     with a score, all by one schedule
    trials           how many ended in each state
    ending           why the search ended
    config           the search description with everything filled in
    task             file of the saved task, relative to result.json
    format           of this file: 1
    layersearch      the version that wrote it

`study`, `strategy`, `subset`, `score`, `cost` are always there; `confidence` and `look_epochs` are
not in files of earlier versions, which are read all the same. Numbers that are not finite (the
standard error of a single seed) are null.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from layersearch.errors import LayersearchError
from layersearch.space.files import unwritable, write_whole
from layersearch.space.subset import Subset

FORMAT = 1
REQUIRED = ("study", "strategy", "subset", "score", "cost")


def write_result(path: str | Path, result: Mapping[str, Any]) -> Path:
    """Writes result.json in one step; see the module for its fields.

    Raises: LayersearchError: if a required field is missing, a value is no JSON, or the file cannot
        be written (one that was there is then as it was).
    """
    missing = [name for name in REQUIRED if name not in result]
    if missing:
        raise LayersearchError(f"{path}: a result needs {', '.join(missing)}")
    plain = _plain({"format": FORMAT, **result}, where="result")
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        return write_whole(path, text.encode())
    except OSError as error:
        raise LayersearchError(unwritable(path, error)) from error


def load_result(path: str | Path) -> dict[str, Any]:
    """Reads result.json.

    Raises: LayersearchError: if the file is missing, damaged, of a later format or no result.
    """
    try:
        values = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise LayersearchError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise LayersearchError(f"{path}: is no JSON, or is cut short ({error})") from error
    missing = [name for name in REQUIRED if not isinstance(values, dict) or name not in values]
    if missing:
        raise LayersearchError(f"{path}: is no result of a search (without {', '.join(missing)})")
    if values.get("format") != FORMAT:
        raise LayersearchError(
            f"{path}: has format {values.get('format')!r}; this version of layersearch reads "
            f"format {FORMAT}"
        )
    return dict(values)


def _plain(value: Any, *, where: str) -> Any:
    """The value as JSON: sequences as lists, subsets as names, what is not finite as null."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, np.generic):
        return _plain(value.item(), where=where)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item, where=f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple | Subset | np.ndarray):
        return [_plain(item, where=f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    raise LayersearchError(f"{where}: is no JSON value ({type(value).__name__})")
