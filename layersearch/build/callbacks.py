"""The callbacks that a description names."""

from layersearch.config import SearchConfig
from layersearch.execution import Observer


def build_callbacks(config: SearchConfig) -> list[Observer]:
    """Makes them; the first thing a search does, so that what is missing is said at once.

    Raises:
        ConfigError: a library is not installed, or the user's own cannot be made.
    """
    if not config.callbacks:
        return []
    from layersearch.callbacks import make_callback

    return [
        make_callback(section.name, section.options, where=f"callbacks[{index}]")
        for index, section in enumerate(config.callbacks)
    ]
