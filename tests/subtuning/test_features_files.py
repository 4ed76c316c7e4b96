"""Blocks in files: shared by processes, checked when read, bounded in bytes, removed at the end."""

import logging
import multiprocessing
import os
import signal
import time
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layersearch.subtuning.features import Budget, remove_leftovers
from layersearch.subtuning.features.file_tier import FileTier
from layersearch.subtuning.features.files import FileWriter, try_lock
from layersearch.subtuning.features.opening import memory_directory_for
from layersearch.subtuning.features.rates import LoadRates
from layersearch.subtuning.features.tiers import MemoryTier
from tests.subtuning.feature_doubles import MIB, dense_chain, direct, make_store

EXACT = {"rtol": 1e-5, "atol": 1e-5}
SAMPLES = torch.tensor([7, 3, 49, 3, 0, 20])
CUTS = range(1, 5)


def shared_store(folder, chain=None, **options):
    options.setdefault("budget", Budget(device_bytes=0, host_bytes=4 * MIB))
    options.setdefault("key", "k")
    return make_store(
        dense_chain() if chain is None else chain,
        directory=folder / "disk",
        memory_directory=folder / "memory",
        **options,
    )


def blocks_in(folder):
    return sorted(folder.glob("**/*.block"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("layersearch.subtuning.features.shelf._PAUSE_S", 0.0)
    return tmp_path


class TestSharing:
    def test_a_second_store_finds_what_the_first_built(self, folder):
        with shared_store(folder) as first:
            first.prefetch(CUTS, 0)
            chain = dense_chain()
            with shared_store(folder, chain) as second:
                for number in CUTS:
                    torch.testing.assert_close(
                        second.values(number, SAMPLES, 0),
                        direct(dense_chain(), number, SAMPLES, 0),
                        **EXACT,
                    )
                assert second.statistics()["blocks"]["found"] == len(CUTS)
                assert second.statistics()["blocks"]["built"] == 0
                assert max(chain.ran) <= 3 * 16  # to measure, not to fill

    @pytest.mark.parametrize(
        "other",
        [
            {"key": "other"},
            {"precision": "bf16"},
            {"storage": "bf16"},
            {"batch_size": 8},
            {"channels_last": True},
            {"view_samples": torch.arange(10, 50)},
        ],
    )
    def test_features_of_something_else_are_not_used(self, folder, other):
        with shared_store(folder) as first, shared_store(folder, **other) as second:
            first.prefetch(CUTS, 0)
            second.prefetch(CUTS, 0)
            assert second.statistics()["blocks"]["found"] == 0

    def test_a_later_process_goes_on_with_the_files_of_an_earlier_one(self, folder):
        with shared_store(folder) as first:
            first.prefetch(CUTS, 0)
        with shared_store(folder) as second:
            second.prefetch(CUTS, 0)
            assert second.statistics()["blocks"]["found"] == len(CUTS)

    def test_two_processes_build_each_block_once(self, folder):
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        barrier = context.Barrier(2)
        workers = [
            context.Process(target=_work, args=(folder, number, barrier, results), daemon=True)
            for number in range(2)
        ]
        for worker in workers:
            worker.start()
        statistics = [results.get(timeout=120) for _ in workers]
        for worker in workers:
            worker.join(60)
            assert worker.exitcode == 0
        assert sum(each["blocks"]["built"] for each in statistics) == 3 * len(CUTS)
        assert all(each["blocks"]["stored"] == 3 * len(CUTS) for each in statistics)
        assert len(blocks_in(folder)) == 3 * len(CUTS)

    def test_values_are_computed_when_the_builder_takes_too_long(self, folder):
        with shared_store(folder, patience=0.0) as store:
            (lock_folder,) = (folder / "memory").glob("*/")
            builder = try_lock(lock_folder / "cut1_view0.lock")
            assert builder is not None
            got = store.values(1, SAMPLES, 0)
            torch.testing.assert_close(got, direct(dense_chain(), 1, SAMPLES, 0), **EXACT)
            assert store.statistics()["decisions"][1]["refused"] == (
                "another process is building it"
            )
            builder.release()
            store.values(1, torch.arange(50), 0)
            store.values(1, SAMPLES, 0)
            assert store.statistics()["blocks"]["built"] == 1

    def test_a_builder_that_is_killed_leaves_neither_lock_nor_bytes(self, folder):
        context = multiprocessing.get_context("spawn")
        started = context.Event()
        victim = context.Process(target=_build_for_ever, args=(folder, started), daemon=True)
        victim.start()
        assert started.wait(120)
        budget = Budget(device_bytes=0, host_bytes=100_000)  # one block, but not two
        with shared_store(folder, budget=budget) as store:
            assert store.statistics()["bytes"]["host"] > 38_000
            os.kill(victim.pid, signal.SIGKILL)
            victim.join(60)
            store.values(1, SAMPLES, 0)
            assert store.statistics()["blocks"]["built"] == 1
            assert not list(folder.glob("**/*.partial"))


def _work(folder, number, barrier, results):
    torch.set_num_threads(1)
    with shared_store(folder, patience=60.0) as store:
        barrier.wait(60)
        for view in (-1, 0, 1):
            for cut in CUTS if number == 0 else reversed(CUTS):
                got = store.values(cut, SAMPLES, view)
                torch.testing.assert_close(got, direct(dense_chain(), cut, SAMPLES, view), **EXACT)
        barrier.wait(60)
        results.put(store.statistics())
        barrier.wait(60)


class _Stuck(torch.nn.Module):
    def __init__(self, started):
        super().__init__()
        self.started = started
        self.runs = 0

    def forward(self, *values):
        self.runs += 1
        if len(values[0]) < 16:  # the last batch of a pass, not one that is measured
            self.started.set()
            time.sleep(600)
        return (values[0] + 1,)


def _build_for_ever(folder, started):
    chain = dense_chain()
    chain.stages[0] = _Stuck(started)
    shared_store(folder, chain).values(1, SAMPLES, 0)


class TestDamage:
    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: data[: len(data) // 2],
            lambda data: b"",
            lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
            lambda data: b"X" + data[1:],
            lambda data: data[:30] + bytes([data[30] ^ 1]) + data[31:],
            lambda data: data + b"more",
        ],
        ids=["cut", "empty", "one bit of a value", "magic", "one bit of the header", "longer"],
    )
    def test_is_noticed_and_the_block_computed_again(self, folder, damage, caplog):
        with shared_store(folder) as store:
            store.values(1, SAMPLES, 0)
        (path,) = blocks_in(folder)
        whole = path.read_bytes()
        path.write_bytes(damage(whole))
        with shared_store(folder) as store, caplog.at_level(logging.WARNING):
            got = store.values(1, SAMPLES, 0)
            torch.testing.assert_close(got, direct(dense_chain(), 1, SAMPLES, 0), **EXACT)
            assert store.statistics()["blocks"]["built"] == 1
        assert path.name in caplog.text
        assert "damaged" in caplog.text
        assert path.read_bytes() == whole

    def test_in_rows_that_are_loaded_later_is_noticed_then(self, folder, monkeypatch, caplog):
        monkeypatch.setattr("layersearch.subtuning.features.checksums._CHUNK", 1)
        with shared_store(folder) as store:
            store.prefetch([1, 2], 0)
        one, _ = blocks_in(folder)
        whole = one.read_bytes()
        position = len(whole) - 50 * 8 * 2 - 1000  # within the last rows, before the checksums
        one.write_bytes(whole[:position] + bytes([whole[position] ^ 8]) + whole[position + 1 :])
        with shared_store(folder) as store, caplog.at_level(logging.WARNING):
            for first in range(0, 50, 10):
                asked = torch.arange(first, first + 10)
                got = store.values(1, asked, 0)
                torch.testing.assert_close(got, direct(dense_chain(), 1, asked, 0), **EXACT)
            assert store.statistics()["blocks"]["found"] == 1
            assert store.statistics()["blocks"]["built"] == 1
        assert one.read_bytes() == whole
        assert [record.message for record in caplog.records if "damaged" in record.message]

    def test_of_an_earlier_cut_spoils_no_later_one(self, folder, monkeypatch):
        monkeypatch.setattr("layersearch.subtuning.features.checksums._CHUNK", 1)
        with shared_store(folder) as store:
            store.values(1, SAMPLES, 0)
        (one,) = blocks_in(folder)
        whole = one.read_bytes()
        with shared_store(folder) as store:
            store.values(1, torch.tensor([0]), 0)
            damaged = bytearray(whole)
            damaged[4096 : 4096 + 50 * 3 * 64 * 4 : 4] = bytes(50 * 3 * 64)
            one.write_bytes(damaged)  # in place: the pages that the store has mapped
            everything = torch.arange(50)
            got = store.values(3, everything, 0)
            torch.testing.assert_close(got, direct(dense_chain(), 3, everything, 0), **EXACT)

    def test_is_complained_of_once(self, folder, caplog):
        with shared_store(folder) as store:
            store.prefetch(CUTS, 0)
        for path in blocks_in(folder):
            path.write_bytes(path.read_bytes()[:-3])
        with shared_store(folder) as store, caplog.at_level(logging.WARNING):
            store.prefetch(CUTS, 0)
            assert store.statistics()["blocks"]["built"] == len(CUTS)
        assert len(caplog.records) == 1

    def test_a_file_of_another_cut_under_this_name_is_not_used(self, folder):
        with shared_store(folder) as store:
            store.prefetch([1, 2], 0)
        one, two = blocks_in(folder)
        one.write_bytes(two.read_bytes())
        with shared_store(folder) as store:
            torch.testing.assert_close(
                store.values(1, SAMPLES, 0), direct(dense_chain(), 1, SAMPLES, 0), **EXACT
            )
            assert store.statistics()["blocks"]["built"] == 1

    def test_an_interrupted_build_leaves_nothing(self, folder):
        class Interrupted(torch.nn.Module):
            def forward(self, *values):
                if len(values[0]) < 16:
                    raise KeyboardInterrupt
                return (values[0] + 1,)

        chain = dense_chain()
        chain.stages[0] = Interrupted()
        with shared_store(folder, chain) as store:
            with pytest.raises(KeyboardInterrupt):
                store.values(1, torch.arange(16), 0)
            assert store.statistics()["bytes"]["host"] == 0
            assert not list(folder.glob("**/*.partial"))
        with shared_store(folder) as store:
            store.values(1, SAMPLES, 0)
            assert store.statistics()["blocks"]["built"] == 1


class TestFullDisk:
    def test_goes_on_computing_and_says_so_once(self, small_disk, caplog):
        budget = Budget(device_bytes=0, host_bytes=0, disk_bytes=100 * MIB)
        with (
            make_store(dense_chain(), directory=small_disk, key="k", budget=budget) as store,
            caplog.at_level(logging.WARNING),
        ):
            for view in range(8):
                for _ in range(2):
                    torch.testing.assert_close(
                        store.values(2, SAMPLES, view),
                        direct(dense_chain(), 2, SAMPLES, view),
                        **EXACT,
                    )
            statistics = store.statistics()
            kept = blocks_in(small_disk)
            assert 1 <= len(kept) == statistics["blocks"]["stored"] < 8
            assert not list(small_disk.glob("**/*.partial"))
        warnings = [record.message for record in caplog.records]
        assert len(warnings) == 1
        assert "No space left" in warnings[0]
        assert "execution.cache.disk" in warnings[0]

    def test_earlier_blocks_stay_whole(self, small_disk):
        budget = Budget(device_bytes=0, host_bytes=0, disk_bytes=100 * MIB)
        options = {"directory": small_disk, "key": "k", "budget": budget}
        with make_store(dense_chain(), **options) as store:
            for view in range(8):
                store.values(2, SAMPLES, view)
            stored = store.statistics()["blocks"]["stored"]
        with make_store(dense_chain(), **options) as store:
            for view in range(8):
                store.values(2, SAMPLES, view)
            assert store.statistics()["blocks"]["found"] == stored


class TestSlowDisk:
    """Writing is said to take a given time, so that no test depends on this machine's."""

    @pytest.fixture
    def slow(self, monkeypatch):
        seconds = {"write": 1e6}
        clock = {"now": 0.0}
        write = FileWriter.write

        def slowly(writer, start, values):
            clock["now"] += seconds["write"]
            write(writer, start, values)

        monkeypatch.setattr(FileWriter, "write", slowly)
        monkeypatch.setattr(
            "layersearch.subtuning.features.building.time",
            SimpleNamespace(perf_counter=lambda: time.perf_counter() + clock["now"]),
        )
        monkeypatch.setattr(LoadRates, "_time", lambda rates, block, count: 1e-12)
        return seconds

    def test_is_given_up_after_the_first_batch_and_not_tried_again(self, folder, slow):
        chain = dense_chain()
        with shared_store(folder, chain, policy="measured") as store:
            for _ in range(3):
                for _ in range(20):  # all samples, several times over
                    torch.testing.assert_close(
                        store.values(2, SAMPLES, 0), direct(dense_chain(), 2, SAMPLES, 0), **EXACT
                    )
            statistics = store.statistics()
            assert statistics["blocks"]["slow"] == 1
            assert statistics["blocks"]["stored"] == 0
            assert "writing to host takes longer" in statistics["decisions"][2]["refused"]
            assert not [*blocks_in(folder), *folder.glob("**/*.partial")]

    def test_is_no_matter_where_it_is_fast_enough(self, folder, slow):
        slow["write"] = 0.0
        with shared_store(folder, policy="measured") as store:
            store.values(2, SAMPLES, 0)
            assert store.statistics()["blocks"]["stored"] == 1

    def test_is_put_up_with_where_everything_is_to_be_kept(self, folder, slow):
        with shared_store(folder, policy="always") as store:
            store.values(2, SAMPLES, 0)
            assert store.statistics()["blocks"]["stored"] == 1


class TestFullMemory:
    def test_of_the_shared_host_memory_is_no_error(self, small_disk, tmp_path, caplog):
        budget = Budget(device_bytes=0, host_bytes=100 * MIB)
        options = {"directory": tmp_path, "memory_directory": small_disk, "budget": budget}
        with (
            make_store(dense_chain(), key="k", **options) as store,
            caplog.at_level(logging.WARNING),
        ):
            for view in range(8):
                for _ in range(2):
                    torch.testing.assert_close(
                        store.values(2, SAMPLES, view),
                        direct(dense_chain(), 2, SAMPLES, view),
                        **EXACT,
                    )
            assert not list(small_disk.glob("**/*.partial"))
        (warning,) = [record.message for record in caplog.records]
        assert str(small_disk) in warning
        assert "execution.cache.host" in warning

    def test_that_takes_no_file_at_all_is_no_error(self, small_disk, caplog):
        (small_disk / "filler").write_bytes(bytes(240 << 10))
        for number in range(2000):  # and no more names
            try:
                (small_disk / f"{number:0200}").mkdir()
            except OSError:
                break
        budget = Budget(device_bytes=0, host_bytes=0, disk_bytes=100 * MIB)
        with (
            caplog.at_level(logging.WARNING),
            make_store(
                dense_chain(), directory=small_disk / "new", key="k", budget=budget
            ) as store,
        ):
            got = store.values(2, SAMPLES, 0)
            torch.testing.assert_close(got, direct(dense_chain(), 2, SAMPLES, 0), **EXACT)
        (warning,) = [record.message for record in caplog.records]
        assert str(small_disk) in warning


class TestSharedBudget:
    BLOCK = 50 * 5 * 64 * 4  # bytes of rows of cut 1

    def test_holds_for_all_stores_together(self, folder):
        budget = Budget(device_bytes=0, host_bytes=3 * self.BLOCK)
        with (
            shared_store(folder, budget=budget) as first,
            shared_store(folder, budget=budget, key="other") as second,
        ):
            for view in range(4):
                first.values(1, SAMPLES, view)
                second.values(1, SAMPLES, view)
            taken = sum(path.stat().st_size for path in blocks_in(folder))
            assert 0 < taken <= budget.host_bytes
            assert first.statistics()["bytes"]["host"] == taken

    def test_a_block_that_another_store_uses_is_not_deleted(self, folder):
        budget = Budget(device_bytes=0, host_bytes=2 * self.BLOCK)
        everything = torch.arange(50)
        with shared_store(folder, budget=budget) as first:
            first.values(1, everything, 0)
            with shared_store(folder, budget=budget) as second:
                for _ in range(4):
                    second.values(1, everything, 1)
                assert second.statistics()["blocks"]["stored"] == 0
                assert first.statistics()["blocks"]["stored"] == 1

    def test_a_block_that_nobody_uses_makes_room(self, folder):
        budget = Budget(device_bytes=0, host_bytes=2 * self.BLOCK)
        everything = torch.arange(50)
        with shared_store(folder, budget=budget) as first:
            first.values(1, everything, 0)
        with shared_store(folder, budget=budget) as second:
            for _ in range(4):
                second.values(1, everything, 1)
            assert [path.name for path in blocks_in(folder)] == ["cut1_view1.block"]


class TestRemoval:
    def test_at_the_end_deletes_the_files(self, folder):
        store = shared_store(folder)
        store.prefetch(CUTS, 0)
        store.close(remove=True)
        assert not list(folder.glob("**/*.block"))
        assert not (folder / "memory").exists()
        store.close(remove=True)

    def test_leaves_what_others_use(self, folder):
        with shared_store(folder) as other:
            store = shared_store(folder)
            store.prefetch(CUTS, 0)
            store.close(remove=True)
            other.prefetch(CUTS, 0)
            assert other.statistics()["blocks"]["found"] == len(CUTS)

    def test_of_leftovers_spares_what_is_in_use(self, folder, monkeypatch):
        monkeypatch.setattr("layersearch.subtuning.features.opening._MEMORY_FILES", folder)
        disk = folder / "disk"
        budget = Budget(device_bytes=0, host_bytes=70_000, disk_bytes=MIB)
        with make_store(dense_chain(), directory=disk, key="k", budget=budget) as store:
            store.prefetch(CUTS, 0)
            assert len(blocks_in(disk)) < len(blocks_in(folder)) == len(CUTS)
            assert remove_leftovers(disk) == 0
        assert remove_leftovers(disk) >= 1
        assert not blocks_in(folder)

    def test_opening_a_store_removes_what_ended_searches_left(self, folder):
        with shared_store(folder, key="old") as store:
            store.values(1, SAMPLES, 0)
        with shared_store(folder, key="new"):
            assert not blocks_in(folder)


class TestLeftoversOfTheKilled:
    """In the machine's real memory files, as searches use them."""

    def test_are_removed_by_the_next_search_but_not_while_shared(self, tmp_path):
        if memory_directory_for(tmp_path) is None:
            pytest.skip("this machine has no memory file system")
        memory = memory_directory_for(tmp_path)
        context = multiprocessing.get_context("spawn")
        built = context.Queue()
        workers = [
            context.Process(target=_build_and_wait, args=(tmp_path, built), daemon=True)
            for _ in range(2)
        ]
        for worker in workers:
            worker.start()
        for _ in workers:
            built.get(timeout=120)
        assert blocks_in(memory)
        os.kill(workers[0].pid, signal.SIGKILL)
        workers[0].join(60)
        make_store(dense_chain()).close()  # the next search, while the other worker lives
        assert blocks_in(memory)
        os.kill(workers[1].pid, signal.SIGKILL)
        workers[1].join(60)
        assert blocks_in(memory)
        make_store(dense_chain()).close()
        assert not memory.exists()


def _build_and_wait(folder, built):
    torch.set_num_threads(1)
    budget = Budget(device_bytes=0, host_bytes=4 * MIB)
    with make_store(dense_chain(), directory=folder, key="k", budget=budget) as store:
        store.prefetch(CUTS, 0)
        built.put(store.statistics()["blocks"]["stored"])
        time.sleep(600)


class TestMemoryDirectory:
    @pytest.fixture
    def memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr("layersearch.subtuning.features.opening._MEMORY_FILES", tmp_path)
        return tmp_path

    def test_goes_with_the_directory(self, memory):
        first, again, other = (memory_directory_for(memory / name) for name in "aab")
        assert first == again != other
        assert first.is_relative_to(memory)

    def test_that_is_a_link_to_somewhere_else_is_not_used(self, memory):
        memory_directory_for(memory)
        mine = memory / f"layersearch-{os.getuid()}"
        mine.rmdir()
        (memory / "elsewhere").mkdir()
        mine.symlink_to(memory / "elsewhere")
        assert memory_directory_for(memory / "a") is None

    def test_leftovers_in_it_are_removed(self, memory):
        root = memory_directory_for(memory / "a")
        with make_store(directory=memory / "a", memory_directory=root, key="k") as store:
            store.values(1, SAMPLES, 0)
            memory_directory_for(memory / "b")
            assert len(blocks_in(root)) == 1
        memory_directory_for(memory / "b")
        assert not blocks_in(memory)

    def test_without_one_memory_is_kept_by_this_process(self, memory, tmp_path, caplog):
        blocked = tmp_path / "file"
        blocked.write_text("not a folder")
        with caplog.at_level(logging.WARNING):
            store = make_store(directory=tmp_path / "disk", memory_directory=blocked / "x", key="k")
        assert "every worker keeps its own" in caplog.text
        store.values(1, SAMPLES, 0)
        assert store.statistics()["bytes"]["host"] > 0


def test_blocks_that_are_shared_are_copied_to_the_device_where_there_is_room(folder, monkeypatch):
    def two_tiers(budget, *, device, directory, memory_directory, identity):
        place = torch.device("cpu")
        return [
            FileTier("host", memory_directory, budget=MIB, identity=identity, device=device),
            MemoryTier("device", budget=budget.device_bytes, place=place, device=device),
        ]

    monkeypatch.setattr("layersearch.subtuning.features.store.open_tiers", two_tiers)
    with shared_store(folder, budget=Budget(device_bytes=70_000)) as store:
        for number in (1, 2):
            torch.testing.assert_close(
                store.values(number, SAMPLES, 0),
                direct(dense_chain(), number, SAMPLES, 0),
                **EXACT,
            )
        assert len(blocks_in(folder)) == 2
        decisions = store.statistics()["decisions"]
        assert decisions[1]["tiers"] == ["device"]
        assert decisions[2]["tiers"] == ["host"]


class TestRandomUse:
    @settings(
        max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        host=st.integers(0, 200_000),
        disk=st.integers(0, 200_000),
        asked=st.lists(
            st.tuples(st.booleans(), st.integers(1, 4), st.integers(-1, 2)), min_size=1, max_size=12
        ),
    )
    def test_two_stores_keep_one_budget_and_give_right_values(
        self, tmp_path_factory, host, disk, asked
    ):
        folder = tmp_path_factory.mktemp("features")
        budget = Budget(device_bytes=0, host_bytes=host, disk_bytes=disk)
        with shared_store(folder, budget=budget) as one, shared_store(folder, budget=budget) as two:
            for first, cut, view in asked:
                store = one if first else two
                torch.testing.assert_close(
                    store.values(cut, SAMPLES, view),
                    direct(dense_chain(), cut, SAMPLES, view),
                    **EXACT,
                )
                for place, limit in (("memory", host), ("disk", disk)):
                    files = blocks_in(folder / place)
                    assert sum(path.stat().st_size for path in files) <= limit
            one.close(remove=True)
            two.close(remove=True)
        assert not blocks_in(folder)
