"""What a subset costs, known before any training, from plain numbers of its units and stages.

Notation: m_s: multiply-adds of stage s for one sample, forward; h: the last stage, the head;
f: the first stage with a tuned unit (h if there is none); T: the stages with a tuned unit, and h.

One training step, per sample, with the features of the frozen prefix at hand:

    sum of m_s over s >= f       forward through the suffix
  + sum of m_s over s > f        gradients of the values that cross the cuts after f
  + sum of m_s over s in T       gradients of the tuned weights

so the linear probe costs 2 m_h, and tuning everything three forward passes less m_0: the customary
'backward costs twice the forward pass' (Kaplan et al. 2020, section 2.1). A unit that is a part of
its stage (only its norms, say) is charged for the whole stage: an upper bound.
"""

from collections.abc import Collection, Mapping, Sequence

from layersearch.errors import ObjectiveError
from layersearch.space.unit import Unit

COSTS: Mapping[str, str] = {  # name -> its unit
    "trainable_parameters": "values in the tuned units; the head, always trained, not counted",
    "added_parameters": "values in the tuned units and the head: what a new task adds",
    "task_bytes": "bytes of the saved task: tuned parameters, norm statistics and head, float32",
    "step_multiply_adds": "multiply-adds of one training step, one sample, prefix cached",
    "training_memory_bytes": "bytes that training takes at its peak, estimated",
    "latency_ms": "milliseconds that serving a batch takes longer than by the original alone",
}
FLOPS_PER_MULTIPLY_ADD = 2


def subset_costs(
    subset: Collection[str],
    units: Sequence[Unit],
    *,
    stages: Sequence[int],
    head_parameters: int,
    buffers: Mapping[str, int] | None = None,
    bytes_per_value: int = 4,
) -> dict[str, float]:
    """The costs of `COSTS` that plain numbers of units and stages give, by name.

    Args:
        subset: names of the units that are tuned.
        units: all units of the backbone.
        stages: multiply-adds of each stage of the chain for one sample; the last one is the head.
        head_parameters: values in the new head.
        buffers: values in the norm statistics of units that have any.
        bytes_per_value: of the saved task; 4 for float32.

    Raises: ObjectiveError: if a name in the subset is not a unit, or a unit has no stage.
    """
    tuned = _chosen(subset, units)
    parameters = sum(unit.numel for unit in tuned)
    statistics = sum((buffers or {}).get(unit.name, 0) for unit in tuned)
    return {
        "trainable_parameters": parameters,
        "added_parameters": parameters + head_parameters,
        "task_bytes": (parameters + head_parameters + statistics) * bytes_per_value,
        "step_multiply_adds": step_multiply_adds(subset, units, stages=stages),
    }


def step_multiply_adds(
    subset: Collection[str], units: Sequence[Unit], *, stages: Sequence[int]
) -> int:
    """Multiply-adds of one training step for one sample, by the formula above."""
    head = len(stages) - 1
    depths = {unit.depth for unit in _chosen(subset, units)} | {head}
    if min(depths) < 0 or max(depths) > head:
        raise ObjectiveError(f"costs: units need depths from 0 to {head} (got {sorted(depths)})")
    first = min(depths)
    forward = sum(stages[first:])
    values = sum(stages[first + 1 :])
    weights = sum(stages[depth] for depth in depths)
    return forward + values + weights


def training_flops(step: float, *, samples: int, epochs: int) -> float:
    """Floating-point operations of a training: two a multiply-add, `samples` an epoch.

    Args:
        step: multiply-adds of one step for one sample (`step_multiply_adds`).
        samples: trained on in each epoch.
        epochs: passes over them.
    """
    return float(FLOPS_PER_MULTIPLY_ADD * step * samples * epochs)


def _chosen(subset: Collection[str], units: Sequence[Unit]) -> list[Unit]:
    missing = set(subset) - {unit.name for unit in units}
    if missing:
        raise ObjectiveError(f"costs: {sorted(missing)} are not units of this backbone")
    return [unit for unit in units if unit.name in subset]
