"""The public surface: complete, documented, and usable from async fixtures."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING

import pytest

import acetasks
import acetasks.testing

if TYPE_CHECKING:
    import types


@pytest.mark.parametrize("module", [acetasks, acetasks.providers, acetasks.testing], ids=lambda module: module.__name__)
def test_all_is_complete_and_sorted(module: types.ModuleType):
    """`__all__` names every public object of a public module, in order, and nothing else."""
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not (inspect.ismodule(value) and name not in module.__all__)
    }
    assert set(module.__all__) == public | ({"__version__"} & set(module.__all__))
    assert module.__all__ == sorted(module.__all__)


@pytest.mark.parametrize("name", [name for name in acetasks.__all__ if name not in {"__version__", "providers"}])
def test_every_public_name_is_documented(name: str):
    """Every public class and function has a docstring, and so has each of its public methods."""
    thing = getattr(acetasks, name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        for method_name, method in vars(thing).items():
            if not method_name.startswith("_") and (inspect.isfunction(method) or isinstance(method, property)):
                assert inspect.getdoc(method), method_name


def test_every_module_says_why_it_exists():
    """Every module has a docstring."""
    for info in pkgutil.walk_packages(acetasks.__path__, "acetasks."):
        if not info.name.endswith("__main__"):
            assert importlib.import_module(info.name).__doc__, info.name


class TestInAsyncFixtures:
    """The client is opened in one task of pytest's and closed in another."""

    @pytest.fixture
    async def opened(self, server):
        """A client that is opened and closed around a yield."""
        async with acetasks.Client(server.token, base_url=server.url) as client:
            yield client

    async def test_a_client_that_a_fixture_yields_works(self, server, opened):
        """Waiting, submitting, looking and following all work on a fixture's client."""
        server.script("luma", after=30)
        handle = await opened.submit("luma", {"prompt": "a cat"})
        assert [task.state.value async for task in handle.updates()][-1] == "succeeded"
        assert (await opened.wait("luma", handle.id)).id == handle.id
        assert (await opened.retrieve("luma", handle.id)).state is acetasks.TaskState.SUCCEEDED
        assert len([task async for task in opened.as_completed("luma", [handle.id])]) == 1
