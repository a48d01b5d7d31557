"""Stale branches, looked through on request: what a node still has, what none has any more.
Needs root, for a network namespace and a packet device."""

from lab.bitcoin import Breach, Chain, display
from lab.node import Node
from lab.programs import SLOW, wait_until
from lab.teos import CURRENT, locator


class Forgetful(Node):
    """Keeps no block that is off its active chain, and says nothing when asked for one, as bitcoind does."""

    forgets = False

    def serve_block(self, connection, wanted, witness):
        if self.forgets and wanted not in self._height:
            return
        super().serve_block(connection, wanted, witness)


def scan(tower, **params):
    tower.rpc("scanstale", **params)

    def ended():
        got = tower.rpc("getstalescan")
        return got if got["state"] != "running" else None

    return wait_until(ended, "the end of the scan", 60)


def reorganised(lab, rng, kind):
    """A tower that saw three blocks go stale, the second with a dispute that nobody had told it of."""
    node = lab.node(Chain.regtest(20), kind)
    tower = lab.tower(node).start()
    client = lab.client(tower, rng)
    breach = Breach.make(rng)
    node.extend()
    stale = [node.extend(payments=3), node.extend([breach.dispute], payments=3), node.extend()]
    tower.wait_synced(node)
    other = node.chain.fork(3)
    for _ in range(5):
        other.extend()
    node.switch(other)
    tower.wait_synced(node)
    client.add_breach(breach)
    return node, tower, client, breach, stale


def test_a_breach_in_a_stale_branch_is_reported_and_answered_only_when_it_confirms(lab, rng):
    node, tower, client, breach, stale = reorganised(lab, rng, Node)
    for params in ({}, {"hash": display(stale[-1].hash)}):
        got = scan(tower, **params)
        assert got["state"] == "done" and got["error"] is None
        assert [b["hash"] for b in got["blocks"]] == [display(b.hash) for b in stale]
        assert [b["height"] for b in got["blocks"]] == [22, 23, 24]
        assert {b["status"] for b in got["blocks"]} == {"scanned"}
        assert got["hits_total"] == 1
        (hit,) = got["hits"]
        assert hit["txid"] == display(breach.dispute.txid)
        assert hit["block"] == display(stale[1].hash) and hit["place"] == 1
        assert hit["locator"] == locator(breach.dispute.txid, CURRENT).hex()
    # Information, nothing else.
    assert client.get(locator(breach.dispute.txid, CURRENT))["status"] == "being_watched"
    assert tower.trackers() == [] and node.transactions == []
    tower.wait_synced(node)
    node.extend([breach.dispute])
    assert node.wait_transaction(breach.penalty.txid, 30 * SLOW)


def test_blocks_that_no_node_has_any_more_are_named(lab, rng):
    node, tower, client, breach, stale = reorganised(lab, rng, Forgetful)
    node.forgets = True
    got = scan(tower)
    assert got["state"] == "done"
    assert "no peer has the blocks" in got["error"]
    assert [(b["hash"], b["status"]) for b in got["blocks"]] == [
        (display(b.hash), "unavailable") for b in stale
    ]
    assert got["hits"] == []
    assert node.greeted_cnt == {0: 1, 1: 1}  # it was not blamed for that
    # The tower goes on.
    node.extend([breach.dispute])
    assert node.wait_transaction(breach.penalty.txid, 30 * SLOW)


def test_a_stale_block_is_found_by_its_hash_after_a_restart(lab, rng):
    node, tower, client, breach, stale = reorganised(lab, rng, Node)
    tower.wait_synced(node)
    tower.stop()
    tower.start()
    wait_until(lambda: tower.rpc("getinfo")["dataplane"]["state"] == "on", "the new session")
    assert scan(tower)["error"] == "no stale branch is known"
    got = scan(tower, hash=display(stale[1].hash))
    # Down from there to a block that is known.
    assert [b["hash"] for b in got["blocks"]] == [display(b.hash) for b in (stale[1], stale[0])]
    assert got["hits_total"] == 1
    assert scan(tower, hash=display(node.chain.tip.hash))["error"] == "the block is on the best chain"
