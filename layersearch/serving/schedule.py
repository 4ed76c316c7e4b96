"""The schedule of a forked network: which stage runs on which rows, in which order.

Notation: N images; stages 0 ... n - 1 of a chain; branch b has rows (b, 0) ... (b, N - 1), one an
image. The original runs every stage on all its N rows at once, just as the backbone alone would, so
its scores are the backbone's to the last bit. A branch's rows may be run in any company: a stage
that is frozen in several branches takes rows of all of them as one batch, and no stage takes more
rows at a time than `blocks` says.

Blocks of rows are run in order of need, depth first, and dropped after their last use: so what is
alive stays small, and in the processor's caches.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from layersearch.backbones import Chain, Values, paired
from layersearch.backbones.heads import HeadKind
from layersearch.serving.branch import BranchNetwork
from layersearch.serving.grouped import GroupedStage


@dataclass(frozen=True)
class Piece:
    """Rows `start` ... `stop` - 1 of what a slot holds; all of them for `stop` None."""

    slot: int
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True, eq=False)
class Step:
    """Runs a stage on the joined pieces and keeps what it gives in a slot."""

    stage: nn.Module
    pieces: tuple[Piece, ...]
    slot: int
    beside: Piece | None = None  # for a Siamese head: the original's features
    head_kind: HeadKind = "linear"  # how it takes them
    frees: tuple[int, ...] = ()  # slots of which this was the last use

    def given(self, slots: Sequence[Values]) -> Values:
        """The values that the stage is given."""
        if len(self.pieces) == 1:
            values = _part(slots, self.pieces[0])
        else:
            parts = [_part(slots, piece) for piece in self.pieces]
            values = tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))
        if self.beside is None:
            return values
        original = _part(slots, self.beside)[0]
        return (paired(original, values[0], kind=self.head_kind), *values[1:])


@dataclass(frozen=True, eq=False)
class Schedule:
    """Steps in order; slot 0 holds the images."""

    steps: tuple[Step, ...]
    slots: int
    scores: tuple[tuple[int, ...], ...]  # slots: of the original, then of each branch

    def run(self, images: Values) -> list[Tensor]:
        """Scores of the original and of each branch."""
        slots: list[Any] = [None] * self.slots
        slots[0] = images
        for step in self.steps:
            slots[step.slot] = step.stage(*step.given(slots))
            for slot in step.frees:
                slots[slot] = None
        return [
            slots[at[0]][0] if len(at) == 1 else torch.cat([slots[slot][0] for slot in at])
            for at in self.scores
        ]


def schedule(
    chain: Chain,
    branches: Sequence[BranchNetwork],
    *,
    images: int,
    rows: Sequence[int | None],
    groups: Mapping[int, Sequence[GroupedStage]] | None = None,
) -> Schedule:
    """The schedule for so many images.

    Args:
        chain: of the backbone.
        branches: at least one; those that fork at one place side by side.
        images: N.
        rows: for each stage the most rows of branches at a time; None: all N rows of one branch.
        groups: by stage, tuned stages of several branches that run as one, if they may take so
            many rows.
    """
    if images == 0:  # nothing to divide; each stage still says what it gives
        rows = [None] * len(rows)
    return _Scheduler(chain, branches, images, rows, groups or {}).run()


@dataclass(eq=False)
class _Block:
    """Rows that go through a stage together: of each branch the same ones."""

    branches: tuple[int, ...]
    start: int
    stop: int
    grouped: nn.Module | None = None  # runs the branches' own stages
    slot: int | None = None  # once it has been run

    @property
    def rows(self) -> int:
        return len(self.branches) * (self.stop - self.start)


@dataclass(eq=False)
class _Scheduler:
    chain: Chain
    branches: Sequence[BranchNetwork]
    images: int
    rows: Sequence[int | None]
    groups: Mapping[int, Sequence[GroupedStage]]
    steps: list[Step] = field(default_factory=list)
    originals: list[int] = field(default_factory=lambda: [0])  # slot of the values at each cut

    def run(self) -> Schedule:
        last = len(self.chain.stages) - 1
        for stage in self.chain.stages:
            self.originals.append(self._add(stage, (Piece(self.originals[-1]),)))
        self.blocks = [self._divide(stage) for stage in range(last + 1)]
        scores: list[tuple[int, ...]] = [(self.originals[-1],)]
        for branch in range(len(self.branches)):
            blocks = self.blocks[last][branch]
            scores.append(tuple(self._slot_of(last, block) for block in blocks))
        return Schedule(_freeing(self.steps, scores), len(self.steps) + 1, tuple(scores))

    def _divide(self, stage: int) -> Mapping[int, Sequence[_Block]]:
        """The blocks of each branch that runs a stage after its fork, in the order of rows."""
        most = self.rows[stage]
        found: dict[int, list[_Block]] = {}
        for grouped in self.groups.get(stage, ()):
            if most is not None and most >= len(grouped.members) * self.images:
                block = _Block(grouped.members, 0, self.images, grouped)
                found.update((number, [block]) for number in block.branches)
        frozen = []
        for number, branch in enumerate(self.branches):
            if number in found:
                continue
            if stage in branch.own or (stage > branch.fork and not self._joinable(most)):
                found[number] = list(self._parts((number,), most))
            elif stage > branch.fork:
                frozen.append(number)
        if frozen and most is not None:
            together = most // self.images
            count = -(-len(frozen) // together)
            for place in range(count):  # blocks of nearly equal size
                first, end = (len(frozen) * (place + i) // count for i in (0, 1))
                block = _Block(tuple(frozen[first:end]), 0, self.images)
                found.update((number, [block]) for number in block.branches)
        return found

    def _joinable(self, most: int | None) -> bool:
        return most is not None and most >= 2 * self.images

    def _parts(self, branches: tuple[int, ...], most: int | None) -> Iterator[_Block]:
        size = self.images if most is None else min(most, self.images)
        for start in range(0, max(1, self.images), max(1, size)):
            yield _Block(branches, start, min(start + size, self.images))

    def _slot_of(self, stage: int, block: _Block) -> int:
        """The slot of a block's values after a stage; adds the steps that it takes."""
        if block.slot is None:
            pieces: list[Piece] = []
            for branch in block.branches:
                pieces += self._pieces(stage, branch, block.start, block.stop)
            own, beside = self.branches[block.branches[0]], None
            if own.siamese and stage == len(self.chain.stages) - 1:
                beside = self._piece(self.originals[stage], block.start, block.stop, self.images)
            module = block.grouped or own.own.get(stage, self.chain.stages[stage])
            block.slot = self._add(module, _joined(pieces), beside)
        return block.slot

    def _pieces(self, stage: int, branch: int, start: int, stop: int) -> Iterator[Piece]:
        """Where rows of a branch lie that enter a stage."""
        if stage <= self.branches[branch].fork:
            yield self._piece(self.originals[stage], start, stop, self.images)
            return
        for block in self.blocks[stage - 1][branch]:
            first, end = max(start, block.start), min(stop, block.stop)
            if first < end or self.images == 0:
                slot = self._slot_of(stage - 1, block)
                offset = block.branches.index(branch) * (block.stop - block.start) - block.start
                yield self._piece(slot, first + offset, end + offset, block.rows)

    def _piece(self, slot: int, start: int, stop: int, rows: int) -> Piece:
        return Piece(slot) if (start, stop) == (0, rows) else Piece(slot, start, stop)

    def _add(self, stage: nn.Module, pieces: tuple[Piece, ...], beside: Piece | None = None) -> int:
        slot = len(self.steps) + 1
        self.steps.append(Step(stage, pieces, slot, beside, self.chain.head_kind))
        return slot


def _joined(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """Neighbouring rows of one slot as one piece: a view, where two would be copied."""
    found: list[Piece] = []
    for piece in pieces:
        if found and found[-1].slot == piece.slot and found[-1].stop == piece.start:
            found[-1] = replace(found[-1], stop=piece.stop)
        else:
            found.append(piece)
    return tuple(found)


def _freeing(steps: Sequence[Step], scores: Sequence[Sequence[int]]) -> tuple[Step, ...]:
    """The steps, each of which drops what nobody needs after it."""
    kept = {slot for slots in scores for slot in slots}
    found: list[Step] = []
    for step in reversed(steps):
        pieces = step.pieces if step.beside is None else (*step.pieces, step.beside)
        used = dict.fromkeys(piece.slot for piece in pieces)
        frees = tuple(slot for slot in used if slot not in kept)
        kept.update(frees)
        found.append(replace(step, frees=frees))
    return tuple(reversed(found))


def _part(slots: Sequence[Values], piece: Piece) -> Values:
    values = slots[piece.slot]
    if piece.stop is None:
        return values
    return tuple(value[piece.start : piece.stop] for value in values)
