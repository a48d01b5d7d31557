"""What an operator meets: the admin commands, the log, the metrics, signals, files and their modes."""

import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading

import pytest

from conftest import MemifLab
from lab import exposition
from lab.programs import SLOW, ControlSocket, Memif, Program, RpcError, Tower, cli, path_of, wait_until
from lab.teos import CURRENT

KEY_LINE = re.compile(
    r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=(error|warn|info|debug) event=([a-z0-9_]+) '
    r'msg="(?:[^"\\]|\\.)*"(?: [a-z0-9_]+=(?:"(?:[^"\\]|\\.)*"|[^ "]*))*'
)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answer(tower, *args):
    """The answer, after a look at its form: two spaces of indentation, nothing on standard error."""
    done = cli(tower, *args)
    assert (done.returncode, done.stderr) == (0, ""), done
    value = json.loads(done.stdout)
    assert json.loads(json.dumps(value)) == value
    return value


@pytest.fixture(scope="module")
def world(programs):
    """A tower that has answered four breaches, watches others, and serves metrics."""
    with tempfile.TemporaryDirectory(prefix="vigil-") as path:
        made = MemifLab(pathlib.Path(path), random.Random(1))
        try:
            made.synth(
                "--blocks", "16", "--breaches", "4", "--breach-from", "9", "--txs-per-block", "20", "--seed", "3",
            )  # fmt: skip
            made.serve("--start-blocks", "8", "--start-on", "signal", "--rate", "40")
            made.metrics_port = free_port()
            made.tower.settings["metrics"] = {"port": str(made.metrics_port)}
            made.tower.settings["log"]["slow-ms"] = "1"
            made.start()
            made.add_planted()
            made.extra = made.clients[CURRENT]
            made.decoy = bytes(range(16))
            made.extra.add(made.decoy, bytes(120))
            made.replay.go()
            made.penalised()
            made.tower.wait_height(16)
            yield made
            made.tower.stop()
            made.replay.terminate()
        finally:
            for program in made.programs():
                program.kill()
                print(f"--- {program.name}\n{program.output()[-3000:]}")


# The admin commands, each also under the name that the reference's own interface has.


def test_A01_tower_info(world):
    info = answer(world.tower, "gettowerinfo")
    assert list(info) == [
        "tower_id", "n_registered_users", "n_watcher_appointments", "n_responder_trackers",
        "bitcoind_reachable", "addresses",
    ]  # fmt: skip
    assert re.fullmatch("0[23][0-9a-f]{64}", info["tower_id"])
    assert info["n_registered_users"] == 2
    assert info["n_watcher_appointments"] == 1 and info["n_responder_trackers"] == 4
    assert info["bitcoind_reachable"] is True
    assert info["addresses"] == [{"type": "ipv4", "address": "127.0.0.1", "port": world.tower.port}]
    assert answer(world.tower, "get_tower_info") == info


def test_A02_users(world):
    ids = {client.user_id.hex() for client in world.clients.values()}
    users = answer(world.tower, "getusers")
    assert users == {"user_ids": sorted(ids), "next": None}
    assert answer(world.tower, "get_users") == {"user_ids": sorted(ids)}
    page = answer(world.tower, "getusers", "limit=1")
    assert page == {"user_ids": sorted(ids)[:1], "next": sorted(ids)[0]}


def test_A03_one_user(world):
    user = world.extra.user_id.hex()
    one = answer(world.tower, "get_user", user)
    assert list(one) == ["available_slots", "subscription_expiry", "appointments"]
    # uuids, of trackers too: two planted ones and the decoy.
    assert len(one["appointments"]) == 3
    assert all(re.fullmatch("[0-9a-f]{40}", uuid) for uuid in one["appointments"])
    assert answer(world.tower, "getuser", user)["appointments"] == one["appointments"]
    assert one["available_slots"] == 10000 - 3
    unknown = cli(world.tower, "getuser", "02" + "11" * 32)
    assert (unknown.returncode, unknown.stdout) == (1, "") and "no such user" in unknown.stderr
    wrong = cli(world.tower, "getuser", "02zz")
    assert wrong.returncode == 1 and "66 hex digits" in wrong.stderr


