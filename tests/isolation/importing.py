"""Modules under `imports` that leave something, and such that do not: what the table of the tests is made of.

Each has a task `use(n)` that uses what the module made and says what came of it, and `expected` says what should have.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass

HEAD = """
import os
from halfstep.registry import task
IMPORTED_IN = os.getpid()

@task
def where():
    return [IMPORTED_IN, os.getpid()]
"""
NUMBERS = range(1, 9)


@dataclass(frozen=True)
class Case:
    """`text` stands behind HEAD; `{place}` is a folder, `{engine}` and others are servers."""

    text: str
    left: str = ""
    """What the event names, if the module is not to be shared."""
    expected: Callable[[int], object] = lambda n: n

    def module(self, **servers: str) -> str:
        text = textwrap.dedent(self.text)
        for name, where in servers.items():
            text = text.replace("{" + name + "}", where)
        return HEAD + text


LEAVE: dict[str, Case] = {
    "an engine with a pooled connection": Case(
        """
        import sqlalchemy as sa
        engine = sa.create_engine("{engine}")
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
        @task
        def use(n):
            with engine.connect() as connection:
                rows = connection.execute(sa.text("SELECT g + :n FROM generate_series(1, 20000) g"), {"n": n}).scalars().all()
            return len(rows) and rows[0] - 1
        """,
        "a connection to 127.0.0.1, port |a socket",
    ),
    "a database connection in a transaction": Case(
        """
        import psycopg2
        connection = psycopg2.connect("{database}")
        cursor = connection.cursor()
        cursor.execute("CREATE TEMPORARY TABLE kept (n int)")
        @task
        def use(n):
            cursor.execute("DELETE FROM kept; INSERT INTO kept SELECT %s FROM generate_series(1, 2000)", [n])
            cursor.execute("SELECT sum(n) FROM kept")
            return cursor.fetchone()[0] // 2000
        """,
        "a connection to 127.0.0.1, port |a socket",
    ),
    "a raw socket": Case(
        """
        import socket
        end = socket.create_connection(("127.0.0.1", {lines}), timeout=10)
        file = end.makefile("rw")
        @task
        def use(n):
            file.write(f"{n} {os.getpid()}\\n")
            file.flush()
            return int(file.readline() == f"{n} {os.getpid()}\\n") * n
        """,
        "a connection to 127.0.0.1, port {lines}",
    ),
    "a socket that listens": Case(
        """
        import socket
        server = socket.create_server(("127.0.0.1", 0))
        server.settimeout(10)
        @task
        def use(n):
            with socket.create_connection(server.getsockname()) as near:
                near.sendall(bytes([n]))
                far, peer = server.accept()
                with far:
                    return far.recv(1)[0] if peer == near.getsockname() else "another's"
        """,
        "a socket",
    ),
    "an http session with a live connection": Case(
        """
        import requests
        session = requests.Session()
        session.get("http://127.0.0.1:{http}/0", timeout=10)
        @task
        def use(n):
            return session.get(f"http://127.0.0.1:{http}/{n}", timeout=10).json()
        """,
        "a connection to 127.0.0.1, port {http}",
    ),
    "an http pool of urllib3": Case(
        """
        import urllib3
        pool = urllib3.PoolManager()
        pool.request("GET", "http://127.0.0.1:{http}/0", timeout=10)
        @task
        def use(n):
            return pool.request("GET", f"http://127.0.0.1:{http}/{n}", timeout=10).json()
        """,
        "a connection to 127.0.0.1, port {http}",
    ),
    "a grpc channel": Case(
        """
        import grpc
        channel = grpc.insecure_channel("127.0.0.1:{grpc}")
        echo = channel.unary_unary("/test/echo")
        echo(b"0", timeout=10)
        @task
        def use(n):
            return int(echo(str(n).encode(), timeout=10))
        """,
        "a thread|the thread|socket|connection",
    ),
    "a thread that serves a queue": Case(
        """
        import queue, threading
        wishes = queue.Queue()
        def serve():
            while True:
                n, answer = wishes.get()
                answer.put(n)
        threading.Thread(target=serve, name="server").start()
        @task
        def use(n):
            answer = queue.Queue()
            wishes.put((n, answer))
            return answer.get(timeout=10)
        """,
        "the thread 'server'",
    ),
    "a daemon thread": Case(
        """
        import threading
        turns = threading.Semaphore(0)
        done = threading.Semaphore(0)
        def serve():
            while turns.acquire():
                done.release()
        threading.Thread(target=serve, daemon=True).start()
        @task
        def use(n):
            turns.release()
            return n if done.acquire(timeout=10) else "nobody did it"
        """,
        r"the thread 'Thread-\d+ \(serve\)'",
    ),
    "a thread that Python does not list": Case(
        """
        import _thread, threading
        turns, done = threading.Semaphore(0), threading.Semaphore(0)
        def serve():
            while turns.acquire():
                done.release()
        _thread.start_new_thread(serve, ())
        @task
        def use(n):
            turns.release()
            return n if done.acquire(timeout=10) else "nobody did it"
        """,
        "a thread of a library",
    ),
    "a thread pool that has worked": Case(
        """
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(2)
        assert list(pool.map(abs, range(20)))
        @task
        def use(n):
            return pool.submit(abs, -n).result(timeout=10)
        """,
        "the thread 'ThreadPoolExecutor-0_0'",
    ),
    "a lock held by a thread now and then": Case(
        """
        import threading
        lock, stop = threading.Lock(), threading.Event()
        def hold():
            while not stop.is_set():
                with lock:
                    stop.wait(0.02)
        threading.Thread(target=hold, daemon=True).start()
        @task
        def use(n):
            if not lock.acquire(timeout=10):
                return "held for ever"
            lock.release()
            return n
        """,
        "the thread 'Thread-",
    ),
    "a queue listener of logging": Case(
        """
        import logging, queue, threading
        from logging.handlers import QueueHandler, QueueListener
        records = queue.Queue()
        class Keeper(logging.Handler):
            def emit(self, record):
                records.put(record.getMessage())
        wishes = queue.Queue()
        log = logging.getLogger("kept")
        log.addHandler(QueueHandler(wishes))
        QueueListener(wishes, Keeper()).start()
        @task
        def use(n):
            log.error("%d", n)
            return int(records.get(timeout=10))
        """,
        "the thread 'Thread-",
    ),
    "an event loop in a thread": Case(
        """
        import asyncio, threading
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()
        async def double(n):
            await asyncio.sleep(0.001)
            return n
        @task
        def use(n):
            return asyncio.run_coroutine_threadsafe(double(n), loop).result(timeout=10)
        """,
        "a descriptor of eventpoll",
    ),
    "an event loop that does not run yet": Case(
        """
        import asyncio
        loop = asyncio.new_event_loop()
        async def wait(n):
            loop.call_soon_threadsafe(lambda: None)
            return await loop.run_in_executor(None, abs, -n)
        @task
        def use(n):
            return loop.run_until_complete(asyncio.wait_for(wait(n), 10))
        """,
        "a descriptor of eventpoll",
    ),
    "a pool of processes": Case(
        """
        import multiprocessing
        pool = multiprocessing.get_context("fork").Pool(1)
        @task
        def use(n):
            return sum(pool.map_async(abs, [-n]).get(timeout=10))
        """,
        "the thread 'Thread-",
    ),
    "an executor of processes": Case(
        """
        from concurrent.futures import ProcessPoolExecutor
        pool = ProcessPoolExecutor(1)
        assert pool.submit(abs, -1).result() == 1
        @task
        def use(n):
            return pool.submit(abs, -n).result(timeout=10)
        """,
        "the thread '",
    ),
    "a queue between processes": Case(
        """
        import multiprocessing
        kept = multiprocessing.SimpleQueue()
        @task
        def use(n):
            kept.put([os.getpid(), n])
            pid, found = kept.get()
            return found if pid == os.getpid() else "another's"
        """,
        "a pipe",
    ),
    "a number between processes": Case(
        """
        import multiprocessing
        value = multiprocessing.Value("i", 0)
        @task
        def use(n):
            value.value = 0
            for _ in range(n * 100):
                with value.get_lock():
                    value.value += 1
            return value.value // 100
        """,
        "memory that processes share",
    ),
    "an epoll with a pipe": Case(
        """
        import select
        near, far = os.pipe()
        poller = select.epoll()
        poller.register(near)
        @task
        def use(n):
            os.write(far, bytes([n]))
            assert poller.poll(10)
            return os.read(near, 1)[0]
        """,
        "a descriptor of eventpoll",
    ),
    "an eventfd": Case(
        """
        counter = os.eventfd(0)
        @task
        def use(n):
            os.eventfd_write(counter, n)
            return os.eventfd_read(counter)
        """,
        "a descriptor of eventfd",
    ),
    "an inotify that watches a folder": Case(
        """
        import ctypes, select
        libc = ctypes.CDLL(None)
        watch = libc.inotify_init1(0)
        libc.inotify_add_watch(watch, b"{place}", 0x100)
        @task
        def use(n):
            name = f"{os.getpid()}-{n}".encode()
            open("{place}/" + name.decode(), "w").close()
            poller = select.poll()
            poller.register(watch, select.POLLIN)
            while poller.poll(2000):
                if name in os.read(watch, 4096):
                    return n
            return "somebody else was told"
        """,
        "a descriptor of inotify",
    ),
    "a program left running": Case(
        """
        import subprocess
        cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        @task
        def use(n):
            cat.stdin.write(f"{n} {os.getpid()}\\n")
            return int(cat.stdout.readline() == f"{n} {os.getpid()}\\n") * n
        """,
        "a pipe",
    ),
    "a program without a pipe": Case(
        """
        import subprocess
        program = subprocess.Popen(["sleep", "600"])
        @task
        def use(n):
            return n if program.poll() is None else program.returncode
        """,
        "a running program",
    ),
    "an sqlite database in a file": Case(
        """
        import sqlite3
        connection = sqlite3.connect("{place}/kept.db", timeout=20)
        connection.execute("CREATE TABLE IF NOT EXISTS kept (pid int, n int)")
        connection.commit()
        @task
        def use(n):
            with connection:
                connection.execute("INSERT INTO kept VALUES (?, ?)", [os.getpid(), n])
            return connection.execute("SELECT count(*) FROM kept WHERE pid = ? AND n = ?", [os.getpid(), n]).fetchone()[0] * n
        """,
        "the open file {place}/kept.db",
    ),
    "a temporary file": Case(
        """
        import tempfile
        file = tempfile.TemporaryFile()
        @task
        def use(n):
            for _ in range(300):
                file.seek(0)
                file.write(b"%d %d" % (n, os.getpid()))
                file.flush()
                file.seek(0)
                if file.read() != b"%d %d" % (n, os.getpid()):
                    return "another's"
                file.truncate(0)
            return n
        """,
        "the open file /tmp/",
    ),
    "a file open for reading": Case(
        """
        import pathlib
        if not os.path.exists("{place}/lines"):
            pathlib.Path("{place}/lines").write_bytes(b"".join(b"%07d\\n" % n for n in range(1000)))
        file = open("{place}/lines", "rb", buffering=0)
        @task
        def use(n):
            found = set()
            for _ in range(3000):
                file.seek(8 * n)
                found.add(int(file.read(8)))
            return n if found == {n} else sorted(found)
        """,
        "the open file {place}/lines",
    ),
}

SHARED: dict[str, Case] = {
    "nothing at all": Case("@task\ndef use(n): return n\n"),
    "an engine that has not connected": Case(
        """
        import sqlalchemy as sa
        engine = sa.create_engine("{engine}")
        @task
        def use(n):
            with engine.connect() as connection:
                return connection.execute(sa.text("SELECT :n"), {"n": n}).scalar()
        """
    ),
    "an engine that was disposed of": Case(
        """
        import sqlalchemy as sa
        engine = sa.create_engine("{engine}")
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
        engine.dispose()
        @task
        def use(n):
            with engine.connect() as connection:
                return connection.execute(sa.text("SELECT :n"), {"n": n}).scalar()
        """
    ),
    "a log that is appended to": Case(
        """
        import logging
        log = logging.getLogger("appended")
        log.addHandler(logging.FileHandler("{place}/log"))
        @task
        def use(n):
            log.error("%d %d", os.getpid(), n)
            return open("{place}/log").read().splitlines().count(f"{os.getpid()} {n}") * n
        """
    ),
    "a file that was read and closed": Case("TEXT = open(__file__).read()\n@task\ndef use(n): return n if TEXT else 0\n"),
    "a file mapped to be read": Case(
        """
        import mmap
        file = open(__file__, "rb")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        @task
        def use(n): return mapped[:].startswith(b"\\nimport os") * n
        """
    ),
    "devices without a state": Case(
        """
        noise, nothing = open("/dev/urandom", "rb"), open("/dev/null", "w")
        @task
        def use(n): return len(noise.read(n))
        """
    ),
    "an sqlite database in memory": Case(
        """
        import sqlite3
        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE TABLE kept (n int)")
        @task
        def use(n):
            connection.execute("DELETE FROM kept")
            connection.execute("INSERT INTO kept VALUES (?)", [n])
            return connection.execute("SELECT sum(n) FROM kept").fetchone()[0]
        """
    ),
    "a thread pool that was shut down": Case(
        """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(8) as pool:
            FOUND = sum(pool.map(abs, range(100)))
        @task
        def use(n): return n
        """
    ),
    "programs that have ended": Case(
        """
        import subprocess
        subprocess.run(["true"])
        ended = subprocess.Popen(["true"], stdout=subprocess.PIPE)
        ended.stdout.read()
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        ended.stdout.close()
        @task
        def use(n): return n
        """
    ),
    "locks": Case(
        """
        import threading
        lock, held = threading.Lock(), threading.RLock()
        held.acquire()
        @task
        def use(n):
            with lock, held:
                return n
        """
    ),
    "a socket that only waits for the garbage collector": Case(
        """
        import socket
        class Kept: ...
        kept = Kept()
        kept.itself, kept.socket = kept, socket.socket()
        del kept
        @task
        def use(n): return n
        """
    ),
    "a library's thread that ends before each fork": Case(
        """
        import ctypes
        libc = ctypes.CDLL(None)
        thread = ctypes.c_ulong()
        libc.pthread_create(ctypes.byref(thread), None, libc.pause, None)
        libc.pthread_cancel.argtypes = [ctypes.c_ulong]
        libc.pthread_join.argtypes = [ctypes.c_ulong, ctypes.c_void_p]
        def end():
            if thread.value:
                libc.pthread_cancel(thread)
                libc.pthread_join(thread, None)
                thread.value = 0
        os.register_at_fork(before=end)
        @task
        def use(n): return n
        """
    ),
}
