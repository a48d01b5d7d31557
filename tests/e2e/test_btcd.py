"""The tower against btcd: a node of other authors, which checks every signature, keeps a mempool of its
own and mines what is in it.  Channels are real: a penalty that btcd takes is one the network would take.
Needs root, for a network namespace and a packet device, and Go, to build btcd."""

import pytest

from lab import btcd
from lab.bitcoin import display
from lab.programs import NODE_IP, PREFIX, AfPacket, Tap, wait_until
from lab.teos import CURRENT, LEGACY, locator
from lab.wallet import TO_SELF_DELAY, Channel, Key, Wallet

MATURE = 100  # blocks on top of a penalty's after which nobody follows it any more


@pytest.fixture(scope="session")
def btcd_program():
    try:
        return btcd.build()
    except btcd.Unavailable as why:
        pytest.skip(str(why))


class Scene:
    """A btcd with a chain that has segwit, a tower at it, and a user of either generation."""

    def __init__(self, lab, rng, program, coins=4, tls=False):
        self.lab, self.rng = lab, rng
        self.wallet = Wallet(rng)
        self.node = btcd.Btcd(program, lab.folder, lab.namespace, self.wallet.address, tls)
        lab.nodes.append(self.node)
        if coins:
            self.node.fund(self.wallet, coins)
        self.tower = self.client = None
        self.spare = []  # channels

    def tower_at(self, device, rpc=True, user=btcd.USER, password=btcd.PASSWORD):
        """Not started."""
        self.tower = self.lab.tower(self.node, device)
        self.tower.control_namespace = self.lab.namespace
        if rpc:
            self.tower.settings["rpc"] = {
                "connect": self.node.rpc_address,
                "user": user,
                "password": password,
            }
            if self.node.certificate:
                self.tower.settings["rpc"]["connect"] = "https://" + self.node.rpc_address
                self.tower.settings["rpc"]["certificate"] = self.node.certificate
        return self.tower

    def start_tower(self, device=AfPacket, form=CURRENT, **options):
        self.tower_at(device, **options).start()
        self.client = self.lab.client(self.tower, self.rng, form, generation=form)
        self.synced()

    def channels(self, count=1):
        """Funded in a block."""
        made = [Channel(self.wallet, self.rng) for _ in range(count)]
        self.node.send(*(c.funding for c in made))
        self.node.generate()
        assert self.node.mempool() == set()
        return made

    def synced(self, timeout=60):
        """The tower's tip is the node's."""
        wait_until(lambda: self.tower.info()["block_hash"] == self.node.tip, "the node's tip", timeout)

    def in_mempool(self, *txs, timeout=30):
        wanted = {tx.txid for tx in txs}
        wait_until(lambda: self.node.mempool() >= wanted, "penalties in the node's mempool", timeout)

    def row(self, tx):
        """The tracker of this penalty, or None."""
        for row in self.tower.trackers():
            if row["penalty_txid"] == display(tx.txid):
                return row
        return None

    def wait_row(self, tx, what, holds, timeout=30):
        return wait_until(lambda: (r := self.row(tx)) and holds(r) and r, what, timeout)

    def status(self, breach):
        return self.client.get(locator(breach.dispute.txid, self.client.form))["status"]

    def slots(self):
        return self.tower.rpc("getuser", user_id=self.client.user_id.hex())["available_slots"]


@pytest.fixture
def scene(lab, rng, btcd_program, request):
    """Its node's RPC is plain; a test may say otherwise: parametrize("scene", ["tls"], indirect=True)."""
    made = Scene(lab, rng, btcd_program, tls=getattr(request, "param", None) == "tls")
    yield made
    # Neither found a fault in the other's messages; what btcd found is asserted by `lab`.
    counters = made.tower.counters()
    assert {name: n for name, n in counters.items() if "_drop_" in name and n} == {}


def confirmed(row):
    return row["state"] == "confirmed"


