"""btcd, a Bitcoin node of other authors, on a regtest chain of its own inside a network namespace.

build() has Go compile the version named here, once for each build folder; Go checks what it downloads
against its checksum database, and keeps that in its own caches.  VIGIL_BTCD names a program to use instead.
"""

import base64
import fcntl
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess

from .bitcoin import Block, Output, coinbase, display, from_display
from .programs import BUILD, SLOW, Program, wait_until
from .wallet import Coin

MODULE, VERSION = "github.com/btcsuite/btcd", "v0.24.2"
BUILD_SECONDS_MAX = 600

USER, PASSWORD = "lab", "secret"
LIMITED_USER, LIMITED_PASSWORD = "tower", "limited"

# From here on its chain has segwit: four periods of 144 blocks, in which its miner signals.
SEGWIT_HEIGHT = 432
MATURITY = 100


class Unavailable(Exception):
    """btcd cannot be had here; says why."""


def build():
    """The program's path."""
    if os.environ.get("VIGIL_BTCD"):
        return os.environ["VIGIL_BTCD"]
    folder = BUILD / "btcd" / VERSION
    program = folder / "btcd"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _install(folder)
    return str(program)


def _install(folder):
    usual = "/usr/local/go/bin/go"
    go = shutil.which("go") or (usual if os.access(usual, os.X_OK) else None)
    if go is None:
        raise Unavailable("btcd: needs Go")
    env = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    env.update(GO111MODULE="on", GOWORK="off", GIT_TERMINAL_PROMPT="0")
    if "HOME" not in env:
        env.update(GOPATH=str(folder / "go"), GOCACHE=str(folder / "cache"))
    try:
        done = subprocess.run(
            [go, "install", f"{MODULE}@{VERSION}"],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"btcd: not built within {BUILD_SECONDS_MAX} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no word why"])[-1]
        raise Unavailable(f"btcd: go install failed: {last}")


class RpcError(Exception):
    def __init__(self, code, message):
        super().__init__(f"{code} {message}")
        self.code, self.message = code, message


