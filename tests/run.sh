#!/bin/bash
# run.sh - installs what is missing, makes the release build and runs every test.

set -uo pipefail

usage() {
	cat <<'USAGE'
usage: tests/run.sh [--build-dir DIR] [--suite NAME[,NAME]] [-k WORD] [--no-setup]

Installs what is missing (tests/setup.sh), makes the release build in build/ and runs the unit tests,
the corpora of the fuzz targets and the end-to-end tests.  Ends with one line
"N passed, N failed, N skipped"; every skipped test is listed before it, with the reason.

  --build-dir DIR  test the build in DIR instead (made as a release build if it is not there)
  --suite NAME     only these of: unit, fuzz-corpus, e2e
  -k WORD          only tests whose name contains WORD
  --no-setup       do not look for missing packages
  --help           this text

Tests that need root, a tool or data that is not here are skipped.  Times out by itself.
USAGE
}

die() {
	printf 'run: %s\n' "$*" >&2
	exit 2
}

build=build
suites=unit,fuzz-corpus,e2e
word=
setup=yes
while [ $# -gt 0 ]; do
	case $1 in
	--build-dir | --suite | -k)
		[ $# -ge 2 ] || die "$1 needs a value"
		case $1 in
		--build-dir) build=$2 ;;
		--suite) suites=$2 ;;
		-k) word=$2 ;;
		esac
		shift
		;;
	--no-setup) setup=no ;;
	--help | -h)
		usage
		exit 0
		;;
	*)
		usage >&2
		die "unknown option: $1"
		;;
	esac
	shift
done
for s in ${suites//,/ }; do
	case $s in
	unit | fuzz-corpus | e2e) ;;
	*) die "no such suite: $s" ;;
	esac
done

cd "$(dirname "$0")/.." || exit 2
if [ "$setup" = yes ]; then
	tests/setup.sh || exit 2
fi

# The interpreter of Debian's python3-* packages, whatever else is first in PATH.
python=/usr/bin/python3
export PYTHONDONTWRITEBYTECODE=1

if [ ! -e "$build/build.ninja" ]; then
	timeout 300 meson setup --buildtype=release "$build" || die "configuring $build failed"
fi
timeout 2400 ninja -C "$build" || die "building $build failed"

results=()
begun=$SECONDS

# meson_suite NAME: its results go to a log of the suite's own.
meson_suite() {
	local names=() log="$build/meson-logs/run-$1.json"
	rm -f "$log"
	mapfile -t names < <(meson introspect --tests "$build" | "$python" -c '
import json, sys
for test in json.load(sys.stdin):
    if any(s.split(":")[-1] == sys.argv[1] for s in test["suite"]) and sys.argv[2] in test["name"]:
        print(test["name"])' "$1" "$word")
	if [ ${#names[@]} -eq 0 ]; then
		echo "run: suite $1 has no such test"
		return
	fi
	results+=(--meson "$log")
	timeout --kill-after=10 1800 meson test -C "$build" --no-rebuild --suite "$1" \
		--logbase "run-$1" --print-errorlogs "${names[@]}" </dev/null
}

for s in ${suites//,/ }; do
	echo "run: suite $s"
	case $s in
	unit | fuzz-corpus) meson_suite "$s" ;;
	e2e)
		results+=(--junit "$build/meson-logs/run-e2e.xml")
		rm -f "$build/meson-logs/run-e2e.xml"
		VIGIL_BUILD=$(realpath "$build") timeout --kill-after=30 2400 "$python" -m pytest \
			-p no:cacheprovider -q -rA --junit-xml="$build/meson-logs/run-e2e.xml" \
			${word:+-k "$word"} tests/e2e </dev/null
		;;
	esac
done

echo
echo "run: tests took $((SECONDS - begun)) s"
"$python" tests/tally.py "${results[@]}"
