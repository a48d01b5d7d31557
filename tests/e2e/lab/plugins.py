"""The two client plugins as a tower sees them (spec/teos.md section 18): every byte that they send, and what they make
of an answer.

Nothing here is shared with the programs: cipher and digests are of python3-cryptography and hashlib, signatures of
secp.py.  A plugin keeps what the real one keeps: which appointments wait, which it gave up for ever, and what it thinks of
the tower.
"""

import json
import socket

from . import secp
from .teos import CURRENT, LEGACY, appointment_message, appointment_receipt, locator, registration_receipt, seal

# What a plugin thinks of a tower.
REACHABLE = "reachable"
UNREACHABLE = "temporary unreachable"
SUBSCRIPTION_ERROR = "subscription error"
MISBEHAVING = "misbehaving"

REGISTRATION = {"user_id": str, "available_slots": int, "subscription_expiry": int, "subscription_signature": str}
RECEIPT = {
    "locator": str, "start_block": int, "signature": str, "available_slots": int, "subscription_expiry": int,
}  # fmt: skip
WATCHED = {"locator": str, "encrypted_blob": str, "to_self_delay": int}
TRACKED = {"dispute_txid": str, "penalty_txid": str, "penalty_rawtx": str}


class HookBroken(Exception):
    """An answer that the plugin has no branch for: its hook ends with an exception."""


class Answer:
    def __init__(self, raw):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("ascii").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
        try:
            self.json = json.loads(self.body)
        except ValueError:
            self.json = None


def read_answer(sock):
    """One answer off a connection that may serve more."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part:
            raise ConnectionError("closed before the answer was whole")
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        part = sock.recv(65536)
        if not part:
            raise ConnectionError("closed before the answer was whole")
        body += part
    assert len(body) == length, "more than one answer"
    return Answer(head + b"\r\n\r\n" + body)


def shaped(value, fields):
    """Every one of these keys with a value of its type; others are ignored."""
    return isinstance(value, dict) and all(
        isinstance(value.get(k), t) and not isinstance(value.get(k), bool) for k, t in fields.items()
    )


class Plugin:
    generation = None
    delay = None
    timeout = 30

    def __init__(self, port, secret, tower_id=None, host="127.0.0.1"):
        self.host, self.port, self.secret = host, port, secret
        self.user_id = secp.public_key(secret)
        self.tower_id = tower_id  # what the operator gave to `registertower`
        self.status = REACHABLE
        self.available_slots = self.subscription_expiry = None
        self.pending, self.invalid, self.receipts = {}, {}, {}
        self.sent = []  # sizes of bodies, by endpoint

    def request(self, endpoint, body):
        """Head and body as two strings of bytes: a library may send them apart."""
        raise NotImplementedError

    def post(self, endpoint, body, sock=None):
        head, data = self.request(endpoint, self.dumps(body))
        self.sent.append((endpoint, len(data)))
        if sock is not None:
            sock.sendall(head)
            sock.sendall(data)
            return read_answer(sock)
        with self.connect() as sock:
            sock.sendall(head)
            sock.sendall(data)
            return read_answer(sock)

    def connect(self):
        sock = socket.create_connection((self.host, self.port), timeout=self.timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def sign(self, message):
        return secp.sign(self.secret, message)

    # What is sent, byte for byte.

    def register_body(self):
        key = "user_id" if self.generation == CURRENT else "public_key"
        return {key: self.user_id.hex()}

    def appointment(self, breach, delay=None):
        """(locator, body) for a bitcoin.Breach."""
        txid = breach.dispute.txid
        loc = locator(txid, self.generation)
        blob = seal(breach.penalty.serialize(), txid, self.generation)
        delay = self.delay if delay is None else delay
        inner = {"locator": loc.hex(), "encrypted_blob": blob.hex(), "to_self_delay": delay}
        return loc, {"appointment": inner, "signature": self.sign(appointment_message(loc, blob, delay))}

    def get_body(self, loc):
        message = b"get appointment " + loc.hex().encode()
        return {"locator": loc.hex(), "signature": self.sign(message)}

    def info_body(self):
        return {"signature": self.sign(b"get subscription info")}

    # What is made of the answers that both treat alike.

    def check_receipt(self, loc, body, reply):
        message = appointment_receipt(self.generation, body["signature"], reply["start_block"])
        if secp.recover(message, reply["signature"]) != self.tower_id:
            self.status = MISBEHAVING
            return
        assert reply["locator"] == loc.hex()
        self.receipts[loc] = reply
        self.available_slots = reply["available_slots"]
        self.pending.pop(loc, None)
        self.status = REACHABLE

    def on_revocation(self, breach):
        """The node's hook: once for every revoked commitment."""
        loc, body = self.appointment(breach)
        if self.status in (MISBEHAVING,):
            return
        if self.status != REACHABLE:
            self.pending[loc] = body
            return
        self.send(loc, body)

    def retry(self):
        """The background retrier's turn."""
        if self.status == SUBSCRIPTION_ERROR and self.generation == CURRENT:
            self.register()
        for loc, body in list(self.pending.items()):
            self.send(loc, body)

    def send(self, loc, body):
        try:
            answer = self.post("add_appointment", body)
        except OSError:
            self.status = UNREACHABLE
            self.pending[loc] = body
            return None
        self.judge(loc, body, answer)
        return answer


