"""Observers that hand a search on to experiment trackers; each needs the extra of its name."""

from layersearch.callbacks.making import make_callback

__all__ = ["make_callback"]
