#!/bin/bash
# fresh.sh - runs the README's commands in a minimal Debian 12 made for the purpose, so that no
# package of the developer's machine can hide a missing install step.
#
# The root is made by debootstrap in a temporary folder, from the mirror that this machine's apt is
# configured with, and entered with mount and process namespaces of its own: what runs in it cannot
# outlive the script, and no mount is left behind.  Only the committed state is tested, and the test
# data that may lie beside the checkout is absent there, so that the skips are seen.

set -euo pipefail

usage() {
	cat <<'USAGE'
usage: tests/fresh.sh [--keep] [--dir DIR] [--] [COMMAND...]

Makes a minimal Debian 12 root, clones this repository's HEAD into it, and runs both commands of the
README there (bench/demo.sh, tests/run.sh) as root, then bench/demo.sh again without any right.
Ends with one line "N passed, N failed, N skipped": the commands' results.  Needs root, debootstrap
and git (tests/setup.sh --dev), about 3 GB of disk and some minutes.

  --keep      leave the root for inspection (its place is printed)
  --dir DIR   make it under DIR instead of the temporary folder
  COMMAND     run this in the clone instead of the README's commands, e.g. .ci/run
USAGE
}

die() {
	printf 'fresh: %s\n' "$*" >&2
	exit 2
}

keep=no
base=${TMPDIR:-/tmp}
while [ $# -gt 0 ]; do
	case $1 in
	--keep) keep=yes ;;
	--dir)
		[ $# -ge 2 ] || die "--dir needs a folder"
		base=$2
		shift
		;;
	--help | -h)
		usage
		exit 0
		;;
	--)
		shift
		break
		;;
	-*)
		usage >&2
		die "unknown option: $1"
		;;
	*) break ;;
	esac
	shift
done
command=("$@")

[ "$(id -u)" -eq 0 ] || die "needs root, for debootstrap and chroot"
for tool in debootstrap git unshare chroot; do
	command -v $tool >/dev/null || die "$tool is missing: run tests/setup.sh --dev"
done

project=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
mkdir -p "$base"
root=$(mktemp -d "$base/vigil-fresh.XXXXXX")
chmod 755 "$root" # it will be somebody's "/"
# debootstrap leaves no mount behind, but should it ever: never delete across one.
clean_up() {
	rm -f "$root.log"
	if [ "$keep" = yes ]; then
		echo "fresh: the root is kept in $root"
	else
		rm -rf --one-file-system "$root"
	fi
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# Where this machine's apt gets bookworm from.  Fields: URI, suite, component.
mapfile -t archives < <(
	# shellcheck disable=SC2016  # apt's own placeholders
	apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
		awk '$2 ~ /^bookworm/' | sort -u
)
mirror=$(printf '%s\n' "${archives[@]}" | awk '$2 == "bookworm" && $3 == "main" { print $1; exit }')
[ -n "$mirror" ] || die "this machine's apt has no archive for bookworm"

started=$SECONDS
echo "fresh: making a minimal Debian 12 in $root"
if ! timeout 1200 debootstrap --variant=minbase bookworm "$root" "$mirror" >"$root.log" 2>&1; then
	tail -n 20 "$root.log" >&2
	die "debootstrap failed"
fi
echo "fresh: debootstrap took $((SECONDS - started)) s, $(
	dpkg-query --admindir="$root/var/lib/dpkg" -W | wc -l
) packages"

# How this machine reaches its archive has to hold in there too: sources, proxies and the like, names.
for a in "${archives[@]}"; do
	echo "deb $a"
done >"$root/etc/apt/sources.list"
apt-config dump | grep -E '^Acquire::' | grep -vE '^Acquire::(IndexTargets|Changelogs|CompressionTypes)' \
	>"$root/etc/apt/apt.conf.d/99host" || true
for f in /etc/resolv.conf /etc/hosts; do
	cp -L "$f" "$root$f"
done
if [ -e /etc/ssl/certs/ca-certificates.crt ] && printf '%s\n' "${archives[@]}" | grep -q '^https:'; then
	mkdir -p "$root/etc/ssl/certs"
	cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
fi

chroot "$root" useradd --create-home builder
git clone -q --no-hardlinks "$project" "$root/home/builder/vigil"
echo "fresh: testing commit $(git -C "$root/home/builder/vigil" log -1 --format='%h %s')"
if [ -n "$(git -C "$project" status --porcelain)" ]; then
	echo "fresh: NOTE: uncommitted changes are not part of it"
fi

# inside USER TIMEOUT COMMAND...: in namespaces that end with the command, and every process with them.
inside() {
	local user=$1 limit=$2
	shift 2
	# shellcheck disable=SC2016  # expanded by the inner shell
	timeout --kill-after=10 "$limit" unshare --mount --pid --fork --kill-child bash -c '
		set -e
		root=$1 user=$2
		shift 2
		# As on a real machine, "/" is a mount: tests make mount namespaces of their own.
		mount --bind "$root" "$root"
		mount -t proc proc "$root/proc"
		mount -t sysfs sys "$root/sys"
		mount --rbind /dev "$root/dev"
		mount -t tmpfs tmp "$root/dev/shm"
		export HOME=/home/builder LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
		unset TMPDIR
		cd "$root"
		exec chroot --userspec="$user" "$root" bash -c "cd /home/builder/vigil && exec \"\$@\"" bash "$@"
	' bash "$root" "$user" "$@" </dev/null
}

passed=0
failed=0
skipped=0
step() {
	local user=$1 limit=$2 begun=$SECONDS log status=0
	shift 2
	log=$(mktemp "$root/tmp/step.XXXXXX")
	echo "fresh: as ${user%%:*}: $*"
	inside "$user" "$limit" "$@" 2>&1 | tee "$log" || status=${PIPESTATUS[0]}
	if [ "$status" -eq 0 ]; then
		echo "fresh: '$*' as ${user%%:*} passed in $((SECONDS - begun)) s"
		passed=$((passed + 1))
	else
		echo "fresh: '$*' as ${user%%:*} FAILED with status $status after $((SECONDS - begun)) s"
		failed=$((failed + 1))
	fi
	summary+=("$(printf '%-6s %4d s  %s: %s' "$([ "$status" -eq 0 ] && echo ok || echo FAILED)" \
		$((SECONDS - begun)) "${user%%:*}" "$*")" "               $(tail -n 1 "$log")")
}

summary=()
if [ ${#command[@]} -gt 0 ]; then
	step root:root 5400 "${command[@]}"
else
	step root:root 2400 bench/demo.sh
	step root:root 3600 tests/run.sh
	chroot "$root" chown -R builder:builder /home/builder/vigil
	step builder:builder 600 bench/demo.sh
fi

echo
printf 'fresh: %s\n' "${summary[@]}"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
