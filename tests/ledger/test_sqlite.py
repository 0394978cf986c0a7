"""The SQLite store: files that cannot be used, and files that others use."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import aiosqlite
import msgspec
import pytest
from ledger_support import EPOCH, accepted, begin, ended, entry, intent, note

import acetasks
from acetasks import LedgerError
from acetasks._ledger import EntryState, Query, SQLiteStore, sqlite, sqlite_schema

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

#: Entries of a file of many pages, and SQLite's default page size in bytes.
ENTRIES, PAGE = 200, 4096
#: The user id that Linux gives to nobody.
NOBODY = 65534
#: Inserts the same keys as others, as soon as it is told, and prints which ones it has inserted.
INSERTER = """
import asyncio, json, sys
sys.path[:0] = json.loads(sys.argv[2])
from ledger_support import begin, intent
from acetasks._ledger import SQLiteStore

async def main():
    store, inserted = SQLiteStore(sys.argv[1]), []
    print("ready", flush=True)
    sys.stdin.readline()
    await store.open()
    for start in range(0, 200, 5):
        keys = [f"key-{index}" for index in range(start, start + 5)]
        found = await begin(store, *(intent(key) for key in keys))
        inserted += [key for key, entry in zip(keys, found) if entry is None]
    await store.close()
    print(json.dumps(inserted))

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def opened(path: Path, **options: float) -> AsyncIterator[SQLiteStore]:
    """An open store."""
    store = SQLiteStore(path, **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A closed file with entries."""
    path = tmp_path / "tasks.db"
    async with opened(path) as store:
        await begin(store, *(intent(f"key-{index}") for index in range(ENTRIES)))
    return path


async def test_entries_outlive_the_store(tmp_path: Path) -> None:
    """What was written is there when the file is opened again."""
    async with opened(tmp_path / "tasks.db") as store:
        await begin(store, intent("a"))
        await note(store, accepted("a"))
    async with opened(tmp_path / "tasks.db") as store:
        assert await store.find(["a"]) == [
            entry("a", state=EntryState.ACCEPTED, task_id="a-task", trace_id="trace"),
        ]


async def test_the_file_is_in_wal_mode_with_full_synchronisation(path: Path) -> None:
    """A write is on the disk when the call returns, and the file says whose it is."""
    statements: list[str] = []

    class Traced(sqlite3.Connection):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)
            self.set_trace_callback(statements.append)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiosqlite, "connect", functools.partial(aiosqlite.connect, factory=Traced))
        async with opened(path):
            assert "PRAGMA synchronous = FULL" in statements
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA application_id").fetchone() == (int.from_bytes(b"AceT"),)
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


class TestUnusableFiles:
    """A file that cannot be a ledger is refused when it is opened, and stays as it is."""

    @staticmethod
    def overwrite(path: Path, start: int, end: int) -> None:
        """Overwrite bytes of a file with zeros."""
        content = bytearray(path.read_bytes())
        content[start:end] = bytes(len(content[start:end]))
        path.write_bytes(content)

    @staticmethod
    def execute(path: Path, *statements: str) -> None:
        """Change a database."""
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    @staticmethod
    def read(path: Path) -> bytes:
        """Return the bytes of a file."""
        return path.read_bytes()

    def make_foreign(self, path: Path) -> None:
        """Write the database of another program."""
        path.unlink()
        self.execute(path, "CREATE TABLE moz_places (id INTEGER PRIMARY KEY)")

    def truncate(self, path: Path) -> None:
        """Cut a file in the middle of a page."""
        os.truncate(path, PAGE * 3 + 100)

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda _, path: path.write_bytes(b"{}" * 500), "no SQLite database, or damaged at its beginning"),
            (lambda self, path: self.overwrite(path, 0, 100), "no SQLite database, or damaged at its beginning"),
            (lambda self, path: self.overwrite(path, PAGE, PAGE * 99), "the file is damaged: keep it, and restore"),
            (truncate, "the file is damaged: keep it, and restore"),
            (make_foreign, "an SQLite database of another program: name another file"),
            (lambda self, path: self.execute(path, "PRAGMA application_id = 7"), "of another program"),
            (lambda self, path: self.execute(path, "PRAGMA user_version = 2"), "tables of version 2, this one knows 1"),
            (lambda self, path: self.execute(path, "DROP TABLE entries"), "does not have the tables of a ledger"),
            (
                lambda self, path: self.execute(path, "UPDATE entries SET state = 'melted'"),
                "an entry that cannot be read",
            ),
        ],
        ids=[
            "text",
            "no header",
            "zeros",
            "truncated",
            "foreign",
            "other id",
            "other version",
            "no table",
            "bad state",
        ],
    )
    async def test_content(self, path: Path, spoil: Callable[[object, Path], None], message: str) -> None:
        """Damaged and foreign files, and those of another version, are not changed."""
        spoil(self, path)
        before = self.read(path)

        with pytest.raises(LedgerError, match=message) as caught:
            await SQLiteStore(path).open()
        assert str(caught.value).startswith(f"ledger {path}: ")
        assert caught.value.location == str(path)
        assert not caught.value.transient
        assert self.read(path) == before

    async def test_a_folder(self, tmp_path: Path) -> None:
        """A folder is no file."""
        with pytest.raises(LedgerError, match="this is a folder: name a file"):
            await SQLiteStore(tmp_path).open()

    async def test_no_folder(self, tmp_path: Path) -> None:
        """The folder of the file is not created."""
        with pytest.raises(LedgerError, match=f"there is no folder {tmp_path / 'no'}: create it"):
            await SQLiteStore(tmp_path / "no" / "tasks.db").open()

    async def test_memory(self) -> None:
        """A database in memory would not outlive the process."""
        with pytest.raises(LedgerError, match="journal mode stays 'memory'"):
            await SQLiteStore(":memory:").open()

    async def test_no_driver(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without aiosqlite the error says how to install it."""
        monkeypatch.setitem(sys.modules, "aiosqlite", None)

        with pytest.raises(LedgerError, match=r"aiosqlite is not installed: python -m pip install aiosqlite"):
            await SQLiteStore(tmp_path / "tasks.db").open()

    async def test_a_closed_store(self, path: Path) -> None:
        """A store is used between its opening and its closing, which may be repeated."""
        store = SQLiteStore(path)
        with pytest.raises(LedgerError, match="it is not open"):
            await begin(store, intent("a"))
        await store.open()
        assert repr(store) == f"<SQLiteStore {path} open>"
        await store.close()
        await store.close()
        assert repr(store) == f"<SQLiteStore {path} closed>"
        with pytest.raises(LedgerError, match="it is not open"):
            await store.unfinished(None, 1)


class TestPermissions:
    """What this user may not write is refused when it is opened."""

    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        """A folder that everybody can reach, with a ledger, used without root's rights."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.chmod(0o777)  # for the user below
            importlib.import_module(
                "concurrent.futures.thread"
            )  # nobody may not be able to read the interpreter's files
            was_root = os.geteuid() == 0
            if was_root:
                os.seteuid(NOBODY)
            yield folder
            if was_root:
                os.seteuid(0)
            folder.chmod(0o777)  # so that it can be deleted

    @pytest.mark.parametrize("mode", [0o444, 0o000], ids=["read-only", "unreadable"])
    async def test_a_file(self, folder: Path, mode: int) -> None:
        """Without the right to write the file there is no ledger."""
        path = folder / "tasks.db"
        async with opened(path) as store:
            await begin(store, intent("a"))
        path.chmod(mode)

        with pytest.raises(LedgerError, match="this user may not"):
            await SQLiteStore(path).open()

    @pytest.mark.parametrize("exists", [True, False])
    async def test_a_folder(self, folder: Path, exists: bool) -> None:  # noqa: FBT001  # a parameter of the test
        """SQLite writes beside the file, so its folder must be writable too."""
        path = folder / "tasks.db"
        if exists:
            async with opened(path) as store:
                await begin(store, intent("a"))
        (folder / "locked").mkdir()
        path = path.rename(folder / "locked" / "tasks.db") if exists else folder / "locked" / "tasks.db"
        path.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)

        with pytest.raises(LedgerError, match=r"this user may not .* its folder"):
            await SQLiteStore(path).open()
        path.parent.chmod(stat.S_IRWXU)


class TestFullDisk:
    """A disk that is full is an error of the call that had no room, and changes nothing."""

    @pytest.fixture
    def pages(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The size of the disk, in pages, for each connection that is opened; the last is repeated."""
        sizes = [20]

        class SmallDisk(sqlite3.Connection):
            def __init__(self, *args: object, **options: object) -> None:
                super().__init__(*args, **options)
                self.execute(f"PRAGMA max_page_count = {sizes[-1]}")

        monkeypatch.setattr(aiosqlite, "connect", functools.partial(aiosqlite.connect, factory=SmallDisk))
        return sizes

    async def test_no_room_for_an_intent(self, tmp_path: Path, pages: list[int]) -> None:
        """The intents of the call are not in the file; what was there is, and can be changed."""
        big = [intent(f"big-{index}", request=b'"' + b"x" * 2000 + b'"') for index in range(50)]
        async with opened(tmp_path / "tasks.db") as store:
            await begin(store, intent("a"))
            for _ in range(2):
                with pytest.raises(LedgerError, match="the disk is full: free some space") as caught:
                    await begin(store, *big)
                assert caught.value.transient
            assert await note(store, accepted("a")) == []
            assert [found.key for found in await store.select(Query(), None, 99)] == ["a"]
        pages.append(200)
        async with opened(tmp_path / "tasks.db") as store:
            assert await begin(store, *big) == [None] * 50

    async def test_no_room_for_an_end(self, tmp_path: Path, pages: list[int]) -> None:
        """None of the changes of the call is made."""
        async with opened(tmp_path / "tasks.db") as store:
            await begin(store, intent("a"), intent("b"))
            end = msgspec.structs.replace(ended("b-task"), record=b"x" * PAGE * pages[0])

            with pytest.raises(LedgerError, match="the disk is full"):
                await note(store, accepted("a"), accepted("b"), end)
            assert await store.find(["a", "b"]) == [entry("a"), entry("b")]

    async def test_no_room_for_the_tables(self, tmp_path: Path, pages: list[int]) -> None:
        """A file that has no room for its tables is not opened, and later becomes a ledger."""
        pages.append(3)
        with pytest.raises(LedgerError, match="the disk is full"):
            await SQLiteStore(tmp_path / "tasks.db").open()
        pages.append(20)
        async with opened(tmp_path / "tasks.db") as store:
            assert await begin(store, intent("a")) == [None]


class TestOtherProcesses:
    """Several processes may use a file at once."""

    @pytest.mark.parametrize("action", ["open", "write"])
    async def test_a_file_that_another_process_holds(self, path: Path, action: str) -> None:
        """After the timeout the error says that another process holds the file; then the call can be repeated."""
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            async with contextlib.AsyncExitStack() as stack:
                store = SQLiteStore(path, busy_timeout=0.01)
                if action == "write":
                    await store.open()
                stack.push_async_callback(store.close)
                call = store.open if action == "open" else functools.partial(begin, store, intent("a"))
                other.execute("BEGIN IMMEDIATE")

                with pytest.raises(LedgerError, match="another process or program holds it") as caught:
                    await call()
                assert caught.value.transient
                other.execute("COMMIT")
                await call()

    async def test_waiting_for_another_process(self, path: Path) -> None:
        """A call waits until the other process has committed."""
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            async with opened(path) as store:
                other.execute("BEGIN IMMEDIATE")
                other.execute("UPDATE entries SET sent_at = sent_at + 1 WHERE key = 'key-0'")
                call = asyncio.create_task(store.restamp("key-0", EPOCH + 1, EPOCH + 2))
                await asyncio.sleep(0)  # the call is in its thread now
                other.execute("COMMIT")

                assert await call

    def test_processes_that_start_at_once(self, tmp_path: Path) -> None:
        """They create one file, and each key is inserted by one of them."""
        support = str(Path(__file__).parents[1])
        command = [sys.executable, "-c", INSERTER, str(tmp_path / "tasks.db"), msgspec.json.encode([support]).decode()]
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        outputs = []
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            output, _ = process.communicate()
            assert process.returncode == 0
            outputs += msgspec.json.decode(output)

        assert sorted(outputs) == sorted(f"key-{index}" for index in range(200))

    async def test_tables_that_another_process_creates_meanwhile(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A new file is not taken for another program's because its mark was read before and its tables after."""
        path = tmp_path / "tasks.db"
        fetch = sqlite._fetch  # noqa: SLF001  # where the store reads

        async def create_after(connection: object, statement: str, *parameters: object) -> list[tuple[object, ...]]:
            rows = await fetch(connection, statement, *parameters)
            with (
                contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other,
                contextlib.suppress(sqlite3.OperationalError),  # it is locked, or has them
            ):
                other.executescript(f"BEGIN IMMEDIATE; {'; '.join(sqlite_schema.CREATE)}; COMMIT")
            return rows

        monkeypatch.setattr(sqlite, "_fetch", create_after)
        async with opened(path) as store:
            assert await begin(store, intent("order-1")) == [None]

    def test_a_store_that_was_not_closed(self, tmp_path: Path) -> None:
        """Its thread does not keep the interpreter from exiting."""
        script = """
import asyncio, sys
from acetasks._ledger import SQLiteStore
store = SQLiteStore(sys.argv[1])
asyncio.run(store.open())
"""
        command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "tasks.db")]

        subprocess.run(command, check=True, timeout=20)

    def test_only_opening_imports_the_driver(self) -> None:
        """The library works without aiosqlite."""
        script = "import sys, acetasks._ledger; assert 'aiosqlite' not in sys.modules"

        subprocess.run([sys.executable, "-c", script], check=True)


def test_the_error_is_public() -> None:
    """`LedgerError` is one of the errors of acetasks."""
    assert issubclass(acetasks.LedgerError, acetasks.AceTasksError)
