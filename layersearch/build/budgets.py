"""What a search may spend, from its description."""

from layersearch.build.components import Components
from layersearch.build.recipe import largest
from layersearch.config import SearchConfig
from layersearch.execution import Budgets


def build_budgets(config: SearchConfig, parts: Components) -> Budgets:
    """What the search may spend.

    Args:
        config: the description.
        parts: for what a trial spends.
    """
    section = config.execution.budget
    folds = len(parts.materials.data.folds)
    epochs = config.recipe.epochs
    return Budgets(
        trials=config.strategy.trials,
        seconds=section.seconds,
        trainings=section.trainings,
        epochs=section.epochs,
        trainings_per_trial=folds,
        epochs_per_trial=folds * largest(epochs),
    )
