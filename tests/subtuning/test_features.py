"""The feature store gives what the network would compute, and keeps to its budgets."""

import logging

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layersearch.backbones.chain import cut
from layersearch.backbones.cifar_resnet import cifar_resnet20
from layersearch.backbones.units import find_units
from layersearch.data.views import Views
from layersearch.subtuning.features import Budget, FeatureStore
from layersearch.subtuning.features.rates import LoadRates
from tests.subtuning.feature_doubles import (
    MIB,
    ListChain,
    dense_chain,
    direct,
    make_store,
    tiny_chain,
    tiny_views,
)

# Float32 sums in another order: convolution kernels may be chosen by batch size.
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}
SAMPLES = torch.tensor([7, 3, 49, 3, 0, 20])


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tier_options(tier, folder):
    """A store whose blocks all go to one tier."""
    if tier == "device":
        return {"budget": Budget(device_bytes=MIB, host_bytes=0)}
    if tier == "host":
        return {"budget": Budget(device_bytes=0, host_bytes=MIB)}
    disk = tier == "disk"
    return {
        "budget": Budget(device_bytes=0, host_bytes=0 if disk else MIB, disk_bytes=disk * MIB),
        "directory": folder / "disk",
        "memory_directory": folder / "memory",
        "key": "k",
    }


class TestValues:
    @pytest.mark.parametrize("tier", ["device", "host", "shared", "disk"])
    @pytest.mark.parametrize("make_chain", [tiny_chain, dense_chain])
    def test_equal_direct_computation_at_every_cut_in_every_tier(self, make_chain, tier, tmp_path):
        chain = make_chain()
        with make_store(chain, **tier_options(tier, tmp_path)) as store:
            for view in (-1, 0, 1):
                for number in range(len(chain.stages)):
                    for _ in range(2):
                        got = store.values(number, SAMPLES, view)
                        torch.testing.assert_close(
                            got, direct(chain, number, SAMPLES, view), **ROUNDING
                        )
            statistics = store.statistics()
            assert statistics["misses"] == 0
            assert statistics["blocks"]["built"] == 3 * len(chain.stages)
            used = "host" if tier == "shared" else tier
            assert [name for name, nbytes in statistics["bytes"].items() if nbytes] == [used]

    @pytest.mark.parametrize("tier", ["device", "disk"])
    def test_equal_to_the_last_bit_when_computed_in_equal_batches(self, tier, tmp_path):
        chain = dense_chain()
        with make_store(chain, batch_size=16, **tier_options(tier, tmp_path)) as store:
            batch = torch.arange(16, 32)
            for number in range(len(chain.stages)):
                for got, want in zip(
                    store.values(number, batch, 0), direct(chain, number, batch, 0), strict=True
                ):
                    assert torch.equal(got, want)
                    assert got.stride() == want.stride()

    @pytest.mark.parametrize("policy", ["always", "never"])
    def test_keep_channels_last(self, policy):
        chain = tiny_chain()
        store = make_store(chain, channels_last=True, policy=policy)
        for number in range(3):
            (value,) = store.values(number, SAMPLES, 0)
            assert value.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(value, direct(chain, number, SAMPLES, 0)[0], **ROUNDING)

    @pytest.mark.parametrize("policy", ["always", "never"])
    def test_run_under_the_autocast_of_the_trial(self, policy):
        chain = tiny_chain()
        store = make_store(chain, precision="bf16", policy=policy)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            want = direct(chain, 2, torch.arange(16), 0)
        got = store.values(2, torch.arange(16), 0)
        assert got[0].dtype == want[0].dtype
        assert torch.equal(got[0], want[0])

    def test_stored_in_bf16_are_rounded_and_come_back_in_their_own_type(self):
        chain = dense_chain()
        exact = make_store(chain).values(4, SAMPLES, 0)
        store = make_store(chain, storage="bf16")
        got = store.values(4, SAMPLES, 0)
        assert [value.dtype for value in got] == [torch.float32, torch.bool]
        torch.testing.assert_close(got[0], exact[0], rtol=2**-8, atol=0.0)
        assert torch.equal(got[1], exact[1])
        assert store.statistics()["bytes"]["device"] == 50 * (9 * 4 * 4 * 2 + 1)

    def test_train_a_suffix(self):
        chain = tiny_chain()
        (value,) = make_store(chain).values(2, SAMPLES, 0)
        assert not value.is_inference()
        weight = torch.ones(4, 8, 1, 1, requires_grad=True)
        torch.nn.functional.conv2d(value, weight[:, : value.shape[1]]).sum().backward()
        assert weight.grad is not None
        assert weight.grad.abs().sum() > 0

    def test_may_be_changed_by_the_caller(self):
        chain = tiny_chain()
        store = make_store(chain)
        before = store.values(1, SAMPLES, 0)[0].clone()
        store.values(1, SAMPLES, 0)[0].zero_()
        assert torch.equal(store.values(1, SAMPLES, 0)[0], before)

    def test_are_of_eval_mode_whatever_anyone_called(self):
        chain = tiny_chain()
        want = direct(chain, 2, SAMPLES, 0)
        for policy in ("always", "never"):
            store = make_store(chain, policy=policy)
            for stage in chain.stages:
                stage.train()
            torch.testing.assert_close(store.values(2, SAMPLES, 0), want, **ROUNDING)

    def test_of_a_fixed_view_share_one_block(self):
        chain, views = tiny_chain(), tiny_views(flip=False)
        store = make_store(chain, views=views)
        for view in (-1, 0, 1, 7):
            torch.testing.assert_close(
                store.values(2, SAMPLES, view),
                direct(chain, 2, SAMPLES, -1, views=views),
                **ROUNDING,
            )
        assert store.statistics()["blocks"]["built"] == 1

    def test_of_views_that_stand_for_one_view_share_one_block(self):
        views = tiny_views()
        views.views = 2
        store = make_store(views=views)
        for view in range(6):
            store.values(1, SAMPLES, view)
        assert store.statistics()["blocks"]["built"] == 2

    def test_of_more_samples_than_a_batch_are_computed_in_batches(self):
        chain = dense_chain()
        store = make_store(chain, policy="never", batch_size=16)
        everything = torch.arange(50)
        got = store.values(4, everything, 0)
        torch.testing.assert_close(got, direct(dense_chain(), 4, everything, 0), **ROUNDING)

    def test_at_a_cut_that_is_not_there_is_an_error(self):
        store = make_store()
        with pytest.raises(ValueError, match=r"cuts are 0 to 3 \(4\)"):
            store.values(4, SAMPLES, 0)
        with pytest.raises(ValueError, match=r"cuts are 0 to 3 \(-1\)"):
            store.prefetch([-1], 0)

    def test_after_closing_are_computed(self):
        chain = tiny_chain()
        store = make_store(chain)
        want = store.values(2, SAMPLES, 0)
        store.close()
        torch.testing.assert_close(store.values(2, SAMPLES, 0), want, **ROUNDING)
        assert store.statistics()["bytes"] == {"device": 0, "host": 0}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"storage": "int8"}, "storage"),
            ({"policy": "sometimes"}, "policy"),
            ({"batch_size": 0}, "batch_size"),
        ],
    )
    def test_of_impossible_settings_are_refused(self, options, message):
        with pytest.raises(ValueError, match=message):
            make_store(**options)

    def test_in_files_need_a_key(self, tmp_path):
        with pytest.raises(ValueError, match="key"):
            make_store(directory=tmp_path)


