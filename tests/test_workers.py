"""Worker processes: every task once, one thread each, and none is left behind."""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import tqdm

import sentiment
from sentiment import workers
from sentiment.workers import WorkerError, in_workers, with_bar

ROOT = Path(sentiment.__file__).parent.parent
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
# What workers do; a module of its own, since what the tests import is no part of a worker.
ANSWER = """
import os, pathlib, signal, time

THREADS = os.environ["OMP_NUM_THREADS"]  # where NumPy would be imported

def answer(task, shared, on_step):
    on_step()
    if task == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "ended":
        os._exit(3)
    if task == "wrong":
        raise ValueError("no such thing")
    if task == "full":
        raise MemoryError
    if task == "bug":
        raise KeyError("inside")
    if task == "long":
        pathlib.Path(shared).write_text(str(os.getpid()))
        time.sleep(600)
    return task, shared, THREADS, os.getpid()
"""


@pytest.fixture
def answer(monkeypatch, tmp_path):
    (tmp_path / "stand_in.py").write_text(ANSWER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # which importing it here needs; workers have 1
    monkeypatch.delitem(sys.modules, "stand_in", raising=False)
    return importlib.import_module("stand_in").answer


def test_all_tasks_are_done_once_with_one_thread(answer):
    steps = []
    found = sorted(in_workers(answer, list("abcd"), "all", jobs=2, on_step=steps.append))
    assert [(task, result[:3]) for task, result in found] == [
        (task, (task, "all", "1")) for task in "abcd"
    ]
    processes = {result[3] for _, result in found}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert sorted(steps) == list("abcd")
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert not multiprocessing.active_children()


def test_nothing_to_do_starts_no_process(answer, monkeypatch):
    monkeypatch.setattr(workers, "_Worker", lambda: pytest.fail("started"))
    assert list(in_workers(answer, [], None, jobs=2, on_step=print)) == []


@pytest.mark.parametrize(
    ("task", "error", "message"),
    [
        pytest.param(
            "killed",
            WorkerError,
            r"^The process for killed was killed, perhaps for lack of memory: fewer jobs at once "
            r"need less\.$",
            marks=POSIX,
        ),
        ("ended", WorkerError, r"^The process for ended ended with 3\.$"),
        ("wrong", WorkerError, r"^wrong: no such thing$"),
        ("full", WorkerError, r"^full: MemoryError$"),
        ("bug", RuntimeError, r"(?s)^bug failed:\nTraceback .*KeyError: 'inside'"),
    ],
)
def test_failing_task_ends_the_others(answer, tmp_path, task, error, message):
    started = time.perf_counter()
    found = in_workers(answer, [task, "long"], str(tmp_path / "pid"), jobs=2, on_step=len)
    with pytest.raises(error, match=message):
        list(found)
    assert time.perf_counter() - started < 60
    assert not multiprocessing.active_children()


def test_closing_the_iterator_ends_all_processes(answer, tmp_path):
    found = in_workers(answer, ["a", "long"], str(tmp_path / "pid"), jobs=2, on_step=len)
    assert next(found)[0] == "a"
    found.close()
    assert not multiprocessing.active_children()


@POSIX
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_its_parent(answer, tmp_path, end):  # noqa: ARG001  writes the module
    """However the parent ends; SIGINT goes to the whole group, as from a terminal."""
    program = tmp_path / "program.py"
    program.write_text(
        "from stand_in import answer\n"
        "from sentiment.workers import in_workers\n"
        "if __name__ == '__main__':\n"
        f"    list(in_workers(answer, ['long'], {str(tmp_path / 'pid')!r}, jobs=1, on_step=len))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, str(program)],
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    (os.killpg if end == signal.SIGINT else os.kill)(parent.pid, end)
    errors = parent.communicate(timeout=30)[1]
    assert "KeyboardInterrupt" in errors if end == signal.SIGINT else errors == ""
    assert errors.count("Traceback") == (end == signal.SIGINT)  # the worker prints none
    worker = (tmp_path / "pid").read_text()
    until(lambda: not is_running(worker))


def is_running(pid: str) -> bool:
    """Not gone, nor a zombie that nobody waited for."""
    listed = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True)
    return listed.stdout.strip()[:1] not in ("", "Z")


def until(true) -> None:
    """Wait until it is."""
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@dataclass(frozen=True)
class Steps:
    """A task with so many steps at most."""

    steps: int
    taken: int

    def __str__(self) -> str:
        return f"{self.taken} of {self.steps}"


def test_bar_counts_the_steps_that_are_needed(monkeypatch, capsys):
    """A task that is finished before its last step makes the whole shorter."""
    seen = []

    class Bar(tqdm.tqdm):
        def update(self, n=1):
            super().update(n)
            seen.append((self.n, self.total, self.desc))

    def in_process(_, tasks, __, *, jobs, on_step):
        assert jobs == 3
        for task in tasks:
            for _ in range(task.taken):
                on_step(task)
            yield task, str(task)

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    monkeypatch.setattr(workers, "in_workers", in_process)
    tasks = [Steps(4, 1), Steps(2, 1), Steps(1, 0)]
    made = with_bar(len, tasks, None, jobs=3, progress=True)
    assert list(made) == [(task, str(task)) for task in tasks]
    assert [(n, total) for n, total, _ in seen] == [(1, 7), (2, 5), (3, 5), (4, 5), (5, 5)]
    assert seen[-1][2] == "3 of 3 done: "
    assert "0 of 3 done" in capsys.readouterr().err


def test_no_bar_unless_asked(monkeypatch, capsys):
    monkeypatch.setattr(
        workers, "in_workers", lambda _, tasks, *__, **___: ((task, 1) for task in tasks)
    )
    assert list(with_bar(len, [Steps(1, 0)], None, jobs=1, progress=False)) == [(Steps(1, 0), 1)]
    assert capsys.readouterr().err == ""
