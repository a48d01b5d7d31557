#!/usr/bin/python3
"""The replay benchmark: every part of the tower measured, checked, and set beside a limit measured in the same run."""

import argparse
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time

from report import figures, page

PROJECT = pathlib.Path(__file__).resolve().parent.parent


class Failed(Exception):
    """A section that does not count, and why."""


class Missing(Exception):
    """A section whose program is not there."""


def parse_args():
    methods = "".join(
        textwrap.fill(f"{name}: {figures.METHODS[name]}", 110, initial_indent="  ", subsequent_indent="      ") + "\n"
        for name in figures.SECTIONS)
    p = argparse.ArgumentParser(
        prog="bench/run.sh", formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__,
        epilog=f"How each section is measured:\n{methods}\nExit status 0 only if every section ran and found exactly "
               "what was planted; a section whose program is not there counts only where --only asks for it.  "
               "Speed fails nothing: bars are printed beside the figures.")  # fmt: skip
    p.add_argument("files", nargs="*", metavar="FILE",
                   help="your own blocks, raw or blk*.dat, for txid and scan; the other sections make their chains")
    p.add_argument("--json", nargs="?", const="-", metavar="FILE",
                   help="one JSON object to FILE, whose name ends in .json, or in place of the table")
    p.add_argument("--html", metavar="FILE", help="where the page goes (benchmark.html in the build folder)")
    p.add_argument("--only", metavar="SECTION[,SECTION]", help=f"of {','.join(figures.SECTIONS)} (all)")
    p.add_argument("--quick", action="store_true", help="small and short: shows that it works, measures little")
    p.add_argument("--large", action="store_true", help="the index with 100 M locators, too (10 GB of memory)")
    p.add_argument("-v", "--verbose", action="store_true", help="say with each section how it is measured")
    p.add_argument("--build-dir", default=str(PROJECT / "build"), help=argparse.SUPPRESS)
    args = p.parse_args()
    args.asked = args.only is not None
    args.only = [s for s in args.only.split(",") if s] if args.asked else list(figures.SECTIONS)
    unknown = set(args.only) - set(figures.SECTIONS)
    if unknown or not args.only:
        p.error(f"no such section: {', '.join(sorted(unknown)) or 'none given'}")
    # "--json blk00000.dat" must not end a block file.
    if args.json not in (None, "-") and not args.json.endswith(".json"):
        p.error(f"--json {args.json}: the name does not end in .json (block files go before --json)")
    for name in args.files:
        if not os.access(name, os.R_OK):
            p.error(f"{name}: cannot be read")
    args.build_dir = pathlib.Path(args.build_dir).resolve()
    args.files = [os.path.abspath(f) for f in args.files]
    return args


# --- running programs -------------------------------------------------------------------------------------------


class Runner:
    """One program at a time, in a session of its own, ended whatever happens."""

    def __init__(self, args):
        self.args, self.begun, self.child = args, time.monotonic(), None

    def say(self, text):
        print(f"[{time.monotonic() - self.begun:6.1f} s] {text}", file=sys.stderr, flush=True)

    def json_of(self, argv, seconds):
        self.child = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            out, err = self.child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"not finished after {seconds} s") from None
        finally:
            self.end()
        if self.child.returncode != 0:
            raise Failed(f"status {self.child.returncode}: {err.strip()[-600:]}")
        try:
            return json.loads(out)
        except ValueError:
            raise Failed(f"printed no JSON: {out[:200]!r}") from None

    def end(self):
        """The program and what it started, which is what has its session."""
        if self.child is None or self.child.poll() is not None:
            return
        # As from a keyboard: scripts stop what they started in sessions of its own.
        os.killpg(self.child.pid, signal.SIGINT)
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()

    def program(self, folder, name):
        path = self.args.build_dir / "bench" / folder / name
        if not path.is_file():
            raise Missing(f"{name} is not built")
        return path

    def script(self, *places):
        for place in places:
            if (PROJECT / place).is_file():
                return PROJECT / place
        raise Missing(f"{places[0]} is not part of this version")


# --- sections ---------------------------------------------------------------------------------------------------


def check(report, what, ok):
    report["checks"].append({"what": what, "ok": bool(ok)})
    if not ok:
        raise Failed(f"wrong result: {what}")


