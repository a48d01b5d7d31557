"""Days of chain time in a minute, with nodes that misbehave at random and a model that knows every hit.

Four Python nodes on the kernel's TCP stall, drip, reset, lie, lag, announce out of order, and show branches
that are invalid or whose blocks never come, while the best chain grows and forks; control adds and deletes
appointments, current and late ones, acknowledges slowly, and comes back after a crash of either side.
lab/model.py says of every record whether it may come and of every hit that it must.  Again and again one
node is honest, whatever the others do: then the dataplane must reach the tip, with nothing missing.

VIGIL_SOAK_SECONDS=600 makes it long (a branch that nobody delivers is then waited out, too), and
VIGIL_SOAK_SEED=7[,8,...] chooses other seeds.  Needs root, for a network namespace.
"""

import json
import os
import pathlib
import random
import time

import pytest

from conftest import registered
from lab import link, secp
from lab.bitcoin import Breach, from_display
from lab.model import ON, Model, forms
from lab.programs import SLOW, AfPacket, Tower, node_address, wait_until
from lab.teos import Client, Refused
from lab.world import INVALID, WITHHELD, RandomNode, World, misdeeds

SECONDS = float(os.environ.get("VIGIL_SOAK_SECONDS") or 0)
SEEDS = [int(s) for s in (os.environ.get("VIGIL_SOAK_SEED") or "1").split(",")]
NODES = 4
# What the dataplane touches as it goes on: packet buffers, headers, the recent blocks.
GROWTH_MB = 64


def resident_mb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0


class Control:
    """Control's end of the link, with the model behind it; acknowledges at a pace that changes."""

    def __init__(self, path, model, rng):
        self.path, self.model, self.rng = path, model, rng
        self.link = None
        self.cookie = 0
        self.ack_batch, self.ack_delay, self.ack_at = 1, 0.0, 0.0
        self.watch = lambda: None

    def connect(self):
        def connected():
            self.watch()
            try:
                return link.Link(self.path)
            except OSError:
                return None

        if self.link is not None:
            self.link.close()
        self.link = wait_until(connected, "the dataplane's socket")
        model, line = self.model, self.model.acked
        # What was disconnected since the last acknowledgement may be durable or not.
        if len(model.line) < len(line) and self.rng.random() < 0.5:
            line = model.line
        locators = model.restart(line)
        hello = self.link.open()
        assert (hello["recent_blocks"], hello["window"]) == (model.recent, model.window)
        self.shards = hello["shard_cnt"]
        half = len(locators) // 2
        self.link.send(
            link.watch_load(locators[:half]),
            link.watch_load(locators[half:]),
            link.start(headers=[b.head for b in line[1:]]),
        )

    def pump(self, seconds):
        """Takes what comes for so long."""
        end = time.monotonic() + seconds
        while True:
            self.watch()
            left = end - time.monotonic()
            got = self.link.receive(min(max(left, 0), 0.05))
            if got is not None:
                self.model.record(*got)
            self._acknowledge()
            if got is None and left <= 0:
                return

    def _acknowledge(self):
        model, now = self.model, time.monotonic()
        if model.unacked == 0:
            self.ack_at = now + self.ack_delay
        elif now >= self.ack_at or model.unacked >= min(self.ack_batch, model.window):
            if self.ack_delay == 0 or now >= self.ack_at:
                block = model.line[-1]
                model.ack(block)
                self.link.send(link.block_ack(block.height, block.hash))

    def pace(self, batch=1, delay=0.0):
        self.ack_batch, self.ack_delay = batch, delay
        self.ack_at = time.monotonic() + delay

    def add(self, txid, form):
        locator = forms(txid)[form]
        if locator not in self.model.watched:
            self.cookie += 1
            self.model.add(self.cookie, locator, txid)
            self.link.send(link.watch_add(self.cookie, locator))

    def delete(self, locators):
        """Then as many adds of nobody's locators that every shard has one, all but certainly: their answers
        say that the deletes were carried out."""
        gone = [self.model.delete(locator) for locator in locators]
        self.link.send(*(link.watch_del(locator) for locator in locators))
        cnt = 1 if self.shards == 1 else 16
        for i in range(cnt):
            self.cookie += 1
            self.model.barrier(self.cookie, gone if i == cnt - 1 else [])
            self.link.send(link.watch_add(self.cookie, self.rng.randbytes(16)))