def test_A04_all_appointments_and_trackers(world):
    rows = answer(world.tower, "get_all_appointments")
    assert list(rows) == ["appointments"]
    watched = [r for r in rows["appointments"] if "locator" in r]
    tracked = [r for r in rows["appointments"] if "locator" not in r]
    assert watched == [
        {"locator": world.decoy.hex(), "encrypted_blob": "00" * 120, "to_self_delay": 42}
    ]
    assert [list(r) for r in tracked] == [["dispute_txid", "penalty_txid", "penalty_rawtx"]] * 4
    planted = {(b["dispute_txid"], b["penalty_txid"], b["penalty_hex"]) for b in world.planted}
    assert {tuple(r.values()) for r in tracked} == planted
    paged = answer(world.tower, "getallappointments", "limit=2")
    assert len(paged["appointments"]) == 2 and paged["next"]
    assert answer(world.tower, "--all", "getallappointments", "limit=2") == rows


def test_A05_appointments_by_locator(world):
    found = answer(world.tower, "get_appointments", world.decoy.hex())
    assert [r["locator"] for r in found["appointments"]] == [world.decoy.hex()]
    assert answer(world.tower, "getappointments", world.decoy.hex())["appointments"] == found["appointments"]
    breach = world.planted[0]
    found = answer(world.tower, "get_appointments", breach["locator_current"])
    assert [r["penalty_txid"] for r in found["appointments"]] == [breach["penalty_txid"]]
    assert answer(world.tower, "get_appointments", "ff" * 16) == {"appointments": []}
    assert cli(world.tower, "get_appointments", "ff").returncode == 1


def test_A07_the_command_line_tool(world):
    tower = world.tower
    done = cli(tower, "--help")
    assert done.returncode == 0 and "usage: vigil-cli" in done.stdout
    listed = {m["name"] for m in answer(tower, "help")["methods"]}
    assert listed <= set(re.findall(r"^  ([a-z_]+)", done.stdout, re.MULTILINE))
    for name in ("get_tower_info", "get_users", "get_user", "get_appointments", "get_all_appointments",
                 "gettowerinfo", "getusers", "getuser", "getappointments", "getallappointments", "stop", "help"):  # fmt: skip
        assert name in listed
    assert answer(tower, "help", "getuser")["params"][0] == {
        "name": "user_id", "type": "hex", "required": True,
    }  # fmt: skip
    raw = cli(tower, "getpeers").stdout
    assert raw == json.dumps(json.loads(raw), indent=2) + "\n"
    # Errors: standard error and a status, standard output stays empty.
    for args, status in (
        (["nonsense"], 1), (["--nonsense"], 2), ([], 2), (["--all", "getinfo"], 2), (["--network", "x", "getinfo"], 0),
    ):  # fmt: skip
        done = cli(tower, *args)
        assert done.returncode == status, (args, done)
        assert status == 0 or (done.stdout == "" and done.stderr), (args, done)
    # The socket is found the way the daemon names it.
    config = tower.write_config()
    for where in (["--config", str(config)], ["--config", str(config), "--network", "regtest"]):
        done = subprocess.run(
            [path_of("vigil-cli"), *where, "gettowerinfo"], capture_output=True, text=True,
            timeout=60 * SLOW, check=False, env={**os.environ, "VIGIL_SOCKET": "/nonexistent"},
        )  # fmt: skip
        assert done.returncode == 0, done
    done = subprocess.run(
        [path_of("vigil-cli"), "--data-dir", "/nonexistent/d", "--network", "signet", "getinfo"],
        capture_output=True, text=True, timeout=60 * SLOW, check=False,
    )  # fmt: skip
    assert done.returncode == 3 and "/nonexistent/d/signet/control.sock" in done.stderr


