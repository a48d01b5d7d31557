"""Wrong and hostile HTTP requests, control-socket clients, configurations and disks.  No dataplane is
needed for most: the tower answers before any block."""

import ctypes
import json
import os
import pathlib
import socket
import subprocess
import time

import pytest

from lab import secp
from lab.bitcoin import Breach, Chain
from lab.programs import SLOW, ControlSocket, Memif, Program, RpcError, Tower, cli, path_of, wait_until
from lab.teos import Client, Refused, locator, seal


@pytest.fixture
def control(programs, folder):
    """vigild alone."""
    tower = Tower(folder, Memif(folder))
    tower.start_control()
    try:
        yield tower
        tower.stop()
    finally:
        tower.kill()
        print(tower.control.output()[-6000:])


@pytest.fixture
def client(control, rng):
    return Client("127.0.0.1", control.port, rng.randrange(1, secp.N))


def http(port, text, timeout=10):
    """Raw bytes in, (status, body) out."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout * SLOW) as s:
        s.sendall(text)
        data = b""
        while True:
            part = s.recv(65536)
            if not part:
                break
            data += part
            head, found, body = data.partition(b"\r\n\r\n")
            if found:
                size = [
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                ]
                if size and len(body) >= size[0]:
                    break
        return int(data.split(b" ", 2)[1]), data.partition(b"\r\n\r\n")[2]


# HTTP.

FINE = {"locator": "00" * 16, "encrypted_blob": "00" * 40, "to_self_delay": 42}
SIGNATURE = "d" * 104


@pytest.mark.parametrize(
    "path, body, status, code",
    [
        ("/register", b"not json", 400, 6),
        ("/register", b'{"user_id":"02","user_id":"02"}', 400, 6),
        ("/register", b"{} trailing", 400, 1),  # missed at the end of the object, before the rest is read
        ("/register", b'{"user_id":"02"} trailing', 400, 6),
        ("/register", b"[]", 400, 3),
        ("/register", b"{}", 400, 1),
        ("/register", b'{"user_id":""}', 400, 2),
        ("/register", b'{"user_id":7}', 400, 3),
        ("/register", b'{"user_id":"02aa"}', 400, 4),
        ("/register", b'{"user_id":"02a"}', 400, 5),
        ("/register", b'{"user_id":"zz"}', 400, 5),
        ("/register", b'{"user_id":"' + b"02" + b"ff" * 32 + b'"}', 400, 5),
        ("/add_appointment", b"{", 400, 6),
        ("/add_appointment", json.dumps({"signature": SIGNATURE}).encode(), 400, 1),
        ("/add_appointment", json.dumps({"appointment": FINE}).encode(), 400, 1),
        ("/add_appointment", json.dumps({"appointment": 1, "signature": SIGNATURE}).encode(), 400, 3),
        (
            "/add_appointment",
            json.dumps({"appointment": {**FINE, "locator": "00"}, "signature": SIGNATURE}).encode(),
            400,
            4,
        ),
        (
            "/add_appointment",
            json.dumps({"appointment": {**FINE, "locator": "0x"}, "signature": SIGNATURE}).encode(),
            400,
            5,
        ),
        (
            "/add_appointment",
            json.dumps({"appointment": {**FINE, "to_self_delay": "42"}, "signature": SIGNATURE}).encode(),
            400,
            3,
        ),
        (
            "/add_appointment",
            json.dumps({"appointment": {**FINE, "to_self_delay": 2**32}, "signature": SIGNATURE}).encode(),
            400,
            6,
        ),
        (
            "/add_appointment",
            json.dumps({"appointment": {**FINE, "to_self_delay": 1.5}, "signature": SIGNATURE}).encode(),
            400,
            3,
        ),
        ("/get_appointment", b'{"locator":"","signature":"x"}', 400, 2),
        ("/get_appointment", b'{"locator":"00","signature":"x"}', 400, 4),
        ("/register", b"[" * 80, 400, 3),  # the first problem from the left wins
    ],
)
def test_wrong_bodies_get_their_error_code(client, path, body, status, code):
    got, answer, headers = client.post(path, None, raw=body)
    assert (got, answer["error_code"]) == (status, code), answer
    assert isinstance(answer["error"], str) and answer["error"]
    assert headers["Content-Type"].startswith("application/json")


def test_transport_errors_are_json_too(control):
    def request(line, *headers, body=b""):
        head = "\r\n".join([line + " HTTP/1.1", "Host: x", "Connection: close", *headers]) + "\r\n\r\n"
        return http(control.port, head.encode() + body)

    json_type = "Content-Type: application/json"
    for expected, answer in (
        (405, request("GET /register")),
        (405, request("POST /nothing", "Content-Length: 2", json_type, body=b"{}")),
        (411, request("POST /register", json_type, "Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
        (413, request("POST /register", "Content-Length: 100000", json_type)),
        (413, request("POST /add_appointment", "Content-Length: 99999999999", json_type)),
        (415, request("POST /register", "Content-Length: 2", "Content-Type: text/html", body=b"{}")),
    ):
        assert answer[0] == expected, answer
        assert json.loads(answer[1])["error_code"] > 0
    counted = control.rpc("getcounters")["control"]["http"]
    assert counted["refused_total"] == counted["requests_total"] == 6
    refused = {name: outcomes["refused_total"] for name, outcomes in counted["endpoints"].items()}
    assert refused == {
        "register": 4,
        "add_appointment": 1,
        "get_appointment": 0,
        "get_subscription_info": 0,
        "ping": 0,
        "other": 1,
    }


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x00" * 4096,
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET " + b"/" * 100000,
        b"POST /register HTTP/1.1\r\n" + b"X: " + b"y" * 300000,
        b"POST /register HTTP/1.1\r\nContent-Length: -5\r\n\r\n{}",
        b"POST /register HTTP/1.1\r\nContent-Length: 10\r\n\r\n{",
    ],
    ids=["zeros", "tls", "long-path", "long-header", "negative-length", "cut"],
)
def test_bytes_that_are_no_http_harm_nobody(control, client, rubbish):
    with socket.create_connection(("127.0.0.1", control.port), timeout=5) as s:
        try:
            s.sendall(rubbish)
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        except OSError:
            pass
    status, _, _ = client.post("/register", {"user_id": 1})
    assert status == 400


def test_a_tower_without_blocks_says_so(control, client):
    status, answer, _ = client.post("/register", {"user_id": client.user_id.hex()})
    assert status == 503 and answer["error_code"] == 32


def test_idle_connections_do_not_keep_others_out(control, client):
    idle = [socket.create_connection(("127.0.0.1", control.port)) for _ in range(200)]
    try:
        for s in idle:
            s.sendall(b"POST /register HTTP/1.1\r\nContent-Le")
        assert client.post("/register", {"user_id": 1})[0] == 400
    finally:
        for s in idle:
            s.close()


# The control socket.


def test_rubbish_on_the_control_socket_is_answered_and_closed(control):
    with ControlSocket(control.settings["control"]["socket"]) as c:
        c.sock.sendall(b"\x00\xff this is not JSON\n")
        assert c.read_line()["error"]["code"] == -32700
        with pytest.raises((EOFError, OSError)):
            c.read_line()
    assert control.rpc("getinfo")["network"] == "regtest"


@pytest.mark.parametrize(
    "request_, code",
    [
        ({"jsonrpc": "2.0", "id": 1, "method": "nothing"}, -32601),
        ({"jsonrpc": "2.0", "id": 1}, -32600),
        ({"id": 1, "method": 5}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": "getuser", "params": {}}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "getuser", "params": {"user_id": "xyz"}}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "getuser", "params": {"user_id": 5}}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "getinfo", "params": {"stray": 5}}, -32602),
    ],
)
def test_wrong_calls_get_their_error_code(control, request_, code):
    with ControlSocket(control.settings["control"]["socket"]) as c:
        c.sock.sendall(json.dumps(request_).encode())
        assert c.read_line()["error"]["code"] == code


def test_calls_may_come_in_pieces_and_in_bursts(control):
    with ControlSocket(control.settings["control"]["socket"]) as c:
        call = b'{"jsonrpc":"2.0","id":1,"method":"getinfo"}'
        for i in range(len(call)):
            c.sock.sendall(call[i : i + 1])
        assert c.read_line()["id"] == 1
        c.sock.sendall(b"".join(call.replace(b":1,", b":%d," % i) for i in range(2, 500)))
        assert [c.read_line()["id"] for _ in range(2, 500)] == list(range(2, 500))


def test_a_control_client_that_never_reads_stops_nobody(control):
    """It is not read from either, so it cannot make the tower keep more than its share of answers."""
    with ControlSocket(control.settings["control"]["socket"]) as greedy:
        greedy.sock.settimeout(1)
        call = b'{"jsonrpc":"2.0","id":1,"method":"help"}\n' * 1000
        sent = 0
        try:
            while sent < 64 << 20:
                sent += greedy.sock.send(call)
        except OSError:
            pass
        assert sent < 64 << 20, "the tower reads on without bound"
        assert control.rpc("getinfo")["network"] == "regtest"


def test_the_control_socket_is_the_owners(control):
    mode = os.stat(control.settings["control"]["socket"]).st_mode & 0o777
    assert mode == 0o600


def test_many_control_clients_are_bounded(control):
    path = control.settings["control"]["socket"]
    clients = []
    try:
        for _ in range(100):
            clients.append(ControlSocket(path))
        time.sleep(0.2)
    except OSError:
        pass
    for c in clients:
        c.close()

    def answers():
        try:
            return control.rpc("getinfo")
        except (OSError, EOFError):
            return None

    wait_until(answers, "the control socket to be free again")


def test_errors_carry_no_traceback_of_the_inside(control):
    with pytest.raises(RpcError) as error:
        control.rpc("getuser", user_id="02" + "11" * 32)
    assert "no such user" in error.value.message


# vigil-cli.


def test_cli_prints_json_on_stdout_and_errors_on_stderr(control):
    done = cli(control, "gettowerinfo")
    assert done.returncode == 0 and done.stderr == ""
    assert json.loads(done.stdout)["n_registered_users"] == 0
    done = cli(control, "nothing")
    assert done.returncode != 0 and done.stdout == "" and done.stderr
    done = cli(control, "getuser", "02" + "11" * 32)
    assert done.returncode != 0 and done.stdout == "" and "no such user" in done.stderr


def test_cli_tells_its_usage_and_version(programs):
    for option in ("--help", "--version"):
        done = cli(None, option)
        assert done.returncode == 0 and done.stdout and not done.stderr
    done = subprocess.run(
        [path_of("vigil-cli"), "--socket", "/nonexistent/socket", "getinfo"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode != 0 and "/nonexistent/socket" in done.stderr and not done.stdout


def test_stop_over_the_control_socket_ends_in_good_order(control):
    control.rpc("stop")
    assert control.control.wait_exit() == 0


# Configuration.


def vigild(*args, env=None):
    return subprocess.run(
        [path_of("vigild"), *args],
        capture_output=True,
        text=True,
        timeout=30 * SLOW,
        check=False,
        env={**os.environ, **(env or {})},
    )


def test_a_missing_configuration_file_is_an_error_that_names_it(programs):
    done = vigild("--config", "/nonexistent/vigild.conf")
    assert done.returncode != 0 and "/nonexistent/vigild.conf" in done.stderr
    assert len(done.stderr.splitlines()) <= 3


@pytest.mark.parametrize(
    "text, line, words",
    [
        ("[tower]\nnetwork=mars\n", 2, ["network", "mars"]),
        ("[tower]\n\ncolour=red\n", 3, ["colour"]),
        ("[nothing]\nx=1\n", 2, ["nothing"]),
        ("[api]\nport=70000\n", 2, ["port", "70000"]),
        ("[api]\nport=9814\nport=9815\n", 3, ["port"]),
        ("[api]\nport\n", 2, []),
        ("[chain]\nanchor=beef:1\n", 2, ["anchor"]),
    ],
)
def test_a_wrong_setting_names_file_line_and_key(programs, folder, text, line, words):
    path = folder / "vigild.conf"
    path.write_text(text)
    done = vigild("--config", str(path), env={"HOME": str(folder)})
    assert done.returncode != 0
    assert f"{path}:{line}:" in done.stderr, done.stderr
    for word in words:
        assert word in done.stderr


def test_nothing_of_a_file_reaches_the_terminal_raw(programs, folder):
    path = folder / "vigild.conf"
    path.write_bytes(b"[api]\n\x1b]0;owned\x07\xc3\xa9=1\n")
    done = vigild("--config", str(path), env={"HOME": str(folder)})
    assert done.returncode != 0 and "\\x1b]0;owned\\x07\\xc3\\xa9" in done.stderr
    assert done.stderr.rstrip("\n").isprintable() and done.stderr.isascii()


@pytest.mark.parametrize("start, warned", [("anchor", True), ("tip", False)])
def test_a_scan_from_genesis_is_announced(programs, folder, start, warned):
    tower = Tower(folder, Memif(folder))
    chain = tower.settings.setdefault("chain", {})
    chain.pop("anchor", None)
    chain["start"] = start
    tower.start_control()
    try:
        assert ("event=scan_from_genesis" in tower.control.output()) == warned
        tower.stop()
    finally:
        tower.kill()


def test_help_lists_every_key(programs):
    done = vigild("--help")
    assert done.returncode == 0
    for key in ("data-dir", "subscription-slots", "cookie-file", "rebroadcast-blocks"):
        assert key in done.stdout


def test_a_second_tower_on_the_same_folder_is_refused(control, folder):
    other = folder / "other.conf"
    text = (folder / "vigild.conf").read_text()
    other.write_text(text.replace("control.sock", "other.sock"))
    other.chmod(0o600)
    done = vigild("--config", str(other))
    assert done.returncode != 0 and done.stderr
    assert control.control.alive() and control.rpc("getinfo")


# Key and store.


def test_the_key_is_made_once_with_mode_0600(control, folder):
    key = folder / "data" / "regtest" / "tower.key"
    assert key.stat().st_mode & 0o777 == 0o600
    first = control.rpc("gettowerinfo")["tower_id"]
    control.stop()
    control.start_control()
    assert control.rpc("gettowerinfo")["tower_id"] == first


def test_a_store_of_a_newer_version_is_refused(control, folder):
    """Raises every format number in the store through RocksDB's C interface."""
    control.stop()
    store = folder / "data" / "regtest" / "store"
    raise_format(store)
    config = control.write_config()
    done = vigild("--config", str(config))
    assert done.returncode != 0 and "newer" in done.stderr, done.stderr


