"""The rows of the parity checklist that a client or an operator can see, against the real programs, and both client
plugins through the whole of their lives.  The ids are listed in tests/vectors/teos/parity.txt."""

import contextlib
import pathlib
import random
import socket
import tempfile

import pytest
from conftest import MemifLab

from lab import secp
from lab.bitcoin import Breach, Chain
from lab.node import RpcNode
from lab.plugins import (
    MISBEHAVING,
    REACHABLE,
    SUBSCRIPTION_ERROR,
    UNREACHABLE,
    CurrentPlugin,
    LegacyPlugin,
    read_answer,
)
from lab.programs import SLOW, wait_until
from lab.teos import CURRENT, LEGACY, appointment_message, locator, u32

BOTH = pytest.mark.parametrize("plugin", [CurrentPlugin, LegacyPlugin])
DEFAULT_SLOTS, DEFAULT_DURATION, HEIGHT = 10000, 4320, 12


@pytest.fixture(scope="module")
def tower(programs):
    """One for all tests that need nothing but answers; its chain stands still at HEIGHT."""
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vigil-")))
        made = MemifLab(folder, random.Random(1))
        made.synth("--blocks", str(HEIGHT), "--txs-per-block", "10", "--seed", "3")
        made.serve("--start-blocks", str(HEIGHT))
        # Nobody answers there: the tower goes on without that node (P10).
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            made.tower.settings["rpc"] = {
                "connect": f"127.0.0.1:{nobody.getsockname()[1]}", "user": "u", "password": "p",
            }  # fmt: skip
            try:
                made.start()
                made.tower.wait_height(HEIGHT)
                yield made.tower
                for program in made.programs():
                    program.terminate()
            finally:
                for program in made.programs():
                    program.kill()
                    print(f"--- {program.name}\n{program.output()[-6000:]}")


@pytest.fixture
def new(tower, rng):
    """Makes plugins, registered or not."""

    def make(kind, registered=True):
        plugin = kind(tower.port, rng.randrange(1, secp.N))
        plugin.timeout *= SLOW
        if registered:
            assert isinstance(plugin.register(), dict)
        return plugin

    return make


# Registration and receipts.


@BOTH
def test_T01_register_and_renew(new, plugin):
    p = new(plugin, registered=False)
    first = p.register()
    assert first["user_id"] == p.user_id.hex()
    assert first["available_slots"] == DEFAULT_SLOTS
    assert first["subscription_expiry"] == HEIGHT + DEFAULT_DURATION
    second = p.register()
    assert second["available_slots"] == 2 * DEFAULT_SLOTS
    assert second["subscription_expiry"] == HEIGHT + 2 * DEFAULT_DURATION
    if plugin is CurrentPlugin:
        assert set(first) >= {
            "user_id", "available_slots", "subscription_start", "subscription_expiry", "subscription_signature",
        }  # fmt: skip
        assert first["subscription_start"] == second["subscription_start"] == HEIGHT
    else:
        assert first["public_key"] == p.user_id.hex()


@BOTH
def test_T31_P02_receipts_are_those_of_the_generation(new, rng, plugin):
    """The plugin has checked them with its own code; here that the other generation's bytes would not do."""
    p = new(plugin)
    breach = Breach.make(rng)
    loc, body = p.appointment(breach)
    p.send(loc, body)
    reply = p.receipts[loc]
    text, packed = body["signature"].encode(), secp.zbase32_decode(body["signature"])
    mine, other = (text, packed) if plugin is CurrentPlugin else (packed, text)
    assert (len(mine), len(mine + u32(0))) == ((104, 108) if plugin is CurrentPlugin else (65, 69))
    assert secp.recover(mine + u32(reply["start_block"]), reply["signature"]) == p.tower_id
    assert secp.recover(other + u32(reply["start_block"]), reply["signature"]) != p.tower_id
    assert reply["start_block"] == HEIGHT


def test_P02_the_latest_registration_decides_the_receipt(new, rng):
    p = new(LegacyPlugin)
    later = CurrentPlugin(p.port, p.secret, p.tower_id)
    assert isinstance(later.register(), dict)
    later.on_revocation(Breach.make(rng))
    assert later.status == REACHABLE and len(later.receipts) == 1


# Who asks.


def without_dates(answer):
    headers = {k: v for k, v in answer.headers.items() if k != "date"}
    return answer.status, headers, answer.body