@pytest.mark.parametrize(
    "device, form, rpc",
    [
        pytest.param(AfPacket, CURRENT, True, marks=pytest.mark.main_path, id="af_packet-rpc"),
        pytest.param(Tap, LEGACY, False, id="tap-p2p_only-legacy"),
    ],
)
def test_a_penalty_is_in_btcds_mempool_then_in_a_block_and_done_a_hundred_blocks_later(
    scene, device, form, rpc
):
    node, channels = scene.node, scene.channels(2)
    scene.start_tower(device, form, rpc=rpc)
    tower, breaches = scene.tower, [c.breach() for c in channels]
    breach, quiet = breaches
    before = scene.slots()
    for b in breaches:
        scene.client.add_breach(b)
    assert scene.slots() == before - 2

    node.send(breach.dispute)
    node.generate()
    scene.in_mempool(breach.penalty)
    assert node.rpc("getrawtransaction", display(breach.penalty.txid), 0) == breach.penalty.serialize().hex()
    dispute_height = node.height
    row = scene.wait_row(breach.penalty, "the sent penalty", lambda r: r["state"] == "sent")
    assert row["dispute_height"] == dispute_height
    # Pushed, asked back, and given: the peer has it for certain, also where no RPC says so.
    scene.wait_row(breach.penalty, "btcd to give it back", lambda r: r["peer_results"] == {"0": "held"})
    if rpc:
        row = scene.wait_row(breach.penalty, "btcd's verdict", lambda r: r["node"]["code"] == 0)
        nodes = tower.info()["nodes"]
        assert [n["state"] for n in nodes] == ["usable"] and nodes[0]["accepted_total"] >= 1
        assert nodes[0]["unanswered_total"] == 0

    mined = node.generate()[0]
    assert breach.penalty.txid in {tx.txid for tx in node.block(mined).txs}
    row = scene.wait_row(breach.penalty, "the confirmation", confirmed)
    assert row["since_height"] == dispute_height + 1

    node.generate(MATURE - 1)
    scene.synced()
    assert confirmed(scene.row(breach.penalty)) and scene.slots() == before - 2
    node.generate()
    scene.synced()
    wait_until(lambda: tower.trackers() == [], "the end of the tracker")
    assert scene.slots() == before - 1
    assert tower.info()["tower"]["completed_total"] == 1
    assert scene.status(quiet) == "being_watched"
    counters = tower.counters()
    assert counters["peer_connects_total"] == counters["push_connects_total"] == 1


@pytest.mark.parametrize("scene", ["tls"], indirect=True)
def test_btcds_rpc_over_tls_takes_a_penalty_and_gives_its_verdict(scene):
    """What btcd offers to other hosts than its own."""
    breach = scene.channels()[0].breach()
    scene.start_tower()
    scene.client.add_breach(breach)
    scene.node.send(breach.dispute)
    scene.node.generate()
    scene.in_mempool(breach.penalty)
    nodes = wait_until(
        lambda: [n for n in scene.tower.info()["nodes"] if n["accepted_total"]], "btcd's verdict"
    )
    assert nodes[0]["state"] == "usable"


@pytest.mark.parametrize("scene", ["tls"], indirect=True)
def test_an_operator_who_forgot_that_btcd_speaks_tls_is_told(scene):
    tower = scene.tower_at(AfPacket)
    tower.settings["rpc"]["connect"] = scene.node.rpc_address
    del tower.settings["rpc"]["certificate"]
    tower.start()
    (shown,) = wait_until(
        lambda: [n for n in tower.info()["nodes"] if n["state"] != "unknown"], "the first probe"
    )
    assert shown["state"] == "down" and "https://" in shown["error"], shown
    scene.synced()


def test_btcds_limited_user_is_enough_for_penalties_and_for_what_became_of_them(scene):
    """It may send transactions and look for them, but not call getblockchaininfo."""
    node, channels = scene.node, scene.channels(2)
    good, late = (c.breach() for c in channels)
    scene.start_tower(user=btcd.LIMITED_USER, password=btcd.LIMITED_PASSWORD)
    (shown,) = scene.tower.info()["nodes"]
    assert shown["state"] == "usable", shown
    for b in (good, late):
        scene.client.add_breach(b)
    node.submit([good.dispute, late.dispute, channels[1].penalty(late.dispute, fee=20_000)])
    row = scene.wait_row(good.penalty, "btcd's verdict", lambda r: r["state"] == "sent")
    assert row["node"]["code"] == 0
    row = scene.wait_row(late.penalty, "the refusal", lambda r: r["state"] == "refused")
    assert "output is spent" in row["node"]["text"], row["node"]


