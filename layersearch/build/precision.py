"""One number format for all trials of a study: what `recipe.precision: auto` came to there.

What 'auto' means goes by the machine, and scores differ by it about as much as subsets do. So the
first driver's choice is kept, and whoever goes on with the study, anywhere, trains in the same.
Under Ray the workers' machines are not known before trials come back: a search there goes on with
what its trials were trained in.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch

from layersearch.build.preparing import Prepared
from layersearch.report.wording import plural
from layersearch.space import TrialRecord
from layersearch.study import OpenStudy
from layersearch.study import attributes as names
from layersearch.subtuning import resolve_precision
from layersearch.subtuning.recipe import Precision


def settle_precision(
    prepared: Prepared,
    opened: OpenStudy,
    *,
    tell: Callable[[str], None],
    decides: bool,
) -> Prepared:
    """The search with the precision of its study in place of 'auto'.

    Args:
        prepared: the search.
        opened: its study.
        tell: is told where this machine would choose another.
        decides: whether to choose where nothing was; a worker goes by what its driver chose.
    """
    if not _is_left_open(prepared):
        return prepared
    here = _of_this_machine(prepared) if prepared.config.execution.runner == "local" else None
    kept = kept_precision(opened.study.user_attrs, ())
    if kept is None:
        history = opened.history()
        kept = kept_precision({}, history)
        # A study whose trials do not say what they were trained in goes on as it was.
        if kept is None and here is not None and decides and not history.known:
            kept = here
            opened.study.set_user_attr(names.PRECISION, kept)
    if kept is not None and here not in (None, kept):
        tell(
            f"the study's trials are trained in {kept}, and so are those of this machine, where "
            "recipe.precision: auto would choose another: it may be slow at it"
        )
    return apply_precision(prepared, kept)


def kept_precision(
    attributes: Mapping[str, Any], trials: Iterable[TrialRecord]
) -> Precision | None:
    """What the trials of a study are trained in, from its attributes or theirs; None: unknown."""
    kept: Precision | None = attributes.get(names.PRECISION)
    return kept if kept is not None else next(iter(_trained_in(trials)), None)


def apply_precision(prepared: Prepared, kept: Precision | None) -> Prepared:
    """The search with 'auto' resolved; the same search if there is nothing to resolve."""
    if kept is None or not _is_left_open(prepared):
        return prepared
    parts = prepared.parts
    recipe = replace(parts.materials.recipe, precision=kept)
    return replace(
        prepared, parts=replace(parts, materials=replace(parts.materials, recipe=recipe))
    )


def mixed(trials: Iterable[TrialRecord]) -> str:
    """That trials were trained in several precisions, in words; '' if they were not."""
    trained = _trained_in(trials)
    if len(trained) < 2:
        return ""
    amounts = " and ".join(f"{plural(n, 'trial')} in {word}" for word, n in trained.most_common())
    return (
        f"{amounts}: the machines that trained them differ in what recipe.precision: auto means, "
        "and scores differ by it; name one, in a new study"
    )


def _trained_in(trials: Iterable[TrialRecord]) -> Counter[Precision]:
    said = (trial.attributes.get(names.PRECISION) for trial in trials)
    return Counter(word for word in said if word is not None)


def _is_left_open(prepared: Prepared) -> bool:
    return prepared.parts.materials.recipe.precision == "auto"


def _of_this_machine(prepared: Prepared) -> Precision:
    """Of its devices where they agree; fp32, which all can, where they do not."""
    network = prepared.parts.materials.backbone.network
    choices = {resolve_precision("auto", torch.device(d), network) for d in prepared.devices}
    return choices.pop() if len(choices) == 1 else "fp32"