def raise_format(store):
    lib = ctypes.CDLL("librocksdb.so.7.8")
    for name in ("rocksdb_options_create", "rocksdb_readoptions_create", "rocksdb_writeoptions_create"):
        getattr(lib, name).restype = ctypes.c_void_p
    lib.rocksdb_list_column_families.restype = ctypes.POINTER(ctypes.c_char_p)
    lib.rocksdb_open_column_families.restype = ctypes.c_void_p
    lib.rocksdb_create_iterator_cf.restype = ctypes.c_void_p
    for name in ("rocksdb_iter_key", "rocksdb_iter_value"):
        getattr(lib, name).restype = ctypes.POINTER(ctypes.c_char)
    error = ctypes.c_char_p()
    options = ctypes.c_void_p(lib.rocksdb_options_create())
    path = str(store).encode()
    lib.rocksdb_options_set_wal_dir(options, path + b"/wal")
    count = ctypes.c_size_t()
    names = lib.rocksdb_list_column_families(options, path, ctypes.byref(count), ctypes.byref(error))
    assert not error.value, error.value
    handles = (ctypes.c_void_p * count.value)()
    each = (ctypes.c_void_p * count.value)(*[options.value] * count.value)
    db = ctypes.c_void_p(
        lib.rocksdb_open_column_families(
            options, path, ctypes.c_int(count.value), names, each, handles, ctypes.byref(error)
        )
    )
    assert not error.value, error.value
    meta = ctypes.c_void_p(handles[[names[i] for i in range(count.value)].index(b"default")])  # meta
    read = ctypes.c_void_p(lib.rocksdb_readoptions_create())
    write = ctypes.c_void_p(lib.rocksdb_writeoptions_create())
    it = ctypes.c_void_p(lib.rocksdb_create_iterator_cf(db, read, meta))
    lib.rocksdb_iter_seek_to_first(it)
    size = ctypes.c_size_t()
    changed = 0
    while lib.rocksdb_iter_valid(it) & 1:
        key = ctypes.string_at(lib.rocksdb_iter_key(it, ctypes.byref(size)), size.value)
        value = ctypes.string_at(lib.rocksdb_iter_value(it, ctypes.byref(size)), size.value)
        if b"format" in key:
            raised = bytes([value[0], *[b + 1 for b in value[1:]]]) if len(value) > 1 else b"\x7f"
            lib.rocksdb_put_cf(
                db, write, meta, key, ctypes.c_size_t(len(key)), raised,
                ctypes.c_size_t(len(raised)), ctypes.byref(error),
            )  # fmt: skip
            assert not error.value, error.value
            changed += 1
        lib.rocksdb_iter_next(it)
    lib.rocksdb_iter_destroy(it)
    for handle in handles:
        lib.rocksdb_column_family_handle_destroy(ctypes.c_void_p(handle))
    lib.rocksdb_close(db)
    assert changed, "the store has no format number"


