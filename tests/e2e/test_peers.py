"""Several nodes, of which one lies: slowly, with an invalid branch, or with headers whose blocks do not come.
And what each did with a penalty.  Needs root, for a network namespace."""

import time

import pytest

from lab.bitcoin import Breach, Chain, coinbase
from lab.node import Gone, Node, frame
from lab.programs import SLOW, wait_until


def two_nodes(lab, chain, kind, *options):
    """A tower with a node of that kind and a good one."""
    bad, good = lab.node(chain, kind), lab.node(chain)
    tower = lab.tower(bad)
    host = tower.device.peer.rsplit(":", 1)[0]
    tower.dataplane_options = ["--peer", f"{host}:{good.port}", *options]
    tower.start()
    return bad, good, tower


def peer_of(tower, node):
    return next(p for p in tower.rpc("getpeers")["peers"] if p["addr"].endswith(f":{node.port}"))


def ready(tower, *nodes):
    wait_until(lambda: all(peer_of(tower, n)["ready"] for n in nodes), "all peers ready")


def follow(node, block):
    longer = node.chain.fork(0)
    longer.blocks.append(block)
    node.switch(longer)


class Drips(Node):
    """A byte a second of the next block, once armed."""

    armed = False
    dripping = 0
    times = 1

    def serve_block(self, connection, wanted, witness):
        if not self.armed or self.dripping == self.times:
            super().serve_block(connection, wanted, witness)
            return
        self.dripping += 1
        for byte in frame(self.magic, "block", self.block_bytes(wanted, witness)):
            connection.send_raw(bytes([byte]))
            time.sleep(1)


def test_a_block_that_drips_comes_from_another_node_and_the_sender_is_banned(lab, rng):
    bad, good, tower = two_nodes(lab, Chain.regtest(20), Drips)
    client = lab.client(tower, rng)
    breach = Breach.make(rng)
    client.add_breach(breach)
    tower.wait_synced(good)
    ready(tower, bad, good)
    bad.armed = True
    block = bad.extend([breach.dispute], payments=20)
    assert bad.wait(lambda: bad.dripping == 1, 20 * SLOW), "who announces it first is not asked"
    follow(good, block)
    assert good.wait_transaction(breach.penalty.txid, 25 * SLOW), "a breach was missed"
    peer = wait_until(lambda: (p := peer_of(tower, bad))["ban"]["count"] and p, "the ban")
    assert peer["ban"]["reason"] == peer["last_error"] == "peer_drop_slow_block_total"
    assert peer["ban"]["seconds_left"] > 500
    assert peer["state"] == "banned"
    assert bad.greeted_cnt[0] == 1
    wait_until(lambda: tower.counters().get("peer_drop_slow_block_total") == 1, "the counter", 15)
    assert peer_of(tower, good)["drops"] == 0


def test_a_block_that_drips_alone_is_asked_for_again(lab, rng):
    node = lab.node(Chain.regtest(20), Drips)
    tower = lab.tower(node).start()
    client = lab.client(tower, rng)
    breach = Breach.make(rng)
    client.add_breach(breach)
    tower.wait_synced(node)
    node.armed = True
    node.extend([breach.dispute], payments=20)
    assert node.wait_transaction(breach.penalty.txid, 60 * SLOW), "a breach was missed"
    peer = peer_of(tower, node)
    assert peer["last_error"] == "peer_drop_stall_total"
    assert (peer["ready"], peer["ban"]["count"]) == (True, 0)


class LiesOnce(Node):
    armed = False

    def serve_headers(self, connection, blocks):
        if self.armed:
            self.armed = False
            connection.send_raw(b"not a message of this network")
        else:
            super().serve_headers(connection, blocks)


def test_a_ban_does_not_bind_while_the_liar_is_needed(lab, rng):
    bad, good, tower = two_nodes(lab, Chain.regtest(20), LiesOnce, "--ban-seconds", str(int(60 * SLOW)))
    client = lab.client(tower, rng)
    tower.wait_synced(good)
    ready(tower, bad, good)
    bad.armed = True
    follow(good, bad.extend())
    wait_until(lambda: peer_of(tower, bad)["state"] == "banned", "the ban")
    assert peer_of(tower, bad)["ban"]["reason"] == "peer_drop_magic_total"
    tower.wait_synced(good)
    # Needed: the other one is gone.
    breach = Breach.make(rng)
    client.add_breach(breach)
    good.close()
    bad.extend([breach.dispute])
    assert bad.wait_transaction(breach.penalty.txid, 15 * SLOW), "a breach was missed"


