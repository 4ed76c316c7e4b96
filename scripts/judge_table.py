#!/usr/bin/env python
"""Trains every subset of a small backbone's units: the table that search strategies are judged by.

    python scripts/judge_table.py search_spaces/resnet20_cifar10_jpeg.yaml --seeds 0 1 2
    python scripts/judge_table.py search_spaces/resnet20_mnist.yaml --seeds 0 1 2

For each seed (it decides the training and validation images, batches and head) every subset of the
ten units is trained once, as a trial of a search trains it, on 1,000 images, and judged after every
epoch on 1,000 other images and at the end on test images. What is kept is one bit a sample, so that
a strategy can be replayed against the table with the paired comparisons it would have made. The
files are `<output>/<study>-seed<k>.npz`; a run that is cut short goes on where it stopped, on a
processor of the same kind: what trains in bfloat16 here and in float32 there is no one table.
Several processes may fill one table: each is given its `--share`, on a core of its own
(`taskset -c 0 ... --share 1/2 & taskset -c 1 ... --share 2/2`).

A table that is not full is a sample of the subsets: all up to three units, then others in random
order. Before these come the subsets that `replay_tables.py --lacking` found strategies to ask for.
"""

import argparse
import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from layersearch.build.components import Components, build_components
from layersearch.build.given import NOTHING_GIVEN
from layersearch.config import load_config
from layersearch.data import Samples
from layersearch.space import Subset, derive_seed
from layersearch.space.trial import WorkerPlace
from layersearch.subtuning import feature_store, open_workplace
from layersearch.subtuning.training import evaluate, train

SAVE_EVERY = 16  # subsets
SCHEDULES = (1, 5)  # epochs; each is a whole cosine


