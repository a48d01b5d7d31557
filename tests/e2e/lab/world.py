"""A block tree that grows at random, and nodes that serve it and misbehave at random.

World is the truth: every block there is, which of them a node may have, and the honest chain, the one
with the most work among blocks that are valid and can be had.  RandomNode serves a line of the tree, as
badly as its mood says.  Both draw from seeded generators; what threads and processes make of it in time
is not repeatable, so a failure's seed finds the same kinds of trouble again, not the same instant.
"""

import socket
import struct
import threading

from .bitcoin import (
    Block,
    Breach,
    Input,
    Output,
    Tx,
    coinbase,
    compact,
    display,
    merkle_root,
    payment,
    regtest_genesis,
)
from .node import BLOCK, MAGIC, PAYLOAD_SZ_MAX, Gone, Node, frame

# What a block is to a node: there and valid; a header that commits to a rule broken; a header nobody
# has a block for.
GOOD, INVALID, WITHHELD = "good", "invalid", "withheld"


class Mined:
    """A block that does not change any more."""

    __slots__ = ("hash", "head", "prev", "height", "kind", "raw", "stripped", "txs", "places")

    def __init__(self, block, height, kind):
        self.hash, self.head, self.prev = block.hash, block.header(), block.prev
        self.height, self.kind = height, kind
        self.raw, self.stripped = block.serialize(), block.serialize(witness=False)
        self.txs = [(tx.txid, tx.serialize()) for tx in block.txs]
        self.places = {txid: i for i, (txid, _) in enumerate(self.txs)}

    def header(self):
        return self.head

    def parsed(self):
        return Block.parse(self.raw)


class World:
    def __init__(self, rng, length=200):
        self.rng = rng
        genesis = Mined(regtest_genesis(), 0, GOOD)
        self.blocks = {genesis.hash: genesis}
        self.honest = [genesis]
        self.highest = 0  # of any header ever shown
        self._time = regtest_genesis().time
        self.disputes = {}  # txid -> Tx, all ever made
        self.where = {}  # txid -> its height in the honest chain
        self.free = []  # txids of disputes for the blocks to come
        for _ in range(length):
            self.grow()

    def dispute(self):
        """The txid of a new one that the honest chain does not have yet."""
        tx = Breach.make(self.rng).dispute
        txid = tx.txid
        self.disputes[txid] = tx
        self.free.append(txid)
        return txid

    def _mine(self, parent, disputes, kind=GOOD):
        rng, height = self.rng, parent.height + 1
        txs = [self.disputes[txid] for txid in disputes]
        txs += [payment(rng) for _ in range(rng.choice((0, 1, 2, 3, 8, 20)))]
        rng.shuffle(txs)
        if kind == INVALID:
            # A second coinbase: the merkle root commits to it.
            txs.append(Tx([Input(bytes(32), 0xFFFFFFFF, b"\x51\x51")], [Output(1, b"\x51")]))
        self._time += 1  # later than every ancestor
        when = self._time + 600 * height
        block = Block(parent.hash, when, [coinbase(height, txs, rng.randbytes(8))] + txs).mine()
        mined = Mined(block, height, kind)
        self.blocks[mined.hash] = mined
        return mined

    def _some(self, pool, share):
        return [txid for txid in pool if self.rng.random() < share]

    def _appended(self, line, disputes):
        block = self._mine(line[-1], disputes)
        line.append(block)
        return block

    def grow(self, count=1):
        """More blocks on the honest chain, with about half of what waits to be in one."""
        line = list(self.honest)
        for _ in range(count):
            chosen = self._some(self.free[-60:], 0.3)
            for txid in chosen:
                self.free.remove(txid)
                self.where[txid] = len(line)
            self._appended(line, chosen)
        self._become(line)

    def _become(self, line):
        self.honest = line
        self.highest = max(self.highest, len(line) - 1)

    def reorg(self, depth):
        """Another honest chain, longer by one or more: disputes stay, move, or wait again."""
        depth = min(depth, len(self.honest) - 2)
        line = self.honest[:-depth]
        undone = [txid for txid, height in self.where.items() if height >= len(line)]
        for txid in undone:
            del self.where[txid]
        for _ in range(depth + self.rng.randint(1, 3)):
            chosen = self._some(undone[:], 0.3)
            for txid in chosen:
                undone.remove(txid)
                self.where[txid] = len(line)
            self._appended(line, chosen)
        self.free += undone
        self._become(line)

    def fake(self, depth, good, kind, ahead):
        """A line of headers with more work than the honest chain, which after some good blocks has one
        that is invalid or that nobody has.  What is good of it has less work than the honest chain."""
        rng = self.rng
        depth = min(depth, len(self.honest) - 2)
        good = min(good, depth - 1)
        line = self.honest[:-depth] if depth else list(self.honest)
        undone = [txid for txid, height in self.where.items() if height >= len(line)]
        for _ in range(max(good, 0)):
            chosen = self._some(undone, 0.4)
            undone = [txid for txid in undone if txid not in chosen]
            self._appended(line, chosen)
        line.append(self._mine(line[-1], [], kind))
        while len(line) < len(self.honest) + ahead:
            line.append(self._mine(line[-1], [], GOOD if rng.random() < 0.5 else WITHHELD))
        self.highest = max(self.highest, len(line) - 1)
        return line

    def outgrow(self):
        """Until no header that was ever shown has as much work as the honest chain."""
        self.grow(max(self.highest - (len(self.honest) - 1), 0) + 1)


