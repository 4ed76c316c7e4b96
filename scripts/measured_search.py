"""One greedy search, measured: what it trained, what it took, and the least it could have taken.

Shared by `benchmark_growth.py` and `benchmark_gpu.py`; it runs nothing by itself.

The floor of a search is what it had to compute, in floating-point operations, over the rate at
which the device multiplies large matrices. It had to compute, two operations a multiply-add:

- for each trial, in every fold and epoch, a forward pass through the stages from the first tuned
  one on, the gradients of the values that cross later cuts, and those of tuned weights; and the
  forward passes of its validations (`layersearch.objectives.costs` has the formula);
- the frozen stages before, forward, once for every image: all folds and trials share them.

Elementwise work, the optimizer and heads fitted beforehand are not in it.
"""

import resource
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

import layersearch
from layersearch.backbones import Backbone, Chain, build_chain
from layersearch.execution.observer import Beginning
from layersearch.objectives import step_multiply_adds, training_flops
from layersearch.space import Subset, TrialRecord
from layersearch.subtuning import Recipe, first_tuned

# The paper's rounds; rounds of whole schedules; rounds of looks; one round of looks and the leap.
PROTOCOLS: Mapping[str, Mapping[str, Any]] = {
    "paper": {"protocol": "paper"},
    "whole": {"protocol": "whole", "eliminate": None},  # networks differ by units, not by luck
    "looks": {"protocol": "fast", "leap": False},
    "leap": {"protocol": "fast"},
}
_RATE_S = 1.0  # that multiplying is timed for


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """What is searched, and where."""

    backbone: Backbone
    data: Any  # as of `layersearch.search`
    data_options: Mapping[str, Any]  # with `folds` or `holdout`
    images: int  # trained on
    scored: int  # that each validation of all folds together scores
    trained: int  # that an epoch of all folds together trains on
    recipe: Mapping[str, Any]
    rounds: int | None = 3  # whatever the scores; None: until greedy stops
    workers: int = 1
    threads: int | None = None  # of a worker's processor; None: all cores, divided
    device: str = "cpu"
    granularity: str = "block"
    cache: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a search did and took."""

    protocol: str
    units: int
    rounds: int
    trials: int  # looks among them
    looks: int
    trainings: int  # one a fold of a trial
    epochs: int
    seconds: float  # from the start of the workers to the end of the last trial
    processor_seconds: float  # of this process and its workers, retraining left out
    trial_seconds: float  # of `seconds`, over all workers, those within trials
    flops: float  # that the workers counted: everything that was computed
    floor_flops: float  # that had to be


def search(setting: Setting, protocol: str) -> Measured:
    """Runs greedy by one of the PROTOCOLS."""
    strategy: dict[str, Any] = {"name": "greedy", **PROTOCOLS[protocol]}
    if strategy["protocol"] == "fast":  # however few the images are
        strategy["look_epochs"] = max(1, round(setting.recipe["epochs"] / 5))
    if setting.rounds is not None and protocol != "leap":  # no loss is a reason to stop
        strategy |= {"max_rounds": setting.rounds, "min_gain": -1.0}
        strategy |= {} if protocol == "paper" else {"stop": "paper"}
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        result = layersearch.search(
            backbone=setting.backbone,
            data=setting.data,
            data_options=setting.data_options,
            space={"granularity": setting.granularity},
            recipe={"validate_every": 1, **setting.recipe},
            strategy=strategy,
            execution={
                "workers": setting.workers,
                "workers_per_device": setting.workers,
                "threads": setting.threads,
                "device": setting.device,
                "cache": dict(setting.cache),
            },
            study={"name": f"measured-{protocol}", "directory": folder},
            final={"seeds": 1, "baselines": []},
            seed=setting.seed,
            observers=[clock],
        )
        if result.interrupted:
            raise SystemExit(f"{protocol}: interrupted; nothing was measured")
        records = [record for record in result.trials if record.score is not None]
        rounds = len(result.rounds)
    chain = build_chain(setting.backbone, granularity=setting.granularity)
    return Measured(
        protocol=protocol,
        units=len(chain.units),
        rounds=rounds,
        trials=len(records),
        looks=sum(record.look is not None for record in records),
        trainings=int(result.cost["trainings"]),
        epochs=int(result.cost["epochs"]),
        seconds=result.cost["seconds"],
        processor_seconds=clock.spent,
        trial_seconds=sum(float(record.attributes.get("seconds", 0.0)) for record in records),
        flops=result.cost["flops"],
        floor_flops=floor_flops(chain, records, setting),
    )


def floor_flops(chain: Chain, records: list[TrialRecord], setting: Setting) -> float:
    """What the trials had to compute; see the head of this file."""
    recipe = _recipe(setting.recipe)
    trained = [
        trial_flops(
            chain,
            record.subset,
            recipe if record.look is None else replace(recipe, epochs=record.look),
            trained=setting.trained,
            scored=setting.scored,
        )
        for record in records
        if record.subset is not None and "memo_of" not in record.attributes
    ]
    last = max((first_tuned(chain, r.subset) for r in records if r.subset is not None), default=0)
    frozen = sum(chain.multiply_adds[:last])
    return sum(trained) + training_flops(frozen, samples=setting.images, epochs=1)


def trial_flops(
    chain: Chain, subset: Subset, recipe: Recipe, *, trained: int, scored: int
) -> float:
    """What a trial computes from its first tuned stage on, over all folds."""
    stages = chain.multiply_adds
    step = step_multiply_adds(subset, chain.units, stages=stages)
    forward = sum(stages[first_tuned(chain, subset) :])
    validations = sum(map(recipe.validates_after, range(recipe.epochs)))
    return training_flops(step, samples=trained, epochs=recipe.epochs) + training_flops(
        forward, samples=scored, epochs=validations
    )


def matrix_rate(device: torch.device, dtype: torch.dtype, *, size: int) -> float:
    """FLOP/s of multiplying two square matrices on a device: the best of many, in about a second.

    Args:
        device: that multiplies.
        dtype: of the matrices.
        size: of a side.
    """
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.randn((size, size), generator=generator).to(device, dtype) for _ in range(2)
    )
    product = torch.empty_like(left)
    best, begun = float("inf"), time.perf_counter()
    while time.perf_counter() - begun < _RATE_S:
        _wait(device)
        started = time.perf_counter()
        torch.mm(left, right, out=product)
        _wait(device)
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best


def random_images(count: int, size: int, *, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """uint8 (N, 3, size, size) and labels (N,), as many of each class as there is room for."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 3, size, size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return images, torch.arange(count) % classes


class _Clock:
    """An observer: the processor's seconds from the first trial's start to the last one's end."""

    def __init__(self) -> None:
        self._started = 0.0
        self.spent = 0.0

    def began(self, _: Beginning) -> None:
        """All is loaded and checked, nothing trained."""
        self._started = _processor_seconds()

    def phase(self, text: str) -> None:
        """The trials have ended when the winner is retrained."""
        if text.startswith("retraining"):
            self.spent = _processor_seconds() - self._started


def _processor_seconds() -> float:
    """Of this process and of those it has waited for."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _recipe(values: Mapping[str, Any]) -> Recipe:
    """As much of it as decides what is computed."""
    return Recipe(**{key: values[key] for key in ("epochs", "validate_every") if key in values})


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
