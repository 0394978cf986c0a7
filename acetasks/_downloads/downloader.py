"""Downloads the artifacts of tasks into a directory."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio

from acetasks._downloads.addresses import AddressGuard, RefusedAddressError, read_origin
from acetasks._downloads.fetcher import Fetcher, FetchError
from acetasks._downloads.names import choose_extension, find_existing, plan_files
from acetasks._downloads.partial_file import PartialFile
from acetasks.errors import AceTasksError, ClientClosedError, DownloadError
from acetasks.events import DownloadProgress, Observers
from acetasks.policies import DownloadPolicy

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable

    from acetasks._downloads.names import PlannedFile
    from acetasks.models import Artifact, Task

#: Minimum seconds between two progress events of a file.
_PROGRESS_INTERVAL = 0.5


class Downloader:
    """Downloads artifacts, a few at a time.

    Args:
        policy: Settings.
        observers: Receive `DownloadProgress`.
        rng: For backoff.
        trusted_urls: Base URLs whose hosts may have private addresses: the user has chosen them.
    """

    def __init__(
        self, policy: DownloadPolicy, *, observers: Observers, rng: random.Random, trusted_urls: Iterable[str] = ()
    ) -> None:
        trusted = [read_origin(url) for url in trusted_urls]
        guard = AddressGuard(allowed=trusted, allow_private=policy.allow_private)
        self._fetcher = Fetcher(policy, guard=guard, rng=rng)
        self._observers = observers
        self._slots = anyio.Semaphore(policy.concurrency)
        self._running: set[anyio.CancelScope] = set()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Downloader of {len(self._running)} tasks{', closed' if self._is_closed else ''}>"

    async def close(self) -> None:
        """Close all connections; running downloads raise `ClientClosedError`."""
        self._is_closed = True
        for scope in self._running:
            scope.cancel()
        await self._fetcher.close()

    async def download(
        self,
        task: Task,
        directory: str | os.PathLike[str],
        *,
        roles: Collection[str] | None = ("main",),
        overwrite: bool = False,
        renew: Callable[[], Awaitable[Task]] | None = None,
    ) -> dict[int, Path]:
        """Download a task's files; the arguments and errors are those of `Task.download`.

        Args:
            task: A task with artifacts.
            directory: Created if it does not exist.
            roles: Roles of the artifacts to download.
            overwrite: Whether to replace files of an earlier download.
            renew: Returns the task with new URLs, for expired ones; called once at most.

        Returns:
            The path of each file, by the position of its artifact.
        """
        renewal = _Renewal(renew) if renew is not None else None
        paths: dict[int, Path] = {}
        errors: list[DownloadError] = []

        async def save(file: PlannedFile) -> None:
            try:
                paths[file.position] = await self._save(task, file, Path(directory), overwrite=overwrite, renew=renewal)
            except DownloadError as error:
                errors.append(error)

        await self._run_each(save, plan_files(task, roles))
        if errors:
            for other in errors[1:]:
                errors[0].add_note(f"DownloadError: {other}")
            raise errors[0]
        return dict(sorted(paths.items()))

    async def _run_each(
        self, save: Callable[[PlannedFile], Coroutine[object, object, None]], files: list[PlannedFile]
    ) -> None:
        """Call a function for all files at once; raises `ClientClosedError` if the downloader is closed meanwhile."""
        with anyio.CancelScope() as scope:
            self._running.add(scope)
            if self._is_closed:
                scope.cancel()
            try:
                async with anyio.create_task_group() as group:
                    for file in files:
                        group.start_soon(save, file)
            finally:
                self._running.discard(scope)
        if scope.cancelled_caught:
            raise ClientClosedError("the client was closed during a download: create a new one")

    async def _save(
        self,
        task: Task,
        file: PlannedFile,
        directory: Path,
        *,
        overwrite: bool,
        renew: Callable[[], Awaitable[Task]] | None,
    ) -> Path:
        if not overwrite and (existing := find_existing(directory, file)) is not None:
            return existing
        async with self._slots:
            try:
                return await self._fetch(task, file, file.artifact, directory)
            except FetchError as error:
                if not error.expired or renew is None:
                    raise _build_error(task, file.artifact, error) from error
                failure = error
            try:
                artifacts = (await renew()).artifacts
            except AceTasksError as error:
                reason = f"{failure}, and there is no new one ({error})"
                failure = FetchError(reason, transient=error.transient, expired=True)
                raise _build_error(task, file.artifact, failure) from error
            if file.position >= len(artifacts) or artifacts[file.position].url == file.artifact.url:
                raise _build_error(task, file.artifact, failure) from failure
            try:
                return await self._fetch(task, file, artifacts[file.position], directory)
            except FetchError as error:
                raise _build_error(task, file.artifact, error) from error

    async def _fetch(self, task: Task, file: PlannedFile, artifact: Artifact, directory: Path) -> Path:
        report = _Progress(self._observers, task, directory / file.stem)
        try:
            with PartialFile(directory, file.stem) as partial:
                fetched = await self._fetcher.fetch(artifact, partial, report)
                target = directory / (file.stem + choose_extension(artifact, fetched.media_type))
                await partial.complete(target)
        except OSError as error:
            reason = f"the file cannot be written ({error.strerror or type(error).__name__}: {directory})"
            raise FetchError(reason) from error
        report.finish(target, fetched.size)
        return target


async def download_task(
    task: Task,
    directory: str | os.PathLike[str],
    *,
    roles: Collection[str] | None,
    overwrite: bool,
    policy: DownloadPolicy | None,
) -> list[Path]:
    """Download a task's files without a client; see `Task.download`."""
    downloader = Downloader(policy or DownloadPolicy(), observers=Observers(()), rng=random.Random())
    try:
        return list((await downloader.download(task, directory, roles=roles, overwrite=overwrite)).values())
    finally:
        await downloader.close()