def test_a_full_disk_gives_no_receipt_and_keeps_nothing_half(lab, rng):
    """The data folder is a small tmpfs in a mount namespace of vigild's own."""
    node = lab.node(Chain.regtest(10))
    tower = lab.tower(node)
    data = tower.folder / "data"
    data.mkdir()
    tower.start_dataplane()
    config = tower.write_config()
    tower.control = Program(
        "vigild",
        ["unshare", "--mount", "bash", "-c",
         'mount -t tmpfs -o size=64m,mode=0700 tmpfs "$1" && exec "$2" --config "$3"',
         "bash", str(data), path_of("vigild"), str(config)],
        tower.folder,
    )  # fmt: skip
    tower.wait_api()
    client = lab.client(tower, rng)
    first, second, third = (Breach.make(rng) for _ in range(3))
    client.add_breach(first)

    inside = pathlib.Path(f"/proc/{tower.control.pid}/root{data}")
    filler = inside / "filler"
    with open(filler, "wb", buffering=0) as f:
        try:
            while True:
                f.write(bytes(1 << 16))
        except OSError:
            pass
        try:
            while True:
                f.write(b"\0")
        except OSError:
            pass

    # What fits into blocks already allocated may still succeed; with 512 KiB it cannot.
    big = seal(os.urandom(400_000), second.dispute.txid)
    refusals = []
    for _ in range(3):
        with pytest.raises(Refused) as refusal:
            client.add(locator(second.dispute.txid), big)
        refusals.append(refusal.value)
    for refusal in refusals:
        assert refusal.status >= 500, refusal
        # At no other code does a current client keep the appointment and try again.
        assert refusal.body["error"] and refusal.body["error_code"] == 7
    assert tower.control.alive()

    filler.unlink()

    def taken():
        try:
            return client.add_breach(third)
        except Refused as refusal:
            assert refusal.status >= 500
            return None

    wait_until(taken, "the tower to take appointments again", 60)
    for breach, status in ((first, 200), (second, 404), (third, 200)):
        try:
            client.get(locator(breach.dispute.txid))
            got = 200
        except Refused as refusal:
            got = refusal.status
        assert got == status
    node.extend([first.dispute, second.dispute, third.dispute])
    for breach in (first, third):
        assert node.wait_transaction(breach.penalty.txid, 30 * SLOW)
    assert node.transaction(second.penalty.txid) is None