@BOTH
@pytest.mark.parametrize("endpoint", ["add_appointment", "get_appointment", "get_subscription_info"])
def test_T02_an_unknown_key_and_a_bad_signature_look_the_same(new, rng, plugin, endpoint):
    stranger, known = new(plugin, registered=False), new(plugin)
    breach = Breach.make(rng)
    loc = locator(breach.dispute.txid, plugin.generation)

    def body(p):
        return {
            "add_appointment": lambda: p.appointment(breach)[1],
            "get_appointment": lambda: p.get_body(loc),
            "get_subscription_info": p.info_body,
        }[endpoint]()

    good = body(known)
    answers = [stranger.post(endpoint, body(stranger))]
    wrong = {
        "not the alphabet": "0" * 104,
        "no such key": "y" * 104,
        "of something else": known.sign(b"something else"),
        "short": good["signature"][:-8],
        "long": good["signature"] + "y" * 8,
    }
    for signature in wrong.values():
        answers.append(known.post(endpoint, {**good, "signature": signature}))
    first = without_dates(answers[0])
    for answer in answers[1:]:
        assert without_dates(answer) == first
    if plugin is CurrentPlugin:
        assert (first[0], answers[0].json["error_code"]) == (401, 7)
    elif endpoint == "get_appointment":
        assert (first[0], answers[0].json) == (404, {"locator": loc.hex(), "status": "not_found"})
    else:
        assert (first[0], answers[0].json["error_code"]) == (400, -8)
    assert known.post(endpoint, good).status in (200, 404)


@BOTH
def test_T02_the_text_of_a_signature_may_be_in_upper_case(new, plugin):
    p = new(plugin)
    body = p.info_body()
    assert p.post("get_subscription_info", {"signature": body["signature"].upper()}).status == 200


# Appointments.


@BOTH
def test_T06_add_update_and_query(new, rng, plugin):
    p = new(plugin)
    breach = Breach.make(rng)
    loc, body = p.appointment(breach)
    p.send(loc, body)
    assert p.status == REACHABLE and p.available_slots == DEFAULT_SLOTS - 1
    # An update in place, larger by two slots and then smaller again.
    big = bytes(rng.randrange(256) for _ in range(3 * 2048))
    for blob, left in ((big, 3), (b"\x01", 1)):
        inner = {"locator": loc.hex(), "encrypted_blob": blob.hex(), "to_self_delay": 4000000000}
        signature = p.sign(appointment_message(loc, blob, 4000000000))
        answer = p.post("add_appointment", {"appointment": inner, "signature": signature})
        assert answer.status == 200, answer.body
        assert answer.json["available_slots"] == DEFAULT_SLOTS - left
        assert p.get(loc)["appointment"]["encrypted_blob"] == blob.hex()
    found = p.get(loc)
    assert found["status"] == "being_watched"
    assert found["appointment"]["to_self_delay"] == 4000000000
    assert found["appointment"]["locator"] == loc.hex()
    assert ("locator" in found) == (plugin is LegacyPlugin)


def test_T06_the_receipt_of_a_blob_without_bytes(new):
    p = new(CurrentPlugin)
    loc = bytes(range(16))
    inner = {"locator": loc.hex(), "encrypted_blob": "", "to_self_delay": 0}
    answer = p.post(
        "add_appointment", {"appointment": inner, "signature": p.sign(appointment_message(loc, b"", 0))}
    )
    assert answer.status == 200 and answer.json["available_slots"] == DEFAULT_SLOTS


def test_T08_only_the_owner_finds_an_appointment(new, rng):
    mine, other = new(CurrentPlugin), new(CurrentPlugin)
    breach = Breach.make(rng)
    mine.on_revocation(breach)
    loc = locator(breach.dispute.txid, CURRENT)
    assert mine.get(loc)["status"] == "being_watched"
    answer = other.post("get_appointment", other.get_body(loc))
    assert (answer.status, answer.json) == (404, {"error": "Appointment not found", "error_code": 36})


@BOTH
def test_T08_a_locator_in_upper_case_is_found_by_either_way_of_signing_it(new, rng, plugin):
    p = new(plugin)
    breach = Breach.make(rng)
    p.on_revocation(breach)
    text = locator(breach.dispute.txid, plugin.generation).hex()
    for signed in (text, text.upper()):
        body = {"locator": text.upper(), "signature": p.sign(b"get appointment " + signed.encode())}
        assert p.post("get_appointment", body).json["status"] == "being_watched"