class Lists(threading.Thread):
    """A control socket that gives so many pages of trackers."""

    def __init__(self, path, pages):
        super().__init__(daemon=True)
        self.pages, self.pid, self.peak_kb = pages, None, None
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)
        row = {"locator": "00" * 16, "state": "sent", "node": {"code": 0, "text": "x" * 300}}
        self.page = json.dumps([row] * 1000)

    def run(self):
        conn, _ = self.listener.accept()
        requests = conn.makefile("rb")
        for number in range(1, self.pages + 1):
            asked = json.loads(requests.readline())
            if number == self.pages:
                # Every page but the last has been printed.
                status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
                self.peak_kb = int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1))
            after = "null" if number == self.pages else f'"{number:08x}"'
            conn.sendall(
                f'{{"jsonrpc": "2.0", "id": {asked["id"]}, "result": '
                f'{{"trackers": {self.page}, "next": {after}}}}}\n'.encode()
            )
        conn.close()


@pytest.mark.parametrize("how", ["--all", "--lines"])
def test_A04_a_list_of_any_length_takes_the_memory_of_a_page(programs, folder, how):
    peak = {}
    for pages in (2, 60):
        path = str(folder / f"lists{pages}")
        server = Lists(path, pages)
        with open(folder / "out", "wb") as out:
            tool = subprocess.Popen([path_of("vigil-cli"), "--socket", path, how, "gettrackers"], stdout=out)
        server.pid = tool.pid
        server.start()
        try:
            assert tool.wait(60 * SLOW) == 0
        finally:
            tool.kill()
            tool.wait()
        server.join(60 * SLOW)
        peak[pages] = server.peak_kb
        with open(folder / "out", "rb") as out:
            assert sum(line.count(b'"sent"') for line in out) == 1000 * pages
    assert peak[60] < peak[2] + 2048, f"KB at the peak: {peak}"


def test_the_slow_log_tells_what_took_long(world):
    # On any machine a request of a megabyte takes more than a millisecond to read.
    request = {"jsonrpc": "2.0", "id": "x" * 1000000, "method": "getpeers"}
    with ControlSocket(world.tower.settings["control"]["socket"]) as control:
        control.sock.sendall(json.dumps(request).encode())
        assert control.read_line()["result"]["peers"]
    log = answer(world.tower, "getslowlog")
    assert log["threshold_us"] == 1000
    assert log["total"] >= len(log["events"])
    assert "command" in [e["what"] for e in log["slowest"]]
    assert [e["seq"] for e in log["events"]] == sorted((e["seq"] for e in log["events"]), reverse=True)
    assert all(e["us"] >= 1000 for e in log["events"] + log["slowest"])
    kinds = [e["what"] for e in log["slowest"]]
    assert len(set(kinds)) == len(kinds)
    assert len(answer(world.tower, "getslowlog", "limit=1")["events"]) == 1
    assert cli(world.tower, "getslowlog", "limit=129").returncode == 1


# Metrics.


def scrape(port):
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=20 * SLOW)
    conn.request("GET", "/metrics")
    reply = conn.getresponse()
    body = reply.read()
    assert reply.status == 200
    assert reply.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    conn.close()
    return exposition.parse(body.decode("utf-8"))


