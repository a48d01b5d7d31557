#!/usr/bin/python3
"""vigil-bench-load: how long does a start take with millions of appointments?

A store of random locators with blobs of 350 bytes is made (vigil-bench-store fill) and removed afterwards.  Then, apart:

walk       control's reading of what is watched, alone: from the store to nowhere
index      the dataplane's index alone: locators from a counter into one shard
link       link and index without control's store: vigil-bench-store sends as fast as it is taken
load       everything: vigild with the store and vigil-dataplane, from the dataplane's HELLO to the moment it has
           carried START out and thus watches every locator.  "ready_seconds" is from the start of vigild's process
           to its word that it is ready; "start_to_loaded_seconds" from there to loaded.

An appointment is one locator in the index, in whatever form its client took it: both forms of each txid of a block
are looked up instead.  "appointments" and "locators" are both counted, the latter by the dataplane.

Waiting for a processor is in every "seconds"; "cpu_seconds" tell it apart on a machine that is not idle (as root,
"chrt -r 1 bench/load/load.py" lets nothing else come between).  While the
load runs getinfo is asked again and again: "longest_call_ms" is how long the state thread kept anybody waiting.

Output     One JSON object for each number of appointments, in a list if there are several.
Exit       0 only if the dataplane watches exactly what the store has.
"""

import argparse
import calendar
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

BYTES_EACH = 1400  # of disk, while an appointment is on its way into its files
TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A measurement that does not count, and why."""


def parse_args():
    p = argparse.ArgumentParser(prog="bench/load/load.py", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build-dir", default="build")
    p.add_argument("--appointments", type=int, nargs="+", default=[10_000_000], help="(%(default)s)")
    p.add_argument("--per-user", type=int, default=1000, help="appointments of one user (%(default)s)")
    p.add_argument("--rounds", type=int, default=3, help="of link and load; the median is told (%(default)s)")
    p.add_argument("--scan-lcores", type=int, default=1, help="of the dataplane, one shard each (%(default)s)")
    p.add_argument("--store", help="a store made by an earlier run with --keep, instead of a new one")
    p.add_argument("--keep", action="store_true", help="leave the folder with store and logs")
    return p.parse_args()


# --- programs ---------------------------------------------------------------------------------------------------


class Machine:
    """The programs of one run in one folder; each is stopped by its own process id."""

    def __init__(self, build, folder):
        self.build, self.folder, self.running, self.serial = pathlib.Path(build).resolve(), folder, [], 0

    def path(self, name):
        for place in ("bench/load", "bench/index", "dataplane/topo", "control", "control/cli"):
            if (self.build / place / name).is_file():
                return str(self.build / place / name)
        raise Failed(f"{name} is not built")

    def figures(self, name, *argv):
        """What a program that prints JSON has to say."""
        done = subprocess.run([self.path(name), *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            raise Failed(f"{name} {' '.join(argv)}: status {done.returncode}: {done.stderr[-800:]}")
        return json.loads(done.stdout)

    def start(self, name, *argv):
        self.serial += 1
        log = self.folder / f"{name}.{self.serial}.log"
        with open(log, "wb") as out:
            child = subprocess.Popen([self.path(name), *argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                     env={**os.environ, "HOME": str(self.folder)}, start_new_session=True)
        child.log = log
        self.running.append(child)
        return child

    def stop(self, child):
        self.running.remove(child)
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def stop_all(self):
        for child in list(reversed(self.running)):
            self.stop(child)

    def dataplane(self, scan_lcores):
        cpus = ",".join(str(c) for c in sorted(os.sched_getaffinity(0)))
        lcores = ",".join(f"{i}@({cpus})" for i in range(1 + scan_lcores))
        child = self.start(
            "vigil-dataplane", "--lcores", lcores, "--no-pci", "--no-huge", "-m", "128", "--no-telemetry",
            "--no-shconf", f"--file-prefix=vigil-load-{os.getpid()}-{self.serial}", "--vdev=net_null0,no-rx=1", "--",
            "--network", "regtest", "--address", "10.77.0.2/24", "--peer", "10.77.0.1", "--link",
            str(self.folder / "link.sock"), "--net-lcore", "0", "--scan-lcores",
            ",".join(str(i) for i in range(1, 1 + scan_lcores)),
        )  # fmt: skip
        wait_event(child, "ready", 60)
        return child

    def vigild(self):
        return self.start(
            "vigild", "--tower.network=regtest", f"--tower.data-dir={self.folder}/tower",
            f"--link.socket={self.folder}/link.sock", f"--control.socket={self.folder}/control.sock", "--api.port=0",
        )  # fmt: skip


def wait_event(child, event, seconds, meanwhile=None):
    """The fields of a log line, with "at": when it was written."""
    end = time.monotonic() + seconds
    while True:
        text = child.log.read_text(errors="replace")
        found = re.search(rf"^(\S+)Z level=\S+ event={event} (.*)$", text, re.MULTILINE)
        if found:
            day, ms = found[1].split(".")
            fields = dict(re.findall(r'(\w+)=("[^"]*"|\S+)', found[2]))
            fields["at"] = calendar.timegm(time.strptime(day, "%Y-%m-%dT%H:%M:%S")) + int(ms) / 1000
            return fields
        if child.poll() is not None:
            raise Failed(f"{child.args[0]} ended with {child.returncode}:\n{text[-2000:]}")
        if time.monotonic() > end:
            raise Failed(f"{child.args[0]}: no {event} within {seconds} s:\n{text[-2000:]}")
        if meanwhile is None or not meanwhile():
            time.sleep(0.01)


def cpu_seconds(child):
    fields = pathlib.Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_mb(child, what):
    status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
    return round(int(re.search(rf"{what}:\s+(\d+)", status)[1]) / 1024)


class Control:
    """vigild's control socket."""

    def __init__(self, path):
        self.path, self.sock, self.longest = str(path), None, 0

    def call(self, method):
        if self.sock is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(60)
            sock.connect(self.path)
            self.sock = sock.makefile("rwb")
        begun = time.monotonic()
        self.sock.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode() + b"\n")
        self.sock.flush()
        answer = json.loads(self.sock.readline())
        self.longest = max(self.longest, time.monotonic() - begun)
        return answer["result"]

    def getinfo(self):
        """One more call whose time counts, if the socket is there; paced by the answers."""
        try:
            self.call("getinfo")
        except OSError:
            return False
        time.sleep(0.005)
        return True


