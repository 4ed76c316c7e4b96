"""PostgreSQL with its password elsewhere than in the address, as libpq finds it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from layersearch.errors import StudyError
from layersearch.study import open_study
from tests.servers import USER, PostgresServer

pytestmark = pytest.mark.cluster


@pytest.fixture
def database(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its name; nothing around it tells how to reach it."""
    for name in ("PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE", "PGHOST", "PGPORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PGPASSFILE", "/nowhere")
    return postgres.new_database()


def opens(storage: str) -> None:
    with open_study("digits", storage=storage) as opened:
        opened.study.set_user_attr("note", "ö")
        assert opened.study.user_attrs["note"] == "ö"
    opened.storage.close()


def test_in_a_variable(
    postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"postgresql://{USER}@{postgres.address}:{postgres.port}/{database}"
    with pytest.raises(StudyError, match="no password supplied"):
        opens(address)
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    opens(address)


def test_all_of_it_in_variables(
    postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGHOST", postgres.address)
    monkeypatch.setenv("PGPORT", str(postgres.port))
    monkeypatch.setenv("PGUSER", USER)
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    opens(f"postgresql:///{database}")


def test_in_a_password_file(
    postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "pgpass"
    file.write_text(f"{postgres.address}:{postgres.port}:*:{USER}:{postgres.password}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    opens(f"postgresql://{USER}@{postgres.address}:{postgres.port}/{database}")


@pytest.mark.parametrize("in_the_address", [True, False])
def test_in_a_service_file(
    postgres: PostgresServer,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    in_the_address: bool,
) -> None:
    file = tmp_path / "services"
    file.write_text(
        f"[studies]\nhost={postgres.address}\nport={postgres.port}\ndbname={database}\n"
        f"user={USER}\npassword={postgres.password}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    if not in_the_address:
        monkeypatch.setenv("PGSERVICE", "studies")
    opens("postgresql:///?service=studies" if in_the_address else "postgresql:///")


def test_a_database_that_was_made_without_a_locale(postgres: PostgresServer, database: str) -> None:
    name = f"{database}_ascii"
    postgres.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0")
    opens(postgres.url(name))
