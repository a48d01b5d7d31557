"""What must come out of the dataplane, told from the records of the link alone.

The order of the link's stream (dataplane/link/link_wire.h) makes every hit exact: a locator is watched by
every block connected after its WATCH_ADDED and by none before, and its answer has what was in the recent
blocks.  Model follows the stream of one or more sessions and raises Wrong at the first record that is
not as it must be; final() then asks once more, from what was added when and where, whether anything is
missing in the chain as it is in the end.
"""

import collections
from dataclasses import dataclass, field

from . import link
from .world import GOOD


class Wrong(AssertionError):
    pass


def check(condition, *what):
    if not condition:
        raise Wrong(" ".join(str(w) for w in what))


PENDING, ON, DELETING = "pending", "on", "deleting"


@dataclass
class Watch:
    locator: bytes
    txid: bytes  # of the dispute, perhaps in no block ever
    state: str = PENDING
    floor: int = 0  # blocks at or below may have been forgotten when it was added
    since: int = -1  # place in the stream of its first WATCH_ADDED, or of the start that loaded it
    filled: set = field(default_factory=set)  # blocks with hits during the session's fill
    ceiling: int = 1 << 31  # the chain's height when it was answered during a fill


def forms(txid):
    """The two locators of a txid: of its first bytes as printed, and as stored."""
    return txid[::-1][:16], txid[:16]