def breached(scene, spare=0):
    """(block's hash, breaches): disputes in a block, their penalties in the mempool.  More channels, as
    many as are to spare, have seen no breach."""
    first, *scene.spare = scene.channels(1 + spare)
    breaches = [first.breach()]
    scene.start_tower()
    for b in breaches:
        scene.client.add_breach(b)
    scene.node.send(*(b.dispute for b in breaches))
    block = scene.node.generate()[0]
    scene.in_mempool(*(b.penalty for b in breaches))
    return block, breaches


def test_a_reorg_of_the_penaltys_block_is_undone_and_done_again(scene):
    node = scene.node
    _, (breach,) = breached(scene)
    first = node.generate()[0]
    row = scene.wait_row(breach.penalty, "the confirmation", confirmed)
    height = row["since_height"]

    # Another branch, without the penalty, which goes back to where it came from.
    node.invalidate(first)
    assert node.height == height - 1
    scene.in_mempool(breach.penalty)
    other = node.submit(count=2)
    scene.synced()
    scene.wait_row(breach.penalty, "the confirmation to be undone", lambda r: r["state"] == "sent")
    assert scene.tower.info()["tower"]["reorg_blocks_total"] == 1
    assert breach.penalty.txid in node.mempool()

    # Into a block of that branch, two higher than before.
    node.generate()
    row = scene.wait_row(breach.penalty, "the second confirmation", confirmed)
    assert row["since_height"] == height + 2

    # And back: the branch that was given up grows to be the longer one.
    node.invalidate(other[0])
    node.reconsider(first)
    assert node.tip == first
    node.generate(3)
    scene.synced()
    row = scene.wait_row(breach.penalty, "the first confirmation again", confirmed)
    assert row["since_height"] == height and row["dispute_height"] == height - 1
    # It counts from there.
    node.generate(MATURE - 4)
    scene.synced()
    assert scene.row(breach.penalty) is not None
    node.generate()
    scene.synced()
    assert scene.tower.trackers() == []


def test_a_reorg_of_the_disputes_block_is_undone_and_the_breach_answered_again(scene):
    """The new branch closes the channel in good order, so the revoked commitment cannot come back in it."""
    node = scene.node
    channel, other = scene.channels(2)
    breach, lasting = channel.breach(), other.breach()
    scene.start_tower()
    scene.client.add_breach(breach)
    scene.client.add_breach(lasting)
    slots = scene.slots()
    node.send(breach.dispute, lasting.dispute)
    first = node.generate()[0]
    scene.in_mempool(breach.penalty, lasting.penalty)
    node.generate()
    scene.synced()

    node.invalidate(first)
    scene.in_mempool(breach.dispute, lasting.dispute)
    branch = node.submit([channel.close(), lasting.dispute], count=3)
    assert breach.dispute.txid not in node.mempool()
    scene.synced()
    assert scene.tower.info()["tower"]["reorg_blocks_total"] == 2
    assert scene.row(breach.penalty) is None and scene.status(breach) == "being_watched"
    assert scene.row(lasting.penalty)["state"] == "sent"
    assert scene.slots() == slots
    scene.in_mempool(lasting.penalty)
    assert breach.penalty.txid not in node.mempool()

    node.invalidate(branch[0])
    node.reconsider(first)
    node.generate(3)
    scene.synced()
    for b in (breach, lasting):
        scene.wait_row(b.penalty, "the confirmation after the way back", confirmed)
    assert scene.slots() == slots


