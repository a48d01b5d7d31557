"""The benchmark of a start with many appointments, at a size that measures nothing: what it prints, and that it fails."""

import json
import os
import subprocess
import sys

from lab.programs import BUILD, PROJECT, SLOW


def bench(folder, *options):
    return subprocess.run(
        [sys.executable, str(PROJECT / "bench/load/load.py"), "--build-dir", str(BUILD), "--rounds", "1", *options],
        capture_output=True,
        text=True,
        timeout=120 * SLOW,
        check=False,
        env={**os.environ, "TMPDIR": str(folder)},
    )


def test_a_start_is_measured_from_store_to_index_and_nothing_is_left(programs, tmp_path):
    done = bench(tmp_path, "--appointments", "5000", "--per-user", "100", "--scan-lcores", "2")
    assert done.returncode == 0, done.stderr
    load = json.loads(done.stdout)["load"]
    assert load["appointments"] == load["locators"] == 5000
    assert load["fill"]["users"] == 50
    for part in (load, load["walk"], load["index"], load["link"]):
        assert part["locators"] == 5000 and part["seconds"] > 0
    for key in ("ready_seconds", "start_to_loaded_seconds", "control_rss_mb", "dataplane_rss_mb"):
        assert load[key] > 0
    assert not list(tmp_path.iterdir())


def test_a_store_that_cannot_be_read_is_no_figure(programs, tmp_path):
    (tmp_path / "store").write_text("")
    done = bench(tmp_path, "--store", str(tmp_path / "store"))
    assert done.returncode == 1
    assert done.stdout == "" and "store" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["store"]
