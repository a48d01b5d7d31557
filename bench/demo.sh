#!/bin/bash
# demo.sh - installs what is missing, builds, and shows a tower at work against an embedded Bitcoin node.

set -euo pipefail

cd "$(dirname "$0")/.."
# Debian's interpreter, whatever else is first in PATH.
python=/usr/bin/python3
export PYTHONDONTWRITEBYTECODE=1

case " $* " in
*" --help "* | *" -h "*)
	if [ -x "$python" ]; then
		exec "$python" bench/demo.py --help
	fi
	echo "bench/demo.sh: run tests/setup.sh first, then --help works"
	exit 0
	;;
esac

tests/setup.sh
if [ ! -e build/build.ninja ]; then
	meson setup --buildtype=release build
fi
ninja -C build

exec "$python" bench/demo.py --build-dir build "$@"
