"""What Optuna Dashboard shows beside the numbers: notes and artifacts of a study and its trials.

The dashboard keeps both among the study's system attributes, where those of trials that have ended
can still be written. Its layout, the same whether it is installed here or not:

    dashboard:note_ver, dashboard:note_str:0 …       Markdown of the study, in pieces
    dashboard:<trial id>:note_ver, …                 the same of a trial
    artifacts:<artifact id>                          of the study, as Optuna writes it
    dashboard:artifacts:<trial id>:<artifact id>     of a trial that has ended

Ours is a part of a note, between two marks: what people write above or below it stays.
"""

import json
import mimetypes
import uuid
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import FrozenTrial

from layersearch.space.files import write_whole

ARTIFACTS = "artifacts"  # the folder of a study that holds them
BEGIN, END = "[//]: # (layersearch: begin)", "[//]: # (layersearch: end)"  # Markdown shows neither
_PIECE = 2045  # characters of an attribute, as the dashboard cuts them
_IDS = uuid.UUID("8f0f5b6e-3c0a-5d5e-9c55-6f2a2f0a7b11")  # the space of our artifacts' names


class Board:
    """Writes notes and artifacts; nothing is written that says what is there already.

    Args:
        study: that has them.
        folder: of the study; its artifacts are files within.
    """

    def __init__(self, study: optuna.Study, folder: str | Path) -> None:
        self._study = study
        self._folder = Path(folder)
        # Optuna gives a study's system attributes to those who know its storage and number only.
        self._storage: Any = study._storage  # noqa: SLF001
        self._id: int = study._study_id  # noqa: SLF001
        self._attrs: dict[str, Any] = dict(self._storage.get_study_system_attrs(self._id))

    def note(self, trial: FrozenTrial | None = None) -> str:
        """The whole note of the study, or of one of its trials; '' where there is none."""
        return "".join(self._pieces(f"{_prefix(trial)}note_str:"))

    def keep_note(self, text: str, trial: FrozenTrial | None = None) -> None:
        """Writes our part of the study's note, or of a trial's.

        Args:
            text: Markdown.
            trial: that has ended.
        """
        before = self.note(trial)
        after = _replaced(before, text)
        if after == before:
            return
        prefix = _prefix(trial)
        pieces = [after[i : i + _PIECE] for i in range(0, len(after), _PIECE)]
        earlier = len(self._pieces(f"{prefix}note_str:"))
        for number in range(max(len(pieces), earlier)):
            piece = pieces[number] if number < len(pieces) else ""
            self._set(f"{prefix}note_str:{number}", piece)
        self._set(f"{prefix}note_ver", int(self._attrs.get(f"{prefix}note_ver", 0)) + 1)

    def artifact(self, name: str, trial: FrozenTrial | None = None) -> str | None:
        """The address of a file that was kept and is still there; None where it is not."""
        artifact = self._artifact(name, trial)
        known = self._owner(trial) + artifact in self._attrs
        there = (self._folder / ARTIFACTS / artifact).is_file()
        return self._artifact_address(artifact, trial) if known and there else None

    def keep_artifact(self, name: str, content: bytes, trial: FrozenTrial | None = None) -> str:
        """Keeps a file, in place of the one that had its name.

        Args:
            name: of the file, as people see it.
            content: of the file.
            trial: that has ended, if the file is a trial's.

        Returns: its address within the dashboard.
        Raises: OSError: the file cannot be written.
        """
        artifact = self._artifact(name, trial)
        path = self._folder / ARTIFACTS / artifact
        if not path.is_file() or path.read_bytes() != content:
            write_whole(path, content)
        kind, encoding = mimetypes.guess_type(name)
        described = {
            "artifact_id": artifact,
            "filename": name,
            "mimetype": kind or "application/octet-stream",
            "encoding": encoding,
        }
        self._set(self._owner(trial) + artifact, json.dumps(described))
        return self._artifact_address(artifact, trial)

    def address(self, number: int | None = None) -> str:
        """Where the dashboard shows the study, or one of its trials."""
        place = f"/dashboard/studies/{self._id}"
        return place if number is None else f"{place}/trials?numbers={number}"

    def _artifact(self, name: str, trial: FrozenTrial | None) -> str:
        """The same for the same file of the same study, on any machine."""
        owner = "" if trial is None else f"{trial.number}/"
        return str(uuid.uuid5(_IDS, f"{self._study.study_name}/{owner}{name}"))

    def _artifact_address(self, artifact: str, trial: FrozenTrial | None) -> str:
        holder = "" if trial is None else f"{_trial_id(trial)}/"
        return f"/artifacts/{self._id}/{holder}{artifact}"

    @staticmethod
    def _owner(trial: FrozenTrial | None) -> str:
        return "artifacts:" if trial is None else f"dashboard:artifacts:{_trial_id(trial)}:"

    def _pieces(self, prefix: str) -> list[str]:
        numbered = {
            int(name.removeprefix(prefix)): str(value)
            for name, value in self._attrs.items()
            if name.startswith(prefix)
        }
        return [numbered[number] for number in sorted(numbered)]

    def _set(self, name: str, value: Any) -> None:
        if self._attrs.get(name) != value:
            self._storage.set_study_system_attr(self._id, name, value)
            self._attrs[name] = value


def artifact_store(folder: str | Path) -> FileSystemArtifactStore:
    """Where the artifacts of the study with this folder are; made if it is not there.

    Raises: OSError: it cannot be made.
    """
    place = Path(folder) / ARTIFACTS
    place.mkdir(parents=True, exist_ok=True)
    return FileSystemArtifactStore(place)


def _replaced(note: str, text: str) -> str:
    """The note with our part in it, first where there was none."""
    ours = f"{BEGIN}\n\n{text.strip()}\n\n{END}"
    before, begin, rest = note.partition(BEGIN)
    if not begin:
        return f"{ours}\n\n{note.strip()}\n" if note.strip() else f"{ours}\n"
    _, end, after = rest.partition(END)
    return f"{before}{ours}{after if end else ''}"


def _prefix(trial: FrozenTrial | None) -> str:
    return "dashboard:" if trial is None else f"dashboard:{_trial_id(trial)}:"


def _trial_id(trial: FrozenTrial) -> int:
    return trial._trial_id  # noqa: SLF001 (storages know trials by it)
