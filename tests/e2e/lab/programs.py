"""Vigil's programs: started in a folder of the test's own, watched, stopped by process id."""

import itertools
import json
import os
import pathlib
import random
import re
import select
import signal
import socket
import subprocess
import threading
import time

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
BUILD = pathlib.Path(os.environ.get("VIGIL_BUILD") or PROJECT / "build")
# Sanitizer builds and loaded machines: every time-out is multiplied by it.
SLOW = float(os.environ.get("VIGIL_SLOW") or 1)

TOWER_IP, NODE_IP, PREFIX = "10.77.0.2", "10.77.0.1", 24
TOWER_IP6, NODE_IP6, PREFIX6 = "2001:db8:77::2", "2001:db8:77::1", 64

_serial = itertools.count()


def address_options(ip4, ip6, families):
    own = {4: f"{ip4}/{PREFIX}", 6: f"{ip6}/{PREFIX6}"}
    return [word for family in families for word in ("--address", own[family])]


def node_address(family, port):
    return f"{NODE_IP}:{port}" if family == 4 else f"[{NODE_IP6}]:{port}"


def give_node_addresses(namespace, interface, families):
    """The kernel's end; for IPv6 without the second of doubt, in which nothing could listen."""
    if 4 in families:
        namespace.run("ip", "addr", "add", f"{NODE_IP}/{PREFIX}", "dev", interface)
    if 6 in families:
        namespace.run("ip", "addr", "add", f"{NODE_IP6}/{PREFIX6}", "dev", interface, "nodad")


def path_of(program):
    """Where the build has it; a path that does not exist when it is not built."""
    for top in ("dataplane", "control", "bench", "tests"):
        for path in sorted((BUILD / top).glob(f"**/{program}")):
            if path.is_file():
                return str(path)
    return str(BUILD / program)


def wait_until(predicate, what, timeout=30):
    """predicate()'s value once it is true; an assertion names what was waited for."""
    deadline = time.monotonic() + timeout * SLOW
    while True:
        value = predicate()
        if value:
            return value
        assert time.monotonic() < deadline, f"timed out waiting for {what}"
        time.sleep(0.02)


class Program:
    """A running program.  Its output is in one file; it is never left behind."""

    def __init__(self, name, argv, folder, namespace=None, user=None, env=None):
        self.name, self.argv = name, argv
        self.log_path = folder / f"{name}.log"
        log = open(self.log_path, "ab")

        def start():
            return subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={
                    **os.environ, "XDG_RUNTIME_DIR": str(folder), "HOME": str(folder), **(env or {}),
                },  # fmt: skip
                **({} if user is None else {"user": user, "group": user, "extra_groups": []}),
            )

        self._from = log.tell() if log.seekable() else 0
        self.may_end = False
        self.process = namespace.call(start) if namespace else start()
        log.close()

    @property
    def pid(self):
        return self.process.pid

    def output(self):
        """What this run of the program has written so far."""
        data = self.log_path.read_bytes()[self._from :]
        return data.decode(errors="replace")

    def alive(self):
        return self.process.poll() is None

    def check(self):
        """Fails the test at once when the program ended by itself."""
        assert self.may_end or self.alive(), (
            f"{self.name} ended by itself with {self.process.returncode}:\n{self.output()[-5000:]}"
        )

    def wait_line(self, pattern, timeout=30):
        """Waits for a line that matches; fails at once if the program ends before."""

        def found():
            ended = not self.alive()
            match = re.search(pattern, self.output(), re.MULTILINE)
            assert match or not ended, (
                f"{self.name} ended with {self.process.returncode} before /{pattern}/:\n"
                + self.output()[-3000:]
            )
            return match

        return wait_until(found, f"/{pattern}/ from {self.name}", timeout)

    def wait_exit(self, timeout=20):
        """The exit status."""
        self.may_end = True
        try:
            return self.process.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end:\n{self.output()[-3000:]}") from None

    def kill(self):
        """kill -9: no chance to clean up."""
        self.may_end = True
        if self.alive():
            self.process.kill()
        self.process.wait()

    def terminate(self, timeout=20):
        """SIGTERM, which every program answers with an orderly end and status 0."""
        self.check()
        self.may_end = True
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.wait_exit(timeout)
        finally:
            self.kill()
        assert status == 0, f"{self.name} ended with {status}:\n{self.output()[-3000:]}"

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class RpcError(Exception):
    def __init__(self, error):
        super().__init__(f"{error.get('code')} {error.get('message')}")
        self.code, self.message = error.get("code"), error.get("message")


