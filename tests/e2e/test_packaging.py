"""What an installation consists of: units, man pages, completion, sample files, the container's entry point."""

import ctypes
import os
import pathlib
import re
import shutil
import stat
import struct
import subprocess
import tempfile

import pytest

from lab.programs import BUILD, SLOW, Program, path_of, wait_until

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent
DIST = PROJECT / "control" / "dist"
UNITS = ("vigild.service", "vigil-dataplane.service")
PAGES = {
    "vigild": "man8/vigild.8",
    "vigil-dataplane": "man8/vigil-dataplane.8",
    "vigil-cli": "man1/vigil-cli.1",
    "vigil-rescan": "man1/vigil-rescan.1",
    "vigil-replay": "man1/vigil-replay.1",
}


def run(*argv, timeout=120, **kw):
    kw.setdefault("text", True)
    return subprocess.run(
        [str(a) for a in argv], capture_output=True, timeout=timeout * SLOW, check=False,
        stdin=subprocess.DEVNULL, **kw,
    )  # fmt: skip


def need(tool):
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")


@pytest.fixture(scope="module")
def dest(programs):
    """An installation under DESTDIR, and its prefix in there."""
    need("meson")
    with tempfile.TemporaryDirectory(prefix="vigil-") as root:
        os.chmod(root, 0o755)  # man may read as a user of its own
        done = run(
            "meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", env={**os.environ, "DESTDIR": root},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        (units,) = pathlib.Path(root).glob("**/vigild.service")
        yield pathlib.Path(root), units.parent.parent.parent.parent


def test_what_meson_install_puts_where(dest):
    _, prefix = dest
    files = {p.relative_to(prefix).as_posix() for p in prefix.rglob("*") if p.is_file()}
    programs = {"vigild", "vigil-dataplane", "vigil-cli", "vigil-rescan", "vigil-replay", "vigil-client"}
    assert {f"bin/{p}" for p in programs} <= files
    others = {f for f in files if not f.startswith("bin/")}
    assert others == {
        *(f"share/man/{page}" for page in PAGES.values()),
        "share/man/man5/vigil.conf.5",
        "share/bash-completion/completions/vigil-cli",
        "share/doc/vigil/vigil.conf.sample",
        "share/doc/vigil/dataplane.env.sample",
        "lib/systemd/system/vigild.service",
        "lib/systemd/system/vigil-dataplane.service",
        "lib/sysusers.d/vigil.conf",
    }
    # No test program and no library of ours is put there.
    assert not [f for f in files if "test" in f or f.endswith((".a", ".so"))]
    for f in files:
        mode = stat.S_IMODE((prefix / f).stat().st_mode)
        assert mode == (0o755 if f.startswith("bin/") else 0o644), f


# Man pages.


def options_of(text):
    return set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", text))


def rendered(page):
    need("man")
    done = run(
        "man", "-l", page, env={**os.environ, "MANWIDTH": "400", "LC_ALL": "C.UTF-8", "MANPAGER": "cat", "PAGER": "cat"}
    )
    if "has been minimized" in done.stdout + done.stderr:
        pytest.skip("this system is minimized: man does not work here")
    assert done.returncode == 0 and len(done.stdout) > 1000, done.stderr
    return re.sub(".\x08", "", done.stdout).replace("\N{HYPHEN}", "-").replace("\N{MINUS SIGN}", "-")


@pytest.mark.parametrize("program", sorted(PAGES))
def test_each_option_of_help_is_in_the_man_page_and_the_other_way_round(dest, program):
    _, prefix = dest
    text = rendered(prefix / "share" / "man" / PAGES[program])
    helps = [[]] if program != "vigil-replay" else [[], ["serve"], ["synth"], ["inspect"]]
    said = "".join(run(path_of(program), *command, "--help").stdout for command in helps)
    wanted, there = options_of(said), options_of(text)
    if program == "vigild":
        # The settings have a page of their own.
        wanted = {w for w in wanted if f"--{w}." not in said}
    if program in ("vigil-dataplane", "vigil-replay"):
        eal = {"file-prefix", "no-huge", "no-pci", "vdev"}
        wanted, there = wanted - eal, there - eal
    if program in ("vigil-cli", "vigil-rescan"):
        wanted, there = wanted | {"lines"}, there | {"lines"}
    assert wanted - there == set(), f"{program}: not in its page"
    assert there - wanted - {"section"} == set(), f"{program}: in its page only"
    assert len(wanted) > 2


def test_each_setting_is_in_the_page_of_the_file(dest):
    _, prefix = dest
    text = rendered(prefix / "share" / "man" / "man5" / "vigil.conf.5")
    said = run(path_of("vigild"), "--help").stdout
    section, keys = None, set()
    for line in text.splitlines():
        if re.fullmatch(r"\[[a-z]+\]", line):
            section = line[1:-1]
        match = re.match(r" {5}([a-z-]+)=", line)
        if section and match:
            keys.add(f"{section}.{match.group(1)}")
    assert keys == set(re.findall(r"--([a-z]+\.[a-z-]+)=", said)) and len(keys) > 25


def test_each_method_is_in_the_page_of_the_tool(dest):
    _, prefix = dest
    text = rendered(prefix / "share" / "man" / "man1" / "vigil-cli.1")
    said = run(path_of("vigil-cli"), "--socket", "/nonexistent", "--help").stdout.split("methods:\n")[1]
    listed = dict(re.findall(r"^  ([a-z_]+)((?: \[?[a-z_]+\]?)*)  ", said, re.MULTILINE))
    there = dict(re.findall(r"^     ([a-z_]+)((?: \[?[a-z_]+\]?)*)(?:  |$)", text, re.MULTILINE))
    for name, params in listed.items():
        if "_" in name:
            assert re.search(rf"\b{name}\b", text), name
        else:
            assert there.get(name) == params, name
    assert {n for n in there if n.startswith("get")} <= set(listed)


def test_man_pages_have_no_warnings(dest):
    need("man")
    _, prefix = dest
    pages = sorted((prefix / "share" / "man").rglob("*.[158]"))
    assert len(pages) == 6
    for page in pages:
        done = run(
            "man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page,
            env={**os.environ, "MANROFFSEQ": "", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        assert done.stderr == "" and done.returncode == 0, f"{page.name}: {done.stderr}"
        assert len(done.stdout) > 2000, page.name
        text = page.read_text()
        for section in ("NAME", "DESCRIPTION", "SEE ALSO"):
            assert f".Sh {section}\n" in text, page.name


def test_man_pages_pass_mandoc(dest):
    need("mandoc")
    _, prefix = dest
    for page in (prefix / "share" / "man").rglob("*.[158]"):
        done = run("mandoc", "-T", "lint", "-W", "error", page)
        assert done.returncode == 0, done.stdout


# Completion.


def complete(prefix, *words):
    """What bash would offer for the last word."""
    script = prefix / "share" / "bash-completion" / "completions" / "vigil-cli"
    done = run(
        "bash", "--norc", "-c",
        f'source {script}; shift 0; COMP_WORDS=(vigil-cli "$@"); COMP_CWORD=$#; _vigil_cli 2>/dev/null; '
        'printf "%s\\n" "${COMPREPLY[@]}"',
        "bash", *words,
    )  # fmt: skip
    return set(done.stdout.split())


def test_completion_knows_what_help_lists(dest):
    _, prefix = dest
    said = run(path_of("vigil-cli"), "--socket", "/nonexistent", "--help").stdout
    options, methods = said.split("methods:\n")
    listed = re.findall(r"^  ([a-z_]+)((?: \[?[a-z_]+\]?)*)  ", methods, re.MULTILINE)
    assert len(listed) > 15
    assert complete(prefix, "") == {name for name, _ in listed}
    assert complete(prefix, "--") == {"--" + o for o in re.findall(r"^  --([a-z-]+)", options, re.MULTILINE)}
    for name, params in listed:
        wanted = {p + "=" for p in re.findall("[a-z_]+", params)}
        if name == "help":
            wanted = {n for n, _ in listed}
        assert complete(prefix, name, "") == wanted, name
    assert complete(prefix, "--timeout", "5", "gett") == {"gettowerinfo", "gettrackers"}
    assert complete(prefix, "--network", "te") == {"testnet3", "testnet4"}
    assert complete(prefix, "gettrackers", "--") == {"--all", "--lines"}


# Units.


def unit_settings(path):
    got = {}
    for line in path.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            got.setdefault(key, []).append(value)
    return got


@pytest.mark.parametrize("unit", UNITS)
def test_O02_units_are_sound(dest, unit):
    root, prefix = dest
    path = prefix / "lib" / "systemd" / "system" / unit
    program = unit.removesuffix(".service")
    got = unit_settings(path)
    says = "libsystemd" in run("ldd", path_of(program)).stdout
    assert got["Type"] == ["notify" if says else "exec"]
    assert int(got["WatchdogSec"][0]) >= 10 if says else got["WatchdogSec"] == ["0"]
    binary = got["ExecStart"][0].split()[0]
    assert (root / binary.lstrip("/")).is_file(), "starts what was installed"
    need("systemd-analyze")
    # The check wants the program where the unit has it: in a copy it names the one that was built.
    with tempfile.TemporaryDirectory(prefix="vigil-") as folder:
        for name in UNITS:
            text = (path.parent / name).read_text()
            real = unit_settings(path.parent / name)["ExecStart"][0].split()[0]
            (pathlib.Path(folder) / name).write_text(text.replace(real, path_of(name.removesuffix(".service"))))
        copy = pathlib.Path(folder) / unit
        # "man pages that are not installed" and units of this system are not our unit's faults.
        done = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", copy)
        ours = [l for l in (done.stdout + done.stderr).splitlines() if unit in l or program in l]
        assert ours == []
        limit = {"vigild.service": 15, "vigil-dataplane.service": 25}[unit]  # tenths; 96 is "unsafe"
        done = run("systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={limit}", copy)
        if "Failed to create bus connection" in done.stderr or "unrecognized option" in done.stderr:
            pytest.skip(f"systemd-analyze cannot judge a unit offline here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stdout[-600:] + done.stderr


def filter_of(unit):
    """Names of the system calls that the unit leaves."""
    need("systemd-analyze")

    def members(group):
        done = run("systemd-analyze", "syscall-filter", group)
        assert done.returncode == 0, done.stderr
        names = set()
        for line in done.stdout.splitlines()[1:]:
            word = line.strip()
            if word.startswith("@"):
                names |= members(word)
            elif word and not word.startswith("#"):
                names.add(word)
        return names

    allowed = set()
    for value in unit_settings(DIST / "systemd" / f"{unit}.in")["SystemCallFilter"]:
        if value.startswith("~"):
            allowed -= members(value[1:])
        else:
            allowed |= members(value)
    return allowed


def numbers():
    for path in ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"):
        if os.path.exists(path):
            text = pathlib.Path(path).read_text()
            return {n: int(v) for n, v in re.findall(r"#define __NR_(\w+) (\d+)", text)}
    return pytest.skip("no header with the numbers of system calls (64-bit x86 only)")


def seccomp(allowed):
    """A preexec function: every system call that is not allowed fails with EPERM, as under the unit."""
    known = numbers()
    program = [(0x20, 0, 0, 0)]  # load the number
    for name in sorted(allowed & set(known)):
        program += [(0x15, 0, 1, known[name]), (0x06, 0, 0, 0x7FFF0000)]  # equal: allow
    program.append((0x06, 0, 0, 0x00050001))  # else EPERM
    code = b"".join(struct.pack("<HBBI", *i) for i in program)
    buffer = ctypes.create_string_buffer(code)
    prog = struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(buffer))
    prog_buffer = ctypes.create_string_buffer(prog)
    libc = ctypes.CDLL(None, use_errno=True)

    def install():
        keep = buffer, prog_buffer
        if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(keep[1])), 0, 0) != 0:
            os._exit(99)

    return install


def open_files(pid):
    """Those with a path: neither sockets nor memory."""
    links = [os.readlink(link) for link in pathlib.Path(f"/proc/{pid}/fd").iterdir()]
    return {link for link in links if link.startswith("/") and not link.startswith("/memfd:")}


def test_O02_both_processes_work_behind_the_units_filter(memif, monkeypatch):
    """From the first instruction on, so that start and running are both covered: a breach, a penalty, a restart."""
    filters = {u: filter_of(u) for u in UNITS}
    known = numbers()
    for allowed in filters.values():
        for forbidden in ("mount", "ptrace", "reboot", "kexec_load", "init_module", "setuid", "chroot", "bpf"):
            assert forbidden in known and forbidden not in allowed, forbidden
    popen = subprocess.Popen

    def filtered(argv, **kw):
        unit = f"{os.path.basename(argv[0])}.service"
        if unit in filters:
            kw["preexec_fn"] = seccomp(filters[unit])
        return popen(argv, **kw)

    monkeypatch.setattr(subprocess, "Popen", filtered)
    memif.synth("--blocks", "20", "--breaches", "4", "--breach-from", "11", "--txs-per-block", "20", "--seed", "7")
    memif.serve("--start-blocks", "10", "--start-on", "signal", "--rate", "40")
    memif.start()
    for program in (memif.tower.control, memif.tower.dataplane):
        text = pathlib.Path(f"/proc/{program.pid}/status").read_text()
        assert "Seccomp:\t2\n" in text and "NoNewPrivs:\t1\n" in text
    files = open_files(memif.tower.dataplane.pid)
    memif.add_planted()
    memif.replay.go()
    memif.penalised()
    memif.tower.wait_height(20)
    assert open_files(memif.tower.dataplane.pid) <= files, "the dataplane opens no file after its start"
    memif.tower.control.terminate()
    memif.tower.start_control()
    wait_until(lambda: memif.tower.info()["dataplane"]["state"] == "on", "a new session")


# The sample.


def test_O03_the_sample_has_every_setting_and_starts_a_tower(dest, folder):
    _, prefix = dest
    sample = prefix / "share" / "doc" / "vigil" / "vigil.conf.sample"
    said = run(path_of("vigild"), "--help").stdout
    section, keys = None, {}
    for line in sample.read_text().splitlines():
        if line.startswith("["):
            section = line[1:-1]
        match = re.fullmatch(r"#([a-z-]+)=(.*)", line)
        if match:
            keys[f"{section}.{match.group(1)}"] = match.group(2)
    defaults = dict(re.findall(r"^  --([a-z]+\.[a-z-]+)=(.*)$", said, re.MULTILINE))
    assert keys == {k: "" if v == "(empty)" else v for k, v in defaults.items()}
    shutil.copy(sample, folder / "vigil.conf")
    program = Program(
        "vigild", [path_of("vigild"), "--config", "vigil.conf", "--tower.network=regtest", "--api.port=0"], folder
    )
    try:
        program.wait_line("event=start ")
        program.terminate()
    finally:
        program.kill()


# The container.


def entry(folder, *args, **env):
    """(status, the command that it would run, standard error)"""
    done = run(
        DIST / "container" / "entrypoint", *args,
        env={"PATH": os.environ["PATH"], "VIGIL_ENTRYPOINT_DRY": "1", "VIGIL_RUN_DIR": str(folder), **env},
    )  # fmt: skip
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_O01_variables_become_options(folder):
    fixed = [f"--control.socket={folder}/control.sock", f"--link.socket={folder}/link.sock",
             "--tower.data-dir=/var/lib/vigil"]  # fmt: skip
    assert entry(folder) == (0, ["vigild", *fixed], "")
    status, argv, said = entry(
        folder, "--log.level=warn",
        API_BIND="0.0.0.0", API_PORT="9000", BTC_NETWORK="testnet", BTC_RPC_CONNECT="10.0.0.1",
        BTC_RPC_PORT="18332", BTC_RPC_USER="u", BTC_RPC_PASSWORD="p w", DEBUG="true", OVERWRITE_KEY="1",
        RPC_BIND="127.0.0.1", VIGIL_TEOS_SUBSCRIPTION_SLOTS="5", VIGIL_API_PORT="9001", VIGIL_SOCKET="/x",
        VIGIL_API_THREADS="",
    )  # fmt: skip
    assert status == 0 and said == "vigil-entrypoint: RPC_BIND has no meaning here\n"
    assert argv[0] == "vigild" and argv[-1] == "--log.level=warn"
    assert sorted(argv[1:-1]) == sorted([
        *fixed, "--config", f"{folder}/rpc.conf", "--overwrite-key", "--api.bind=0.0.0.0", "--api.port=9001",
        "--tower.network=testnet3", "--rpc.connect=10.0.0.1:18332", "--rpc.user=u", "--log.level=debug",
        "--teos.subscription-slots=5",
    ])  # fmt: skip
    conf = folder / "rpc.conf"
    assert conf.read_text() == "[rpc]\npassword=p w\n" and stat.S_IMODE(conf.stat().st_mode) == 0o600
    assert "p w" not in "".join(argv)
    assert "--rpc.connect=[2001:db8::1]:8332" in entry(folder, BTC_RPC_CONNECT="2001:db8::1", BTC_RPC_PORT="8332")[1]
    assert "--rpc.connect=https://node:8334" in entry(folder, BTC_RPC_CONNECT="https://node", BTC_RPC_PORT="8334")[1]
    assert "--rpc.connect=https://node:8334" in entry(folder, BTC_RPC_CONNECT="https://node:8334")[1]
    assert entry(folder, DEBUG="maybe")[0] == 2
    assert entry(folder, BTC_RPC_PORT="1")[0] == 2
    assert entry(folder, VIGIL_RPC_PASSWORD="a\nb")[0] == 2
    assert entry(
        folder, "vigil-dataplane", EAL_OPTIONS="-l 0 --no-pci", OPTIONS="--peer 10.0.0.1", BTC_NETWORK="signet"
    )[1] == ["vigil-dataplane", "-l", "0", "--no-pci", "--", "--link", f"{folder}/link.sock", "--network", "signet",
             "--peer", "10.0.0.1"]  # fmt: skip
    assert entry(folder, "vigil-cli", "getinfo")[1] == ["vigil-cli", "getinfo"]


def test_O01_the_entry_point_starts_a_tower(programs, folder, monkeypatch):
    for name, value in {
        "PATH": f"{pathlib.Path(path_of('vigild')).parent}:{os.environ['PATH']}",
        "VIGIL_RUN_DIR": str(folder), "VIGIL_DATA_DIR": str(folder / "data"), "BTC_NETWORK": "regtest",
        "VIGIL_API_PORT": "0", "BTC_RPC_CONNECT": "127.0.0.1", "BTC_RPC_PORT": "1", "BTC_RPC_USER": "u",
        "BTC_RPC_PASSWORD": "p",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    program = Program("entrypoint", [str(DIST / "container" / "entrypoint")], folder)
    try:
        program.wait_line("event=start ")
        # It has become the tower: the engine's signal reaches it.
        assert os.path.realpath(f"/proc/{program.pid}/exe") == os.path.realpath(path_of("vigild"))
        program.terminate()
    finally:
        program.kill()


def test_O01_the_image_is_made_of_what_is_there():
    text = (DIST / "container" / "Containerfile").read_text()
    for source in re.findall(r"^COPY (?!--from)(\S+) ", text, re.MULTILINE):
        assert (PROJECT / source).exists(), source
    for script in re.findall(r"(?<=RUN )\S+/\S+", text):
        assert os.access(PROJECT / script, os.X_OK), script
    done = run(DIST / "container" / "packages", path_of("vigild"), path_of("vigil-dataplane"))
    if not shutil.which("dpkg-query"):
        pytest.skip("not a Debian system")
    assert done.returncode == 0, done.stderr
    names = done.stdout.split()
    assert {"libc6", "librocksdb7.8", "libuv1", "librte-eal23", "librte-meta-net"} <= set(names)
    assert not [n for n in names if n.endswith("-dev")]


def test_O01_the_image_can_be_built():
    engine = os.environ.get("VIGIL_CONTAINER_ENGINE")
    if not engine:
        pytest.skip(
            "the container image is not built, which needs a network: VIGIL_CONTAINER_ENGINE=podman would build it"
        )
    done = run(engine, "build", "-f", DIST / "container" / "Containerfile", PROJECT, timeout=1800)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
