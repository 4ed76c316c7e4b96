"""The plan of a search that is not begun: nothing is written to its study or its storage."""

from layersearch.build.budgeting import (
    Choice,
    apply,
    check_least,
    choose,
    chooses,
    cut_short,
    kept_choice,
    rates_for,
)
from layersearch.build.given import NOTHING_GIVEN, Given
from layersearch.build.planning import Plan, plan
from layersearch.build.precision import apply_precision, kept_precision
from layersearch.build.preparing import prepare
from layersearch.build.search import past_of
from layersearch.config import SearchConfig
from layersearch.study.fingerprint import check_fingerprint


def run_plan(config: SearchConfig, *, given: Given = NOTHING_GIVEN) -> Plan:
    """What a search will cost, or what is left of it where its study exists.

    Args:
        config: the description.
        given: objects of the user's in place of names.

    Raises:
        LayersearchError: as the search would, before its first trial.
    """
    prepared = prepare(config, given)
    past = past_of(config)
    choice, rates = Choice(options={}), None
    if past is None:
        check_least(prepared, given)
    else:
        check_fingerprint(config.study_name, past.attributes, prepared.parts.fingerprint)
        prepared = apply_precision(prepared, kept_precision(past.attributes, past.trials))
    kept = None if past is None else kept_choice(past.attributes, prepared, given)
    if kept is not None:
        choice = kept
    elif past is None or not past.trials.known:
        if chooses(prepared, given):
            rates = rates_for(prepared, given)
            choice = choose(prepared, given, rates)
        else:
            choice = Choice(options={}, why=cut_short(prepared, given))
    return plan(
        apply(prepared, choice, given),
        past=None if past is None else past.trials,
        driven=0.0 if past is None else past.seconds,
        rates=rates,
        choice=choice.why,
    )