class Trouble:
    """The world and its nodes, a tower that is not started yet, and what happens to them at random."""

    def __init__(self, namespace, folder, seed):
        self.rng = rng = random.Random(f"soak {seed}")
        self.world = World(rng)
        self.nodes = [
            RandomNode(self.world, random.Random(f"{seed} {i}"), namespace, steady=i == 0) for i in range(NODES)
        ]
        device = AfPacket(namespace)
        device.peer = node_address(4, self.nodes[0].port)
        self.tower = Tower(folder, device)
        self.recent, self.window = rng.choice((1, 6, 20)), rng.choice((3, 32))
        self.tower.lcores = rng.choice(("0@0", "0@0,1@1", "0@0,1@1,2@0,3@1"))
        self.ban_s = rng.choice((0, 3, 600))
        self.tower.dataplane_options = [
            "--recent-blocks", str(self.recent), "--window", str(self.window),
            "--ban-seconds", str(self.ban_s), "--inflight", rng.choice(("2", "16")),
            *(w for n in self.nodes[1:] for w in ("--peer", node_address(4, n.port))),
        ]  # fmt: skip
        self.kills = self.returns = 0
        self.recoveries = []

    def grow(self):
        self.world.grow(self.rng.choice((1, 1, 1, 2, 3, 9)))
        self.tell()

    def burst(self):
        self.world.grow(self.rng.randint(20, 60))
        self.tell()

    def reorg(self):
        self.world.reorg(self.rng.choice((1, 1, 2, 3, 5, 8, 12, 30, 100)))
        self.tell()

    def tell(self, share=0.7):
        """Some of the nodes; the others lag."""
        for node in self.nodes:
            if self.rng.random() < share:
                node.show(self.world.honest)

    def fake(self):
        rng = self.rng
        kind = rng.choice((INVALID, WITHHELD))
        line = self.world.fake(rng.randint(0, 8), rng.randint(0, 8), kind, rng.randint(1, 4))
        # The steady one takes what is invalid for what it is.
        for node in self.nodes[1:]:
            if rng.random() < 0.5:
                node.show(line)

    def unannounced(self):
        """Disputes for which an appointment will come late, if at all."""
        for _ in range(self.rng.randint(1, 10)):
            self.world.dispute()

    def moods(self):
        for node in self.nodes:
            node.misbehave(self.rng.choice((0.0, 0.05, 0.3, 0.9)))

    def reset(self):
        node = self.rng.choice(self.nodes)
        for connection in list(node.connections):
            if self.rng.random() < 0.7:
                connection.reset()

    def trouble(self, seconds):
        end = time.monotonic() + seconds
        self.moods()
        while time.monotonic() < end:
            action = self.rng.choices(list(self.ACTIONS), list(self.ACTIONS.values()))[0]
            getattr(self, action)()
            self.pause(self.rng.choice((0, 0, 0.02, 0.1, 0.3)))

    def outline(self):
        return {
            "tip": len(self.world.honest) - 1,
            "kills": self.kills,
            "returns": self.returns,
            "misdeeds": misdeeds(self.nodes),
            "recoveries_s": [round(r, 1) for r in self.recoveries],
            "lcores": self.tower.lcores,
            "options": self.tower.dataplane_options,
        }

    def close(self):
        self.tower.kill()
        for node in self.nodes:
            node.close()


