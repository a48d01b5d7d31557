"""The benchmark of the way over the wire, at sizes that measure nothing: what it prints, and what makes it fail."""

import json
import subprocess
import sys

import pytest

from lab.programs import BUILD, PROJECT, SLOW

TINY = [
    "--rounds", "1", "--blocks", "40", "--block-bytes", "20000", "--breaches", "5", "--locators", "1000",
    "--sizes", "20000,60000", "--hits", "5", "--latency-rounds", "1", "--interval-ms", "30", "--idle-seconds", "1",
]  # fmt: skip


def bench(*options):
    return subprocess.run(
        [sys.executable, str(PROJECT / "bench/path/path.py"), "--build-dir", str(BUILD), *TINY, *options],
        capture_output=True,
        text=True,
        timeout=120 * SLOW,
        check=False,
    )


def numbers_above_zero(o, *keys):
    assert all(isinstance(o[k], (int, float)) and o[k] > 0 for k in keys), o


def test_the_path_is_measured_against_tcp_alone(programs):
    done = bench("--only", "path")
    assert done.returncode == 0, done.stderr
    path = json.loads(done.stdout)["path"]
    keys = ("gbit_s", "tcp_only_gbit_s", "vs_tcp", "blocks_s")
    numbers_above_zero(path, *keys)
    numbers_above_zero(path[{"full": "stripped", "stripped": "full"}[path["block_form"]] + "_form"], *keys)
    assert path["hits"] == path["hits_planted"] == 5
    assert set(keys) <= set(path["spread"])


def test_latencies_are_measured_by_size(programs):
    done = bench("--only", "latency")
    assert done.returncode == 0, done.stderr
    latency = json.loads(done.stdout)["latency_us"]
    keys = ("hit_p50", "hit_p99", "broadcast_p50", "broadcast_p99")
    numbers_above_zero(latency, *keys)
    assert list(latency["by_size"]) == ["0.02MB", "0.06MB"]
    for row in latency["by_size"].values():
        numbers_above_zero(row, *keys)
        assert row["hits"] == 5


def test_what_idling_costs_is_measured(programs):
    done = bench("--only", "idle")
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    numbers_above_zero(out, "idle_rss_mb")
    assert 0 <= out["idle_cpu"] <= 1.1


@pytest.mark.parametrize("part", ["path", "latency"])
def test_a_planted_hit_that_is_not_found_is_a_failure(programs, part):
    done = bench("--only", part, "--miss-one")
    assert done.returncode == 1 and done.stdout == ""
    assert "4 hits found, 5 planted" in done.stderr
