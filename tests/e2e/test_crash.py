"""Processes that die at the worst moments, files that are damaged, backups: what was promised is kept (I1 to I5)."""

import os
import shutil
import stat
import threading

import pytest

from lab.bitcoin import Breach, Chain
from lab.crash import Crash, missing_programs
from lab.programs import SLOW, Tower, cli, wait_until
from lab.teos import LEGACY, Refused, blob_key, locator, open_blob, seal

KILLS = int(os.environ.get("VIGIL_CRASH_KILLS") or 36)
SEED = int(os.environ.get("VIGIL_CRASH_SEED") or 1)


def test_every_promise_is_kept_however_often_the_tower_is_killed(programs, namespace, folder):
    """VIGIL_CRASH_KILLS=300 makes it long; tests/e2e/crash.py is the same from the command line."""
    assert not missing_programs()
    crash = Crash(namespace, folder, SEED)
    try:
        print(crash.run(KILLS))
        assert crash.kills >= KILLS and len(crash.named) >= 5 and crash.reorgs and crash.power_failures
        assert crash.checks and crash.node.has
    finally:
        crash.close()
        for program in (crash.tower.control, crash.tower.dataplane):
            print(f"--- {program.name}\n{program.output()[-4000:]}" if program else "")


# Restarts.


def kill_both(tower):
    for program in (tower.control, tower.dataplane):
        program.kill()


def last_block(tower):
    info = tower.info()
    return info["height"], info["block_hash"]


def test_T27_the_last_processed_block_is_remembered_by_whoever_was_killed(lab, rng):
    node = lab.node(Chain.regtest(12))
    tower = lab.tower(node).start()
    tower.wait_synced(node)
    for _ in range(3):
        for _ in range(4):
            node.extend(payments=2)
        tower.wait_synced(node)
        known = last_block(tower)
        assert known == (node.chain.height, node.chain.tip.hash[::-1].hex())
        kill_both(tower)
        # Without a dataplane, so from the store alone.
        tower.start_control()
        assert last_block(tower) == known
        tower.start_dataplane()
        tower.control.wait_line(rf"event=feed_chain .*height={known[0]} ")


def test_T28_a_restart_reloads_everything_catches_up_and_aligns_with_the_best_chain(lab, rng):
    """What it finds: a breach on each side of a fork, one that came while it was down, and one to come."""
    node = lab.node(Chain.regtest(20))
    tower = lab.tower(node).start()
    client, legacy = lab.client(tower, rng), lab.client(tower, rng, LEGACY)
    old, moved, missed, later = (Breach.make(rng) for _ in range(4))
    for breach in (old, moved, missed, later):
        client.add_breach(breach)
        legacy.add_breach(Breach(breach.dispute, Breach.penalty_for(rng, breach.dispute.txid)))
    node.extend([old.dispute])
    node.extend([moved.dispute])
    wait_until(lambda: len(tower.trackers()) == 4, "the trackers")
    tower.wait_synced(node)
    sizes = {k: v for k, v in tower.rpc("gettowerinfo").items() if k.startswith("n_")}
    kill_both(tower)

    tower.start_control()
    assert {k: v for k, v in tower.rpc("gettowerinfo").items() if k.startswith("n_")} == sizes
    tower.control.kill()
    branch = node.chain.fork(1)
    branch.extend(payments=1)
    branch.extend([missed.dispute])
    node.switch(branch)
    tower.start()
    tower.wait_synced(node)
    assert node.wait_transaction(missed.penalty.txid, 30 * SLOW)

    def disputes():
        return sorted(row["dispute_txid"] for row in tower.trackers())

    wanted = sorted(b.dispute.txid[::-1].hex() for b in (old, missed)) * 2
    wait_until(lambda: disputes() == sorted(wanted), "the trackers of the best chain")
    client.port = legacy.port = tower.port
    for who in (client, legacy):
        for breach, status in ((old, "dispute_responded"), (moved, "being_watched"), (later, "being_watched")):
            assert who.get(locator(breach.dispute.txid, who.form))["status"] == status
    node.extend([moved.dispute, later.dispute])
    assert node.wait_transaction(later.penalty.txid, 30 * SLOW)


