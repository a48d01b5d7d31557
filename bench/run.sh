#!/bin/bash
# run.sh - installs what is missing, makes the release build, and runs the benchmark.

set -euo pipefail

# Debian's interpreter, whatever else is first in PATH.
python=/usr/bin/python3
export PYTHONDONTWRITEBYTECODE=1
here=$(dirname "$(realpath "$0")")

case " $* " in
*" --help "* | *" -h "*)
	if [ -x "$python" ]; then
		exec "$python" "$here/run.py" --help
	fi
	echo "bench/run.sh: run tests/setup.sh --bench first, then --help works"
	exit 0
	;;
esac

# Their output is not the benchmark's.
{
	"$here/../tests/setup.sh" --bench
	if [ ! -e "$here/../build/build.ninja" ]; then
		meson setup --buildtype=release "$here/../build" "$here/.."
	fi
	ninja -C "$here/../build"
} >&2

exec "$python" "$here/run.py" --build-dir "$here/../build" "$@"
