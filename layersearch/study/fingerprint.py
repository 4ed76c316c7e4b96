"""What a study was made with, so that scores from another backbone or recipe never mix in.

A fingerprint maps a section ('backbone', 'data', 'space', 'recipe', 'objective') to its
description.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import optuna

from layersearch.errors import FingerprintError
from layersearch.study.attributes import FINGERPRINT, canonical, plain

_SHOWN = 8  # changes in one message
_MISSING = object()

Fingerprint = Mapping[str, Any]  # section -> description, JSON values


def keep_fingerprint(study: optuna.Study, fingerprint: Fingerprint) -> None:
    """Stores the fingerprint with a new study, or compares it with the one that is there.

    Raises:
        FingerprintError: the study was made with something else; says with what.
    """
    stored = study.user_attrs.get(FINGERPRINT)
    if stored is None:
        if study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
            raise FingerprintError(
                f"study.name: the study '{study.study_name}' has trials but does not say what made "
                "them; give this search another study.name"
            )
        study.set_user_attr(FINGERPRINT, _encode(fingerprint))
        return
    check_fingerprint(study.study_name, study.user_attrs, fingerprint)


def check_fingerprint(name: str, attributes: Mapping[str, Any], fingerprint: Fingerprint) -> None:
    """Compares a search with the one that a study was made for.

    Args:
        name: of the study.
        attributes: of the study.
        fingerprint: of the search.

    Raises:
        FingerprintError: they differ; says in what.
    """
    changes = list(_changes(attributes.get(FINGERPRINT) or {}, fingerprint))
    if changes and FINGERPRINT in attributes:
        raise FingerprintError(_message(name, changes))


def stored_fingerprint(study: optuna.Study) -> dict[str, Any]:
    """Section -> description, as the study was made with; empty if it does not say."""
    stored = study.user_attrs.get(FINGERPRINT) or {}
    return {section: entry["description"] for section, entry in stored.items()}


def _encode(fingerprint: Fingerprint) -> dict[str, Any]:
    return {
        section: {"hash": _hash(description), "description": plain(description)}
        for section, description in fingerprint.items()
    }


def _hash(description: Any) -> str:
    return hashlib.blake2b(canonical(description).encode(), digest_size=16).hexdigest()


def _changes(stored: Mapping[str, Any], fingerprint: Fingerprint) -> Iterator[str]:
    for section in dict.fromkeys([*stored, *fingerprint]):
        old, new = stored.get(section), fingerprint.get(section, _MISSING)
        if old is not None and new is not _MISSING and old["hash"] == _hash(new):
            continue
        old_value = _MISSING if old is None else old["description"]
        yield from _differences(section, old_value, new if new is _MISSING else plain(new))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two plain mappings: 'recipe.epochs: was 5, is now 6'."""
    return _differences("", dict(old), dict(new))


def _differences(path: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            inner = f"{path}.{key}" if path else str(key)
            yield from _differences(inner, old.get(key, _MISSING), new.get(key, _MISSING))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _differences(f"{path}[{index}]", before, after)
    elif old is _MISSING or new is _MISSING or canonical(old) != canonical(new):
        yield f"{path}: was {_shown(old)}, is now {_shown(new)}"


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "absent"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}…"


def _message(name: str, changes: list[str]) -> str:
    lines = [f"study.name: the study '{name}' was made with something else, so it cannot go on:"]
    lines += [f"  {change}" for change in changes[:_SHOWN]]
    if len(changes) > _SHOWN:
        lines.append(f"  … and {len(changes) - _SHOWN} more")
    lines.append("set these back to go on with it, or give this search another study.name")
    return "\n".join(lines)