class CurrentPlugin(Plugin):
    """watchtower-client.  Looks at the shape of a body, never at the status."""

    generation = CURRENT
    delay = 42

    @staticmethod
    def dumps(body):
        return json.dumps(body, separators=(",", ":")).encode()

    def request(self, endpoint, data):
        head = (
            f"POST /{endpoint} HTTP/1.1\r\n"
            "content-type: application/json\r\n"
            "accept: */*\r\n"
            f"host: {self.host}:{self.port}\r\n"
            f"content-length: {len(data)}\r\n\r\n"
        )
        return head.encode(), data

    @staticmethod
    def error_of(answer):
        """The error_code of a body that is an error; a body that is neither is unreadable."""
        j = answer.json
        if shaped(j, {"error": str, "error_code": int}) and 0 <= j["error_code"] <= 255:
            return j["error_code"]
        raise HookBroken(f"unreadable: {answer.status} {answer.body[:200]}")

    def register(self):
        answer = self.post("register", self.register_body())
        reply = answer.json
        if not shaped(reply, {**REGISTRATION, "subscription_start": int}):
            return self.error_of(answer)
        message = registration_receipt(
            CURRENT, self.user_id, reply["available_slots"], reply["subscription_start"],
            reply["subscription_expiry"],
        )  # fmt: skip
        key = secp.recover(message, reply["subscription_signature"])
        self.tower_id = self.tower_id or key
        if key != self.tower_id:
            self.status = MISBEHAVING
            return "foreign key"
        if self.available_slots is not None:
            assert reply["subscription_expiry"] > self.subscription_expiry, "refused: not a longer subscription"
            assert reply["available_slots"] > self.available_slots, "refused: not more slots"
        self.available_slots = reply["available_slots"]
        self.subscription_expiry = reply["subscription_expiry"]
        self.status = REACHABLE
        return reply

    def judge(self, loc, body, answer):
        if shaped(answer.json, RECEIPT):
            return self.check_receipt(loc, body, answer.json)
        code = self.error_of(answer)
        if code == 7:
            self.status = SUBSCRIPTION_ERROR
            self.pending[loc] = body
        else:
            self.pending.pop(loc, None)
            self.invalid[loc] = code
        return None

    def get(self, loc):
        answer = self.post("get_appointment", self.get_body(loc))
        j = answer.json
        inner = j.get("appointment") if isinstance(j, dict) else None
        if isinstance(j, dict) and "status" in j and (shaped(inner, WATCHED) or shaped(inner, TRACKED)):
            return j
        return self.error_of(answer)

    def info(self):
        answer = self.post("get_subscription_info", self.info_body())
        if shaped(answer.json, {"available_slots": int, "subscription_expiry": int, "locators": list}):
            return answer.json
        return self.error_of(answer)

    def ping(self):
        with self.connect() as sock:
            sock.sendall(f"GET /ping HTTP/1.1\r\naccept: */*\r\nhost: {self.host}:{self.port}\r\n\r\n".encode())
            return 200 <= read_answer(sock).status < 300


class LegacyPlugin(Plugin):
    """watchtower-plugin of python-teos, over the library `requests`.  Looks at the status first."""

    generation = LEGACY
    delay = 20

    @staticmethod
    def dumps(body):
        return json.dumps(body).encode()

    def request(self, endpoint, data):
        head = (
            f"POST /{endpoint} HTTP/1.1\r\n"
            f"Host: {self.host}:{self.port}\r\n"
            "User-Agent: python-requests/2.28.1\r\n"
            "Accept-Encoding: gzip, deflate\r\n"
            "Accept: */*\r\n"
            "Connection: keep-alive\r\n"
            f"Content-Length: {len(data)}\r\n"
            "Content-Type: application/json\r\n\r\n"
        )
        return head.encode(), data

    @staticmethod
    def parsed(answer, statuses):
        if answer.json is None or answer.status not in statuses:
            raise HookBroken(f"{answer.status} {answer.body[:200]}")
        return answer.json

    def register(self):
        reply = self.parsed(self.post("register", self.register_body()), (200, 400))
        if "error" in reply:
            return reply["error_code"]
        assert shaped(reply, REGISTRATION)
        message = registration_receipt(
            LEGACY, self.user_id, reply["available_slots"], None, reply["subscription_expiry"]
        )
        key = secp.recover(message, reply["subscription_signature"])
        self.tower_id = self.tower_id or key
        if key != self.tower_id:
            self.status = MISBEHAVING
            return "foreign key"
        self.available_slots = reply["available_slots"]
        self.subscription_expiry = reply["subscription_expiry"]
        self.status = REACHABLE
        return reply

    def judge(self, loc, body, answer):
        if answer.status == 503:
            self.status = UNREACHABLE
            self.pending[loc] = body
            return None
        reply = self.parsed(answer, (200, 400))
        if answer.status == 200:
            return self.check_receipt(loc, body, reply)
        if reply["error_code"] == -8:
            self.status = SUBSCRIPTION_ERROR
            self.pending[loc] = body
        else:
            self.pending.pop(loc, None)
            self.invalid[loc] = reply["error_code"]
        return None

    def get(self, loc):
        answer = self.post("get_appointment", self.get_body(loc))
        reply = self.parsed(answer, (200, 400, 404))
        if answer.status == 404:
            assert reply == {"locator": loc.hex(), "status": "not_found"}
        return reply

    def info(self):
        reply = self.parsed(self.post("get_subscription_info", self.info_body()), (200, 400))
        return reply if "error" not in reply else reply["error_code"]


PLUGINS = {CURRENT: CurrentPlugin, LEGACY: LegacyPlugin}
