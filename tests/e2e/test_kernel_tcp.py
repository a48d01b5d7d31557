"""The tower against a node on the kernel's TCP stack: another stack than its own, another author's
idea of the protocol.  Needs root, for a network namespace and a packet device."""

import pytest

from lab.bitcoin import Breach, Chain
from lab.programs import SLOW, AfPacket, LossyWire, Tap, wait_until
from lab.teos import CURRENT, LEGACY, locator, seal


def breaches(rng, count):
    return [Breach.make(rng) for _ in range(count)]


def all_penalised(node, made, timeout=30, reorged=()):
    """reorged: their disputes may come too, because a reorg took them off the chain."""
    for breach in made:
        assert node.wait_transaction(breach.penalty.txid, timeout * SLOW), "a breach was missed"
    wanted = {b.penalty.txid: b.penalty for b in made}
    allowed = wanted | {b.dispute.txid: b.dispute for b in reorged}
    assert wanted.keys() <= {t[1] for t in node.transactions} <= allowed.keys()
    for _, txid, raw in node.transactions:
        assert raw == allowed[txid].serialize()


def tracked(tower):
    return {row["penalty_txid"] for row in tower.trackers()}


def printed(made):
    return {b.penalty.txid[::-1].hex() for b in made}


@pytest.mark.parametrize("device", [Tap, AfPacket])
@pytest.mark.parametrize("form", [CURRENT, LEGACY])
@pytest.mark.main_path
def test_planted_breaches_are_penalised(lab, rng, device, form):
    node = lab.node(Chain.regtest(20))
    tower = lab.tower(node, device).start()
    client = lab.client(tower, rng, form)
    planted, quiet = breaches(rng, 5), breaches(rng, 5)
    for breach in planted + quiet:
        client.add_breach(breach)

    node.extend(payments=10)
    node.extend([b.dispute for b in planted[:3]], payments=50)
    node.extend([b.dispute for b in planted[3:]], payments=1)
    all_penalised(node, planted)
    tower.wait_synced(node)
    assert tracked(tower) == printed(planted)
    for breach in planted:
        answer = client.get(locator(breach.dispute.txid, form))
        assert answer["status"] == "dispute_responded"
        assert answer["appointment"]["penalty_rawtx"] == breach.penalty.serialize().hex()
        assert answer["appointment"]["dispute_txid"] == breach.dispute.txid[::-1].hex()
    for breach in quiet:
        answer = client.get(locator(breach.dispute.txid, form))
        assert answer["status"] == "being_watched"


def test_a_confirmed_penalty_is_known_as_such(lab, rng):
    node = lab.node(Chain.regtest(10))
    tower = lab.tower(node).start()
    client = lab.client(tower, rng)
    breach = Breach.make(rng)
    client.add_breach(breach)
    node.extend([breach.dispute])
    all_penalised(node, [breach])
    node.extend([breach.penalty])
    wait_until(lambda: tower.trackers()[0]["state"] == "confirmed", "the confirmation")
    # The penalty is followed until it is buried 100 deep, then everything about it is gone.
    for _ in range(99):
        node.extend()
    tower.wait_synced(node)
    assert len(tower.trackers()) == 1
    node.extend()
    wait_until(lambda: tower.trackers() == [], "the end of the tracker")


def test_two_users_one_dispute(lab, rng):
    """The same locator for two users, and a third who uses the other form: all are answered."""
    node = lab.node(Chain.regtest(10))
    tower = lab.tower(node).start()
    dispute = Breach.make(rng).dispute
    made = [Breach(dispute, Breach.penalty_for(rng, dispute.txid)) for _ in range(3)]
    for breach, form in zip(made, (CURRENT, CURRENT, LEGACY)):
        lab.client(tower, rng, form).add_breach(breach)
    node.extend([dispute])
    all_penalised(node, made)


