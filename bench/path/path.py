#!/usr/bin/python3
"""The way over the wire, measured: vigil-replay as the node, memif, vigil-dataplane, and the link.

path       A chain with planted breaches goes through TCP, P2P, header chain and scan, hits out on the link, against
           the same file through the TCP stack alone (vigil-bench-path source and sink) in the same round.  Hits found
           must equal hits planted.  Both forms of block; the ratio of each is to the bytes that it moves.
latency    One block with one breach at a time, at a pace: from the last byte put on the wire by the node to the hit
           record on the link, and to the penalty at the node, with a link client that answers at once and with
           vigild.
idle       What a dataplane without anything to do costs.

Layout     The node has the last of the processors that this process may use to itself, the dataplane the first.  In
           latency, where there are three processors or more, the dataplane has two lcores of its own, one for port,
           TCP and link, one for the scan.  Link client and vigild run where there is room.
Output     One JSON object.  Every figure is the median over the rounds; "spread" has the lowest and the highest.
Exit       0 only if every hit and penalty that was planted came, and nothing else.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from demo import DemoError, Programs, Tower  # noqa: E402

NODE_IP, TOWER_IP, PREFIX, PORT = "10.77.0.1", "10.77.0.2", 24, 18444
CPUS = sorted(os.sched_getaffinity(0))
ONE_LCORE = f"0@{CPUS[0]}"
TWO_LCORES = f"0@{CPUS[0]},1@{CPUS[1 % len(CPUS)]}"
NODE_LCORE = f"0@{CPUS[-1]}"
# TCP beside the node's, so that with two processors the scan has one to itself: where TCP alone is measured, and the
# lcores of the dataplane.
OWN_SCAN = ((f"0@{CPUS[1]}", f"0@{CPUS[1]},1@{CPUS[0]}") if len(CPUS) > 2 else
            (NODE_LCORE, f"0@{CPUS[-1]},1@{CPUS[0]}"))
# A scan that shares the node's processor would measure how the two are scheduled.
LATENCY_LCORES = TWO_LCORES if len(CPUS) > 2 else ONE_LCORE


class Failed(Exception):
    """A measurement that does not count, and why."""


def parse_args():
    p = argparse.ArgumentParser(prog="bench/path/path.py", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build-dir", default="build")
    p.add_argument("--only", default="path,latency,idle", help="parts, comma separated (%(default)s)")
    p.add_argument("--rounds", type=int, default=5, help="of path (%(default)s)")
    p.add_argument("--blocks", type=int, default=600, help="of path (%(default)s)")
    p.add_argument("--block-bytes", type=int, default=1500000, help="of path (%(default)s)")
    p.add_argument("--breaches", type=int, default=200, help="of path (%(default)s)")
    p.add_argument("--locators", type=int, default=1000000, help="that nobody breaches (%(default)s)")
    p.add_argument("--forms", default="full,stripped", help="of blocks, in path (%(default)s)")
    p.add_argument("--sizes", default="250000,1000000,2000000,3900000",
                   help="bytes of a block, in latency (%(default)s)")
    p.add_argument("--hits", type=int, default=200, help="for each size and round (%(default)s)")
    p.add_argument("--latency-rounds", type=int, default=3, help="(%(default)s)")
    p.add_argument("--interval-ms", type=float, default=40, help="between announcements, in latency (%(default)s)")
    p.add_argument("--lcores", default=LATENCY_LCORES, help="of the dataplane, in latency, as EAL's --lcores (%(default)s)")
    p.add_argument("--idle-seconds", type=float, default=10, help="(%(default)s)")
    p.add_argument("--dataplane-options", default="", help="more of them, after --, for every part")
    p.add_argument("--prefer", action="store_true",
                   help="let nothing else that runs here come between (root; for a machine that is not idle)")
    p.add_argument("--keep", action="store_true", help="leave the folder with chains, logs and reports")
    # A test of this program: one planted locator is not watched, so its hit cannot come.
    p.add_argument("--miss-one", action="store_true", help=argparse.SUPPRESS)
    return p.parse_args()


# --- figures ----------------------------------------------------------------------------------------------------


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p / 100))]


def over_rounds(rounds):
    """Medians by key, with the lowest and the highest beside them."""
    keys = [k for k, v in rounds[0].items() if isinstance(v, (int, float))]
    values = {k: [r[k] for r in rounds] for k in keys}
    out = {k: round(statistics.median(v), 3) for k, v in values.items()}
    out["spread"] = {k: [round(min(v), 3), round(max(v), 3)] for k, v in values.items()}
    out["rounds"] = len(rounds)
    return out


# --- programs ---------------------------------------------------------------------------------------------------


def prefer(pid):
    """Before whatever else runs here: sessions share the processors as groups, so a nice value alone says little."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, -20)
        with open(f"/proc/{pid}/autogroup", "w", encoding="ascii") as f:
            f.write("-20")
    except FileNotFoundError:
        pass  # a kernel without such groups
    except OSError as e:
        raise Failed(f"--prefer: {e.strerror}") from None