class TestUncacheableCuts:
    def test_come_from_the_cut_before(self):
        chain = dense_chain(uncacheable=[2, 3])
        store = make_store(chain)
        for number in (2, 3):
            torch.testing.assert_close(
                store.values(number, SAMPLES, 0),
                direct(dense_chain(), number, SAMPLES, 0),
                **ROUNDING,
            )
        assert store.statistics()["blocks"]["built"] == 1
        assert chain.ran[0] < 50 + 3 * 16 + 1

    def test_are_recognised_by_what_depends_on_the_batch(self):
        class Length(torch.nn.Module):
            def forward(self, x):
                return (x, torch.arange(len(x) * 2, dtype=torch.float32))

        class Use(torch.nn.Module):
            def forward(self, x, count):
                return (x.flatten(1).sum(1) + count.sum(),)

        chain = ListChain([Length(), Use()])
        store = make_store(chain)
        got = store.values(1, SAMPLES, 0)
        assert torch.equal(got[1], torch.arange(12.0))
        assert store.statistics()["decisions"][1]["refused"] == "cannot be stored"
        torch.testing.assert_close(got, direct(chain, 1, SAMPLES, 0))


class TestSampleCoverage:
    def test_only_samples_that_views_are_used_for_are_computed(self):
        chain = dense_chain()
        training = torch.arange(10, 30)
        store = make_store(chain, view_samples=training)
        store.prefetch([2], 0)
        before = chain.ran[1]
        samples = torch.tensor([29, 10, 15])
        torch.testing.assert_close(
            store.values(2, samples, 0), direct(dense_chain(), 2, samples, 0), **ROUNDING
        )
        assert chain.ran[1] == before <= 20 + 3 * 16
        assert store.statistics()["blocks"]["built"] == 1

    def test_others_are_computed_when_asked_for(self):
        chain = dense_chain()
        store = make_store(chain, view_samples=torch.arange(10, 30))
        for view in (0, -1):
            torch.testing.assert_close(
                store.values(2, SAMPLES, view), direct(dense_chain(), 2, SAMPLES, view), **ROUNDING
            )
        assert store.statistics()["misses"] == 1


