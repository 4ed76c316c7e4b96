"""Taking the tuned layers away as one file."""

from pathlib import Path

from layersearch.build.conclusion import TASK
from layersearch.errors import TaskError
from layersearch.serving import load_task
from layersearch.space.files import unwritable, write_whole


def export(folder: str | Path, output: str | Path) -> Path:
    """Copies the saved task of a finished search, after checking that it is whole.

    Args:
        folder: of the study, `runs/<study>`.
        output: the file to write.

    Returns: the file that was written.

    Raises:
        TaskError: there is no saved task, it is damaged, or the output cannot be written.
    """
    saved, output = Path(folder) / TASK, Path(output)
    if not saved.is_file():
        raise TaskError(
            f"{folder}: has no saved task; its search has not ended, so run `layersearch search` "
            "with the same file again"
        )
    load_task(saved)
    try:
        return write_whole(output, saved.read_bytes())
    except OSError as error:
        raise TaskError(unwritable(output, error)) from error
