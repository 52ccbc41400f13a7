"""Tasks in processes of their own: one at a time in each process, with one thread.

Processes are spawned, since TensorFlow does not survive a fork.  None outlives the one that started
it, however that ends.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sentiment.command_line import KNOWN_ERRORS

# So tasks that are worked on at once do not take each other's cores.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}


class WorkerError(ValueError):
    """A task failed for a reason that a person can see to, or its process died."""


def in_workers(
    function: Callable[[Any, Any, Callable[[], None]], Any],
    tasks: Sequence[Any],
    shared: Any,
    *,
    jobs: int,
    on_step: Callable[[Any], None],
) -> Iterator[tuple[Any, Any]]:
    """Call a function for each task, in processes of their own with one thread each.

    Closing the iterator, as an exception does, ends all processes at once.  A script that calls
    this needs `if __name__ == "__main__":`.

    Args:
        function: called with a task, `shared` and something to call after each step; from the top
            of a module, which is imported in every process.
        tasks: what it is called with; their texts name them in errors.
        shared: what all tasks need; each process gets it once.
        jobs: processes.
        on_step: called with the task after each of its steps.

    Yields:
        Tasks with their results, as they are finished.

    Raises:
        WorkerError: a task failed for a known reason, or a process died.
        RuntimeError: a task failed for another reason; the message is the process' traceback.
    """
    waiting = deque(tasks)
    workers: list[_Worker] = []
    try:
        while waiting and len(workers) < jobs:
            workers.append(_Worker())
            workers[-1].send((function, shared))
            workers[-1].give(waiting.popleft())
        while busy := {worker.connection: worker for worker in workers if worker.task is not None}:
            for connection in multiprocessing.connection.wait(list(busy)):
                worker = busy[connection]
                kind, value = worker.receive()
                if kind == "step":
                    on_step(worker.task)
                    continue
                finished = worker.task
                worker.give(waiting.popleft() if waiting else None)
                yield finished, value
    finally:
        for worker in workers:
            if worker.task is not None:  # else it is ending by itself
                worker.process.terminate()
        for worker in workers:
            worker.end()


def with_bar(
    function: Callable[[Any, Any, Callable[[], None]], Any],
    tasks: Sequence[Any],
    shared: Any,
    *,
    jobs: int,
    progress: bool,
) -> Iterator[tuple[Any, Any]]:
    """`in_workers` with a progress bar over all steps, which tells the time that is left.

    Args:
        function, tasks, shared, jobs: as `in_workers`; each task says in `steps` how many it has at
            most, its result being the last.
        progress: whether to show the bar on standard error.

    Yields, Raises: as `in_workers`.
    """
    from tqdm import tqdm

    bar = tqdm(
        desc=f"0 of {len(tasks)} done",
        total=sum(task.steps for task in tasks),
        disable=not (progress and tasks),
        leave=False,
        unit="step",
    )
    done: Counter[str] = Counter()

    def on_step(task: Any) -> None:
        done[str(task)] += 1
        bar.update()

    results = in_workers(function, tasks, shared, jobs=jobs, on_step=on_step)
    with bar, contextlib.closing(results):
        for number, (task, result) in enumerate(results, 1):
            bar.total -= task.steps - 1 - done[str(task)]  # steps that it did not need
            bar.set_description(f"{number} of {len(tasks)} done", refresh=False)
            bar.update()
            yield task, result


class _Worker:
    """The parent's end of a process that works on one task after the other."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        with _inherited():
            self.process.start()
        theirs.close()
        self.task: Any = None

    def give(self, task: Any) -> None:
        """Hand over the next task, or `None` if there is none."""
        self.task = task
        self.send(task)

    def send(self, value: Any) -> None:
        """Send what the process expects next."""
        with contextlib.suppress(BrokenPipeError):  # it died; receiving says so
            self.connection.send(value)

    def receive(self) -> tuple[str, Any]:
        """The process' next message."""
        try:
            kind, value = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join(5)
            raise WorkerError(_death(self.task, self.process.exitcode)) from None
        if kind == "known error":
            raise WorkerError(f"{self.task}: {value}")
        if kind == "error":
            raise RuntimeError(f"{self.task} failed:\n{value}")
        return kind, value

    def end(self) -> None:
        """Wait a little for the process to end, then see to it."""
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


def _death(task: Any, exit_code: int | None) -> str:
    if exit_code == -getattr(signal, "SIGKILL", 9):
        end = "was killed, perhaps for lack of memory: fewer jobs at once need less"
    else:
        end = f"ended with {exit_code}"
    return f"The process for {task} {end}."


@contextlib.contextmanager
def _inherited() -> Iterator[None]:
    """What processes that start within shall have: one thread, before they import anything, and
    no ear for Ctrl-C, since this process ends them.
    """
    variables = {name: os.environ.get(name) for name in ONE_THREAD}
    in_main = threading.current_thread() is threading.main_thread()  # others get no signals
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main else None
    os.environ |= ONE_THREAD
    try:
        yield
    finally:
        for name, value in variables.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
        if in_main:
            signal.signal(signal.SIGINT, before)


def _work(connection: Any) -> None:
    """A worker process: tasks in, steps and results out, until there are no more tasks."""
    from tqdm import tqdm

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it is not inherited
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # tqdm's own lock is a semaphore, which a process that is ended would leave behind.
    tqdm.set_lock(threading.RLock())
    function, shared = connection.recv()
    while (task := connection.recv()) is not None:
        try:
            result = function(task, shared, lambda: connection.send(("step", None)))
            connection.send(("result", result))
        except (*KNOWN_ERRORS, MemoryError) as error:
            connection.send(("known error", str(error) or type(error).__name__))
            return
        except Exception:
            connection.send(("error", traceback.format_exc()))
            return


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however it went."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