def test_a_reorg_of_a_hundred_blocks_brings_a_completed_penalty_back(scene):
    node, (channel,) = scene.node, scene.channels()
    breach = channel.breach()
    scene.start_tower()
    before = scene.slots()
    scene.client.add_breach(breach)
    old = node.submit([breach.dispute])[0]
    scene.in_mempool(breach.penalty)
    node.generate(MATURE + 1)
    scene.synced()
    assert scene.tower.trackers() == [] and scene.slots() == before

    node.invalidate(old)
    new = node.submit([channel.close()])[0]
    node.generate(MATURE + 2)
    scene.synced()
    assert scene.tower.info()["tower"]["reorg_blocks_total"] == MATURE + 2
    assert scene.status(breach) == "being_watched" and scene.slots() == before - 1

    node.invalidate(new)
    node.reconsider(old)
    node.generate(2)
    scene.synced()
    assert scene.tower.info()["tower"]["completed_total"] == 2
    assert scene.tower.trackers() == [] and scene.slots() == before


def test_a_node_that_comes_back_with_its_chain_is_given_the_penalties_that_its_mempool_forgot(scene):
    node = scene.node
    _, (breach,) = breached(scene, spare=1)
    later = scene.spare[0].breach()
    scene.client.add_breach(later)
    blocks = node.stored()
    node.stop()
    # Nobody reaches it until it has its chain, which this node does not keep.
    scene.lab.namespace.run("ip", "addr", "del", f"{NODE_IP}/{PREFIX}", "dev", "node0")
    node.start()
    node.refill(blocks)
    assert node.mempool() == set()
    scene.lab.namespace.run("ip", "addr", "add", f"{NODE_IP}/{PREFIX}", "dev", "node0")
    scene.in_mempool(breach.penalty)
    node.send(later.dispute)
    node.generate()
    scene.in_mempool(later.penalty)
    node.generate()
    for b in (breach, later):
        scene.wait_row(b.penalty, "the confirmation", confirmed)
    assert scene.tower.info()["tower"]["reorg_blocks_total"] == 0


def test_a_node_that_lost_its_chain_takes_nothing_back_and_is_given_the_penalties_when_it_has_it_again(scene):
    """Until it has mined or fetched a block of the last day, btcd does not answer getheaders at all."""
    node = scene.node
    _, (breach,) = breached(scene)
    blocks, tip = node.stored(), node.tip
    node.kill()
    node.start()
    peer = wait_until(
        lambda: [p for p in scene.tower.rpc("getpeers")["peers"] if p["ready"] and p["connects"] == 2],
        "the tower to be back at its node",
    )[0]
    assert peer["height"] == 0
    assert scene.tower.info()["block_hash"] == tip and scene.row(breach.penalty) is not None
    node.refill(blocks)
    scene.in_mempool(breach.penalty, timeout=90)
    node.generate()
    scene.synced()
    scene.wait_row(breach.penalty, "the confirmation", confirmed)
    assert scene.tower.info()["tower"]["reorg_blocks_total"] == 0


@pytest.mark.parametrize("old_blocks", [0, 5])
def test_a_tower_whose_node_is_silent_begins_with_the_first_block_of_the_day(
    lab, rng, btcd_program, old_blocks
):
    """btcd answers no getheaders while its tip is older than a day: its chain is not told by asking."""
    scene = Scene(lab, rng, btcd_program, coins=0)
    node = scene.node
    node.submit(count=old_blocks, spacing=600)
    tower = scene.tower_at(AfPacket)
    tower.start()
    wait_until(lambda: [p for p in tower.rpc("getpeers")["peers"] if p["ready"]], "the handshake")
    assert tower.info()["height"] is None
    node.generate()
    scene.synced()
    node.generate(3)
    scene.synced()


def test_btcd_announces_each_block_and_the_tower_need_not_ask(scene):
    """Asking every 30 s or more would take this test five minutes."""
    scene.start_tower()
    for _ in range(10):
        scene.node.generate()
        scene.synced(timeout=15)