class BenchPrograms(Programs):
    def __init__(self, args, folder):
        super().__init__(args.build_dir, folder)
        self.prefer = args.prefer

    def path(self, name):
        return str(self.build / "bench/path" / name) if name == "vigil-bench-path" else super().path(name)

    def start(self, name, *argv):
        child = super().start(name, *argv)
        if self.prefer:
            prefer(child.pid)
        return child


class Bench:
    """One folder, and fresh programs for every measurement in it."""

    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.serial = 0

    def programs(self):
        return BenchPrograms(self.args, self.folder)

    def eal(self, role, lcores, memory_mb=256):
        self.serial += 1
        return [
            "--lcores", lcores, "--no-pci", "--no-huge", "-m", str(memory_mb), "--no-telemetry", "--no-shconf",
            f"--file-prefix=vigil-path-{os.getpid()}-{self.serial}",
            f"--vdev=net_memif0,role={role},id=0,socket={self.folder}/memif.sock,socket-abstract=no,rsize=11",
        ]  # fmt: skip

    @contextlib.contextmanager
    def running(self):
        programs = self.programs()
        (self.folder / "memif.sock").unlink(missing_ok=True)
        try:
            yield programs
            programs.check()
            bad = programs.stop()
            if bad:
                raise Failed(f"did not end in good order: {', '.join(bad)}")
        finally:
            programs.stop()

    def synth(self, name, *options):
        folder = self.folder / name
        made = self.programs().run("vigil-replay", "synth", "--out", str(folder), *options, timeout=600)
        return folder, json.loads(made.stdout), json.loads((folder / "breaches.json").read_text())

    def write_locators(self, folder, planted, others):
        """In the two forms of locator in turn; the file is what the watcher loads."""
        path = folder / "locators"
        rng = random.Random(1)
        found = [bytes.fromhex(b[f"locator_{('current', 'legacy')[i % 2]}"]) for i, b in enumerate(planted)]
        if self.args.miss_one and found:
            found.pop()
        with open(path, "wb") as f:
            f.write(rng.randbytes(16 * others))
            f.writelines(found)
        return path

    def node(self, programs, chain, *options):
        (self.folder / "report.jsonl").unlink(missing_ok=True)
        return programs.start(
            "vigil-replay", "serve", *self.eal("server", NODE_LCORE), "--", "--address", f"{NODE_IP}/{PREFIX}",
            "--port", str(PORT), "--chain", str(chain / "chain.dat"), "--precompute",
            "--report", str(self.folder / "report.jsonl"), *options)  # fmt: skip

    def dataplane(self, programs, lcores, *options):
        return programs.start(
            "vigil-dataplane", *self.eal("client", lcores), "--", "--network", "regtest",
            "--link", str(self.folder / "link.sock"), "--address", f"{TOWER_IP}/{PREFIX}",
            "--peer", f"{NODE_IP}:{PORT}", *self.args.dataplane_options.split(), *options)  # fmt: skip

    def events(self, kind):
        path = self.folder / "report.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [e for e in map(json.loads, lines) if e["event"] == kind]

    def watch(self, programs, until, *options):
        """Runs the link client to its end."""
        done = programs.run("vigil-bench-path", "watch", "--link", str(self.folder / "link.sock"),
                            "--until-height", str(until), *options, timeout=180, ok=(0, 1))
        programs.check()
        if done.returncode != 0:
            raise Failed(f"{done.stderr.strip()}\n{programs.log_tail('vigil-dataplane')}")
        return json.loads(done.stdout)


# --- path -------------------------------------------------------------------------------------------------------


