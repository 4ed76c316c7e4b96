"""Out of memory: how it shows in PyTorch, and how much less to try next."""

import errno
import math

import torch

from layersearch.subtuning.recipe import Recipe

# PyTorch has a type of its own for GPUs only; elsewhere the text of a RuntimeError must do.
_SIGNS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "std::bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the device or the host, did not suffice."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign.lower() in text for sign in _SIGNS)


def samples_at_a_time(recipe: Recipe, parts: int) -> int:
    """The most samples of a forward pass when each batch is trained in `parts` parts."""
    return max(_fewest(recipe), math.ceil(recipe.batch_size / parts))


def can_split(recipe: Recipe, parts: int) -> bool:
    """Whether more than `parts` parts a batch would be smaller ones."""
    return samples_at_a_time(recipe, parts) > _fewest(recipe)


def _fewest(recipe: Recipe) -> int:
    # The statistics of a batch, which BatchNorm trains with, need two samples.
    return min(recipe.batch_size, 2 if recipe.norms == "train" else 1)