def run_txid(r, report):
    argv = [r.program("txid", "vigil-bench-txid"), "--json"]
    argv += ["--rounds", "2", "--blocks-only"] if r.args.quick else []
    out = r.json_of([*argv, *r.args.files], 60 if r.args.quick else 1200)
    sets = out["sets"]
    for s in sets:
        s["kernels"] = {k["txid"]["kernel"]: k for k in s["kernels"]}
    best = sets[0]["kernels"][out["selected"]]
    report["txid"] = {**best["txid"], "set": sets[0]["name"]}
    report["merkle"] = {**best["merkle"], "set": sets[0]["name"]}
    report["txid_sets"] = sets
    check(report, f"txids and merkle roots of {len(sets[0]['kernels'])} kernels are those of the libraries", True)


def run_scan(r, report):
    argv = [r.program("scan", "vigil-bench-scan"), "--json"]
    if r.args.quick:
        argv += ["--locators", "100000", "--blocks", "4", "--rounds", "2", "--sample-ms", "5"]
    elif r.args.files:
        argv += ["--blocks", "128"]
    out = r.json_of([*argv, *r.args.files], 120 if r.args.quick else 3600)
    report["scan"], report["scaling"] = out["scan"], out["scaling"]
    s = out["scan"]
    check(report, f"scan: {s['hits_found']} hits found of {s['hits_planted']} planted, in every pass",
          s["hits_found"] == s["hits_planted"] > 0)


def run_index(r, report):
    argv = [r.program("index", "vigil-bench-index"), "--json"]
    argv += ["--only", "100000"] if r.args.quick else ["--large"] if r.args.large else []
    out = r.json_of(argv, 120 if r.args.quick else 7200)
    report["index"] = figures.with_spreads(out if isinstance(out, list) else out["index"])
    check(report, "index: every lookup, add and delete was answered rightly", len(report["index"]) > 0)


def run_path_script(r, part, quick):
    argv = [sys.executable, r.script("bench/path/path.py"), "--build-dir", r.args.build_dir, "--only", part]
    return figures.with_spreads(r.json_of(argv + (quick if r.args.quick else []), 150 if r.args.quick else 3600))


def run_path(r, report):
    out = run_path_script(r, "path", ["--rounds", "1", "--blocks", "60", "--block-bytes", "200000", "--breaches", "8",
                                      "--locators", "10000", "--forms", "full"])
    p = report["path"] = out["path"]
    check(report, f"path: {p['hits']} hits found of {p['hits_planted']} planted",
          p["hits"] == p["hits_planted"] > 0)


def run_latency(r, report):
    out = run_path_script(r, "latency", ["--sizes", "60000,400000", "--hits", "6", "--latency-rounds", "1",
                                         "--interval-ms", "30", "--locators", "10000"])
    report["latency_us"] = out["latency_us"]
    hits = sum(row["hits"] for row in out["latency_us"]["by_size"].values())
    check(report, f"latency: {hits} breaches, each hit and each penalty at the node", hits > 0)


def run_idle(r, report):
    out = run_path_script(r, "idle", ["--idle-seconds", "1"])
    report.update({k: v for k, v in out.items() if k.startswith("idle")})


def run_load(r, report):
    script = r.script("bench/load/load.py")
    sizes = [20_000] if r.args.quick else [1_000_000, 10_000_000]
    # What a store takes while it is filled and compacted, and some more.
    free = shutil.disk_usage(os.environ.get("TMPDIR") or "/var/tmp").free
    if sizes[-1] * 1500 + (2 << 30) > free:
        report["notes"] = [f"load: no room on the disk for {sizes.pop():,} appointments (TMPDIR chooses the place)"]
    rows = []
    for n in sizes:
        out = r.json_of([sys.executable, script, "--build-dir", r.args.build_dir, "--appointments", n,
                         "--rounds", 1 if r.args.quick else 3], 200 if r.args.quick else 3600)["load"]
        rows.append({**figures.with_spreads(out), "seconds_spread": out["spread"]})
        check(report, f"load: the dataplane watches {out['locators']:,} locators of {out['appointments']:,} appointments",
              out["locators"] == out["appointments"] == n)
    if rows:
        report["load"] = {**rows[-1], "rows": rows}