def test_T36_appointments_and_trackers_are_stored_whole_changed_and_deleted(lab, rng):
    """Every step is read back from a vigild that was killed after it."""
    node = lab.node(Chain.regtest(10))
    tower = lab.tower(node).start()
    client = lab.client(tower, rng)
    slots = client.register()["available_slots"]
    breach, other = Breach.make(rng), Breach.make(rng)
    loc = locator(breach.dispute.txid)
    penalty = breach.penalty.serialize()
    large = Breach.penalty_for(rng, breach.dispute.txid)
    large.witness[0][2] = rng.randbytes(5000)

    def again():
        tower.control.kill()
        tower.start_control()
        client.port = tower.port
        return tower.rpc("getuser", user_id=client.user_id.hex())

    # Stored, alone and beside another; then replaced by a larger and again by a smaller one.
    client.add_breach(other)
    for raw, left in ((penalty, slots - 2), (large.serialize(), slots - 4), (penalty, slots - 2)):
        blob = seal(raw, breach.dispute.txid)
        assert client.add(loc, blob, 42)["available_slots"] == left
        user = again()
        assert user["available_slots"] == left and len(user["appointments"]) == 2
        answer = client.get(loc)
        assert answer["status"] == "being_watched"
        assert bytes.fromhex(answer["appointment"]["encrypted_blob"]) == blob
        assert answer["appointment"]["to_self_delay"] == 42
    assert open_blob(blob, blob_key(breach.dispute.txid)) == penalty

    # A tracker beside it.
    node.extend([breach.dispute])
    assert node.wait_transaction(breach.penalty.txid, 30 * SLOW)
    tower.wait_synced(node)
    again()
    (row,) = tower.trackers()
    assert row["penalty_txid"] == breach.penalty.txid[::-1].hex()
    assert row["dispute_txid"] == breach.dispute.txid[::-1].hex()
    assert client.get(loc)["appointment"]["penalty_rawtx"] == penalty.hex()
    with pytest.raises(Refused):
        client.add(loc, blob)

    # Both deleted when the penalty is buried, and the slot given back.
    node.extend([breach.penalty])
    for _ in range(100):
        node.extend()
    tower.wait_synced(node)
    wait_until(lambda: tower.trackers() == [], "the end of the tracker")
    user = again()
    assert user["available_slots"] == slots - 1 and len(user["appointments"]) == 1
    assert tower.trackers() == []
    with pytest.raises(Refused) as refusal:
        client.get(loc)
    assert refusal.value.status == 404
    assert client.get(locator(other.dispute.txid))["status"] == "being_watched"


# Backups.


def restored(tower, backup, folder):
    """A tower in a folder of its own, from a checkpoint and the key."""
    folder.mkdir()
    home = folder / "data" / "regtest"
    home.mkdir(parents=True, mode=0o700)
    shutil.copytree(backup / "store", home / "store")
    shutil.copy2(tower.folder / "data" / "regtest" / "tower.key", home / "tower.key")
    return Tower(folder, tower.device)