@BOTH
def test_T09_the_own_subscription(new, rng, plugin):
    p = new(plugin)
    breaches = [Breach.make(rng) for _ in range(3)]
    for breach in breaches:
        p.on_revocation(breach)
    info = p.info()
    assert info["available_slots"] == DEFAULT_SLOTS - 3
    assert info["subscription_expiry"] == HEIGHT + DEFAULT_DURATION
    listed = info["locators" if plugin is CurrentPlugin else "appointments"]
    assert sorted(listed) == sorted(locator(b.dispute.txid, plugin.generation).hex() for b in breaches)


def test_T10_ping(new):
    assert new(CurrentPlugin, registered=False).ping()


# Transport.


@BOTH
def test_T11_bodies_have_the_sizes_of_the_real_ones(new, rng, plugin):
    """Section 7.3: what the clients send, to the byte."""
    p = new(plugin)
    breach = Breach.make(rng)
    loc, body = p.appointment(breach)
    p.send(loc, body)
    p.get(loc)
    p.info()
    blob = len(body["appointment"]["encrypted_blob"])
    expected = [80, 220 + blob, 165, 120] if plugin is CurrentPlugin else [84, 228 + blob, 168, 121]
    assert [size for _, size in p.sent] == expected


@BOTH
def test_T11_answers_are_json_with_a_length(new, plugin):
    p = new(plugin)
    for endpoint, body in (
        ("register", p.register_body()),
        ("get_subscription_info", p.info_body()),
        ("get_subscription_info", {"signature": "x"}),
        ("get_appointment", {}),
    ):
        answer = p.post(endpoint, body)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json is not None and "transfer-encoding" not in answer.headers


@BOTH
def test_T11_a_connection_may_be_used_again(new, rng, plugin):
    """`requests` keeps a connection when it is told to; a new one for every request is the plugins' usual way."""
    p = new(plugin)
    loc, body = p.appointment(Breach.make(rng))
    with p.connect() as sock:
        assert p.post("register", p.register_body(), sock).status == 200
        assert p.post("add_appointment", body, sock).status == 200
        assert p.post("get_appointment", p.get_body(loc), sock).json["status"] == "being_watched"
        assert p.post("get_appointment", {"locator": "00", "signature": "y"}, sock).status in (400, 404)
        assert p.post("get_subscription_info", p.info_body(), sock).status == 200


@BOTH
def test_T11_a_request_may_come_a_few_bytes_at_a_time(new, plugin):
    p = new(plugin)
    head, data = p.request("register", p.dumps(p.register_body()))
    with p.connect() as sock:
        for at in range(0, len(head), 7):
            sock.sendall(head[at : at + 7])
        for at in range(0, len(data), 20):
            sock.sendall(data[at : at + 20])
        assert read_answer(sock).status == 200


def test_P05_an_appointment_of_many_slots_is_taken(new, rng):
    p = new(CurrentPlugin)
    loc, blob = rng.randbytes(16), rng.randbytes(60000)
    inner = {"locator": loc.hex(), "encrypted_blob": blob.hex(), "to_self_delay": 42}
    answer = p.post(
        "add_appointment", {"appointment": inner, "signature": p.sign(appointment_message(loc, blob, 42))}
    )
    assert answer.status == 200 and answer.json["available_slots"] == DEFAULT_SLOTS - 30


def test_P06_a_small_delay_is_refused_to_a_legacy_user_only(new, rng):
    breach = Breach.make(rng)
    for kind, status in ((CurrentPlugin, 200), (LegacyPlugin, 400)):
        p = new(kind)
        loc, body = p.appointment(breach, delay=19)
        answer = p.post("add_appointment", body)
        assert answer.status == status
        if status == 400:
            assert answer.json["error_code"] == -5
            p.judge(loc, body, answer)
            assert p.invalid == {loc: -5}
        loc, body = p.appointment(breach, delay=20)
        assert p.post("add_appointment", body).status == 200


def test_P10_appointments_are_taken_while_the_node_is_down(new, tower, rng):
    assert tower.rpc("gettowerinfo")["bitcoind_reachable"] is False
    for kind in (CurrentPlugin, LegacyPlugin):
        p = new(kind)
        p.on_revocation(Breach.make(rng))
        assert p.status == REACHABLE and len(p.receipts) == 1