@pytest.mark.parametrize("victim", ["dataplane", "control", "both"])
def test_a_breach_while_the_tower_is_down_is_answered_once_it_is_back(scene, victim):
    node, channels = scene.node, scene.channels(3)
    scene.start_tower()
    tower, breaches = scene.tower, [c.breach() for c in channels]
    for b in breaches:
        scene.client.add_breach(b)
    deep, stale, new = breaches
    victims = [p for p in ("dataplane", "control") if victim in (p, "both")]
    node.send(stale.dispute)
    gone = node.generate()[0]
    scene.in_mempool(stale.penalty)
    scene.synced()
    for program in victims:
        getattr(tower, program).kill()

    # A breach below more blocks than the dataplane remembers, a reorg on the way, and one in the last block.
    node.send(deep.dispute)
    node.generate(10)
    node.invalidate(gone)
    node.submit([deep.dispute, channels[1].close()], count=14)
    node.send(new.dispute)
    node.generate()
    for program in victims:
        getattr(tower, f"start_{program}")()
    scene.client.port = tower.port
    scene.synced()
    scene.in_mempool(deep.penalty, new.penalty)
    wait_until(
        lambda: {r["penalty_txid"] for r in tower.trackers()}
        == {display(b.penalty.txid) for b in (deep, new)},
        "trackers of what is in the best chain",
    )
    assert scene.status(stale) == "being_watched"


def test_a_wrong_rpc_password_is_shown_and_keeps_no_penalty_back(scene):
    breach = scene.channels()[0].breach()
    scene.start_tower(password="wrong")
    shown = wait_until(
        lambda: [n for n in scene.tower.info()["nodes"] if n["state"] == "refused"], "the refusal"
    )[0]
    assert "401" in shown["error"] and "credentials" in shown["error"]
    assert "wrong" not in scene.tower.control.output()
    scene.client.add_breach(breach)
    scene.node.send(breach.dispute)
    scene.node.generate()
    scene.in_mempool(breach.penalty)
    scene.node.generate()
    scene.wait_row(breach.penalty, "the confirmation", confirmed)


def test_what_btcd_refuses_is_kept_shown_with_its_reason_and_sent_again(scene):
    node, channels = scene.node, scene.channels(3)
    forged, cheap, late = (
        channels[0].breach(key=Key(scene.rng)),
        channels[1].breach(fee=10),
        channels[2].breach(),
    )
    breaches = (forged, cheap, late)
    # Somebody else's penalty is in the mempool first.
    rival = channels[2].penalty(late.dispute, fee=20_000)
    scene.start_tower()
    for b in breaches:
        scene.client.add_breach(b)
    node.send(*(b.dispute for b in breaches), rival)
    node.submit([b.dispute for b in breaches])
    rows = [
        scene.wait_row(b.penalty, "the refusal", lambda r: r["state"] == "refused") for b in breaches
    ]
    told = [(r["node"]["code"], r["node"]["text"]) for r in rows]
    wanted = ((-25, "signature"), (-26, "insufficient"), (-26, "already spent"))
    for (code, text), (number, words) in zip(told, wanted):
        assert code == number and words in text, told

    # Whatever the reason, it is sent again; also when it can never be right any more.
    node.submit([rival])
    scene.synced()
    for b, before in zip(breaches, rows):
        scene.wait_row(b.penalty, "another try", lambda r, n=before["tries"]: r["tries"] > n)
    row = scene.wait_row(
        late.penalty, "the next refusal", lambda r: "output is spent" in r["node"]["text"]
    )
    assert row["state"] == "refused", row
    # A miner may take what a node would not.
    node.submit([cheap.penalty])
    scene.wait_row(cheap.penalty, "the confirmation", confirmed)
    assert scene.tower.info()["tower"]["trackers"] == 3


def test_a_penalty_that_btcd_has_already_is_no_refusal(scene):
    """In its mempool, or in a block: the one of the breach itself, here."""
    node, channels = scene.node, scene.channels(2)
    pooled, mined = (c.breach() for c in channels)
    scene.start_tower()
    for b in (pooled, mined):
        scene.client.add_breach(b)
    node.send(pooled.dispute, pooled.penalty)
    node.submit([pooled.dispute, mined.dispute, mined.penalty])
    for b, word in ((pooled, "already in the mempool"), (mined, "confirmed")):
        row = scene.wait_row(b.penalty, "btcd's verdict", lambda r: r["node"]["text"] != "")
        assert row["node"]["code"] == 0 and word in row["node"]["text"], row["node"]
    assert scene.row(pooled.penalty)["state"] == "sent"
    scene.wait_row(mined.penalty, "the confirmation", confirmed)
    node.generate()
    scene.wait_row(pooled.penalty, "the confirmation", confirmed)


