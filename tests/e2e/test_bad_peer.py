"""Hostile and broken nodes: each misdeed costs the connection, is counted under a name of its own, and
delays the penalty at most.  The node misbehaves once and is good from then on; what it did must not
matter in the end.  Needs root, for a network namespace."""

import os
import struct

import pytest

from lab.bitcoin import Breach, Chain, compact, merkle_root
from lab.node import MAGIC, Gone, Node, frame
from lab.programs import SLOW, wait_until


class BadOnce(Node):
    """Misbehaves at the first request for a block once armed."""

    armed = False
    done = False

    def serve_block(self, connection, wanted, witness):
        if self.armed and not self.done:
            self.done = True
            self.misbehave(connection, wanted, self.block_bytes(wanted, witness))
        else:
            super().serve_block(connection, wanted, witness)

    def misbehave(self, connection, wanted, raw):
        raise NotImplementedError


class ResetsMidBlock(BadOnce):
    def misbehave(self, connection, wanted, raw):
        connection.send_raw(frame(self.magic, "block", raw)[: len(raw) // 2])
        connection.reset()


class ClosesMidBlock(BadOnce):
    def misbehave(self, connection, wanted, raw):
        connection.send_raw(frame(self.magic, "block", raw)[:100])
        connection.close()


class SendsGarbage(BadOnce):
    def misbehave(self, connection, wanted, raw):
        connection.send_raw(bytes(range(256)) * 64)


class HasTheWrongMagic(BadOnce):
    def misbehave(self, connection, wanted, raw):
        connection.send_raw(frame(MAGIC["main"], "block", raw))


class HasAWrongChecksum(BadOnce):
    """On a message whose checksum must be checked; blocks prove themselves by their merkle root."""

    def misbehave(self, connection, wanted, raw):
        connection.send_raw(frame(self.magic, "inv", b"\x00", checksum=b"\0\0\0\0"))


class AnnouncesFourGigabytes(BadOnce):
    def misbehave(self, connection, wanted, raw):
        connection.send_raw(self.magic + b"block".ljust(12, b"\0") + struct.pack("<II", 2**32 - 1, 0))


class SendsABlockNobodyAskedFor(BadOnce):
    def misbehave(self, connection, wanted, raw):
        stray = Chain.regtest(3, seed=99).tip
        connection.send("block", stray.serialize())


class TruncatesTheBlock(BadOnce):
    def misbehave(self, connection, wanted, raw):
        connection.send("block", raw[:-5])


class AppendsToTheBlock(BadOnce):
    def misbehave(self, connection, wanted, raw):
        connection.send("block", raw + b"\0")


class CountsNonCanonically(BadOnce):
    """The number of transactions in three bytes where one would do."""

    def misbehave(self, connection, wanted, raw):
        assert raw[80] < 0xFD
        connection.send("block", raw[:80] + b"\xfd" + struct.pack("<H", raw[80]) + raw[81:])


class ClaimsManyTransactions(BadOnce):
    def misbehave(self, connection, wanted, raw):
        connection.send("block", raw[:80] + b"\xfe\xff\xff\xff\x01" + raw[81:])


class ChangesATransaction(BadOnce):
    """Parses, but the merkle root does not match."""

    def misbehave(self, connection, wanted, raw):
        block = next(b for b in self.chain.blocks if b.hash == wanted)
        block = type(block).parse(block.serialize())
        block.txs[-1].outputs[0].value ^= 1
        connection.send("block", block.serialize(witness=False))


class MutatesTheBlock(BadOnce):
    """The last transactions repeated: the same merkle root, another block (CVE-2012-2459)."""

    def misbehave(self, connection, wanted, raw):
        block = next(b for b in self.chain.blocks if b.hash == wanted)
        block = type(block).parse(block.serialize())
        assert len(block.txs) % 2 == 1
        block.txs.append(block.txs[-1])
        assert merkle_root([tx.txid for tx in block.txs]) == block.merkle
        connection.send("block", block.serialize(witness=False))


class BadHeadersOnce(Node):
    """Misbehaves at the first headers message once armed."""

    armed = False
    done = False

    def serve_headers(self, connection, blocks):
        if self.armed and not self.done:
            self.done = True
            self.misbehave(connection, blocks)
        else:
            super().serve_headers(connection, blocks)


def headers(raw):
    return compact(len(raw)) + b"".join(h + b"\0" for h in raw)


class GivesHeadersWithoutWork(BadHeadersOnce):
    def misbehave(self, connection, blocks):
        block = type(blocks[0]).parse(blocks[0].serialize())
        while int.from_bytes(block.hash, "little") >> 255 == 0:
            block.nonce += 1
        connection.send("headers", headers([block.header()]))


class GivesHeadersThatDoNotLink(BadHeadersOnce):
    def misbehave(self, connection, blocks):
        a, b = (type(blocks[0]).parse(blocks[0].serialize()) for _ in range(2))
        a.prev = self.chain.blocks[1].hash
        b.prev = os.urandom(32)
        connection.send("headers", headers([a.mine().header(), b.mine().header()]))


class GivesHeadersOfAnotherDifficulty(BadHeadersOnce):
    def misbehave(self, connection, blocks):
        block = type(blocks[0]).parse(blocks[0].serialize())
        block.bits = 0x201FFFFF
        connection.send("headers", headers([block.mine().header()]))


class GivesTooManyHeaders(BadHeadersOnce):
    def misbehave(self, connection, blocks):
        connection.send("headers", compact(2001) + (blocks[0].header() + b"\0") * 2001)


class GivesHeadersWithTransactions(BadHeadersOnce):
    def misbehave(self, connection, blocks):
        connection.send("headers", b"\x01" + blocks[0].header() + b"\x07")


# and what the tower calls it.
MISDEEDS = [
    (ResetsMidBlock, "reset"),
    (ClosesMidBlock, "remote"),
    (SendsGarbage, "peer_drop_magic_total"),
    (HasTheWrongMagic, "peer_drop_magic_total"),
    (HasAWrongChecksum, "peer_drop_checksum_total"),
    (AnnouncesFourGigabytes, "peer_drop_length_total"),
    (SendsABlockNobodyAskedFor, "peer_drop_unrequested_block_total"),
    (TruncatesTheBlock, "peer_drop_block_parse_total"),
    (AppendsToTheBlock, "peer_drop_block_parse_total"),
    (CountsNonCanonically, "peer_drop_block_parse_total"),
    (ClaimsManyTransactions, "peer_drop_block_parse_total"),
    (ChangesATransaction, "peer_drop_block_merkle_total"),
    (MutatesTheBlock, "peer_drop_block_mutated_total"),
    (GivesHeadersWithoutWork, "peer_drop_headers_pow_total"),
    (GivesHeadersThatDoNotLink, "peer_drop_headers_not_a_chain_total"),
    (GivesHeadersOfAnotherDifficulty, "peer_drop_headers_bits_total"),
    (GivesTooManyHeaders, "peer_drop_length_total"),
    (GivesHeadersWithTransactions, "peer_drop_malformed_total"),
]


@pytest.mark.parametrize("kind, counted", MISDEEDS)
def test_a_misdeed_costs_the_connection_and_no_breach(lab, rng, kind, counted):
    node = lab.node(Chain.regtest(20), kind)
    tower = lab.tower(node).start()
    client = lab.client(tower, rng)
    breach = Breach.make(rng)
    client.add_breach(breach)
    tower.wait_synced(node)
    before = tower.rpc("getpeers")["peers"][0]["drops"]

    node.armed = True
    node.extend([breach.dispute], payments=1)
    assert node.wait(lambda: node.done, 20 * SLOW), "the tower asked for nothing"
    assert node.wait_transaction(breach.penalty.txid, 30 * SLOW), "a breach was missed"
    tower.wait_synced(node)
    peer = tower.rpc("getpeers")["peers"][0]
    assert peer["drops"] == before + 1, peer
    assert peer["last_error"] == counted
    assert tower.dataplane.alive()
    if counted.endswith("_total"):
        # Counters are refreshed every 5 seconds.
        wait_until(lambda: tower.counters().get(counted) == 1, counted, 15)


class StallsMidBlock(BadOnce):
    def misbehave(self, connection, wanted, raw):
        connection.send_raw(frame(self.magic, "block", raw)[: len(raw) // 2])


def test_a_node_that_stalls_in_the_middle_of_a_block_is_replaced(lab, rng):
    """Two nodes: what the stalling one owes is fetched from the other."""
    chain = Chain.regtest(20)
    bad, good = lab.node(chain, StallsMidBlock), lab.node(chain)
    tower = lab.tower(bad)
    tower.dataplane_options = ["--peer", tower.device.peer.rsplit(":", 1)[0] + f":{good.port}"]
    tower.start()
    client = lab.client(tower, rng)
    breach = Breach.make(rng)
    client.add_breach(breach)
    assert bad.wait_ready(timeout=20 * SLOW) and good.wait_ready(timeout=20 * SLOW)
    tower.wait_synced(bad)
    bad.armed = True
    block = bad.extend([breach.dispute], payments=20)
    assert bad.wait(lambda: bad.done, 20 * SLOW), "the tower asked the first node for nothing"
    longer = good.chain.fork(0)
    longer.blocks.append(block)
    good.switch(longer)
    assert good.wait_transaction(breach.penalty.txid, 120 * SLOW), "a breach was missed"


def test_a_node_that_stalls_alone_is_dialled_again(lab, rng):
    node = lab.node(Chain.regtest(20), StallsMidBlock)
    tower = lab.tower(node).start()
    client = lab.client(tower, rng)
    breach = Breach.make(rng)
    client.add_breach(breach)
    tower.wait_synced(node)
    node.armed = True
    node.extend([breach.dispute], payments=20)
    assert node.wait_transaction(breach.penalty.txid, 120 * SLOW), "a breach was missed"
    assert node.greeted_cnt[0] == 2


class RefusesToShakeHands(Node):
    """Closes the first connections at once, then is well behaved."""

    refusals = 3

    def greet(self, connection):
        if self.refusals:
            self.refusals -= 1
            connection.close()
            raise Gone
        super().greet(connection)


def test_a_node_that_hangs_up_is_dialled_again(lab, rng):
    node = lab.node(Chain.regtest(20), RefusesToShakeHands)
    tower = lab.tower(node).start()
    lab.client(tower, rng)
    tower.wait_synced(node)
    assert node.greeted_cnt[0] == 4


class DropsTheSender(Node):
    """Ends the connection that brought one of the transactions in `invalid`, as bitcoind does."""

    invalid = ()
    dropped = 0

    def judge_transaction(self, connection, raw):
        if raw in self.invalid:
            self.dropped += 1
            connection.close()
            raise Gone


def test_an_invalid_penalty_does_not_cost_the_block_connection(lab, rng):
    node = lab.node(Chain.regtest(20), DropsTheSender)
    tower = lab.tower(node).start()
    client = lab.client(tower, rng)
    bad, good = Breach.make(rng), Breach.make(rng)
    for breach in (bad, good):
        client.add_breach(breach)
    tower.wait_synced(node)
    assert node.wait(lambda: node.greeted_cnt[1] == 1, 20 * SLOW), "no connection for transactions"
    node.invalid = (bad.penalty.serialize(),)
    node.extend([bad.dispute], payments=5)
    assert node.wait(lambda: node.dropped == 1, 20 * SLOW), "the invalid penalty was not pushed"
    node.extend([good.dispute], payments=5)
    assert node.wait_transaction(good.penalty.txid, 20 * SLOW), "a breach was missed"
    tower.wait_synced(node)
    peer = tower.rpc("getpeers")["peers"][0]
    assert (peer["connects"], peer["drops"]) == (1, 0)
    assert node.greeted_cnt[0] == 1


class GrantsOneConnection(Node):
    def greet(self, connection):
        if len(self.connections) > 1:
            connection.close()
            raise Gone
        super().greet(connection)


def test_a_node_that_grants_one_connection_is_enough(lab, rng):
    node = lab.node(Chain.regtest(20), GrantsOneConnection)
    tower = lab.tower(node).start()
    client = lab.client(tower, rng)
    breach = Breach.make(rng)
    client.add_breach(breach)
    assert node.wait(lambda: node.greeted_cnt[1] >= 3, 20 * SLOW), "the second is not dialled again"
    node.extend([breach.dispute], payments=5)
    assert node.wait_transaction(breach.penalty.txid, 20 * SLOW), "a breach was missed"
    tower.wait_synced(node)
    peer = tower.rpc("getpeers")["peers"][0]
    assert (peer["connects"], peer["drops"]) == (1, 0)
    assert node.greeted_cnt[0] == 1


class SpeaksUnknownWords(Node):
    """What a newer node may send: it is to be skipped."""

    def handshaken(self, connection):
        connection.send("newthing", os.urandom(1000))
        connection.send("addrv2", b"\0")
        connection.send("alert", b"")
        super().handshaken(connection)

    def serve_block(self, connection, wanted, witness):
        connection.send("another", b"")
        super().serve_block(connection, wanted, witness)


def test_unknown_messages_are_skipped(lab, rng):
    node = lab.node(Chain.regtest(20), SpeaksUnknownWords)
    tower = lab.tower(node).start()
    client = lab.client(tower, rng)
    breach = Breach.make(rng)
    client.add_breach(breach)
    node.extend([breach.dispute])
    assert node.wait_transaction(breach.penalty.txid, 30 * SLOW)
    assert tower.rpc("getpeers")["peers"][0]["drops"] == 0


def test_a_node_of_another_network_is_not_used(lab, rng):
    node = lab.node(Chain.regtest(20), network="testnet3")
    tower = lab.tower(node).start()
    assert node.wait(lambda: node.accepted_cnt >= 2, 20 * SLOW)
    assert tower.rpc("getinfo")["height"] is None
    tower.stop()
    # The node saw the wrong magic, which is the tower's network and no fault of the tower.
    assert all("magic" in fault for fault in node.faults)
    node.faults.clear()
