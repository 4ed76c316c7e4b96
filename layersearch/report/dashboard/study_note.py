"""The note of a study: the answer in one sentence, how sure it is, and how to run it again."""

from collections.abc import Mapping, Sequence

from layersearch.report.confidence import confidence_sentences
from layersearch.report.dashboard import feasibility
from layersearch.report.dashboard.markdown import code, escaped, link, picture, table
from layersearch.report.page.answer import headline
from layersearch.report.page.evidence import Evidence
from layersearch.report.summary import advice
from layersearch.report.wording import duration, subset_text
from layersearch.space.records import TrialRecord, TrialState

SHOWN = ("path_forward", "path_backward", "objectives", "profile", "curves")  # within the note
_REASONS = 3  # of failures


def study_note(evidence: Evidence, addresses: Mapping[str, str], trials: Mapping[int, str]) -> str:
    """Markdown.

    Args:
        evidence: of the study.
        addresses: name of a file -> where the dashboard serves it.
        trials: number -> where the dashboard shows the trial.
    """
    parts = [f"### {escaped(headline(evidence), longest=2_000)}", *_sure(evidence)]
    parts.append(table(_facts(evidence, trials)))
    parts += _figures(addresses)
    parts += ["#### To run it again", *_again(evidence, addresses)]
    return "\n\n".join(part for part in parts if part)


def _sure(evidence: Evidence) -> list[str]:
    """How sure the answer is."""
    if evidence.result is None:
        return (
            ["The search has not ended: this is what is known so far."]
            if evidence.compared.scored
            else []
        )
    sentences = advice(evidence.result)
    tested = "chosen" in evidence.result.get("test", {})
    sentences = [*sentences[1 if tested else 0 :], *confidence_sentences(evidence.result)]
    return [" ".join(escaped(one, longest=1_000) for one in sentences)]


def _facts(evidence: Evidence, trials: Mapping[int, str]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    record = _chosen(evidence)
    if record is not None:
        which = "chosen" if evidence.result is not None else "best so far"
        number = record.number
        where = link(f"trial {number}", trials[number]) if number in trials else f"trial {number}"
        rows += [
            (which, f"{_units(record)}, {where}"),
            (
                f"validation {escaped(evidence.metric)}",
                escaped(evidence.shown(record.score, record.stderr)),
            ),
        ]
        first = evidence.compared.scored[0]
        if record.number != first.number and len(evidence.metrics) == 1:
            shown = f"trial {first.number}, {_units(first)}, "
            shown += escaped(evidence.shown(first.score, first.stderr))
            rows.append(("the highest score", f"{shown}; the search chose by its own rule"))
    rows.append(("is the best trial feasible?", feasibility.of_the_best(evidence)))
    states = {state: len(evidence.of_state(state)) for state in TrialState}
    rows.append(("trials", ", ".join(f"{n} {s.value}" for s, n in states.items() if n) or "none"))
    for why, numbers in _reasons(evidence):
        rows.append(("why some failed", f"{escaped(why)} ({numbers})"))
    cost = (evidence.result or {}).get("cost") or {}
    if cost.get("seconds"):
        spent = f"{cost.get('trainings', 0):,.0f} trainings, {cost.get('epochs', 0):,.0f} epochs"
        rows.append(("cost", f"{spent}, {duration(cost['seconds'])}"))
    ending = (evidence.result or {}).get("ending")
    if ending:
        rows.append(("why it ended", escaped(ending)))
    return rows


def _chosen(evidence: Evidence) -> TrialRecord | None:
    if evidence.chosen is None:
        return None
    return evidence.compared.history.scores.get(evidence.chosen)


def _units(record: TrialRecord) -> str:
    if not record.subset:
        return "a new head alone (the linear probe)"
    return code(subset_text(record.subset.names), longest=1_000)


def _reasons(evidence: Evidence) -> Sequence[tuple[str, str]]:
    """The commonest reasons of failure, with their trials."""
    groups: dict[str, list[int]] = {}
    for record in evidence.of_state(TrialState.FAILED):
        groups.setdefault(str(record.attributes.get("reason", "unknown")), []).append(record.number)
    ranked = sorted(groups.items(), key=lambda item: -len(item[1]))[:_REASONS]
    return [
        (why, f"trials {', '.join(map(str, numbers[:5]))}{', …' if len(numbers) > 5 else ''}")
        for why, numbers in ranked
    ]


def _figures(addresses: Mapping[str, str]) -> list[str]:
    """The page, and the figures that say most."""
    parts = []
    if "report.html" in addresses:
        parts.append(link("The report page, with everything", addresses["report.html"]))
    shown = [name for name in SHOWN if f"{name}.png" in addresses]
    return [*parts, *(picture(name, addresses[f"{name}.png"]) for name in shown)]


def _again(evidence: Evidence, addresses: Mapping[str, str]) -> list[str]:
    described = addresses.get("search.yaml")
    if described is None:
        return ["The study does not hold the description of its search."]
    study = code(f"layersearch report {_word(evidence.study)}")
    words = (
        f"Save {link('search.yaml', described)} (every field filled in; passwords are left out), "
        f"then: {code('layersearch search search.yaml')}. What was found, at any time: {study}."
    )
    return [words]


def _word(name: str) -> str:
    """A study's name as a shell takes it."""
    return name if " " not in name else f"'{name}'"
