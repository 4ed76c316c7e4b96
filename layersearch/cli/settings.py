"""Options that stand for settings of a description: `--trials 20` is `-o strategy.trials=20`."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

# option: (setting, metavar, help)
SHORT = {
    "--strategy": (
        "strategy.name",
        "NAME",
        "greedy, nested, exhaustive, random, tpe, gp, nsga2, nsga3, qmc or package.module:callable",
    ),
    "--trials": ("strategy.trials", "N", "end after so many trials"),
    "--budget": (
        "execution.budget",
        "AMOUNT",
        "end after so much: 30m, 200epochs, 50trainings or '2h 200epochs'; repeatable",
    ),
    "--workers": ("execution.workers", "N", "train so many subsets at once"),
    "--runner": ("execution.runner", "NAME", "who trains: local, ray"),
    "--address": (
        "execution.address",
        "ADDRESS",
        "of a Ray cluster, for --runner ray: auto or host:port",
    ),
    "--scheduler": (
        "execution.scheduler",
        "NAME",
        "for --runner ray: asha, hyperband or median end hopeless trials early",
    ),
}
_ADDED = "execution.budget"
_TEXTS = ("strategy.name", "execution.budget", "execution.runner", "execution.address")


class _Setting(argparse.Action):
    """Puts the setting among the overrides, in the order of the command line."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002  # argparse's signature
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        path, text = str(self.const), str(values)
        if path == _ADDED:
            # Amounts of several options hold together, as those of one text.
            namespace.amounts = [*(getattr(namespace, "amounts", None) or []), text]
            text = " ".join(namespace.amounts)
        value = json.dumps(text) if path in _TEXTS else text
        namespace.overrides = [*namespace.overrides, f"{path}={value}"]


def add_settings(parser: argparse.ArgumentParser, *, without: Sequence[str] = ()) -> None:
    """Adds `-o` and its short forms; the result is `overrides`, for `load_config`."""
    parser.set_defaults(overrides=[])
    parser.add_argument(
        "-o",
        "--override",
        metavar="PATH=VALUE",
        action="append",
        dest="overrides",
        help="set any field: a dotted path and a value in YAML, as recipe.epochs=5; repeatable",
    )
    for option, (path, metavar, text) in SHORT.items():
        if option not in without:
            parser.add_argument(
                option, metavar=metavar, action=_Setting, const=path, dest="overrides", help=text
            )
