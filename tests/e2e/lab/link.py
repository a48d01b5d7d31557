"""Control's side of the link, from dataplane/link/link_wire.h alone.

Records are sent as told, right or wrong; a Link answers nothing by itself.
"""

import select
import socket
import struct
import time
from dataclasses import dataclass

from .programs import SLOW

MAGIC, VERSION = 0x4C474956, 2
REC_SZ_MAX = 4_000_000 + 65536
NETWORKS = ("main", "testnet3", "testnet4", "signet", "regtest")

C_HELLO, WATCH_LOAD, START, WATCH_ADD, WATCH_DEL, BLOCK_ACK, BROADCAST, STATS_GET, STALE_SCAN = range(1, 10)
D_HELLO, CHAIN_START, WATCH_ADDED, HIT, BLOCK_CONNECTED, BLOCK_DISCONNECTED = range(64, 70)
CHAIN_STATE, PEER_STATE, BROADCAST_RESULT, STATS, STALE_BLOCK, STALE_END = range(70, 76)

TIP, RESUME = 0, 1
HIT_RECENT = 1


def record(kind, body=b"", sz=None, zero=0):
    """body is everything behind the head: the rest of the fixed struct, and the tail."""
    whole = 8 + len(body)
    padded = (whole + 7) & ~7
    head = struct.pack("<IHH", padded if sz is None else sz, kind, zero)
    return head + body + bytes(padded - whole)


def hello(magic=MAGIC, version=VERSION, network=NETWORKS.index("regtest")):
    return record(C_HELLO, struct.pack("<IIII", magic, version, network, 0))


def watch_load(locators, cnt=None):
    cnt = len(locators) if cnt is None else cnt
    return record(WATCH_LOAD, struct.pack("<II", cnt, 0) + b"".join(locators))


def start(mode=RESUME, headers=(), cnt=None, root_hash=bytes(32), root_height=0):
    cnt = len(headers) if cnt is None else cnt
    fixed = struct.pack("<II32s32sII", mode, root_height, root_hash, bytes(32), cnt, 0)
    return record(START, fixed + b"".join(headers))


def watch_add(cookie, locator):
    return record(WATCH_ADD, struct.pack("<Q16s", cookie, locator))


def watch_del(locator):
    return record(WATCH_DEL, locator)


def block_ack(height, hash_):
    return record(BLOCK_ACK, struct.pack("<II32s", height, 0, hash_))


def broadcast(cookie, txid, raw, sz=None):
    sz = len(raw) if sz is None else sz
    return record(BROADCAST, struct.pack("<Q32sII", cookie, txid, sz, 0) + raw)


def stats_get(cookie):
    return record(STATS_GET, struct.pack("<Q", cookie))


@dataclass
class Hit:
    locator: bytes
    txid: bytes
    block_hash: bytes
    height: int
    tx_idx: int
    flags: int
    raw: bytes


@dataclass
class Connected:
    hash: bytes
    header: bytes
    height: int
    tx_cnt: int
    hit_cnt: int


@dataclass
class Added:
    cookie: int
    recent_cnt: int
    error: int


def _hit(p):
    locator, txid, block, height, idx, _, flags, _, _, sz, _ = struct.unpack_from(
        "<16s32s32sIIIIQQII", p
    )
    return Hit(locator, txid, block, height, idx, flags, p[120 : 120 + sz])


def _connected(p):
    hash_, header, _, height, tx_cnt, _, hit_cnt = struct.unpack_from("<32s80s32sIIII", p)
    return Connected(hash_, header, height, tx_cnt, hit_cnt)


_PARSERS = {
    HIT: _hit,
    BLOCK_CONNECTED: _connected,
    WATCH_ADDED: lambda p: Added(*struct.unpack("<QIi", p)),
}


class Closed(Exception):
    """The dataplane has ended the session."""


class Link:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(path))
        self._buffer = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, *records, timeout=20):
        self.sock.settimeout(timeout * SLOW)
        try:
            self.sock.sendall(b"".join(records))
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def receive(self, timeout=20):
        """(type, parsed or bytes behind the head) of the next record; None after timeout seconds."""
        deadline = time.monotonic() + timeout
        while True:
            if len(self._buffer) >= 8:
                sz, kind, zero = struct.unpack_from("<IHH", self._buffer)
                assert 8 <= sz <= REC_SZ_MAX and sz % 8 == 0 and zero == 0, "a malformed record"
                if len(self._buffer) >= sz:
                    payload = bytes(self._buffer[8:sz])
                    del self._buffer[:sz]
                    return kind, _PARSERS.get(kind, bytes)(payload)
            left = deadline - time.monotonic()
            if not select.select([self.sock], [], [], max(left, 0))[0]:
                return None
            try:
                part = self.sock.recv(1 << 20)
            except ConnectionResetError:
                part = b""
            if not part:
                raise Closed
            self._buffer += part

    def records(self, timeout=20):
        """Every record, until none is left for timeout seconds."""
        while (got := self.receive(timeout)) is not None:
            yield got

    def until(self, kind, timeout=20):
        """Everything up to and with the next record of that kind."""
        seen = []
        deadline = time.monotonic() + timeout * SLOW
        while time.monotonic() < deadline:
            got = self.receive(max(deadline - time.monotonic(), 0))
            if got is None:
                break
            seen.append(got)
            if got[0] == kind:
                return seen
        raise AssertionError(f"no record of type {kind}; types seen: {[k for k, _ in seen]}")

    def wait_closed(self, timeout=20):
        """Until the dataplane ends the session."""
        deadline = time.monotonic() + timeout * SLOW
        try:
            while (left := deadline - time.monotonic()) > 0:
                self.receive(left)
        except Closed:
            return
        raise AssertionError("the dataplane keeps the link open")

    def open(self, timeout=20):
        """HELLO both ways; the dataplane's is the first record."""
        self.send(hello())
        got = self.receive(timeout * SLOW)
        assert got is not None and got[0] == D_HELLO
        magic, version, network, recent, window, shards = struct.unpack_from("<IIIIII", got[1])
        assert (magic, version, NETWORKS[network]) == (MAGIC, VERSION, "regtest")
        return {"recent_blocks": recent, "window": window, "shard_cnt": shards}


def follow(link, last_height, timeout=30):
    """Acknowledges every block up to last_height: (blocks, hits)."""
    blocks, hits, pending = [], [], []
    deadline = time.monotonic() + timeout * SLOW
    while True:
        got = link.receive(max(deadline - time.monotonic(), 0))
        assert got is not None, f"blocks end at {blocks[-1].height if blocks else None}"
        kind, r = got
        if kind == HIT:
            pending.append(r)
        elif kind == BLOCK_CONNECTED:
            # Hits come directly before their block.
            assert [h.height for h in pending] == [r.height] * r.hit_cnt
            assert [h.tx_idx for h in pending] == sorted(h.tx_idx for h in pending)
            hits, pending = hits + pending, []
            blocks.append(r)
            link.send(block_ack(r.height, r.hash))
            if r.height == last_height:
                return blocks, hits
