"""The kinds of Bitcoin node that an operator may have: pruned, without indexes, on signet, with a cookie."""

import base64
import http.server
import json
import random
import threading

import pytest

from lab.bitcoin import Block, Breach, Chain, bits_to_target, coinbase, payment, regtest_genesis
from lab.node import Gone, Node
from lab.programs import Memif, Tower, wait_until

NETWORK_LIMITED, WITNESS = 1 << 10, 1 << 3
KEPT = 288


class Pruned(Node):
    """Says so in its services, and ends the connection of whoever asks for more than it has."""

    def __init__(self, *args, **kw):
        super().__init__(*args, **kw)
        self.services = NETWORK_LIMITED | WITNESS
        self.asked_too_low = 0

    def serve_block(self, connection, wanted, witness):
        if self._height[wanted] < self.chain.height - KEPT:
            self.asked_too_low += 1
            raise Gone("pruned away")
        super().serve_block(connection, wanted, witness)


class Rpc:
    """A node's RPC with nothing but what a pruned node without indexes has.  Counts what it is asked."""

    def __init__(self, chain="regtest", user="user", password="password", pruned=True):
        self.methods, self.wrong_logins = {}, 0
        self.accepted = []
        self.login = f"{user}:{password}"
        lab = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                wanted = "Basic " + base64.b64encode(lab.login.encode()).decode()
                if self.headers["Authorization"] != wanted:
                    lab.wrong_logins += 1
                    self.answer(401, b"")
                    return
                request = json.loads(body)
                result, error = lab.call(request["method"], request["params"])
                text = json.dumps({"result": result, "error": error, "id": request.get("id")}).encode()
                self.answer(500 if error else 200, text)

            def answer(self, status, text):
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.info = {
            "chain": chain, "blocks": 1, "headers": 1, "initialblockdownload": False, "pruned": pruned,
            "pruneheight": 1, "bestblockhash": "00" * 32,
        }  # fmt: skip
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def call(self, method, params):
        self.methods[method] = self.methods.get(method, 0) + 1
        if method == "getblockchaininfo":
            return self.info, None
        if method == "sendrawtransaction":
            self.accepted.append(params[0])
            return "11" * 32, None
        if method == "getrawtransaction":
            return None, {"code": -5, "message": "No such mempool transaction. Use -txindex"}
        return None, {"code": -32601, "message": "Method not found"}

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def rpc_of():
    made = []

    def make(*args, **kw):
        made.append(Rpc(*args, **kw))
        return made[-1]

    yield make
    for rpc in made:
        rpc.close()


def test_O06_a_pruned_node_without_indexes_and_notifications_is_enough(lab, rng, rpc_of):
    """No ZMQ, no txindex, no block beyond the last 288: blocks come by P2P, the verdict by sendrawtransaction."""
    rpc = rpc_of()
    node = lab.node(Chain.regtest(KEPT + 20, txs_per_block=1), kind=Pruned)
    tower = lab.tower(node)
    tower.settings["rpc"] = {"connect": f"127.0.0.1:{rpc.port}", "user": "user", "password": "password"}
    tower.start()
    client = lab.client(tower, rng)
    breaches = [Breach.make(rng) for _ in range(2)]
    client.add_breach(breaches[0])
    node.extend([breaches[0].dispute], payments=3)
    wanted = {breaches[0].penalty.serialize().hex()}
    wait_until(lambda: set(rpc.accepted) >= wanted, "the penalty at the node's RPC")
    wait_until(lambda: {raw.hex() for _, _, raw in node.transactions} >= wanted, "the penalty by P2P")
    # And over a restart with blocks in between.
    client.add_breach(breaches[1])
    tower.wait_synced(node)
    tower.stop()
    node.extend([breaches[1].dispute], payments=3)
    for _ in range(5):
        node.extend(payments=1)
    tower.start()
    wanted.add(breaches[1].penalty.serialize().hex())
    wait_until(lambda: {raw.hex() for _, _, raw in node.transactions} >= wanted, "both penalties")
    tower.wait_synced(node)
    assert tower.rpc("getpeers")["peers"][0]["pruned"] is True
    assert node.asked_too_low == 0
    assert set(rpc.methods) <= {
        "getblockchaininfo", "sendrawtransaction", "getrawtransaction", "gettxspendingprevout", "gettxout",
        "getmempoolentry", "getnetworkinfo",
    }, "asks for nothing that needs an index or old blocks"  # fmt: skip


def signet_genesis():
    genesis = regtest_genesis()
    block = Block(bytes(32), 1598918400, genesis.txs, bits=0x1E0377AE, version=1, nonce=52613770)
    assert block.hash[::-1].hex() == "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6"
    return block


def signet_chain():
    """Two blocks on the genesis block, with the work that signet asks for, found once; and the breach in the second."""
    rng = random.Random("signet")
    breach = Breach.make(rng)
    chain = [signet_genesis()]
    for nonce in (1411766, 2111788):
        others = [breach.dispute] if len(chain) == 2 else [payment(rng)]
        first = coinbase(len(chain), others, rng.randbytes(8))
        block = Block(chain[-1].hash, chain[-1].time + 600, [first, *others], bits=0x1E0377AE, nonce=nonce)
        assert int.from_bytes(block.hash, "little") <= bits_to_target(block.bits)
        chain.append(block)
    return Chain(chain), breach


def test_O07_signet(lab, rng, rpc_of, folder):
    """Its magic, genesis block, work and folder; and a node of another network is not taken for one."""
    rpc = rpc_of("signet")
    other = rpc_of("main")
    chain, breach = signet_chain()
    node = lab.node(chain.fork(1), network="signet")
    tower = lab.tower(node, network="signet")
    tower.settings["rpc"] = {
        "connect": f"127.0.0.1:{rpc.port},127.0.0.1:{other.port}", "user": "user", "password": "password",
    }  # fmt: skip
    tower.dataplane_options = ["--min-chain-work", "0"]
    tower.start()
    tower.control.wait_line('msg="Tower ready"')
    wait_until(lambda: tower.info()["nodes"][0]["state"] == "usable", "the node's RPC")
    info = tower.info()
    assert info["network"] == "signet" and info["height"] == 1
    assert [n["state"] == "usable" for n in info["nodes"]] == [True, False]
    assert "its chain is main, ours is signet" in info["nodes"][1]["error"]
    assert (folder / "data" / "signet" / "tower.key").exists()
    lab.client(tower, rng).add_breach(breach)
    node.switch(chain)
    tower.wait_synced(node)
    wait_until(lambda: rpc.accepted == [breach.penalty.serialize().hex()], "the penalty")
    assert other.accepted == []


def test_O08_cookie_file(programs, folder, rpc_of):
    """Waited for until the node makes it.  (That it is read again after a restart: tests/unit/carrier.)"""
    cookie = folder / "cookie"
    rpc = rpc_of(user="__cookie__", password="first")
    tower = Tower(folder, Memif(folder))
    tower.settings["rpc"] = {"connect": f"127.0.0.1:{rpc.port}", "cookie-file": str(cookie)}
    state = lambda: tower.info()["nodes"][0]["state"]  # noqa: E731
    try:
        tower.start_control()
        wait_until(lambda: state() == "refused", "the missing cookie to be noticed")
        assert "cookie" in tower.info()["nodes"][0]["error"]
        cookie.write_text("__cookie__:first")
        wait_until(lambda: state() == "usable", "the cookie to be read")
        assert rpc.wrong_logins == 0
        assert "first" not in tower.control.output()
    finally:
        tower.kill()