def test_a_penalty_that_btcd_does_not_take_by_p2p_alone_is_shown_as_missing(scene):
    """It keeps the connection, and says so by a reject, which bitcoind has no more."""
    node, channels = scene.node, scene.channels(2)
    forged, good = channels[0].breach(key=Key(scene.rng)), channels[1].breach()
    scene.start_tower(rpc=False)
    for b in (forged, good):
        scene.client.add_breach(b)
    node.send(forged.dispute, good.dispute)
    node.generate()
    scene.in_mempool(good.penalty)
    for b, found in ((forged, "missing"), (good, "held")):
        row = scene.wait_row(
            b.penalty, f"btcd's answer: {found}", lambda r, f=found: r["peer_results"] == {"0": f}
        )
        assert row["state"] == "sent"
    assert node.mempool() == {good.penalty.txid}
    assert scene.tower.counters()["tx_rejected_total"] == 1


def test_a_penalty_spreads_to_a_miner_that_the_tower_does_not_know(scene, btcd_program):
    breach = scene.channels()[0].breach()
    first = scene.node
    miner = btcd.Btcd(
        btcd_program, scene.lab.folder, scene.lab.namespace, scene.wallet.address, peer=first
    )
    scene.lab.nodes.append(miner)
    wait_until(lambda: miner.tip == first.tip, "the miner to have the chain")
    scene.start_tower(rpc=False)
    scene.client.add_breach(breach)
    first.send(breach.dispute)
    wait_until(lambda: breach.dispute.txid in miner.mempool(), "the breach at the miner")
    miner.generate()
    wait_until(lambda: breach.penalty.txid in miner.mempool(), "the penalty at the miner")
    miner.generate()
    scene.wait_row(breach.penalty, "the confirmation", confirmed)
    assert first.tip == miner.tip


def test_a_cheater_who_was_faster_than_the_tower_is_told_from_other_refusals(scene):
    """The tower is down for the whole delay, so what it has to say is bad news, and clear."""
    node, (channel,) = scene.node, scene.channels()
    breach = channel.breach()
    sweep = channel.sweep(breach.dispute)
    scene.start_tower()
    scene.client.add_breach(breach)
    scene.tower.stop()
    node.send(breach.dispute)
    node.generate(TO_SELF_DELAY - 1)
    with pytest.raises(btcd.RpcError) as early:
        node.send(sweep)
    assert early.value.code == -26 and "sequence locks" in early.value.message
    node.generate()
    node.send(sweep)
    # In the mempool, the cheater is still ahead of the penalty only as long as nobody mines it.
    scene.tower.start()
    row = scene.wait_row(breach.penalty, "the refusal", lambda r: r["state"] == "refused")
    assert row["node"]["code"] == -26 and display(sweep.txid) in row["node"]["text"], row["node"]
    node.generate()
    row = scene.wait_row(
        breach.penalty, "the next refusal", lambda r: "output is spent" in r["node"]["text"]
    )
    # Deep as the dispute is by now, the tower has a word of its own for it; and keeps it.
    assert row["state"] == "spent"


def test_blocks_that_btcd_took_back_can_be_looked_through(scene):
    """It serves them still, also those that it was told are invalid."""
    node, (channel,) = scene.node, scene.channels()
    breach = channel.breach()
    scene.start_tower()
    stale = node.submit([breach.dispute], count=2)
    scene.synced()
    node.invalidate(stale[0])
    node.submit([channel.close()], count=3)
    scene.synced()
    scene.client.add_breach(breach)
    assert scene.status(breach) == "being_watched"
    scene.tower.rpc("scanstale")
    found = wait_until(
        lambda: (r := scene.tower.rpc("getstalescan"))["state"] == "done" and r, "the end of the scan"
    )
    assert [b["hash"] for b in found["blocks"]] == stale and found["error"] is None
    assert [h["txid"] for h in found["hits"]] == [display(breach.dispute.txid)]
    assert scene.tower.trackers() == []