def test_T34_counters(new, tower, rng):
    before = tower.rpc("gettowerinfo")
    p = new(CurrentPlugin)
    for _ in range(2):
        p.on_revocation(Breach.make(rng))
    after = tower.rpc("gettowerinfo")
    assert after["n_registered_users"] == before["n_registered_users"] + 1
    assert after["n_watcher_appointments"] == before["n_watcher_appointments"] + 2
    assert after["n_responder_trackers"] == before["n_responder_trackers"] == 0
    assert after["tower_id"] == p.tower_id.hex()


# The plugins' lives, with a chain that moves.


class Life:
    def __init__(self, lab, rng):
        self.lab, self.rng = lab, rng
        self.node = lab.node(Chain.regtest(10))
        self.tower = lab.tower(self.node)

    def start(self):
        self.tower.start()
        # Takes registrations: from here on plugins meet no 503.
        self.lab.client(self.tower, self.rng)
        return self

    def plugin(self, kind):
        made = kind(self.tower.port, self.rng.randrange(1, secp.N))
        made.timeout *= SLOW
        assert isinstance(made.register(), dict)
        return made

    def mine(self, txs=(), blocks=1):
        for i in range(blocks):
            self.node.extend(txs if i == 0 else ())
        self.tower.wait_synced(self.node)

    def penalised(self, breach):
        assert self.node.wait_transaction(breach.penalty.txid, 30 * SLOW)


@pytest.mark.main_path
def test_C06_both_plugins_live_with_one_tower(lab, rng):
    """Section 21, items 2 to 4: the same dispute, watched by both in their own way; restart; another key."""
    life = Life(lab, rng)
    life.tower.settings["teos"] = {"subscription-slots": "3"}
    life.start()
    current, legacy = life.plugin(CurrentPlugin), life.plugin(LegacyPlugin)
    dispute = Breach.make(rng).dispute
    breaches = {p: Breach(dispute, Breach.penalty_for(rng, dispute.txid)) for p in (current, legacy)}
    places = {p: locator(dispute.txid, p.generation) for p in (current, legacy)}

    # Watched, then responded to.
    for p in (current, legacy):
        p.on_revocation(breaches[p])
        assert p.status == REACHABLE and p.get(places[p])["status"] == "being_watched"
    life.mine([dispute])
    for p in (current, legacy):
        life.penalised(breaches[p])
        found = p.get(places[p])
        assert found["status"] == "dispute_responded"
        assert found["appointment"]["dispute_txid"] == dispute.txid[::-1].hex()
        assert found["appointment"]["penalty_txid"] == breaches[p].penalty.txid[::-1].hex()
        assert found["appointment"]["penalty_rawtx"] == breaches[p].penalty.serialize().hex()
        if p is legacy:
            assert found["locator"] == found["appointment"]["locator"] == places[p].hex()
    # Sent again it is refused for good: a tracker is there.
    for p, code in ((current, 35), (legacy, -9)):
        p.on_revocation(breaches[p])
        assert p.invalid == {places[p]: code}
    # Six deep they are still there, a hundred above the penalties they are done, and the slots are back.
    life.mine([breaches[current].penalty, breaches[legacy].penalty])
    life.mine(blocks=99)
    assert current.info()["available_slots"] == legacy.info()["available_slots"] == 2
    life.mine()
    wait_until(lambda: life.tower.trackers() == [], "the end of the trackers")
    assert current.get(places[current]) == 36
    assert legacy.get(places[legacy])["status"] == "not_found"
    assert current.info()["available_slots"] == legacy.info()["available_slots"] == 3
    assert current.info()["locators"] == legacy.info()["appointments"] == []

    # Slots run out: code 7 and -8 keep the appointment; a registration (by itself, or by hand) and it is taken.
    for p in (current, legacy):
        for _ in range(3):
            p.on_revocation(Breach.make(rng))
        assert p.status == REACHABLE and p.available_slots == 0
        p.on_revocation(Breach.make(rng))
        assert p.status == SUBSCRIPTION_ERROR and len(p.pending) == 1
        p.on_revocation(Breach.make(rng))  # queued without being sent
        if p is legacy:
            assert isinstance(p.register(), dict)
        p.retry()
        assert p.status == REACHABLE and p.pending == {} and p.available_slots == 1
        assert len(p.invalid) == 1

    # The tower restarts: queued, and sent when it is back.
    life.tower.control.terminate()
    waiting = {p: Breach.make(rng) for p in (current, legacy)}
    for p, breach in waiting.items():
        p.on_revocation(breach)
        assert p.status == UNREACHABLE and len(p.pending) == 1
    life.tower.start_control()
    for p, breach in waiting.items():
        p.port = life.tower.port

        def taken(p=p):
            p.retry()
            return p.status == REACHABLE

        wait_until(taken, "the queued appointment", 30)
        assert p.pending == {}
    life.mine([b.dispute for b in waiting.values()])
    for breach in waiting.values():
        life.penalised(breach)


