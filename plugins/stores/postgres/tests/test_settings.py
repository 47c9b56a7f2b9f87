from __future__ import annotations

import pytest
from aats_store_postgres import PostgresStore
from pydantic import ValidationError


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://localhost/postgres",
        "postgres://ada:hunter%402@db1:5432,db2,[::1]:1/aats?sslmode=verify-full&application_name=a",
        "postgresql:///aats?host=/run/postgresql",
        "postgresql://ada@%2Frun%2Fpostgresql/aats",
        "postgresql://",
    ],
)
def test_an_address_that_the_driver_takes_is_taken(dsn: str) -> None:
    assert PostgresStore.Settings(dsn=dsn, replicas=(dsn,)).dsn.get_secret_value() == dsn


@pytest.mark.parametrize(
    ("dsn", "complaint"),
    [
        ("mysql://ada:hunter2@127.0.0.1:1/x", "it has to begin with postgresql:// or postgres://"),
        ("ada:hunter2@127.0.0.1/x", "it has to begin with postgresql://"),
        ("host=127.0.0.1 password=hunter2", "it has to begin with postgresql://"),
        ("postgresql://ada:hunter2@a:99999/x", "the port is a number up to 65535"),
        ("postgresql://ada:hunter2@a,b:x/x", "the port is a number up to 65535"),
        ("postgresql://ada:hunter2@a,,b/x", "exactly one host"),
        ("postgresql://ada:hunter2/x@a/x", "an address looks like postgresql://host:5432/database"),
        ("postgresql://ada:hunter2#x@a/x", "an address looks like"),
        ("postgresql://ada:hunter2?x@a/x", "an address looks like"),
        ("postgresql://ada:hunter@2@a/x", "one @ ends user and password"),
        ("postgresql://ada:hunter2@a/x?sslmode", "name=value"),
        ("postgresql://ada:hunter2@a/x?sslmode=on", "sslmode has to be one of disable, allow"),
    ],
)
def test_another_is_refused_and_no_password_repeated(dsn: str, complaint: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PostgresStore.Settings(dsn=dsn, replicas=("postgresql://a", dsn))
    problems = refused.value.errors(include_input=False)
    assert [problem["loc"] for problem in problems] == [("dsn",), ("replicas", 1)]
    for problem in problems:
        assert complaint in problem["msg"]
        assert "hunter" not in problem["msg"]