def test_a_blob_that_does_not_open_sends_nothing(lab, rng):
    node = lab.node(Chain.regtest(10))
    tower = lab.tower(node).start()
    client = lab.client(tower, rng)
    good, wrong_key, no_tx, foreign = breaches(rng, 4)
    stranger = Breach.make(rng).penalty
    client.add_breach(good)
    client.add(locator(wrong_key.dispute.txid), seal(wrong_key.penalty.serialize(), bytes(32)))
    client.add(locator(no_tx.dispute.txid), seal(b"not a transaction", no_tx.dispute.txid))
    # Opens and parses, but spends nothing of the dispute.
    client.add(locator(foreign.dispute.txid), seal(stranger.serialize(), foreign.dispute.txid))
    node.extend([b.dispute for b in (wrong_key, no_tx, foreign, good)])
    all_penalised(node, [good])
    tower.wait_synced(node)
    assert tracked(tower) == printed([good])
    assert tower.rpc("getinfo")["tower"]["invalid_blobs_total"] == 3


@pytest.mark.parametrize("depth", [0, 5])
@pytest.mark.parametrize("form", [CURRENT, LEGACY])
def test_a_late_appointment_sees_the_breach_that_came_before_it(lab, rng, depth, form):
    node = lab.node(Chain.regtest(10))
    tower = lab.tower(node).start()
    client = lab.client(tower, rng, form)
    breach = Breach.make(rng)
    node.extend([breach.dispute], payments=5)
    for _ in range(depth):
        node.extend(payments=2)
    tower.wait_synced(node)
    client.add_breach(breach)
    all_penalised(node, [breach])


def test_a_breach_below_the_recent_blocks_is_too_old(lab, rng):
    node = lab.node(Chain.regtest(10))
    tower = lab.tower(node).start()
    client = lab.client(tower, rng)
    breach, later = breaches(rng, 2)
    node.extend([breach.dispute])
    for _ in range(6):
        node.extend()
    tower.wait_synced(node)
    # The dataplane lets a block go only when what came after it is acknowledged, a moment later.
    wait_until(lambda: tower.counters().get("index_recent_blocks") == 6, "only the recent blocks are kept")
    client.add_breach(breach)
    client.add_breach(later)
    node.extend([later.dispute])
    all_penalised(node, [later])
    assert client.get(locator(breach.dispute.txid))["status"] == "being_watched"


@pytest.mark.parametrize("depth", [1, 5])
def test_a_reorg_is_followed_with_breaches_on_either_side(lab, rng, depth):
    node = lab.node(Chain.regtest(20))
    tower = lab.tower(node).start()
    client = lab.client(tower, rng)
    old_only, both, new_only = breaches(rng, 3)
    for breach in (old_only, both, new_only):
        client.add_breach(breach)

    node.extend([old_only.dispute, both.dispute])
    for _ in range(depth - 1):
        node.extend()
    all_penalised(node, [old_only, both])
    tower.wait_synced(node)
    assert tower.rpc("getinfo")["tower"]["reorg_blocks_total"] == 0

    branch = node.chain.fork(depth)
    branch.extend([both.dispute])
    for _ in range(depth - 1):
        branch.extend()
    node.switch(branch)
    # Equal work never switches; one more block does.
    longer = branch.fork(0)
    longer.extend([new_only.dispute])
    node.switch(longer)
    all_penalised(node, [old_only, both, new_only], reorged=[old_only, both])
    tower.wait_synced(node)
    assert tower.rpc("getinfo")["tower"]["reorg_blocks_total"] == depth
    # What the stale blocks did is undone: a dispute that only they held is watched again.
    assert tracked(tower) == printed([both, new_only])

    # And back again, further: it is answered again.
    sent = len(node.transactions)
    back = node.chain.fork(depth + 1)
    back.extend([old_only.dispute])
    for _ in range(depth + 1):
        back.extend()
    node.switch(back)
    tower.wait_synced(node)
    assert tracked(tower) == printed([old_only])
    assert node.wait(
        lambda: old_only.penalty.txid in [t[1] for t in node.transactions[sent:]], 20 * SLOW
    )