def test_T30_another_key_makes_the_tower_misbehave_to_both_plugins(lab, rng):
    life = Life(lab, rng).start()
    current, legacy = life.plugin(CurrentPlugin), life.plugin(LegacyPlugin)
    first = life.tower.rpc("gettowerinfo")["tower_id"]
    assert current.tower_id.hex() == legacy.tower_id.hex() == first

    def restart(*options):
        life.tower.control.terminate()
        life.tower.control_options = list(options)
        life.tower.start_control()
        current.port = legacy.port = life.tower.port
        life.tower.wait_synced(life.node)
        return life.tower.rpc("gettowerinfo")["tower_id"]

    assert restart() == first
    second = restart("--overwrite-key")
    assert second != first
    folder = life.tower.folder / "data" / "regtest"
    assert {f.name for f in folder.glob("tower.key*")} == {"tower.key", "tower.key.old-1"}
    for p in (current, legacy):
        # The data is still there; a receipt is signed by a stranger.
        assert p.info()["available_slots"] == DEFAULT_SLOTS
        p.on_revocation(Breach.make(rng))
        assert p.status == MISBEHAVING
    assert restart() == second


def test_T24_the_chain_with_the_most_work_is_followed(lab, rng):
    life = Life(lab, rng).start()
    p = life.plugin(CurrentPlugin)
    both, first_only, second_only = (Breach.make(rng) for _ in range(3))
    for breach in (both, first_only, second_only):
        p.on_revocation(breach)
    life.mine([first_only.dispute, both.dispute])
    life.penalised(first_only)
    life.penalised(both)
    # As much work: not followed.  More: followed at once, without polling.
    rival = life.node.chain.fork(1)
    rival.extend([both.dispute])
    before = life.tower.rpc("getinfo")["block_hash"]
    life.node.switch(rival)
    longer = rival.fork(0)
    longer.extend([second_only.dispute])
    wait_until(lambda: life.tower.counters().get("headers_side") == 1, "the rival's header")
    assert life.tower.rpc("getinfo")["block_hash"] == before
    life.node.switch(longer)
    life.tower.wait_synced(life.node)
    life.penalised(second_only)
    for breach, status in (
        (both, "dispute_responded"), (second_only, "dispute_responded"), (first_only, "being_watched"),
    ):  # fmt: skip
        assert p.get(locator(breach.dispute.txid, CURRENT))["status"] == status


@BOTH
def test_T19_a_reorg_sends_the_dispute_and_its_penalty_again(lab, rng, plugin):
    """By P2P and by RPC, once, in this order; and what a node says to it deletes nothing."""
    life = Life(lab, rng)
    with RpcNode() as rpc:
        rpc.answers["getblockchaininfo"] = {
            "chain": "regtest", "blocks": 11, "headers": 11, "initialblockdownload": False,
        }  # fmt: skip
        life.tower.settings["rpc"] = {"connect": f"127.0.0.1:{rpc.port}", "user": "lab", "password": "secret"}
        life.start()
        p = life.plugin(plugin)
        breach = Breach.make(rng)
        loc = locator(breach.dispute.txid, plugin.generation)
        p.on_revocation(breach)
        life.mine([breach.dispute])
        life.penalised(breach)
        life.mine([breach.penalty])
        wait_until(lambda: [t["state"] for t in life.tower.trackers()] == ["confirmed"], "the confirmation")
        sent, called = len(life.node.transactions), len(rpc.calls)
        rpc.answers["sendrawtransaction"] = RpcNode.Error(-25, "bad-txns-inputs-missingorspent")
        branch = life.node.chain.fork(2)
        for _ in range(3):
            branch.extend()
        life.node.switch(branch)
        life.tower.wait_synced(life.node)
        dispute, penalty = breach.dispute.serialize(), breach.penalty.serialize()

        def pushed():
            return [t[2] for t in life.node.transactions[sent:]]

        def submitted():
            return [c[1][0] for c in rpc.calls[called:] if c[0] == "sendrawtransaction"]

        assert life.node.wait(lambda: {dispute, penalty} <= set(pushed()), 30 * SLOW)
        wait_until(lambda: {dispute.hex(), penalty.hex()} <= set(submitted()), "both by RPC")
        first = submitted().index(dispute.hex())
        wait_until(lambda: penalty.hex() in submitted()[first + 1 :], "the penalty after its dispute")
        life.mine(blocks=3)
        assert submitted().count(dispute.hex()) == 1
        # Refused, both: the appointment is watched as before, and paid for as before.
        assert p.get(loc)["status"] == "being_watched"
        assert p.info()["available_slots"] == DEFAULT_SLOTS - 1
        rpc.answers["sendrawtransaction"] = rpc._accept
        life.mine([breach.dispute])
        assert p.get(loc)["status"] == "dispute_responded"
        life.mine([breach.penalty], blocks=101)
        wait_until(lambda: life.tower.trackers() == [], "the end of the tracker")
        assert p.info()["available_slots"] == DEFAULT_SLOTS


