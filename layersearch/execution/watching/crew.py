"""The workers of a search and what each does, a row each, with the curves of running trials."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from layersearch.execution.standing import WorkerNow
from layersearch.execution.watching.picture import Picture, RunningTrial
from layersearch.execution.watching.sparkline import sparkline
from layersearch.execution.watching.wording import plural

_DOING = {"trains": "training", "idle": "idle", "starts": "starting", "waits": "waiting for room"}
_NARROW = 60  # columns below which workers have no names
_LONGEST = 28  # columns of a worker's name
_SUBSET = 60  # columns of a subset, at most
_CURVE = (8, 60)  # columns of a curve


def crew_line(crew: Sequence[WorkerNow]) -> str:
    """'3: 2 training, 1 idle', and how many are on which node."""
    doing = Counter(worker.doing for worker in crew if worker.own)
    own = sum(count for what, count in doing.items() if what != "waits")
    text = f"{own}: " + ", ".join(f"{count} {_DOING[what]}" for what, count in doing.items())
    nodes = Counter(worker.where for worker in crew if worker.own and worker.where)
    if nodes:
        text += " · " + ", ".join(f"{count} on {node}" for node, count in sorted(nodes.items()))
    theirs = [worker for worker in crew if not worker.own]
    if theirs:
        text += f" · {plural(len(theirs), 'trial')} run by other processes"
    return text


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """How wide each is."""

    worker: int
    trial: int
    subset: int
    epochs: int
    score: int
    curve: int


@dataclass(frozen=True, kw_only=True)
class _Row:
    """The cells of a worker."""

    worker: str
    trial: str
    doing: str  # in place of all others, where nothing runs
    running: RunningTrial | None = None
    epochs: str = ""
    score: str = ""


def rows(picture: Picture, *, width: int, ascii_only: bool) -> list[Text]:
    """A head with the common scale of the curves, and a row a worker; none where nothing runs."""
    found = list(_rows(picture))
    if not found:
        return []
    scores = [
        score for row in found if row.running for fold in row.running.folds.values()
        for score in fold
    ]  # fmt: skip
    low, high = (min(scores), max(scores)) if scores else (0.0, 0.0)
    columns = _columns(found, width)
    return [
        _head(columns, low, high, known=bool(scores)),
        *(_drawn(row, columns, low, high, ascii_only=ascii_only) for row in found),
    ]


def _rows(picture: Picture) -> Iterator[_Row]:
    crew = picture.status.crew if picture.status is not None else ()
    running = dict(picture.running)
    for worker in crew:
        trial = None if worker.trial is None else running.pop(worker.trial, None)
        yield _row(worker, trial)
    for trial in running.values():  # given away since the last status
        now = WorkerNow(name="", doing="trains", trial=trial.proposal.number)
        yield _row(now, trial)


def _row(worker: WorkerNow, trial: RunningTrial | None) -> _Row:
    parts = (worker.where, worker.name, worker.device)
    name = " ".join(part for part in parts if part)
    number = "" if worker.trial is None else f"#{worker.trial}"
    if trial is None:
        # Of a trial that has ended just now, or that another process runs, nothing is to be seen.
        doing = "training" if not worker.own else _DOING[worker.doing]
        known = not worker.own or worker.doing == "waits"
        return _Row(worker=name, trial=number if known else "", doing=doing)
    report = trial.report
    if report is None:
        doing = "begins" if worker.doing == "trains" else _DOING[worker.doing]
        return _Row(worker=name, trial=number, doing="", running=trial, epochs=doing)
    of = f"/{report.epochs_total}" if report.epochs_total else ""
    return _Row(
        worker=name,
        trial=number,
        doing="",
        running=trial,
        epochs=f"{report.epochs_done}{of}",
        score=f"{report.score:.4f}",
    )


def _columns(found: Sequence[_Row], width: int) -> _Columns:
    worker = 0 if width < _NARROW else max(cell_len(row.worker) for row in found)
    worker = min(worker, _LONGEST, width // 3)
    trial = max((len(row.trial) for row in found), default=0)
    epochs = max(*(len(row.epochs) for row in found), 5)
    score = max(*(len(row.score) for row in found), 6)
    gaps = 4 + (worker > 0)
    rest = width - worker - trial - epochs - score - gaps
    least, most = _CURVE
    curve = min(most, max(least, rest * 2 // 5))
    longest = max((cell_len(str(r.running.proposal.subset)) for r in found if r.running), default=6)
    subset = min(_SUBSET, max(6, longest), max(4, rest - curve))
    return _Columns(
        worker=worker,
        trial=trial,
        subset=subset,
        epochs=epochs,
        score=score,
        curve=min(most, max(0, rest - subset)),
    )


def _head(columns: _Columns, low: float, high: float, *, known: bool) -> Text:
    scale = f"{low:.2f} to {high:.2f}" if known else "curve"
    if columns.curve < len(scale):
        scale = f"{low:.2f}–{high:.2f}" if known and columns.curve >= 9 else "curve"
    cells = [
        *(
            [_cell("worker" if columns.worker > 5 else "", columns.worker)]
            if columns.worker
            else []
        ),
        _cell("", columns.trial),
        _cell("subset", columns.subset),
        "epoch".rjust(columns.epochs),
        "score".rjust(columns.score),
        scale,
    ]
    return Text(" ".join(cells), style="dim")


def _drawn(row: _Row, columns: _Columns, low: float, high: float, *, ascii_only: bool) -> Text:
    cells = [_cell(row.worker, columns.worker)] if columns.worker else []
    cells.append(_cell(row.trial, columns.trial))
    if row.running is None:
        return Text(" ".join([*cells, row.doing]), style="dim")
    curve = sparkline(
        list(row.running.folds.values()),
        low=low,
        high=high,
        width=columns.curve,
        plain=ascii_only,
    )
    cells += [
        _cell(str(row.running.proposal.subset), columns.subset),
        row.epochs.rjust(columns.epochs),
        row.score.rjust(columns.score),
        curve,
    ]
    return Text(" ".join(cells))


def _cell(text: str, width: int) -> str:
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, max(0, width - 1)) + "…"[: min(1, width)]
