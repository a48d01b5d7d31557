"""Processes that die at the worst moments, disks that fail, backups: what was promised is kept (I1 to I5)."""

import os

import pytest

from lab.crash import Crash, missing_programs

KILLS = int(os.environ.get("VIGIL_CRASH_KILLS") or 30)
SEED = int(os.environ.get("VIGIL_CRASH_SEED") or 1)


def test_every_promise_is_kept_however_often_the_tower_is_killed(programs, namespace, folder):
    """VIGIL_CRASH_KILLS=300 makes it long; tests/e2e/crash.py is the same from the command line."""
    assert not missing_programs()
    crash = Crash(namespace, folder, SEED)
    try:
        print(crash.run(KILLS))
        assert crash.kills >= KILLS and crash.named and crash.reorgs
        assert crash.checks and crash.node.has
    finally:
        crash.close()
        for program in (crash.tower.control, crash.tower.dataplane):
            print(f"--- {program.name}\n{program.output()[-4000:]}" if program else "")
