"""On what, and how, the added serving latency is measured: the section `objective.latency`."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from layersearch.config.values import Seconds, Section, wrong

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def _known_device(device: str) -> str:
    if _DEVICE.fullmatch(device) is None:
        raise wrong(f"must be a device, got {device!r}", "write auto, cpu, cuda, cuda:0 or mps")
    return device


class LatencyConfig(Section):
    """How the added serving latency, `latency_ms`, is measured.

    It is measured once, before the first trial, where a metric or a constraint asks for
    `latency_ms`, or this section is given; the study keeps the table.
    """

    # That serves: auto (the first that the search trains on), cpu, cuda, cuda:0 or mps.
    device: Annotated[str, AfterValidator(_known_device)] = "auto"
    batch_size: Annotated[int, Field(ge=1)] = 1  # images that are served at once
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # that is served in
    threads: Annotated[int, Field(ge=1)] | None = None  # of the CPU; null: as PyTorch chooses
    repeats: Annotated[int, Field(ge=3)] = 50  # timed runs of each, of which the median counts
    warm_up: Annotated[int, Field(ge=0)] = 10  # runs before, which do not count
    # Subsets whose whole network is timed too, to say how wrong the table is; none of them went
    # into it.
    held_out: Annotated[int, Field(ge=0)] = 8
    # The most that measuring may take: the repeats are fewer where it would take longer.
    seconds: Seconds = 120.0
    # A file that `layersearch latency --output` wrote, on the machine that will serve, say: nothing
    # is measured then.
    table: str | None = None