def test_metrics_are_the_counters_of_both_processes(world):
    """Each counter lies between its values in getcounters before and after the scrape."""
    wait_until(lambda: world.tower.counters().get("scan_hits_total", 0) >= 4, "the dataplane's counters")
    before = world.tower.rpc("getcounters")
    got = scrape(world.metrics_port)
    after = world.tower.rpc("getcounters")

    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in before["dataplane"])
    compared = 0
    for name, low in before["dataplane"].items():
        value = got[f"vigil_dataplane_{name}"][()]
        if name.endswith("_total"):
            assert low <= value <= after["dataplane"][name], name
            compared += 1
    assert compared > 40 and got["vigil_dataplane_index_locators"][()] > 0
    control = {
        ("tower", "breaches_total"): "vigil_breaches_total",
        ("tower", "penalties_sent_total"): "vigil_penalties_sent_total",
        ("tower", "blocks_total"): "vigil_blocks_connected_total",
        ("store", "batches_total"): "vigil_store_batches_total",
        ("store", "syncs_total"): "vigil_store_syncs_total",
        ("http", "requests_total"): "vigil_http_requests_total",
        ("feed", "sessions_total"): "vigil_link_sessions_total",
        ("feed", "broadcasts_total"): "vigil_link_broadcasts_total",
        ("rpc", "requests_total"): "vigil_rpc_requests_total",
        ("log", "dropped_total"): "vigil_log_dropped_total",
    }
    for (module, name), metric in control.items():
        assert before["control"][module][name] <= got[metric][()] <= after["control"][module][name], metric
    for endpoint, outcomes in before["control"]["http"]["endpoints"].items():
        labels = (("endpoint", endpoint), ("outcome", "ok"))
        assert got["vigil_http_responses_total"][labels] == outcomes["ok_total"]

    assert got["vigil_chain_height"][()] == 16 and got["vigil_chain_lag_blocks"][()] == 0
    assert got["vigil_users"][()] == 2 and got["vigil_trackers"][()] == 4
    assert got["vigil_dataplane_up"][()] == 1 and got["vigil_store_ok"][()] == 1
    assert list(got["vigil_peer_ready"].values()) == [1]
    # As many hits and penalties as there were, and none of them in less than no time.
    for kind, cnt in (("hit", 4), ("sent", 4), ("block", 8)):
        assert got[f"vigil_{kind}_duration_seconds_count"][()] >= cnt, kind
        assert got[f"vigil_{kind}_duration_seconds_sum"][()] > 0
    assert got["process_resident_memory_bytes"][()] > 1e6
    # No label is of a user, an appointment or a transaction.
    text = str(got)
    for secret in [c.user_id.hex() for c in world.clients.values()] + [world.decoy.hex()]:
        assert secret not in text


def test_no_port_no_metrics(programs, folder):
    tower = Tower(folder, Memif(folder))
    try:
        tower.start_control()
        listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=False).stdout
        ports = [l for l in listening.splitlines() if f"pid={tower.control.pid}," in l]
        assert len(ports) == 1, listening  # the API's
    finally:
        tower.kill()


# Log lines.


def test_O04_lines_that_harnesses_wait_for(world):
    text = world.tower.control.output()
    assert text.count('msg="Tower ready"') == 1
    assert text.count('msg="New tracker added"') == 4


def test_T41_log_lines_are_events_with_keys_and_levels(world):
    levels = set()
    for program in (world.tower.control, world.tower.dataplane):
        lines = [l for l in program.output().splitlines() if " level=" in l]
        assert len(lines) >= 3, program.name
        for line in lines:
            if program is world.tower.control:
                match = KEY_LINE.fullmatch(line)
                assert match, line
                levels.add(match.group(1))
            else:
                assert re.match(r"\S* ?level=(error|warn|info|debug) event=[a-z0-9_]+ ", line.split(" ", 1)[-1])
    assert {"info", "debug"} <= levels
    assert "api_key" not in text_of(world) and world.planted[0]["penalty_hex"] not in text_of(world)


def text_of(world):
    return world.tower.control.output() + world.tower.dataplane.output()


# Alone: no dataplane is needed for what follows.


@pytest.fixture
def alone(programs, folder):
    tower = Tower(folder, Memif(folder))
    yield tower
    tower.kill()


