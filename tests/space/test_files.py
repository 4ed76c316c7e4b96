import errno
import os
import resource
import signal
import stat
import subprocess
import sys

import pytest

from layersearch.space.files import unwritable, write_whole


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "new" / "result.json"
    for content in (b"first", b"second, longer"):
        assert write_whole(path, content) == path
        assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


def test_a_disk_that_fills_up_leaves_the_previous_file(tmp_path):
    path = tmp_path / "result.json"
    path.write_bytes(b"previous")
    # A limit on the size of files is the disk of this process filling up, without root.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_whole(path, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"previous"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_killed_midway_leaves_the_previous_file(tmp_path):
    path = tmp_path / "result.json"
    path.write_bytes(b"previous")
    script = (
        "import os, signal, sys\n"
        "from layersearch.space import files\n"
        "files.os.fsync = lambda number: os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write_whole(sys.argv[1], bytes(5000))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"previous"


def test_the_file_is_readable_as_any_other_new_file(tmp_path):
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    written = write_whole(tmp_path / "written", b"")
    assert stat.S_IMODE(written.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


def test_on_a_full_disk_each_file_is_the_new_one_or_the_old_one(small_disk):
    path = small_disk / "result.json"
    for size in range(10_000, 400_000, 10_000):
        try:
            write_whole(path, bytes([size % 251]) * size)
        except OSError as error:
            message = unwritable(path, error)
            break
        before = path.read_bytes()
        assert before == bytes([size % 251]) * size
    assert path.read_bytes() == before
    assert list(small_disk.iterdir()) == [path]
    assert message == (
        f"{path}: cannot be written (No space left on device); what was there is as it was; "
        "free space there, then run the same command again"
    )


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EDQUOT, "free space there"),
        (errno.EROFS, "get the right to write there"),
        (errno.ENOTDIR, "name another folder"),
    ],
)
def test_what_is_told_of_a_file_that_cannot_be_written_fits_the_reason(number, remedy):
    assert remedy in unwritable("a.json", OSError(number, os.strerror(number)))