class Soak(Trouble):
    """With the test as control."""

    def __init__(self, namespace, folder, seed, long):
        super().__init__(namespace, folder, seed)
        self.long, rng = long, self.rng
        self.model = Model(self.world, self.recent, self.window)
        self.control = Control(self.tower.settings["link"]["socket"], self.model, rng)
        self.control.watch = self.tower.check
        self.memory = []
        self.first_mb = None

    def start_dataplane(self):
        self.tower.start_dataplane()
        self.first_mb = None

    def add(self):
        for _ in range(self.rng.randint(1, 10)):
            if self.rng.random() < 0.4:
                txid = self.rng.randbytes(32)  # of no dispute ever
            else:
                txid = self.world.dispute()
            self.control.add(txid, self.rng.randrange(2))

    def late(self):
        line = self.model.line
        depth = min(self.recent + self.window + 5, len(line) - 1)
        for block in line[-depth:]:
            disputes = [t for t in block.places if t in self.world.disputes]
            if disputes and self.rng.random() < 0.5:
                self.control.add(self.rng.choice(disputes), self.rng.randrange(2))

    def delete(self):
        on = [k for k, w in self.model.watched.items() if w.state == ON]
        if on:
            self.control.delete(self.rng.sample(on, min(len(on), self.rng.randint(1, 8))))

    def pace(self):
        self.control.pace(*self.rng.choice(((1, 0.0), (self.window, 0.3), (5, 0.1), (1, 1.0))))

    def come_back(self):
        self.returns += 1
        self.control.connect()

    def kill(self):
        self.kills += 1
        if self.rng.random() < 0.8:
            self.tower.dataplane.kill()
        else:
            self.tower.dataplane.terminate()
        self.start_dataplane()
        self.control.connect()

    ACTIONS = {
        "grow": 30, "burst": 2, "reorg": 6, "tell": 6, "fake": 4, "add": 12, "unannounced": 6, "late": 12,
        "delete": 8, "pace": 4, "moods": 5, "reset": 3, "come_back": 2, "kill": 1,
    }  # fmt: skip

    def pause(self, seconds):
        self.control.pump(seconds)

    # And then one node is honest.

    def peace(self, honest, wait=False):
        """wait: branches that nobody delivers still have the most work; else the best chain outgrows them."""
        model, limit = self.model, 120 if self.long else 60
        if wait:
            limit = 300
            self.world.grow(2)
        else:
            self.world.outgrow()
        honest.behave()
        # A long ban, which even the honest one may have for blocks that it did not find, binds until the tower hears
        # of a block that nobody else brings.
        for node in self.nodes if self.ban_s >= 60 else (honest,):
            node.show(self.world.honest)
        self.control.pace()
        begun = time.monotonic()
        while model.line[-1] is not self.world.honest[-1] or model.adds:
            assert time.monotonic() < begun + limit * SLOW, (
                f"after {limit} s with an honest node: {model.line[-1].height} of "
                f"{len(self.world.honest) - 1}, adds without answer: {len(model.adds)}, "
                f"peers: {model.peers}, honest: {self.nodes.index(honest)}"
            )
            self.control.pump(0.02)
        self.recoveries.append(time.monotonic() - begun)
        assert model.line == self.world.honest
        model.final()
        self.weigh()

    def weigh(self):
        now = resident_mb(self.tower.dataplane.pid)
        self.memory.append(round(now))
        if self.first_mb is None:
            self.first_mb = now
        assert now < self.first_mb + GROWTH_MB, f"{self.first_mb:.0f} MB have become {now:.0f} MB"

    def run(self, seconds):
        self.start_dataplane()
        self.control.connect()
        self.peace(self.nodes[0])
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.trouble(min(seconds, self.rng.uniform(4, 12)))
            wait = self.long and self.rng.random() < 0.1
            # Of the others the back-off may have to end first, and a long ban ends when nothing else works only.
            honest = self.rng.choice(self.nodes) if self.long and self.ban_s < 60 else self.nodes[0]
            self.peace(honest, wait)
        for node in self.nodes:
            node.behave()
        self.peace(self.nodes[0])

    def report(self):
        return json.dumps(
            {
                **self.model.counts,
                "watched": len(self.model.watched),
                "resident_mb": self.memory,
                **self.outline(),
            }
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_every_hit_comes_out_whatever_the_nodes_do(programs, namespace, folder, seed):
    soak = Soak(namespace, folder, seed, SECONDS > 0)
    try:
        soak.run(SECONDS or 20)
        for node in soak.nodes:
            assert node.faults == []
        soak.tower.dataplane.terminate()
    finally:
        soak.close()
        print(f"soak: seed {seed}: {soak.report()}")
        print(*soak.model.trail, sep="\n")
        if soak.tower.dataplane is not None:
            print(soak.tower.dataplane.output()[-4000:])
    counts = soak.model.counts
    # In a short run of another seed some of it may not have happened.
    expected = counts if SECONDS >= 60 or SEEDS == [1] else ("hits", "connected", "disconnected")
    assert all(counts[k] for k in ("hits", "recent", "filled", "disconnected") if k in expected), counts


class WithVigild(Trouble):
    """The whole tower; a client's receipt is a promise about everything that comes after."""

    def __init__(self, namespace, folder, seed):
        super().__init__(namespace, folder, f"vigild {seed}")
        self.client = None
        self.promised = {}  # txid of a dispute -> txid of its penalty
        self.refused = set()  # txids of penalties that were not taken, or perhaps

    def start(self):
        self.tower.start()
        self.client = Client("127.0.0.1", self.tower.port, self.rng.randrange(1, secp.N))
        self.client.timeout *= SLOW
        wait_until(lambda: registered(self.client), "the tower to take registrations")

    def pause(self, seconds):
        self.tower.check()
        time.sleep(seconds)

    def _promise(self, txid):
        if txid in self.promised:
            return
        penalty = Breach.penalty_for(self.rng, txid)
        try:
            self.client.add_breach(Breach(self.world.disputes[txid], penalty))
            self.promised[txid] = penalty.txid
        except Refused as refusal:
            assert refusal.status == 503, refusal
            self.refused.add(penalty.txid)

    def add(self):
        for _ in range(self.rng.randint(1, 4)):
            self._promise(self.world.dispute())

    def late(self):
        for block in self.world.honest[-self.recent :]:
            for txid in block.places:
                if txid in self.world.disputes and self.rng.random() < 0.5:
                    self._promise(txid)

    def kill(self):
        self.kills += 1
        self.tower.dataplane.kill()
        self.tower.start_dataplane()

    def come_back(self):
        self.returns += 1
        if self.rng.random() < 0.5:
            self.tower.control.kill()
        else:
            self.tower.control.terminate()
        self.tower.start_control()
        self.client.port = self.tower.port

    ACTIONS = {
        "grow": 30, "burst": 1, "reorg": 6, "tell": 6, "fake": 4, "add": 8, "unannounced": 4, "late": 6,
        "moods": 5, "reset": 3, "come_back": 1, "kill": 1,
    }  # fmt: skip

    def peace(self):
        """The honest node's chain, and exactly the penalties that it asks for."""
        node, world = self.nodes[0], self.world
        world.outgrow()
        node.behave()
        node.show(world.honest)
        begun = time.monotonic()
        self.tower.wait_synced(node)
        self.recoveries.append(time.monotonic() - begun)
        expected = {p for txid, p in self.promised.items() if txid in world.where}
        mined = {txid for block in list(world.blocks.values()) for txid in block.places}
        allowed = {p for txid, p in self.promised.items() if txid in mined} | self.refused
        # A dispute that a reorg took off the chain is sent again, too.
        allowed |= self.promised.keys() & mined

        def pushed():
            self.tower.check()
            return {txid for n in self.nodes for _, txid, _ in list(n.transactions)}

        wait_until(lambda: pushed() >= expected, "the penalties of the best chain", 60)
        assert pushed() <= allowed
        tracked = {from_display(row["penalty_txid"]) for row in self.tower.trackers()}
        assert expected <= tracked <= expected | self.refused
        return len(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_is_kept_whatever_the_nodes_do(programs, namespace, folder, seed):
    soak = WithVigild(namespace, folder, seed)
    seconds, penalties = SECONDS or 12, 0
    try:
        soak.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            soak.trouble(min(seconds, soak.rng.uniform(4, 12)))
            penalties = soak.peace()
        for node in soak.nodes:
            assert node.faults == []
        soak.tower.stop()
    finally:
        soak.close()
        print(f"soak: seed {seed}: {json.dumps({'promised': len(soak.promised), **soak.outline()})}")
        for program in (soak.tower.dataplane, soak.tower.control):
            print(program.output()[-4000:] if program else "")
    assert penalties, "nothing was to be answered"
