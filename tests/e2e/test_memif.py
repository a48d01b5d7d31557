"""The tower and vigil-replay, joined by shared memory: no device, no huge pages, no rights."""

import os
import socket

import pytest

from lab.bitcoin import Block, Breach, display
from lab.programs import wait_until
from lab.teos import CURRENT, LEGACY, locator, seal

SMALL = ("--txs-per-block", "60", "--seed", "7")


@pytest.mark.main_path
def test_planted_breaches_are_penalised(memif):
    memif.synth("--blocks", "60", "--breaches", "16", "--breach-from", "11", *SMALL)
    memif.serve("--start-blocks", "10", "--start-on", "signal", "--rate", "60")
    memif.start()
    memif.add_planted()
    memif.replay.go()
    memif.penalised()
    memif.tower.wait_height(60)
    assert memif.tracked() == {b["penalty_txid"] for b in memif.planted}
    info = memif.tower.rpc("getinfo")["tower"]
    assert info["breaches_total"] == info["trackers"] == 16
    assert info["appointments"] == info["invalid_blobs_total"] == 0


def test_confirmed_penalties_are_followed_to_the_end(memif):
    memif.synth(
        "--blocks", "140", "--breach-heights", "12,15,18,21", "--confirm-after", "2", *SMALL
    )
    memif.serve("--start-blocks", "10", "--start-on", "signal", "--rate", "200", "--hold-at", "100")
    memif.start()
    memif.add_planted()
    memif.replay.go()
    memif.tower.wait_height(100)
    memif.penalised()
    wait_until(
        lambda: {row["state"] for row in memif.tower.trackers()} == {"confirmed"}, "confirmations"
    )
    memif.replay.go()
    memif.tower.wait_height(140)
    wait_until(lambda: memif.tower.trackers() == [], "the end of all trackers")
    assert memif.tower.rpc("getinfo")["tower"]["completed_total"] == 4


def test_reorgs_of_one_and_of_five_blocks(memif):
    """Disputes in the stale branch only, in both branches, and in the best chain."""
    memif.synth(
        "--blocks", "60", "--breaches", "6", "--breach-from", "11", "--reorg", "25:1",
        "--reorg", "45:5", "--stale-breaches", "3", "--both-breaches", "3", *SMALL,
    )  # fmt: skip
    memif.serve("--start-blocks", "10", "--start-on", "signal", "--rate", "25")
    memif.start()
    unique = list({b["dispute_txid"]: b for b in memif.planted}.values())
    assert len(unique) == 12
    memif.add_planted(unique)
    memif.replay.go()
    memif.penalised(unique)
    memif.tower.wait_height(60)
    assert memif.tower.rpc("getinfo")["tower"]["reorg_blocks_total"] == 6
    # A dispute that only stale blocks held is watched again, as if it had not been seen.
    best = {b["penalty_txid"] for b in memif.planted if b["branch"] == "best"}
    assert memif.tracked() == best and len(best) == 9
    assert memif.tower.rpc("getinfo")["tower"]["appointments"] == 3


def test_one_frame_in_a_hundred_lost_costs_time_only(memif):
    memif.synth("--blocks", "50", "--breaches", "12", "--breach-from", "11", "--seed", "3")
    memif.serve(
        "--start-blocks", "10", "--start-on", "signal", "--rate", "20",
        "--loss-ppm", "10000", "--reorder-ppm", "5000", "--fault-seed", "5",
    )  # fmt: skip
    memif.start()
    memif.add_planted()
    memif.replay.go()
    memif.penalised(timeout=120)
    memif.tower.wait_height(50, 120)


@pytest.mark.parametrize("victim", ["dataplane", "control", "node", "all"])
@pytest.mark.main_path
def test_kill_in_the_middle_of_a_replay_misses_nothing(memif, victim):
    options = ("--start-blocks", "10", "--rate", "60")
    memif.synth("--blocks", "200", "--breaches", "24", "--breach-from", "11", *SMALL)
    memif.serve(*options, "--start-on", "signal")
    memif.start()
    memif.add_planted()
    memif.replay.go()
    tower = memif.tower
    for height in (40, 90, 140):
        tower.wait_height(height)
        if victim in ("dataplane", "all"):
            tower.dataplane.kill()
        if victim in ("control", "all"):
            tower.control.kill()
        if victim in ("node", "all"):
            memif.replay.kill()
            # It comes back knowing less than the tower does.
            memif.serve(*options)
        if victim in ("dataplane", "all"):
            tower.start_dataplane()
        if victim in ("control", "all"):
            tower.start_control()
    tower.wait_height(200, 120)
    memif.penalised()
    info = tower.rpc("getinfo")["tower"]
    assert info["trackers"] == 24 and info["appointments"] == 0


