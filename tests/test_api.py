"""Tests of the public interface as a whole: exports, docstrings, and use in async fixtures."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from typing import TYPE_CHECKING

import pytest

import acetasks
import acetasks.report
import acetasks.testing

if TYPE_CHECKING:
    import types


@pytest.mark.parametrize(
    "module", [acetasks, acetasks.providers, acetasks.report, acetasks.testing], ids=lambda module: module.__name__
)
def test_all_is_complete_and_sorted(module: types.ModuleType):
    """`__all__` lists exactly the public names of a public module, in order."""
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not (inspect.ismodule(value) and name not in module.__all__)
    }
    lazy = {"__version__", "PostgresStore", "SQLiteStore"}  # the stores are imported at their first use
    assert set(module.__all__) == (public - lazy) | (lazy & set(module.__all__))
    assert module.__all__ == sorted(module.__all__)


@pytest.mark.parametrize("name", [name for name in acetasks.__all__ if name not in {"__version__", "providers"}])
def test_every_public_name_has_a_docstring(name: str):
    """Every public class, function and method has a docstring."""
    thing = getattr(acetasks, name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        for method_name, method in vars(thing).items():
            if not method_name.startswith("_") and (inspect.isfunction(method) or isinstance(method, property)):
                assert inspect.getdoc(method), method_name


def test_every_module_has_a_docstring():
    """Every module of the package has a docstring."""
    for info in pkgutil.walk_packages(acetasks.__path__, "acetasks."):
        if not info.name.endswith("__main__"):
            assert importlib.import_module(info.name).__doc__, info.name


async def test_the_sample_in_the_package_docstring_runs(server, monkeypatch):
    """The indented block of the docstring is valid Python and does what its description says."""
    monkeypatch.setenv("ACEDATACLOUD_API_TOKEN", server.token)
    monkeypatch.setenv("ACEDATACLOUD_API_BASE_URL", server.url)
    (block,) = re.findall(r"::\n\n((?: {8}.*\n)+)", acetasks.__doc__)
    sample = compile(textwrap.dedent(block), "docstring", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names = {"acetasks": acetasks, "task_id": server.add("luma", after=30)}
    await eval(sample, names)  # noqa: S307  # the package's own sample
    assert names["task"].id == names["task_id"]
    assert names["task"].state is acetasks.TaskState.SUCCEEDED


class TestInAsyncFixtures:
    """A fixture opens the client in one asyncio task and closes it in another."""

    @pytest.fixture
    async def opened(self, server):
        """An open client, closed after the test."""
        async with acetasks.Client(server.token, base_url=server.url) as client:
            yield client

    async def test_client_of_a_fixture_works(self, server, opened):
        """Submissions, waits, retrievals and updates work on a fixture's client."""
        server.script("luma", after=30)
        handle = await opened.submit("luma", {"prompt": "a cat"})
        assert [task.state.value async for task in handle.updates()][-1] == "succeeded"
        assert (await opened.wait("luma", handle.id)).id == handle.id
        assert (await opened.retrieve("luma", handle.id)).state is acetasks.TaskState.SUCCEEDED
        assert len([task async for task in opened.as_completed("luma", [handle.id])]) == 1
