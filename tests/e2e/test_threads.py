"""The dataplane with every role on an lcore of its own, and all that lcores hand to each other in one run.

Also run in the TSan build (.ci/run tsan): there a data race in any of it ends the process.
"""

import collections
import struct
import time

import pytest

from lab import link
from lab.bitcoin import from_display, sha256d
from lab.programs import SLOW, Memif, Replay, Tower, synthesize

TIP, HELD, FORKED, REORG = 60, 30, 45, 5
TIMEOUT = 40 * SLOW


class Session:
    """Control that acknowledges everything, and keeps the chain and its hits as they are now."""

    def __init__(self, path, line=()):
        self.control = link.Link(path)
        self.control.open(TIMEOUT / SLOW)
        self.line = list(line)  # (hash, header), from height 1
        self.hits = collections.defaultdict(set)  # block hash -> txids
        self.answers = {}  # kind of record -> those that came
        self.undone = 0

    def start(self, locators):
        self.control.send(link.watch_load(locators), link.start(headers=[h for _, h in self.line]))

    def until(self, done):
        pending = []
        deadline = time.monotonic() + TIMEOUT
        while not done():
            got = self.control.receive(max(deadline - time.monotonic(), 0))
            assert got is not None, f"the chain ends at {len(self.line)}, {self.undone} undone"
            kind, r = got
            if kind == link.HIT:
                pending.append(r)
            elif kind == link.BLOCK_CONNECTED:
                own = pending[len(pending) - r.hit_cnt :]
                assert {h.block_hash for h in own} <= {r.hash} and r.height == len(self.line) + 1
                assert not self.line or r.header[4:36] == self.line[-1][0]
                self.line.append((r.hash, r.header))
                self.control.send(link.block_ack(r.height, r.hash))
            elif kind == link.BLOCK_DISCONNECTED:
                assert r[8:40] == self.line.pop()[0]
                self.hits.pop(r[8:40], None)
                self.undone += 1
            if kind in (link.BLOCK_CONNECTED, link.WATCH_ADDED, link.STALE_BLOCK):
                for h in pending:
                    self.hits[h.block_hash].add(h.txid)
                pending = []
            self.answers.setdefault(kind, []).append(r)

    def got(self, kind):
        return self.answers.get(kind, [])

    def found(self):
        """txids with a hit in a block of the chain."""
        return {txid for hash_, _ in self.line for txid in self.hits[hash_]}


@pytest.mark.threads
def test_all_that_lcores_hand_to_each_other(programs, folder):
    chain, planted = synthesize(
        folder, "--blocks", str(TIP), "--breaches", "24", "--breach-from", "5", "--txs-per-block", "40",
        "--reorg", f"{FORKED}:{REORG}", "--stale-breaches", "2", "--both-breaches", "2", "--seed", "5",
    )  # fmt: skip
    tower = Tower(folder, Memif(folder))
    tower.lcores = "0@0,1@1,2@0,3@1"  # main, net, two for the scan
    tower.dataplane_options = ["--window", "4", "--recent-blocks", "20"]
    replay = Replay(
        folder, tower.device, chain, "--start-blocks", str(HELD), "--start-on", "signal", "--rate", "20",
        "--hold-at", str(FORKED), "--corrupt-block-at", "40", "--reset-at", "50",
    )  # fmt: skip
    path = tower.settings["link"]["socket"]
    disputes = {from_display(b["dispute_txid"]) for b in planted if b["branch"] == "best"}
    locators = {bytes.fromhex(b["locator_current"]): b for b in planted}
    loaded, added = list(locators)[::2], list(locators)[1::2]
    try:
        tower.start_dataplane()
        tower.dataplane.wait_line("event=ready")

        # A session that ends while blocks are on their way.
        first = Session(path)
        first.start(loaded)
        first.until(lambda: len(first.line) >= 10)
        first.control.close()

        session = Session(path)
        session.start(loaded)
        session.until(lambda: len(session.line) == HELD)
        control = session.control
        for cookie, locator in enumerate(added):
            control.send(link.watch_add(cookie, locator), link.stats_get(cookie))
        for i in range(2000):
            filler = sha256d(struct.pack("<I", i))[:16]
            control.send(link.watch_add(1000 + i, filler), link.watch_del(filler))
        replay.go()
        # Else a slow dataplane would hear of both branches at once, and never follow the one that goes stale.
        session.until(lambda: len(session.line) == FORKED)
        replay.go()
        session.until(lambda: len(session.line) == TIP and session.undone >= REORG)
        control.send(link.record(link.STALE_SCAN, struct.pack("<Q", 7) + bytes(32)))
        raw = bytes.fromhex(planted[0]["penalty_hex"])
        control.send(link.broadcast(9, from_display(planted[0]["penalty_txid"]), raw))
        session.until(
            lambda: len(session.got(link.WATCH_ADDED)) == len(added) + 2000
            and session.got(link.STALE_END)
            and session.got(link.BROADCAST_RESULT)
            and len(session.got(link.STATS)) == len(added)
        )
        assert session.undone == REORG
        early = {
            from_display(b["dispute_txid"])
            for locator, b in locators.items()
            if locator in added and b["height"] <= HELD - 20
        }
        assert session.found() == disputes - early
        assert len(session.got(link.STALE_BLOCK)) == REORG
        assert {a.error for a in session.got(link.WATCH_ADDED)} == {0}
        control.close()
        tower.dataplane.terminate()
        replay.terminate()
    finally:
        tower.kill()
        replay.kill()
        print(tower.dataplane.output()[-4000:] if tower.dataplane else "", replay.output()[-2000:])
