"""A tower that is killed again and again under load, and a model that knows every promise it has made.

Clients register, add and change appointments over HTTP without a pause; a node's chain grows, forks, and has
breaches and the penalties against them in it; the two programs die, at named kill points (tests/kill) and at
any moment, alone or together, and after some deaths of vigild what was not synced is cut off its files, as a
power failure would.  Then they are started again, and the model compares:

  - every appointment of an answered request is there, as answered last; of a request without an answer all of
    it is there or nothing;
  - every user's balance is what was granted less the slots of the appointments that are there and of those that
    were found invalid (of a current client), exactly: a row and its slots change together or not at all;
  - an appointment is a tracker exactly when its dispute is on the best chain and its penalty not buried yet;
    the penalty was pushed to the node; nothing else ever was; counters equal rows.
"""

import os
import pathlib
import random
import threading
import time

from .bitcoin import display, from_display
from .crash_chain import Chain, KeepingNode
from .crash_clients import Broken, User
from .programs import SLOW, AfPacket, RpcError, Tower, node_address, path_of, wait_until
from .teos import CURRENT

# Every kill point, and how many passages of it at most a process is given to live.
CONTROL_POINTS = {
    "store:before-write": 40, "store:after-write": 40, "store:after-sync": 40, "store:after-answer": 40,
    "api:durable": 30, "tower:after-hit": 5, "tower:mid-block": 6, "tower:after-block": 6, "tower:late-hit": 3,
    "tower:mid-disconnect": 3, "tower:after-disconnect": 3, "feed:after-send": 30, "any": 150,
}  # fmt: skip
DATAPLANE_POINTS = {
    "link:hit": 5, "link:before-connected": 6, "link:after-connected": 6, "link:disconnected": 3,
    "link:added": 20, "link:after-send": 30, "link:after-ack": 6, "any": 60,
}  # fmt: skip

GRANT = 1000  # slots of a registration
BURIED = 100
RECENT = 100  # blocks in which a late appointment finds its dispute
USERS = 4


