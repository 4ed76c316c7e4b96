"""`layersearch report` and `dashboard`: what a study found so far, or in the end."""

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layersearch.cli.place import Place, place_of, study_command
from layersearch.cli.profile import print_profile
from layersearch.errors import StudyError

if TYPE_CHECKING:  # slow to import, and not needed for `--help`
    import optuna

_DASHBOARD = """\
Opens Optuna Dashboard on a study: trials as they come, learning curves, which units matter.

It brings the notes of the study and of its trials up to date, with figures and the report page.
Only this machine can reach it, since it has no password; nothing but notes can be changed in it,
unless --allow-changes is given. From elsewhere, use a tunnel: ssh -L 8080:localhost:8080 HOST.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds both."""
    report = study_command(commands, "report", "show what a search found, and write its page")
    report.set_defaults(run=_report)
    dashboard = study_command(
        commands, "dashboard", "look at a study in the browser", description=_DASHBOARD
    )
    dashboard.add_argument(
        "--port", type=int, default=8080, help="default: 8080; 0: any that is free"
    )
    dashboard.add_argument(
        "--allow-changes",
        action="store_true",
        help="let studies be deleted, renamed and edited in the browser; notes always can",
    )
    dashboard.set_defaults(run=_dashboard)


def _report(arguments: argparse.Namespace) -> int:
    place = place_of(arguments)
    from rich.console import Console

    from layersearch.report import load_result, summary
    from layersearch.report.page import headline_of, write_page

    result = _result(place)
    study = _study(place, result)
    if study is None and result is None:
        raise StudyError(
            f"{place.folder / 'result.json'} is not there: no search of that name has ended; "
            f"those that have: {', '.join(_studies(place.directory)) or 'none'}"
        )
    if result is None:
        assert study is not None
        print(headline_of(study))
    elif (place.folder / "result.json").is_file():
        Console(highlight=False).print(summary(result))
    else:
        print_profile(load_result(place.folder / "profile.json"), place.folder)
    if study is None:
        print(f"layersearch: no page: the study of {place.name} is not there", file=sys.stderr)
        return 0
    print(f"\nThe page: {write_page(study, place.folder, result=result)}")
    return 0


def _result(place: Place) -> "dict[str, Any] | None":
    """What the search, or else the profile, came to; None before it ended."""
    from layersearch.report import load_result

    for name in ("result.json", "profile.json"):
        if (place.folder / name).is_file():
            return load_result(place.folder / name)
    return None


def _study(place: Place, result: "dict[str, Any] | None") -> "optuna.Study | None":
    """The study; None where it is not to be read but there is a result to show."""
    from layersearch.study import read_study

    storage = place.storage or _recorded_storage(result)
    try:
        return read_study(place.name, storage=storage, directory=place.directory)
    except StudyError:
        if result is None and place.folder.is_dir():
            raise
        return None


def _recorded_storage(result: "dict[str, Any] | None") -> str | None:
    """Where the search kept its study, unless saying so would take a password."""
    section = (result or {}).get("config", {}).get("study", {})
    storage = section.get("storage")
    return storage if isinstance(storage, str) and "***" not in storage else None


def _studies(directory: Path) -> list[str]:
    return sorted(path.parent.name for path in directory.glob("*/result.json"))


def _dashboard(arguments: argparse.Namespace) -> int:
    place = place_of(arguments)
    from layersearch.report.dashboard import dashboard_server, publish
    from layersearch.study import masked, read_study

    result = _result(place)
    storage = place.storage or _recorded_storage(result)
    study = read_study(place.name, storage=storage, directory=place.directory)
    with dashboard_server(
        study, place.folder, port=arguments.port, changes=arguments.allow_changes
    ) as server:
        try:
            board = publish(study, place.folder, result=result)
        except OSError as error:
            raise StudyError(f"{place.folder}: {error.strerror or error}") from error
        address = f"http://127.0.0.1:{server.server_port}{board.address()}"
        where = masked(storage) if storage else str(place.folder / "study.db")
        print(
            f"{place.name} ({where}): {address}\nOnly this machine can reach it; Ctrl-C ends it.",
            file=sys.stderr,
            flush=True,
        )
        with contextlib.suppress(KeyboardInterrupt):  # that is how it ends
            server.serve_forever()
    return 0