def tcp_only(bench, chain, lcore):
    """Gbit/s of the file through the TCP stack alone, which runs on lcore."""
    with bench.running() as programs:
        source = programs.start(
            "vigil-bench-path", "source", *bench.eal("server", NODE_LCORE), "--", "--address", f"{NODE_IP}/{PREFIX}",
            "--port", str(PORT), "--file", str(chain / "chain.dat"))  # fmt: skip
        done = programs.run(
            "vigil-bench-path", "sink", *bench.eal("client", lcore), "--", "--address", f"{TOWER_IP}/{PREFIX}",
            "--peer", f"{NODE_IP}:{PORT}", timeout=180, ok=(0, 1))  # fmt: skip
        if done.returncode != 0 or source.wait(10) != 0:
            raise Failed(f"TCP alone: {done.stderr[-800:]}\n{programs.log_tail('vigil-bench-path')}")
        programs.running.clear()
    got = json.loads(done.stdout)
    expected = (chain / "chain.dat").stat().st_size
    if got["bytes"] != expected:
        raise Failed(f"TCP alone: {got['bytes']} of {expected} bytes arrived")
    return got["bytes"] * 8 / (got["last_ns"] - got["first_ns"])


def path_once(bench, chain, made, planted, locators, form, lcores):
    with bench.running() as programs:
        bench.node(programs, chain, "--start-blocks", str(made["blocks"]))
        bench.dataplane(programs, lcores, "--block-form", form)
        got = bench.watch(programs, made["tip_height"], "--locators", str(locators))
    if got["hits"] != planted:
        raise Failed(f"{got['hits']} hits found, {planted} planted")
    if got["txs"] != made["txs"] or got["blocks"] != made["blocks"]:
        raise Failed(f"{got['blocks']} blocks with {got['txs']} transactions came out, "
                     f"{made['blocks']} with {made['txs']} went in")
    seconds = (got["done_ns"] - got["first_byte_ns"]) / 1e9
    return {"gbit_s": got["bytes"] * 8 / seconds / 1e9, "blocks_s": got["blocks"] / seconds}


def measure_path(bench, args):
    chain, made, planted = bench.synth(
        "path", "--blocks", str(args.blocks), "--block-bytes", str(args.block_bytes), "--breaches", str(args.breaches))
    locators = bench.write_locators(chain, planted, args.locators)
    forms = args.forms.split(",")
    default = "full" if "full" in forms else forms[0]
    layouts = {form: (form, ONE_LCORE, ONE_LCORE) for form in forms}
    layouts["own_scan"] = (default, *OWN_SCAN)
    rounds = {name: [] for name in layouts}
    for _ in range(args.rounds):
        for name, (form, tcp_lcore, lcores) in layouts.items():
            # Beside each other in time: on a shared machine only the ratio of neighbours means something.
            alone = tcp_only(bench, chain, tcp_lcore)
            r = path_once(bench, chain, made, len(planted), locators, form, lcores)
            rounds[name].append({**r, "tcp_only_gbit_s": alone, "vs_tcp": r["gbit_s"] / alone})
    figures = {name: over_rounds(r) for name, r in rounds.items()}
    return {
        **figures[default],
        "block_form": default,
        "layout": f"node on lcore {NODE_LCORE}, dataplane with all its roles on {ONE_LCORE}; memif, 1500-byte frames",
        "own_scan": {**figures["own_scan"], "layout": f"node on lcore {NODE_LCORE}, TCP and scan on {OWN_SCAN[1]}"},
        "blocks": made["blocks"], "mb": round(made["bytes"] / 1e6, 1),
        "stripped_mb": round(made["stripped_bytes"] / 1e6, 1),
        "locators": args.locators + len(planted), "hits": len(planted), "hits_planted": len(planted),
        **{f"{form}_form": figures[form] for form in forms if form != default},
    }  # fmt: skip


# --- latency ----------------------------------------------------------------------------------------------------


def microseconds(later, earlier):
    return {k: (later[k] - earlier[k]) / 1e3 for k in later if k in earlier}