class Crash:
    def __init__(self, namespace, folder, seed, say=lambda text: None):
        self.seed, self.say = seed, say
        self.rng = rng = random.Random(f"crash {seed}")
        self.folder = pathlib.Path(folder)
        self.chain = Chain(rng)
        self.node = KeepingNode(self.chain.world, random.Random(f"node {seed}"), namespace)
        device = AfPacket(namespace)
        device.peer = node_address(4, self.node.port)
        self.tower = Tower(folder, device)
        self.tower.suffix = "-kill"
        self.tower.lcores = rng.choice(("0@0", "0@0,1@1"))
        self.tower.dataplane_options = ["--recent-blocks", str(RECENT)]
        self.tower.settings["teos"] = {"subscription-slots": str(GRANT)}
        self.tower.settings["log"]["level"] = "info"
        self._lock = threading.Lock()
        self.users = [User(self, i) for i in range(USERS)]
        self.by_blob, self.by_penalty = {}, {}
        self.doom = {"control": None, "dataplane": None}
        self.deck = {"control": [], "dataplane": []}
        self.store = self.folder / "data" / "regtest" / "store"
        self.baseline = {}
        self.kills = self.power_failures = self.checks = self.reorgs = 0
        self.named = {}  # kill point -> how often it killed
        self.seen_penalties = 0

    # What clients ask of the chain, on their threads.

    def dispute(self, rng):
        """One that is in no block: new, or (seldom) one that another user has."""
        with self._lock:
            free = self.chain.world.free
            if free and rng.random() < 0.2:
                txid = rng.choice(free)
                if txid not in self.chain.mined:
                    return txid
            return self.chain.world.dispute()

    def recent_dispute(self, rng):
        with self._lock:
            where, tip = self.chain.where, self.chain.tip
            near = [t for t, h in where.items() if h > tip - 20 and t not in self.chain.spends]
            return rng.choice(near) if near else None

    def was_mined(self, txid):
        return txid in self.chain.mined

    def know(self, version):
        with self._lock:
            self.by_blob[version.blob] = version
            if version.penalty is not None:
                self.by_penalty[version.penalty] = version

    def know_penalty(self, penalty, dispute):
        with self._lock:
            self.chain.spends[penalty.txid] = dispute
            self.chain.world.disputes[penalty.txid] = penalty

    # The programs.

    def _doom(self, which):
        """The next point to die at; each comes up as often as the others."""
        points = CONTROL_POINTS if which == "control" else DATAPLANE_POINTS
        if not self.deck[which]:
            self.deck[which] = self.rng.sample(list(points), len(points))
        name = self.deck[which].pop()
        return name, self.rng.randint(1, points[name])

    def _start(self, which, doomed):
        self.doom[which] = self._doom(which) if doomed else None
        env = {}
        if self.doom[which]:
            env["VIGIL_KILL_AT"] = "%s:%d" % self.doom[which]
        if which == "dataplane":
            self.tower.start_dataplane(env)
            return
        self._journal().unlink(missing_ok=True)
        self.baseline = {key: size for key, size, _ in self._files()}
        env["VIGIL_SYNCED"] = str(self._journal())
        self.tower.port = None
        self.tower.start_control(wait=False, env=env)

    def _program(self, which):
        return self.tower.control if which == "control" else self.tower.dataplane

    def _dead(self):
        """The programs that have ended; one that did not die by a kill has failed."""
        dead = []
        for which in ("control", "dataplane"):
            program = self._program(which)
            if program.alive():
                continue
            if program.process.returncode != -9:
                program.may_end = False
                program.check()
            dead.append(which)
        return dead

    def _find_port(self):
        if self.tower.port is None and self.tower.control.alive():
            try:
                self.tower.port = self.tower.rpc("gettowerinfo")["addresses"][0]["port"]
            except (OSError, EOFError, ValueError, RpcError):
                pass

    # A power failure.

    def _journal(self):
        return self.folder / "synced"

    def _files(self):
        """((device, inode), size, path) of the store's files."""
        if not self.store.exists():
            return []
        found = []
        for path in self.store.rglob("*"):
            if path.is_file():
                st = path.stat()
                found.append(((st.st_dev, st.st_ino), st.st_size, path))
        return found

    def lose_power(self):
        """Cuts every file somewhere between what was synced of it and what was written."""
        self.power_failures += 1
        synced = dict(self.baseline)
        if self._journal().exists():
            for line in self._journal().read_text().splitlines():
                device, inode, size = map(int, line.split())
                key = device, inode
                synced[key] = max(size, synced.get(key, 0))
        everything = self.rng.random() < 0.5
        for key, size, path in self._files():
            kept = synced.get(key, 0)
            if size > kept and path.name not in ("LOCK", "LOG"):
                os.truncate(path, kept if everything else self.rng.randint(kept, size))

    # The load, and deaths in it.

    def _live(self, seconds):
        """The chain goes on; until a program dies."""
        end, up = time.monotonic() + seconds, self.tower.port is not None
        while time.monotonic() < end and not self._dead():
            self._look()
            self._find_port()
            if not up and self.tower.port is not None:
                end, up = time.monotonic() + seconds, True  # the load begins now
            with self._lock:
                self.chain.pushed = self.node.has.keys() & self.chain.spends.keys()
                dice = self.rng.random()
                if dice < 0.12:
                    self.chain.reorg(100 if dice < 0.002 else self.rng.choice((1, 1, 2, 2, 3, 6, 12)))
                    self.reorgs += 1
                elif dice < 0.13:
                    self.chain.grow(40)
                elif dice < 0.6:
                    self.chain.grow(1)
                line = self.chain.world.honest
            self.node.show(line)
            time.sleep(self.rng.choice((0.01, 0.03, 0.08)))

    def _look(self):
        for user in self.users:
            if user.error is not None:
                raise user.error

    def _kill(self, which):
        self._program(which).kill()

    def _buried(self, dead):
        """Counts the dead."""
        for which in dead:
            self.kills += 1
            doom = self.doom[which]
            program = self._program(which)
            if doom and not program.may_end:
                self.named[f"{which} {doom[0]}"] = self.named.get(f"{which} {doom[0]}", 0) + 1
            if which == "control":
                self.tower.port = None
                if self.rng.random() < 0.4:
                    self.lose_power()

    def round(self, doomed=True):
        """One death at least, and a new start of what died."""
        self._live(self.rng.uniform(0.3, 2) * SLOW)
        if not self._dead():
            for which in self.rng.choice((["control"], ["dataplane"], ["control", "dataplane"])):
                self._kill(which)
        dead = self._dead()
        self._buried(dead)
        for which in dead:
            self._start(which, doomed)

    def settle(self):
        """What is under a doom dies now; then both run without one until everything is quiet."""
        for user in self.users:
            user.pause()
        wait_until(lambda: self._look() or all(u.paused.is_set() for u in self.users), "the clients to pause", 60)
        dead = []
        for which in ("control", "dataplane"):
            if self.doom[which] is not None:
                if self._program(which).alive():
                    self._kill(which)
                dead.append(which)
        self._dead()
        self._buried(dead)
        for which in dead:
            self._start(which, doomed=False)
        wait_until(lambda: self._find_port() or self.tower.check() or self.tower.port, "vigild", 60)
        if self.rng.random() < 0.6:
            # What is compared has just been undone in part.
            self.chain.reorg(self.rng.randint(1, 8))
            self.reorgs += 1
        self.tower.wait_synced(self.node_of_tip(), 60)
        # The store may have known the tip before: the dataplane must be there, too.
        wait_until(self._scans, "the dataplane to scan at the tip", 60)

    def _scans(self):
        plane = self.tower.info()["dataplane"]
        return plane["state"] == "on" and plane["chain"] and plane["chain"]["scanned_height"] == self.chain.tip

    def node_of_tip(self):
        self.node.show(self.chain.world.honest)
        return self.node

    # The comparison.

    def rows(self):
        found, after = {}, {}
        while True:
            page = self.tower.rpc("getallappointments", **after)
            for row in page["appointments"]:
                tracker = "penalty_txid" in row
                if tracker:
                    version = self.by_penalty.get(from_display(row["penalty_txid"]))
                else:
                    version = self.by_blob.get(bytes.fromhex(row["encrypted_blob"]))
                if version is None:
                    raise Broken(f"nobody asked for {row}")
                if version.appointment in found:
                    raise Broken(f"{self.name(version.appointment)} is there twice")
                found[version.appointment] = (version, tracker)
            if page["next"] is None:
                return found
            after = {"after": page["next"]}

    @staticmethod
    def name(appointment):
        return f"appointment {display(appointment.txid)} of user {appointment.user.uid.hex()[:10]}"

    def _buried_penalty(self, appointment):
        tip, where = self.chain.tip, self.chain.where
        return any(
            v.penalty in where and where[v.penalty] + BURIED <= tip for v in appointment.possible if v.penalty
        )

    def difference(self):
        """Why the tower does not match the model, or None; then what was not answered is known."""
        rows = self.rows()
        where = self.chain.where
        wait_for = set()
        for user in self.users:
            lost = [0, 0]
            for appointment in user.appointments.values():
                what = self._compare(appointment, rows.get(appointment), lost)
                if what:
                    return f"{self.name(appointment)} {what}"
            mine = [v for v, _ in rows.values() if v.appointment.user is user]
            what = self._balance(user, sum(v.slots for v in mine), lost, len(mine))
            if what:
                return f"user {user.uid.hex()[:10]}: {what}"
        for version, tracker in rows.values():
            if tracker:
                wait_for.add(version.penalty)
        info = self.tower.rpc("gettowerinfo")
        trackers = sum(t for _, t in rows.values())
        counted = info["n_watcher_appointments"], info["n_responder_trackers"]
        if counted != (len(rows) - trackers, trackers):
            return f"counters say {counted}, rows {(len(rows) - trackers, trackers)}"
        missing = wait_for - self.node.has.keys()
        if missing:
            return f"{len(missing)} penalties never reached the node, {display(next(iter(missing)))}"
        for txid in list(self.node.has):
            version = self.by_penalty.get(txid)
            if version is None and txid in self.chain.mined and txid not in self.chain.spends:
                continue  # a dispute that a reorg took off the chain: sent again, before its penalty
            if version is None or version.appointment.txid not in self.chain.mined:
                return f"{display(txid)} was sent although nothing was breached"
        self._learn(rows, where)
        return None

    def _compare(self, appointment, row, lost):
        on_chain = appointment.txid in self.chain.where
        possible = appointment.possible
        if row is not None:
            version, tracker = row
            if version not in possible:
                return "is not as it was answered last"
            if not appointment.valid and on_chain:
                return "holds no penalty, and is still there after its dispute"
            if appointment.valid and tracker != on_chain:
                return f"is {'' if tracker else 'not '}a tracker, its dispute is {'' if on_chain else 'not '}there"
            if appointment.valid and on_chain and self._buried_penalty(appointment):
                return "is still there although its penalty is buried"
            return None
        if not appointment.valid and on_chain:
            # A legacy user gets the slots of an invalid blob back.
            for version in possible if appointment.user.client.generation == CURRENT else ():
                lost[0] += version.slots if version is appointment.answered else 0
                lost[1] += version.slots
            return None
        if appointment.answered and not (on_chain and self._buried_penalty(appointment)):
            return "was promised and is gone"
        return None

    def _balance(self, user, used, lost, row_cnt):
        try:
            view = self.tower.rpc("getuser", user_id=user.uid.hex())
        except RpcError:
            return "is gone" if user.granted else None
        uuids, page = len(view["appointments"]), view
        while page["next"] is not None:
            page = self.tower.rpc("getuser", user_id=user.uid.hex(), after=page["next"])
            uuids += len(page["appointments"])
        if uuids != row_cnt:
            return f"has {uuids} entries in its list and {row_cnt} appointments"
        have = view["available_slots"] + used
        for granted in range(user.granted, user.granted + user.maybe_granted + 1):
            if lost[0] <= granted * GRANT - have <= lost[1]:
                user.learned = granted
                return None
        return (
            f"{view['available_slots']} slots left, {used} used, {lost} lost, "
            f"{user.granted} to {user.granted + user.maybe_granted} times {GRANT} granted"
        )

    def _learn(self, rows, where):
        """Of what was not answered it is now known whether it happened."""
        for user in self.users:
            if user.maybe_granted:
                user.granted, user.maybe_granted = user.learned, 0
            for txid, appointment in list(user.appointments.items()):
                row = rows.get(appointment)
                if row is not None:
                    appointment.answered, appointment.unanswered = row[0], []
                elif txid not in where and appointment.answered is None:
                    del user.appointments[txid]

    def check(self):
        self.settle()
        self.checks += 1
        begun, what = time.monotonic(), "not compared"
        # Late answers and retries may still be on their way: time is given, not a different answer.
        while what is not None:
            self.tower.check()
            what = self.difference()
            if what is not None:
                if time.monotonic() > begun + 30 * SLOW:
                    raise Broken(what)
                time.sleep(0.2)
        if self.node.faults:
            raise Broken(f"the node complains: {self.node.faults[:3]}")
        for user in self.users:
            user.resume()

    def run(self, kills, every=6):
        for which in ("dataplane", "control"):
            self._start(which, doomed=False)
        for user in self.users:
            user.start()
        wait_until(lambda: self._find_port() or self.tower.check() or self.tower.port, "vigild", 60)
        rounds = 0
        while self.kills < kills:
            self.round()
            rounds += 1
            if rounds % every == 0:
                self.check()
                self.say(self.verdict("so far"))
        self.check()
        for user in self.users:
            user.ending = True
        self.tower.stop()
        return self.verdict("all promises kept")

    def verdict(self, word):
        answered = sum(u.answered_cnt for u in self.users)
        unanswered = sum(u.unanswered_cnt for u in self.users)
        appointments = sum(1 for u in self.users for a in list(u.appointments.values()) if a.answered)
        named = sum(self.named.values())
        return (
            f"{self.kills} kills ({named} at {len(self.named)} named points, {self.power_failures} with a power "
            f"failure), {answered} answered requests, {unanswered} unanswered, {appointments} appointments, "
            f"{len(self.node.has)} penalties in {self.node.pushes} pushes, {self.chain.tip} blocks, {self.reorgs} reorgs, "
            f"{self.checks} comparisons: {word}"
        )

    def close(self):
        for user in self.users:
            user.ending = True
        self.tower.kill()
        self.node.close()


def missing_programs():
    return [p for p in ("vigild-kill", "vigil-dataplane-kill") if not os.access(path_of(p), os.X_OK)]
