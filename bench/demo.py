#!/usr/bin/python3
"""A tower at work: real programs, an embedded Bitcoin node, planted breaches, and the times of each.

Everything runs in a temporary folder: vigil-replay is the node, vigil-dataplane takes its blocks over
user-space TCP through shared memory (memif), vigild keeps the appointments that vigil-client brings by HTTP.
"""

import argparse
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

NODE_IP, TOWER_IP, PREFIX, PORT = "10.77.0.1", "10.77.0.2", 24, 18444
GENESIS_PREV = {
    "main": "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
    "testnet3": "000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943",
    "testnet4": "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043",
    "signet": "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6",
    "regtest": "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
}


class DemoError(Exception):
    """What went wrong, for the operator."""


def parse_args():
    p = argparse.ArgumentParser(
        prog="bench/demo.sh",
        description="Runs a tower against an embedded Bitcoin node and shows each breach with its times.",
        epilog="Exit status 0 only if every planted breach was found and penalised, and nothing else was.",
    )
    p.add_argument("--blocks", type=int, default=300, help="height of the generated chain (default %(default)s)")
    p.add_argument("--txs-per-block", type=int, default=800, help="default %(default)s")
    p.add_argument("--breaches", type=int, default=12, help="planted in the best chain (default %(default)s)")
    p.add_argument("--decoys", type=int, default=5000,
                   help="more appointments, of channels that nobody breaches (default %(default)s)")
    p.add_argument("--reorg-depth", type=int, default=3,
                   help="blocks undone half-way, with two more breaches in them; 0 for none (default %(default)s)")
    p.add_argument("--rate", type=float, default=20, help="blocks a second (default %(default)s)")
    p.add_argument("--start-blocks", type=int, default=20,
                   help="blocks that are there before the tower starts (default %(default)s)")
    p.add_argument("--locator-form", choices=("current", "legacy"), default="current",
                   help="which end of a txid the client takes for a locator (default %(default)s)")
    p.add_argument("--seed", type=int, default=1, help="of the chain (default %(default)s)")
    p.add_argument("--loss-ppm", type=int, default=0, help="frames per million that the wire loses (default 0)")
    p.add_argument("--chain", action="append", metavar="FILE",
                   help="your own blocks in place of a generated chain: blk*.dat or raw blocks; may repeat.  The last "
                        "transaction of as many blocks as --breaches says plays the breach")
    p.add_argument("--network", default=None, help="of raw blocks given with --chain")
    p.add_argument("--connections", type=int, default=4, help="of the client (default %(default)s)")
    p.add_argument("--timeout", type=float, default=None, help="seconds for the replay (default: by its length)")
    p.add_argument("--keep", action="store_true", help="leave the folder with chain, logs and report")
    p.add_argument("--build-dir", default="build", help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.blocks <= args.start_blocks or args.start_blocks < 1 or args.rate <= 0 or args.decoys < 0:
        p.error("needs more blocks than --start-blocks, at least one of those, and a rate above 0")
    return args


# --- output -----------------------------------------------------------------------------------------------------


class Screen:
    """Lines that stay, and under them, on a terminal, one that changes."""

    def __init__(self):
        self.tty = sys.stdout.isatty()
        self.begun = time.monotonic()
        self.live = ""
        self.last_live = 0.0

    def line(self, text=""):
        if self.live:
            sys.stdout.write("\r\033[K")
        print(text, flush=True)
        if self.live:
            sys.stdout.write(self.live)
            sys.stdout.flush()

    def step(self, text):
        self.line(f"[{time.monotonic() - self.begun:6.2f} s]  {text}")

    def status(self, text, every=2.0):
        """On a terminal at once; elsewhere as a line now and then."""
        if self.tty:
            width = shutil.get_terminal_size().columns - 1
            self.live = text[:width]
            sys.stdout.write("\r\033[K" + self.live)
            sys.stdout.flush()
        elif time.monotonic() - self.last_live >= every:
            self.last_live = time.monotonic()
            print(text, flush=True)

    def end_status(self):
        if self.live:
            self.live = ""
            sys.stdout.write("\r\033[K")


def span(ns):
    """A time a person can read."""
    if not ns:
        return "?"
    if ns < 1_000_000:
        return f"{ns / 1e3:.0f} us"
    if ns < 1_000_000_000:
        return f"{ns / 1e6:.2f} ms"
    return f"{ns / 1e9:.2f} s"


def short(txid):
    return f"{txid[:8]}..{txid[-4:]}"


# --- programs ---------------------------------------------------------------------------------------------------


class Programs:
    """What this demo started; stopped by pid, in the reverse order, whatever happens."""

    def __init__(self, build, folder):
        self.build, self.folder = pathlib.Path(build).resolve(), folder
        self.running = []
        self.env = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}

    def path(self, name):
        for place in ("bench", "bench/client", "dataplane", "dataplane/topo", "control", "control/cli"):
            found = self.build / place / name
            if found.is_file():
                return str(found)
        raise DemoError(f"{name} is not built")

    def start(self, name, *argv):
        with open(self.folder / f"{name}.log", "wb") as log:
            # A session of its own: Ctrl-C reaches this script only, which then stops the others in order.
            child = subprocess.Popen([self.path(name), *argv], stdin=subprocess.DEVNULL, stdout=log,
                                     stderr=log, env=self.env, start_new_session=True)
        self.running.append((name, child))
        return child

    def run(self, name, *argv, timeout=120, ok=(0,)):
        done = subprocess.run([self.path(name), *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              env=self.env, timeout=timeout, check=False)
        if done.returncode not in ok:
            raise DemoError(f"{name} {' '.join(argv)[:200]}: status {done.returncode}: {done.stderr.strip()[-800:]}")
        return done

    def log_tail(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")[-1500:]

    def check(self):
        for name, child in self.running:
            if child.poll() is not None:
                raise DemoError(f"{name} ended with status {child.returncode}:\n{self.log_tail(name)}")

    def stop(self):
        """Names of those that did not end in good order."""
        bad = []
        while self.running:
            name, child = self.running.pop()
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
                try:
                    child.wait(10)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
            if child.returncode != 0:
                bad.append(f"{name} ({child.returncode})")
        return bad


def eal(name, role, folder):
    cpus = ",".join(str(c) for c in sorted(os.sched_getaffinity(0)))
    return [
        "--lcores", f"0@({cpus})", "--no-pci", "--no-huge", "-m", "256", "--no-telemetry", "--no-shconf",
        f"--file-prefix=vigil-demo-{os.getpid()}-{name}",
        f"--vdev=net_memif0,role={role},id=0,socket={folder}/memif.sock,socket-abstract=no,rsize=11",
        "--",
    ]  # fmt: skip


class Tower:
    """vigild's control socket, through vigil-cli."""

    def __init__(self, programs):
        self.programs = programs
        self.socket = str(programs.folder / "control.sock")

    def call(self, *words):
        done = self.programs.run("vigil-cli", "--socket", self.socket, *words, timeout=30)
        return json.loads(done.stdout)

    def wait(self, what, ready, seconds=30):
        end = time.monotonic() + seconds
        while True:
            self.programs.check()
            try:
                value = ready()
                if value:
                    return value
            except DemoError:
                pass  # not there yet
            if time.monotonic() > end:
                raise DemoError(f"{what}: not within {seconds} s\n{self.programs.log_tail('vigild')}")
            time.sleep(0.05)


# --- the chain --------------------------------------------------------------------------------------------------


class Chain:
    """What will be served, and which of its transactions are breaches."""

    def __init__(self):
        self.files, self.network, self.serve_options = [], "regtest", []
        self.anchor = None
        self.blocks = self.tip_height = self.total_bytes = 0
        self.planted = []
        self.hold = None  # the node waits at this height until the tower is there
        self.about = ""


def generated(args, programs, folder):
    c = Chain()
    options = [
        "--out", str(folder), "--seed", str(args.seed), "--blocks", str(args.blocks),
        "--txs-per-block", str(args.txs_per_block), "--breaches", str(args.breaches),
        "--breach-from", str(args.start_blocks + 1), "--confirm-after", "3",
    ]  # fmt: skip
    middle = (args.start_blocks + args.blocks) // 2
    if args.reorg_depth and middle - args.reorg_depth > args.start_blocks and middle < args.blocks:
        options += ["--reorg", f"{middle}:{args.reorg_depth}", "--stale-breaches", "1", "--both-breaches", "1"]
        # Or a fast node would be on the other branch before the tower has asked for the losing blocks.
        c.hold = middle
        c.serve_options = ["--hold-at", str(middle)]
    made = json.loads(programs.run("vigil-replay", "synth", *options, timeout=600).stdout)
    c.files = [str(folder / "chain.dat")]
    c.blocks, c.tip_height, c.total_bytes = made["blocks"], made["tip_height"], made["bytes"]
    rows = json.loads((folder / "breaches.json").read_text())
    c.planted = list({row["dispute_txid"]: row for row in rows}.values())
    c.about = (f"{made['blocks']} blocks, {made['txs']:,} transactions, {made['bytes'] / 1e6:.0f} MB, "
               f"generated from seed {args.seed}")
    if made["stale_blocks"]:
        c.about += f"; {made['stale_blocks']} of the blocks lose to a longer branch at height {middle}"
    return c


def penalty_for(rng, txid):
    """A small transaction that spends output 0 of txid."""
    script = b"\x00\x14" + rng.randbytes(20)
    return (
        (2).to_bytes(4, "little") + b"\x01" + bytes.fromhex(txid)[::-1] + bytes(4) + b"\x00" + b"\xff" * 4
        + b"\x01" + (10000).to_bytes(8, "little") + bytes([len(script)]) + script + bytes(4)
    )  # fmt: skip


def recorded(args, programs, folder):
    c = Chain()
    c.files = args.chain
    found = programs.run("vigil-replay", "inspect", "--json", *args.chain, timeout=600).stdout
    rows = {b["block_hash"]: b for b in json.loads(found)}
    lowest = [b for b in rows.values() if b["prev_hash"] not in rows]
    if not lowest:
        raise DemoError("no blocks in these files")
    c.network = args.network or next((n for n, g in GENESIS_PREV.items() if g == lowest[0]["prev_hash"]), "main")
    c.serve_options = ["--network", c.network]
    height = 1
    if lowest[0]["prev_hash"] != GENESIS_PREV.get(c.network):
        height = lowest[0]["height_from_bip34"]
        if height is None:
            raise DemoError("the lowest block neither follows genesis nor tells its height")
        c.anchor = (lowest[0]["prev_hash"], height - 1)
        c.serve_options += ["--anchor-height", str(height)]
    heights, waiting = {lowest[0]["prev_hash"]: height - 1}, list(rows.values())
    while waiting:
        rest = []
        for b in waiting:
            if b["prev_hash"] in heights:
                heights[b["block_hash"]] = heights[b["prev_hash"]] + 1
            else:
                rest.append(b)
        if len(rest) == len(waiting):
            break  # they hang on nothing here
        waiting = rest
    linked = sorted((b for b in rows.values() if b["block_hash"] in heights), key=lambda b: heights[b["block_hash"]])
    args.start_blocks = min(args.start_blocks, max(1, len(linked) // 2))
    c.blocks, c.tip_height = len(linked), max(heights.values())
    c.total_bytes = sum(b["total_bytes"] for b in linked)
    rng = random.Random(args.seed)
    usable = [b for b in linked[args.start_blocks :] if b["tx_count"] > 1]
    step = max(1, len(usable) // args.breaches) if args.breaches else 1
    for b in usable[::step][: args.breaches]:
        c.planted.append({"dispute_txid": b["last_txid"], "branch": "best",
                          "penalty_hex": penalty_for(rng, b["last_txid"]).hex()})
    (folder / "breaches.json").write_text(json.dumps(c.planted))
    c.about = (f"{len(linked)} blocks of {c.network} up to height {c.tip_height}, "
               f"{sum(b['tx_count'] for b in linked):,} transactions, {c.total_bytes / 1e6:.0f} MB, from your files")
    return c


# --- the run ----------------------------------------------------------------------------------------------------


class Tail:
    """The whole lines that a growing file has got since the last look."""

    def __init__(self, path):
        self.path, self.at = path, 0

    def news(self):
        if not self.path.exists():
            return []
        with open(self.path, "rb") as f:
            f.seek(self.at)
            data = f.read()
        whole = data.rfind(b"\n") + 1
        self.at += whole
        return data[:whole].decode(errors="replace").splitlines()


def log_fields(line):
    return {k: v.strip('"') for k, v in re.findall(r'(\w+)=("[^"]*"|\S+)', line)}


class Watch:
    """Follows the replay by what both sides say: the node's report, and the tower's log and control socket."""

    def __init__(self, screen, tower, folder, chain, node):
        self.screen, self.tower, self.chain, self.node = screen, tower, chain, node
        self.report, self.log = Tail(folder / "report.jsonl"), Tail(folder / "vigild.log")
        self.announced = self.undone = 0
        self.bytes_at = {}  # height -> bytes of the block announced last at it
        self.height = 0
        self.holding = self.all_known = False
        self.disputes = {b["dispute_txid"] for b in chain.planted}
        self.seen = {}      # penalty txid -> when the node had it
        self.breaches = {}  # dispute txid -> the tower's first word about it
        self.state = {}     # locator -> followed, watched again, or done
        self.sent = {}      # penalty txid -> when it was first sent
        self.shown = set()
        self.rates = []
        self.rows = []      # (hit, sent, seen) after the last byte, of each breach

    def take_report(self):
        for e in map(json.loads, self.report.news()):
            if e["event"] in ("announce", "side_block"):
                self.announced += 1
                self.bytes_at[e["height"]] = e["sz"]
                if e.get("disconnected"):
                    self.undone += e["disconnected"]
                    self.screen.step(f"reorg: the node undoes {e['disconnected']} blocks, "
                                     f"its best is now {e['height']} on another branch")
            elif e["event"] == "tx" and e["txid"] in self.disputes:
                # Its block is undone: the tower sends the breach itself once more, then the penalty.
                self.screen.step(f"the node is given the breach {short(e['txid'])} again, which the reorg took")
            elif e["event"] == "tx":
                self.seen.setdefault(e["txid"], e["mono_ns"])
            elif e["event"] == "hold":
                self.holding = True
            elif e["event"] == "all_known":
                self.all_known = True
            elif e["event"] in ("bad_tx", "drop"):
                self.screen.step(f"node: {e}")

    def take_log(self):
        states = {"breach": "followed", "breach_undone": "watched again", "resolved": "done",
                  "resolved_undone": "followed"}
        for e in map(log_fields, self.log.news()):
            event = e.get("event")
            if event not in states:
                continue
            self.state[e["locator"]] = states[event]
            if event == "breach_undone":
                self.screen.step(f"the breach at height {e['height']} went with them: its appointment is watched again")
            if event == "breach" and e["txid"] in self.breaches:
                self.screen.step(f"BREACH again, now at height {e['height']}: {short(e['txid'])}")
            elif event == "breach":
                self.breaches[e["txid"]] = e

    def take_trackers(self):
        for row in self.tower.call("--all", "gettrackers")["trackers"]:
            if row["sent_ns"]:
                self.sent.setdefault(row["penalty_txid"], row["sent_ns"])

    def show_breaches(self):
        due = [b for b in self.breaches.values() if b["penalty"] in self.seen and b["penalty"] not in self.shown]
        if any(b["penalty"] not in self.sent for b in due):
            self.take_trackers()
        for b in due:
            self.shown.add(b["penalty"])
            last, hit = int(b.get("last_byte_ns", 0)), int(b.get("hit_ns", 0))
            times = [t and last and t - last for t in (hit, self.sent.get(b["penalty"]), self.seen[b["penalty"]])]
            self.rows.append(times)
            hit, sent, seen = (span(t) for t in times)
            self.screen.step(f"BREACH at height {b['height']:<6} {short(b['txid'])}   last byte -> hit {hit:>8}"
                             f" -> penalty sent {sent:>8} -> at the node {seen:>8}")

    def show_progress(self):
        now = time.monotonic()
        self.rates.append((now, self.height))
        self.rates = [r for r in self.rates if now - r[0] <= 2.0]
        (t0, h0), (t1, h1) = self.rates[0], self.rates[-1]
        scanned = sum(self.bytes_at.get(h, 0) for h in range(h0 + 1, h1 + 1))
        rate = f"{(h1 - h0) / (t1 - t0):6.1f} blocks/s {scanned / 1e6 / (t1 - t0):6.1f} MB/s" if t1 > t0 else ""
        self.screen.status(f"            block {self.height} of {self.chain.tip_height}   {rate}   "
                           f"penalties at the node {len(self.seen)} of {len(self.chain.planted)}")

    def look(self):
        self.tower.programs.check()
        self.take_report()
        info = self.tower.call("getinfo")
        self.height = info["height"] or 0
        if self.holding and self.height >= self.chain.hold:
            self.holding = False
            self.node.send_signal(signal.SIGUSR1)
        self.take_log()
        self.show_breaches()
        self.show_progress()

    def run(self, timeout):
        end = time.monotonic() + timeout
        expected = {b["penalty_txid"] for b in self.chain.planted if "penalty_txid" in b}
        while True:
            self.look()
            done = self.all_known and self.height >= self.chain.tip_height
            if done and len(self.seen) >= len(self.chain.planted) and expected <= set(self.seen):
                break
            if time.monotonic() > end:
                self.screen.end_status()
                self.screen.step(f"gave up after {timeout:.0f} s")
                break
            time.sleep(0.1)
        time.sleep(1.0)  # whatever should not be there has its chance to come
        self.look()
        self.screen.end_status()


def middle_of(values):
    values = sorted(v for v in values if v is not None)
    return values[len(values) // 2] if values else None


def write_config(folder, chain):
    sections = {
        "tower": {"network": chain.network, "data-dir": folder / "data"},
        "api": {"port": 0},
        "link": {"socket": folder / "link.sock"},
        "control": {"socket": folder / "control.sock"},
    }
    if chain.anchor:
        sections["chain"] = {"start": "anchor", "anchor": f"{chain.anchor[0]}:{chain.anchor[1]}"}
    path = folder / "vigild.conf"
    with open(path, "w", encoding="utf-8") as f:
        for name, keys in sections.items():
            f.write(f"[{name}]\n")
            f.writelines(f"{k}={v}\n" for k, v in keys.items())
    return path


def start_programs(args, chain, programs, folder, screen):
    node = programs.start(
        "vigil-replay", "serve", *eal("node", "server", folder), "--address", f"{NODE_IP}/{PREFIX}",
        "--port", str(PORT), "--start-blocks", str(args.start_blocks), "--rate", str(args.rate),
        "--start-on", "signal", "--report", str(folder / "report.jsonl"), "--loss-ppm", str(args.loss_ppm),
        *chain.serve_options, *(word for f in chain.files for word in ("--chain", f)),
    )  # fmt: skip
    programs.start(
        "vigil-dataplane", *eal("tower", "client", folder), "--network", chain.network,
        "--link", str(folder / "link.sock"), "--address", f"{TOWER_IP}/{PREFIX}", "--peer", f"{NODE_IP}:{PORT}",
    )  # fmt: skip
    programs.start("vigild", "--config", str(write_config(folder, chain)))
    tower = Tower(programs)
    url = "http://127.0.0.1:%d" % tower.wait(
        "vigild's control socket", lambda: tower.call("gettowerinfo")["addresses"])[0]["port"]
    info = tower.wait("the tower's first block", lambda: (i := tower.call("getinfo"))["height"] is not None and i)
    screen.step(f"tower {short(info['tower_id'])} follows the node at height {info['height']}; clients: {url}")
    return node, tower, url


def add_appointments(args, chain, programs, folder, url, screen):
    client = ["--url", url, "--key", str(folder / "client.key"), "--locator-form", args.locator_form, "--wait", "20"]
    programs.run("vigil-client", *client, "keygen")
    user = json.loads(programs.run("vigil-client", *client, "register").stdout)
    screen.step(f"user {short(user['user_id'])} registered: {user['available_slots']:,} slots until height "
                f"{user['subscription_expiry']:,}")
    total = len(chain.planted) + args.decoys
    verb = "add" if total <= user["available_slots"] else "load"
    source = ["--breaches", str(folder / "breaches.json")] if chain.planted else []
    made = json.loads(programs.run(
        "vigil-client", *client, *source, "--decoys", str(args.decoys), "--connections", str(args.connections),
        "--tower-id", user["tower_id"], verb, timeout=60 + total / 100).stdout) if total else {"accepted": 0}
    if made["accepted"] != total:
        raise DemoError(f"{made['accepted']} of {total} appointments accepted")
    if total:
        screen.step(f"{len(chain.planted)} appointments for commitments that will be breached and {args.decoys:,} "
                    f"others accepted over HTTP")
        screen.step(f"  every receipt is signed by the tower and on disk: {made['per_second']:,.0f} a second on "
                    f"{args.connections} connections, median {span(made['latency_us']['p50'] * 1000)}")


def summary(args, chain, watch, info, screen):
    planted = len(chain.planted)
    disputes = {b["dispute_txid"] for b in chain.planted}
    # Of recorded blocks only the disputes are known beforehand.
    penalty_of = {d: b["penalty"] for d, b in watch.breaches.items()}
    expected = {b.get("penalty_txid") or penalty_of.get(b["dispute_txid"]) for b in chain.planted}
    found = len(disputes & set(watch.breaches))
    penalised = len(expected & set(watch.seen))
    missed = planted - min(found, penalised)
    extra = len(set(watch.breaches) - disputes) + len(set(watch.seen) - expected)
    watched, followed = (info["tower"][k] for k in ("appointments", "trackers"))
    by_state = {s: list(watch.state.values()).count(s) for s in ("followed", "watched again", "done")}
    again = by_state["watched again"]
    screen.line()
    screen.line(f"  blocks      {watch.announced + args.start_blocks:>7,}   served, scanned up to height "
                f"{watch.height}" + (f"; {watch.undone} undone by a reorg" if watch.undone else ""))
    screen.line(f"  planted     {planted:>7,}   breaches with an appointment")
    screen.line(f"  found       {found:>7,}")
    screen.line(f"  penalised   {penalised:>7,}   penalties that the node has")
    screen.line(f"  missed      {missed:>7,}")
    screen.line(f"  extra       {extra:>7,}   breaches or penalties that nobody planted")
    screen.line(f"  of {planted + args.decoys:,} appointments {watched:,} are watched"
                + (f" ({again} of them again, after the reorg)" if again else "")
                + f", {followed:,} penalties are followed, {by_state['done']:,} are buried and done")
    for i, what in enumerate(("hit", "penalty sent", "penalty at the node")):
        values = [r[i] for r in watch.rows if r[i]]
        if values:
            screen.line(f"  last byte of the block -> {what:<20} median {span(middle_of(values)):>8}   "
                        f"longest {span(max(values)):>8}")
    return (planted == found == penalised and missed == 0 and extra == 0 and watch.height == chain.tip_height
            and watched == args.decoys + again and followed == by_state["followed"]
            and watched + followed + by_state["done"] == planted + args.decoys)


def demo(args, folder, programs):
    screen = Screen()
    chain = recorded(args, programs, folder) if args.chain else generated(args, programs, folder)
    screen.step(chain.about)
    screen.step(f"{len(chain.planted)} commitments in them are revoked; the node serves them from {NODE_IP} to "
                f"{TOWER_IP} over user-space TCP")
    node, tower, url = start_programs(args, chain, programs, folder, screen)
    add_appointments(args, chain, programs, folder, url, screen)
    screen.step(f"the node begins to announce blocks, {args.rate:g} a second")
    screen.line()
    node.send_signal(signal.SIGUSR1)
    watch = Watch(screen, tower, folder, chain, node)
    watch.run(args.timeout or 30 + 2 * (chain.blocks - args.start_blocks) / args.rate + chain.total_bytes / 20e6)
    good = summary(args, chain, watch, tower.call("getinfo"), screen)
    bad = programs.stop()
    screen.line()
    if bad:
        screen.line(f"did not end in good order: {', '.join(bad)}")
    if good and not bad:
        screen.line("planted = found = penalised, none missed, none extra")
        return 0
    screen.line("THE NUMBERS DO NOT ADD UP")
    return 1


def on_signal(number, _frame):
    print(f"\ndemo: {signal.Signals(number).name}: stopping everything", file=sys.stderr)
    raise SystemExit(128 + number)


def main():
    args = parse_args()
    if args.chain:
        args.chain = [os.path.abspath(f) for f in args.chain]
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vigil-demo-"))
    programs = Programs(args.build_dir, folder)
    try:
        return demo(args, folder, programs)
    except (DemoError, subprocess.TimeoutExpired) as e:
        print(f"\ndemo: {e}", file=sys.stderr)
        return 1
    finally:
        programs.stop()
        if args.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
