import argparse
import json

import pytest

from layersearch.cli.progress import add_progress, is_json, make_progress
from layersearch.config import config_from


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_progress(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "mode"),
    [((), "auto"), (("--quiet",), "quiet"), (("--progress", "json"), "json")],
)
def test_how_it_is_shown_is_an_option(words, mode):
    assert parsed(*words).progress == mode
    assert is_json(parsed(*words)) == (mode == "json")


@pytest.mark.parametrize("words", [("--progress", "loud"), ("--quiet", "--progress", "json")])
def test_what_makes_no_sense_is_refused(words, capsys):
    with pytest.raises(SystemExit):
        parsed(*words)
    assert "--progress" in capsys.readouterr().err


def test_what_was_set_aside_is_an_event_for_programs_and_a_line_for_people(capsys):
    document = {
        "backbone": {"name": "resnet18"},
        "data": {"source": "digits"},
        "strategy": {"name": "greedy", "stop": "paper"},
    }
    config = config_from(document, ["strategy.name=tpe", "strategy.trials=3"])
    assert config.notes
    make_progress(parsed("--progress", "json"), config)
    shown = capsys.readouterr()
    assert json.loads(shown.out.splitlines()[0])["text"] == config.notes[0]
    assert shown.err == ""
    make_progress(parsed(), config)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"layersearch: {config.notes[0]}\n")