def run_api(r, report):
    argv = [sys.executable, r.script("bench/api/api.py"), "--build-dir", r.args.build_dir]
    if r.args.quick:
        argv += ["--rounds", "1", "--requests", "200", "--breaches", "50", "--flood", "600", "--appointments", "4000",
                 "--expiring", "1000", "--one-user", "500"]
    else:
        free = shutil.disk_usage(os.environ.get("TMPDIR") or "/var/tmp").free
        if free < (10 << 30):
            report["notes"] = ["api: no room on the disk for 5,000,000 appointments (TMPDIR chooses the place)"]
            argv += ["--only", "add,breach,overload"]
    out = report["api"] = r.json_of(argv, 200 if r.args.quick else 3600)["api"]
    check(report, f"api: every appointment has its receipt, {out['breach']['penalties']} penalties came, in order",
          out["breach"]["penalties"] == out["breach"]["breaches"])


RUN = {"txid": run_txid, "scan": run_scan, "index": run_index, "path": run_path, "latency": run_latency,
       "load": run_load, "api": run_api, "idle": run_idle}  # fmt: skip


# --- the report -------------------------------------------------------------------------------------------------


def first_match(path, pattern, otherwise):
    try:
        found = re.search(pattern, pathlib.Path(path).read_text(errors="replace"), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else otherwise


def machine():
    memory_kb = int(first_match("/proc/meminfo", r"^MemTotal:\s*(\d+)", "0"))
    return {"cpu": first_match("/proc/cpuinfo", r"^model name\s*:\s*(.*)$", "unknown"),
            "cpus": len(os.sched_getaffinity(0)), "memory_gb": round(memory_kb / 2**20),
            "kernel": platform.release(), "load_average": round(os.getloadavg()[0], 2)}  # fmt: skip


def commit():
    try:
        done = subprocess.run(["git", "-C", str(PROJECT), "describe", "--always", "--dirty"], capture_output=True,
                              text=True, timeout=20, check=False)
        return done.stdout.strip() or "unknown"
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"


def describe(args):
    data = f"Blocks of txid and scan: {len(args.files)} given files" if args.files else "Synthetic blocks"
    return f"{data}; {'a quick run, which measures little' if args.quick else 'a full run'}."


def measure(args):
    report = {"version": first_match(PROJECT / "meson.build", r"^\s*version: '([^']*)'", "unknown"),
              "commit": commit(), "machine": machine(), "data": describe(args), "quick": args.quick,
              "sections": {}, "missing": {}, "failed": {}, "checks": [], "notes": []}  # fmt: skip
    runner = Runner(args)
    try:
        for section in figures.SECTIONS:
            if section not in args.only:
                continue
            runner.say(f"{section} ...")
            begun = time.monotonic()
            try:
                # Of a section that fails no figure is kept.
                part = {"checks": report["checks"]}
                RUN[section](runner, part)
                notes = report["notes"] + part.pop("notes", [])
                report.update(part, notes=notes)
                report["sections"][section] = {"seconds": round(time.monotonic() - begun, 1)}
            except Missing as e:
                report["missing"][section] = str(e)
            except (Failed, KeyError, TypeError) as e:
                report["failed"][section] = str(e) if isinstance(e, Failed) else f"unexpected output: {e!r}"
                runner.say(f"{section} FAILED: {report['failed'][section]}")
    finally:
        runner.end()
    return report


def on_signal(number, _frame):
    raise SystemExit(128 + number)


def main():
    args = parse_args()
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    report = measure(args)
    bars = [line for line in figures.lines(report) if line.bar is not None]
    report["bars"] = [{"section": b.section, "what": b.label, "unit": b.unit, "value": b.value, "bar": b.bar,
                       "at_most": isinstance(b.bar, figures.AtMost), "met": b.met} for b in bars]  # fmt: skip
    html_path = pathlib.Path(args.html or args.build_dir / "benchmark.html")
    html_path.write_text(page.page(report), encoding="utf-8")
    as_json = json.dumps(report, indent=1)
    if args.json == "-":
        print(as_json)
    else:
        print(page.text(report, args.verbose))
        if args.json:
            pathlib.Path(args.json).write_text(as_json + "\n", encoding="utf-8")
    print(f"page: {html_path}", file=sys.stderr)
    return 1 if report["failed"] or not report["sections"] or (args.asked and report["missing"]) else 0


if __name__ == "__main__":
    sys.exit(main())
