"""The benchmark at sizes that measure nothing: what it prints, that its page needs nothing else, and what fails it."""

import json
import re
import shutil
import stat
import subprocess
import sys
import xml.etree.ElementTree

import pytest

from lab.programs import BUILD, PROJECT, SLOW

SECTIONS = {"txid", "scan", "index", "path", "latency", "load", "api", "idle"}
SCAN = BUILD / "bench" / "scan" / "vigil-bench-scan"
TINY_SCAN = ["--locators", "2000", "--blocks", "2", "--block-bytes", "100000", "--rounds", "2", "--sample-ms", "1"]


def run(argv, seconds=60):
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=seconds * SLOW, check=False)


def bench(*options, build=BUILD):
    return run([sys.executable, PROJECT / "bench/run.py", "--build-dir", build, *options], 240)


def above_zero(o, *keys, spread=False):
    for k in keys:
        assert isinstance(o[k], (int, float)) and o[k] > 0, (k, o)
        if spread:
            least, most = o[f"{k}_spread"]
            assert 0 < least <= o[k] <= most, (k, o)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """One quick run of everything serves every test of what it gives."""
    folder = tmp_path_factory.mktemp("bench")
    done = bench("--quick", "--json", folder / "report.json", "--html", folder / "page.html")
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads((folder / "report.json").read_text()), (folder / "page.html").read_text(), done.stdout


def test_every_section_ran(quick):
    report = quick[0]
    assert set(report["sections"]) == SECTIONS
    assert not report["failed"] and not report["missing"]
    assert all(s["seconds"] >= 0 for s in report["sections"].values())


def test_figures_are_plain_numbers_with_their_spread_beside_them(quick):
    report = quick[0]
    above_zero(report["txid"], "gb_s", "library_gb_s", "vs_library", "raw_gb_s", "vs_raw", spread=True)
    assert report["txid"]["kernel"] and report["txid"]["library"]
    above_zero(report["merkle"], "us_per_block", "library_us", spread=True)
    above_zero(report["scan"], "raw_gb_s", "tx_s", "parts_gb_s", "vs_parts", "plain_gb_s", "vs_plain", spread=True)
    above_zero(report["scan"], "locators")
    above_zero(report["scaling"][0], "scan_lcores", "raw_gb_s")
    for row in report["index"]:
        above_zero(row, "locators", "bytes_per_locator", "miss_s", "hit_s", "add_s", "delete_s", "judy_only_miss_s", "vs_judy")
    above_zero(report["path"], "gbit_s", "tcp_only_gbit_s", "vs_tcp", "blocks_s")
    above_zero(report["latency_us"], "hit_p50", "hit_p99", "broadcast_p50", "broadcast_p99")
    assert len(report["latency_us"]["by_size"]) == 2
    assert 0 <= report["idle_cpu"] <= 1.1
    above_zero(report["load"], "locators", "seconds")
    for row in report["api"]["add"]["closed"]:
        above_zero(row, "connections", "accepted_s", "vs_crypto", "syncs_s", spread=False)
    flood = report["api"]["overload"]["flood"]
    assert flood["accepted"] > 0 and flood["unavailable"] == flood["retryable"]
    assert flood["refused"] == flood["unanswered"] == 0
    above_zero(report["api"]["breach"], "breaches", "last_ms", "api_p99_ms")
    above_zero(report["api"]["store"], "appointments", "ready_seconds", "rss_peak_mb")


def test_what_was_planted_was_found(quick):
    report, _, table = quick
    assert report["scan"]["hits_found"] == report["scan"]["hits_planted"] > 0
    assert len(report["checks"]) >= 6 and all(c["ok"] for c in report["checks"])
    for c in report["checks"]:
        assert c["what"] in table


def test_bars_stand_beside_their_figures(quick):
    report, page, table = quick
    bars = {(b["section"], b["what"]): b for b in report["bars"]}
    assert bars["scan", "whole / sum of parts"]["bar"] == 0.8
    # With so few locators the plain way's lookups stay in the cache: no bar for that.
    assert ("scan", "whole / plain way") not in bars
    assert not bars["scan", "whole / sum of parts"]["at_most"]
    assert bars["idle", "idle dataplane"]["at_most"]
    for b in bars.values():
        assert b["met"] == (b["value"] <= b["bar"] if b["at_most"] else b["value"] >= b["bar"])
    assert re.search(r"whole / sum of parts +\S+ x .*bar 0.8: (met|NOT MET)", table)
    assert "0.8: met" in page or "0.8: NOT MET" in page