class _Renewal:
    """Retrieves a task anew, once for all its files."""

    def __init__(self, renew: Callable[[], Awaitable[Task]]) -> None:
        self._renew = renew
        self._lock = anyio.Lock()
        self._renewed: Task | None = None

    async def __call__(self) -> Task:
        async with self._lock:
            if self._renewed is None:
                self._renewed = await self._renew()
            return self._renewed


class _Progress:
    """Emits the progress of one file."""

    def __init__(self, observers: Observers, task: Task, path: Path) -> None:
        self._observers = observers
        self._task = task
        self._path = path
        self._emitted_at = asyncio.get_running_loop().time()

    def __call__(self, done: int, total: int | None) -> None:
        """Receive the number of bytes so far, and in total if it is known."""
        now = asyncio.get_running_loop().time()
        if now >= self._emitted_at + _PROGRESS_INTERVAL and self._observers.wants(DownloadProgress):
            self._emitted_at = now
            self._emit(now, self._path, done, total, is_complete=False)

    def finish(self, path: Path, size: int) -> None:
        """Emit that the file is complete."""
        if self._observers.wants(DownloadProgress):
            self._emit(asyncio.get_running_loop().time(), path, size, size, is_complete=True)

    def _emit(self, now: float, path: Path, done: int, total: int | None, *, is_complete: bool) -> None:
        task = self._task
        self._observers(
            DownloadProgress(
                time=now,
                provider=task.provider,
                task_id=task.id,
                path=str(path),
                done=done,
                total=total,
                is_complete=is_complete,
            )
        )


def _build_error(task: Task, artifact: Artifact, error: FetchError) -> DownloadError:
    return DownloadError(
        f"{task.provider} task {task.id}: {artifact.kind.value} {_show(artifact.url)} was not downloaded: {error}",
        task=task,
        artifact=artifact,
        transient=error.transient,
        expired=error.expired,
    )


def _show(url: str) -> str:
    """Return a URL without its query, which may be a signature."""
    if url.startswith("data:"):
        return "in a data: URL"
    try:
        read_origin(url)
    except RefusedAddressError:
        return repr(url.partition("?")[0][:80])
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"[:200]
