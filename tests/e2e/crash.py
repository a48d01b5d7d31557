#!/usr/bin/python3
"""crash.py - kills a tower under load as often as asked, and says whether it kept every promise.

usage: crash.py [--kills N] [--seed N] [--keep]

Needs root, for a network namespace, and the programs of tests/kill in the build (VIGIL_BUILD, else build/).
Exit status 0 and one line with the verdict, or 1 with what was broken.
"""

import argparse
import pathlib
import shutil
import sys
import tempfile
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lab import netns  # noqa: E402
from lab.crash import Crash, missing_programs  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=300, help="how many processes to kill (300)")
    parser.add_argument("--seed", type=int, default=1, help="of the load and the deaths (1)")
    parser.add_argument("--every", type=int, default=6, help="compare after so many rounds (6)")
    parser.add_argument("--keep", action="store_true", help="keep the folder when a promise was broken")
    options = parser.parse_args()
    reason = netns.why_not()
    if reason or missing_programs():
        print(f"crash: {reason or 'not built: ' + ', '.join(missing_programs())}", file=sys.stderr)
        return 2
    namespace = netns.NetNs()
    folder = tempfile.mkdtemp(prefix="vigil-")
    failed = True
    crash = Crash(namespace, folder, options.seed, lambda text: print(text, flush=True))
    try:
        print(crash.run(options.kills, options.every))
        failed = False
    except BaseException:
        traceback.print_exc()
        print(crash.verdict("BROKEN"))
        for program in (crash.tower.control, crash.tower.dataplane):
            if program is not None:
                print(f"--- {program.name}\n{program.output()[-3000:]}")
    finally:
        crash.close()
        namespace.close()
        if failed and options.keep:
            print(f"crash: {folder} is kept")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
