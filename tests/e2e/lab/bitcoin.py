"""Bitcoin's serializations, regtest mining, and chains that fork (spec/bitcoin.md).

Hashes are bytes in internal order; display() prints them.
"""

import hashlib
import random
import struct
from dataclasses import dataclass, field

REGTEST_BITS = 0x207FFFFF
SEQUENCE_FINAL = 0xFFFFFFFF


def sha256d(data):
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def display(hash_):
    return hash_[::-1].hex()


def from_display(text):
    return bytes.fromhex(text)[::-1]


def compact(n):
    if n < 0xFD:
        return bytes([n])
    if n < 0x10000:
        return b"\xfd" + struct.pack("<H", n)
    if n < 0x100000000:
        return b"\xfe" + struct.pack("<I", n)
    return b"\xff" + struct.pack("<Q", n)


def var_bytes(data):
    return compact(len(data)) + data


class Malformed(ValueError):
    pass


class Reader:
    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def take(self, n):
        if n > len(self.data) - self.at:
            raise Malformed("truncated")
        self.at += n
        return self.data[self.at - n : self.at]

    def u32(self):
        return struct.unpack("<I", self.take(4))[0]

    def compact(self):
        first = self.take(1)[0]
        if first < 0xFD:
            return first
        size, least = {0xFD: (2, 0xFD), 0xFE: (4, 0x10000), 0xFF: (8, 0x100000000)}[first]
        n = int.from_bytes(self.take(size), "little")
        if n < least:
            raise Malformed("non-canonical compact size")
        return n

    def var_bytes(self):
        return self.take(self.compact())

    @property
    def done(self):
        return self.at == len(self.data)


@dataclass
class Input:
    txid: bytes
    index: int
    script: bytes = b""
    sequence: int = SEQUENCE_FINAL


@dataclass
class Output:
    value: int
    script: bytes


@dataclass
class Tx:
    inputs: list
    outputs: list
    version: int = 2
    locktime: int = 0
    witness: list = field(default_factory=list)  # one list of items for each input, or empty

    def serialize(self, witness=True):
        extended = witness and any(self.witness)
        out = struct.pack("<I", self.version)
        if extended:
            out += b"\x00\x01"
        out += compact(len(self.inputs))
        for i in self.inputs:
            out += i.txid + struct.pack("<I", i.index) + var_bytes(i.script)
            out += struct.pack("<I", i.sequence)
        out += compact(len(self.outputs))
        for o in self.outputs:
            out += struct.pack("<q", o.value) + var_bytes(o.script)
        if extended:
            for items in self.witness:
                out += compact(len(items)) + b"".join(map(var_bytes, items))
        return out + struct.pack("<I", self.locktime)

    @property
    def txid(self):
        return sha256d(self.serialize(witness=False))

    @property
    def wtxid(self):
        return sha256d(self.serialize())

    @classmethod
    def read(cls, r):
        version = r.u32()
        extended = r.data[r.at : r.at + 2] == b"\x00\x01"
        if extended:
            r.take(2)
        inputs = [
            Input(r.take(32), r.u32(), r.var_bytes(), r.u32()) for _ in range(r.compact())
        ]
        outputs = [
            Output(struct.unpack("<q", r.take(8))[0], r.var_bytes()) for _ in range(r.compact())
        ]
        witness = []
        if extended:
            witness = [[r.var_bytes() for _ in range(r.compact())] for _ in inputs]
        return cls(inputs, outputs, version, r.u32(), witness)

    @classmethod
    def parse(cls, data):
        r = Reader(data)
        tx = cls.read(r)
        if not r.done:
            raise Malformed("bytes after the transaction")
        return tx


