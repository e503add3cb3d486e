"""The pool: a few worker processes, a short queue, a time limit for each job, results in bounded memory."""

import contextlib
import itertools
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from decant_studio.errors import Refused
from decant_studio.jobs import pipe
from decant_studio.settings import Settings
from decant_studio.work.result import Result

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"

# What the server does with a result before it counts as done. Raises Refused.
Then = Callable[[Result], Result]


@dataclass
class Job:
    """One task for a worker. ``done`` is set when it has ended, well or not."""

    id: str
    name: str
    arguments: dict[str, Any] = field(repr=False)
    state: str = WAITING
    stage: str = "waiting for a free worker"
    progress: float = 0.0
    status: int = 200
    message: str = ""
    result: Result | None = None
    began: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event, repr=False)
    then: Then | None = field(default=None, repr=False)

    def described(self) -> dict[str, Any]:
        """Its state, for the page."""
        said: dict[str, Any] = {"id": self.id, "state": self.state, "stage": self.stage}
        said["progress"] = round(self.progress, 3)
        if self.state == FAILED:
            said |= {"status": self.status, "error": self.message}
        if self.result is not None:
            said["figures"] = self.result.figures
            said["files"] = {name: file.name for name, file in self.result.files.items()}
        return said


class Pool:
    """Runs jobs in worker processes, which start with the first job. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()
        self._queue: queue.Queue[Job | None] = queue.Queue()
        self._closed = False
        self._open = itertools.count()
        self._workers: list[_Worker] = []

    def submit(self, name: str, then: Then | None = None, **arguments: Any) -> Job:
        """Queue a task. Raises Refused (429) when as many wait as may."""
        job = Job(secrets.token_urlsafe(12), name, arguments, then=then)
        with self._lock:
            if self._closed:
                raise Refused(503, "The studio is closing.")
            busy = sum(not one.done.is_set() for one in self._jobs.values())
            most = self._settings.workers + self._settings.waiting
            if busy >= most:
                raise Refused(429, f"The studio is busy with {busy} pictures. Wait a moment and try again.")
            self._jobs[job.id] = job
            self._trim()
            self._start()
            self._queue.put(job)
        return job

    def job(self, job_id: str) -> Job:
        """A job by its id. Raises Refused (404) for one that is not or no longer known."""
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise Refused(404, "This result is no longer kept. Drop the picture again.")
        return job

    def close(self) -> None:
        """End all workers; jobs that run fail."""
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, []
        for worker in workers:
            self._queue.put(None)
            worker.kill()
        for worker in workers:
            worker.thread.join(timeout=10)

    def _start(self) -> None:
        if not self._workers:
            self._workers = [_Worker(self._queue, self._settings) for _ in range(self._settings.workers)]

    def _trim(self) -> None:
        """Forget the oldest ended jobs beyond the limits; the newest stays."""
        ended = [job for job in self._jobs.values() if job.done.is_set()]
        size = sum(job.result.size for job in ended if job.result is not None)
        count = len(self._jobs)
        for job in ended:
            if size <= self._settings.kept_bytes and count <= self._settings.kept_jobs:
                break
            size -= job.result.size if job.result is not None else 0
            count -= 1
            del self._jobs[job.id]


class _Worker:
    """A thread of the server that hands jobs to one process, and replaces the process when it has to."""

    def __init__(self, jobs: "queue.Queue[Job | None]", settings: Settings) -> None:
        self._queue = jobs
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False
        self.thread = threading.Thread(target=self._serve, name="studio worker", daemon=True)
        self.thread.start()

    def kill(self) -> None:
        """End the process at once."""
        self._killed = True
        if self._process is not None:
            self._process.kill()

    def _serve(self) -> None:
        while (job := self._queue.get()) is not None:
            if self._killed:
                _fail(job, 503, "The studio is closing.")
                continue
            try:
                self._run(job)
            except (EOFError, OSError):
                code = self._ended()
                _fail(job, 422, f"The worker ended unexpectedly ({code}). Try a smaller picture.")
            finally:
                job.arguments, job.then = {}, None
                job.done.set()
        self._ended()

    def _run(self, job: Job) -> None:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self._settings.job_seconds, stop)
        job.state, job.stage, job.began = RUNNING, "starting", time.monotonic()
        timer.start()
        try:
            pipe.send(process.stdin, (job.name, job.arguments))
            while True:
                answer = pipe.receive(process.stdout)
                if answer[0] == "stage":
                    _, job.stage, job.progress = answer
                    continue
                break
        except (EOFError, OSError):
            if not late.is_set():
                raise
            self._ended()
            seconds = f"{self._settings.job_seconds:g} seconds"
            _fail(job, 408, f"The work took longer than {seconds} and was stopped. Try a smaller picture.")
            return
        finally:
            timer.cancel()
        if answer[0] != "done":
            _fail(job, answer[1], answer[2])
            return
        try:
            job.result = answer[1] if job.then is None else job.then(answer[1])
        except Refused as error:
            _fail(job, error.status, error.message)
            return
        job.state, job.stage, job.progress = DONE, "done", 1.0

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "decant_studio.jobs.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
            )
            assert self._process.stdin is not None
            pipe.send(self._process.stdin, self._settings.worker_options())
        return self._process

    def _ended(self) -> int | None:
        """Close the process and give its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        return process.wait()


def _fail(job: Job, status: int, message: str) -> None:
    job.state, job.status, job.message = FAILED, status, message
    job.done.set()
