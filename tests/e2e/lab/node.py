"""A Bitcoin node on the kernel's TCP stack, for one tower at a time or several.

It behaves like bitcoind where the tower could notice (spec/bitcoin.md sections 3, 4, 6, 7, 10), keeps
the chain it is given, and notes in `faults` whatever a client does that bitcoind would not accept or
that the specification forbids: a test that ends with faults fails.  Misbehaviour is made by
subclassing and overriding greet(), serve_headers() or serve_block().

RpcNode is the JSON-RPC side, with answers that the test chooses.
"""

import base64
import http.server
import json
import os
import socket
import struct
import threading
import time

from .bitcoin import Reader, Tx, compact, display, sha256d, var_bytes

MAGIC = {
    "main": bytes.fromhex("f9beb4d9"),
    "testnet3": bytes.fromhex("0b110907"),
    "testnet4": bytes.fromhex("1c163f28"),
    "signet": bytes.fromhex("0a03cf40"),
    "regtest": bytes.fromhex("fabfb5da"),
}

PROTOCOL = 70016
SERVICES = 0x0C09
PAYLOAD_SZ_MAX = 4_000_000

TX, BLOCK, WITNESS = 1, 2, 0x40000000


def frame(magic, command, payload, checksum=None):
    if checksum is None:
        checksum = sha256d(payload)[:4]
    return magic + command.encode().ljust(12, b"\0") + struct.pack("<I", len(payload)) + checksum + payload


class Gone(Exception):
    """The connection is over."""


