#!/usr/bin/python3
"""vigil-bench-api: what the tower's API costs, how it behaves under load, and what blocks do to it.

A real vigild is measured; in the dataplane's place is a stub that grows a chain when it is told to.

add        durable appointments over kept connections, as fast as answers come in, at several numbers of connections:
           vigild's processor time for each against one public-key recovery plus one signature, and syncs a second.
           Paced: 64 clients at a fraction of that rate, where latency is the tower's and not the queue's; it counts
           from when a request was due, and stands beside the time of one synced write in the same folder.
breach     one block with thousands of breaches: penalties in order, none lost, while clients add at a fixed rate.
           "api_p99_ms" is of the five seconds around the block, "api_during_..." of the requests that met it.
overload   more clients than api.max-connections, each with a connection for every request; then a tower whose
           connections are all held by clients that say nothing.
store      millions of appointments: start to ready, memory; then a user with 100,000 and 1 M appointments at one
           height are outdated and deleted while blocks come, and the disk gets its space back.  "delay_ms": what the
           slowest block took more than the slowest of as many while nothing was deleted.

Output     One JSON object.
Exit       0 only if every appointment was answered by a receipt, every penalty came, and everything was deleted.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(PROJECT / "bench/load"))
import load  # noqa: E402
from load import Control, Failed, memory_mb, wait_event  # noqa: E402

PARTS = ("add", "breach", "overload", "store")
CONNECTIONS = (1, 16, 64, 256)
SECOND = 10**9


def parse_args():
    p = argparse.ArgumentParser(prog="bench/api/api.py", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build-dir", default="build")
    p.add_argument("--only", metavar="PART[,PART]", default=",".join(PARTS), help="of %(default)s")
    p.add_argument("--rounds", type=int, default=3, help="of add; medians are told (%(default)s)")
    p.add_argument("--requests", type=int, default=8000, help="appointments of one measurement (%(default)s)")
    p.add_argument("--breaches", type=int, default=5000, help="in one block (%(default)s)")
    p.add_argument("--appointments", type=int, default=5_000_000, help="of the store (%(default)s)")
    p.add_argument("--expiring", type=int, default=1_000_000, help="of these, expire at one height (%(default)s)")
    p.add_argument("--one-user", type=int, default=100_000, help="and of one user (%(default)s)")
    p.add_argument("--flood", type=int, default=20000, help="requests of overload (%(default)s)")
    p.add_argument("--option", action="append", default=[], help="of vigild, as --SECTION.KEY=VALUE")
    p.add_argument("--keep", action="store_true", help="leave the folder with store and logs")
    args = p.parse_args()
    args.only = args.only.split(",")
    if set(args.only) - set(PARTS):
        p.error(f"no such part: {', '.join(sorted(set(args.only) - set(PARTS)))}")
    return args


# --- programs ---------------------------------------------------------------------------------------------------


class Machine(load.Machine):
    def path(self, name):
        here = self.build / "bench/api" / name
        return str(here) if here.is_file() else super().path(name)


class Stub:
    """The chain of a tower."""

    def __init__(self, machine):
        self.child = subprocess.Popen([machine.path("vigil-bench-api"), "stub", str(machine.folder / "link.sock")],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)

    def send(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def answer(self):
        line = self.child.stdout.readline()
        if not line:
            raise Failed("the stub has ended")
        out = json.loads(line)
        if "error" in out:
            raise Failed(f"stub: {out['error']}")
        return out

    def ask(self, line):
        self.send(line)
        return self.answer()

    def close(self):
        self.child.stdin.close()
        self.child.wait(10)


class Tower:
    """vigild with a stub."""

    def __init__(self, machine, options=()):
        self.machine = machine
        (machine.folder / "link.sock").unlink(missing_ok=True)
        self.stub = Stub(machine)
        while not (machine.folder / "link.sock").exists():
            time.sleep(0.01)
        begun = time.monotonic()
        self.vigild = machine.start(
            "vigild", "--tower.network=regtest", f"--tower.data-dir={machine.folder}/tower",
            f"--link.socket={machine.folder}/link.sock", f"--control.socket={machine.folder}/control.sock",
            "--api.port=0", "--teos.subscription-slots=4000000000", *options,
        )  # fmt: skip
        ready = wait_event(self.vigild, "tower_ready", 600)
        self.ready_seconds = time.monotonic() - begun
        self.port = int(ready["port"])
        wait_event(self.vigild, "feed_chain", 600)
        self.started_seconds = time.monotonic() - begun
        self.control = Control(machine.folder / "control.sock")

    def cpu(self):
        """Seconds of processor time of the process, to the nanosecond."""
        return time.clock_gettime((~self.vigild.pid << 3) | 2)

    def syncs(self):
        return self.control.call("getcounters")["control"]["store"]["syncs_total"]

    def add(self, *options, background=False, env=None):
        argv = [self.machine.path("vigil-bench-api"), "add", "--port", str(self.port), *map(str, options)]
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 text=True, start_new_session=True)
        if child.stderr.readline() != "begin\n":
            out = child.communicate()
            raise Failed(f"vigil-bench-api add: {out}")
        return child if background else self.added(child)

    @staticmethod
    def added(child):
        out, err = child.communicate(timeout=600)
        if child.returncode != 0:
            raise Failed(f"vigil-bench-api add: status {child.returncode}: {err[-500:]}")
        return json.loads(out)

    def close(self):
        self.machine.stop(self.vigild)
        self.stub.close()


def all_accepted(out):
    if not out["accepted"] == out["receipts"] == out["requests"]:
        raise Failed(f"{out['accepted']} of {out['requests']} accepted, {out['receipts']} receipts: "
                     f"{out['first_refusal']}")
    return out


def spread(rows, key):
    values = sorted(row[key] for row in rows)
    return {key: statistics.median(values), f"{key}_spread": [values[0], values[-1]]}


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else None


# --- the parts ---------------------------------------------------------------------------------------------------


class Serial:
    """Appointments that nobody has added yet."""

    def __init__(self):
        self.next = 0

    def take(self, cnt):
        self.next += cnt
        return self.next - cnt


def measured_add(tower, crypto, serial, requests, connections, *options):
    first, syncs, cpu = serial.take(requests), tower.syncs(), None
    child = tower.add("--requests", requests, "--connections", connections, "--first", first, "--registered",
                      *options, background=True)  # fmt: skip
    cpu = tower.cpu()
    out = all_accepted(tower.added(child))
    cpu = tower.cpu() - cpu
    out["cpu_us"] = cpu * 1e6 / requests
    out["vs_crypto"] = out["cpu_us"] / crypto["both_us"]
    out["syncs_s"] = (tower.syncs() - syncs) / out["seconds"]
    return out


def part_add(machine, args):
    tower, serial = Tower(machine, args.option), Serial()
    rows, paced, cryptos, disks = {c: [] for c in CONNECTIONS}, [], [], []
    try:
        tower.add("--requests", 500, "--connections", 16, "--first", serial.take(500))
        for _ in range(args.rounds):
            crypto = machine.figures("vigil-bench-api", "crypto", "20")
            disk = machine.figures("vigil-bench-api", "disk", str(machine.folder), "400")
            cryptos.append(crypto)
            disks.append(disk)
            for c in CONNECTIONS:
                rows[c].append(measured_add(tower, crypto, serial, args.requests, c))
            rate = max(50, rows[64][-1]["accepted_s"] / 5)
            out = measured_add(tower, crypto, serial, max(200, int(args.requests / 4)), 64, "--rate", rate)
            out["rate"] = rate
            out["p50_vs_disk"] = out["p50_us"] / disk["write_sync_p50_us"]
            out["p99_vs_disk"] = out["p99_us"] / disk["write_sync_p50_us"]
            out["p99_vs_disk_p99"] = out["p99_us"] / disk["write_sync_p99_us"]
            paced.append(out)
    finally:
        tower.close()
    keys = ("accepted_s", "cpu_us", "vs_crypto", "syncs_s", "p50_us", "p99_us")
    by = [{"connections": c, **{k: v for key in keys for k, v in spread(rows[c], key).items()}} for c in CONNECTIONS]
    return {
        "crypto_us": spread(cryptos, "both_us"),
        "disk_us": {**spread(disks, "write_sync_p50_us"), **spread(disks, "write_sync_p99_us")},
        "closed": by,
        "paced": {k: v for key in (*keys, "rate", "p50_vs_disk", "p99_vs_disk", "p99_vs_disk_p99")
                  for k, v in spread(paced, key).items()},
    }  # fmt: skip


def part_breach(machine, args):
    tower, n = Tower(machine, args.option), args.breaches
    trace = machine.folder / "trace"
    try:
        all_accepted(tower.add("--requests", n, "--connections", 64, "--seed", 2, "--users", 20))
        tower.stub.ask("blocks 3 0")
        rate, seconds = 300, 6
        child = tower.add("--requests", rate * seconds, "--rate", rate, "--connections", 64, "--seed", 3,
                          "--trace", trace, background=True)  # fmt: skip
        time.sleep(2)
        block = tower.stub.ask(f"breach 2 0 {n} 120")
        all_accepted(tower.added(child))
        info = tower.control.call("getinfo")["tower"]
    finally:
        tower.close()
    if block["penalties"] != n or not block["acked"] or block["out_of_order"]:
        raise Failed(f"not every penalty came, in order: {block}")
    begun, ended = block.pop("begun_ns"), block.pop("end_ns")
    during, before, around = [], [], []
    for line in trace.read_text().splitlines():
        due, done, _ = map(int, line.split())
        if begun - SECOND <= due <= begun + 4 * SECOND:
            around.append((done - due) / 1e6)
        if done >= begun and due <= ended:
            during.append((done - due) / 1e6)
        elif done < begun:
            before.append((done - due) / 1e6)
    return {**block, "trackers": info["trackers"], "api_during": len(during),
            "api_during_p50_ms": percentile(during, 0.5), "api_during_p99_ms": percentile(during, 0.99),
            "api_during_max_ms": max(during, default=None), "api_before_p99_ms": percentile(before, 0.99),
            "api_p99_ms": percentile(around, 0.99)}  # fmt: skip


def part_overload(machine, args):
    limit, clients = 256, 2048
    tower = Tower(machine, [f"--api.max-connections={limit}", *args.option])
    try:
        tower.add("--requests", 200, "--connections", 16)
        calm = all_accepted(tower.add("--requests", 1500, "--connections", 64, "--fresh", "--registered", "--first",
                                      1000, "--rate", 200))
        rss = memory_mb(tower.vigild, "VmRSS")
        flood = tower.add("--requests", args.flood, "--connections", clients, "--fresh", "--registered", "--first", 10000,
                          "--seconds", 60)  # fmt: skip
        rss_flood = memory_mb(tower.vigild, "VmHWM")
    finally:
        tower.close()
    keys = ("accepted", "unavailable", "retryable", "refused", "unanswered", "accepted_s", "p50_us", "p99_us",
            "unavailable_p50_us", "unavailable_p99_us", "first_refusal")
    return {"max_connections": limit, "clients": clients, "calm_p50_us": calm["p50_us"], "calm_p99_us": calm["p99_us"],
            "flood": {k: flood.get(k) for k in keys}, "rss_mb": rss, "rss_flood_mb": rss_flood}  # fmt: skip


def disk_mb(folder):
    done = subprocess.run(["du", "-sm", str(folder)], stdout=subprocess.PIPE, text=True, check=False)
    return int(done.stdout.split()[0])


def part_store(machine, args):
    store = machine.folder / "tower/regtest/store"
    store.parent.mkdir(parents=True, mode=0o700)
    (machine.folder / "tower").chmod(0o700)
    kept = args.appointments - args.expiring - args.one_user
    machine.figures("vigil-bench-store", "fill", str(store), str(kept), str(max(1, kept // 1000)))
    machine.figures("vigil-bench-store", "more", str(store), str(args.one_user), "1", "10")
    machine.figures("vigil-bench-store", "more", str(store), str(args.expiring),
                    str(max(1, args.expiring // 1000)), "40")  # fmt: skip
    tower = Tower(machine, args.option)
    out = {"appointments": args.appointments, "ready_seconds": tower.ready_seconds,
           "started_seconds": tower.started_seconds, "rss_mb": memory_mb(tower.vigild, "VmRSS"),
           "disk_mb": disk_mb(store)}  # fmt: skip
    try:
        # Both registrations' deltas end, and then their last reorg: heights 16 and 46, 304 and 334.
        out["calm"] = tower.stub.ask("blocks 10 20")
        out["outdate_user"] = tower.stub.ask("blocks 10 20")
        out["outdate_many"] = tower.stub.ask("blocks 40 20")
        out["calm_long"] = tower.stub.ask("blocks 240 5")
        begun = time.monotonic()
        out["delete_user"] = tower.stub.ask(f"until {args.one_user} 200 600")
        out["delete_user"]["seconds"] = time.monotonic() - begun
        if out["delete_user"]["height"] < 340:
            tower.stub.ask(f"blocks {340 - out['delete_user']['height']} 0")
        begun = time.monotonic()
        out["delete_many"] = tower.stub.ask(f"until {args.one_user + args.expiring} 200 1800")
        out["delete_many"]["seconds"] = time.monotonic() - begun
        info = tower.control.call("getinfo")["tower"]
        out["rss_after_mb"] = memory_mb(tower.vigild, "VmRSS")
        out["rss_peak_mb"] = memory_mb(tower.vigild, "VmHWM")
        for part in ("delete_user", "delete_many"):
            out[part]["delay_ms"] = max(0, out[part]["ack_ms_max"] - out["calm_long"]["ack_ms_max"])
        gone = (args.expiring + args.one_user) / args.appointments
        out["disk_after_mb"] = disk_mb(store)
        # A store that fits in memory has no files to speak of.
        for _ in range(60 if args.appointments >= 100_000 else 0):
            out["disk_after_mb"] = disk_mb(store)
            out["space_back"] = (1 - out["disk_after_mb"] / out["disk_mb"]) / gone
            if out["space_back"] > 0.9:
                break
            time.sleep(1)
    finally:
        tower.close()
    if out["delete_many"]["deletes"] != args.one_user + args.expiring or info["appointments"] != kept:
        raise Failed(f"{out['delete_many']} appointments deleted, {info['appointments']} left of {kept}")
    return out


RUN = {"add": part_add, "breach": part_breach, "overload": part_overload, "store": part_store}


def run_part(name, args):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vigil-api-", dir=os.environ.get("TMPDIR") or "/var/tmp"))
    machine = Machine(args.build_dir, folder)
    try:
        return RUN[name](machine, args)
    finally:
        machine.stop_all()
        if args.keep:
            print(f"left in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)


def main():
    args = parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        print(json.dumps({"api": {name: run_part(name, args) for name in args.only}}, indent=1))
    except Failed as e:
        print(f"api.py: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
