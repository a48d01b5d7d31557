"""IPv6 beside and instead of IPv4: over memif against vigil-replay, and against the kernel's TCP."""

import functools
import ipaddress

import pytest

from lab import netns
from lab.bitcoin import Breach, Chain
from lab.programs import (
    NODE_IP6,
    SLOW,
    AfPacket,
    LossyWire,
    Tap,
    node_address,
    wait_until,
)

SMALL = ("--txs-per-block", "60", "--seed", "7")


@pytest.fixture
def lab6(lab):
    """The lab, where the kernel has IPv6."""
    reason = netns.why_not_ip6()
    if reason:
        pytest.skip(reason)
    return lab


def on(device, *families, **more):
    return functools.partial(device, families=families, **more)


def peers(tower):
    return {row["addr"]: row for row in tower.rpc("getpeers")["peers"]}


def ready(tower, *addresses):
    """Waits until the tower is on good terms with exactly these."""

    def all_ready():
        rows = peers(tower)
        return set(rows) == set(addresses) and all(row["ready"] for row in rows.values())

    wait_until(all_ready, f"peers {addresses}")


def counter(tower, name, enough):
    """They are asked of the dataplane every few seconds."""
    return wait_until(lambda: enough(tower.counters().get(name, 0)), f"{name} of the dataplane")


def penalised(node, made, timeout=60):
    for breach in made:
        assert node.wait_transaction(breach.penalty.txid, timeout * SLOW), "a breach was missed"


# Over memif.


@pytest.mark.parametrize("memif", [(6,), (4, 6)], indirect=True, ids=["only", "both"])
@pytest.mark.main_path
def test_planted_breaches_are_penalised_over_memif(memif):
    device = memif.tower.device
    wanted = [node_address(family, 18444) for family in device.families]
    for other in wanted[1:]:
        memif.tower.dataplane_options += ["--peer", other]
    memif.synth("--blocks", "60", "--breaches", "16", "--breach-from", "11", *SMALL)
    memif.serve("--start-blocks", "10", "--start-on", "signal", "--rate", "60")
    memif.start()
    ready(memif.tower, *wanted)
    memif.add_planted()
    memif.replay.go()
    memif.penalised()
    memif.tower.wait_height(60)
    assert memif.tracked() == {b["penalty_txid"] for b in memif.planted}
    counter(memif.tower, "net_conns_opened_total", lambda n: n > 0)
    assert memif.tower.counters()["net_addr_conflicts_total"] == 0


@pytest.mark.parametrize("memif", [(6,)], indirect=True, ids=["only"])
def test_lost_frames_cost_time_only_over_memif(memif):
    memif.synth("--blocks", "60", "--breaches", "12", "--breach-from", "11", *SMALL)
    memif.serve(
        "--start-blocks", "10", "--start-on", "signal", "--rate", "30",
        "--loss-ppm", "10000", "--reorder-ppm", "5000", "--fault-seed", "5",
    )  # fmt: skip
    memif.start()
    memif.add_planted()
    memif.replay.go()
    memif.penalised(timeout=120)
    memif.tower.wait_height(60, 120)


# Against the kernel.


@pytest.mark.parametrize("device", [on(Tap, 6), on(AfPacket, 6), on(AfPacket, 4, 6)], ids=["tap", "wire", "both"])
@pytest.mark.main_path
def test_planted_breaches_are_penalised(lab6, rng, device):
    node = lab6.node(Chain.regtest(20), host="::")
    tower = lab6.tower(node, device)
    wanted = [node_address(family, node.port) for family in tower.device.families]
    for other in wanted[1:]:
        tower.dataplane_options = ["--peer", other]
    tower.start()
    client = lab6.client(tower, rng)
    made = [Breach.make(rng) for _ in range(5)]
    for breach in made:
        client.add_breach(breach)
    ready(tower, *wanted)
    node.extend(payments=10)
    node.extend([b.dispute for b in made[:3]], payments=50)
    node.extend([b.dispute for b in made[3:]], payments=1)
    penalised(node, made)
    tower.wait_synced(node)
    # The version message says whom it is for: IPv4 in its mapped form (spec/bitcoin.md 4).
    forms = {c.addr_recv for c in node.connections}
    plain = [ipaddress.ip_address(text.rsplit(":", 1)[0].strip("[]")) for text in wanted]
    assert forms == {
        (a.packed if a.version == 6 else bytes(10) + b"\xff\xff" + a.packed, node.port) for a in plain
    }


def test_either_family_goes_on_without_the_other(lab6, rng):
    node = lab6.node(Chain.regtest(20), host="::")
    tower = lab6.tower(node, on(AfPacket, 4, 6))
    tower.dataplane_options = ["--peer", node_address(6, node.port)]
    tower.start()
    client = lab6.client(tower, rng)
    first, second = Breach.make(rng), Breach.make(rng)
    client.add_breach(first)
    client.add_breach(second)
    ready(tower, node_address(4, node.port), node_address(6, node.port))
    run = lab6.namespace.run
    run("ip", "addr", "flush", "dev", "node0", "scope", "global")
    run("ip", "addr", "add", f"{NODE_IP6}/64", "dev", "node0", "nodad")
    node.extend([first.dispute])
    penalised(node, [first])
    run("ip", "addr", "flush", "dev", "node0", "scope", "global")
    run("ip", "addr", "add", "10.77.0.1/24", "dev", "node0")
    node.extend([second.dispute])
    penalised(node, [second])
    tower.wait_synced(node)


