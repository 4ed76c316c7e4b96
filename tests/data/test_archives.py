import io
import os
import resource
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import layersearch.data.archives as module
from layersearch.data import decoding, load_data
from layersearch.data.archives import TarFiles, ZipFiles
from layersearch.errors import DataError


def packed(folder: Path, ending: str) -> Path:
    archive = folder.with_name(f"{folder.name}{ending}")
    if ending == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
            for file in sorted(folder.rglob("*.png")):
                content.write(file, file.relative_to(folder.parent))
    else:
        mode = {".tar": "w:", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz"}[ending]
        with tarfile.open(archive, mode) as content:
            content.add(folder, folder.name)
    return archive


def tar_with(archive: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(archive, "w:gz" if archive.suffix == ".gz" else "w:") as content:
        for member in members:
            member.size = 4 if member.isreg() else 0
            content.addfile(member, io.BytesIO(b"evil"))
    return archive


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tgz", ".tar.xz", ".zip"])
def test_an_archive_gives_what_its_folder_gives(make_folder, ending):
    folder = make_folder()
    archive = packed(folder, ending)
    from_folder = load_data("folder", path=folder, train_samples=9, folds=2, seed=3)
    from_archive = load_data("folder", path=archive, train_samples=9, folds=2, seed=3)
    assert from_archive.train.digest == from_folder.train.digest
    assert [Path(i).name for i in from_archive.train.ids] == [
        Path(i).name for i in from_folder.train.ids
    ]
    for splits in (from_folder, from_archive):
        splits.test.unseal()
    assert from_archive.test.open("test").digest == from_folder.test.open("test").digest


def test_a_compressed_tar_is_decompressed_once(make_folder, tmp_path):
    archive, cache = packed(make_folder(), ".tar.gz"), tmp_path / "here"
    first = TarFiles(archive, cache=cache)
    made = {file: file.stat().st_mtime_ns for file in cache.iterdir()}
    assert sorted(file.suffix for file in made) == [".json", ".tar"]
    assert TarFiles(archive, cache=cache).sizes == first.sizes
    assert {file: file.stat().st_mtime_ns for file in cache.iterdir()} == made
    os.utime(archive, ns=(1, 1))  # changed since: another key
    TarFiles(archive, cache=cache)
    assert len(list(cache.iterdir())) == 4


def test_processes_that_prepare_one_archive_at_once_do_not_disturb_each_other(
    make_folder, tmp_path
):
    archive = packed(make_folder(count=30), ".tar.gz")
    # The module by its file: its package would import torch, for seconds in each process.
    code = (
        "import importlib.util, sys; from pathlib import Path\n"
        "spec = importlib.util.spec_from_file_location('archives', sys.argv[1])\n"
        "archives = importlib.util.module_from_spec(spec); spec.loader.exec_module(archives)\n"
        "files = archives.TarFiles(Path(sys.argv[2]), cache=Path(sys.argv[3]))\n"
        "print(len([files.read(name) for name in files.sizes if name.endswith('.png')]))"
    )
    command = [sys.executable, "-c", code, module.__file__, str(archive), str(tmp_path / "shared")]
    root = Path(__file__).parents[2]
    workers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(3)
    ]
    assert [worker.communicate()[0].strip() for worker in workers] == ["180"] * 3
    assert len(list((tmp_path / "shared").iterdir())) == 2


def test_a_damaged_cache_is_noticed_and_prepared_again(make_folder, tmp_path):
    archive, cache = packed(make_folder(), ".tar.gz"), tmp_path / "here"
    name = next(n for n in TarFiles(archive, cache=cache).sizes if n.endswith(".png"))
    content = TarFiles(archive, cache=cache).read(name)
    plain = next(cache.glob("*.tar"))
    damaged = plain.read_bytes().replace(content[20:40], bytes(20))
    plain.write_bytes(damaged)
    files = TarFiles(archive, cache=cache)
    with pytest.raises(OSError, match="damaged since it was prepared"):
        files.read(name)
    assert TarFiles(archive, cache=cache).read(name) == content
    plain.write_bytes(damaged[: len(damaged) // 2])  # cut short: noticed at once
    assert TarFiles(archive, cache=cache).read(name) == content


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
@pytest.mark.parametrize("name", ["../evil.jpg", "a/../../evil.jpg", "/etc/evil.jpg"])
def test_a_member_that_leads_out_of_the_archive_is_refused(tmp_path, name, ending):
    archive = tar_with(tmp_path / f"evil{ending}", tarfile.TarInfo(name))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(DataError, match="leads out of the archive"):
        load_data("folder", path=archive, cache=tmp_path / "c" / "d", folds=2, seed=0)
    written = {path.name for path in set(tmp_path.rglob("*")) - before}
    assert not any("evil" in name for name in written)


def test_a_zip_member_that_leads_out_of_the_archive_is_refused(tmp_path):
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("../evil.jpg", b"evil")
    with pytest.raises(DataError, match="leads out of the archive"):
        ZipFiles(archive)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    member = tarfile.TarInfo("train/cat/1.jpg")
    member.type, member.linkname = kind, "/etc/passwd"
    archive = tar_with(tmp_path / "links.tar.gz", member)
    with pytest.raises(DataError, match=r"'train/cat/1\.jpg', which is a link"):
        TarFiles(archive, cache=tmp_path / "cache")


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tar.xz", ".zip"])
def test_a_truncated_archive_is_refused_by_name(make_folder, tmp_path, ending):
    archive = packed(make_folder(), ending)
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DataError, match=rf"pictures{ending} is damaged"):
        load_data("folder", path=archive, cache=tmp_path / "here", folds=2, seed=0)
    assert not list((tmp_path / "here").glob("*.part"))
    assert not list((tmp_path / "here").glob("*.json"))


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".zip"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, ending):
    archive = tmp_path / f"page{ending}"
    archive.write_text("<html>404 not found</html>" * 100)
    with pytest.raises(DataError, match="damaged or no such archive"):
        load_data("folder", path=archive, folds=2, seed=0)


def test_another_kind_of_file_is_refused_with_the_kinds(tmp_path):
    (tmp_path / "pictures.rar").write_bytes(b"Rar!")
    with pytest.raises(DataError, match=r"neither a folder nor an archive.*\.tar\.gz"):
        load_data("folder", path=tmp_path / "pictures.rar", folds=2, seed=0)


def test_a_cache_that_cannot_be_written_is_one_clear_error(make_folder, tmp_path):
    archive = packed(make_folder(), ".tar.gz")
    (tmp_path / "blocked").write_text("a file, where a folder is needed")
    with pytest.raises(DataError, match="LAYERSEARCH_CACHE"):
        load_data("folder", path=archive, cache=tmp_path / "blocked" / "here", folds=2, seed=0)


def test_a_disk_that_fills_up_leaves_no_half_archive(make_folder, tmp_path):
    archive, cache = packed(make_folder(count=40), ".tar.gz"), tmp_path / "here"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # no file may grow larger
    try:
        with pytest.raises(DataError, match="free some space"):
            TarFiles(archive, cache=cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(cache.iterdir()) == []
    assert len(TarFiles(archive, cache=cache).sizes) > 240


def test_real_images_are_decoded_only_if_they_are_chosen(shared_data, tmp_path, monkeypatch):
    decoded = 0
    original = decoding.loaded

    def counted(image):
        nonlocal decoded
        decoded += 1
        return original(image)

    monkeypatch.setattr(decoding, "loaded", counted)
    splits = load_data(
        "folder",
        path=shared_data / "cifar10_jpeg.tar.gz",
        train_samples=500,
        folds=5,
        check=False,
        seed=0,
    )
    assert decoded <= 501  # the first one twice: its size is the others'
    assert splits.train.images.shape == (500, 3, 32, 32)
    assert splits.train.labels.bincount().tolist() == [50] * 10
    assert splits.train.classes[:3] == ("airplane", "automobile", "bird")
    assert len(splits.test) == 10_000
    assert sorted(file.suffix for file in (tmp_path / "cache").iterdir()) == [".json", ".tar"]
