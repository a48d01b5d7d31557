#!/usr/bin/python3
"""House rules that a machine can check; compiles nothing but the headers.

usage: lint.py [--build-dir DIR]

Each rule is one test; ends with "N passed, N failed, N skipped".  With --build-dir the libraries that
the built programs link are checked too.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys

PROJECT = pathlib.Path(__file__).resolve().parent.parent
DATA_DIRS = ("tests/vectors/", "tests/fuzz/corpus/")
FILE_SZ_MAX = 200 * 1024


class Skip(Exception):
    pass


def run(*argv):
    return subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)


def tracked():
    """Paths of the project: what git tracks, or every file where there is no git."""
    done = run("git", "ls-files", "-z")
    if done.returncode == 0:
        names = [n for n in done.stdout.split("\0") if n]
    else:
        names = [
            str(p.relative_to(PROJECT))
            for p in PROJECT.rglob("*")
            if p.is_file() and not p.relative_to(PROJECT).parts[0].startswith(("build", ".git"))
        ]
    return [n for n in names if (PROJECT / n).is_file()]


def text_of(name):
    return (PROJECT / name).read_text(encoding="utf-8", errors="replace")


def c_files(files):
    return [f for f in files if f.endswith((".c", ".h"))]


def includes_of(name):
    return re.findall(r'^\s*#\s*include\s+"([^"]+)"', text_of(name), re.MULTILINE)


def scripts_of(files):
    return [
        f
        for f in files
        if not f.startswith(DATA_DIRS) and re.match(r"#!.*\b(ba)?sh\b", text_of(f)[:64])
    ]


# Rules: each gives a list of complaints.


def rule_top_level_is_fixed(files):
    allowed = {"dataplane", "control", "bench", "tests", "meson.build", "meson_options.txt"}
    allowed |= {"README.md", "LICENSE"}
    top = {f.split("/")[0] for f in files}
    return [f"{t}: not part of the layout" for t in sorted(top) if t not in allowed and t[0] != "."]


def rule_includes_go_one_way_only(files):
    """dataplane/ includes from itself, control/ from itself and dataplane/, bench/ from all three."""
    seen = {"dataplane": ["dataplane"], "control": ["control", "dataplane"]}
    return [
        f"{name}: includes {path}"
        for name in c_files(files)
        for path in includes_of(name)
        if name.split("/")[0] in seen
        and not any((PROJECT / top / path).exists() for top in seen[name.split("/")[0]])
        and not ("/" not in path and (PROJECT / name).parent.joinpath(path).exists())
    ]


def rule_private_headers_stay_in_their_module(files):
    return [
        f"{name}: includes {path}"
        for name in c_files(files)
        if not name.startswith("tests/")
        for path in includes_of(name)
        if path.endswith("_priv.h") and "/" in path and path.split("/")[0] != name.split("/")[1]
    ]


def rule_only_net_scan_topo_rescan_serve_and_benchmarks_use_dpdk(files):
    allowed = ("dataplane/net/", "dataplane/scan/", "dataplane/topo/", "dataplane/rescan/",
               "bench/serve/", "bench/path/", "bench/scan/", "tests/")
    return [
        f"{name}: includes rte_*"
        for name in c_files(files)
        if not name.startswith(allowed) and name != "dataplane/main.c"
        and re.search(r"^\s*#\s*include\s+<rte_", text_of(name), re.MULTILINE)
    ]


def rule_every_header_compiles_alone(files):
    flags = run("pkg-config", "--cflags", "libdpdk", "lwip", "libuv", "libsodium", "jansson")
    if flags.returncode != 0:
        flags = run("pkg-config", "--cflags", "libdpdk", "libuv", "libsodium", "jansson")
    if flags.returncode != 0:
        raise Skip("pkg-config does not know the libraries: tests/setup.sh")
    base = ["cc", "-std=gnu17", "-D_GNU_SOURCE", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
    base += ["-Wno-unused-function", '-DVIGIL_VERSION="lint"', "-x", "c", "-include"]

    def compile_alone(name):
        tops = {"dataplane": ["dataplane"], "control": ["control", "dataplane"]}
        include = tops.get(name.split("/")[0], ["bench", "control", "dataplane"])
        done = run(*base, name, "/dev/null", *[f"-I{i}" for i in include], *flags.stdout.split())
        return [f"{name}: {done.stderr.strip().splitlines()[0]}"] if done.returncode else []

    # A header that is a template says so: "the file that includes it has defined ...".
    headers = [
        f
        for f in files
        if f.endswith(".h")
        and not f.startswith("tests/")
        and "file that includes it" not in text_of(f)[:2000]
    ]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return [complaint for found in pool.map(compile_alone, headers) for complaint in found]


def rule_every_module_has_unit_tests(files):
    """A module that is a folder of a library has tests/unit/<module>/ with a test in it."""
    complaints = []
    for top in ("dataplane", "control", "bench"):
        modules = {f.split("/")[1] for f in files if f.startswith(top + "/") and f.endswith(".c") and f.count("/") == 2}
        for module in sorted(modules):
            build = PROJECT / top / module / "meson.build"
            if not build.exists() or "static_library(" not in build.read_text():
                continue
            if not any(f.startswith(f"tests/unit/{module}/") and f.endswith(".c") for f in files):
                complaints.append(f"{top}/{module}: no tests in tests/unit/{module}/")
    return complaints


def rule_every_fuzz_target_has_a_corpus_and_is_built(files):
    build = text_of("tests/fuzz/meson.build")
    complaints = []
    for name in files:
        match = re.fullmatch(r"tests/fuzz/([^/]+)\.c", name)
        if not match or match.group(1) == "replay_main":
            continue
        target = match.group(1)
        if f"'{target}.c'" not in build:
            complaints.append(f"{name}: not in tests/fuzz/meson.build")
        elif "LLVMFuzzerTestOneInput" in text_of(name) and not any(
            f.startswith(f"tests/fuzz/corpus/{target}/") for f in files
        ):
            complaints.append(f"{name}: no corpus in tests/fuzz/corpus/{target}/")
    return complaints


def rule_every_row_of_the_parity_checklist_has_a_test(files):
    """tests/vectors/teos/parity.txt: an id, what it is, and in brackets why there is no test."""
    tests = [f for f in files if f.startswith("tests/") and f.endswith((".c", ".py"))]
    named = set()
    for name in tests:
        named |= set(re.findall(r"^(?:static void |def test_)([TAOP]\d\d)_", text_of(name), re.MULTILINE))
    complaints = []
    for line in text_of("tests/vectors/teos/parity.txt").splitlines():
        match = re.fullmatch(r"([TAOP]\d\d) ([^\[]+)(\[.+\])?", line)
        if not match:
            if line and not line.startswith("#"):
                complaints.append(f"parity.txt: not understood: {line}")
            continue
        row, what, reason = match.groups()
        if reason and row in named:
            complaints.append(f"{row}: has a test, and a reason to have none")
        if not reason and row not in named:
            complaints.append(f"{row} {what.strip()}: no test is named after it")
    return complaints


def rule_no_path_of_a_machine(files):
    pattern = re.compile(r"(?<![\w.$}])/(root|Users|work)/\w+|" + re.escape(str(PROJECT) + "/"))
    return [
        f"{name}:{number}: {match.group(0)}"
        for name in files
        if not name.startswith(DATA_DIRS)
        for number, line in enumerate(text_of(name).splitlines(), 1)
        for match in pattern.finditer(line)
    ]


def rule_no_unfinished_work(files):
    word = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    return [
        f"{name}:{number}: {line.strip()}"
        for name in files
        if name.endswith((".c", ".h", ".py", ".sh", ".build"))
        for number, line in enumerate(text_of(name).splitlines(), 1)
        if word.search(line)
    ]


def rule_no_large_file(files):
    return [
        f"{name}: {(PROJECT / name).stat().st_size} bytes"
        for name in files
        if (PROJECT / name).stat().st_size > FILE_SZ_MAX and not name.startswith("tests/vectors/")
    ]


def rule_sources_are_listed_by_name(files):
    """By file name, or in a list of tests or of instruction sets from which the name is made."""
    complaints = []
    for name in files:
        build = (PROJECT / name).parent / "meson.build"
        if not name.endswith(".c") or not build.exists():
            continue
        stem = pathlib.PurePath(name).stem
        folder = pathlib.PurePath(name).parent.name
        words = {stem, stem.removesuffix("_test"), stem.removeprefix("test_")}
        words.add(stem.removeprefix(folder + "_"))
        if not re.search("|".join(rf"'{re.escape(w)}(\.c)?'" for w in words), build.read_text()):
            complaints.append(f"{name}: not in {pathlib.PurePath(name).parent}/meson.build")
    return complaints


def rule_c_files_are_formatted(files):
    if not shutil.which("clang-format"):
        raise Skip("clang-format is not installed: tests/setup.sh --dev")
    done = run("clang-format", "--dry-run", "-Werror", *c_files(files))
    return sorted(set(re.findall(r"^(\S+:\d+):\d+: error", done.stderr, re.MULTILINE)))


def rule_scripts_pass_shellcheck(files):
    if not shutil.which("shellcheck"):
        raise Skip("shellcheck is not installed: tests/setup.sh --dev")
    done = run("shellcheck", *scripts_of(files))
    return done.stdout.splitlines() if done.returncode else []


def rule_scripts_are_executable(files):
    return [f"{f}: has #! but not the right to run" for f in files
            if text_of(f)[:2] == "#!" and not f.startswith(DATA_DIRS)
            and not os.access(PROJECT / f, os.X_OK)]


def rule_python_compiles(files):
    complaints = []
    for name in files:
        if name.endswith(".py"):
            try:
                compile(text_of(name), name, "exec")
            except SyntaxError as error:
                complaints.append(f"{name}: {error}")
    return complaints


def linked_libraries(build, program):
    found = [p for p in (PROJECT / build).glob(f"*/**/{program}") if p.is_file()]
    if not found:
        raise Skip(f"{program} is not built")
    done = run("ldd", str(found[0]))
    return re.findall(r"^\s*(\S+)", done.stdout, re.MULTILINE)


def program_rules(build):
    def forbid(program, pattern):
        return lambda _files: [
            f"{program} links {lib}" for lib in linked_libraries(build, program) if re.match(pattern, lib)
        ]

    return {
        "dataplane_does_not_link_the_store": forbid("vigil-dataplane", r"librocksdb"),
        "control_does_not_link_dpdk": forbid("vigild", r"librte_"),
        "rescan_holds_no_store_and_no_key": forbid("vigil-rescan", r"librocksdb|libsecp256k1|libsodium"),
        "cli_links_neither": forbid("vigil-cli", r"librte_|librocksdb"),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build-dir")
    args = parser.parse_args()

    files = tracked()
    rules = {n.removeprefix("rule_"): f for n, f in globals().items() if n.startswith("rule_")}
    if args.build_dir:
        rules.update(program_rules(args.build_dir))

    passed = failed = skipped = 0
    for name, rule in rules.items():
        try:
            complaints = rule(files)
        except Skip as why:
            print(f"SKIPPED {name} - {why}")
            skipped += 1
            continue
        if complaints:
            failed += 1
            print(f"FAILED {name}")
            for complaint in complaints[:20]:
                print(f"    {complaint}")
            if len(complaints) > 20:
                print(f"    and {len(complaints) - 20} more")
        else:
            passed += 1
            print(f"ok {name}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
