#!/usr/bin/env python3
"""What it costs to serve several tasks beside a backbone: time and memory of the forked network.

    python scripts/benchmark_serving.py                # all of it: an hour or two on two CPU cores
    python scripts/benchmark_serving.py --quick        # few rows and rounds: some minutes

For each model, batch size, fork and number of tasks, with random weights, in one run and in turns,
so that whatever else the machine does slows all of them alike:

- original: the backbone alone, which is the trunk that all tasks share;
- separate: the backbone, then every task's own network, one after the other (of more than two tasks
  two are run, and their time is multiplied);
- forked: all of them as one network.

Every task tunes the one block at its fork ('head': none), and all layers after it are frozen. Times
are medians of the rounds; ratios are medians of each round's own. The floor is what the forked
network would take if it did every multiply-add as fast as the original does its own, or, where that
is more, the time to read all weights as fast as this machine copies memory. 'x separate' is
separate / forked: how many times as fast; 'x floor' is forked / floor. Memory is of weights: what
the tasks add to the original, forked and as separate networks; on a GPU also the peak of a call.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from layersearch.backbones import Chain, build_chain, load_backbone
from layersearch.serving.branch import BranchNetwork, random_branch
from layersearch.serving.forked import ForkedNetwork
from layersearch.space import Subset

COLUMNS = {
    "model": "",
    "batch": "",
    "fork": "",
    "tasks": "",
    "original, ms": ".1f",
    "separate, ms": ".1f",
    "forked, ms": ".1f",
    "x separate": ".2f",
    "x floor": ".2f",
    "tasks add, MB": ".1f",
    "separate add, MB": ".1f",
    "peak, MB": ".0f",
}
FORKS = ("early", "middle", "late", "head")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
RUN_SEPARATELY = 2  # own networks that are really run; more are multiplied


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the table, before it is measured."""

    model: str
    chain: Chain
    fork: str
    tasks: int
    batch: int


class OwnNetwork(nn.Module):
    """A task's network run from the images to its scores, without the others."""

    def __init__(self, chain: Chain, branch: BranchNetwork) -> None:
        super().__init__()
        self.stages = nn.ModuleList(branch.own.get(i, s) for i, s in enumerate(chain.stages))

    def forward(self, images: Tensor) -> Tensor:
        """Scores of the task."""
        values: tuple[Tensor, ...] = (images,)
        for stage in self.stages:
            values = stage(*values)
        return values[0]


