import shutil

import numpy as np
import pytest

from layersearch.data import load_data
from layersearch.data.folders import read_folder, read_vtab
from layersearch.errors import DataError


def test_train_and_test_folders_are_the_splits(make_folder, tmp_path):
    source = read_folder(make_folder(), cache=tmp_path)
    assert source.classes == ("cat", "dog", "owl")
    assert len(source.train.ids) == 18
    assert source.train.ids[0] == "train/cat/0.png"
    assert source.test.ids[-1] == "test/owl/5.png"
    assert np.bincount(source.test.labels).tolist() == [6, 6, 6]


def test_val_is_the_test_split_where_there_is_no_test(make_folder, tmp_path):
    source = read_folder(make_folder(splits=("train", "val")), cache=tmp_path)
    assert source.test.ids[0] == "val/cat/0.png"
    assert source.given is None


def test_val_beside_test_is_the_sources_own_holdout(make_folder):
    folder = make_folder(splits=("train", "val", "test"))
    splits = load_data("folder", path=folder, seed=0)
    (fold,) = splits.folds
    assert {splits.train.ids[i].split("/")[0] for i in fold.validation} == {"val"}
    assert {splits.train.ids[i].split("/")[0] for i in fold.train} == {"train"}
    assert len(load_data("folder", path=folder, folds=3, seed=0).train) == 36


def test_class_folders_alone_are_one_pool_whose_rest_is_the_test_split(make_folder):
    folder = make_folder(splits=("all",))  # 'all' holds nothing but the class folders
    splits = load_data("folder", path=folder, train_samples=9, folds=3, seed=0)
    assert (len(splits.train), len(splits.test)) == (9, 9)
    splits.test.unseal()
    assert not set(splits.train.ids) & set(splits.test.open("test").ids)


def test_images_may_lie_deeper_and_other_files_beside_them(make_folder, tmp_path):
    folder = make_folder()
    (folder / "train" / "cat" / "more").mkdir()
    shutil.move(folder / "train" / "cat" / "0.png", folder / "train" / "cat" / "more" / "0.png")
    (folder / "train" / "cat" / "notes.txt").write_text("no image")
    (folder / "train" / "cat" / ".hidden.png").write_text("no image")
    (folder / "readme.md").write_text("no image")
    source = read_folder(folder, cache=tmp_path)
    assert np.bincount(source.train.labels).tolist() == [6, 6, 6]
    assert "train/cat/more/0.png" in source.train.ids


def test_picks_do_not_depend_on_the_order_of_the_file_system(make_folder, tmp_path):
    folder = make_folder(count=20)
    copied = tmp_path / "copied"
    for file in sorted(folder.rglob("*.png"), key=lambda f: hash((f.name, f.parent.name))):
        target = copied / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    first, second = (
        load_data("folder", path=path, train_samples=10, holdout=12, seed=4)
        for path in (folder, copied)
    )
    assert first.train.ids == second.train.ids
    assert first.describe() == second.describe()


def test_a_missing_folder_is_told_with_the_nearest_names(make_folder):
    folder = make_folder("pictures")
    with pytest.raises(DataError, match="pictures'"):
        load_data("folder", path=folder.with_name("picturs"), folds=2, seed=0)
    with pytest.raises(DataError, match=r"has no 'picturs'.*did you mean 'pictures'"):
        load_data("folder", path=folder.with_name("picturs") / "deep.tar", folds=2, seed=0)


def test_an_empty_class_is_told_by_its_folder(make_folder):
    folder = make_folder()
    (folder / "train" / "yak").mkdir()
    (folder / "test" / "yak").mkdir()
    with pytest.raises(DataError, match="train/yak holds no image"):
        load_data("folder", path=folder, folds=2, seed=0)


def test_a_single_class_is_refused(make_folder):
    folder = make_folder(classes=("cat",))
    with pytest.raises(DataError, match=r"two classes or more.*'cat'"):
        load_data("folder", path=folder, folds=2, seed=0)