class Connection:
    """One accepted connection; reads on a thread of its own."""

    def __init__(self, node, sock, address):
        self.node, self.sock, self.address = node, sock, address
        self.version_seen = self.ready = self.wants_headers = self.headers_given = False
        self.told_tip = None  # the newest block that the client knows from us
        self.user_agent = None
        self.addr_recv = None  # (16 bytes, port): whom the client takes us for
        self.relay = None
        self.requested = []  # block hashes, in the order in which they were asked for
        self.counts = {}
        self.closed = False
        self._send_lock = threading.Lock()
        self._ping_nonce = os.urandom(8)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def fault(self, text):
        self.node.faults.append(text)

    # Sending.

    def send(self, command, payload=b""):
        self.send_raw(frame(self.node.magic, command, payload))

    def send_raw(self, data):
        with self._send_lock:
            try:
                self.sock.sendall(data)
            except OSError as error:
                raise Gone(str(error)) from error

    def reset(self):
        """Ends with RST instead of FIN."""
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass  # its thread has just closed it
        self.close()

    def close(self):
        if not self.closed:
            self.closed = True
            # close() alone would not wake the thread that reads.
            try:
                self.sock.shutdown(socket.SHUT_RD)
            except OSError:
                pass
            self.sock.close()

    # Receiving.

    def _read(self, n):
        data = bytearray()
        while len(data) < n:
            try:
                part = self.sock.recv(n - len(data))
            except OSError as error:
                raise Gone(str(error)) from error
            if not part:
                raise Gone("closed by the client")
            data += part
        return bytes(data)

    def _run(self):
        try:
            while not self.closed:
                self._one_message()
        except Gone:
            pass
        finally:
            self.close()
            self.node.forget(self)

    def _one_message(self):
        header = self._read(24)
        magic, command, size, checksum = struct.unpack("<4s12sI4s", header)
        if magic != self.node.magic:
            self.fault(f"wrong magic {magic.hex()}")
            raise Gone("wrong magic")
        if size > PAYLOAD_SZ_MAX:
            self.fault(f"payload of {size} bytes")
            raise Gone("payload too large")
        payload = self._read(size)
        if sha256d(payload)[:4] != checksum:
            self.fault("wrong checksum")
            return
        name = command.rstrip(b"\0").decode("ascii", "replace")
        self.counts[name] = self.counts.get(name, 0) + 1
        if not self.version_seen and name != "version":
            self.fault(f"{name} before version")
            raise Gone("version must come first")
        if self.version_seen and not self.ready and name not in ("wtxidrelay", "sendaddrv2", "verack"):
            self.fault(f"{name} before verack")
            return
        handler = getattr(self, "_on_" + name, None)
        if handler is None:
            self.fault(f"unexpected message {name}")
            return
        r = Reader(payload)
        handler(r)
        if not r.done:
            self.fault(f"{name} has bytes left over")

    def _on_version(self, r):
        if self.version_seen:
            self.fault("second version")
        version, services = struct.unpack("<iQ", r.take(12))
        r.take(8 + 8)
        self.addr_recv = r.take(16), struct.unpack(">H", r.take(2))[0]
        r.take(26 + 8)
        self.user_agent = r.var_bytes()
        r.take(4)
        self.relay = r.take(1)[0]
        self.node.greeted(self.relay)
        if version < PROTOCOL:
            self.fault(f"protocol version {version}")
        if services & 8 == 0:
            self.fault("announces no witness service: its transactions would be fetched stripped")
        if services & 0x401:
            self.fault("claims to serve blocks")
        if not self.user_agent or len(self.user_agent) > 256:
            self.fault(f"user agent of {len(self.user_agent)} bytes")
        self.version_seen = True
        self.node.greet(self)

    def send_version(self):
        address = struct.pack("<Q", 0) + bytes(18)
        agent = var_bytes(b"/lab:1.0/")
        self.send(
            "version",
            struct.pack("<iQq", PROTOCOL, self.node.services, int(time.time()))
            + address * 2
            + os.urandom(8)
            + agent
            + struct.pack("<i?", self.node.chain.height, True),
        )

    def _on_verack(self, _r):
        self.ready = True
        self.send("sendcmpct", struct.pack("<?Q", False, 2))
        self.send("ping", self._ping_nonce)
        self.send("feefilter", struct.pack("<q", 1000))
        self.node.handshaken(self)

    def _late(self, name):
        if self.ready:
            self.fault(f"{name} after verack")
            raise Gone(f"{name} after verack")

    def _on_wtxidrelay(self, _r):
        self._late("wtxidrelay")

    def _on_sendaddrv2(self, _r):
        self._late("sendaddrv2")

    def _on_sendheaders(self, _r):
        self.wants_headers = True

    def _on_ping(self, r):
        self.send("pong", r.take(8))

    def _on_pong(self, r):
        if r.take(8) != self._ping_nonce:
            self.fault("pong with a foreign nonce")

    def _on_sendcmpct(self, r):
        r.take(9)

    def _on_feefilter(self, r):
        r.take(8)

    def _on_addrv2(self, r):
        r.at = len(r.data)

    def _on_getheaders(self, r):
        r.u32()
        count = r.compact()
        locator = [r.take(32) for _ in range(count)]
        r.take(32)
        if not 0 < count <= 101 or len(set(locator)) != count:
            self.fault(f"getheaders locator of {count} entries, {len(set(locator))} different")
        # Before the answer is out: who has it may rely on what follows from it.
        self.headers_given = True
        self.node.serve_headers(self, self.node.headers_after(locator))

    def _on_getdata(self, r):
        count = r.compact()
        if not 0 < count <= 50000:
            self.fault(f"getdata of {count} entries")
        missing = b""
        missing_cnt = 0
        for _ in range(count):
            kind, wanted = r.u32(), r.take(32)
            if kind & ~WITNESS == BLOCK:
                if self.relay:
                    self.fault("a block requested on the connection for transactions")
                self.requested.append(wanted)
                self.node.serve_block(self, wanted, bool(kind & WITNESS))
            elif kind & ~WITNESS == TX:
                if not self.relay:
                    self.fault("a transaction requested with relay 0: bitcoind would not answer")
                raw = self.node.transaction(wanted)
                if raw is not None:
                    self.send("tx", raw)
                else:
                    missing += struct.pack("<I", kind) + wanted
                    missing_cnt += 1
            else:
                self.fault(f"getdata of type {kind:#x}")
        if missing_cnt:
            self.send("notfound", compact(missing_cnt) + missing)

    def _on_inv(self, r):
        for _ in range(r.compact()):
            r.take(36)

    def _on_notfound(self, r):
        self._on_inv(r)

    def _on_tx(self, r):
        raw = r.take(len(r.data))
        self.node.accept_transaction(raw)
        self.node.judge_transaction(self, raw)


