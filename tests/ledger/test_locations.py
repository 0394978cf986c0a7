"""Journals that are named by a path or a URL: which are refused, without repeating a password."""

from __future__ import annotations

import traceback

import pytest

import acetasks
from acetasks._ledger import PostgresStore, build_store


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:se/cret@127.0.0.1/test",
        "postgresql://user:se#cret@127.0.0.1/test",
        "postgresql://user:se?cret@127.0.0.1/test",
        "postgresql://user:12/cret@127.0.0.1/test",
        "postgresql://user:12?cret@127.0.0.1/test",
        "postgresql://user:12#cret@127.0.0.1/test",
        "postgresql://user:se[cret]@127.0.0.1/test",
        "postgresql://127.0.0.1:port/test?password=secret",
    ],
)
def test_a_url_with_an_unescaped_password(url: str) -> None:
    """It would connect elsewhere, and name part of the password as the host: the error says how to write it."""
    with pytest.raises(ValueError, match="percent-encoded") as caught:
        build_store(url)
    shown = "".join(traceback.format_exception_only(caught.value))
    assert not any(part in shown for part in ("cret", "user:se", "user:12", "127"))
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("postgresql://user:p%40ss@db.example:5433/test?sslmode=require", "postgresql://user@db.example:5433/test"),
        ("postgresql://user:a@b@[::1]:5433/test", "postgresql://user@[::1]:5433/test"),
        ("postgresql://user:secret@one:5432,two:5433/test", "postgresql://user@one:5432,two:5433/test"),
        ("postgresql://db.example/test?user=a@b&password=secret", "postgresql://db.example/test"),
        ("postgresql:///test?host=/run/postgresql", "postgresql:///test"),
        ("postgres://localhost", "postgres://localhost"),
    ],
)
def test_a_location_has_no_password(url: str, location: str) -> None:
    """A store and its errors have the URL without the password and the options."""
    assert repr(PostgresStore(url)) == f"<PostgresStore {location} closed>"


@pytest.mark.parametrize("url", ["postgresql+asyncpg://user:secret@host/db", "mysql://user:secret@host/db"])
def test_a_url_of_another_kind(url: str) -> None:
    """The error has the scheme only, since the rest may have a password."""
    with pytest.raises(ValueError, match=url.partition(":")[0].replace("+", r"\+")) as caught:
        build_store(url)
    assert "secret" not in str(caught.value)


@pytest.mark.real_clock
async def test_a_url_with_a_wrong_option() -> None:
    """The first attempt to connect says what is wrong: another one cannot help."""
    store = PostgresStore("postgresql://user:secret@127.0.0.1/test?sslmode=sometimes")
    with pytest.raises(acetasks.LedgerError, match="the URL cannot be used") as caught:
        await store.open()
    assert not caught.value.transient
    assert "secret" not in str(caught.value)