class TestPrefetch:
    def test_fills_several_cuts_in_one_pass(self):
        chain = dense_chain()
        store = make_store(chain)
        store.prefetch([4, 1, 3], 0)
        measuring = 3 * 16
        assert all(50 <= ran <= 50 + measuring for ran in chain.ran[:4])
        assert store.statistics()["blocks"]["built"] == 3
        before = list(chain.ran)
        for number in (1, 3, 4):
            store.values(number, SAMPLES, 0)
        assert chain.ran == before

    def test_builds_from_the_nearest_earlier_block(self):
        chain = dense_chain()
        store = make_store(chain)
        store.prefetch([3], 0)
        before = list(chain.ran)
        store.prefetch([3, 4], 0)
        assert chain.ran[:3] == before[:3]
        assert chain.ran[3] >= before[3] + 50

    def test_of_blocks_that_are_there_computes_nothing(self):
        chain = dense_chain()
        store = make_store(chain)
        store.prefetch([1, 2], 0)
        before = list(chain.ran)
        store.prefetch([1, 2], 0)
        assert chain.ran == before


class TestBudget:
    @settings(
        max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        device=st.integers(0, 150_000),
        host=st.integers(0, 150_000),
        asked=st.lists(
            st.tuples(
                st.integers(0, 4),
                st.sampled_from([-1, 0, 1, 2]),
                st.lists(st.integers(0, 49), min_size=1),
            ),
            max_size=25,
        ),
        policy=st.sampled_from(["always", "measured", "never"]),
    )
    def test_is_kept_and_values_are_right_whatever_is_asked(self, device, host, asked, policy):
        chain = dense_chain()
        store = make_store(
            chain, budget=Budget(device_bytes=device, host_bytes=host), policy=policy
        )
        for number, view, picked in asked:
            samples = torch.tensor(picked)
            torch.testing.assert_close(
                store.values(number, samples, view),
                direct(chain, number, samples, view),
                **ROUNDING,
            )
            used = store.statistics()["bytes"]
            assert used.get("device", 0) <= device
            assert used.get("host", 0) <= host

    def test_that_is_full_spills_to_the_next_tier(self):
        chain = dense_chain()
        block = 50 * 5 * 64 * 4  # bytes of cut 1
        store = make_store(chain, budget=Budget(device_bytes=block, host_bytes=block))
        store.values(1, SAMPLES, 0)
        store.values(1, SAMPLES, 1)
        assert store.statistics()["bytes"] == {"device": block, "host": block}

    def test_below_zero_is_refused(self):
        with pytest.raises(ValueError, match="host_bytes"):
            Budget(host_bytes=-1)

    def test_of_nothing_computes_everything(self):
        store = make_store(budget=Budget(device_bytes=0, host_bytes=0))
        store.values(2, SAMPLES, 0)
        statistics = store.statistics()
        assert statistics["misses"] == 1
        assert statistics["decisions"][2]["refused"] == "there is no budget"

    def test_that_is_lent_is_kept_by_both_stores_together(self):
        budget = Budget(device_bytes=0, host_bytes=400_000)
        first = make_store(budget=budget)
        for view in range(8):
            first.values(2, SAMPLES, view)
        before = first.statistics()["bytes"]["host"]
        lent = first.lend()
        assert before > 200_000
        assert lent.host_bytes >= 200_000
        assert first.statistics()["bytes"]["host"] + lent.host_bytes <= 400_000
        second = make_store(budget=lent)
        chain = tiny_chain()
        for store in (first, second, first):
            for view in range(8):
                torch.testing.assert_close(
                    store.values(2, SAMPLES, view), direct(chain, 2, SAMPLES, view), **ROUNDING
                )
        stored = [store.statistics()["bytes"]["host"] for store in (first, second)]
        assert min(stored) > 0
        assert sum(stored) <= 400_000

    def test_of_a_disk_is_lent_whole_because_files_are_counted_together(self, tmp_path):
        budget = Budget(device_bytes=0, host_bytes=0, disk_bytes=5000)
        with make_store(budget=budget, directory=tmp_path, key="k") as store:
            assert store.lend() == budget

    def test_of_disk_without_a_directory_says_that_it_is_of_no_use(self, caplog):
        with caplog.at_level(logging.WARNING):
            make_store(budget=Budget(disk_bytes=1))
        assert "without a directory" in caplog.text