class ControlSocket:
    """JSON-RPC 2.0 over the control socket, one connection."""

    def __init__(self, path, timeout=20):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout * SLOW)
        self.sock.connect(str(path))
        self._buffer = b""
        self._ids = itertools.count(1)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def read_line(self):
        while b"\n" not in self._buffer:
            part = self.sock.recv(65536)
            if not part:
                raise EOFError("the control socket was closed")
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)

    def call(self, method, **params):
        number = next(self._ids)
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        self.sock.sendall(json.dumps(request).encode() + b"\n")
        reply = self.read_line()
        assert reply["jsonrpc"] == "2.0" and reply["id"] == number, reply
        if "error" in reply:
            raise RpcError(reply["error"])
        return reply["result"]


def cli(tower, *args):
    """vigil-cli, at this tower's control socket; None: wherever it looks by itself."""
    where = ["--socket", tower.settings["control"]["socket"]] if tower else []
    return subprocess.run(
        [path_of("vigil-cli"), *where, *args],
        capture_output=True,
        text=True,
        timeout=60 * SLOW,
        check=False,
        cwd=tower.folder if tower else None,
    )


class Memif:
    """Shared memory to vigil-replay: no rights, no device."""

    namespace = None

    def __init__(self, folder, families=(4,)):
        self.socket = folder / "memif.sock"
        self.families = families
        self.peer = node_address(families[0], 18444)

    def eal(self, role="client"):
        return [f"--vdev=net_memif0,role={role},id=0,socket={self.socket},socket-abstract=no"]

    def options(self):
        return []

    def ready(self):
        pass


class Replay(Program):
    """vigil-replay serve: the node at the other end of a memif."""

    def __init__(self, folder, device, chain, *options, network="regtest", user=None):
        self.report = folder / "replay.jsonl"
        # What a killed run leaves behind keeps the next one from listening.
        device.socket.unlink(missing_ok=True)
        files = [chain] if isinstance(chain, (str, os.PathLike)) else chain
        super().__init__(
            "replay",
            [
                path_of("vigil-replay"), "serve", *eal_options(), *device.eal("server"),
                "--",
                *address_options(NODE_IP, NODE_IP6, device.families),
                "--port", "18444", "--network", network,
                *(word for file in files for word in ("--chain", str(file))),
                "--report", str(self.report), *options,
            ],
            folder,
            user=user,
        )  # fmt: skip

    def events(self, kind=None):
        """Of every run of the node in this folder; a line being written is left out."""
        if not self.report.exists():
            return []
        lines = self.report.read_text().split("\n")[:-1]
        events = [json.loads(line) for line in lines]
        return [e for e in events if kind is None or e["event"] == kind]

    def penalties(self):
        """txids of what was pushed to the node, as printed."""
        return {e["txid"] for e in self.events("tx")}

    def go(self):
        """Begin (or, after --hold-at, go on) announcing."""
        self.process.send_signal(signal.SIGUSR1)


