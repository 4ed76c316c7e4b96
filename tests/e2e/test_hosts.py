"""A search on two hosts, one of which is cut off from the other in the middle of a trial."""

import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import environment
from tests.e2e.gate import VARIABLE
from tests.e2e.processes import Place, undisturbed, wait_until
from tests.hosts import NETWORK, Host, connected_hosts
from tests.servers import USER, PostgresServer, postgres_server

__all__ = ["undisturbed"]  # a fixture

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

# Short, so that nobody waits: a host that is silent for so long is dead to the other.
STALE_AFTER = 16


@dataclass(frozen=True, kw_only=True)
class Site:
    """Two hosts; the main one has the database, with a password and open to the other."""

    main: Host
    other: Host
    server: PostgresServer

    def place(self, folder: Path) -> Place:
        """Of a search whose storage is named without its password."""
        server, database = self.server, self.server.new_database()
        return Place(
            folder,
            storage=f"postgresql://{USER}@{server.address}:{server.port}/{database}",
            watched=server.socket_url(database),
        )

    def password_file(self, folder: Path) -> Path:
        """As psql and all others read it."""
        path = folder / "pgpass"
        path.write_text(f"*:*:*:{USER}:{self.server.password}\n")
        path.chmod(0o600)
        return path


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with (
        connected_hosts("main", "other") as (main, other),
        postgres_server(address=main.address, clients=NETWORK, prefix=main.prefix()) as server,
    ):
        yield Site(main=main, other=other, server=server)


def test_a_worker_that_is_cut_off_ends_and_the_search_goes_on_without_it(
    site: Site, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    with site.place(tmp_path) as place:
        more = [f"study.stale_after={STALE_AFTER}"]
        search = place.start(
            "search",
            name="search",
            more=more,
            host=site.main,
            env={"PGPASSWORD": site.server.password},
        )
        worker = place.start(
            "worker",
            name="worker",
            more=more,
            host=site.other,
            env={"PGPASSFILE": str(site.password_file(tmp_path))},
            folder="other",
        )
        _, token = place.all_train(search, worker)
        place.some_end(token, search, worker)
        site.other.cut_off()
        try:
            place.remember()
            place.gate.open()
            search.finish()
            assert worker.wait() == 1
        finally:
            site.other.connect_again()
        place.check(undisturbed)
        (lost,) = place.study.cut_short()
        assert lost.user_attrs["driver"] == token
        last = worker.err.splitlines()[-1]
        assert last.startswith(f"layersearch: study.storage: postgresql://{USER}@")
        assert "does not answer" in last
        assert not list((tmp_path / "other").rglob("result.json"))


def test_a_short_cut_costs_nothing(site: Site, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    """Shorter than a host may be silent: both go on as they were."""
    with site.place(tmp_path) as place:
        secret = {"PGPASSWORD": site.server.password}
        search = place.start("search", name="search", host=site.main, env=secret)
        worker = place.start("worker", name="worker", host=site.other, env=secret, folder="other")
        _, token = place.all_train(search, worker)
        place.some_end(token, search, worker)
        site.other.cut_off()
        place.gate.open()
        try:
            wait_until(lambda: "does not answer" in worker.said, running=[worker])
        finally:
            site.other.connect_again()
        worker.finish()
        search.finish()
        place.check(undisturbed)
        assert not place.study.cut_short()
        assert "answers again" in worker.said


# --- Ray ------------------------------------------------------------------------------------------

# A node that is cut off is noticed within seconds; by default it takes half a minute.
QUICK_TO_NOTICE = {
    "RAY_health_check_initial_delay_ms": "3000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
PORT = 6379


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A Ray cluster of both hosts, one trial at a time on each."""

    address: str
    env: dict[str, str]  # what whoever joins it needs


@pytest.fixture
def cluster(site: Site, tmp_path: Path) -> Cluster:
    """It asks for a token; it ends with its hosts."""
    pytest.importorskip("ray")
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    made = Cluster(
        address=f"{site.main.address}:{PORT}",
        env={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)},
    )
    variables = {
        **environment(),
        **made.env,
        **QUICK_TO_NOTICE,
        VARIABLE: str(tmp_path / "closed"),
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    ray = [str(Path(sys.executable).parent / "ray"), "start", "--num-cpus=1"]
    ray += ["--object-store-memory=200000000"]
    for host, where in (
        (site.main, ["--head", f"--port={PORT}", "--include-dashboard=false"]),
        (site.other, [f"--address={made.address}"]),
    ):
        host.run(*ray, *where, f"--node-ip-address={host.address}", env=variables)
    return made


def test_a_node_of_a_ray_cluster_that_is_cut_off_costs_its_trial_only(
    site: Site, cluster: Cluster, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    with site.place(tmp_path) as place:
        search = place.start(
            "search",
            *("--runner", "ray", "--address", cluster.address),
            name="search",
            more=["execution.workers=null"],
            host=site.main,
            env={"PGPASSWORD": site.server.password, **cluster.env},
        )
        wait_until(lambda: place.study.trials("COMPLETE"), running=[search])
        place.gate.close()
        wait_until(lambda: len(place.study.trials("RUNNING")) == 2, running=[search])
        place.remember()
        site.other.cut_off()
        try:
            place.gate.open()
            search.finish()
        finally:
            site.other.connect_again()
        place.check(undisturbed)
        (lost,) = place.study.cut_short()
        assert lost.user_attrs["lost"]
