"""The block of lines that a terminal shows, fitted to its width and height.

No line is wider than the terminal, so none wraps; where there are too few rows, what matters least
is left out. Nothing is said by colour alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from layersearch.execution.standing import RetrainingNow, Status
from layersearch.execution.watching.crew import crew_line, rows
from layersearch.execution.watching.picture import Picture
from layersearch.execution.watching.plain_lines import left_in_words
from layersearch.execution.watching.wording import allowance, duration, plural, score
from layersearch.space import contender_name

_LABELLED = 60  # columns from which lines begin with a full label
_BAR = 30  # columns of the longest bar of progress
# For terminals without Unicode.
_ASCII = str.maketrans({"·": "|", "…": "~", "±": "+", "━": "=", "─": "-", "–": "-", "−": "-",
                        "×": "x", "ε": "e"})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A line, and how early it must go."""

    text: Text
    rank: int  # those of higher rank go first


def block(picture: Picture, console: Console) -> list[Text]:
    """The lines for this console."""
    width, height = console.width, max(1, console.height - 1)
    ascii_only = console.options.ascii_only
    # Of the workers nothing is to be seen any more when the winner is retrained.
    table = rows(picture, width=width, ascii_only=ascii_only) if picture.searching else []
    before = [*_top(picture, width), *_middle(picture, width)]
    after = list(_bottom(picture, width))
    kept = _fitting([*before, *after], height - min(len(table), height // 3))
    table = _shortened(picture, table, height - len(kept))
    lines = [line.text for line in before if line in kept]
    lines += table
    lines += [line.text for line in after if line in kept]
    return [_fitted(line, width, ascii_only=ascii_only) for line in lines[:height]]


def _fitting(lines: list[_Line], count: int) -> list[_Line]:
    """As many as there is room for, the first ranks before the others."""
    return sorted(lines, key=lambda line: line.rank)[: max(1, count)]


def _shortened(picture: Picture, table: list[Text], space: int) -> list[Text]:
    """So many rows of the table, without its head where there are few, and what is left out."""
    if len(table) <= space:
        return table
    if space <= 3:
        table = table[1:]
    if len(table) <= space:
        return table
    hidden = len(table) - (space - 1)
    crew = picture.status.crew if picture.status else ()
    idle = sum(worker.doing == "idle" for worker in crew)
    more = Text(f"… {hidden} more" + (f", {idle} idle in all" if idle else ""), style="dim")
    return [*table[: max(0, space - 1)], more][: max(0, space)]


def _fitted(line: Text, width: int, *, ascii_only: bool) -> Text:
    """One row, cut where it is too long."""
    fitted = line.copy()
    if ascii_only:
        plain = line.plain.translate(_ASCII).encode("ascii", "replace").decode()
        fitted = Text(plain, spans=list(line.spans), style=line.style)
    fitted.truncate(width, overflow="crop" if ascii_only else "ellipsis")
    fitted.no_wrap = True
    return fitted


def _top(picture: Picture, width: int) -> Iterator[_Line]:
    """What runs and for how long; the round, or what is done besides trials."""
    about, status = picture.beginning, picture.status
    passed = duration(picture.elapsed)
    title = "layersearch"
    if about is not None:
        better = " lower is better" if about.directions[:1] == ("minimize",) else ""
        title = f"{about.study} · {about.strategy} · {', '.join(about.metrics)}{better}"
        if width >= 100:
            title += f" · {about.backbone} on {about.data}"
    room = max(1, width - cell_len(passed) - 1)
    if cell_len(title) > room:
        title = set_cell_size(title, room - 1) + "…"
    line = Text(title.ljust(room), style="bold")
    line.append(f" {passed}", style="not bold dim")
    yield _Line(text=line, rank=0)
    if picture.retraining is not None:
        yield _Line(text=_retraining(picture.retraining, width), rank=1)
    elif status is not None and picture.searching:
        yield _Line(text=_phase(status, width), rank=1)
    elif picture.doing:
        yield _Line(text=Text(f"{picture.doing} …"), rank=1)


def _phase(status: Status, width: int) -> Text:
    what = status.phase or "searching"
    done, of = status.candidates_done, status.candidates
    bound = next((bound for bound in status.budget if bound.name == "trials"), None)
    if bound is not None and status.round is None and (not of or bound.limit < of):
        done, of = status.done - status.interrupted, int(bound.limit)
    if not of:
        return Text(what)
    unit = "candidates" if status.round is not None else "trials"
    count = f"{done}/{of}" if width < _LABELLED else f"{done} of {of} {unit}"
    return _with_bar(what, count, done / of if of else 0.0, width)


def _retraining(now: RetrainingNow, width: int) -> Text:
    name = contender_name(now.name)
    what = f"retraining {name}, {now.seed + 1} of {now.seeds}, epoch {now.epoch} of {now.epochs}"
    share = (now.done + (now.epoch / now.epochs if now.epochs and now.score is None else 0)) / max(
        1, now.total
    )
    return _with_bar(what, f"{now.done}/{now.total}", share, width)


def _with_bar(what: str, count: str, share: float, width: int) -> Text:
    """Words, a count, and a bar if there is room for one."""
    room = width - cell_len(what) - cell_len(count) - 4
    if room < 5:
        short = max(4, width - cell_len(count) - 1)
        if cell_len(what) > short:
            what = set_cell_size(what, short - 1) + "…"
        return Text(f"{what} {count}")
    long = min(_BAR, room)
    full = min(long, max(0, round(share * long)))
    line = Text(f"{what}  {count}  ")
    line.append("━" * full, style="bold")
    line.append("─" * (long - full), style="dim")
    return line


def _middle(picture: Picture, width: int) -> Iterator[_Line]:
    """The best, the counts, what is left, the workers."""
    status = picture.status
    if status is None:
        return
    if status.best is not None and status.best_score is not None:
        line = _labelled("best", width)
        line.append(score(status.best_score, status.best_stderr), style="bold")
        line.append(f"  {status.best}")
        if status.best_trial is not None:
            line.append(f"  trial {status.best_trial}", style="dim")
        yield _Line(text=line, rank=2)
    if status.front is not None:
        line = _labelled("front", width)
        line.append(f"{plural(status.front, 'subset')} that no other beats in every value")
        yield _Line(text=line, rank=6)
    if status.answer is not None and status.answer != status.best:
        line = _labelled("answer", width)
        line.append(f"{status.answer}")
        yield _Line(text=line, rank=9)
    yield _Line(text=_counts(picture, status, width), rank=3)
    left = left_in_words(picture, word="")
    rate = picture.epochs_per_second() if picture.searching else 0.0
    if left or rate:
        line = _labelled("left", width)
        line.append(left or "not known yet")
        if rate:
            line.append(f" · {rate:.1f} epochs/s", style="dim")
        yield _Line(text=line, rank=4)
    if status.budget:
        since = picture.clock() - picture.status_at
        words = [allowance(bound, seconds_since=since) for bound in status.budget]
        line = _labelled("budget", width)
        line.append(f"{' · '.join(words)} used or under way")
        yield _Line(text=line, rank=7)
    several = len(status.crew) > 1 or any(worker.where for worker in status.crew)
    if several and picture.searching:
        line = _labelled("workers", width)
        line.append(crew_line(status.crew))
        yield _Line(text=line, rank=5)


def _counts(picture: Picture, status: Status, width: int) -> Text:
    line = _labelled("trials", width)
    line.append(f"{status.scored} scored · {status.pruned} pruned · ")
    line.append(f"{status.failed} failed", style="red" if status.failed else "")
    line.append(f" · {len(picture.running)} running")
    if status.interrupted:
        line.append(f" · {status.interrupted} interrupted")
    return line


def _bottom(picture: Picture, width: int) -> Iterator[_Line]:
    """Why trials were pruned or failed, and what is to be known of the data."""
    status = picture.status
    pruned = picture.last_pruned or (status.last_pruned if status else "")
    failed = picture.last_failed or (status.last_failed if status else "")
    if failed:
        line = _labelled("failed", width)
        line.append(failed, style="red")
        yield _Line(text=line, rank=6)
    if pruned:
        line = _labelled("pruned", width)
        line.append(pruned)
        yield _Line(text=line, rank=8)
    notes = picture.beginning.notes if picture.beginning is not None else ()
    for number, note in enumerate(notes):
        line = _labelled("data" if number == 0 else "", width)
        line.append(note)
        yield _Line(text=line, rank=10 + number)


def _labelled(label: str, width: int) -> Text:
    wide = width >= _LABELLED
    return Text.assemble((f"{label:<9}" if wide else f"{label:<8}" if label else "  ", "dim"))
