"""The Ray that runs the trials: joined, or started for the search and shut down after it."""

import contextlib
import logging
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from layersearch.errors import SearchError
from layersearch.execution.ray_tune.options import ClusterOptions

_LOOK = 2.0  # seconds between two looks at the nodes
_CLEAN = 30.0  # seconds that nodes have to clean up
_TINY = 1e-6  # against rounding: a third of a GPU fits three times


class Cluster:
    """A connection to Ray; a context manager that ends it, and only what it has begun.

    Attributes:
        needs: what a trial takes, in Ray's names: {'CPU': 1.0, 'GPU': 0.5}.
        started: whether this Ray was started for the search.

    Raises:
        SearchError: there is no cluster at the address.
    """

    def __init__(self, options: ClusterOptions) -> None:
        self._options = options
        self._connected = False
        self.started = False
        self.needs: Mapping[str, float] = {}
        self._looked = float("-inf")
        self._rooms: list[int] = []

    def __enter__(self) -> Self:
        with _signals_kept():
            self._connect()
        try:
            self.needs = self._needs()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the cluster, or ends it if it was started here."""
        if self._connected:
            self._connected = False
            with _signals_kept():
                ray.shutdown()

    def room(self) -> int:
        """Trials that run at the same time on the nodes there are now, others' work left out."""
        return sum(self._rooms_now())

    def room_of_largest_node(self) -> int:
        """Trials that run at the same time on the node that takes most of them."""
        return max(self._rooms_now(), default=0)

    @property
    def total(self) -> dict[str, float]:
        """CPUs and GPUs of all nodes together."""
        found = ray.cluster_resources()
        return {name: found.get(name, 0.0) for name in ("CPU", "GPU")}

    def describe(self) -> str:
        """What it has, in words."""
        nodes = sum(node["Alive"] for node in ray.nodes())
        return f"{_plural(nodes, 'node')} with {_words(self.total)}"

    def shortage(self) -> str:
        """What is asked for and what is there, in words."""
        free = ray.available_resources()
        asked = _words(self.needs)
        if self.room() == 0:
            return f"a trial takes {asked}, and no node has so much: there is {self.describe()}"
        free_words = _words({name: free.get(name, 0.0) for name in ("CPU", "GPU")})
        return f"a trial takes {asked}; of {self.describe()}, {free_words} are free"

    def clean(self, function: Callable[[], object]) -> None:
        """Calls a function once on every node, if the cluster outlives the search."""
        if self.started:
            return

        def call() -> None:  # Ray takes no partial functions
            function()

        task = ray.remote(num_cpus=0)(call)
        calls = [
            task.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote()
            for node in ray.nodes()
            if node["Alive"]
        ]
        ray.wait(calls, num_returns=len(calls), timeout=_CLEAN)

    # --- Connecting -------------------------------------------------------------------------------

    def _connect(self) -> None:
        address = self._options.address or os.environ.get("RAY_ADDRESS")
        if address is not None and "://" in address:
            raise SearchError(
                f"execution.address: must be 'auto' or host:port, got {address!r}; run the search "
                "on a node of the cluster, or join this machine to it ('ray start --address=…')"
            )
        if ray.is_initialized():
            return  # by the user's own code: it stays as it is
        if address is None or address == "local":
            self._start()
        else:
            self._join(address)
        self._connected = True

    def _start(self) -> None:
        options = self._options
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        # As with local workers: so many trials at once as are asked for, on the cores there are.
        cpus = max(cores or os.cpu_count() or 1, math.ceil((options.workers or 1) * options.cpus))
        with environment({"RAY_USAGE_STATS_ENABLED": "0"}), _quiet():
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address="127.0.0.1",
            )
        self.started = True

    def _join(self, address: str) -> None:
        try:
            with _quiet():
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError, AssertionError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise SearchError(
                f"execution.address: cannot join a Ray cluster at {address!r} ({reason}); start "
                "one with 'ray start --head', or leave the address out for a Ray of this machine"
            ) from error

    def _needs(self) -> dict[str, float]:
        options = self._options
        gpus = options.gpus
        if gpus is None:
            on_gpu = options.device is None and self.total["GPU"] > 0
            gpus = 1.0 / options.trials_per_gpu if on_gpu else 0.0
        needs = {"CPU": options.cpus, "GPU": gpus}
        return {name: amount for name, amount in needs.items() if amount > 0}

    def _rooms_now(self) -> list[int]:
        if time.monotonic() - self._looked > _LOOK:
            self._looked = time.monotonic()
            alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            self._rooms = [self._room_on(node) for node in alive]
        return self._rooms

    def _room_on(self, node: Mapping[str, float]) -> int:
        return min(int(node.get(name, 0.0) / amount + _TINY) for name, amount in self.needs.items())


def _words(amounts: Mapping[str, float]) -> str:
    return " and ".join(_plural(amount, name) for name, amount in amounts.items())


def _plural(amount: float, word: str) -> str:
    return f"{amount:g} {word}{'' if amount == 1 else 's'}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Ray's announcement of how it will treat GPUs in future versions."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"ray\.")
        warnings.filterwarnings("ignore", category=ResourceWarning)
        yield


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """These variables, where the user has not set them."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself; what handled it before, does so again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
