from pathlib import Path

import pytest

from tests.callbacks.conftest import tell

pytest.importorskip("tensorboard")


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_the_search_and_each_trial_have_a_run(beginning):
    from layersearch.callbacks.tensorboard_files import TensorBoardCallback

    tell(TensorBoardCallback(), beginning)
    folder = Path(beginning.folder) / "tensorboard"
    assert sorted(path.name for path in folder.iterdir()) == [
        "search",
        "trial-0000",
        "trial-0001",
        "trial-0002",
    ]
    search = read(folder / "search")
    assert [(e.step, e.value) for e in search.Scalars("search/accuracy")] == [
        (0, pytest.approx(0.6))
    ]
    assert search.Scalars("search/best accuracy")[0].step == 3
    assert search.Scalars("trials/failed")[0].value == 1
    assert search.Scalars("test/chosen")[0].value == pytest.approx(0.7)
    curve = read(folder / "trial-0001").Scalars("accuracy/fold 1")
    assert [(e.step, e.value) for e in curve] == [(1, 0.5), (2, pytest.approx(0.6))]


def test_curves_can_be_left_out_and_the_folder_chosen(beginning, tmp_path):
    from layersearch.callbacks.tensorboard_files import TensorBoardCallback

    tell(TensorBoardCallback(str(tmp_path / "here"), curves=False), beginning)
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["search"]
