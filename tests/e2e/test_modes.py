"""Ways to run the dataplane that the other tests leave at their defaults."""

import os
import pathlib
import time

import pytest

from lab.programs import wait_until

HUGE = pathlib.Path("/proc/sys/vm/nr_hugepages")
HUGE_MB = 64


def breaches_are_penalised(memif):
    memif.synth(
        "--blocks", "30", "--breaches", "6", "--breach-from", "11", "--txs-per-block", "60",
        "--seed", "5",
    )  # fmt: skip
    memif.serve("--start-blocks", "10", "--start-on", "signal", "--rate", "100")
    memif.start()
    memif.add_planted()
    memif.replay.go()
    memif.penalised()
    memif.tower.wait_height(30)


@pytest.mark.parametrize(
    "lcores, options, shards",
    [
        ("0@0", [], 1),
        ("0@0,1@1", [], 1),
        # The other way round than by default: the scan with the link, the net apart.
        ("0@0,1@1", ["--net-lcore", "1", "--scan-lcores", "0"], 1),
        ("0@0,1@1", ["--scan-lcores", "0,1"], 2),
        ("0@0,1@1,2@0,3@1", [], 2),
        ("0@0,1@1,2@0,3@1", ["--net-lcore", "3", "--scan-lcores", "1,2"], 2),
    ],
)
def test_roles_on_lcores(memif, lcores, options, shards):
    memif.tower.lcores = lcores
    memif.tower.dataplane_options = options
    breaches_are_penalised(memif)
    assert f" {shards} scan lcores" in memif.tower.dataplane.output()


@pytest.mark.parametrize("lcores", ["0@0", "0@0,1@1"])
def test_busy_polling_in_the_stripped_form(memif, lcores):
    memif.tower.lcores = lcores
    memif.tower.dataplane_options = ["--busy-poll", "--block-form", "stripped"]
    breaches_are_penalised(memif)


@pytest.fixture
def huge_pages():
    """Enough of them for one dataplane; as many as before afterwards."""
    size = next(
        (
            int(line.split()[1]) >> 10
            for line in pathlib.Path("/proc/meminfo").read_text().splitlines()
            if line.startswith("Hugepagesize:")
        ),
        0,
    )
    if os.geteuid() != 0 or size != 2 or not HUGE.exists():
        pytest.skip("huge pages of 2 MB need root and a kernel that has them")
    before = int(HUGE.read_text())
    try:
        try:
            # Twice as many as are asked for below: some may be somebody else's.
            HUGE.write_text(str(before + HUGE_MB))
        except OSError as e:
            pytest.skip(f"this kernel lets nobody reserve huge pages here: {e.strerror}")
        got = int(HUGE.read_text()) - before
        if got < HUGE_MB // size:
            pytest.skip(f"only {got} huge pages of {size} MB could be reserved")
        yield
    finally:
        if int(HUGE.read_text()) != before:
            HUGE.write_text(str(before))


def huge_kb(pid):
    """Huge pages in use by the process."""
    return sum(
        int(line.split()[1])
        for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines()
        if line.startswith(("Private_Hugetlb:", "Shared_Hugetlb:"))
    )


def test_huge_pages(memif, huge_pages):
    usual = memif.tower.dataplane_argv

    def argv():
        words = usual()
        at = words.index("--no-huge")
        # In memory: no file of a hugetlbfs, so none has to be mounted.
        words[at : at + 3] = ["--in-memory", "-m", str(HUGE_MB)]
        return words

    memif.tower.dataplane_argv = argv
    breaches_are_penalised(memif)
    assert huge_kb(memif.tower.dataplane.pid) >= HUGE_MB << 10


def idle_share(program, seconds):
    """Of one processor, over that time."""
    cpu, begin = program.cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    return (program.cpu_seconds() - cpu) / (time.monotonic() - begin)


def test_an_idle_dataplane_sleeps_unless_told_not_to(memif):
    memif.tower.lcores = "0@0,1@1"
    breaches_are_penalised(memif)
    tower = memif.tower
    sleepy = idle_share(tower.dataplane, 3)
    tower.dataplane.terminate()
    tower.dataplane_options = ["--busy-poll"]
    tower.start_dataplane()
    tower.dataplane.wait_line("event=link_up")
    wait_until(lambda: tower.rpc("getinfo")["dataplane"]["state"] == "on", "the session")
    busy = idle_share(tower.dataplane, 2)
    # Two lcores ask for two processors; what a loaded machine gives them is less, and is the measure.
    assert sleepy < busy / 4, f"idle: {sleepy:.2f} of a processor, busy-polling: {busy:.2f}"
