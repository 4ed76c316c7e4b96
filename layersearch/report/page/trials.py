"""All trials in short: how they ended, why some failed, and the best of them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from layersearch.report.page.evidence import Evidence
from layersearch.report.page.section import Listing, Section, Table
from layersearch.report.wording import count, duration, plural
from layersearch.space.records import TrialRecord, TrialState

LISTED = 100  # trials in the table
REASONS = 8  # in the table
_LONGEST = 200  # characters of a reason
_TRACEBACK = 4_000  # characters of one
_WORDS = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned, or ruled out",
    TrialState.FAILED: "failed",
    TrialState.RUNNING: "running",
}


def trials_section(evidence: Evidence) -> Section:
    """Counts, reasons and the best trials."""
    total = len(evidence.history)
    if not total:
        return Section(key="trials", title="The trials", lead=["The study has no trials yet."])
    lead = [f"{plural(total, 'trial')}: {in_words(evidence.history, _WORDS)}."]
    looks = None if evidence.by_looks is None else _ranking(evidence.by_looks)
    tables = [t for t in (_ranking(evidence), looks, _reasons(evidence)) if t is not None]
    return Section(
        key="trials", title="The trials", lead=lead, tables=tables, listings=_tracebacks(evidence)
    )


def in_words(records: Iterable[TrialRecord], words: Mapping[TrialState, str] | None = None) -> str:
    """'3 complete, 12 looks, 1 failed': how trials ended; a look is not called pruned."""
    ended = Counter("looks" if record.is_look else record.state.value for record in records)
    named = {state.value: state.value if words is None else words[state] for state in TrialState}
    named = {"complete": named["complete"], "looks": "looks", **named}
    return ", ".join(f"{ended[k]} {word}" for k, word in named.items() if ended[k]) or "none"


def reason(record: TrialRecord) -> str:
    """Why a trial was pruned or failed, in a line."""
    found = record.attributes.get("reason") or record.attributes.get("failure") or "no reason given"
    text = " ".join(str(found).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _ranking(evidence: Evidence) -> Table | None:
    shown = evidence.scored[:LISTED]
    if not shown:
        return None
    rows = [
        (
            str(rank),
            str(record.subset),
            evidence.shown(record.score, record.stderr),
            count(evidence.size(record)),
            _number(record, "epochs"),
            duration(float(record.attributes["seconds"]))
            if isinstance(record.attributes.get("seconds"), int | float)
            else "",
            str(record.number),
        )
        for rank, record in enumerate(shown, start=1)
    ]
    all_of = len(evidence.scored)
    caption = f"Scored subsets{evidence.how}, the best first"
    if all_of > LISTED:
        caption = f"The best {LISTED} of {all_of:,} scored subsets{evidence.how}; the others are "
        caption += "in the study"
    return Table(
        caption=caption,
        head=(
            "",
            "subset",
            f"validation {evidence.metric}",
            "parameters",
            "epochs",
            "time",
            "trial",
        ),
        rows=rows,
        text=frozenset({1}),
        marked=frozenset(i for i, r in enumerate(shown) if r.subset == evidence.chosen),
        folded=len(rows) > 10,
    )


def _number(record: TrialRecord, name: str) -> str:
    value = record.attributes.get(name)
    return f"{value:,}" if isinstance(value, int | float) else ""


def _reasons(evidence: Evidence) -> Table | None:
    """Why trials were pruned or failed, the commonest reasons first."""
    ended = [*evidence.of_state(TrialState.FAILED), *evidence.of_state(TrialState.PRUNED)]
    ended = [record for record in ended if not record.is_look]
    if not ended:
        return None
    groups: dict[tuple[str, str], list[TrialRecord]] = {}
    for record in ended:
        groups.setdefault((_WORDS[record.state], reason(record)), []).append(record)
    ranked = sorted(groups.items(), key=lambda item: -len(item[1]))
    rows = [
        (why, state, str(len(records)), _numbers(records))
        for (state, why), records in ranked[:REASONS]
    ]
    caption = "Why trials were pruned or failed" + (
        "" if len(ranked) <= REASONS else f": the {REASONS} commonest of {len(ranked)} reasons"
    )
    return Table(
        caption=caption,
        head=("reason", "", "times", "trials"),
        rows=rows,
        text=frozenset({0, 1, 3}),
    )


def _numbers(records: Sequence[TrialRecord]) -> str:
    first = ", ".join(str(record.number) for record in records[:5])
    return first if len(records) <= 5 else f"{first}, …"


def _tracebacks(evidence: Evidence) -> list[Listing]:
    """That of the first failure, which others usually repeat."""
    for record in evidence.of_state(TrialState.FAILED):
        text = str(record.attributes.get("failure", ""))
        if "\n" in text:
            cut = text if len(text) <= _TRACEBACK else "…" + text[-_TRACEBACK:]
            return [Listing(caption=f"What trial {record.number} said when it failed", text=cut)]
    return []
