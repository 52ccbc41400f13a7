"""The benchmark measures what it says."""

import re

import numpy as np
import pytest

from sentiment import benchmark
from sentiment.data import DataError
from sentiment.models import list_models


def test_memory_is_that_of_the_process_alone():
    """A child inherits its parent's peak, here more than 300 MB, unless a small one launches it."""
    held = np.ones(40_000_000)  # 320 MB
    process = benchmark.run_process(["-c", "pass"])
    assert process.peak_mb < 60 < held.nbytes / 1e6
    larger = benchmark.run_process(["-c", "held = b'1' * 100_000_000"])
    assert larger.peak_mb - process.peak_mb == pytest.approx(100, rel=0.1)


def test_time_is_that_of_the_process():
    assert benchmark.run_process(["-c", "import time; time.sleep(0.3)"]).seconds >= 0.3


def test_failed_process_is_an_error():
    with pytest.raises(DataError, match=r"^A measured process failed: SystemExit: no$|failed: no$"):
        benchmark.run_process(["-c", "raise SystemExit('no')"])


def test_too_few_rows(capsys):
    assert benchmark.main(["--rows", "9"]) == 2
    assert "Expected at least 10 --rows. Received: 9" in capsys.readouterr().err


@pytest.mark.slow
def test_table(capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "STARTS", 1)
    assert benchmark.main(["--rows", "1000"]) == 0
    table = capsys.readouterr().out
    assert re.search(
        r"^\| one text, whole process, this package \| [\d.]+ s, \d+ MB \|$", table, re.M
    )
    assert re.search(
        r"^\| 555 sample reviews, CSV to CSV, whole process \| [\d,]+ reviews/s", table, re.M
    )
    assert re.search(r"^\| 1,000 different rows, CSV to CSV \| \d+ MB", table, re.M)
    apart = re.search(
        r"^\| Keras, ONNX Runtime and NumPy .* \| (\S+) apart at most \|$", table, re.M
    )
    assert float(apart[1]) <= 1e-5


@pytest.mark.slow
def test_builders(capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "TURNS", 1)
    monkeypatch.setattr(benchmark, "UNITS", 6)
    monkeypatch.setattr(benchmark, "LENGTH", 8)
    monkeypatch.setattr(benchmark, "VOCAB_SIZE", 20)
    assert benchmark.main(["--builders"]) == 0
    table = capsys.readouterr().out
    rows = re.findall(r"^\| `(\w+)` \| [\d,]+ \| ([\d.]+) \| [\d,]+ \| ([\d.]+) \|$", table, re.M)
    assert [name for name, _, _ in rows] == list_models()
    assert ("lstm", "1.00", "1.00") in rows
