"""The names under which a study keeps what layersearch records.

They are user attributes, of its trials and its own, so that Optuna Dashboard shows them.
"""

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layersearch.space.trial import TrialResult, unpack_correct

# Of a trial, when it starts.
SUBSET = "subset"  # list of unit names, by depth
TUNES = "tunes"  # the same in words, for people
ROUND = "round"  # of a strategy that goes by rounds, from 1
RECIPE = "recipe"  # sampled recipe numbers, if any
LOOK = "look"  # epochs of its own complete schedule, shorter than the recipe's; else not there
DRIVER = "driver"  # token of the driver that runs it
RETRY_OF = "retry_of"  # number of the interrupted trial that it repeats

# Of a trial, when it ends.
STDERR = "stderr"  # of the first value
STDERRS = "stderrs"  # one a value, where there are several; null: it cannot be told
FOLD_SCORES = "fold_scores"
CORRECT = "correct"  # {"count": N, "bits": base64 of packed bits}
SECONDS = "seconds"  # from the start of the trial to its end, as the driver saw it
EPOCHS = "epochs"  # trained, over all folds
TRAININGS = "trainings"  # folds begun
FLOPS = "flops"  # of its training and validation, computed
CURVE = "curve"  # {step: score}, where Optuna keeps no intermediate values (several objectives)
FEASIBLE = "feasible"  # only where there are constraints
CONSTRAINTS = "constraints"  # {name: value}, feasible when <= 0
FAILURE = "failure"  # reason, and the traceback where there is one
SCORE = "score"  # of a look, in the study's own direction
REASON = "reason"  # one line: why it was pruned or failed
INTERRUPTED = "interrupted"  # ended by an interruption or a lost worker, not of itself
LOST = "lost"  # its worker died
BATCH_PARTS = "batch_parts"  # it ran out of memory; the next trial of its subset needs so many
MICRO_BATCH = "micro_batch"  # samples at a time, where memory did not take a batch
INFEASIBLE = "infeasible"  # ruled out before training: the limit that the subset breaks
PRECISION = "precision"  # that it was trained in: fp32, bf16 or fp16; of the study: that all are
MEMO_OF = "memo_of"  # number of the trial whose score it repeats without training

# Of the study.
FINGERPRINT = "fingerprint"
SEARCH = "search"  # {"config", "versions", "stages", "folds"}: to report on it and to run it again
PLAN = "plan"  # how its driver searches it: strategy and budgets
PROTOCOL = "protocol"  # {"options", "why"}: of greedy, that its budget chose; else not there
DRIVER_PREFIX = "driver:"  # one a driver, followed by its token
TAKEN_PREFIX = "taken:"  # one a driver that others took for dead, followed by its token


def encode_correct(result: TrialResult) -> dict[str, Any] | None:
    """The correctness bits as a JSON value; None where the trial kept none."""
    if result.correct is None:
        return None
    return {"count": result.count, "bits": base64.b64encode(result.correct).decode("ascii")}


def decode_correct(value: Mapping[str, Any] | None) -> NDArray[np.bool_] | None:
    """The inverse of `encode_correct`: (count,), or None."""
    if not value:
        return None
    return unpack_correct(base64.b64decode(value["bits"]), int(value["count"]))


def plain(value: Any) -> Any:
    """`value` as JSON has it: tuples become lists, NumPy scalars numbers, the rest its text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        return [plain(item) for item in items]
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        # JSON has no NaN; databases that check their JSON refuse it.
        return float(value) if math.isfinite(value) else str(float(value))
    return str(value)


def canonical(value: Any) -> str:
    """One text for equal values: keys sorted, no spaces."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"))