def merkle_root(leaves):
    level = list(leaves)
    while len(level) > 1:
        if len(level) % 2:
            level.append(level[-1])
        level = [sha256d(level[i] + level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


def bits_to_target(bits):
    size, mantissa = bits >> 24, bits & 0x7FFFFF
    return mantissa >> 8 * (3 - size) if size <= 3 else mantissa << 8 * (size - 3)


def height_push(height):
    """BIP34: the minimal push of the height."""
    if height <= 16:
        return bytes([0x50 + height])
    data = height.to_bytes(height.bit_length() // 8 + 1, "little")
    return bytes([len(data)]) + data


@dataclass
class Block:
    prev: bytes
    time: int
    txs: list
    bits: int = REGTEST_BITS
    version: int = 0x20000000
    nonce: int = 0
    merkle: bytes = None  # None: computed

    def header(self):
        root = self.merkle or merkle_root([tx.txid for tx in self.txs])
        return struct.pack(
            "<i32s32sIII", self.version, self.prev, root, self.time, self.bits, self.nonce
        )

    @property
    def hash(self):
        return sha256d(self.header())

    def serialize(self, witness=True):
        return self.header() + compact(len(self.txs)) + b"".join(
            tx.serialize(witness) for tx in self.txs
        )

    def mine(self):
        """Finds a nonce; a few tries at regtest's difficulty."""
        target = bits_to_target(self.bits)
        self.merkle = self.merkle or merkle_root([tx.txid for tx in self.txs])
        while int.from_bytes(self.hash, "little") > target:
            self.nonce += 1
        return self

    @classmethod
    def parse(cls, data):
        r = Reader(data)
        version, prev, merkle, time, bits, nonce = struct.unpack("<i32s32sIII", r.take(80))
        txs = [Tx.read(r) for _ in range(r.compact())]
        if not r.done:
            raise Malformed("bytes after the block")
        return cls(prev, time, txs, bits, version, nonce, merkle)


def coinbase(height, txs=(), extra=b""):
    """With the witness commitment that a block with witnesses must have."""
    script = height_push(height) + b"\x00" + extra
    tx = Tx([Input(bytes(32), 0xFFFFFFFF, script)], [Output(50 * 10**8, b"\x51")])
    if any(any(t.witness) for t in txs):
        root = merkle_root([bytes(32)] + [t.wtxid for t in txs])
        commitment = b"\x6a\x24\xaa\x21\xa9\xed" + sha256d(root + bytes(32))
        tx.outputs.append(Output(0, commitment))
        tx.witness = [[bytes(32)]]
    return tx


_GENESIS_SCRIPT = bytes.fromhex("04ffff001d0104") + var_bytes(
    b"The Times 03/Jan/2009 Chancellor on brink of second bailout for banks"
)
_GENESIS_KEY = bytes.fromhex(
    "04678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb6"
    "49f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5f"
)


def regtest_genesis():
    tx = Tx(
        [Input(bytes(32), 0xFFFFFFFF, _GENESIS_SCRIPT)],
        [Output(50 * 10**8, var_bytes(_GENESIS_KEY) + b"\xac")],
        version=1,
    )
    return Block(bytes(32), 1296688602, [tx], version=1, nonce=2)


def payment(rng, inputs=1, outputs=2):
    """A segwit payment that spends outputs nobody has seen: the tower does not check that."""
    return Tx(
        [Input(rng.randbytes(32), rng.randrange(4)) for _ in range(inputs)],
        [Output(rng.randrange(1000, 10**8), b"\x00\x14" + rng.randbytes(20)) for _ in range(outputs)],
        witness=[[rng.randbytes(71), b"\x02" + rng.randbytes(32)] for _ in range(inputs)],
    )


@dataclass
class Breach:
    """A revoked commitment, and the penalty that spends its first output."""

    dispute: Tx
    penalty: Tx

    @classmethod
    def make(cls, rng):
        dispute = Tx(
            [Input(rng.randbytes(32), 0, sequence=0x80000000 | rng.randrange(1 << 24))],
            [
                Output(rng.randrange(10**5, 10**7), b"\x00\x20" + rng.randbytes(32)),
                Output(rng.randrange(10**5, 10**7), b"\x00\x14" + rng.randbytes(20)),
            ],
            locktime=0x20000000 | rng.randrange(1 << 24),
            witness=[[b"", rng.randbytes(71), rng.randbytes(71), rng.randbytes(71)]],
        )
        return cls(dispute, cls.penalty_for(rng, dispute.txid))

    @classmethod
    def of_txid(cls, rng, txid):
        """A penalty for a transaction of which only the txid is known."""
        return cls.penalty_for(rng, txid)

    @staticmethod
    def penalty_for(rng, txid):
        return Tx(
            [Input(txid, 0)],
            [Output(rng.randrange(5 * 10**4, 10**5), b"\x00\x14" + rng.randbytes(20))],
            witness=[[rng.randbytes(72), b"\x01", rng.randbytes(77)]],
        )


class Chain:
    """Blocks from a base upwards.  Chains share the blocks below a fork."""

    def __init__(self, blocks, base_height=0, rng=None):
        self.blocks = list(blocks)
        self.base_height = base_height
        self.rng = rng or random.Random(1)

    @classmethod
    def regtest(cls, length, seed=1, txs_per_block=3):
        chain = cls([regtest_genesis()], rng=random.Random(seed))
        for _ in range(length):
            chain.extend(payments=txs_per_block)
        return chain

    @property
    def tip(self):
        return self.blocks[-1]

    @property
    def height(self):
        return self.base_height + len(self.blocks) - 1

    def next_block(self, txs=(), payments=0):
        """Mined on the tip, not yet part of the chain."""
        others = list(txs) + [payment(self.rng) for _ in range(payments)]
        self.rng.shuffle(others)
        first = coinbase(self.height + 1, others, self.rng.randbytes(8))
        return Block(self.tip.hash, self.tip.time + 600, [first] + others).mine()

    def extend(self, txs=(), payments=0):
        self.blocks.append(self.next_block(txs, payments))
        return self.tip

    def fork(self, depth):
        """A chain without the last depth blocks."""
        kept = self.blocks[: len(self.blocks) - depth]
        return Chain(kept, self.base_height, random.Random(self.rng.random()))
