"""Reports in which folders files change, and tells files apart."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import TypeAlias

# A signal is handled between two steps of waiting
STEP_MS = 100

#: Numbers that differ if a file does; None if it cannot be reached
State: TypeAlias = "tuple[int, ...] | None"
Reports: TypeAlias = "Iterator[Set[tuple[int, str]]]"


class FolderChanges:
    """Reports in which folders something changes."""

    def __init__(self, interval: float, *, polls: bool) -> None:
        self._interval_ms, self._polls = round(interval * 1000), polls
        self._states: Mapping[str, State] = {}
        self._reports: Reports | None = None

    def wait(self, roots: Iterable[str]) -> set[str]:
        """Wait for an interval at most; the *roots* in which files may have changed.

        All of them are, when one is another folder than before, or is not there now.
        """
        states = {root: identity(root) for root in roots}
        if states != self._states:
            self._reports, self._states = None, states
        is_new, paths = self._reports is None, set[str]()
        if self._reports is None:
            there = [root for root, state in states.items() if state is not None]
            self._reports = self._watch(there)
        try:
            paths = {path for _change, path in next(self._reports)}
        except FileNotFoundError:
            # It was there a moment ago
            self._reports = None
        except (OSError, RuntimeError):
            # There are more folders than the system reports changes of
            self._polls, self._reports = True, None
        if not paths.isdisjoint(states):
            # Reports of a folder end when it is deleted; the next may have its number
            self._reports = None
        if is_new or self._polls:
            return set(states)
        return {
            root
            for root in states
            if any(path == root or path.startswith(root + os.sep) for path in paths)
        }

    def _watch(self, folders: Iterable[str]) -> Reports:
        from watchfiles import watch

        return watch(
            *(() if self._polls else folders),
            # Which files count is what the sources know
            watch_filter=None,
            step=min(STEP_MS, self._interval_ms),
            debounce=self._interval_ms,
            rust_timeout=self._interval_ms,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )


def state_of(path: str | os.PathLike[str]) -> State:
    """Numbers that differ if the file at *path* does."""
    try:
        file = os.stat(path)
    except (OSError, ValueError):
        return None
    return file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns


def identity(path: str) -> State:
    """Which file or folder is at *path*, whatever is in it."""
    state = state_of(path)
    return state and state[:2]