# --- the parts ---------------------------------------------------------------------------------------------------


def link_alone(machine, args, locators):
    child = machine.dataplane(args.scan_lcores)
    try:
        before = cpu_seconds(child)
        out = machine.figures("vigil-bench-store", "send", str(machine.folder / "link.sock"), str(locators))
        out["dataplane_cpu_seconds"] = round(cpu_seconds(child) - before, 2)
    finally:
        machine.stop(child)
    return out


def counted(control, locators):
    """The dataplane's own count, which is a second or two old."""
    end = time.monotonic() + 60
    while True:
        dataplane = control.call("getcounters")["dataplane"]
        if dataplane.get("index_locators") == locators:
            return dataplane
        if time.monotonic() > end:
            raise Failed(f"the dataplane watches {dataplane.get('index_locators')} locators, not {locators}")
        time.sleep(0.2)


def whole(machine, args, locators):
    dataplane = machine.dataplane(args.scan_lcores)
    control = Control(machine.folder / "control.sock")
    dataplane_cpu, begun = cpu_seconds(dataplane), time.time()
    vigild = machine.vigild()
    ready = wait_event(vigild, "tower_ready", 600)
    hello = wait_event(vigild, "feed_connected", 600, control.getinfo)
    loaded = wait_event(dataplane, "loaded", 600, control.getinfo)
    out = {
        "locators": locators,
        "seconds": round(loaded["at"] - hello["at"], 3),
        "ready_seconds": round(ready["at"] - begun, 3),
        "start_to_loaded_seconds": round(loaded["at"] - begun, 3),
        "control_cpu_seconds": cpu_seconds(vigild),
        "dataplane_cpu_seconds": round(cpu_seconds(dataplane) - dataplane_cpu, 2),
        "longest_call_ms": round(control.longest * 1e3, 1),
        "control_rss_mb": memory_mb(vigild, "VmRSS"),
        "control_rss_peak_mb": memory_mb(vigild, "VmHWM"),
    }
    index = counted(control, locators)
    out["dataplane_rss_mb"] = memory_mb(dataplane, "VmRSS")
    out["index_bytes_per_locator"] = round((index["index_judy_bytes"] + index["index_filter_bytes"]) / locators, 2)
    machine.stop(vigild)
    machine.stop(dataplane)
    return out


def median(rounds, key="seconds"):
    """The round in the middle, and the lowest and highest of its key."""
    rounds = sorted(rounds, key=lambda r: r[key])
    return {**rounds[(len(rounds) - 1) // 2], "spread": [rounds[0][key], rounds[-1][key]], "rounds": len(rounds)}


def prepare(machine, args, appointments):
    tower = machine.folder / "tower/regtest"
    tower.mkdir(parents=True, mode=0o700)
    (machine.folder / "tower").chmod(0o700)
    if args.store:
        (tower / "store").symlink_to(pathlib.Path(args.store).resolve())
        return None
    if shutil.disk_usage(machine.folder).free < appointments * BYTES_EACH + (1 << 30):
        raise Failed(f"{machine.folder}: less than {appointments * BYTES_EACH >> 20} MB free (TMPDIR chooses the place)")
    return machine.figures("vigil-bench-store", "fill", str(tower / "store"), str(appointments),
                           str(max(1, appointments // args.per_user)))


def measure(args, appointments):
    # /tmp may be memory, and small.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vigil-load-", dir=os.environ.get("TMPDIR") or "/var/tmp"))
    machine = Machine(args.build_dir, folder)
    try:
        fill = prepare(machine, args, appointments)
        walk = machine.figures("vigil-bench-store", "walk", str(folder / "tower/regtest/store"))
        locators = walk["locators"]
        if locators != appointments:
            raise Failed(f"the store gives {locators} locators for {appointments} appointments")
        index = machine.figures("vigil-bench-index", "--load", str(locators))
        link = median([link_alone(machine, args, locators) for _ in range(args.rounds)])
        load = median([whole(machine, args, locators) for _ in range(args.rounds)])
        load = {"appointments": appointments, **load, "walk": walk, "index": index, "link": link}
        return {"load": {**load, "fill": fill} if fill else load}
    finally:
        machine.stop_all()
        if args.keep:
            print(f"left in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)


def main():
    args = parse_args()
    # A SIGTERM must not leave programs and gigabytes behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        out = [measure(args, n) for n in args.appointments]
    except Failed as e:
        print(f"load.py: {e}", file=sys.stderr)
        return 1
    print(json.dumps(out[0] if len(out) == 1 else out, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
