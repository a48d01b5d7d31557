"""The chain and the node of a tower that is killed (crash.py)."""

from .bitcoin import Tx, display
from .node import Gone, Node
from .world import Line, RandomNode, World, common


class Chain:
    """Disputes and penalties in blocks of the best chain; main thread only, readers beside it."""

    def __init__(self, rng):
        self.rng = rng
        self.world = World(rng, 60)
        self.spends = {}  # txid of a penalty -> of its dispute
        self.mined = set()  # ever, of both
        self.pushed = set()  # penalties that the node has: they may be mined

    @property
    def where(self):
        return self.world.where

    @property
    def tip(self):
        return len(self.world.honest) - 1

    def _block(self, line, pool, share):
        world = self.world
        chosen = []
        for txid in pool:
            spent = self.spends.get(txid)
            if self.rng.random() < share and (spent is None or spent in world.where):
                chosen.append(txid)
                world.where[txid] = len(line)
        self.mined.update(chosen)
        line.append(world._mine(line[-1], chosen))
        return [t for t in pool if t not in world.where]

    def grow(self, count):
        line = list(self.world.honest)
        for _ in range(count):
            pool = self.world.free[-40:] + [t for t in list(self.pushed) if t not in self.where]
            self._block(line, pool, 0.25)
            self.world.free = [t for t in self.world.free if t not in self.where]
        self.world._become(line)

    def reorg(self, depth):
        line = self.world.honest[: -min(depth, self.tip - 2)]
        undone = [t for t, height in self.where.items() if height >= len(line)]
        for txid in undone:
            del self.where[txid]
        share = self.rng.choice((0.03, 0.2, 0.4))  # whether what was undone comes again soon
        for _ in range(depth + self.rng.randint(1, 2)):
            undone = self._block(line, undone, share)
        self.world.free += [t for t in undone if t not in self.spends]
        self.world._become(line)


class KeepingNode(RandomNode):
    """An honest node; what a killed tower leaves of its connections is no fault of the next one."""

    def __init__(self, world, rng, namespace):
        self.has = {}  # txid -> raw
        self.pushes = 0
        super().__init__(world, rng, namespace, steady=True)

    def show(self, line):
        before, self.chain = self.chain.blocks, Line(line)
        new = line[common(before, line) :]
        for connection in list(self.connections):
            if new and connection.ready:
                try:
                    Node.serve_headers(self, connection, new[-2000:]) if (
                        connection.wants_headers and connection.headers_given and len(new) <= 8
                    ) else self._announce(connection, new)
                except Gone:
                    pass

    def accept_transaction(self, raw):
        """The same ones come often: a penalty that is late is sent after every block."""
        self.pushes += 1
        try:
            txid = Tx.parse(raw).txid
        except ValueError as error:
            self.faults.append(f"a transaction that does not parse: {error}")
            return
        if self.has.setdefault(txid, raw) != raw:
            self.faults.append(f"two forms of transaction {display(txid)}")

    def transaction(self, wanted):
        return self.has.get(wanted)