class Model:
    def __init__(self, world, recent, window):
        self.world, self.recent, self.window = world, recent, window
        self.line = [world.honest[0]]  # what the stream has connected
        self.acked = list(self.line)  # its last acknowledged block, and what is below
        self.place = 0  # in the stream
        self.connected_at = {}  # block hash -> place
        self.watched = {}  # locator -> Watch
        self.hits = {}  # block hash -> locators hit in it, of blocks in line
        self.sent = 0  # records of ours that say something about the recent blocks
        self.adds = {}  # cookie -> (Watch, floor and sent at the time)
        self.trail = collections.deque(maxlen=30)  # what was last sent and received, for a failure's report
        self.peers = {}  # number -> state, and why the last connection ended
        self.pending = []  # HIT records whose owner has not come yet
        self.counts = {"connected": 0, "disconnected": 0, "hits": 0, "recent": 0, "filled": 0, "sessions": 0}
        self._begin()

    # Sessions.

    def _begin(self):
        self.filling = True
        self.started = False
        self.unacked = 0
        self.floor = -1  # highest height forgotten, by the acknowledgements sent
        self.forgotten = {}  # hash -> the record of ours with which it certainly was, of blocks in line
        # From these heights of the line on, blocks are remembered for certain, or perhaps, but for the forgotten.
        self.first_remembered = self.first_perhaps = 0
        self.base = list(self.line)

    def restart(self, durable):
        """The session was lost; control goes on from durable, a line that it had."""
        for block in self.line[len(durable) :]:
            self.hits.pop(block.hash, None)
        for height in range(min(len(self.line), len(durable))):
            if self.line[height] is not durable[height]:
                self.hits.pop(self.line[height].hash, None)
        self.line = list(durable)
        self.acked = list(durable)
        self.pending.clear()
        # Control has what it asked to add, answered or not; what it asked to delete is gone.
        self.watched = {k: w for k, w in self.watched.items() if w.state != DELETING}
        self.adds.clear()
        self._begin()
        for w in self.watched.values():
            w.state, w.ceiling, w.filled = ON, 1 << 31, set()
            if w.since < 0:
                w.since = self.place
                w.floor = None  # known when the fill is over
        self.counts["sessions"] += 1
        return list(self.watched)

    # What control sends.

    def add(self, cookie, locator, txid):
        watch = self.watched[locator] = Watch(locator, txid)
        self.trail.append(f"add {cookie} {locator[:4].hex()}")
        self.adds[cookie] = (watch, self.floor, self.sent)

    def barrier(self, cookie, deleted):
        """A WATCH_ADD of a locator nobody has: once answered, what was deleted before is so for certain."""
        self.adds[cookie] = (deleted, None, None)

    def delete(self, locator):
        watch = self.watched[locator]
        watch.state = DELETING
        return watch

    def ack(self, block):
        self.trail.append(f"ack {block.height} {block.hash[:4].hex()}")
        self.acked = self.line[: block.height + 1]
        check(self.acked[-1] is block, "the test acknowledges what is not there")
        # Its own count: the newest acknowledged is the last of those in flight that count no more.
        self.unacked = len(self.line) - len(self.acked)
        floor = block.height - self.recent
        if floor > self.floor:
            self.floor = floor
        self.sent += 1
        for b in self.line[max(floor - 200, 0) : max(floor + 1, 0)]:
            self.forgotten.setdefault(b.hash, self.sent)

    # What the dataplane sends.

    def record(self, kind, r):
        self.place += 1
        self._trace(kind, r)
        if kind == link.HIT:
            self.pending.append(r)
        elif kind == link.WATCH_ADDED:
            self._added(r)
        elif kind == link.CHAIN_START:
            self._started(r)
        elif kind == link.PEER_STATE:
            state, _, error = (r[at : at + n].rstrip(b"\0").decode() for at, n in ((64, 16), (80, 64), (144, 48)))
            self.peers[int.from_bytes(r[:4], "little")] = f"{state} ({error})"
        elif kind == link.BLOCK_CONNECTED:
            return self._connected(r)
        elif kind == link.BLOCK_DISCONNECTED:
            self._disconnected(r)
        return None

    def _trace(self, kind, r):
        if kind == link.BLOCK_CONNECTED:
            self.trail.append(f"connected {r.height} {r.hash[:4].hex()} {r.hit_cnt} hits")
        elif kind == link.BLOCK_DISCONNECTED:
            self.trail.append(f"disconnected {int.from_bytes(r[:4], 'little')} {r[8:12].hex()}")
        elif kind == link.WATCH_ADDED:
            self.trail.append(f"added {r.cookie} {r.recent_cnt} hits")
        elif kind == link.HIT:
            self.trail.append(f"hit {r.locator[:4].hex()} {r.height} {r.block_hash[:4].hex()} flags {r.flags}")
        elif kind == link.CHAIN_START:
            self.trail.append(f"chain starts at {int.from_bytes(r[:4], 'little')} {r[8:12].hex()}")

    def _started(self, r):
        height = int.from_bytes(r[:4], "little")
        check(not self.started, "a second CHAIN_START")
        check(r[8:40] == self.line[-1].hash and height == len(self.line) - 1, "the chain starts at", height)
        self.started = True

    def _block_of(self, hit):
        block = self.world.blocks.get(hit.block_hash)
        check(block is not None and block.height == hit.height, "a hit in an unknown block", hit)
        check(block.places.get(hit.txid) == hit.tx_idx, "a hit of a transaction that is not there", hit)
        check(hit.locator in forms(hit.txid), "a hit of a locator that is not the transaction's", hit)
        raw = block.txs[hit.tx_idx][1]
        check(hit.raw in (raw, b"") if hit.flags else hit.raw == raw, "a hit with a wrong transaction", hit)
        return block

    def _fills(self, hits):
        for hit in hits:
            check(self.filling and hit.flags == link.HIT_RECENT, "a recent hit that answers nothing", hit)
            block = self._block_of(hit)
            watch = self.watched.get(hit.locator)
            check(watch is not None, "a fill hits what is not watched", hit)
            watch.filled.add(block.hash)
            self.counts["filled"] += 1

    def _fill_over(self):
        """The first block is connected.  The fill before it began `recent` blocks below where the best chain of
        the time left the line that the session began with, and went up to there, or less far when a reorg came
        meanwhile; at least to this block's parent.  Only hits tell, and one such pair must explain all of them."""
        base, fork = self.base, len(self.line) - 1
        there = {}
        for block in base[max(fork - self.recent + 1, 1) :]:
            for txid in block.places:
                for locator in forms(txid):
                    there.setdefault(locator, set()).add(block.height)
        told = []
        for watch in self.watched.values():
            got = {self.world.blocks[hash_].height for hash_ in watch.filled}
            check(all(base[h].hash in watch.filled for h in got), "a hit of a fill in a block that was none of it")
            if watch.state == ON and (got or watch.locator in there):
                told.append((watch, got, there.get(watch.locator, set())))

        def explains(top, end):
            low = max(top - self.recent, 0)
            return all({h for h in want if low < h <= min(end, w.ceiling)} == got for w, got, want in told)

        tops = [t for t in range(fork, len(base)) if any(explains(t, end) for end in range(t, fork - 1, -1))]
        check(tops, "the hits of the fill are not those of any", self.recent, "blocks from", fork, "on")
        self.first_remembered = min(max(tops[-1] - self.recent + 1, 1), len(self.line))
        self.first_perhaps = min(max(tops[0] - self.recent + 1, 1), len(self.line))
        self.filling = False
        for watch, got, _ in told:
            for h in got:
                if h <= fork:
                    self.hits.setdefault(base[h].hash, set()).add(watch.locator)
        for watch in self.watched.values():
            if watch.floor is None:
                watch.floor = self.first_remembered - 1
            watch.filled = set()

    def _connected(self, r):
        top = self.line[-1]
        block = self.world.blocks.get(r.hash)
        check(self.started, "a block before CHAIN_START")
        check(block is not None and block.kind == GOOD, "connected a block that is", block and block.kind)
        check(block.prev == top.hash and r.height == top.height + 1 == block.height,
              "block", r.height, "on", top.height, "does not link")  # fmt: skip
        check(r.header == block.head and r.tx_cnt == len(block.txs), "block", r.height, "differs")
        check(r.hit_cnt <= len(self.pending), "block", r.height, "without its hits")
        own = self.pending[len(self.pending) - r.hit_cnt :]
        self._fills(self.pending[: len(self.pending) - r.hit_cnt])
        self.pending = []
        if self.filling:
            self._fill_over()
        self._hits(block, own)
        self.line.append(block)
        self.connected_at[block.hash] = self.place
        self.unacked += 1
        check(self.unacked <= self.window, self.unacked, "blocks ahead of the acknowledgements")
        self.counts["connected"] += 1
        return block

    def _hits(self, block, own):
        must, may = [], []
        for place, (txid, _) in enumerate(block.txs):
            for locator in forms(txid):
                watch = self.watched.get(locator)
                if watch is not None and watch.state != PENDING:
                    (must if watch.state == ON else may).append((place, txid, locator))
        got = [(h.tx_idx, h.txid, h.locator) for h in own]
        for hit in own:
            check(hit.flags == 0 and self._block_of(hit) is block, "a hit of another block", hit)
        check([g[0] for g in got] == sorted(g[0] for g in got), "hits out of order in", block.height)
        check(len(set(got)) == len(got), "hits twice in block", block.height)
        missing = set(must) - set(got)
        check(not missing, len(missing), "hits are missing in block", block.height, missing)
        foreign = set(got) - set(must) - set(may)
        check(not foreign, len(foreign), "hits that nobody watches in block", block.height, foreign)
        self.hits[block.hash] = {g[2] for g in got}
        self.counts["hits"] += len(got)

    def _disconnected(self, r):
        height, hash_ = int.from_bytes(r[:4], "little"), r[8:40]
        top = self.line[-1]
        check(hash_ == top.hash and height == top.height, "disconnected", height, "which is not the tip")
        self._fills(self.pending)
        self.pending = []
        self.line.pop()
        self.hits.pop(hash_, None)
        self.forgotten.pop(hash_, None)
        if not self.filling:
            self.first_remembered = min(self.first_remembered, len(self.line))
            self.first_perhaps = min(self.first_perhaps, len(self.line))
        if self.unacked:
            self.unacked -= 1
        self.counts["disconnected"] += 1

    def _added(self, r):
        watch, floor, sent = self.adds.pop(r.cookie)
        check(r.error == 0, "an add failed with", r.error)
        check(r.recent_cnt <= len(self.pending), "an answer without its hits")
        own = self.pending[len(self.pending) - r.recent_cnt :]
        self._fills(self.pending[: len(self.pending) - r.recent_cnt])
        self.pending = []
        if floor is None:
            check(not own, "hits of a locator that nobody has")
            for gone in watch:
                if self.watched.get(gone.locator) is gone:
                    del self.watched[gone.locator]
            return
        for hit in own:
            check(hit.flags == link.HIT_RECENT and hit.locator == watch.locator, "a foreign hit", hit)
            self._block_of(hit)
        got = [h.block_hash for h in own]
        check(len(set(got)) == len(got), "an answer with a hit twice")
        self.counts["recent"] += len(got)
        if watch.state == PENDING:
            watch.state = ON
        watch.since = self.place
        if self.filling:
            watch.floor, watch.ceiling = None, len(self.line) - 1
            watch.filled.update(got)
            return
        watch.floor = max(floor, self.first_remembered - 1)
        in_line = [b for b in self.line[self.first_perhaps :] if self._has(b, watch.locator)]
        must = {b.hash for b in in_line if b.height > watch.floor}
        may = {b.hash for b in in_line if self.forgotten.get(b.hash, sent + 1) > sent}
        check(must <= set(got), "a late appointment misses", len(must - set(got)), "recent hits")
        check(set(got) <= may, "a late appointment sees what is forgotten or undone", watch.locator.hex())
        for hash_ in got:
            self.hits.setdefault(hash_, set()).add(watch.locator)

    @staticmethod
    def _has(block, locator):
        return any(locator in forms(txid) for txid in block.places)

    # In the end.

    def final(self):
        """Every watched locator against every block of the chain, from scratch; returns how many hits that is."""
        check(not self.adds and not self.pending, "something was not answered")
        disputes = {w.txid: [] for w in self.watched.values()}
        for w in self.watched.values():
            disputes[w.txid].append(w)
        cnt = 0
        for block in self.line[1:]:
            for txid in block.places:
                for w in disputes.get(txid, ()):
                    after = self.connected_at.get(block.hash, -1) > w.since
                    if w.state == ON and (after or (w.floor is not None and block.height > w.floor)):
                        check(w.locator in self.hits.get(block.hash, ()), "missed in block", block.height)
                        cnt += 1
        return cnt
