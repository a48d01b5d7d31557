"""Coins, and a Lightning channel's transactions as a real node takes them: P2WSH only, signed by BIP143.

The scripts are those of the Lightning specification: a funding output of two keys, a commitment whose
to_local output the revocation key may spend at once and the owner after a delay, and the penalty that
does the first.  Amounts are satoshis, hashes are in internal order.
"""

import hashlib
import struct
from dataclasses import dataclass

from . import secp
from .bitcoin import Breach, Input, Output, Tx, sha256d, var_bytes

SIGHASH_ALL = 1
TO_SELF_DELAY = 42
FEE = 10_000

OP_IF, OP_ELSE, OP_ENDIF = b"\x63", b"\x67", b"\x68"
OP_DROP, OP_CHECKSIG, OP_CHECKMULTISIG, OP_CSV = b"\x75", b"\xac", b"\xae", b"\xb2"
OP_2 = b"\x52"

_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def _bech32_polymod(values):
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for i, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> i & 1 else 0
    return check


def segwit_address(program, prefix="bcrt"):
    """The BIP173 address of a version 0 program."""
    bits = int.from_bytes(program, "big") << -len(program) * 8 % 5
    count = -(-len(program) * 8 // 5)
    data = [0] + [bits >> 5 * (count - 1 - i) & 31 for i in range(count)]
    expanded = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    check = _bech32_polymod(expanded + data + [0] * 6) ^ 1
    data += [check >> 5 * (5 - i) & 31 for i in range(6)]
    return prefix + "1" + "".join(_BECH32[d] for d in data)


def push(data):
    assert len(data) < 0x4C
    return bytes([len(data)]) + data


def p2wsh(script):
    return b"\x00" + push(hashlib.sha256(script).digest())


def _der_integer(n):
    data = n.to_bytes(n.bit_length() // 8 + 1, "big")
    return b"\x02" + push(data)


def sighash(tx, index, script, value):
    """What a signature of input `index` signs (BIP143, SIGHASH_ALL)."""
    one = tx.inputs[index]
    prevouts = b"".join(i.txid + struct.pack("<I", i.index) for i in tx.inputs)
    sequences = b"".join(struct.pack("<I", i.sequence) for i in tx.inputs)
    outputs = b"".join(struct.pack("<q", o.value) + var_bytes(o.script) for o in tx.outputs)
    return sha256d(
        struct.pack("<I", tx.version)
        + sha256d(prevouts)
        + sha256d(sequences)
        + one.txid
        + struct.pack("<I", one.index)
        + var_bytes(script)
        + struct.pack("<qI", value, one.sequence)
        + sha256d(outputs)
        + struct.pack("<II", tx.locktime, SIGHASH_ALL)
    )


class Key:
    def __init__(self, rng):
        self.secret = rng.randrange(1, secp.N)
        self.public = secp.public_key(self.secret)

    def sign(self, tx, index, script, value):
        raw = secp.sign_digest(self.secret, sighash(tx, index, script, value))
        body = b"".join(_der_integer(int.from_bytes(raw[i : i + 32], "big")) for i in (1, 33))
        return b"\x30" + push(body) + bytes([SIGHASH_ALL])


@dataclass
class Coin:
    txid: bytes
    index: int
    value: int


class Wallet:
    """One key, whose script every coin pays to."""

    def __init__(self, rng):
        self.key = Key(rng)
        self.script = push(self.key.public) + OP_CHECKSIG
        self.output_script = p2wsh(self.script)
        self.address = segwit_address(self.output_script[2:])
        self.coins = []

    def spend(self, coin, outputs):
        tx = Tx([Input(coin.txid, coin.index)], outputs)
        tx.witness = [[self.key.sign(tx, 0, self.script, coin.value), self.script]]
        return tx


class Channel:
    """A funding transaction, and what can spend its output: a revoked commitment or a mutual close."""

    def __init__(self, wallet, rng, value=1_000_000):
        self.wallet, self.rng, self.value = wallet, rng, value
        self.ours, self.theirs, self.revocation, self.delayed = (Key(rng) for _ in range(4))
        first, second = sorted((self.ours.public, self.theirs.public))
        self.funding_script = OP_2 + push(first) + push(second) + OP_2 + OP_CHECKMULTISIG
        coin = wallet.coins.pop(0)
        rest = coin.value - value - FEE
        self.funding = wallet.spend(
            coin, [Output(value, p2wsh(self.funding_script)), Output(rest, wallet.output_script)]
        )
        self.to_local_script = (
            OP_IF + push(self.revocation.public) + OP_ELSE
            + push(bytes([TO_SELF_DELAY])) + OP_CSV + OP_DROP + push(self.delayed.public)
            + OP_ENDIF + OP_CHECKSIG
        )  # fmt: skip

    def _signed(self, tx):
        keys = sorted((self.ours, self.theirs), key=lambda k: k.public)
        signatures = [k.sign(tx, 0, self.funding_script, self.value) for k in keys]
        tx.witness = [[b"", *signatures, self.funding_script]]
        return tx

    def commitment(self):
        """A state that has been revoked.  Its number is hidden in sequence and locktime, as it is there."""
        self.to_local = (self.value - FEE) * 6 // 10
        tx = Tx(
            [Input(self.funding.txid, 0, sequence=0x80000000 | self.rng.randrange(1 << 24))],
            [
                Output(self.to_local, p2wsh(self.to_local_script)),
                Output(self.value - FEE - self.to_local, self.wallet.output_script),
            ],
            locktime=0x20000000 | self.rng.randrange(1 << 24),
        )
        return self._signed(tx)

    def close(self):
        """Conflicts with every commitment."""
        return self._signed(
            Tx([Input(self.funding.txid, 0)], [Output(self.value - FEE, self.wallet.output_script)])
        )

    def penalty(self, commitment, fee=FEE, key=None):
        """Valid unless signed with another key than the revocation key."""
        tx = Tx(
            [Input(commitment.txid, 0)], [Output(self.to_local - fee, self.wallet.output_script)]
        )
        signature = (key or self.revocation).sign(tx, 0, self.to_local_script, self.to_local)
        tx.witness = [[signature, b"\x01", self.to_local_script]]
        return tx

    def sweep(self, commitment):
        """What a cheater is after: his output of the commitment, once the delay is over."""
        tx = Tx(
            [Input(commitment.txid, 0, sequence=TO_SELF_DELAY)],
            [Output(self.to_local - FEE, self.wallet.output_script)],
        )
        signature = self.delayed.sign(tx, 0, self.to_local_script, self.to_local)
        tx.witness = [[signature, b"", self.to_local_script]]
        return tx

    def breach(self, **options):
        dispute = self.commitment()
        return Breach(dispute, self.penalty(dispute, **options))