def mid_replay(lab, rng, blocks=240, planted=24):
    """A tower that has just been given a long chain in which breaches are spread."""
    node = lab.node(Chain.regtest(10))
    tower = lab.tower(node).start()
    client = lab.client(tower, rng)
    made = breaches(rng, planted)
    for breach in made:
        client.add_breach(breach)
    chain = node.chain.fork(0)
    for i in range(blocks):
        chain.extend([b.dispute for b in made[i * planted // blocks : (i + 1) * planted // blocks]], 3)
    original = node.serve_block

    def paced(connection, wanted, witness):
        node.wait(lambda: False, 0.01)
        original(connection, wanted, witness)

    node.serve_block = paced
    node.switch(chain)
    return node, tower, made


@pytest.mark.parametrize("victim", ["dataplane", "control", "both"])
@pytest.mark.main_path
def test_kill_in_the_middle_of_a_replay_misses_nothing(lab, rng, victim):
    node, tower, made = mid_replay(lab, rng)
    for height in (40, 120, 200):
        tower.wait_height(height)
        if victim in ("dataplane", "both"):
            tower.dataplane.kill()
        if victim in ("control", "both"):
            tower.control.kill()
        if victim in ("dataplane", "both"):
            tower.start_dataplane()
        if victim in ("control", "both"):
            tower.start_control()
    tower.wait_synced(node, 90)
    all_penalised(node, made)
    assert tracked(tower) == printed(made)
    info = tower.rpc("getinfo")["tower"]
    assert info["trackers"] == len(made) and info["appointments"] == 0


def test_a_restarted_tower_follows_a_reorg_that_it_slept_through(lab, rng):
    node = lab.node(Chain.regtest(30))
    tower = lab.tower(node).start()
    client = lab.client(tower, rng)
    breach = Breach.make(rng)
    client.add_breach(breach)
    for _ in range(4):
        node.extend()
    tower.wait_synced(node)
    tower.stop()
    branch = node.chain.fork(3)
    branch.extend([breach.dispute])
    for _ in range(4):
        branch.extend()
    node.switch(branch)
    tower.start()
    tower.wait_synced(node)
    all_penalised(node, [breach])


@pytest.mark.parametrize(
    "lcores, options",
    [("0@0", []), ("0@0,1@1", []), ("0@0,1@1,2@1", []), ("0@0", ["--busy-poll"])],
)
def test_every_arrangement_of_lcores_works(lab, rng, lcores, options):
    node = lab.node(Chain.regtest(20))
    tower = lab.tower(node)
    tower.lcores, tower.dataplane_options = lcores, options
    tower.start()
    client = lab.client(tower, rng)
    made = breaches(rng, 6)
    for breach in made:
        client.add_breach(breach)
    for breach in made:
        node.extend([breach.dispute], payments=20)
    all_penalised(node, made)


@pytest.mark.parametrize("lcores", ["0@0", "0@0,1@1"])
def test_an_idle_dataplane_sleeps(lab, rng, lcores):
    node = lab.node(Chain.regtest(20))
    tower = lab.tower(node)
    tower.lcores = lcores
    tower.start()
    lab.client(tower, rng)
    tower.wait_synced(node)
    before, at = tower.dataplane.cpu_seconds(), node.wait(lambda: False, 3)
    assert at is False
    used = tower.dataplane.cpu_seconds() - before
    assert used < 1.5, f"{used:.2f} s of processor time in 3 s of idleness"


def test_one_frame_in_a_hundred_lost_costs_time_only(lab, rng):
    """The losses are made on the wire between the two stacks, with repeats and overtaking."""
    node = lab.node(Chain.regtest(20))
    tower = lab.tower(node, LossyWire).start()
    client = lab.client(tower, rng)
    made = breaches(rng, 8)
    for breach in made:
        client.add_breach(breach)
    chain = node.chain.fork(0)
    for i in range(40):
        # About 100 kB each: hundreds of frames.
        chain.extend([made[i // 5].dispute] if i % 5 == 0 else [], payments=400)
    node.switch(chain)
    all_penalised(node, made, 120)
    tower.wait_synced(node, 120)
    wire = tower.device
    assert wire.frame_cnt > 2000 and wire.lost_cnt > 10
    wire.close()
