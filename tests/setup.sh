#!/bin/bash
# setup.sh - installs the Debian 12 packages that Vigil is built, run and tested with.
#
# Needs only bash, coreutils and apt; root (or sudo) only when something is missing.

set -euo pipefail

usage() {
	cat <<'USAGE'
usage: tests/setup.sh [--dev] [--bench] [--check]

Installs the Debian 12 (bookworm) packages that Vigil is built, run and tested with, from the
machine's own apt sources: "apt-get update" (only when something is missing), then "apt-get install
--no-install-recommends".  Nothing else on the machine is touched.  When everything is there it
does nothing and needs no rights.

  --dev     also what the continuous integration uses: clang and its sanitizer runtimes,
            clang-format, clang-tidy, shellcheck, debootstrap, git, and what --bench adds
  --bench   also gnuplot, which draws the benchmark's page
  --check   install nothing; list what is missing and exit with status 1 if anything is
  --help    this text

Run as root, or as a user who may use sudo.
USAGE
}

build_packages=(
	gcc libc6-dev meson ninja-build pkg-config python3
)
library_packages=(
	libdpdk-dev             # packet I/O, rings, lcores
	liblwip-dev             # TCP in user space
	libjudy-dev             # locator index
	libxxhash-dev           # shard choice
	libsecp256k1-dev        # signatures
	libsodium-dev           # blobs, random numbers
	librocksdb-dev          # store
	libuv1-dev              # event loop of control
	libmicrohttpd-dev       # HTTP server
	libcurl4-openssl-dev    # JSON-RPC client
	libjansson-dev          # JSON
	libssl-dev              # RIPEMD-160
	libinih-dev             # configuration files
	libsystemd-dev          # readiness notification
)
test_packages=(
	libcmocka-dev           # unit tests
	python3-pytest          # end-to-end tests
	python3-cryptography    # ... with a cryptography of their own
	iproute2                # ... in network namespaces
)
dev_packages=(
	clang libclang-rt-14-dev llvm clang-format clang-tidy
	shellcheck
	debootstrap
	git
	man-db mandoc systemd   # man pages and units are checked
)
# Not installed, but used by tests where they are: Go (builds btcd, over the network), tor (its package would start a
# service), a container engine.
bench_packages=(
	gnuplot-nox             # draws bench/run.sh's page; four packages, no display
)

die() {
	printf 'setup: %s\n' "$*" >&2
	exit 2
}

dev=no
bench=no
check=no
while [ $# -gt 0 ]; do
	case $1 in
	--dev) dev=yes ;;
	--bench) bench=yes ;;
	--check) check=yes ;;
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

wanted=("${build_packages[@]}" "${library_packages[@]}" "${test_packages[@]}")
if [ "$dev" = yes ]; then
	wanted+=("${dev_packages[@]}" "${bench_packages[@]}")
elif [ "$bench" = yes ]; then
	wanted+=("${bench_packages[@]}")
fi

command -v dpkg-query >/dev/null || die "this is not a Debian system: install by hand: ${wanted[*]}"

missing=()
for p in "${wanted[@]}"; do
	status=$(dpkg-query -W -f='${db:Status-Abbrev}' "$p" 2>/dev/null || true)
	case $status in
	ii* | hi*) ;;
	*) missing+=("$p") ;;
	esac
done

if [ ${#missing[@]} -eq 0 ]; then
	echo "setup: all ${#wanted[@]} packages are installed"
	exit 0
fi
if [ "$check" = yes ]; then
	echo "setup: missing: ${missing[*]}"
	exit 1
fi

# shellcheck source=/dev/null
version=$(. /etc/os-release && echo "${ID:-unknown} ${VERSION_ID:-}")
if [ "$version" != "debian 12" ]; then
	die "made for Debian 12, this is '$version'; missing here: ${missing[*]}"
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null ||
		die "not root and no sudo; run as root: apt-get install --no-install-recommends ${missing[*]}"
	as_root=(sudo)
fi

# Also through sudo, which drops the environment.  A lock held by another apt is waited for.
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
	apt-get -y -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)

echo "setup: installing ${#missing[@]} packages: ${missing[*]}"
"${apt[@]}" update </dev/null
"${apt[@]}" install --no-install-recommends "${missing[@]}" </dev/null

echo "setup: done"