def test_the_page_needs_nothing_else(quick):
    _, page, _ = quick
    assert not re.search(r"<(script|link|img|iframe|object|embed)\b|@import|url\(\s*['\"]?(?!#)", page)
    for target in re.findall(r"(?:href|src)\s*=\s*['\"]([^'\"]*)", page):
        assert target.startswith("#"), target
    for section in SECTIONS:
        assert f"id='{section}'" in page


def test_the_page_has_a_drawing_for_each_section(quick):
    if not shutil.which("gnuplot"):
        pytest.skip("gnuplot is not installed: tests/setup.sh --bench")
    _, page, _ = quick
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) >= 7
    for svg in drawings:
        xml.etree.ElementTree.fromstring(svg)
    ids = re.findall(r"\bid=['\"]([^'\"]*)", page)
    assert len(ids) == len(set(ids))


def test_an_unwatched_plant_fails_the_scan():
    good, bad = run([SCAN, *TINY_SCAN]), run([SCAN, *TINY_SCAN, "--miss-one"])
    assert good.returncode == 0, good.stderr
    assert bad.returncode == 1 and bad.stdout == ""
    assert "hits" in bad.stderr


def test_given_blocks_are_scanned_and_broken_ones_refused(shared, tmp_path):
    block = shared / "blocks" / "block413567.raw"
    done = run([SCAN, *TINY_SCAN, "--no-scaling", "--json", block])
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)["scan"]
    assert (out["blocks"], out["transactions"], out["source"]) == (1, 1557, "files")
    assert out["hits_found"] == out["hits_planted"] > 0
    data = bytearray(block.read_bytes())
    data[40] ^= 1
    (tmp_path / "broken.raw").write_bytes(data)
    done = run([SCAN, *TINY_SCAN, tmp_path / "broken.raw"])
    assert done.returncode == 1 and done.stdout == ""


def fake_program(build, folder, name, text):
    path = build / "bench" / folder / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def only_scan(tmp_path, text):
    fake_program(tmp_path, "scan", "vigil-bench-scan", f"#!/bin/sh\n{text}\n")
    done = bench("--only", "scan", "--json", build=tmp_path)
    return done, json.loads(done.stdout)


def test_a_missed_hit_fails_the_run(tmp_path):
    scan = {"hits_planted": 5, "hits_found": 4, "locators": 1}
    done, report = only_scan(tmp_path, f"echo '{json.dumps({'scan': scan, 'scaling': []})}'")
    assert done.returncode == 1
    assert "4 hits found of 5 planted" in report["failed"]["scan"]
    assert [c["ok"] for c in report["checks"]] == [False]
    assert "scan" not in report


@pytest.mark.parametrize("text", ["echo oops >&2; exit 3", "echo not json", "echo '{}'"])
def test_a_program_that_fails_or_prints_something_else_fails_the_run(tmp_path, text):
    done, report = only_scan(tmp_path, text)
    assert done.returncode == 1
    assert report["failed"]["scan"] and "scan" not in report["sections"]
    assert "Failed" in (tmp_path / "benchmark.html").read_text()


def test_a_section_that_was_asked_for_and_is_not_there_fails_the_run(tmp_path):
    done = bench("--only", "scan", "--json", build=tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["missing"] == {"scan": "vigil-bench-scan is not built"}
    assert "Not here: vigil-bench-scan is not built" in (tmp_path / "benchmark.html").read_text()


def test_the_name_of_a_block_file_is_not_taken_for_that_of_the_report(tmp_path):
    block = tmp_path / "blk00000.dat"
    block.write_bytes(b"precious")
    assert bench("--json", block).returncode == 2
    assert block.read_bytes() == b"precious"
    assert bench("--only", "nothing").returncode == 2
    assert bench(tmp_path / "absent.dat").returncode == 2