def test_T41_it_stays_in_the_foreground_and_opens_its_log_again(alone, folder):
    log = folder / "vigil.log"
    alone.settings["log"] = {"level": "warn", "file": str(log)}
    alone.start_control()
    # One process, the one that was started: no daemon is left behind.
    children = pathlib.Path(f"/proc/{alone.control.pid}/task/{alone.control.pid}/children").read_text()
    assert children == "" and alone.control.alive()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert " level=info " not in log.read_text(), "level=warn leaves those out"
    log.rename(folder / "vigil.log.1")
    alone.control.process.send_signal(signal.SIGHUP)
    wait_until(log.exists, "a new log file")
    assert alone.rpc("getinfo")["network"] == "regtest"
    assert alone.control.output() == ""


@pytest.mark.parametrize("how", ["stop", signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_T42_graceful_shutdown(alone, how):
    """Also A06: by the admin command."""
    alone.start_control()
    # A request that was begun is answered before the end.
    with ControlSocket(alone.settings["control"]["socket"]) as other:
        assert other.call("getusers") == {"user_ids": [], "next": None}
        if how == "stop":
            done = cli(alone, "stop")
            assert done.returncode == 0 and "stopping" in done.stdout
        else:
            alone.control.process.send_signal(how)
        assert alone.control.wait_exit() == 0
    text = alone.control.output()
    assert text.count('msg="Shutting down tower"') == 1 and 'msg="Tower stopped"' in text
    assert not pathlib.Path(alone.settings["control"]["socket"]).exists()
    # It starts again on the same folder.
    alone.start_control()


def test_A06_stop(alone):
    alone.start_control()
    with pytest.raises(RpcError):
        alone.rpc("stop", now="yes")
    assert alone.rpc("stop") == "vigild is stopping"
    assert alone.control.wait_exit() == 0


def test_O04_shutting_down_is_announced(alone):
    alone.start_control()
    alone.control.terminate()
    assert 'event=shutdown msg="Shutting down tower"' in alone.control.output()


def run_vigild(folder, *args, env=None):
    """Started with these; ended as soon as it says that it is up.  (status or None, output)"""
    program = Program("vigild-args", [path_of("vigild"), *args], folder)
    try:
        wait_until(
            lambda: not program.alive() or "event=start " in program.output(), "vigild to start or to refuse"
        )
        if program.alive():
            program.terminate()
            return None, program.output()
        return program.wait_exit(), program.output()
    finally:
        program.kill()


def config_file(folder, text, mode=0o600):
    path = folder / "test.conf"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_T38_command_line_over_file_over_defaults(programs, folder):
    base = ["--tower.network=regtest", "--api.port=0"]
    status, text = run_vigild(folder, *base)
    assert status is None and f"data_dir={folder}/.vigil/regtest " in text, text
    path = config_file(folder, f"[tower]\ndata-dir={folder}/file\n[api]\nport=0\nbind=127.0.0.2\n")
    status, text = run_vigild(folder, "--config", path, "--tower.network=regtest")
    assert status is None and f"data_dir={folder}/file/regtest " in text and "api=127.0.0.2 " in text
    status, text = run_vigild(
        folder, "--config", path, "--tower.network=regtest", f"--tower.data-dir={folder}/line",
    )  # fmt: skip
    assert status is None and f"data_dir={folder}/line/regtest " in text and "api=127.0.0.2 " in text


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("[api]\nport=high\n", r"test\.conf:2: api\.port: \"high\" is not a whole number from 0 to 65535"),
        ("[api]\nprot=1\n", r"test\.conf:2: prot: section \[api\] has no such key"),
        ("[apl]\nport=1\n", r"test\.conf:2: port: there is no section \[apl\]"),
        ("[api]\nport=1\nport=2\n", r"test\.conf:3: api\.port is given twice"),
        ("[rpc]\nconnect=127.0.0.1\n", "neither rpc.cookie-file nor rpc.user"),
        ("[tower]\nnetwork=fancy\n", "is none of main, testnet3"),
    ],
)
def test_T38_a_wrong_file_refuses_the_start(programs, folder, text, complaint):
    status, said = run_vigild(folder, "--config", config_file(folder, text))
    assert status == 1 and re.search(complaint, said), said


