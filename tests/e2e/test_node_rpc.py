"""A node's RPC and what the tower makes of its answers; alerts; the onion service of a real Tor."""

import base64
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time

import pytest

from lab.node import RpcNode
from lab.programs import SLOW, Memif, Tower, wait_until

CHAIN = {"chain": "regtest", "blocks": 7, "headers": 7, "bestblockhash": "ab" * 32}


@pytest.fixture
def node():
    with RpcNode() as made:
        made.answers["getblockchaininfo"] = dict(CHAIN)
        yield made


def use_node(tower, *nodes):
    tower.settings["rpc"] = {
        "connect": ",".join(f"127.0.0.1:{n.port}" for n in nodes),
        "user": "lab",
        "password": "secret",
    }


@pytest.fixture
def control(programs, folder):
    """vigild without a dataplane: enough for everything but penalties."""
    tower = Tower(folder, Memif(folder))
    yield tower
    try:
        tower.stop()
    finally:
        tower.kill()
        if tower.control is not None:
            print(tower.control.output()[-6000:])


def node_is(tower, state, idx=0):
    return lambda: tower.info()["nodes"][idx]["state"] == state


def test_T40_a_node_of_another_network_is_shown_and_not_used(control, node):
    node.answers["getblockchaininfo"]["chain"] = "main"
    use_node(control, node)
    control.start_control()
    wait_until(node_is(control, "wrong chain"), "the node to be found out")
    assert control.info()["nodes"][0]["error"] == "its chain is main, ours is regtest"
    assert control.rpc("gettowerinfo")["bitcoind_reachable"] is False
    control.control.wait_line(r"level=error event=node_wrong_chain .*its chain is main")
    node.answers["getblockchaininfo"]["chain"] = "regtest"
    wait_until(node_is(control, "usable"), "the node to be taken back")
    assert control.rpc("gettowerinfo")["bitcoind_reachable"] is True


def test_T23_reachability_follows_the_node(control, node):
    port = node.port
    use_node(control, node)
    control.start_control()
    wait_until(node_is(control, "usable"), "the node")
    node.answers["getblockchaininfo"] = RpcNode.Error(-28, "Verifying blocks...")
    control.control.terminate()
    control.start_control()
    wait_until(node_is(control, "warming up"), "the warm-up")
    info = control.info()["nodes"][0]
    assert info["port"] == port and "Verifying blocks" in info["error"]
    assert control.rpc("gettowerinfo")["bitcoind_reachable"] is False
    node.answers["getblockchaininfo"] = dict(CHAIN)
    wait_until(node_is(control, "usable"), "the node, warm")
    assert control.rpc("gettowerinfo")["bitcoind_reachable"] is True


def test_T26_tip_warnings_and_pruning_of_each_node_are_shown(control, node):
    with RpcNode() as other:
        node.answers["getblockchaininfo"] |= {
            "warnings": ["Unknown new rules activated"], "pruned": True, "pruneheight": 5,
        }  # fmt: skip
        other.answers["getblockchaininfo"] = dict(CHAIN, blocks=9, headers=11, initialblockdownload=True)
        use_node(control, node, other)
        control.start_control()
        wait_until(lambda: all(node_is(control, "usable", i)() for i in (0, 1)), "both nodes")
        first, second = control.info()["nodes"]
    assert first["best_block"] == "ab" * 32 and first["warning"] == "Unknown new rules activated"
    assert first["pruned"] and first["prune_height"] == 5
    assert (second["blocks"], second["headers"], second["initial_download"]) == (9, 11, True)


def planted(memif, node, **settings):
    """A tower with that node, three breaches ahead of it, and their appointments."""
    memif.synth("--blocks", "24", "--breach-heights", "12,13,14", "--txs-per-block", "5")
    use_node(memif.tower, node)
    for section, keys in settings.items():
        memif.tower.settings[section] = keys
    memif.serve("--start-blocks", "10", "--start-on", "signal", "--rate", "20")
    memif.start()
    memif.add_planted()


