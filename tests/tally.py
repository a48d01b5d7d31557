#!/usr/bin/python3
"""Counts test results: the test functions inside cmocka programs, and pytest's items.

usage: tally.py [--meson TESTLOG.json]... [--junit RESULTS.xml]...

meson sees one result for each program; the functions in it are counted from what cmocka printed.  A
program that dies between two functions, or fails without a function failing (a sanitizer's report
at exit, a timeout), counts as a failure of its own.  Whatever is not cmocka counts as one.

Prints failures and skips with their reasons, then "N passed, N failed, N skipped".  The exit status
is 1 when anything failed or nothing ran.
"""

import argparse
import json
import re
import sys
import xml.etree.ElementTree as ElementTree

CMOCKA_LINE = re.compile(r"^\[ +(RUN|OK|FAILED|SKIPPED|ERROR) +\] (\S+)\s*$")
CMOCKA_BEGIN = re.compile(r"^\[=+\] (?:\S+: )?Running \d+ test\(s\)")
CMOCKA_END = re.compile(r"^\[=+\] (?:\S+: )?\d+ test\(s\) run")
SKIP_REASON = re.compile(r"SKIPPED: *(.*)")


class Tally:
    def __init__(self):
        self.passed = 0
        self.failures = []
        self.skips = []

    def line(self):
        return f"{self.passed} passed, {len(self.failures)} failed, {len(self.skips)} skipped"


def cmocka_functions(out, err):
    """[name, last state] of every function that was started; the lists at the end are left out."""
    functions = []
    inside = False
    for line in out.splitlines():
        if CMOCKA_BEGIN.match(line):
            inside = True
        elif CMOCKA_END.match(line):
            inside = False
        elif inside and (match := CMOCKA_LINE.match(line)):
            state, name = match.group(1), match.group(2)
            if state == "RUN":
                functions.append([name, state])
            elif functions and functions[-1][0] == name:
                functions[-1][1] = state
    # A failed set-up is told on the other stream only.
    for line in err.splitlines():
        match = CMOCKA_LINE.match(line)
        if match and match.group(1) == "ERROR":
            for function in functions:
                if function == [match.group(2), "RUN"]:
                    function[1] = "ERROR"
                    break
    return functions


def add_meson(tally, path):
    with open(path, encoding="utf-8", errors="replace") as log:
        for record in map(json.loads, log):
            add_meson_test(tally, record)


def add_meson_test(tally, record):
    name, result = record["name"], record["result"]
    out, err = record.get("stdout") or "", record.get("stderr") or ""
    functions = cmocka_functions(out, err)
    reasons = SKIP_REASON.findall(out + "\n" + err)
    failed_before = len(tally.failures)
    for function, state in functions:
        if state == "OK":
            tally.passed += 1
        elif state == "SKIPPED":
            tally.skips.append((f"{name}: {function}", "; ".join(sorted(set(reasons)))))
        elif state == "RUN":
            tally.failures.append((f"{name}: {function}", f"did not end ({result})"))
        else:
            tally.failures.append((f"{name}: {function}", ""))

    if result in ("OK", "EXPECTEDFAIL"):
        if not functions:
            tally.passed += 1
    elif result == "SKIP":
        if not functions:
            tally.skips.append((name, "; ".join(sorted(set(reasons)))))
    elif len(tally.failures) == failed_before:
        tally.failures.append((name, f"{result}, exit status {record.get('returncode')}"))


def add_junit(tally, path):
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname', '').replace('.', '/')}::{case.get('name')}"
        bad = [e for e in case if e.tag in ("failure", "error")]
        skip = case.find("skipped")
        if bad:
            tally.failures.append((name, (bad[0].get("message") or "").split("\n")[0]))
        elif skip is not None:
            tally.skips.append((name, skip.get("message") or ""))
        else:
            tally.passed += 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--meson", action="append", default=[])
    parser.add_argument("--junit", action="append", default=[])
    args = parser.parse_args()

    tally = Tally()
    for add, paths in ((add_meson, args.meson), (add_junit, args.junit)):
        for path in paths:
            try:
                add(tally, path)
            except (OSError, ValueError, ElementTree.ParseError) as error:
                # A runner that died before it wrote its results is a failure, not an absence.
                tally.failures.append((path, str(error)))

    for word, cases in (("SKIPPED", tally.skips), ("FAILED", tally.failures)):
        for name, reason in cases:
            print(f"{word} {name}" + (f" - {reason}" if reason else ""))
    print(tally.line())
    return 1 if tally.failures or not (tally.passed or tally.skips) else 0


if __name__ == "__main__":
    sys.exit(main())