def subset_at(chain: Chain, fork: str) -> Subset:
    """The one block that a task tunes: the first, middle or last that takes part in the work."""
    if fork == "head":
        return Subset()
    least = sum(chain.multiply_adds) / 100
    blocks = [unit.name for unit in chain.units if unit.multiply_adds >= least][1:]
    return Subset([{"early": blocks[0], "middle": blocks[len(blocks) // 2]}.get(fork, blocks[-1])])


def timed(
    run: Callable[[], object], device: torch.device, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds of one call, to the end of what it started on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = clock()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - began


def copy_speed(device: torch.device, clock: Callable[[], float]) -> float:
    """Bytes a second that a copy reads: the best of some."""
    source = torch.ones(64 * 2**20, device=device)
    target = torch.empty_like(source)
    best = min(timed(lambda: target.copy_(source), device, clock) for _ in range(20))
    return source.nbytes / best


def weight_bytes(network: nn.Module) -> int:
    """Of parameters and buffers, each once."""
    tensors = {id(t): t for t in [*network.parameters(), *network.buffers()]}
    return sum(tensor.nbytes for tensor in tensors.values())


def added_bytes(network: ForkedNetwork, original: nn.Module) -> int:
    """What the branches hold that is not the original's; tensors may be views of one storage."""
    known = {t.untyped_storage().data_ptr() for t in [*original.parameters(), *original.buffers()]}
    found = {}
    for tensor in [*network.parameters(), *network.buffers()]:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


def peak(run: Callable[[], object], device: torch.device) -> float | None:
    """Megabytes that a call needs beside what is there; None where nobody counts."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 1e6


def measure(
    case: Case,
    *,
    device: torch.device,
    rounds: int,
    speed: float,
    clock: Callable[[], float],
) -> dict[str, object]:
    """One row of the table."""
    chain, original = case.chain, case.chain.network
    subset = subset_at(chain, case.fork)
    branches = [
        BranchNetwork(chain, random_branch(chain, subset, name=f"task {i}", seed=i))
        for i in range(case.tasks)
    ]
    forked = ForkedNetwork(chain, branches)
    alone = [OwnNetwork(chain, branch) for branch in branches[:RUN_SEPARATELY]]
    height, width = chain.input_shape[-2:]
    images = torch.randn(case.batch, chain.input_shape[0], height, width).to(device)
    ways: dict[str, Callable[[], object]] = {
        "original": lambda: original(images),
        "alone": lambda: [network(images) for network in alone],
        "forked": lambda: forked(images),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    with torch.inference_mode():
        check(forked, alone, images)  # which also warms up
        for number in range(rounds):
            order = list(ways)[number % 3 :] + list(ways)[: number % 3]
            for way in order:
                times[way].append(timed(ways[way], device, clock))
        used = peak(ways["forked"], device)
    per_task = len(alone) / case.tasks
    separate = [o + a / per_task for o, a in zip(times["original"], times["alone"], strict=True)]
    share = sum(chain.multiply_adds[branches[0].fork :]) / sum(chain.multiply_adds)
    added = added_bytes(forked, original)
    reading = (weight_bytes(original) + added) / speed
    floors = [max(o * (1 + case.tasks * share), reading) for o in times["original"]]
    return {
        "model": case.model,
        "batch": case.batch,
        "fork": case.fork,
        "tasks": case.tasks,
        "original, ms": statistics.median(times["original"]) * 1e3,
        "separate, ms": statistics.median(separate) * 1e3,
        "forked, ms": statistics.median(times["forked"]) * 1e3,
        "x separate": ratio(separate, times["forked"]),
        "x floor": ratio(times["forked"], floors),
        "tasks add, MB": added / 1e6,
        "separate add, MB": case.tasks * weight_bytes(alone[0]) / 1e6,
        "peak, MB": used,
    }


def check(forked: ForkedNetwork, alone: Sequence[OwnNetwork], images: Tensor) -> None:
    """What is timed must be right.

    Raises: ValueError: if scores differ.
    """
    scores = forked(images)
    if not torch.equal(scores["original"], forked.original(images)):
        raise ValueError("the original's scores are not the backbone's")
    for number, network in enumerate(alone):
        expected = network(images)
        scale = expected.abs().max().item()
        if not torch.allclose(scores[f"task {number}"], expected, rtol=1e-3, atol=1e-3 * scale):
            raise ValueError(f"the scores of task {number} are not those of its own network")


def ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def cases(arguments: argparse.Namespace, device: torch.device) -> Iterator[Case]:
    """All rows, model by model."""
    for model in arguments.models:
        chain = build_chain(load_backbone(model, weights=None, input_size=arguments.input_size)).to(
            device
        )
        for batch in arguments.batch_sizes:
            for fork in arguments.forks:
                for tasks in arguments.tasks:
                    yield Case(model=model, chain=chain, fork=fork, tasks=tasks, batch=batch)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Time and memory of serving several tasks beside a backbone."
    )
    parser.add_argument("--quick", action="store_true", help="1, 4 tasks; batch 1, 4; 3 rounds")
    parser.add_argument("--device", default=None, help="'cpu', 'cuda'; default: a GPU if there is")
    parser.add_argument("--models", nargs="+", default=["resnet50", "vit_b_16"])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=None)
    parser.add_argument("--tasks", nargs="+", type=int, default=None)
    parser.add_argument("--forks", nargs="+", choices=FORKS, default=list(FORKS))
    parser.add_argument("--rounds", type=int, default=None, help="of which medians are taken")
    parser.add_argument("--input-size", type=int, default=None, help="pixels; default: the model's")
    parser.add_argument("--threads", type=int, default=None, help="of the CPU; default: PyTorch's")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="'cpu': processor time of all threads, for a machine that others use too",
    )
    arguments = parser.parse_args()
    quick = arguments.quick
    arguments.batch_sizes = arguments.batch_sizes or ([1, 4] if quick else [1, 32])
    arguments.tasks = arguments.tasks or ([1, 4] if quick else [1, 2, 4, 8, 16])
    arguments.rounds = arguments.rounds or (3 if quick else 7)
    return arguments


def main() -> None:
    """Prints the table row by row, as Markdown."""
    arguments = parsed()
    if arguments.clock == "cpu" and arguments.device != "cpu":
        raise SystemExit("--clock cpu: sees no GPU's work; give --device cpu")
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    speed = copy_speed(device, CLOCKS[arguments.clock])
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    print(
        f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, float32, "
        f"{arguments.rounds} rounds, {arguments.clock} time; copies read {speed / 1e9:.1f} GB/s\n"
    )
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + " --- |" * len(COLUMNS), flush=True)
    for case in cases(arguments, device):
        row = measure(
            case,
            device=device,
            rounds=arguments.rounds,
            speed=speed,
            clock=CLOCKS[arguments.clock],
        )
        cells = ["" if row[c] is None else format(row[c], form) for c, form in COLUMNS.items()]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
