"""What a trial gives and how it is judged: outcomes, metrics, costs, bounds, standard errors."""

from layersearch.objectives.best import LEVEL, Best, Interval
from layersearch.objectives.costs import (
    COSTS,
    step_multiply_adds,
    subset_costs,
    training_flops,
)
from layersearch.objectives.front import RULES, choose, pareto_front
from layersearch.objectives.metrics import Metric, metric_names
from layersearch.objectives.objective import Evaluation, Objective, make_objective
from layersearch.objectives.outcome import Outcome
from layersearch.objectives.uncertainty import (
    binomial_standard_error,
    bootstrap_standard_error,
    combined_standard_error,
    paired_difference,
    standard_error,
)

__all__ = [
    "COSTS",
    "LEVEL",
    "RULES",
    "Best",
    "Evaluation",
    "Interval",
    "Metric",
    "Objective",
    "Outcome",
    "binomial_standard_error",
    "bootstrap_standard_error",
    "choose",
    "combined_standard_error",
    "make_objective",
    "metric_names",
    "paired_difference",
    "pareto_front",
    "standard_error",
    "step_multiply_adds",
    "subset_costs",
    "training_flops",
]
