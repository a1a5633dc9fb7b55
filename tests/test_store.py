"""run.sqlite: durable group commits, and what it says when it cannot be used."""

import asyncio
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsift.errors import RunError
from kernelsift.store import Store, insert


def meta(key, value="v"):
    return insert("meta", [(key, value)])


def keys(store):
    found = store.rows("SELECT key FROM meta WHERE key != 'format' ORDER BY key")
    return [key for (key,) in found]


def test_a_write_is_there_after_reopening(tmp_path):
    with Store(tmp_path / "x.sqlite") as store:
        store.write(meta("a"))
    with Store(tmp_path / "x.sqlite") as store:
        assert keys(store) == ["a"]


def test_an_awaited_write_is_seen_by_another_connection(tmp_path):
    with Store(tmp_path / "x.sqlite") as store:
        asyncio.run(store.save(meta("a")))
        other = sqlite3.connect(tmp_path / "x.sqlite")
        assert other.execute("SELECT count(*) FROM meta WHERE key = 'a'").fetchone() == (1,)
        other.close()


def test_a_queued_write_is_done_before_the_store_closes(tmp_path):
    with Store(tmp_path / "x.sqlite") as store:
        for number in range(100):
            store.submit(meta(f"{number:03}"))
    with Store(tmp_path / "x.sqlite") as store:
        assert len(keys(store)) == 100


def test_a_failing_write_does_not_undo_its_neighbours(tmp_path):
    with Store(tmp_path / "x.sqlite") as store:
        futures = [store.submit(meta(key)) for key in ("a", "b", "a", "c")]
        errors = [future.exception(10) for future in futures]
        assert [error is None for error in errors] == [True, True, False, True]
        assert keys(store) == ["a", "b", "c"]


@pytest.mark.parametrize("value", ["\ud800", 2**70, object()], ids=["half", "huge", "object"])
def test_a_value_that_sqlite_cannot_hold_reaches_the_one_who_wrote_it(tmp_path, value):
    with Store(tmp_path / "x.sqlite") as store:
        bad, good = store.submit(meta("a", value)), store.submit(meta("b"))
        assert bad.exception(10) is not None
        assert good.exception(10) is None
        assert keys(store) == ["b"]


def test_a_bug_in_a_write_is_raised_where_it_was_asked_for(tmp_path):
    def bug(db):
        raise KeyError("x")

    with Store(tmp_path / "x.sqlite") as store:
        with pytest.raises(KeyError):
            store.write(bug)
        store.write(meta("a"))
        assert keys(store) == ["a"]


def test_a_waiter_that_is_cancelled_does_not_undo_the_write(tmp_path):
    async def cancelled(store):
        task = asyncio.create_task(store.save(meta("a")))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.save(meta("b"))

    with Store(tmp_path / "x.sqlite") as store:
        asyncio.run(cancelled(store))
        assert "b" in keys(store)


def test_another_format_is_refused_and_names_both(tmp_path):
    with Store(tmp_path / "x.sqlite") as store:
        store.write(lambda db: db.execute("UPDATE meta SET value = '999' WHERE key = 'format'"))
    with pytest.raises(RunError, match="format 999") as caught, Store(tmp_path / "x.sqlite"):
        pass
    assert caught.value.exit_code == 7


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "x.sqlite").write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(RunError, match="no SQLite database"), Store(tmp_path / "x.sqlite"):
        pass


def test_a_read_only_store_reads_while_another_writes(tmp_path):
    with Store(tmp_path / "x.sqlite") as store:
        store.write(meta("a"))
        with Store(tmp_path / "x.sqlite", read_only=True) as reader:
            store.write(meta("b"))
            assert keys(reader) == ["a", "b"]


def test_a_read_only_store_cannot_be_changed(tmp_path):
    with Store(tmp_path / "x.sqlite") as store:
        store.write(meta("a"))
    with (
        Store(tmp_path / "x.sqlite", read_only=True) as reader,
        pytest.raises(RunError, match="read-only"),
    ):
        reader.rows("DELETE FROM meta")


def test_a_read_only_store_makes_no_file(tmp_path):
    with pytest.raises(RunError), Store(tmp_path / "x.sqlite", read_only=True):
        pass
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.lists(st.booleans(), max_size=8), min_size=1, max_size=12))
def test_writes_of_many_tasks_end_complete_and_in_order(tasks):
    """Each task writes its numbers one after the other; True waits for the commit, False not."""

    def fact(task, number):
        row = (None, f"{task}", "s", f"{number}", "k", None, "{}", 0.0, 0.0, "v", "at")
        return insert("facts", [row])

    async def one(store, task, waits):
        for number, wait in enumerate(waits):
            if wait:
                await store.save(fact(task, number))
            else:
                store.submit(fact(task, number))
                await asyncio.sleep(0)

    async def all_of_them(store):
        await asyncio.gather(*(one(store, task, waits) for task, waits in enumerate(tasks)))

    with TemporaryDirectory() as folder:
        with Store(Path(folder) / "x.sqlite") as store:
            asyncio.run(all_of_them(store))
        with Store(Path(folder) / "x.sqlite") as store:
            for task, waits in enumerate(tasks):
                found = store.rows(
                    "SELECT sample FROM facts WHERE key = ? ORDER BY number", f"{task}"
                )
                assert [number for (number,) in found] == [f"{n}" for n in range(len(waits))]