def rows_by_penalty(memif):
    return {row["penalty_txid"]: row for row in memif.tower.trackers()}


def test_T21_T22_T23_every_answer_is_shown_and_nothing_waits_for_the_node(memif, node):
    node.answers["sendrawtransaction"] = RpcNode.Error(-25, "bad-txns-inputs-missingorspent")
    node.answers["getrawtransaction"] = RpcNode.Error(-5, "No such mempool transaction")
    node.answers["gettxspendingprevout"] = lambda p: [dict(o, spendingtxid="cd" * 32) for o in p[0]]
    planted(memif, node)
    memif.replay.go()
    memif.penalised()

    def all_refused():
        rows = rows_by_penalty(memif)
        # Deep enough, a missing input counts as spent by somebody else.
        return len(rows) == 3 and all(r["state"] in ("refused", "spent") for r in rows.values())

    wait_until(all_refused, "the refusals")
    for row in rows_by_penalty(memif).values():
        assert row["node"]["code"] == -25 and row["node"]["reason"] == "input missing or spent"
        assert row["node"]["text"].endswith("spent in the mempool by " + "cd" * 32)
    # No limit on fees, and any burn.
    sent = [params for method, params in node.calls if method == "sendrawtransaction"]
    assert all(params[1:] == [0, 21000000] for params in sent)

    # A node that hangs holds up nobody.
    node.answers["sendrawtransaction"] = lambda params: time.sleep(3) or RpcNode._accept(params)
    before = len(node.submitted())
    wait_until(lambda: len(node.submitted()) > before, "a request that hangs", 90)
    for _ in range(5):
        started = time.monotonic()
        memif.tower.info()
        assert time.monotonic() - started < 2.5 * SLOW
    wait_until(
        lambda: all(r["state"] == "sent" for r in rows_by_penalty(memif).values()), "acceptance", 120
    )
    for row in rows_by_penalty(memif).values():
        assert row["node"]["code"] == 0 and row["tries"] >= 2


def test_T29_blocks_that_a_pruned_node_lacks_are_named(memif, node):
    node.answers["getblockchaininfo"] |= {"pruned": True, "pruneheight": 1000000}
    planted(memif, node)
    # The tower knows its height now; the node is asked again after a restart.
    memif.tower.control.terminate()
    memif.tower.start_control()
    memif.tower.control.wait_line(r"event=node_pruned .* prune_height=1000000")
    assert memif.tower.info()["nodes"][0]["lacks_blocks"] is True
    memif.replay.go()
    memif.penalised()  # the blocks come from a peer that has them


def test_an_overdue_penalty_runs_the_alert_command(memif, node, folder):
    script, told = folder / "alert", folder / "told"
    script.write_text(
        f'#!/bin/sh\necho "$VIGIL_EVENT $VIGIL_NETWORK $VIGIL_PENALTY $VIGIL_DEPTH $1" >>{told}\n'
    )
    script.chmod(0o700)
    planted(
        memif, node,
        broadcast={"overdue-depth": "2"},
        alert={"command": f"{script} now", "interval": "1"},
    )  # fmt: skip
    memif.replay.go()
    memif.penalised()
    expected = {breach["penalty_txid"] for breach in memif.planted}

    def lines():
        return [line.split() for line in told.read_text().splitlines()] if told.exists() else []

    wait_until(lambda: {line[2] for line in lines()} == expected, "an alert for each penalty", 60)
    for event, network, _, depth, argument in lines():
        assert (event, network, argument) == ("penalty_overdue", "regtest", "now") and int(depth) >= 2
    counters = memif.tower.rpc("getcounters")["control"]
    assert counters["tower"]["overdue"] == 3 and counters["tower"]["escalations_total"] >= 3
    assert counters["alert"]["failures_total"] == 0
    assert all(row["overdue_step"] >= 1 for row in memif.tower.trackers())