def wait_for_txs(bench, programs, wanted, seconds=20):
    """Until the node has these penalties: txid -> when."""
    end = time.monotonic() + seconds
    while True:
        programs.check()
        seen = {}
        for e in bench.events("tx"):
            seen.setdefault(e["txid"], e["mono_ns"])
        if set(seen) >= wanted or time.monotonic() > end:
            break
        time.sleep(0.05)
    if set(seen) != wanted:
        raise Failed(f"{len(wanted - set(seen))} penalties are missing, {len(set(seen) - wanted)} were not planted")
    return seen


def sent_by_block(bench):
    """Display hash of a block -> when the node had put its last byte on the wire."""
    return {e["hash"]: e["mono_ns"] for e in bench.events("block_sent")}


def serve_paced(bench, args, programs, chain):
    bench.node(programs, chain, "--start-blocks", "5", "--interval-ms", str(args.interval_ms), "--start-on",
               f"file:{bench.folder}/go")


def latency_watch(bench, args, chain, made, planted, locators):
    """A link client that answers at once."""
    hits_path = bench.folder / "hits.jsonl"
    for name in ("go", "hits.jsonl"):
        (bench.folder / name).unlink(missing_ok=True)
    with bench.running() as programs:
        serve_paced(bench, args, programs, chain)
        bench.dataplane(programs, args.lcores)
        (bench.folder / "go").touch()
        got = bench.watch(programs, made["tip_height"], "--locators", str(locators), "--report", str(hits_path),
                          "--penalties", str(chain / "breaches.json"))
        hits = [json.loads(line) for line in hits_path.read_text().splitlines()] if hits_path.exists() else []
        if got["hits"] != len(planted) or {h["txid"] for h in hits} != {b["dispute_txid"] for b in planted}:
            raise Failed(f"{got['hits']} hits found, {len(planted)} planted")
        # The dataplane must still be there to send the last of them: its session has ended, so not all may come.
        txs = {e["txid"]: e["mono_ns"] for e in bench.events("tx")}
    sent = sent_by_block(bench)
    block_of = {h["txid"]: h["block"] for h in hits}
    answered = {b["penalty_txid"]: sent[block_of[b["dispute_txid"]]] for b in planted}
    at = {h["txid"]: h["mono_ns"] for h in hits}
    return {
        "hit": list(microseconds(at, {t: sent[b] for t, b in block_of.items()}).values()),
        "rx_to_hit": [(h["mono_ns"] - h["last_byte_ns"]) / 1e3 for h in hits],
        "scan": [(h["hit_ns"] - h["last_byte_ns"]) / 1e3 for h in hits],
        "echo": list(microseconds(txs, answered).values()),
    }


def latency_tower(bench, args, chain, made, planted):
    """vigild answers."""
    (bench.folder / "go").unlink(missing_ok=True)
    with bench.running() as programs, tempfile.TemporaryDirectory(dir=bench.folder) as data:
        serve_paced(bench, args, programs, chain)
        bench.dataplane(programs, args.lcores)
        config = bench.folder / "vigild.conf"
        config.write_text(
            f"[tower]\nnetwork=regtest\ndata-dir={data}\n[api]\nport=0\n[link]\nsocket={bench.folder}/link.sock\n"
            f"[control]\nsocket={bench.folder}/control.sock\n")
        programs.start("vigild", "--config", str(config))
        tower = Tower(programs)
        port = tower.wait("vigild", lambda: tower.call("gettowerinfo")["addresses"])[0]["port"]
        tower.wait("the first block", lambda: tower.call("getinfo")["height"] is not None)
        client = ["--url", f"http://127.0.0.1:{port}", "--key", str(bench.folder / "client.key"), "--wait", "20"]
        if not (bench.folder / "client.key").exists():
            programs.run("vigil-client", *client, "keygen")
        user = json.loads(programs.run("vigil-client", *client, "register").stdout)
        added = json.loads(programs.run("vigil-client", *client, "--breaches", str(chain / "breaches.json"),
                                        "--tower-id", user["tower_id"], "add").stdout)
        if added["accepted"] != len(planted):
            raise Failed(f"{added['accepted']} of {len(planted)} appointments accepted")
        (bench.folder / "go").touch()
        # Not asked before the end: each question would run when an answer might have to.
        time.sleep(made["blocks"] * args.interval_ms / 1e3)
        tower.wait("the last block", lambda: tower.call("getinfo")["height"] == made["tip_height"])
        txs = wait_for_txs(bench, programs, {b["penalty_txid"] for b in planted})
    height_sent = {e["height"]: e["mono_ns"] for e in bench.events("block_sent")}
    sent = {b["penalty_txid"]: height_sent[b["height"]] for b in planted}
    return list(microseconds(txs, sent).values())