def main() -> None:
    """Fills the tables of all seeds in turn."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", help="the search file: backbone, data and recipe")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--holdout", type=int, default=1000, help="validation images")
    parser.add_argument("--test", type=int, default=4000, help="test images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--first", type=Path, help="subsets to train first, of replay_tables.py")
    parser.add_argument("--share", type=share, default=(1, 1), metavar="I/N")
    parser.add_argument("--output", type=Path, default=Path("runs/tables"))
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        config = load_config(
            arguments.config,
            [
                f"seed={seed}",
                f"data.holdout={arguments.holdout}",
                "data.folds=null",
                f"data.test_samples={arguments.test}",
                *arguments.override,
            ],
        )
        parts = build_components(config, NOTHING_GIVEN)
        name = f"{Path(arguments.config).stem}-seed{seed}"
        wanted = json.loads(arguments.first.read_text()) if arguments.first else {}
        fill(
            parts,
            arguments.output / f"{name}.npz",
            first=[Subset(units) for units in wanted.get(name, ())],
            share=arguments.share,
            threads=arguments.threads,
        )


def share(text: str) -> tuple[int, int]:
    """'2/3' is (2, 3), the second of three shares."""
    number, of = map(int, text.split("/"))
    if not 1 <= number <= of:
        raise ValueError(text)
    return number, of


def fill(
    parts: Components,
    path: Path,
    *,
    first: Sequence[Subset],
    share: tuple[int, int],
    threads: int,
) -> None:
    """Trains a share of what the table at `path` lacks, `first` of all the subsets wanted most."""
    materials = parts.materials
    place = WorkerPlace(number=0, threads=threads)
    workplace = open_workplace(materials, place)
    data = materials.data
    data.test.unseal()  # no search is made here: the table's purpose is to judge searches
    test: Samples = data.test.open("the table that strategies are judged by")
    test_features = feature_store(
        materials,
        workplace.chain,
        test.images,
        device=workplace.device,
        precision=workplace.precision,
        part="test",
    )
    (fold,) = data.folds
    everything = torch.arange(len(test))
    targets = workplace.labels.cpu()[fold.validation]
    table = Table(
        path,
        units=[unit.name for unit in workplace.chain.units],
        precision=workplace.precision,
    )
    for bits in table.missing(first, share):
        subset = table.subset(bits)
        validation: list[NDArray[np.uint8]] = []
        judged = torch.empty(0)
        for epochs in SCHEDULES:
            network = train(
                workplace,
                subset,
                fold.train,
                replace(materials.recipe, epochs=epochs),
                seed=derive_seed(materials.seed, "fold", fold.number),
            )
            judge = partial(
                evaluate, network, device=workplace.device, precision=workplace.precision
            )
            scores = judge(workplace.features, fold.validation)
            validation.append(np.packbits((scores.argmax(1) == targets).numpy()))
            if epochs == SCHEDULES[-1]:
                judged = judge(test_features, everything)
        right = np.packbits((judged.argmax(1) == test.labels).numpy())
        table.add(bits, np.stack(validation), right)
        if table.unsaved >= SAVE_EVERY:
            table.save()
            print(table.progress(), flush=True)
    table.save()
    print(table.progress(), flush=True)


class Table:
    """Rows of subsets, in a file.

    Args:
        path: of the file; it need not exist.
        units: of the backbone.
        precision: that subsets are trained in; None: that of the file.
    """

    def __init__(self, path: Path, *, units: list[str], precision: str | None = None) -> None:
        self.path = path
        self.units = units
        self.precision = precision
        self.unsaved = 0
        self.rows: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = {}
        self._read()

    def subset(self, bits: int) -> Subset:
        """Bit u of `bits` is unit u."""
        return Subset([unit for index, unit in enumerate(self.units) if bits >> index & 1])

    def bits(self, subset: Subset) -> int:
        """The same the other way."""
        return sum(1 << index for index, unit in enumerate(self.units) if unit in subset)

    def missing(
        self, first: Sequence[Subset] = (), share: tuple[int, int] = (1, 1)
    ) -> Iterator[int]:
        """`first`, then up to three units, then the others in random order: a sample of them.

        Every n-th of them, for a share of n, whatever the table has already.
        """
        every = range(2 ** len(self.units))
        shuffled = np.random.default_rng(0).permutation(len(every))
        order = sorted(every, key=lambda bits: (bits.bit_count() > 3, shuffled[bits]))
        wanted = dict.fromkeys([*map(self.bits, first), *order])
        number, of = share
        return iter([bits for bits in list(wanted)[number - 1 :: of] if bits not in self.rows])

    def add(
        self,
        bits: int,
        validation: NDArray[np.uint8],  # (schedules, packed samples)
        test: NDArray[np.uint8],  # (packed samples,)
    ) -> None:
        """Adds a row."""
        self.rows[bits] = (validation, test)
        self.unsaved += 1

    def save(self) -> None:
        """Writes the file anew, aside first, with what other processes have added to it."""
        with self._locked():
            self._read()
            self._write()
        self.unsaved = 0

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
            yield

    def _read(self) -> None:
        if not self.path.exists():
            return
        with np.load(self.path, allow_pickle=False) as file:
            assert list(file["units"]) == self.units
            filled_in = str(file["precision"])
            if self.precision not in (None, filled_in):
                raise SystemExit(
                    f"{self.path}: was filled in {filled_in}, and would go on in {self.precision}; "
                    f"set recipe.precision={filled_in}, or --output elsewhere"
                )
            self.precision = filled_in
            validation, test = file["validation"], file["test"]
            for index, bits in enumerate(file["subsets"].tolist()):
                self.rows.setdefault(bits, (validation[index], test[index]))

    def _write(self) -> None:
        order = sorted(self.rows)
        values: dict[str, Any] = {
            "units": np.array(self.units),
            "precision": np.array(self.precision),
            "subsets": np.array(order, dtype=np.int64),
            "validation": np.stack([self.rows[bits][0] for bits in order]),
            "test": np.stack([self.rows[bits][1] for bits in order]),
            "schedules": np.array(SCHEDULES),
        }
        aside = self.path.with_suffix(".partial.npz")
        np.savez_compressed(aside, **values)
        aside.replace(self.path)

    def progress(self) -> str:
        """How far it is, and the best test score so far."""
        best = max(self.rows, key=lambda bits: int(np.bitwise_count(self.rows[bits][1]).sum()))
        hits = int(np.bitwise_count(self.rows[best][1]).sum())
        return (
            f"{self.path.name}: {len(self.rows)} of {2 ** len(self.units)} subsets; "
            f"best on test: {self.subset(best)} {hits} right"
        )


if __name__ == "__main__":
    main()
