"""Finished retrainings, kept in files until a search is concluded.

Retraining the winner and the baselines may take as long as the search. Each retraining is kept
beside the study as soon as it is finished, so that a conclusion that was killed goes on after the
last one. The files are sealed by a checksum, and say what they are retrainings of: whatever is
damaged, or of another search, is done again.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from layersearch.errors import TaskError
from layersearch.serving.sealed_file import read_sealed, write_sealed
from layersearch.subtuning import Contender, Retraining

_KIND = "layersearch.retraining"
_TUNED = "tuned."  # prefix of the tensors of the first seed
_FOLDER = "retraining"


class Retrainings:
    """Keeps retrainings in the folder of a study.

    Args:
        study: the folder.
        identity: everything but the contender that decides what a retraining gives, as JSON.
        tell: is given what the user should know.
    """

    def __init__(
        self, study: Path, *, identity: Mapping[str, Any], tell: Callable[[str], None]
    ) -> None:
        self._folder = study / _FOLDER
        self._identity = {**identity, "torch": torch.__version__}
        self._tell = tell
        self._full = False  # the disk; said once

    def find(self, contender: Contender, number: int) -> Retraining | None:
        """The retraining of a contender with seed `number`, if it was finished before."""
        path = self._path(contender, number)
        if not path.exists():
            return None
        try:
            tensors, description = read_sealed(path, kind=_KIND)
        except TaskError as error:
            self._tell(f"a retraining that was finished before is done again ({error})")
            return None
        if description.get("of") != self._key(contender, number):
            return None
        return Retraining(
            score=float(description["score"]),
            logits=tensors["logits"],
            tuned={
                name.removeprefix(_TUNED): tensor
                for name, tensor in tensors.items()
                if name.startswith(_TUNED)
            },
            seconds=float(description["seconds"]),
        )

    def keep(self, contender: Contender, number: int, retraining: Retraining) -> None:
        """Writes a finished one; without space for it, only says so."""
        if not math.isfinite(retraining.score):
            return  # no JSON; and whoever comes back has mended the metric
        tensors = {f"{_TUNED}{name}": tensor for name, tensor in retraining.tuned.items()}
        tensors["logits"] = retraining.logits
        description = {
            "of": self._key(contender, number),
            "score": retraining.score,
            "seconds": retraining.seconds,
        }
        try:
            write_sealed(
                self._path(contender, number),
                {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                description,
                kind=_KIND,
            )
        except TaskError as error:
            if not self._full:
                self._tell(f"going on, but an interruption now costs this retraining ({error})")
            self._full = True

    def remove(self) -> None:
        """Deletes all: what came of them is written."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, contender: Contender, number: int) -> Path:
        return self._folder / f"{contender.name}-{number + 1}.safetensors"

    def _key(self, contender: Contender, number: int) -> str:
        of = {
            **self._identity,
            "contender": contender.name,
            "subset": list(contender.subset),
            "recipe": contender.recipe.describe(),
            "number": number,
        }
        text = json.dumps(of, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