def synthesize(folder, *options):
    """(block file, planted breaches) of vigil-replay synth."""
    done = subprocess.run(
        [path_of("vigil-replay"), "synth", "--out", str(folder), *options],
        capture_output=True,
        text=True,
        timeout=120 * SLOW,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "chain.dat", json.loads((folder / "breaches.json").read_text())


def eal_options(lcores=None, memory_mb=256):
    """No PCI, no huge pages, no files shared with anybody, a prefix of its own."""
    return [
        "--lcores", lcores or "0@(0-%d)" % (os.cpu_count() - 1),
        "--no-pci", "--no-huge", "-m", str(memory_mb), "--no-telemetry", "--no-shconf",
        f"--file-prefix=vigil-e2e-{os.getpid()}-{next(_serial)}",
    ]  # fmt: skip


class Tap:
    """A tap device whose other end is the kernel of a namespace."""

    def __init__(self, namespace, families=(4,), mtu=None):
        self.namespace, self.families, self.mtu = namespace, families, mtu
        self.peer = None

    def eal(self):
        return ["--vdev=net_tap0,iface=vigiltap"]

    def options(self):
        return ["--mtu", str(self.mtu)] if self.mtu else []

    def ready(self):
        """The device exists once the dataplane runs; then it needs an address."""

        def give_address():
            try:
                if self.mtu:
                    self.namespace.run("ip", "link", "set", "vigiltap", "mtu", str(self.mtu))
                self.namespace.run("ip", "link", "set", "vigiltap", "up")
            except OSError:
                return False
            give_node_addresses(self.namespace, "vigiltap", self.families)
            return True

        wait_until(give_address, "the tap device", 20)


class AfPacket:
    """A veth pair: a packet socket on one end, the kernel's TCP on the other."""

    def __init__(self, namespace, families=(4,), mtu=None):
        self.namespace, self.families, self.mtu = namespace, families, mtu
        self.peer = None
        namespace.veth("vigil0", "node0")
        if mtu:
            for name in ("vigil0", "node0"):
                namespace.run("ip", "link", "set", name, "mtu", str(mtu))
        self.give_addresses(["vigil0"])

    def give_addresses(self, bare):
        if 6 in self.families:
            # The kernel would take the same link-local address for itself: the MAC is the same.
            for name in bare:
                self.namespace.run("ip", "link", "set", name, "addrgenmode", "none")
        give_node_addresses(self.namespace, "node0", self.families)

    def eal(self):
        frame = "framesz=9216,blocksz=73728" if self.mtu else "blocksz=65536"
        return [f"--vdev=net_af_packet0,iface=vigil0,{frame},framecnt=512"]

    def options(self):
        return ["--mtu", str(self.mtu)] if self.mtu else []

    def ready(self):
        pass


class LossyWire(AfPacket):
    """AfPacket over two veth pairs with a wire between them that loses, repeats and delays frames."""

    def __init__(self, namespace, families=(4,), loss=0.01, repeat=0.002, delay=0.005, seed=1):
        super().__init__(namespace, families)
        self.namespace.run("ip", "link", "del", "vigil0")
        self.namespace.veth("vigil0", "wire0")
        self.namespace.veth("wire1", "node0")
        self.give_addresses(["vigil0", "wire0", "wire1"])
        self.loss, self.repeat, self.delay = loss, repeat, delay
        self.frame_cnt = self.lost_cnt = 0
        self._rng = random.Random(seed)
        self._ends = [namespace.call(lambda n=n: packet_socket(n)) for n in ("wire0", "wire1")]
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        self._closing = True
        self._thread.join(5)
        for end in self._ends:
            end.close()

    def _run(self):
        late = {}  # end -> a frame that waits for its successor
        while not self._closing:
            readable, _, _ = select.select(self._ends, [], [], 0.05)
            if not readable:
                # Nothing overtakes it any more.
                for out, frame in late.items():
                    self._send(out, frame)
                late.clear()
            for end in readable:
                frame, address = end.recvfrom(65536)
                if address[2] == socket.PACKET_OUTGOING:
                    continue
                out = self._ends[1 - self._ends.index(end)]
                self.frame_cnt += 1
                dice = self._rng.random()
                if dice < self.loss:
                    self.lost_cnt += 1
                    continue
                if dice < self.loss + self.delay and out not in late:
                    late[out] = frame
                    continue
                self._send(out, frame)
                if dice > 1 - self.repeat:
                    self._send(out, frame)
                if out in late:
                    self._send(out, late.pop(out))

    @staticmethod
    def _send(out, frame):
        try:
            out.send(frame)
        except OSError:
            pass  # the far end is gone or its queue is full: lost, like any other


def packet_socket(interface):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.bind((interface, 0))
    return s


class Tower:
    """vigil-dataplane and vigild on one link, in one folder."""

    def __init__(self, folder, device, network="regtest"):
        self.folder, self.device, self.network = pathlib.Path(folder), device, network
        self.dataplane = self.control = None
        self.dataplane_options, self.control_options = [], []
        self.lcores = None  # one, floating over all processors
        self.memory_mb = 256
        self.user = None  # the test's own
        self.suffix = ""  # of the programs: "-kill" for those of tests/kill
        self.control_namespace = None  # the test's own; for a node whose RPC is inside another
        self.settings = {
            "tower": {"network": network, "data-dir": str(self.folder / "data")},
            "api": {"port": "0"},
            "link": {"socket": str(self.folder / "link.sock")},
            "control": {"socket": str(self.folder / "control.sock")},
            "log": {"level": "debug"},
        }
        self.port = None
        self._rpc = None

    def start(self):
        self.start_dataplane()
        self.start_control()
        return self

    def dataplane_argv(self):
        return [
            path_of("vigil-dataplane" + self.suffix), *eal_options(self.lcores, self.memory_mb),
            *self.device.eal(),
            "--",
            "--network", self.network,
            "--link", self.settings["link"]["socket"],
            *address_options(TOWER_IP, TOWER_IP6, self.device.families),
            "--peer", self.device.peer,
            *self.device.options(), *self.dataplane_options,
        ]  # fmt: skip

    def start_dataplane(self, env=None):
        self.dataplane = Program(
            "dataplane", self.dataplane_argv(), self.folder, self.device.namespace, self.user, env
        )
        self.device.ready()

    def write_config(self):
        path = self.folder / "vigild.conf"
        with open(path, "w", encoding="utf-8") as f:
            os.fchmod(f.fileno(), 0o600)
            for section, keys in self.settings.items():
                f.write(f"[{section}]\n")
                f.writelines(f"{key}={value}\n" for key, value in keys.items())
        if self.user is not None:
            os.chown(path, self.user, self.user)
        return path

    def start_control(self, wait=True, env=None):
        config = self.write_config()
        argv = [path_of("vigild" + self.suffix), "--config", str(config), *self.control_options]
        self.control = Program(
            "vigild", argv, self.folder, self.control_namespace, self.user, env=env
        )
        if wait:
            self.wait_api()

    def wait_api(self):
        """Until the control socket answers, which then knows the port."""

        def addresses():
            assert self.control.alive(), self.control.output()[-3000:]
            try:
                return self.rpc("gettowerinfo")["addresses"]
            except OSError:
                return None

        self.port = wait_until(addresses, "vigild's control socket")[0]["port"]

    def rpc(self, method, **params):
        with ControlSocket(self.settings["control"]["socket"]) as control:
            return control.call(method, **params)

    def counters(self):
        return self.rpc("getcounters")["dataplane"]

    def check(self):
        for program in (self.dataplane, self.control):
            if program is not None:
                program.check()

    def info(self):
        self.check()
        return self.rpc("getinfo")

    def wait_height(self, height, timeout=60):
        """Until the effects of that block are durable."""
        wait_until(lambda: (self.info()["height"] or -1) >= height, f"height {height}", timeout)

    def wait_synced(self, node, timeout=60):
        """Until the tower's tip is the node's."""
        tip = node.chain.tip.hash[::-1].hex()
        wait_until(lambda: self.info()["block_hash"] == tip, f"tip {tip}", timeout)

    def trackers(self):
        """penalty txid as printed -> row, over all pages."""
        rows, after = [], {}
        while True:
            page = self.rpc("gettrackers", **after)
            rows += page["trackers"]
            if page["next"] is None:
                return rows
            after = {"after": page["next"]}

    def stop(self):
        """In good order; what does not end so is an error of the test."""
        for program in (self.control, self.dataplane):
            if program is not None:
                program.terminate()

    def kill(self):
        for program in (self.control, self.dataplane):
            if program is not None:
                program.kill()
