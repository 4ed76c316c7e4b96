"""FeatureStore: the values at every cut of the frozen backbone, computed once, kept where it pays.

N: samples; B: samples of a batch; cut k: the inputs of stage k; view -1: the evaluation view.

A *block* holds the values at one cut, in one view, of all samples that the view is used for. It is
built when first asked for, in one pass over the data, from the nearest earlier block; or many cuts
in one pass, by `prefetch`. Whether a block is kept is decided by what was measured on this machine
(loading against computing), and by the budgets of the tiers.

Stored and computed values are equal to the last bit when they are computed in batches of equal size
on the same device. Where kernels are chosen by batch size they differ by rounding: in float32 by
about 1e-6 of the largest value.
"""

import hashlib
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor

from layersearch.subtuning.features.blocks import Values
from layersearch.subtuning.features.building import Builder
from layersearch.subtuning.features.checksums import CorruptFileError
from layersearch.subtuning.features.coverage import Coverage
from layersearch.subtuning.features.opening import open_tiers
from layersearch.subtuning.features.placement import Name
from layersearch.subtuning.features.prefix import EVALUATION_VIEW, Prefix, PrefixChain, ViewSource
from layersearch.subtuning.features.rates import LoadRates
from layersearch.subtuning.features.shelf import Entry, Policy, Shelf
from layersearch.subtuning.features.tiers import Budget
from layersearch.subtuning.recipe import Precision

_FORMAT = 1  # of what is stored
_IMAGES_SHARE = 4  # images move to the device if they take less than its budget divided by this