class Btcd:
    """Listens on every address of the namespace; without tls its RPC is on loopback, which is where btcd
    allows that, and with tls it has a certificate of its own making.  It forgets its regtest chain, as
    its mempool, whenever it starts: refill() gives back what stored() gave."""

    def __init__(self, program, folder, netns, address, tls=False, peer=None):
        """peer: another Btcd of the namespace, the only one that it connects to."""
        self.number = 0 if peer is None else peer.number + 1
        self.name = f"btcd{self.number or ''}"
        self.folder, self.netns = pathlib.Path(folder), netns
        self.port, self.rpc_port = 18444 + self.number, 18334 + self.number
        self.rpc_address = f"127.0.0.1:{self.rpc_port}"
        self.watch = lambda: None  # raises when waiting has become pointless
        self.process = None
        self.certificate = self.folder / f"{self.name}.cert" if tls else None
        (self.folder / f"{self.name}.conf").touch()
        self._argv = [
            program, "--regtest",
            f"--configfile={self.folder}/{self.name}.conf",
            f"--datadir={self.folder}/{self.name}", f"--logdir={self.folder}/{self.name}-logs",
            f"--listen=0.0.0.0:{self.port}", "--trickleinterval=100ms",
            *([] if peer is None else [f"--connect=127.0.0.1:{peer.port}"]),
            f"--rpclisten={'0.0.0.0' if tls else '127.0.0.1'}:{self.rpc_port}",
            *([] if tls else ["--notls"]),
            f"--rpccert={self.folder}/{self.name}.cert", f"--rpckey={self.folder}/{self.name}.key",
            f"--rpcuser={USER}", f"--rpcpass={PASSWORD}",
            f"--rpclimituser={LIMITED_USER}", f"--rpclimitpass={LIMITED_PASSWORD}",
            f"--miningaddr={address}", "--debuglevel=MINR=warn",
        ]  # fmt: skip
        netns.run("ip", "link", "set", "lo", "up")
        self.start()

    def start(self, *options):
        self.process = Program(self.name, self._argv + list(options), self.folder, self.netns)

        def answers():
            self.process.check()
            try:
                return self.rpc("getblockcount") is not None
            except OSError:
                return False

        wait_until(answers, "btcd's RPC")

    def stop(self):
        """In good order: a SIGTERM, after which it writes down what it has."""
        self.process.terminate()

    def kill(self):
        self.process.kill()

    def close(self):
        self.kill()
        # pytest shows this only when the test failed.
        print(f"--- {self.name}\n{self.process.output()[-6000:]}")

    @property
    def faults(self):
        """What it complained of in all its runs: a tower gives it no reason to, but that it finds out
        what a limited user may do."""
        log = self.process.log_path.read_text(errors="replace")
        bad = r"^.*(?:\[(?:ERR|CRT)\]|isbehaving|banned|alformed|panic).*$"
        return [line for line in re.findall(bad, log, re.MULTILINE) if "limited user" not in line]

    # RPC.

    def rpc(self, method, *params):
        self.watch()
        here = ("127.0.0.1", self.rpc_port)
        connection = http.client.HTTPConnection(*here)
        # Long, for hundreds of blocks in one call.
        connection.sock = self.netns.call(lambda: socket.create_connection(here, 120 * SLOW))
        if self.certificate:
            trust = ssl.create_default_context(cafile=self.certificate)
            connection.sock = trust.wrap_socket(connection.sock, server_hostname=here[0])
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        call = {"jsonrpc": "1.0", "id": 1, "method": method, "params": list(params)}
        try:
            connection.request("POST", "/", json.dumps(call), {"Authorization": f"Basic {token}"})
            reply = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if reply["error"] is not None:
            raise RpcError(reply["error"]["code"], reply["error"]["message"])
        return reply["result"]

    @property
    def tip(self):
        """The best block's hash, as printed."""
        return self.rpc("getbestblockhash")

    @property
    def height(self):
        return self.rpc("getblockcount")

    def block(self, hash_):
        return Block.parse(bytes.fromhex(self.rpc("getblock", hash_, 0)))

    def block_at(self, height):
        return self.block(self.rpc("getblockhash", height))

    def send(self, *txs):
        for tx in txs:
            assert from_display(self.rpc("sendrawtransaction", tx.serialize().hex(), 0)) == tx.txid

    def mempool(self):
        return {from_display(txid) for txid in self.rpc("getrawmempool")}

    def stored(self):
        """The best chain above the genesis block, to be kept over a restart."""
        return [self.rpc("getblock", self.rpc("getblockhash", h), 0) for h in range(1, self.height + 1)]

    def refill(self, blocks):
        for block in blocks:
            assert self.rpc("submitblock", block) is None

    # Mining.

    def generate(self, count=1):
        """By its own miner, which takes what is in the mempool.  Hashes as printed."""
        return self.rpc("generate", count)

    def submit(self, txs=(), count=1, spacing=1):
        """Blocks made here with these transactions and no other, all in the first; their coinbases take no
        reward.  spacing is in seconds.  Hashes as printed."""
        made = []
        for i in range(count):
            parent = self.block(self.tip)
            held = list(txs) if i == 0 else []
            first = coinbase(self.height + 1, held, os.urandom(8))
            first.outputs[0] = Output(0, first.outputs[0].script)
            block = Block(parent.hash, parent.time + spacing, [first] + held).mine()
            assert self.rpc("submitblock", block.serialize().hex()) is None
            made.append(display(block.hash))
        return made

    def invalidate(self, hash_):
        self.rpc("invalidateblock", hash_)

    def reconsider(self, hash_):
        self.rpc("reconsiderblock", hash_)

    def fund(self, wallet, count):
        """A chain with segwit, and that many spendable coins for the wallet."""
        self.generate(max(SEGWIT_HEIGHT, MATURITY + count) - self.height)
        for height in range(1, count + 1):
            first = self.block_at(height).txs[0]
            assert first.outputs[0].script == wallet.output_script
            wallet.coins.append(Coin(first.txid, 0, first.outputs[0].value))