def test_a_class_that_one_split_lacks_is_told(make_folder):
    folder = make_folder()
    shutil.rmtree(folder / "test" / "owl")
    with pytest.raises(DataError, match="test/ lacks 'owl'"):
        load_data("folder", path=folder, folds=2, seed=0)
    (folder / "test" / "dog").rename(folder / "test" / "dogs")
    with pytest.raises(DataError, match="did you mean 'dogs'"):
        load_data("folder", path=folder, folds=2, seed=0)


def test_a_folder_without_class_folders_is_refused(tmp_path, make_folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no class folders"):
        load_data("folder", path=tmp_path / "empty", folds=2, seed=0)
    with pytest.raises(DataError, match="but no 'train'"):
        load_data("folder", path=make_folder(splits=("test", "other")), folds=2, seed=0)


def test_a_link_to_a_folder_above_does_not_go_round_for_ever(make_folder, tmp_path):
    folder = make_folder()
    (folder / "train" / "cat" / "loop").symlink_to(folder)
    assert len(read_folder(folder, cache=tmp_path).train.ids) == 18


@pytest.fixture
def vtab(make_folder):
    """A task of 12 + 6 training images and 9 to test on."""
    folder = make_folder("tasks/pets", splits=("images",), count=9)
    names = [f"images/{kind}/{n}.png" for n in range(9) for kind in ("cat", "dog", "owl")]
    lines = [f"{name} {index % 3}" for index, name in enumerate(names)]
    (folder / "train800.txt").write_text("\n".join(lines[:12]) + "\n")
    (folder / "val200.txt").write_text("\n".join(lines[12:18]) + "\n")
    (folder / "test.txt").write_text("\n".join(lines[18:]))
    return folder


def test_a_vtab_task_has_its_own_holdout(vtab):
    splits = load_data("vtab", path=vtab, seed=0)
    ((fold,),) = (splits.folds,)
    assert (len(fold.train), len(fold.validation), len(splits.test)) == (12, 6, 9)
    held = {splits.train.ids[i] for i in fold.validation}
    assert held == {line.split()[0] for line in (vtab / "val200.txt").read_text().splitlines()}
    assert len(splits.final_train) == 18
    assert splits.classes == ("0", "1", "2")


def test_k_fold_of_a_vtab_task_is_over_all_its_training_images(vtab):
    splits = load_data("vtab", path=vtab.parent, name="pets", folds=3, seed=0)
    assert [len(fold.validation) for fold in splits.folds] == [6, 6, 6]


def test_a_vtab_task_may_have_one_list_for_all(vtab, tmp_path):
    lines = (vtab / "train800.txt").read_text() + (vtab / "val200.txt").read_text()
    (vtab / "train800val200.txt").write_text(lines)
    assert len(read_vtab(vtab, cache=tmp_path).given) == 6
    (vtab / "train800.txt").unlink()
    (vtab / "val200.txt").unlink()
    source = read_vtab(vtab, cache=tmp_path)
    assert source.given is None
    assert len(source.train.ids) == 18


def test_faults_of_vtab_lists_are_told_by_line(vtab, tmp_path):
    with pytest.raises(DataError, match="did you mean 'pets'"):
        read_vtab(vtab.parent, name="pet", cache=tmp_path)
    listing = vtab / "test.txt"
    good = listing.read_text()
    listing.write_text(good + "\nimages/cat/77.png 0")
    with pytest.raises(DataError, match=r"test.txt, line 10: 'images/cat/77.png' is not there"):
        read_vtab(vtab, cache=tmp_path)
    listing.write_text(good + "\nimages/cat/7.png cat")
    with pytest.raises(DataError, match="line 10: must be 'path label'"):
        read_vtab(vtab, cache=tmp_path)
    listing.write_text(good + "\nimages/cat/0.png 0")
    with pytest.raises(DataError, match=r"1 samples are listed both.*images/cat/0.png"):
        load_data("vtab", path=vtab, seed=0)
    listing.unlink()
    with pytest.raises(DataError, match=r"has no 'test\.txt'"):
        read_vtab(vtab, cache=tmp_path)