def test_T39_help_and_version(programs, folder):
    def run(*args):
        return subprocess.run(
            [path_of("vigild"), *args], capture_output=True, text=True, timeout=60 * SLOW, check=False
        )

    done = run("--help")
    assert done.returncode == 0 and done.stderr == ""
    sample = (pathlib.Path(__file__).parent.parent.parent / "control" / "vigil.conf.sample").read_text()
    section = None
    keys = []
    for line in sample.splitlines():
        if line.startswith("["):
            section = line[1:-1]
        elif re.match(r"#[a-z-]+=", line):
            keys.append(f"--{section}.{line[1:].split('=')[0]}=")
    assert len(keys) > 25
    for key in keys:
        assert f"  {key}" in done.stdout, key
    # Help works however wrong the rest is.
    assert run("--api.port=x", "-h").stdout == done.stdout
    assert re.fullmatch(r"vigild \d+\.\d+\.\d+\n", run("--version").stdout)
    bad = run("--datadir=/x")
    assert bad.returncode == 1 and "--help lists them all" in bad.stderr


# Files.


def test_O05_data_directory(alone, folder):
    alone.start_control()
    data = folder / "data"
    assert [p.name for p in data.iterdir()] == ["regtest"]
    assert sorted(p.name for p in (data / "regtest").iterdir()) == ["store", "tower.key"]
    modes = {
        p.relative_to(data).as_posix(): oct(stat.S_IMODE(p.stat().st_mode))
        for p in (data, data / "regtest", data / "regtest" / "tower.key", data / "regtest" / "store")
    }
    assert modes == {".": "0o700", "regtest": "0o700", "regtest/tower.key": "0o600", "regtest/store": "0o700"}
    socket_mode = pathlib.Path(alone.settings["control"]["socket"]).stat().st_mode
    assert stat.S_IMODE(socket_mode) == 0o600


def refused(alone, pattern):
    alone.start_control(wait=False)
    assert alone.control.wait_exit() == 1
    assert re.search(pattern, alone.control.output()), alone.control.output()


def test_a_key_that_others_may_read_refuses_the_start(alone, folder):
    alone.start_control()
    alone.control.terminate()
    key = folder / "data" / "regtest" / "tower.key"
    for mode in (0o640, 0o604, 0o660):
        key.chmod(mode)
        refused(alone, rf"tower key \S+ is open to others \(mode {mode:o}\)")
    key.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(key, 12345, -1)
        refused(alone, "belongs to user 12345")
        os.chown(key, 0, -1)
    moved = key.rename(key.with_name("elsewhere"))
    key.symlink_to(moved)
    refused(alone, "is a symbolic link")
    key.unlink()
    shutil.copy(moved, key)
    key.write_bytes(key.read_bytes()[:31])
    refused(alone, "has 31 bytes instead of 32")


def test_a_folder_that_others_may_write_in_refuses_the_start(alone, folder):
    alone.start_control()
    alone.control.terminate()
    data = folder / "data" / "regtest"
    for mode in (0o720, 0o777):
        data.chmod(mode)
        refused(alone, rf"others may write in the directory \S+ \(mode {mode:o}\)")
    data.chmod(0o755)
    alone.start_control()
    alone.control.terminate()
    if os.geteuid() == 0:
        os.chown(data, 12345, -1)
        refused(alone, "belongs to user 12345")


def test_a_file_that_everybody_may_write_refuses_the_start(programs, folder):
    status, said = run_vigild(folder, "--config", config_file(folder, "[tower]\nnetwork=regtest\n", 0o606))
    assert status == 1 and "every user can write the configuration file" in said


def test_a_password_that_everybody_may_read_refuses_the_start(programs, folder):
    text = "[tower]\nnetwork=regtest\n[rpc]\nconnect=127.0.0.1:1\nuser=a\npassword=b\n"
    status, said = run_vigild(folder, "--config", config_file(folder, text, 0o644))
    assert status == 1 and "rpc.password is in a file that every user can read" in said
