"""The answer: what to tune, how good that is, how sure that is; and what is missing of it."""

from collections.abc import Sequence

from layersearch.report.confidence import confidence_sentences
from layersearch.report.page.evidence import Evidence
from layersearch.report.page.section import Section, Table
from layersearch.report.page.trials import in_words
from layersearch.report.summary import BASELINES, advice, compare_with_baselines
from layersearch.report.wording import count, plural, subset_text
from layersearch.space.records import TrialState


def headline(evidence: Evidence) -> str:
    """The answer in one sentence, with its uncertainty."""
    if not len(evidence.history):
        return "Nothing has been tried yet."
    evidence = evidence.compared
    chosen = evidence.chosen
    if chosen is None or not evidence.scored:
        return f"No subset has a score: {_why_no_score(evidence)}."
    if evidence.result is None or "chosen" not in evidence.result.get("test", {}):
        return _so_far(evidence)
    what = f"Tune {subset_text(chosen.names)} and a new head" if chosen else _HEAD_ALONE
    side = evidence.result["test"]["chosen"]
    shown = evidence.scale.value(side["mean"], side.get("stderr"))
    return f"{what}: {shown} {evidence.metric} on the test split{_against(evidence)}."


_HEAD_ALONE = "Tune no unit, train a new head alone (the linear probe)"


def _so_far(evidence: Evidence) -> str:
    """What is best, where nothing was retrained and tested."""
    assert evidence.chosen is not None
    record = evidence.history.scores.get(evidence.chosen) or evidence.scored[0]
    score = evidence.shown(record.score, record.stderr)
    units = record.subset.names if record.subset else ()
    what = subset_text(units) if units else "a new head alone (the linear probe)"
    which = plural(len(evidence.scored), "subset") + " scored"
    several = "" if len(evidence.metrics) == 1 else f" by {evidence.metric}, its first objective"
    shown = f"{score} validation {evidence.metric}{evidence.how}"
    return f"Best so far of {which}{several}: {what}, with {shown}."


def _against(evidence: Evidence) -> str:
    """The comparison that matters most, within the sentence."""
    assert evidence.result is not None
    parts = []
    comparisons = compare_with_baselines(evidence.result)
    for name in ("linear_probe", "full_finetune"):
        comparison = comparisons.get(name)
        if comparison is None or (name == "linear_probe" and not evidence.chosen):
            continue
        if comparison.low is None or comparison.high is None:
            continue
        low, high = (evidence.scale.number(v, sign=True) for v in (comparison.low, comparison.high))
        interval = f"95% interval {low} to {high}{evidence.scale.points}"
        words = {"within noise": "not told apart from", "unknown": "not compared with"}
        verdict = words.get(comparison.verdict, f"{comparison.verdict} than")
        parts.append(f"{verdict} {BASELINES[name]} ({interval})")
    return ", " + " and ".join(parts) if parts else ""


def _why_no_score(evidence: Evidence) -> str:
    states = {state: len(evidence.of_state(state)) for state in TrialState}
    words = {
        TrialState.FAILED: "failed",
        TrialState.PRUNED: "were pruned or ruled out",
        TrialState.RUNNING: "are running",
        TrialState.COMPLETE: "are complete, but not of a search for units",
    }
    total = len(evidence.history)
    for state, number in states.items():
        if number == total:
            if total > 1:
                return f"all {total} trials {words[state]}"
            return "its only trial " + words[state].replace("were", "was").replace("are", "is")
    return ", ".join(f"{number} {words[state]}" for state, number in states.items() if number)


def answer_section(evidence: Evidence) -> Section:
    """The sentences of the summary, and the facts in a table."""
    trials, evidence = evidence, evidence.compared
    sentences: Sequence[str] = []
    notes: list[str] = []
    if evidence.result is not None:
        sentences = advice(evidence.result)
        if "chosen" in evidence.result.get("test", {}):
            # What to tune has been said in the headline.
            sentences = [*sentences[1:], *confidence_sentences(evidence.result)]
            notes.append(
                "The validation score of the chosen subset is the best of many and so flatters it; "
                "the test score, of samples that no search sees, does not."
            )
    elif len(trials.history):
        sentences = [
            (
                "The search has not ended, or its result is not at hand: nothing was retrained, "
                "and nothing was compared on the test split."
            )
        ]
    if len(evidence.metrics) > 1:
        sentences = [*sentences, _several(evidence)]
    facts = _facts(evidence, trials)
    table = Table(caption="In short", head=("", ""), rows=facts, text=frozenset({0, 1}))
    return Section(
        key="answer",
        title="The answer",
        lead=sentences,
        tables=[table] if facts else [],
        notes=notes,
    )


def _standing(evidence: Evidence) -> str:
    return "best so far" if evidence.result is None else "chosen"


def _several(evidence: Evidence) -> str:
    return (
        f"The study has {len(evidence.metrics)} objectives: {', '.join(evidence.metrics)}. No one "
        "subset need be the best by all of them; see below how they trade off."
    )


def _facts(evidence: Evidence, trials: Evidence) -> list[tuple[str, ...]]:
    made, rows = evidence.made_with, list[tuple[str, ...]]()
    backbone = (made.get("backbone") or {}).get("name")
    if backbone:
        rows.append(("backbone", f"{backbone}, {plural(len(evidence.units), 'unit')}"))
    data = made.get("data") or {}
    if data:
        trained = (data.get("final_train") or {}).get("count")
        classes = len(data.get("classes") or ())
        rows.append(
            (
                "data",
                (f"{trained or '?'} training samples, {classes} classes, {_folds(evidence)}"),
            )
        )
    strategy = (evidence.config.get("strategy") or {}).get("name")
    if strategy:
        rows.append(("strategy", str(strategy)))
    chosen = evidence.chosen
    record = evidence.history.scores.get(chosen) if chosen is not None else None
    if record is not None and record.score is not None:
        rows.append((_standing(evidence), str(record.subset)))
        shown = evidence.shown(record.score, record.stderr)
        rows.append((f"validation {evidence.metric}", f"{shown}{evidence.how}"))
        rows.append(("tuned parameters", _share(evidence, evidence.size(record))))
    rows.append(("trials", in_words(trials.history)))
    ending = (evidence.result or {}).get("ending")
    if ending:
        rows.append(("why it ended", str(ending)))
    return rows


def _folds(evidence: Evidence) -> str:
    number, every = evidence.folds, evidence.folds_of_data
    if number is None:
        return "validated as it says"
    if every is not None and number < every:
        return f"{number} of {every} folds"
    return f"{number} folds" if number > 1 else "one hold-out to validate on"


def _share(evidence: Evidence, tuned: int) -> str:
    total = ((evidence.result or {}).get("parameters") or {}).get("total")
    share = f", {100 * tuned / total:.2g}% of the backbone" if total else ""
    return f"{count(tuned)}{share}"