class FeatureStore:
    """The values at the cuts of a frozen backbone, for the trials that train what comes after.

    Args:
        chain: the backbone on the device, cut into stages. Its stages run in eval mode.
        images: (N, C, H, W) uint8 on the host, or float features (N, ...), of all samples.
        views: augmentation and preprocessing.
        device: where values are wanted.
        precision: of the trials; the frozen stages run under the same autocast.
        storage: 'exact' stores what was computed; 'bf16' rounds float32 values to half the bytes.
        channels_last: whether preprocessed images are laid out so.
        budget: bytes that stored values may take.
        directory: where the workers of a node share blocks; None: this process keeps its own. Disk
            files go there, shared host memory under /dev/shm.
        memory_directory: where to share host memory instead.
        key: hash of backbone weights, data and views: blocks of another key are never used.
        batch_size: samples computed at a time.
        view_samples: (M,) the samples that views but the evaluation view are used for; None: all.
        policy: 'measured' keeps what loads faster than it computes; 'always' all that fits the
            budget; 'never' nothing.
        patience: seconds to wait for a block that another worker is building; None: as long as
            building it here would take.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        chain: PrefixChain,
        images: Tensor,
        views: ViewSource,
        *,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
        storage: Literal["exact", "bf16"] = "exact",
        channels_last: bool = False,
        budget: Budget = Budget(),  # noqa: B008  # frozen
        directory: Path | None = None,
        memory_directory: Path | None = None,
        key: str = "",
        batch_size: int = 128,
        view_samples: Tensor | None = None,
        policy: Policy = "measured",
        patience: float | None = None,
    ) -> None:
        _check_arguments(storage, policy, batch_size, key, shared=directory is not None)
        device = torch.device(device)
        budget, images = _with_images(budget, images, device)
        self._prefix = Prefix(
            chain,
            images,
            views,
            device=device,
            precision=precision,
            channels_last=channels_last,
            batch_size=batch_size,
            compact=storage == "bf16",
        )
        self._disk_bytes = budget.disk_bytes
        self._views = views
        self._numbers: dict[int, int] = {}  # view -> the distinct view that it stands for
        everything = Coverage(len(images))
        self._covers = (everything, Coverage(len(images), view_samples))
        identity = {
            "format": _FORMAT,
            "key": key,
            "precision": precision,
            "storage": storage,
            "channels_last": channels_last,
            "batch_size": batch_size,
            "device": device.type,
            "torch": torch.__version__,
            "samples": len(images),
            "view_samples": _digest(view_samples),
        }
        self._shelf = Shelf(
            open_tiers(
                budget,
                device=device,
                directory=directory,
                memory_directory=memory_directory,
                identity=identity,
            ),
            self._prefix,
            LoadRates(self._prefix, device=device),
            policy=policy,
            count=lambda view: len(self._coverage(view)),
        )
        self._builder = Builder(
            self._prefix, self._shelf, coverage=self._coverage, patience=patience
        )
        self._entries = self._shelf.entries  # looked up once a batch
        self._policy: Policy = policy
        self._storable = tuple(chain.cacheable(k) for k in range(len(chain.stages)))
        self._lock = threading.RLock()  # one thread decides and builds; loading needs none
        self._tick = 0
        self._hits = 0
        self._misses = 0
        self._loading_s = 0.0
        self._computing_s = 0.0

    def values(self, cut: int, samples: Tensor, view: int) -> Values:
        """The values at a cut for some samples in a view: fresh tensors, ready for autograd.

        Args:
            cut: k, for the inputs of stage k.
            samples: (B,) int64 indices of samples; on the host this costs least.
            view: number of the augmentation view; -1: the evaluation view.

        Returns:
            The values on the device, each (B, ...).

        Raises:
            ValueError: there is no such cut.
        """
        number = self._numbers.get(view)
        view = self._number(view) if number is None else number
        entry = self._entries.get((cut, view))
        if entry is not None:
            values = self._load(entry, samples)
            if values:
                return values
        return self._absent(cut, samples, view)

    def prefetch(self, cuts: Iterable[int], view: int) -> None:
        """Builds the blocks of several cuts in one pass over the data, where that pays and fits.

        Args:
            cuts: that will be asked for.
            view: in which view.

        Raises:
            ValueError: there is no such cut.
        """
        if self._policy == "never":
            return
        view = self._number(view)
        with self._lock:
            names = {(self._target(cut), view) for cut in cuts}
            self._builder.obtain(
                [name for name in names if name not in self._entries], tick=self._tick
            )

    def lend(self) -> Budget:
        """Gives a part of the budget away, for another store of the same process.

        Half of the memory, or more if more is free: the two together keep to the budget. Its part
        of a disk both may use, if they name one directory.
        """
        with self._lock:
            lent = self._shelf.lend()
        return Budget(
            device_bytes=lent.get("device", 0),
            host_bytes=lent.get("host", 0),
            disk_bytes=self._disk_bytes,
        )

    @property
    def multiply_adds(self) -> int:
        """Of all that was computed here so far; the same number as in `statistics`, for less."""
        return self._prefix.multiply_adds

    def statistics(self) -> dict[str, Any]:
        """What the store did so far, as plain values.

        `bytes`: by tier (shared tiers: of all processes); `hits` and `misses`: batches loaded and
        computed; `blocks`: how many were built here, found built, evicted, given up as slow;
        `multiply_adds`: of all that was computed here; `seconds`: of loading, computing, building,
        measuring and waiting for others (on a GPU those of loading and computing are of launching);
        `decisions`: by cut, what is done and the measured seconds a sample.
        """
        tally = self._shelf.tally
        return {
            "bytes": {tier.name: tier.used() for tier in self._shelf.tiers},
            "hits": self._hits,
            "misses": self._misses,
            "blocks": {
                "stored": len(self._entries),
                "built": tally.built,
                "found": tally.found,
                "evicted": tally.evicted,
                "slow": tally.slow,
            },
            "multiply_adds": self._prefix.multiply_adds,
            "seconds": {
                "loading": self._loading_s,
                "computing": self._computing_s,
                "building": self._builder.building_s,
                "measuring": self._prefix.measuring_s,
                "waiting": self._builder.waiting_s,
            },
            "decisions": self._shelf.decisions(),
        }

    def close(self, *, remove: bool = False) -> None:
        """Gives all blocks up; from then on values are computed.

        Args:
            remove: delete the files, unless another process uses them: at the end of a search.
        """
        with self._lock:
            self._policy = "never"
            self._shelf.close(remove=remove)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _load(self, entry: Entry, samples: Tensor) -> Values:
        """The values of samples; nothing if the block has not all of them, or was given up."""
        rows = self._coverage(entry.name[1]).rows(samples)
        if rows is None:
            return ()
        self._tick += 1
        entry.last_used = self._tick
        try:
            entry.block.check(rows)  # once for each row: no part of what loading costs
        except CorruptFileError as error:
            with self._lock:
                self._shelf.damaged(entry, error)
            return ()
        started = time.perf_counter()
        values = entry.block.load(rows)
        seconds = time.perf_counter() - started
        self._loading_s += seconds
        self._hits += 1
        if entry.tier.name == "disk":
            self._shelf.watch(entry, seconds / max(1, len(samples)))
        return values

    def _absent(self, cut: int, samples: Tensor, view: int) -> Values:
        target = self._target(cut)
        if target != cut:  # its values cannot be stored: those before can
            values = self.values(target, samples, view)
            return self._prefix.run(values, target, cut, count=len(samples))
        self._tick += 1
        if self._policy != "never" and self._coverage(view).rows(samples) is not None:
            entry = self._stored((cut, view))
            values = () if entry is None else self._load(entry, samples)
            if values:
                return values
            self._shelf.missed((cut, view), asked=len(samples))
        started = time.perf_counter()
        values = self._builder.compute(cut, samples, view)
        self._computing_s += time.perf_counter() - started
        self._misses += 1
        return values

    def _stored(self, name: Name) -> Entry | None:
        """The block, built now if it is time for that."""
        if self._shelf.due(name, tick=self._tick):
            with self._lock:
                if name not in self._entries:
                    self._builder.obtain([name], tick=self._tick)
        return self._entries.get(name)

    def _number(self, view: int) -> int:
        number = self._numbers[view] = self._views.number(view)
        return number

    def _target(self, cut: int) -> int:
        """The cut to store for the sake of `cut`: itself, or the latest before it that can be."""
        if not 0 <= cut < len(self._storable):
            raise ValueError(f"FeatureStore: cuts are 0 to {len(self._storable) - 1} ({cut})")
        while cut and not (self._storable[cut] and self._prefix.storable(cut)):
            cut -= 1
        return cut

    def _coverage(self, view: int) -> Coverage:
        return self._covers[view != EVALUATION_VIEW]


def _check_arguments(storage: str, policy: str, batch_size: int, key: str, *, shared: bool) -> None:
    if storage not in ("exact", "bf16"):
        raise ValueError(f"FeatureStore: storage is 'exact' or 'bf16' ({storage!r})")
    if policy not in get_args(Policy):
        raise ValueError(f"FeatureStore: policy is one of {get_args(Policy)} ({policy!r})")
    if batch_size < 1:
        raise ValueError(f"FeatureStore: batch_size is at least 1 ({batch_size})")
    if shared and not key:
        raise ValueError("FeatureStore: files need a key, the hash of what they are features of")


def _with_images(budget: Budget, images: Tensor, device: torch.device) -> tuple[Budget, Tensor]:
    """The images on the device if they are a small part of its budget, and what is left of it."""
    nbytes = images.numel() * images.element_size()
    if device.type == "cpu" or nbytes * _IMAGES_SHARE > budget.device_bytes:
        return budget, images
    return replace(budget, device_bytes=budget.device_bytes - nbytes), images.to(device)


def _digest(samples: Tensor | None) -> str:
    if samples is None:
        return "all"
    data = samples.cpu().sort().values.numpy().tobytes()
    return hashlib.blake2b(data, digest_size=8).hexdigest()