class Node:
    def __init__(self, chain, network="regtest", netns=None, host="127.0.0.1", port=0):
        self.magic = MAGIC[network]
        self.services = SERVICES
        self.faults = []
        self.connections = []  # live ones
        self.accepted_cnt = 0
        self.greeted_cnt = {0: 0, 1: 0}  # version messages by their relay byte: for blocks, for transactions
        self.transactions = []  # (monotonic time, txid, raw), in order of arrival
        self._changed = threading.Condition()
        self._raw = {}  # block hash -> (full, stripped)
        self.watch = lambda: None  # raises when waiting has become pointless
        self.chain = None
        self._take(chain)

        def listen():
            s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if ":" in host:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # "::" is both families
            s.bind((host, port))
            s.listen(16)
            return s

        self._listener = netns.call(listen) if netns else listen()
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()
        for c in list(self.connections):
            c.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _accept(self):
        while True:
            try:
                sock, address = self._listener.accept()
            except OSError:
                return
            connection = Connection(self, sock, address)
            with self._changed:
                self.accepted_cnt += 1
                self.connections.append(connection)
                self._changed.notify_all()
            connection.start()

    def forget(self, connection):
        with self._changed:
            if connection in self.connections:
                self.connections.remove(connection)
            self._changed.notify_all()

    def greeted(self, relay):
        with self._changed:
            self.greeted_cnt[relay] += 1
            self._changed.notify_all()

    # The chain.

    def _take(self, chain):
        for block in chain.blocks:
            if block.hash not in self._raw:
                self._raw[block.hash] = (block.serialize(), block.serialize(witness=False))
        self.chain = chain
        self._height = {b.hash: i for i, b in enumerate(chain.blocks)}

    def switch(self, chain):
        """Makes chain the active one and announces it as bitcoind does."""
        old = set(self._height)
        self._take(chain)
        new = [b for b in chain.blocks if b.hash not in old]
        for connection in list(self.connections):
            if not connection.ready:
                continue
            try:
                if connection.wants_headers and connection.headers_given and 0 < len(new) <= 8:
                    self.serve_headers(connection, new)
                else:
                    connection.send("inv", compact(1) + struct.pack("<I", BLOCK) + chain.tip.hash)
            except Gone:
                pass

    def extend(self, txs=(), payments=0):
        """One more block on the active chain, announced."""
        longer = self.chain.fork(0)
        longer.rng = self.chain.rng
        block = longer.extend(txs, payments)
        self.switch(longer)
        return block

    def headers_after(self, locator):
        """At most 2000 blocks after the first locator entry that is in the active chain."""
        start = 1 if self.chain.base_height == 0 else 0
        for wanted in locator:
            if wanted in self._height:
                start = self._height[wanted] + 1
                break
            if wanted == self.chain.blocks[0].prev:
                start = 0
                break
        return self.chain.blocks[start : start + 2000]

    # What a test may override.  Called on the connection's thread.

    def greet(self, connection):
        """The client's version has come."""
        connection.send_version()
        connection.send("wtxidrelay")
        connection.send("sendaddrv2")
        connection.send("verack")

    def handshaken(self, connection):
        with self._changed:
            self._changed.notify_all()

    def serve_headers(self, connection, blocks):
        connection.send("headers", compact(len(blocks)) + b"".join(b.header() + b"\0" for b in blocks))

    def serve_block(self, connection, wanted, witness):
        raw = self.block_bytes(wanted, witness)
        if raw is None:
            connection.fault(f"asked for unknown block {display(wanted)}")
        else:
            connection.send("block", raw)

    def block_bytes(self, wanted, witness):
        forms = self._raw.get(wanted)
        return forms and forms[0 if witness else 1]

    def judge_transaction(self, connection, raw):
        """May end the connection, as bitcoind does for an invalid transaction."""

    # Transactions.

    def accept_transaction(self, raw):
        try:
            txid = Tx.parse(raw).txid
        except ValueError as error:
            self.faults.append(f"a transaction that does not parse: {error}")
            return
        with self._changed:
            self.transactions.append((time.monotonic(), txid, raw))
            self._changed.notify_all()

    def transaction(self, wanted):
        for _, txid, raw in self.transactions:
            if txid == wanted:
                return raw
        return None

    def wait(self, predicate, timeout=20):
        """Waits until predicate() holds; it is asked again at every change.  False on time-out."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not predicate():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self.watch()
                self._changed.wait(min(left, 0.1))
        return True

    def wait_transaction(self, txid, timeout=20):
        return self.wait(lambda: self.transaction(txid) is not None, timeout)

    def wait_ready(self, count=1, timeout=20):
        return self.wait(lambda: sum(c.ready for c in self.connections) >= count, timeout)


class RpcNode:
    """bitcoind's JSON-RPC with a table of answers: method -> result, or RpcError, or a callable."""

    class Error(Exception):
        def __init__(self, code, message):
            super().__init__(message)
            self.code, self.message = code, message

    def __init__(self, user="lab", password="secret", tls=None):
        """tls: an ssl.SSLContext with a certificate."""
        self.calls = []  # (method, params)
        self.answers = {"sendrawtransaction": self._accept}
        expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Authorization") != expected:
                    return self.reply(401, b"")
                call = json.loads(body)
                status, reply = outer.answer(call)
                return self.reply(status, json.dumps(reply).encode())

            def reply(self, status, data):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @staticmethod
    def _accept(params):
        return display(Tx.parse(bytes.fromhex(params[0])).txid)

    def answer(self, call):
        method, params = call["method"], call.get("params", [])
        self.calls.append((method, params))
        answer = self.answers.get(method, RpcNode.Error(-32601, "Method not found"))
        reply = {"result": None, "error": None, "id": call.get("id")}
        try:
            if isinstance(answer, RpcNode.Error):
                raise answer
            reply["result"] = answer(params) if callable(answer) else answer
            return 200, reply
        except RpcNode.Error as error:
            reply["error"] = {"code": error.code, "message": error.message}
            return (404 if error.code == -32601 else 500), reply

    def submitted(self):
        """txids given to sendrawtransaction, in order."""
        return [
            Tx.parse(bytes.fromhex(p[0])).txid for m, p in self.calls if m == "sendrawtransaction"
        ]
