"""Measures the table that predicts added serving latency (objectives/latency.py).

Every stage is timed where it runs, between the stages before and after it, so that caches are as
they are when it serves: in the original alone; in a branch of a forked network that tunes as little
as can be; in one that tunes everything. Then whole forked networks are timed against the original:
some to find what forking itself takes and how far sums of stages are off, others to say how wrong
the table is.

Values of weights do not change how long a network takes, so any will do.
"""

import hashlib
import json
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from layersearch.backbones import Chain, Values, parameter_names
from layersearch.objectives.latency import HeldOut, LatencyTable, StageTiming, Timing
from layersearch.serving.blocks import rows_at_once
from layersearch.serving.branch import BranchNetwork, random_branch
from layersearch.serving.forked import ForkedNetwork
from layersearch.serving.schedule import schedule
from layersearch.serving.timing import Lap, Timer, in_turns, timer_of, timing
from layersearch.space import Subset

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_STAGES_SHARE = 0.4  # of the time: for the stages; the rest is for whole networks
_ANCHORS = 4  # whole networks from whose latency overhead and factor are found
_LEAST_FACTOR = 0.8
_ORIGINAL = "original"
_ANCHOR = "anchor "


def measure_latency(
    chain: Chain,
    *,
    backbone: str,
    classes: int,
    batch_size: int = 1,
    precision: str = "fp32",
    threads: int | None = None,
    repeats: int = 50,
    warm_up: int = 10,
    held_out: int = 8,
    seconds: float = 120.0,
    siamese: bool = False,
    seed: int = 0,
    timer: Timer | None = None,
) -> LatencyTable:
    """Measures on the device that the chain is on.

    Args:
        chain: in eval mode; it stays as it is.
        backbone: its name.
        classes: of the new task.
        batch_size: images that are served at once.
        precision: 'fp32', or 'bf16' or 'fp16' by autocast.
        threads: of the CPU; None: as many as PyTorch uses now.
        repeats: timed runs, of which the median counts.
        warm_up: runs before.
        held_out: subsets whose whole network is timed to find the table's error.
        seconds: the repeats are fewer where it would take longer.
        siamese: whether the head sees the original's features beside the branch's.
        seed: of the images and the held-out subsets.
        timer: to time with; None: the device's.
    """
    device = next((p.device for p in chain.network.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn((batch_size, *chain.input_shape), generator=generator).to(device)
    with _threads(threads) as used, torch.inference_mode(), _served_in(precision, device):
        timer = timer_of(device, threads=used) if timer is None else timer
        bench = _Bench(chain, images, classes=classes, siamese=siamese, timer=timer)
        passes = bench.stages()
        laps = in_turns(
            {name: one.run for name, one in passes.items()},
            timer=timer,
            repeats=repeats,
            warm_up=warm_up,
            seconds=seconds * _STAGES_SHARE,
        )
        subsets = _whole(chain, held_out=held_out, seed=seed)
        whole = in_turns(
            bench.networks(subsets),
            timer=timer,
            repeats=repeats,
            warm_up=warm_up,
            seconds=seconds * (1 - _STAGES_SHARE),
        )
    table = LatencyTable(
        backbone=backbone,
        architecture=architecture_key(chain),
        device=describe_device(device),
        batch_size=batch_size,
        precision=precision,
        threads=used,
        torch=torch.__version__,
        traced=chain.traced,
        original=timing([lap for (lap,) in whole[_ORIGINAL]]),
        overhead=0.0,
        stages=_stages(passes, laps),
        units=unit_stages(chain),
    )
    return _completed(table, whole, subsets)


def unit_stages(chain: Chain) -> dict[str, tuple[int, ...]]:
    """The stages that each unit is a part of: whose parameters they use."""
    used = [frozenset(parameter_names(stage)) for stage in chain.stages]
    return {
        unit.name: tuple(s for s, names in enumerate(used) if names.intersection(unit.parameters))
        for unit in chain.units
    }


def architecture_key(chain: Chain) -> str:
    """Equal for chains whose tables are equal: the same network cut at the same units."""
    described = {
        "parameters": [[n, list(p.shape)] for n, p in chain.network.named_parameters()],
        "multiply_adds": list(chain.multiply_adds),
        "units": {name: list(stages) for name, stages in unit_stages(chain).items()},
        "input": list(chain.input_shape),
    }
    return hashlib.blake2b(json.dumps(described).encode(), digest_size=12).hexdigest()


def describe_device(device: torch.device) -> str:
    """A device in words: 'cpu (AMD EPYC 7763)', 'cuda:0 (NVIDIA H200)'."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({_processor()})"


class _Bench:
    """What is timed, on the same images: passes through all stages, and whole networks.

    Args:
        chain: on the device.
        images: (B, ...) on the device.
        classes: of the new head.
        siamese: whether it sees the original's features too.
        timer: that the runs mark with.
    """

    def __init__(
        self, chain: Chain, images: Tensor, *, classes: int, siamese: bool, timer: Timer
    ) -> None:
        self._chain = chain
        self._images = images
        self._classes = classes
        self._siamese = siamese
        self._timer = timer

    def stages(self) -> dict[str, "_Pass"]:
        """Passes with a mark between any two stages."""
        first = [unit.name for unit in self._chain.units if unit.depth == 0][:1]
        everything = [unit.name for unit in self._chain.units]
        passes = {
            "alone": self._through(self._images),
            "frozen": self._branching(Subset(first)),
            "tuned": self._branching(Subset(everything)),
        }
        if all(map(self._chain.cacheable, range(len(self._chain.stages)))):
            passes["joined"] = self._through(torch.cat([self._images, self._images]))
        return passes

    def networks(self, subsets: Mapping[str, Subset]) -> dict[str, Callable[[], object]]:
        """The original network and forked ones, each as one lap."""
        runs = {_ORIGINAL: self._marked(self._chain.network)}
        for name, subset in subsets.items():
            network = ForkedNetwork(self._chain, [self._branch(subset)])
            runs[name] = self._marked(network)
        return runs

    def _branch(self, subset: Subset) -> BranchNetwork:
        branch = random_branch(
            self._chain,
            subset,
            classes=self._classes,
            siamese=self._siamese and self._chain.traced and bool(subset.names),
        )
        return BranchNetwork(self._chain, branch)

    def _through(self, images: Tensor) -> "_Pass":
        """The chain alone."""

        def run() -> None:
            values: Values = (images,)
            self._timer.mark()
            for stage in self._chain.stages:
                values = stage(*values)
                self._timer.mark()

        return _Pass(run, tuple(range(len(self._chain.stages))))

    def _branching(self, subset: Subset) -> "_Pass":
        """A forked network; the laps of the original in it are not looked at."""
        branch = self._branch(subset)
        count = len(self._chain.stages)
        planned = schedule(
            self._chain,
            [branch],
            images=len(self._images),
            rows=rows_at_once(self._chain, self._images.device),
        )
        places = {id(stage): index for index, stage in enumerate(self._chain.stages)}
        places |= {id(stage): index for index, stage in branch.own.items()}
        stages = tuple(places[id(step.stage)] for step in planned.steps[count:])

        def run() -> None:  # as `Schedule.run`, with marks
            slots: list[Any] = [None] * planned.slots
            slots[0] = (self._images,)
            self._timer.mark()
            for step in planned.steps:
                slots[step.slot] = step.stage(*step.given(slots))
                for slot in step.frees:
                    slots[slot] = None
                self._timer.mark()

        return _Pass(run, (*[None] * count, *stages))

    def _marked(self, network: Callable[[Tensor], object]) -> Callable[[], object]:
        def run() -> None:
            self._timer.mark()
            network(self._images)
            self._timer.mark()

        return run


@dataclass(frozen=True)
class _Pass:
    """A run and the stage that each of its laps belongs to, if it counts."""

    run: Callable[[], None]
    stages: tuple[int | None, ...]

    def timings(self, runs: Sequence[Sequence[Lap]]) -> dict[int, Timing]:
        """By stage. A stage that takes a batch in several blocks has several laps a run."""
        found: dict[int, list[Lap]] = {}
        for laps in runs:
            sums: dict[int, Lap] = {}
            for stage, lap in zip(self.stages, laps, strict=True):
                if stage is not None:
                    sums[stage] = sums.get(stage, Lap(0.0)) + lap
            for stage, lap in sums.items():
                found.setdefault(stage, []).append(lap)
        return {stage: timing(laps) for stage, laps in found.items()}


def _whole(chain: Chain, *, held_out: int, seed: int) -> dict[str, Subset]:
    """The subsets whose whole networks are timed: anchors spread over the depth, then others.

    The held-out ones are drawn in all sizes, and none is an anchor.
    """
    names = [unit.name for unit in chain.units]
    spread = np.linspace(0, len(names) - 1, min(_ANCHORS - 1, len(names))).round().astype(int)
    anchors = [Subset(), *(Subset([names[place]]) for place in dict.fromkeys(spread.tolist()))]
    rng = np.random.default_rng(seed)
    others: list[Subset] = []
    for _ in range(20 * held_out):  # a few units make few subsets
        size = int(rng.integers(1, max(2, min(len(names), 8) + 1)))
        drawn = set(rng.choice(names, size=min(size, len(names)), replace=False).tolist())
        subset = Subset(name for name in names if name in drawn)
        if subset not in anchors and subset not in others and len(others) < held_out:
            others.append(subset)
    return {
        **{f"{_ANCHOR}{index}": subset for index, subset in enumerate(anchors)},
        **{f"held out {index}": subset for index, subset in enumerate(others)},
    }


def _stages(
    passes: Mapping[str, _Pass], laps: Mapping[str, Sequence[Sequence[Lap]]]
) -> tuple[StageTiming, ...]:
    found = {name: one.timings(laps[name]) for name, one in passes.items()}
    return tuple(
        StageTiming(
            alone=found["alone"][stage],
            # The first stage is never frozen in a branch: whatever forks there is tuned there.
            frozen=found["frozen"].get(stage, found["tuned"][stage]),
            tuned=found["tuned"][stage],
            joined=found["joined"][stage] if "joined" in found else None,
        )
        for stage in found["alone"]
    )


def _completed(
    table: LatencyTable,
    whole: Mapping[str, Sequence[Sequence[Lap]]],
    subsets: Mapping[str, Subset],
) -> LatencyTable:
    """The table with its overhead, and with what the held-out subsets took."""
    added: dict[str, Timing] = {}
    for name in subsets:
        took = timing([lap for (lap,) in whole[name]])
        added[name] = replace(took, median=took.median - table.original.median)
    least, *others = (name for name in added if name.startswith(_ANCHOR))  # the head alone first
    head = added[least].median
    # Forking takes something, however little: below 0 it is noise that speaks.
    table = replace(table, overhead=max(0.0, head - table.stages[-1].tuned.median))
    ratios = [
        (added[name].median - head) / (table.predict(subsets[name]) - table.predict([]))
        for name in others
        if table.predict(subsets[name]) > table.predict([])
    ]
    factor = statistics.median(ratios) if ratios else 1.0
    # Further from 1 it is noise that speaks.
    table = replace(table, factor=min(max(factor, _LEAST_FACTOR), 1 / _LEAST_FACTOR))
    held_out = tuple(
        HeldOut(
            subset=tuple(subsets[name]),
            predicted=table.predict(subsets[name]),
            measured=timed.median,
            spread=timed.spread,
        )
        for name, timed in added.items()
        if not name.startswith(_ANCHOR)
    )
    return replace(table, held_out=held_out)


@contextmanager
def _threads(wanted: int | None) -> Iterator[int]:
    """That many CPU threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(wanted or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def _served_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    dtype = _DTYPES.get(precision)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def _processor() -> str:
    """What the CPU calls itself."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
