"""The counting of results: a test that died, or never ran, must not look like success."""

import json
import subprocess
import sys

import pytest

from lab.programs import PROJECT


def tally(tmp_path, *records, junit=None):
    argv = [sys.executable, str(PROJECT / "tests" / "tally.py")]
    if records:
        log = tmp_path / "testlog.json"
        log.write_text("".join(json.dumps(r) + "\n" for r in records))
        argv += ["--meson", str(log)]
    if junit is not None:
        xml = tmp_path / "junit.xml"
        xml.write_text(junit)
        argv += ["--junit", str(xml)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    lines = done.stdout.splitlines()
    return lines[-1], done.returncode, lines[:-1]


def record(result, *lines, status=0, err=""):
    out = "\n".join(["[==========] Running 9 test(s).", *lines]) if lines else "plain\n"
    return {"name": "x", "result": result, "returncode": status, "stdout": out, "stderr": err}


RUN_A, OK_A = "[ RUN      ] a", "[       OK ] a"
RUN_B = "[ RUN      ] b"
END = "[==========] 2 test(s) run."


def test_functions_are_counted_not_programs(tmp_path):
    assert tally(tmp_path, record("OK", RUN_A, OK_A, RUN_B, "[       OK ] b", END))[:2] == (
        "2 passed, 0 failed, 0 skipped",
        0,
    )


def test_what_is_not_cmocka_counts_as_one(tmp_path):
    assert tally(tmp_path, record("OK"))[0] == "1 passed, 0 failed, 0 skipped"


def test_skips_are_listed_with_their_reason(tmp_path):
    line, status, listed = tally(
        tmp_path, record("OK", RUN_A, OK_A, RUN_B, "SKIPPED: no moon", "[  SKIPPED ] b", END)
    )
    assert (line, status) == ("1 passed, 0 failed, 1 skipped", 0)
    assert listed == ["SKIPPED x: b - no moon"]


def test_the_lists_at_the_end_are_not_counted_again(tmp_path):
    line, _, _ = tally(
        tmp_path,
        record("FAIL", RUN_A, "[  FAILED  ] a", END, "[  FAILED  ] a", err="[  FAILED  ] a", status=1),
    )
    assert line == "0 passed, 1 failed, 0 skipped"


def test_a_function_that_never_ended_failed(tmp_path):
    line, status, _ = tally(tmp_path, record("FAIL", RUN_A, OK_A, RUN_B, status=-11))
    assert (line, status) == ("1 passed, 1 failed, 0 skipped", 1)


@pytest.mark.parametrize("result", ["FAIL", "TIMEOUT", "ERROR", "INTERRUPT"])
def test_a_program_that_failed_after_its_functions_passed_counts_as_one(tmp_path, result):
    """As a leak does that is found at exit."""
    line, status, _ = tally(tmp_path, record(result, RUN_A, OK_A, END, status=23))
    assert (line, status) == ("1 passed, 1 failed, 0 skipped", 1)


def test_nothing_at_all_is_a_failure(tmp_path):
    assert tally(tmp_path)[:2] == ("0 passed, 0 failed, 0 skipped", 1)


def test_results_that_were_never_written_are_a_failure(tmp_path):
    assert tally(tmp_path, junit="")[:2] == ("0 passed, 1 failed, 0 skipped", 1)


def test_pytest_items_are_counted(tmp_path):
    xml = """<testsuites><testsuite><testcase classname="a" name="one"/>
    <testcase classname="a" name="two"><skipped message="no root"/></testcase>
    <testcase classname="a" name="three"><failure message="no"/><error message="twice"/></testcase>
    </testsuite></testsuites>"""
    line, status, listed = tally(tmp_path, record("OK", RUN_A, OK_A, END), junit=xml)
    assert (line, status) == ("2 passed, 1 failed, 1 skipped", 1)
    assert listed == ["SKIPPED a::two - no root", "FAILED a::three - no"]
