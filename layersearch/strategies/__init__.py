"""What proposes subsets: greedy, nested, profile and others; Optuna's samplers by its adapter."""

from layersearch.strategies.exhaustive import every_subset
from layersearch.strategies.greedy import Greedy
from layersearch.strategies.greedy_both import GreedyBothWays
from layersearch.strategies.make import STRATEGIES, check_options, make_strategy
from layersearch.strategies.nested import Nested
from layersearch.strategies.profile import Profile, ProfilePoint
from layersearch.strategies.protocol import (
    Done,
    Ledger,
    Look,
    Progress,
    Queued,
    Strategy,
    Wait,
    best_in_space,
    best_of,
)
from layersearch.strategies.race import Race
from layersearch.strategies.random_search import random_subsets
from layersearch.strategies.stop_rules import Gain, paired_gain

__all__ = [
    "STRATEGIES",
    "Done",
    "Gain",
    "Greedy",
    "GreedyBothWays",
    "Ledger",
    "Look",
    "Nested",
    "Profile",
    "ProfilePoint",
    "Progress",
    "Queued",
    "Race",
    "Strategy",
    "Wait",
    "best_in_space",
    "best_of",
    "check_options",
    "every_subset",
    "make_strategy",
    "paired_gain",
    "random_subsets",
]