class TestEviction:
    BLOCK = 50 * 5 * 64 * 4  # bytes of cut 1 of the dense chain

    @pytest.fixture(autouse=True)
    def _no_pause(self, monkeypatch):
        monkeypatch.setattr("layersearch.subtuning.features.shelf._PAUSE_S", 0.0)

    def test_epochs_over_more_views_than_fit_keep_the_first(self):
        store = make_store(dense_chain(), budget=Budget(device_bytes=2 * self.BLOCK, host_bytes=0))
        everything = torch.arange(50)
        for _ in range(6):
            for view in range(4):
                store.values(1, everything, view)
        blocks = store.statistics()["blocks"]
        assert blocks["built"] == 2
        assert blocks["evicted"] == 0

    def test_what_lay_idle_goes_for_what_is_asked_for_again_and_again(self):
        store = make_store(dense_chain(), budget=Budget(device_bytes=self.BLOCK, host_bytes=0))
        everything = torch.arange(50)
        store.values(1, everything, 0)
        for _ in range(4):
            store.values(1, everything, 1)
        blocks = store.statistics()["blocks"]
        assert blocks["built"] == 2
        assert blocks["evicted"] == 1

    def test_blocks_that_alternate_do_not_exchange_places_for_ever(self):
        store = make_store(dense_chain(), budget=Budget(device_bytes=self.BLOCK, host_bytes=0))
        everything = torch.arange(50)
        turns = 64
        for turn in range(turns):
            for _ in range(3):
                store.values(1, everything, turn % 2)
        assert store.statistics()["blocks"]["built"] < 2 * turns.bit_length()


class TestStatistics:
    def test_are_plain_values_that_add_up(self):
        chain = dense_chain()
        store = make_store(chain)
        for _ in range(3):
            store.values(2, SAMPLES, 0)
        statistics = store.statistics()
        assert statistics["hits"] == 3
        assert (
            store.multiply_adds
            == statistics["multiply_adds"]
            == sum(ran * adds for ran, adds in zip(chain.ran, chain.multiply_adds, strict=True))
        )
        assert statistics["bytes"]["device"] == 50 * 7 * 64 * 4
        decision = statistics["decisions"][2]
        assert decision["choice"] == "load"
        assert decision["tiers"] == ["device"]
        assert decision["load_seconds"]["device"] > 0
        assert decision["compute_seconds"] > 0

    def test_leave_the_trials_random_numbers_alone(self):
        chain = tiny_chain()
        torch.manual_seed(5)
        want = torch.rand(3)
        torch.manual_seed(5)
        store = make_store(chain, policy="measured")
        store.prefetch([1, 2, 3], 0)
        store.values(2, SAMPLES, 1)
        assert torch.equal(torch.rand(3), want)


class TestMeasuredPolicy:
    """Loading is said to take a given time, so that no test depends on this machine's."""

    def test_keeps_what_loads_faster_than_it_computes(self, monkeypatch):
        monkeypatch.setattr(LoadRates, "_time", lambda rates, block, count: 1e-12)
        store = make_store(policy="measured")
        store.values(2, SAMPLES, 0)
        store.values(2, SAMPLES, 0)
        assert store.statistics()["decisions"][2]["choice"] == "load"
        assert store.statistics()["hits"] == 2

    def test_computes_what_loads_slower_than_it_computes(self, monkeypatch):
        monkeypatch.setattr(LoadRates, "_time", lambda rates, block, count: 1e6)
        chain = tiny_chain()
        store = make_store(chain, policy="measured")
        for _ in range(2):
            torch.testing.assert_close(
                store.values(2, SAMPLES, 0), direct(chain, 2, SAMPLES, 0), **ROUNDING
            )
        statistics = store.statistics()
        assert (statistics["hits"], statistics["misses"]) == (0, 2)
        assert "slower" in statistics["decisions"][2]["refused"]


class TestRealBackbone:
    def test_resnet20_gives_the_same_at_every_cut_with_the_store_and_without(self, shared_data):
        network = cifar_resnet20()
        state = torch.load(
            shared_data / "weights" / "resnet20-12fca82f.th", map_location="cpu", weights_only=True
        )
        network.load_state_dict(
            {name.removeprefix("module."): value for name, value in state["state_dict"].items()}
        )
        network.eval()
        size = (32, 32)
        chain = cut(network, find_units(network, input_size=size), head="linear", input_size=size)
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=generator)
        views = Views(
            seed=0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), input_size=size
        )
        store = FeatureStore(chain, images, views, policy="always", batch_size=16)
        samples = torch.tensor([5, 39, 0, 22])
        store.prefetch(range(len(chain.stages)), -1)
        for number in range(len(chain.stages)):
            got = store.values(number, samples, -1)
            want = direct(chain, number, samples, -1, images=images, views=views)
            scale = max(float(value.abs().max()) for value in want)
            torch.testing.assert_close(got, want, rtol=0, atol=1e-5 * scale)
        assert store.statistics()["misses"] == 0
