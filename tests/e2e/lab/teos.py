"""The client's side of the TEOS protocol (spec/teos.md), both generations."""

import hashlib
import http.client
import json
import socket

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from . import secp

CURRENT, LEGACY = "current", "legacy"


def _ordered(txid, generation):
    """txid is in internal order; legacy clients work on the printed order (section 2)."""
    return txid[::-1] if generation == LEGACY else txid


def locator(txid, generation=CURRENT):
    return _ordered(txid, generation)[:16]


def blob_key(txid, generation=CURRENT):
    return hashlib.sha256(_ordered(txid, generation)).digest()


def seal(penalty, txid, generation=CURRENT):
    return ChaCha20Poly1305(blob_key(txid, generation)).encrypt(bytes(12), penalty, None)


def open_blob(blob, key):
    """The plaintext, or None."""
    try:
        return ChaCha20Poly1305(key).decrypt(bytes(12), blob, None)
    except (InvalidTag, ValueError):
        return None


def slots(blob_sz):
    return -(-blob_sz // 2048)


def u32(n):
    return n.to_bytes(4, "big")


def appointment_message(loc, blob, delay):
    return loc + blob + u32(delay)


def registration_receipt(generation, user_id, available_slots, start, expiry):
    middle = u32(start) if generation == CURRENT else b""
    return user_id + u32(available_slots) + middle + u32(expiry)


def appointment_receipt(generation, user_signature, start_block):
    text = (
        user_signature.encode()
        if generation == CURRENT
        else secp.zbase32_decode(user_signature)
    )
    return text + u32(start_block)


class Refused(Exception):
    """The tower answered with an error."""

    def __init__(self, status, body):
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body
        self.code = body.get("error_code") if isinstance(body, dict) else None


class Client:
    """One user with a key.  Every receipt is verified before a call returns.

    generation is how it speaks HTTP, form how it computes locators and keys from a txid: the two
    are independent for a tower (section 2)."""

    def __init__(self, host, port, secret, generation=CURRENT, form=None, tower_id=None, timeout=20):
        self.host, self.port = host, port
        self.secret = secret
        self.user_id = secp.public_key(secret)
        self.generation = generation
        self.form = form or generation
        self.tower_id = tower_id
        self.timeout = timeout
        self.netns = None  # where the tower is; None: here

    def post(self, path, body, raw=None, headers=None):
        """(status, parsed body, headers); body may be anything that JSON can carry."""
        conn = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        if self.netns is not None:
            conn.sock = self.netns.call(
                lambda: socket.create_connection((self.host, self.port), self.timeout)
            )
        separators = (", ", ": ") if self.generation == LEGACY else (",", ":")
        data = raw if raw is not None else json.dumps(body, separators=separators).encode()
        sent = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        if self.generation == LEGACY:
            sent["User-Agent"] = "python-requests/2.28.1"
        sent.update(headers or {})
        try:
            conn.request("POST", path, body=data, headers=sent)
            reply = conn.getresponse()
            text = reply.read()
            try:
                parsed = json.loads(text)
            except ValueError:
                parsed = text
            return reply.status, parsed, reply.headers
        finally:
            conn.close()

    def _call(self, path, body):
        status, parsed, _ = self.post(path, body)
        if status != 200:
            raise Refused(status, parsed)
        return parsed

    def _check_receipt(self, message, text):
        key = secp.recover(message, text)
        if self.tower_id is None:
            self.tower_id = key
        assert key == self.tower_id, "the receipt is signed by a foreign key"

    def register(self):
        key = "user_id" if self.generation == CURRENT else "public_key"
        reply = self._call("/register", {key: self.user_id.hex()})
        message = registration_receipt(
            self.generation,
            self.user_id,
            reply["available_slots"],
            reply.get("subscription_start"),
            reply["subscription_expiry"],
        )
        self._check_receipt(message, reply["subscription_signature"])
        assert reply["user_id"] == self.user_id.hex()
        return reply

    def add(self, loc, blob, delay=42):
        signature = secp.sign(self.secret, appointment_message(loc, blob, delay))
        reply = self._call(
            "/add_appointment",
            {
                "appointment": {
                    "locator": loc.hex(),
                    "encrypted_blob": blob.hex(),
                    "to_self_delay": delay,
                },
                "signature": signature,
            },
        )
        assert reply["locator"] == loc.hex()
        message = appointment_receipt(self.generation, signature, reply["start_block"])
        self._check_receipt(message, reply["signature"])
        return reply

    def add_breach(self, breach):
        """An appointment for a bitcoin.Breach."""
        txid = breach.dispute.txid
        blob = seal(breach.penalty.serialize(), txid, self.form)
        return self.add(locator(txid, self.form), blob)

    def get(self, loc):
        message = b"get appointment " + loc.hex().encode()
        return self._call(
            "/get_appointment",
            {"locator": loc.hex(), "signature": secp.sign(self.secret, message)},
        )