# --- the onion service


class TorControl:
    """A second controller, written from the control specification alone."""

    def __init__(self, port, cookie):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10 * SLOW)
        self.file = self.sock.makefile("rb")
        assert self.ask("AUTHENTICATE " + cookie.read_bytes().hex())[-1] == "250 OK"

    def ask(self, line):
        self.sock.sendall(line.encode() + b"\r\n")
        reply = []
        while not reply or reply[-1][3] != " ":
            reply.append(self.file.readline().decode().rstrip("\r\n"))
        return reply

    def close(self):
        self.file.close()
        self.sock.close()


@pytest.fixture
def tor(folder):
    """A real Tor that never leaves this machine."""
    program = shutil.which("tor") or shutil.which("tor", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("tor is not installed: the onion service was tried with the fake control port only")
    data = folder / "tor"
    data.mkdir(mode=0o700)
    log = open(folder / "tor.log", "wb")
    process = subprocess.Popen(
        [
            program, "-f", "/dev/null", "--ignore-missing-torrc", "--defaults-torrc", "/dev/null",
            "--DataDirectory", str(data), "--DisableNetwork", "1", "--SocksPort", "0",
            "--ControlPort", "auto", "--ControlPortWriteToFile", str(data / "port"),
            "--CookieAuthentication", "1", "--CookieAuthFile", str(data / "cookie"),
        ],
        stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip
    try:

        def port():
            assert process.poll() is None, (folder / "tor.log").read_text()[-3000:]
            path = data / "port"
            found = re.search(r":(\d+)", path.read_text()) if path.exists() else None
            return found and (data / "cookie").exists() and int(found.group(1))

        yield wait_until(port, "Tor's control port"), data / "cookie"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10 * SLOW)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def test_T43_a_real_tor_serves_the_api_as_long_as_vigild_runs(control, tor, folder):
    port, cookie = tor
    control.settings["tor"] = {"control": f"127.0.0.1:{port}", "onion-port": "80"}
    control.start_control()
    wait_until(lambda: control.info()["tor"]["state"] == "up", "the onion service")
    shown = [a for a in control.rpc("gettowerinfo")["addresses"] if a["type"] == "torv3"]
    assert len(shown) == 1 and shown[0]["port"] == 80
    assert re.fullmatch(r"[a-z2-7]{56}\.onion", shown[0]["address"])
    control.control.wait_line(r"event=tor_up .*" + shown[0]["address"])

    key = folder / "data" / "regtest" / "onion_v3_sk"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and key.stat().st_size == 64
    text = base64.b64encode(key.read_bytes()).decode()
    assert text not in control.control.output()
    again = f"ADD_ONION ED25519-V3:{text} Port=80,127.0.0.1:9"
    controller = TorControl(port, cookie)
    # It is up: nobody else can have it.
    assert controller.ask(again)[-1].startswith("550")
    control.control.terminate()
    # It is gone with vigild.
    reply = wait_until(lambda: (r := controller.ask(again))[-1] == "250 OK" and r, "the service to go")
    assert f"250-ServiceID={shown[0]['address'][:56]}" in reply
    # While somebody else has it vigild goes on trying, and the rest of it works.
    control.start_control()
    wait_until(lambda: "collision" in control.info()["tor"]["error"], "the collision to be told")
    controller.close()
    wait_until(lambda: control.info()["tor"]["state"] == "up", "the onion service, again")
    assert control.info()["tor"]["address"] == shown[0]["address"]


def test_T43_without_tor_the_tower_works_and_says_so(control):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody answers
        control.settings["tor"] = {"control": f"127.0.0.1:{taken.getsockname()[1]}"}
        control.start_control()
        wait_until(lambda: "cannot connect" in control.info()["tor"]["error"], "the failure to be told")
        assert control.rpc("gettowerinfo")["addresses"][0]["type"] == "ipv4"
