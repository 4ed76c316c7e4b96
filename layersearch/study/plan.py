"""How a study is searched: what its driver was told, and its workers must be told too.

Unlike the fingerprint it may change from run to run: whoever drives the study sets it anew. A
worker with another strategy, or other budgets, would propose trials that nobody asked for.
"""

from collections.abc import Mapping
from typing import Any

import optuna

from layersearch.errors import StudyError
from layersearch.study.attributes import PLAN, plain
from layersearch.study.fingerprint import differences

Plan = Mapping[str, Any]  # section -> its settings, JSON values


def keep_plan(study: optuna.Study, plan: Plan) -> None:
    """Stores how this driver searches the study."""
    wanted = plain(plan)
    if study.user_attrs.get(PLAN) != wanted:
        study.set_user_attr(PLAN, wanted)


def check_plan(study: optuna.Study, plan: Plan) -> None:
    """Compares a worker's plan with that of the study's driver, if it has told one.

    Raises:
        StudyError: they differ; says in what.
    """
    stored = study.user_attrs.get(PLAN)
    if stored is None:
        return
    changes = list(differences(stored, plain(plan)))
    if not changes:
        return
    lines = [f"study.name: '{study.study_name}' is searched in another way than this worker would:"]
    lines += [f"  {change}" for change in changes]
    lines.append("give the worker the same file and the same settings (-o) as the search")
    raise StudyError("\n".join(lines))