def invalid_block(chain, txs):
    """Two coinbases; the merkle root is right, so that no other body can be the block's."""
    block = chain.next_block(txs, payments=2)
    block.txs.append(coinbase(chain.height + 1, (), b"again"))
    block.merkle, block.nonce = None, 0
    return block.mine()


@pytest.mark.parametrize("depth", [0, 3])
def test_an_invalid_branch_is_left_for_the_valid_one(lab, rng, depth):
    """Of more work than the valid one, which it undoes half-way before it shows."""
    chain = Chain.regtest(30)
    bad, good, tower = two_nodes(lab, chain, Node)
    client = lab.client(tower, rng)
    fake, real = Breach.make(rng), Breach.make(rng)
    for breach in (fake, real):
        client.add_breach(breach)
    tower.wait_synced(good)
    ready(tower, bad, good)
    branch = chain.fork(depth)
    for _ in range(depth):
        branch.extend(payments=1)
    branch.blocks.append(invalid_block(branch, [fake.dispute]))
    for _ in range(5):
        branch.extend(payments=1)
    bad.switch(branch)
    wait_until(lambda: tower.counters().get("branches_invalid_total") == 1, "the mark", 30)
    wait_until(lambda: peer_of(tower, bad)["ban"]["count"] == 1, "the ban")
    assert peer_of(tower, bad)["ban"]["reason"] == "peer_drop_block_invalid_total"
    good.extend([real.dispute])
    assert good.wait_transaction(real.penalty.txid, 30 * SLOW), "a breach was missed"
    tower.wait_synced(good)
    assert good.transaction(fake.penalty.txid) is None
    assert {t["penalty_txid"] for t in tower.rpc("gettrackers")["trackers"]} == {
        real.penalty.txid[::-1].hex()
    }


class Withholds(Node):
    """Has headers, but not the blocks, of what is in `withheld`; says nothing when asked for them."""

    withheld = frozenset()
    asked = 0

    def serve_block(self, connection, wanted, witness):
        if wanted in self.withheld:
            self.asked += 1
        else:
            super().serve_block(connection, wanted, witness)


def test_headers_whose_blocks_do_not_come_do_not_hide_a_breach(lab, rng):
    chain = Chain.regtest(30)
    bad, good, tower = two_nodes(lab, chain, Withholds)
    client = lab.client(tower, rng)
    breach = Breach.make(rng)
    client.add_breach(breach)
    tower.wait_synced(good)
    ready(tower, bad, good)
    branch = chain.fork(2)
    for _ in range(10):
        branch.extend(payments=1)
    bad.withheld = {b.hash for b in branch.blocks[29:]}
    bad.switch(branch)
    assert bad.wait(lambda: bad.asked > 0, 20 * SLOW), "the branch with the most work is not asked for"
    good.extend([breach.dispute])
    assert good.wait_transaction(breach.penalty.txid, 90 * SLOW), "a breach was missed"
    tower.wait_synced(good)
    wait_until(lambda: tower.counters().get("branches_set_aside_total", 0) >= 1, "the counter", 15)
    assert peer_of(tower, good)["drops"] == 0


class Picky(Node):
    """Ends the connection that brings a penalty, as for an invalid one, or does not keep it."""

    invalid = False

    def judge_transaction(self, connection, raw):
        if self.invalid:
            self.transactions.clear()
            connection.close()
            raise Gone


def test_what_each_node_did_with_a_penalty_is_reported(lab, rng):
    chain = Chain.regtest(20)
    picky, good, tower = two_nodes(lab, chain, Picky)
    client = lab.client(tower, rng)
    breach = Breach.make(rng)
    client.add_breach(breach)
    tower.wait_synced(good)
    wait_until(
        lambda: all(peer_of(tower, n)["push"]["ready"] for n in (picky, good)),
        "both connections for penalties",
    )
    picky.invalid = True
    block = good.extend([breach.dispute])
    follow(picky, block)
    assert good.wait_transaction(breach.penalty.txid, 20 * SLOW), "a breach was missed"
    expected = {str(peer_of(tower, picky)["id"]): "lost", str(peer_of(tower, good)["id"]): "held"}

    def results():
        (tracker,) = tower.trackers()
        return tracker["peer_results"] == expected and tracker

    tracker = wait_until(results, f"{expected} of {tower.trackers()}", 20)
    assert tracker["node"]["text"] == "in the mempool of a peer"
    assert tracker["peers"] == 2