def measure_latency(bench, args):
    by_size = {}
    for size in (int(s) for s in args.sizes.split(",")):
        chain, made, planted = bench.synth(
            f"latency-{size}", "--blocks", str(args.hits + 15), "--block-bytes", str(size), "--seed", str(size),
            "--breach-heights", ",".join(str(h) for h in range(11, 11 + args.hits)))
        locators = bench.write_locators(chain, planted, args.locators)
        rounds = []
        for _ in range(args.latency_rounds):
            parts = latency_watch(bench, args, chain, made, planted, locators)
            parts["broadcast"] = latency_tower(bench, args, chain, made, planted)
            rounds.append({f"{name}_p{p}": percentile(v, p) for name, v in parts.items() if v for p in (50, 99)})
        by_size[f"{size / 1e6:.2f}MB"] = {**over_rounds(rounds), "hits": len(planted)}
        (chain / "chain.dat").unlink()
    last = by_size[list(by_size)[-1]]
    return {
        **{k: last[k] for k in ("hit_p50", "hit_p99", "broadcast_p50", "broadcast_p99")},
        "of": list(by_size)[-1],
        "layout": f"node on lcore {NODE_LCORE}; dataplane on {args.lcores}; link client or vigild on any processor",
        "by_size": by_size,
    }


# --- idle -------------------------------------------------------------------------------------------------------


def cpu_seconds(pid):
    # The process's CPU clock (clock_getcpuclockid): to the nanosecond, where /proc/PID/stat counts ticks that a
    # process of short turns may meet more or less often than it runs.
    return time.clock_gettime((~pid << 3) | 2)


def rss_mb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise Failed("no VmRSS")


def idle_once(bench, args, chain, lcores):
    with bench.running() as programs:
        bench.node(programs, chain, "--start-blocks", "20", "--start-on", "signal")
        dataplane = bench.dataplane(programs, lcores)
        programs.start("vigil-bench-path", "watch", "--link", str(bench.folder / "link.sock"))
        end = time.monotonic() + 20
        while len(bench.events("block_sent")) < 20:
            programs.check()
            if time.monotonic() > end:
                raise Failed("idle: the first blocks did not come")
            time.sleep(0.05)
        time.sleep(1.0)
        cpu, begun = cpu_seconds(dataplane.pid), time.monotonic()
        time.sleep(args.idle_seconds)
        share = (cpu_seconds(dataplane.pid) - cpu) / (time.monotonic() - begun)
        return share, rss_mb(dataplane.pid)


def measure_idle(bench, args):
    chain, _, _ = bench.synth("idle", "--blocks", "20", "--txs-per-block", "20")
    share, rss = idle_once(bench, args, chain, ONE_LCORE)
    share2, rss2 = idle_once(bench, args, chain, TWO_LCORES)
    return {
        "idle_cpu": round(share, 4), "idle_rss_mb": round(rss, 1),
        "idle": {"seconds": args.idle_seconds, "one_lcore": {"cpu": round(share, 4), "rss_mb": round(rss, 1)},
                 "two_lcores": {"cpu": round(share2, 4), "rss_mb": round(rss2, 1)}},
    }  # fmt: skip


def main():
    args = parse_args()
    args.build_dir = str(pathlib.Path(args.build_dir).resolve())
    parts = set(args.only.split(","))
    if parts - {"path", "latency", "idle"} or set(args.forms.split(",")) - {"full", "stripped"}:
        sys.exit("path.py: --only takes path, latency, idle; --forms takes full, stripped")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vigil-path-"))
    bench, out = Bench(args, folder), {}
    try:
        if args.prefer:
            prefer(os.getpid())
        if "path" in parts:
            out["path"] = measure_path(bench, args)
        if "latency" in parts:
            out["latency_us"] = measure_latency(bench, args)
        if "idle" in parts:
            out.update(measure_idle(bench, args))
        print(json.dumps(out, indent=1))
        return 0
    except (Failed, DemoError, subprocess.TimeoutExpired) as e:
        print(f"path.py: {e}", file=sys.stderr)
        return 1
    finally:
        if args.keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