def test_T05_outdated_users_are_deleted_with_their_data(lab, rng):
    life = Life(lab, rng)
    life.tower.settings["teos"] = {"subscription-duration": "4", "expiry-delta": "2"}
    life.start()
    current, legacy = life.plugin(CurrentPlugin), life.plugin(LegacyPlugin)
    breach = Breach.make(rng)
    for p in (current, legacy):
        p.on_revocation(breach)
    loc = locator(breach.dispute.txid, CURRENT)
    # T04: expired from the expiry height on; each is told in its own way, and both can renew.
    life.mine(blocks=4)
    assert current.get(loc) == 7 and current.info() == 7
    assert legacy.get(locator(breach.dispute.txid, LEGACY))["error_code"] == -8 and legacy.info() == -8
    for p in (current, legacy):
        p.on_revocation(Breach.make(rng))
        assert p.status == SUBSCRIPTION_ERROR
    assert life.tower.rpc("gettowerinfo")["n_watcher_appointments"] == 2
    assert isinstance(legacy.register(), dict)
    life.mine(blocks=2)
    info = life.tower.rpc("gettowerinfo")
    assert (info["n_registered_users"], info["n_watcher_appointments"]) == (1, 1)
    # What is left is the legacy user's, which has renewed; the other one is a stranger now.
    legacy.retry()
    assert legacy.status == REACHABLE and legacy.pending == {}
    assert life.tower.rpc("gettowerinfo")["n_watcher_appointments"] == 2
    life.mine([breach.dispute])
    life.penalised(breach)
    assert len(life.tower.trackers()) == 1
    assert current.get(loc) == 7


def test_P08_a_node_that_refuses_deletes_nothing(lab, rng):
    life = Life(lab, rng)
    with RpcNode() as rpc:
        rpc.answers["getblockchaininfo"] = {
            "chain": "regtest", "blocks": 11, "headers": 11, "initialblockdownload": False,
        }  # fmt: skip
        rpc.answers["sendrawtransaction"] = RpcNode.Error(-25, "bad-txns-inputs-missingorspent")
        life.tower.settings["rpc"] = {
            "connect": f"127.0.0.1:{rpc.port}", "user": "lab", "password": "secret",
        }  # fmt: skip
        life.start()
        p = life.plugin(CurrentPlugin)
        breach = Breach.make(rng)
        p.on_revocation(breach)
        life.mine([breach.dispute])
        wait_until(lambda: [t["state"] for t in life.tower.trackers()] == ["refused"], "the refusal")
        life.mine(blocks=6)
        wait_until(lambda: [t["state"] for t in life.tower.trackers()] == ["spent"], "the word for it")
        assert p.get(locator(breach.dispute.txid, CURRENT))["status"] == "dispute_responded"
        assert p.info()["available_slots"] == DEFAULT_SLOTS - 1
        # It turns out that the node was wrong.
        rpc.answers["sendrawtransaction"] = rpc._accept
        life.mine([breach.penalty], blocks=101)
        wait_until(lambda: life.tower.trackers() == [], "the end of the tracker")
        assert p.info()["available_slots"] == DEFAULT_SLOTS