def test_a_node_behind_a_link_local_gateway(lab6, rng):
    """The node's address is on no link of ours; the router is known by its link-local address."""
    far = "2001:db8:99::1"
    node = lab6.node(Chain.regtest(20), host="::")
    tower = lab6.tower(node, on(AfPacket, 6))
    run = lab6.namespace.run
    run("ip", "link", "set", "lo", "up")
    run("ip", "addr", "add", f"{far}/128", "dev", "lo", "nodad")
    run("ip", "addr", "add", "fe80::1/64", "dev", "node0", "nodad")
    tower.device.peer = f"[{far}]:{node.port}"
    tower.dataplane_options = ["--gateway", "fe80::1"]
    tower.start()
    client = lab6.client(tower, rng)
    made = [Breach.make(rng) for _ in range(4)]
    for breach in made:
        client.add_breach(breach)
    ready(tower, f"[{far}]:{node.port}")
    for breach in made:
        node.extend([breach.dispute], payments=400)
    penalised(node, made)
    tower.wait_synced(node)


def test_an_address_that_is_taken_is_named_until_it_is_free(lab6, rng):
    node = lab6.node(Chain.regtest(20), host="::")
    tower = lab6.tower(node, on(AfPacket, 4, 6))
    tower.dataplane_options = ["--peer", node_address(6, node.port)]
    run = lab6.namespace.run
    run("ip", "addr", "add", "2001:db8:77::2/64", "dev", "node0", "nodad")
    tower.start()
    tower.dataplane.wait_line("event=address_taken")
    ready_4 = node_address(4, node.port)
    wait_until(lambda: peers(tower)[ready_4]["ready"], "the peer of the other family")
    assert not peers(tower)[node_address(6, node.port)]["ready"]
    counter(tower, "net_addr_conflicts_total", lambda n: n > 0)
    run("ip", "addr", "del", "2001:db8:77::2/64", "dev", "node0")
    tower.dataplane.wait_line("event=address_free", 60)


@pytest.mark.parametrize("victim", ["dataplane", "both"])
@pytest.mark.main_path
def test_kill_in_the_middle_of_a_replay_misses_nothing(lab6, rng, victim):
    node = lab6.node(Chain.regtest(10), host="::")
    tower = lab6.tower(node, on(AfPacket, 6)).start()
    client = lab6.client(tower, rng)
    made = [Breach.make(rng) for _ in range(12)]
    for breach in made:
        client.add_breach(breach)
    for i, breach in enumerate(made):
        node.extend([breach.dispute], payments=5)
        if i % 4 == 1:
            tower.dataplane.kill()
            if victim == "both":
                tower.control.kill()
            tower.start_dataplane()
            if victim == "both":
                tower.start_control()
        elif i % 4 == 3:
            for connection in list(node.connections):
                connection.reset()
    penalised(node, made)
    tower.wait_synced(node)


def test_one_frame_in_a_hundred_lost_costs_time_only(lab6, rng):
    node = lab6.node(Chain.regtest(20), host="::")
    tower = lab6.tower(node, on(LossyWire, 6)).start()
    client = lab6.client(tower, rng)
    made = [Breach.make(rng) for _ in range(6)]
    for breach in made:
        client.add_breach(breach)
    chain = node.chain.fork(0)
    for i in range(30):
        # About 100 kB each: hundreds of frames.
        chain.extend([made[i // 5].dispute] if i % 5 == 0 else [], payments=400)
    node.switch(chain)
    penalised(node, made, 120)
    tower.wait_synced(node, 120)
    wire = tower.device
    assert wire.frame_cnt > 1500 and wire.lost_cnt > 8
    wire.close()


@pytest.mark.parametrize("device", [on(Tap, 4, mtu=9000), on(Tap, 6, mtu=9000), on(AfPacket, 6, mtu=9000)],
                         ids=["tap4", "tap6", "wire6"])
def test_jumbo_frames_carry_blocks(lab6, rng, device):
    node = lab6.node(Chain.regtest(20), host="::")
    tower = lab6.tower(node, device).start()
    client = lab6.client(tower, rng)
    breach = Breach.make(rng)
    client.add_breach(breach)
    for _ in range(5):
        node.extend(payments=2000)
    node.extend([breach.dispute])
    penalised(node, [breach])
    tower.wait_synced(node)
    # A block of 500 kB is 60 long frames or 340 plain ones; acknowledgements count on the other side.
    counter(tower, "net_rx_bytes_total", lambda n: n > 2_000_000)
    counters = tower.counters()
    assert counters["net_rx_bytes_total"] / counters["net_rx_frames_total"] > 3000