def common(a, b):
    """How many blocks from genesis on two lines have in common."""
    low, high = 1, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[middle - 1] is b[middle - 1]:
            low = middle
        else:
            high = middle - 1
    return low


class Line:
    """What Node wants of a chain."""

    def __init__(self, blocks):
        self.blocks = blocks

    @property
    def tip(self):
        return self.blocks[-1]

    @property
    def height(self):
        return len(self.blocks) - 1


class RandomNode(Node):
    """mood is the share of requests that it answers badly; steady: late and in any order, never wrong."""

    def __init__(self, world, rng, netns, steady=False):
        self.world, self.rng, self.steady = world, rng, steady
        self.mood = 0.0
        self.done = {}  # misdeed -> how often
        self._peace = threading.Event()
        super().__init__(Line(world.honest), netns=netns, host="0.0.0.0")

    # The chain it shows.

    def _take(self, chain):
        self.chain = chain

    def show(self, line):
        """Makes line the active chain, and tells everybody, in one of the ways in which that is done."""
        before, self.chain = self.chain.blocks, Line(line)
        new = line[common(before, line) :]
        if not new:
            return
        for connection in list(self.connections):
            if not connection.ready or getattr(connection, "mute", False):
                continue
            try:
                self._announce(connection, new)
            except Gone:
                pass

    def _announce(self, connection, new):
        dice = self.rng.random()
        if self.mood and dice < 0.1:
            return  # it will be asked
        if self.mood and dice < 0.2:
            # Out of order: first what does not link yet to anything told before.
            connection.send("inv", compact(1) + struct.pack("<I", BLOCK) + new[-1].hash)
            connection.send("inv", compact(1) + struct.pack("<I", BLOCK) + new[0].hash)
        elif connection.wants_headers and connection.headers_given and len(new) <= 8:
            Node.serve_headers(self, connection, new)
        else:
            connection.send("inv", compact(1) + struct.pack("<I", BLOCK) + new[-1].hash)

    def headers_after(self, locator):
        line = self.chain.blocks
        start = 1
        for wanted in locator:
            block = self.world.blocks.get(wanted)
            if block is not None and block.height < len(line) and line[block.height] is block:
                start = block.height + 1
                break
        return line[start : start + 2000]

    def block_bytes(self, wanted, witness):
        block = self.world.blocks.get(wanted)
        return block and (block.raw if witness else block.stripped)

    # Moods.

    def behave(self):
        """From now on an honest node, as if restarted: what it owes on old connections is lost with them."""
        self.mood = 0.0
        self._peace.set()
        for connection in list(self.connections):
            if getattr(connection, "mute", False):
                connection.reset()

    def misbehave(self, mood):
        self._peace.clear()
        self.mood = mood

    def _bad(self, deeds):
        """A misdeed, or None; counted."""
        if self.rng.random() >= self.mood:
            return None
        deed = self.rng.choice(deeds)
        self.done[deed] = self.done.get(deed, 0) + 1
        return getattr(self, "do_" + deed)

    # Misdeeds.

    STEADY = ("late", "reversed", "notfound_once", "chatter")
    LIES = (
        "reset_mid", "close_mid", "stall_mid", "silent", "notfound", "drip", "late", "reversed", "chatter",
        "changed", "mutated", "truncated", "appended", "another", "long_count", "other_magic", "garbage",
        "bad_checksum", "huge",
    )  # fmt: skip
    BAD_HEADERS = (
        "no_work", "not_linked", "other_bits", "too_many", "with_txs", "no_headers", "few_headers",
        "low_work", "late_headers",
    )  # fmt: skip

    def greet(self, connection):
        connection.held = []
        connection.mute = False
        sock = connection.sock
        # A killed tower answers nothing, not even with a reset.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 5, 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10000)
        if not self.steady and self.rng.random() < self.mood / 3:
            self.done["greeting"] = self.done.get("greeting", 0) + 1
            if self.rng.random() < 0.5:
                connection.send_raw(self.rng.randbytes(100))
            connection.close()
            raise Gone
        super().greet(connection)

    def serve_headers(self, connection, blocks):
        deed = None if self.steady or not blocks else self._bad(self.BAD_HEADERS)
        if connection.mute:
            return
        if deed is None:
            super().serve_headers(connection, blocks)
        else:
            deed(connection, blocks)

    def serve_block(self, connection, wanted, witness):
        block = self.world.blocks.get(wanted)
        if block is None:
            connection.fault(f"asked for unknown block {display(wanted)}")
            return
        if connection.mute:
            return
        if block.kind == WITHHELD:
            if self.rng.random() < 0.3:
                self.do_notfound(connection, block, witness)
            return
        deed = self._bad(self.STEADY if self.steady else self.LIES)
        if deed is None:
            self._give(connection, block, witness)
        else:
            deed(connection, block, witness)

    def _give(self, connection, block, witness):
        connection.send("block", block.raw if witness else block.stripped)
        self._give_held(connection, witness)

    @staticmethod
    def _give_held(connection, witness):
        while True:
            try:
                late = connection.held.pop()  # by one thread each
            except IndexError:
                return
            connection.send("block", late.raw if witness else late.stripped)

    def _wait(self, seconds):
        self._peace.wait(seconds)

    def do_late(self, connection, block, witness):
        self._wait(self.rng.random())
        self._give(connection, block, witness)

    def do_reversed(self, connection, block, witness):
        """Comes after those asked for later; if nothing is, after a moment all the same."""
        connection.held.append(block)

        def rest():
            try:
                self._give_held(connection, witness)
            except Gone:
                pass

        threading.Timer(0.2, rest).start()

    def do_chatter(self, connection, block, witness):
        connection.send("newthing", self.rng.randbytes(1000))
        connection.send("ping", connection._ping_nonce)
        self._give(connection, block, witness)

    def do_notfound(self, connection, block, _witness):
        connection.send("notfound", compact(1) + struct.pack("<I", BLOCK | 0x40000000) + block.hash)

    def do_notfound_once(self, connection, block, witness):
        asked = connection.__dict__.setdefault("refused", set())
        if block.hash in asked:
            self._give(connection, block, witness)
        else:
            asked.add(block.hash)
            self.do_notfound(connection, block, witness)

    def do_reset_mid(self, connection, block, _witness):
        connection.send_raw(frame(self.magic, "block", block.raw)[: len(block.raw) // 2])
        connection.reset()
        raise Gone

    def do_close_mid(self, connection, block, _witness):
        connection.send_raw(frame(self.magic, "block", block.raw)[:60])
        connection.close()
        raise Gone

    def do_stall_mid(self, connection, block, _witness):
        connection.send_raw(frame(self.magic, "block", block.raw)[: len(block.raw) // 2])
        connection.mute = True

    def do_silent(self, connection, _block, _witness):
        """As bitcoind for a block that it does not have."""

    def do_drip(self, connection, block, _witness):
        data = frame(self.magic, "block", block.raw)
        step = max(len(data) // self.rng.randint(5, 400), 1)
        for at in range(0, len(data), step):
            connection.send_raw(data[at : at + step])
            self._wait(0.05)

    def do_changed(self, connection, block, _witness):
        other = block.parsed()
        other.txs[-1].outputs[0].value ^= 1
        connection.send("block", other.serialize())

    def do_mutated(self, connection, block, _witness):
        other = block.parsed()
        n = len(other.txs)
        level = n & -n  # the last `level` transactions are an odd one out at some height of the tree
        if n == level:
            return self.do_changed(connection, block, _witness)
        other.txs += other.txs[-level:]
        assert merkle_root([tx.txid for tx in other.txs]) == other.merkle
        return connection.send("block", other.serialize())

    def do_truncated(self, connection, block, _witness):
        connection.send("block", block.raw[: -self.rng.randint(1, len(block.raw) - 81)])

    def do_appended(self, connection, block, _witness):
        connection.send("block", block.raw + b"\0")

    def do_another(self, connection, _block, witness):
        line = self.chain.blocks
        self._give(connection, line[self.rng.randrange(1, len(line))], witness)

    def do_long_count(self, connection, block, _witness):
        connection.send("block", block.raw[:80] + b"\xfd" + struct.pack("<H", block.raw[80]) + block.raw[81:])

    def do_other_magic(self, connection, block, _witness):
        connection.send_raw(frame(MAGIC["main"], "block", block.raw))

    def do_garbage(self, connection, _block, _witness):
        connection.send_raw(self.rng.randbytes(self.rng.randint(1, 5000)))

    def do_bad_checksum(self, connection, _block, _witness):
        connection.send_raw(frame(self.magic, "inv", b"\x00", checksum=b"\0\0\0\0"))

    def do_huge(self, connection, _block, _witness):
        size = self.rng.choice((PAYLOAD_SZ_MAX + 1, 2**32 - 1))
        connection.send_raw(self.magic + b"block".ljust(12, b"\0") + struct.pack("<II", size, 0))

    @staticmethod
    def _send_headers(connection, raw):
        connection.send("headers", compact(len(raw)) + b"".join(h + b"\0" for h in raw))

    def do_no_work(self, connection, blocks):
        block = blocks[-1].parsed()
        while int.from_bytes(block.hash, "little") >> 255 == 0:
            block.nonce += 1
        self._send_headers(connection, [b.head for b in blocks[:-1]] + [block.header()])

    def do_not_linked(self, connection, blocks):
        other = blocks[0].parsed()
        other.prev = self.rng.randbytes(32)
        self._send_headers(connection, [blocks[0].head, other.mine().header()])

    def do_other_bits(self, connection, blocks):
        block = blocks[0].parsed()
        block.bits = 0x201FFFFF
        self._send_headers(connection, [block.mine().header()])

    def do_too_many(self, connection, blocks):
        connection.send("headers", compact(2001) + (blocks[0].head + b"\0") * 2001)

    def do_with_txs(self, connection, blocks):
        connection.send("headers", b"\x01" + blocks[0].head + b"\x07")

    def do_no_headers(self, connection, _blocks):
        self._send_headers(connection, [])

    def do_few_headers(self, connection, blocks):
        self._send_headers(connection, [b.head for b in blocks[: len(blocks) // 2 + 1]])

    def do_low_work(self, connection, blocks):
        """A chain from genesis that has less work than any that is worth storing."""
        if len(self.world.honest) < 200:
            return self.do_no_headers(connection, blocks)
        prev, raw, when = self.world.honest[0].hash, [], 1400000000
        for i in range(40):
            block = Block(prev, when + i, [], merkle=self.rng.randbytes(32)).mine()
            raw.append(block.header())
            prev = block.hash
        return self._send_headers(connection, raw)

    def do_late_headers(self, connection, blocks):
        self._wait(self.rng.random() * 2)
        self._send_headers(connection, [b.head for b in blocks])


def misdeeds(nodes):
    """misdeed -> how often, of all nodes."""
    total = {}
    for node in nodes:
        for deed, count in list(node.done.items()):
            total[deed] = total.get(deed, 0) + count
    return total

