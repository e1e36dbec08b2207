"""A child after a body is as it was when new, put right where that is certain; or it is not used again."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import select
import sys
import threading
import time
from _signal import getsignal  # signal's own makes enums of what it gets, at twenty times the price
from _thread import _count as count_threads
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from random import seed
from signal import SIGCHLD
from typing import Any, NamedTuple, cast

from halfstep_worker.children.causes import size_text
from halfstep_worker.children.code_facts import hooks_since_birth
from halfstep_worker.children.facts import Fact, facts_of_the_process
from halfstep_worker.children.import_effects import ImportWatch
from halfstep_worker.children.interpreter import facts_of_the_interpreter

CLEAN_LOOKS = 8
"""After so many bodies of a kind that left nothing, a brief look has to do: a whole one takes as long as thirty no-op bodies.
It comes again whenever they are twice as many, and before another kind's turn."""
WIDER = 16
"""How often a brief look takes in what only bodies of the same kind could meet, and not at once."""
SPARE_DESCRIPTORS = 64
"""So many more may stay open, as pools of connections are to live on."""
ENDING_SECONDS = 0.05
"""What a body has left gets so long to end by itself: a thread that was told to, the tail of a pipeline."""
NAMED = 5
HARMLESS = ("tqdm_monitor",)
"""Threads that libraries leave on purpose, which do nothing but look after what is over."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_DATA = cast(Any, os.environ)._data

# Taken hold of before user code could put something else in their place.
_dup, _close, _pread, _waitpid, _listdir = os.dup, os.close, os.pread, os.waitpid, os.listdir
_Dummy = type("None", (), {}) if not hasattr(threading, "_DummyThread") else threading._DummyThread
_enumerate, _monotonic = threading.enumerate, time.monotonic


Memory = tuple[Fact, Any]


def remembered(facts: Iterable[Fact]) -> list[Memory]:
    """Each with what it is now."""
    return [(fact, fact.keep(fact.read())) for fact in facts]


class Before(NamedTuple):
    """What a process was just before an import. data: bytes."""

    unharmed: list[bool]
    threads: set[threading.Thread]
    native: int
    data: int
    descriptors: int


class Pristine:
    """What a child was when new. Made in the child just before its first task; used by its main thread.

    code: what the zygote remembers of the code. streams: by descriptor 0, 1 and 2, our own copy of what belongs there.
    growth_bytes: how much more memory it may keep. native_threads: so many threads below Python belong to what was imported.
    """

    def __init__(self, code: Sequence[Memory], streams: Mapping[int, int], *, growth_bytes: int, native_threads: int = 0) -> None:
        self._growth_bytes = growth_bytes
        self._is_limited = resource.getrlimit(resource.RLIMIT_DATA)[0] != resource.RLIM_INFINITY
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._offspring = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)
        self._clean: dict[Hashable, int] = {}
        hooks_since_birth().clear()
        self._threads, self._thread_count = set(_enumerate()), count_threads()
        self._processes = set(_living())  # an import at birth has started them
        self._native = max(native_threads, self._native_threads())
        self._data = self._data_bytes()
        self._descriptors = len(_listdir("/proc/self/fd"))
        sys.meta_path.insert(0, ImportWatch(begins=self._before_import, ended=self._note_effects))
        self._environment = dict(_DATA)
        facts = [*facts_of_the_process(streams), *facts_of_the_interpreter()]
        # What the kernel knows is read at the end, when all that it hangs on has been put right.
        self._memories = [*code, *remembered(sorted(facts, key=lambda fact: fact.restore is None))]
        self._function = ""
        self._unseen: Hashable = None
        self._effects: dict[str, dict[str, Memory]] = {}
        self._glance, self._wide_glance = self._look_briefly(), self._look_wider()

    # -- imports

    def prepare(self, function: str) -> None:
        """A body of this function is next: what its module did to the process when it was imported is done again."""
        self._function = function
        if not self._effects:
            return
        for fact, value in self._effects.get(_module_of(function), {}).values():
            with contextlib.suppress(Exception):  # what can't be done again was the module's own affair
                if fact.restore is not None:
                    fact.restore(value)

    def _before_import(self) -> Before:
        """What differs after it, the import has changed."""
        unharmed = [fact.unharmed(kept, fact.read()) for fact, kept in self._memories]
        return Before(unharmed, set(_enumerate()), self._native_threads(), self._data_bytes(), len(_listdir("/proc/self/fd")))

    def _note_effects(self, before: Before) -> None:
        """What is set-up stays; the rest is undone after the body, and done again before each body of the same module."""
        for place, (was, (fact, kept)) in enumerate(zip(before.unharmed, self._memories, strict=True)):
            now = fact.read()
            if not was or fact.unharmed(kept, now):
                continue
            if fact.setup:
                self._memories[place] = (fact, fact.keep(now))
            else:
                self._effects.setdefault(_module_of(self._function), {})[fact.name] = (fact, fact.keep(now))
        threads = set(_enumerate()) - before.threads
        self._threads |= threads
        self._thread_count += len(threads)
        self._native += max(0, self._native_threads() - before.native)
        self._data += max(0, self._data_bytes() - before.data)
        self._descriptors += max(0, len(_listdir("/proc/self/fd")) - before.descriptors)

    # -- the look after a body

    def seems_untouched(self, kind: Hashable) -> bool:
        """Whether a brief look will do, and shows nothing. kind: what bodies of the same code have in common."""
        clean = self._clean.get(kind, 0)
        if clean < CLEAN_LOOKS or not clean & (clean - 1):  # a power of two
            return False
        if self._look_briefly() != self._glance or (not clean % WIDER and self._look_wider() != self._wide_glance):
            return False
        self._clean[kind] = clean + 1
        self._unseen = kind
        return True

    def is_due_before(self, kind: Hashable) -> bool:
        """Whether a whole look has to come before a body of this kind: others before it were looked at briefly."""
        return self._unseen is not None and self._unseen != kind

    def flaw(self, kind: Hashable) -> str | None:
        """Puts right what a body has left; what can't be put right, in words, or None."""
        try:
            return self._flaw(kind)
        except BaseException as error:  # a body has broken what we stand on
            return f"what can't be compared any more ({type(error).__name__})"

    def _flaw(self, kind: Hashable) -> str | None:
        gc.collect(1)  # what a body's garbage has to say is its own
        mended, flaws = self._mend()
        flaws += self._remains()
        self._unseen = None
        self._clean[kind] = 0 if mended or flaws else self._clean.get(kind, 0) + 1
        self._glance, self._wide_glance = self._look_briefly(), self._look_wider()
        seed()  # random numbers are nobody's to foresee
        return ", ".join(flaws) or None

    def _look_briefly(self) -> object:
        """What half a microsecond shows: processes, threads, streams, how children end."""
        return count_threads(), _pread(self._offspring, 16, 0), sys.stdout, sys.stderr, getsignal(SIGCHLD)

    def _look_wider(self) -> object:
        """The lowest free descriptor, whether the environment is the same, whether too much memory is in use."""
        lowest = _dup(0)
        _close(lowest)
        return lowest, self._environment == _DATA, self._data_bytes() - self._data > self._growth_bytes

    def _mend(self) -> tuple[bool, list[str]]:
        """(whether anything was put right, what could not be)."""
        mended, flaws = False, []
        for fact, kept in self._memories:
            if not fact.unharmed(kept, fact.read()):
                mended = True
                if not _put_right(fact, kept):
                    flaws.append(fact.name)
        return mended, flaws

    # -- what can only be replaced

    def _remains(self) -> list[str]:
        if faults := sys.modules.get("faulthandler"):
            faults.cancel_dump_traceback_later()
        found = [*self._left_threads(), *self._left_processes(), *self._left_descriptors(), *self._left_memory()]
        if hooks_since_birth():
            found.append("a hook that nobody can take away")
        return found

    def _left_threads(self) -> Iterator[str]:
        left = [one for one in _enumerate() if one not in self._threads and not isinstance(one, _Dummy)]
        deadline = _monotonic() + ENDING_SECONDS
        for thread in left:
            with contextlib.suppress(RuntimeError, AssertionError):  # of a kind that can't be waited for
                thread.join(max(0.0, deadline - _monotonic()))
        names = [thread.name for thread in left if thread.is_alive() and thread.name not in HARMLESS]
        if names:
            yield f"{_counted(len(names), 'thread')} running ({_some(names)})"
        elif count_threads() > self._thread_count + sum(thread.is_alive() for thread in left):
            yield "a thread running"
        yield from self._left_native_threads()

    def _left_native_threads(self) -> Iterator[str]:
        """Threads that Python knows nothing of. One that has been joined is still to be seen for a moment."""
        deadline = _monotonic() + ENDING_SECONDS
        while (more := self._native_threads() - self._native) > 0 and _monotonic() < deadline:
            select.poll().poll(1)
        if more > 0:
            yield f"{_counted(more, 'thread')} below Python"

    @staticmethod
    def _native_threads() -> int:
        return len(_listdir("/proc/self/task")) - 1 - count_threads()

    def _left_processes(self) -> Iterator[str]:
        """Ended ones are buried; others get a moment to end."""
        deadline = _monotonic() + ENDING_SECONDS
        while living := [pid for pid in _living() if pid not in self._processes and pid != _resource_tracker()]:
            left = deadline - _monotonic()
            if left <= 0:
                yield f"{_counted(len(living), 'process', 'processes')} running ({_some([_name_of(pid) for pid in living])})"
                return
            _await_end(living[0], left)

    def _left_descriptors(self) -> Iterator[str]:
        more = len(_listdir("/proc/self/fd")) - self._descriptors
        if more > SPARE_DESCRIPTORS:
            yield f"{more} open descriptors"

    def _left_memory(self) -> Iterator[str]:
        if self._data_bytes() - self._data > self._growth_bytes:
            gc.collect()
            grown = self._data_bytes() - self._data
            if grown > self._growth_bytes:
                yield f"{size_text(grown)} of memory in use"

    def _data_bytes(self) -> int:
        """What RLIMIT_DATA counts, where that is set; else what is resident: some libraries set aside what they never use."""
        return int(_pread(self._statm, 256, 0).split()[5 if self._is_limited else 1]) * _PAGE_BYTES


def _module_of(function: str) -> str:
    """Of `module:name` or `module.name`."""
    return function.replace(":", ".").rpartition(".")[0]


def _put_right(fact: Fact, kept: Any) -> bool:
    if fact.restore is None:
        return False
    with contextlib.suppress(Exception):
        fact.restore(kept)
        return fact.unharmed(kept, fact.read())
    return False


def _living() -> list[int]:
    """Pids of our own children that run; those that have ended are buried."""
    try:
        while _waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return []
    found = []
    for task in _listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/children", "rb", buffering=0) as file:
            found += [int(pid) for pid in file.read().split()]
    return found


def _resource_tracker() -> int | None:
    """The process that multiprocessing keeps to clean up behind shared memory; it ends with its child."""
    tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    return getattr(tracker, "_pid", None)


def _await_end(pid: int, seconds: float) -> None:
    with contextlib.suppress(OSError):
        fd = os.pidfd_open(pid)
        try:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            poller.poll(seconds * 1000)
        finally:
            _close(fd)


def _name_of(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", "rb", buffering=0) as file:
        return file.read().decode(errors="replace").strip()
    return str(pid)


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