@pytest.mark.main_path
def test_a_checkpoint_starts_another_tower_that_has_every_appointment_answered_before(lab, folder, rng):
    node = lab.node(Chain.regtest(10))
    tower = lab.tower(node).start()
    client = lab.client(tower, rng)
    done = Breach.make(rng)
    client.add_breach(done)
    node.extend([done.dispute])
    assert node.wait_transaction(done.penalty.txid, 30 * SLOW)
    tower.wait_synced(node)

    answered, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            breach = Breach.make(rng)
            client.add_breach(breach)
            answered.append(breach)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        wait_until(lambda: len(answered) >= 20, "some appointments")
        before = list(answered)
        reply = cli(tower, "checkpoint", "backup")
        assert reply.returncode == 0, reply.stderr
        wait_until(lambda: len(answered) >= len(before) + 5, "the load to go on")
    finally:
        stop.set()
        thread.join(60 * SLOW)
    backup = tower.folder / "backup"
    assert sorted(p.name for p in backup.iterdir()) == ["store"]  # and no key
    for path in (backup, *backup.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0 or path.is_file(), path
    assert stat.S_IMODE(backup.stat().st_mode) == 0o700

    again = cli(tower, "checkpoint", "backup")
    assert again.returncode == 1 and "exists" in again.stderr

    other = restored(tower, backup, folder / "other")
    lab.towers.append(other)
    other.start_control()
    first_id = tower.rpc("gettowerinfo")["tower_id"]
    assert other.rpc("gettowerinfo")["tower_id"] == first_id
    client.port = other.port
    for breach in before:
        assert client.get(locator(breach.dispute.txid))["status"] == "being_watched"
    assert client.get(locator(done.dispute.txid))["status"] == "dispute_responded"
    # Slots and rows are of one moment.
    user = other.rpc("getuser", user_id=client.user_id.hex())
    assert user["available_slots"] + len(user["appointments"]) == 10000

    # It takes over: what was breached meanwhile is answered.
    kill_both(tower)
    lab.towers.remove(tower)
    node.extend([before[0].dispute])
    other.start_dataplane()
    assert node.wait_transaction(before[0].penalty.txid, 30 * SLOW)
    other.wait_synced(node)


def test_a_checkpoint_that_a_kill_cut_short_is_never_taken_for_one(lab, rng):
    node = lab.node(Chain.regtest(5))
    tower = lab.tower(node)
    tower.suffix = "-kill"
    tower.start_dataplane()
    tower.start_control(env={"VIGIL_KILL_AT": "store:mid-checkpoint:1"})
    client = lab.client(tower, rng)
    breach = Breach.make(rng)
    client.add_breach(breach)
    reply = cli(tower, "checkpoint", "backup")
    assert reply.returncode != 0
    assert tower.control.wait_exit() == -9
    assert not (tower.folder / "backup").exists()
    tower.start_control()
    reply = cli(tower, "checkpoint", "backup")
    assert reply.returncode == 1 and "backup.partial is left" in reply.stderr
    shutil.rmtree(tower.folder / "backup.partial")
    reply = cli(tower, "checkpoint", "backup")
    assert reply.returncode == 0, reply.stderr
    client.port = tower.port
    assert client.get(locator(breach.dispute.txid))["status"] == "being_watched"


# Damage.


def files_of(folder):
    return {
        p.relative_to(folder): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and not p.name.startswith(("LOG", "OPTIONS"))
    }


@pytest.mark.parametrize("victim", ["CURRENT", "MANIFEST-*", "wal/*.log"])
def test_a_damaged_store_ends_the_start_says_what_to_do_and_is_left_alone(lab, folder, rng, victim):
    node = lab.node(Chain.regtest(5))
    tower = lab.tower(node).start()
    client = lab.client(tower, rng)
    for _ in range(10):
        client.add_breach(Breach.make(rng))
    reply = cli(tower, "checkpoint", "backup")
    assert reply.returncode == 0, reply.stderr
    tower.control.kill()
    store = folder / "data" / "regtest" / "store"
    path = max(store.glob(victim), key=lambda p: p.stat().st_size)
    if victim == "CURRENT":
        path.unlink()
    else:
        with open(path, "r+b") as f:
            f.seek(path.stat().st_size // 2)
            f.write(b"\xde\xad\xbe\xef" * 4)
    before = files_of(store)
    tower.start_control(wait=False)
    assert tower.control.wait_exit() == 1
    said = tower.control.output()
    assert "is damaged and was left as it is" in said and "checkpoint" in said
    assert files_of(store) == before

    # What it says is what to do.
    store.rename(folder / "damaged")
    shutil.copytree(folder / "backup" / "store", store)
    tower.start_control()
    user = tower.rpc("getuser", user_id=client.user_id.hex())
    assert len(user["appointments"]) == 10