@pytest.mark.parametrize("lcores", ["0@0,1@1", "0@0,1@1,2@1,3@0"])
def test_separate_lcores(memif, lcores):
    memif.synth("--blocks", "60", "--breaches", "16", "--breach-from", "11", *SMALL)
    memif.serve("--start-blocks", "10", "--start-on", "signal", "--rate", "60")
    memif.tower.lcores = lcores
    memif.start()
    memif.add_planted()
    memif.replay.go()
    memif.penalised()


@pytest.mark.parametrize("form", ["full", "stripped"])
@pytest.mark.parametrize("kernel", ["portable", "shani"])
def test_every_kernel_and_form_of_block(memif, form, kernel):
    if kernel == "shani" and "sha_ni" not in open("/proc/cpuinfo", encoding="ascii").read():
        pytest.skip("this processor has no SHA instructions")
    memif.synth("--blocks", "40", "--breaches", "12", "--breach-from", "11", *SMALL)
    memif.serve("--start-blocks", "10", "--start-on", "signal", "--rate", "60")
    memif.tower.dataplane_options = ["--block-form", form, "--txid-kernel", kernel]
    memif.start()
    memif.add_planted()
    memif.replay.go()
    memif.penalised()


def test_a_stranger_on_the_link_does_not_keep_control_out(memif):
    tower = memif.tower
    tower.start_dataplane()
    tower.dataplane.wait_line("event=ready")
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(tower.settings["link"]["socket"])
        tower.dataplane.wait_line("event=link_up")
        tower.start_control()
        wait_until(
            lambda: tower.rpc("getinfo")["dataplane"]["state"] == "sync", "the link", timeout=40
        )


def test_without_any_right(memif):
    if os.geteuid() != 0:
        pytest.skip("already without rights: every test here shows it")
    nobody = 65534
    memif.synth("--blocks", "30", "--breaches", "6", "--breach-from", "11", *SMALL)
    memif.folder.chmod(0o755)
    os.chown(memif.folder, nobody, nobody)
    memif.user = nobody
    memif.serve("--start-blocks", "10", "--start-on", "signal", "--rate", "60")
    memif.start()
    memif.add_planted()
    memif.replay.go()
    memif.penalised()


@pytest.mark.parametrize(
    "misdeed",
    [
        "--reset-at",
        "--send-unrequested",
        "--bad-checksum-at",
        "--mutate-block-at",
        "--corrupt-block-at",
        "--truncate-at",
        "--noncanonical-at",
        "--oversize-at",
        "--garbage-at",
    ],
)
def test_a_misdeed_of_the_node_costs_no_breach(memif, misdeed):
    memif.synth("--blocks", "30", "--breaches", "6", "--breach-heights", "20,21", "--breach-from", "11", *SMALL)
    memif.serve("--start-blocks", "10", "--start-on", "signal", "--rate", "60", misdeed, "20:2")
    memif.start()
    memif.add_planted()
    memif.replay.go()
    memif.penalised()
    memif.tower.wait_height(30)
    drops = memif.tower.rpc("getpeers")["peers"][0]["drops"]
    # The checksum of a block need not be looked at: its merkle root says more.
    assert drops >= 1 or misdeed == "--bad-checksum-at"


@pytest.mark.parametrize("form", [CURRENT, LEGACY])
def test_real_blocks_above_an_anchor(memif, rng, shared, form):
    files = [shared / "blocks" / f"block{h}.raw" for h in (928848, 928849)]
    blocks = [Block.parse(f.read_bytes()) for f in files]
    memif.chain = files
    memif.network = "testnet3"
    memif.serve("--anchor-height", "928848", "--start-blocks", "1", "--start-on", "signal")
    memif.tower.settings["chain"] = {
        "start": "anchor",
        "anchor": f"{display(blocks[0].prev)}:928847",
    }
    memif.start()
    memif.tower.wait_height(928848)
    # A block that is there already, and one that comes.
    targets = [blocks[0].txs[3], blocks[0].txs[-1], blocks[1].txs[0], blocks[1].txs[700]]
    penalties = [Breach.of_txid(rng, tx.txid) for tx in targets]
    for tx, penalty in zip(targets, penalties):
        blob = seal(penalty.serialize(), tx.txid, form)
        memif.clients[form].add(locator(tx.txid, form), blob)
    memif.replay.go()
    memif.penalised([{"penalty_txid": display(p.txid)} for p in penalties])
    memif.tower.wait_height(928849)
