"""The Python node, tried by a hand-written client on loopback before any tower meets it."""

import os
import socket
import struct

import pytest

from lab import bitcoin
from lab.node import MAGIC, PROTOCOL, Node, frame


class RawClient:
    def __init__(self, node):
        self.magic = node.magic
        self.sock = socket.create_connection(("127.0.0.1", node.port), timeout=5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, command, payload=b""):
        self.sock.sendall(frame(self.magic, command, payload))

    def read(self, n):
        data = b""
        while len(data) < n:
            part = self.sock.recv(n - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def receive(self):
        magic, command, size, checksum = struct.unpack("<4s12sI4s", self.read(24))
        payload = self.read(size)
        assert magic == self.magic and bitcoin.sha256d(payload)[:4] == checksum
        return command.rstrip(b"\0").decode(), payload

    def expect(self, wanted):
        """The next message of that kind; pings and news in between are skipped."""
        for _ in range(20):
            command, payload = self.receive()
            if command == wanted:
                return payload
        raise AssertionError(f"no {wanted}")

    def version(self, services=8, relay=False):
        self.send(
            "version",
            struct.pack("<iQq", PROTOCOL, services, 0)
            + bytes(52)
            + os.urandom(8)
            + bitcoin.var_bytes(b"/raw:1/")
            + struct.pack("<i?", 0, relay),
        )

    def handshake(self, relay=False):
        self.version(relay=relay)
        self.expect("version")
        self.expect("verack")
        self.send("verack")
        self.expect("ping")

    def get_headers(self, *locator):
        self.send(
            "getheaders",
            struct.pack("<I", PROTOCOL)
            + bitcoin.compact(len(locator))
            + b"".join(locator)
            + bytes(32),
        )
        r = bitcoin.Reader(self.expect("headers"))
        return [(r.take(80), r.compact())[0] for _ in range(r.compact())]

    def get_block(self, wanted, kind=0x40000002):
        self.send("getdata", b"\x01" + struct.pack("<I", kind) + wanted)
        return self.expect("block")


@pytest.fixture
def node():
    with Node(bitcoin.Chain.regtest(30)) as n:
        yield n


def test_handshake_headers_and_blocks(node):
    with RawClient(node) as client:
        client.handshake()
        headers = client.get_headers(node.chain.blocks[0].hash)
        assert headers == [b.header() for b in node.chain.blocks[1:]]
        block = node.chain.blocks[7]
        assert client.get_block(block.hash) == block.serialize()
        assert client.get_block(block.hash, 2) == block.serialize(witness=False)
    assert node.faults == []


def test_headers_start_after_the_first_known_locator_entry(node):
    with RawClient(node) as client:
        client.handshake()
        blocks = node.chain.blocks
        assert len(client.get_headers(os.urandom(32), blocks[20].hash, blocks[0].hash)) == 10
        assert len(client.get_headers(os.urandom(32))) == 30
        assert client.get_headers(blocks[30].hash) == []


def test_headers_above_an_anchor(rng):
    whole = bitcoin.Chain.regtest(30)
    with Node(bitcoin.Chain(whole.blocks[25:], base_height=25)) as node, RawClient(node) as client:
        client.handshake()
        assert len(client.get_headers(whole.blocks[24].hash)) == 6


def test_a_reorg_is_announced_from_the_fork_on(node):
    with RawClient(node) as client:
        client.handshake()
        client.send("sendheaders")
        client.get_headers(node.chain.tip.hash)
        branch = node.chain.fork(2)
        for _ in range(3):
            branch.extend()
        node.switch(branch)
        r = bitcoin.Reader(client.expect("headers"))
        assert [(r.take(80), r.compact())[0] for _ in range(r.compact())] == [
            b.header() for b in branch.blocks[-3:]
        ]


def test_transactions_are_kept_and_served(node, rng):
    tx = bitcoin.payment(rng)
    with RawClient(node) as client:
        client.handshake(relay=True)
        client.send("tx", tx.serialize())
        assert node.wait_transaction(tx.txid)
        client.send("getdata", b"\x01" + struct.pack("<I", 0x40000001) + tx.txid)
        assert client.expect("tx") == tx.serialize()
        client.send("getdata", b"\x01" + struct.pack("<I", 1) + bytes(32))
        assert client.expect("notfound")[:1] == b"\x01"
    assert node.faults == []


@pytest.mark.parametrize(
    "misstep, fault",
    [
        (lambda c: c.send("ping", bytes(8)), "ping before version"),
        (lambda c: c.version(services=0), "no witness service"),
        (lambda c: (c.version(), c.send("getheaders", bytes(37))), "getheaders before verack"),
        (lambda c: (c.handshake(), c.send("wtxidrelay")), "wtxidrelay after verack"),
        (lambda c: (c.handshake(), c.get_block(bytes(32))), "unknown block"),
        (
            lambda c: (c.handshake(), c.sock.sendall(frame(MAGIC["main"], "ping", bytes(8)))),
            "wrong magic",
        ),
        (
            lambda c: (c.handshake(), c.sock.sendall(frame(c.magic, "ping", bytes(8), bytes(4)))),
            "wrong checksum",
        ),
    ],
)
def test_a_client_that_breaks_the_rules_is_noticed(node, misstep, fault):
    with RawClient(node) as client:
        client.sock.settimeout(1)
        try:
            misstep(client)
        except (EOFError, OSError):
            pass
        assert node.wait(lambda: any(fault in f for f in node.faults), 5), node.faults
