"""Saved tasks: what a new task adds to a backbone, as one small file, and their use."""

from layersearch.serving.description import HeadShape, TaskDescription
from layersearch.serving.merged import Model, load_model, merge
from layersearch.serving.multi_task import MultiTaskNetwork
from layersearch.serving.task import Task, TaskNetwork, load_task, save_task

__all__ = [
    "HeadShape",
    "Model",
    "MultiTaskNetwork",
    "Task",
    "TaskDescription",
    "TaskNetwork",
    "load_model",
    "load_task",
    "merge",
    "save_task",
]
