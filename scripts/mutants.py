#!/usr/bin/env python3
"""Mutants of the dispatcher's core: which of them the unit tests kill, and which of the rest the simulation does.

cargo-mutants says what to change (`cargo mutants --list --json`). It would build once for each change; here all changes
go into one copy of the sources, each behind its number in the environment variable QUEBERT_MUTANT, and there are three
builds: of the core's unit tests, of the metrics' tests, which drive it as well, and of the simulation. What does not compile is found by the compiler's complaints, and
left out ("unviable").

Needs cargo-mutants in PATH, and the Python packages tree-sitter and tree-sitter-rust.

  scripts/mutants.py [--out target/mutants] [--seeds 200] [--jobs 2] [--no-simulation] [--again]

With --again only those are tried that survived the last time or came to no end, for as long as the core is the same.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import tree_sitter
import tree_sitter_rust

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = "dispatcher/src/core/*.rs"
SWITCH = """
/// Whether this change is made.
#[doc(hidden)]
pub fn mutated(number: u32) -> bool {
    static CHANGE: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *CHANGE.get_or_init(|| std::env::var("QUEBERT_MUTANT").map_or(0, |number| number.parse().expect("a number"))) == number
}
"""
# Quick ones first: most mutants end there. Each stage with its limit in seconds of CPU time, several times what it takes
# without a change, and a hundred times for the first: who comes to it goes around in circles, however busy the machine is.
STAGES = [
    (["core::tests::cases", "core::tests::faults", "core::tests::neighbours", "core::tests::steering"], 5),
    ([], 60),
]
SIMULATION_LIMIT_S = 600
# For one that stands still and takes no CPU time at all.
STANDSTILL_S = 1800


class Mutant:
    """One change; `number` is its switch."""

    def __init__(self, number, spec):
        self.number, self.spec = number, spec
        self.name, self.genre, self.replacement = spec["name"], spec["genre"], spec["replacement"]
        self.file, start = spec["file"], spec["span"]["start"]
        self.at = (start["line"] - 1, start["column"] - 1)
        self.on = f"crate::mutated({number})"


def column(node):
    """Where a node starts, with columns counted in characters as cargo-mutants does; the sources are ASCII where it matters."""
    return (node.start_point[0], node.start_point[1])


def weave(path, mutants):
    """The file's text with all changes behind their switches. Each stands on a line of its own, so that the compiler's
    complaints lead to it; the second value has the lines."""
    source = path.read_bytes()
    tree = tree_sitter.Parser(tree_sitter.Language(tree_sitter_rust.language())).parse(source)
    wanted = collections.defaultdict(list)
    for mutant in mutants:
        wanted[mutant.at].append(mutant)
    done = set()

    def text(node):
        return source[node.start_byte : node.end_byte].decode()

    def line(node):
        whole = text(node)
        return whole if "//" in whole else " ".join(whole.split())

    def mark(mutant, code):
        done.add(mutant.number)
        return f"\n/*M{mutant.number}*/{code}\n"

    def plain(node):
        """The node with its children rendered."""
        out, at = [], node.start_byte
        for child in node.children:
            out.append(source[at : child.start_byte].decode())
            out.append(render(child))
            at = child.end_byte
        out.append(source[at : node.end_byte].decode())
        return "".join(out)

    def choice(mutants, otherwise):
        code = ""
        for mutant, changed in mutants:
            code += f"if {mutant.on} {{ {mark(mutant, changed)} }} else "
        return f"({code}{{ {otherwise} }})"

    def render(node):
        if not node.children or node.type in ("const_item", "static_item"):
            return text(node)
        if node.type in ("binary_expression", "compound_assignment_expr"):
            operator = node.child_by_field_name("operator")
            here = [m for m in wanted[column(operator)] if m.genre == "BinaryOperator"]
            if here:
                sides = [node.child_by_field_name(side) for side in ("left", "right")]
                # One change at a time: what is changed has no other one inside.
                made = [(m, f"{line(sides[0])} {m.replacement} {line(sides[1])}") for m in here]
                code = choice(made, f"{render(sides[0])} {text(operator)} {render(sides[1])}")
                return code[1:-1] if node.type == "compound_assignment_expr" else code
        if node.type == "unary_expression":
            here = [m for m in wanted[column(node)] if m.genre == "UnaryOperator"]
            if here:
                inner = node.children[1]
                return choice([(m, line(inner)) for m in here], f"{text(node.children[0])}{render(inner)}")
        if node.type == "match_arm":
            pattern = node.child_by_field_name("pattern")
            guard = pattern.child_by_field_name("condition")
            deleted = [m for m in wanted[column(node)] if m.genre == "MatchArm"]
            guards = [m for m in wanted[column(guard)] if m.genre == "MatchArmGuard"] if guard else []
            if deleted or guards:
                condition = f"({render(guard)})" if guard else "true"
                for m in guards:
                    condition = f"({mark(m, '')}{m.on} || {condition})" if m.replacement == "true" else f"({mark(m, '')}!{m.on} && {condition})"
                for m in deleted:
                    condition = f"({mark(m, '')}!{m.on} && {condition})"
                bare = "".join(text(c) for c in pattern.children if c.start_byte < (guard.start_byte if guard else pattern.end_byte) and c.type != "if")
                rest = source[pattern.end_byte : node.child_by_field_name("value").start_byte].decode()
                value = render(node.child_by_field_name("value"))
                tail = source[node.child_by_field_name("value").end_byte : node.end_byte].decode()
                return f"{bare} if {condition} {rest}{value}{tail}"
        if node.type == "function_item":
            body = node.child_by_field_name("body")
            inner = [c for c in body.named_children if c.type not in ("line_comment", "block_comment")] if body else []
            first = column(inner[0]) if inner else None
            here = [m for m in wanted.get(first, []) if m.genre == "FnValue"] if first else []
            if here:
                head = source[node.start_byte : body.start_byte].decode().replace("const fn", "fn")
                values = "".join(f"if {m.on} {{ {mark(m, f'return {m.replacement};')} }}" for m in here)
                return f"{head}{{ {values} {plain(body)[1:]}"
        return plain(node)

    woven = render(tree.root_node)
    return woven, done


def sh(command, cwd, **more):
    return subprocess.run(command, cwd=cwd, text=True, capture_output=True, **more)


def build(copy, listed, originals, out):
    """Weaves and compiles until the compiler has no complaints. The unviable ones, and those that could not be woven."""
    unviable, skipped = set(), {}
    while True:
        skipped = {}
        for file, source in originals.items():
            alive = [m for m in listed if m.file == file and m.number not in unviable]
            path = copy / file
            path.write_text(source)
            woven, done = weave(path, alive)
            path.write_text(woven)
            skipped.update({m.number: m for m in alive if m.number not in done})
        checked = sh(["cargo", "check", "-p", "quebert-dispatcher", "--all-features", "--message-format=json"], copy)
        found, strangers = set(), []
        for line in checked.stdout.splitlines():
            message = json.loads(line).get("message") or {}
            if message.get("level") != "error" or not message.get("spans"):
                continue
            numbers = {n for span in message["spans"] for n in marked(copy, span)}
            found |= numbers
            if not numbers:
                strangers.append(message["rendered"])
        if checked.returncode == 0:
            return unviable, skipped
        print(f"  {len(found)} don't compile", flush=True)
        if not found - unviable:
            (out / "complaints.txt").write_text("\n".join(strangers) + checked.stderr)
            sys.exit(f"the compiler complains of something else: {out}/complaints.txt")
        unviable |= found


def marked(copy, span):
    """The mutants whose lines a complaint names."""
    path = copy / span["file_name"]
    if not path.exists():
        return set()
    lines = path.read_text().splitlines()[span["line_start"] - 1 : span["line_end"]]
    return {int(line.split("*/")[0][3:]) for line in lines if line.startswith("/*M")} if len(lines) < 4 else set()


def unit_tests(binary, copy, mutant, stages=STAGES):
    for filters, limit in stages:
        env = os.environ | {
            "QUEBERT_MUTANT": str(mutant.number),
            "PROPTEST_CASES": "64",
            "PROPTEST_MAX_SHRINK_ITERS": "0",
            "PROPTEST_DISABLE_FAILURE_PERSISTENCE": "1",
            "RUST_BACKTRACE": "0",
        }
        result = judged([binary, "--test-threads=2", *filters], pathlib.Path(binary).parent, env, limit)
        if result != "survived":
            return result
    return "survived"


def judged(command, folder, env, limit):
    """What comes of a program that has so many seconds of CPU time: "survived", "killed", "looped" or "timeout"."""
    try:
        run = sh(["prlimit", f"--cpu={limit}:{limit + 5}", *command], folder, env=env, timeout=STANDSTILL_S)
    except subprocess.TimeoutExpired:
        return "timeout"
    return "survived" if run.returncode == 0 else "looped" if run.returncode == -signal.SIGXCPU else "killed"


def alone(copy, mutant, originals, command):
    """Makes one change by itself, where it can't be switched: in a constant. The program with it, or None."""
    lines = originals[mutant.file].splitlines(keepends=True)
    offset = lambda place: sum(map(len, lines[: place["line"] - 1])) + place["column"] - 1
    start, end = (offset(mutant.spec["span"][side]) for side in ("start", "end"))
    source = originals[mutant.file]
    for file, original in originals.items():
        (copy / file).write_text(original)
    (copy / mutant.file).write_text(source[:start] + mutant.replacement + source[end:])
    return binary_of(copy, command, fails=None)


def simulation(binary, copy, mutant, seeds):
    env = os.environ | {"QUEBERT_MUTANT": str(mutant.number)}
    return judged([binary, "swarm", "--seeds", str(seeds)], copy, env, SIMULATION_LIMIT_S)


def binary_of(copy, command, fails=sys.exit):
    """The one executable that a cargo command builds."""
    run = sh([*command, "--message-format=json"], copy)
    if run.returncode != 0:
        return fails and fails(run.stderr)
    made = [json.loads(line).get("executable") for line in run.stdout.splitlines()]
    return [path for path in made if path][-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "target/mutants")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--no-simulation", action="store_true")
    parser.add_argument("--again", action="store_true")
    args = parser.parse_args()
    out, copy = args.out.resolve(), args.out.resolve() / "copy"
    out.mkdir(parents=True, exist_ok=True)

    listing = sh(["cargo", "mutants", "-p", "quebert-dispatcher", "-f", FILES, "--list", "--json"], ROOT)
    if listing.returncode != 0:
        sys.exit(listing.stderr)
    listed = [Mutant(number, spec) for number, spec in enumerate(json.loads(listing.stdout), 1)]
    files = sh(["git", "ls-files", "-co", "--exclude-standard"], ROOT).stdout.split("\n")
    for file in filter(None, files):
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, copy / file)
    library = copy / "dispatcher/src/lib.rs"
    # The house's lints are about people's code.
    plain = library.read_text().replace("#![", "// #![")
    library.write_text(plain + SWITCH)
    manifest = copy / "Cargo.toml"
    manifest.write_text(manifest.read_text().replace('"deny"', '"allow"').replace('"forbid"', '"allow"'))
    os.environ["CARGO_TARGET_DIR"] = str(out / "target")
    os.environ["CARGO_PROFILE_DEV_DEBUG"] = "0"
    originals = {m.file: (ROOT / m.file).read_text() for m in listed}
    print(f"{len(listed)} mutants", flush=True)
    unviable, skipped = build(copy, listed, originals, out)
    viable = [m for m in listed if m.number not in unviable and m.number not in skipped]
    print(f"{len(viable)} are viable, {len(unviable)} don't compile, {len(skipped)} are built one by one", flush=True)

    of_tests = ["cargo", "test", "-p", "quebert-dispatcher", "--all-features", "--lib", "--no-run"]
    of_metrics = ["cargo", "test", "-p", "quebert-metrics", "--test", "moves", "--no-run"]
    of_simulation = ["cargo", "--config", "build.rustflags=['--cfg','tokio_unstable']", "build", "--profile", "sim"]
    of_simulation += ["-p", "quebert-sim", "--all-features", "--bin", "quebert-sim"]
    tests = binary_of(copy, of_tests)
    whole = Mutant(0, listed[0].spec)
    assert unit_tests(tests, copy, whole) == "survived", "the tests fail without any change"
    results = {}

    def judge(mutants, how, what):
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            for count, (mutant, result) in enumerate(zip(mutants, pool.map(how, mutants)), 1):
                if count % 50 == 0:
                    print(f"  {count} of {len(mutants)}", flush=True)
                results[mutant.number] = (what, result)
                if result == "survived":
                    print(f"  survived {what}: {mutant.name}", flush=True)

    before = {}
    if args.again:
        before = {m["name"]: m for m in json.loads((out / "results.json").read_text()) if m["result"] == "killed"}
    known = [m for m in viable if m.name in before]
    results.update({m.number: (before[m.name]["by"], before[m.name]["result"]) for m in known})
    judge([m for m in viable if m not in known], lambda m: unit_tests(tests, copy, m), "unit tests")
    left = [m for m in viable if results[m.number][1] == "survived"]
    print(f"unit tests: {len(viable) - len(left)} of {len(viable)} killed", flush=True)
    metrics = binary_of(copy, of_metrics)
    assert unit_tests(metrics, copy, whole, [([], 200)]) == "survived", "the metrics' tests fail without any change"
    judge(left, lambda m: unit_tests(metrics, copy, m, [([], 200)]), "metrics' tests")
    left = [m for m in left if results[m.number][1] == "survived"]
    if not args.no_simulation and left:
        simulator = binary_of(copy, of_simulation)
        assert simulation(simulator, copy, whole, args.seeds) == "survived", "the seeds fail without any change"
        judge(left, lambda m: simulation(simulator, copy, m, args.seeds), "simulation")
        left = [m for m in left if results[m.number][1] == "survived"]
    # Everything is built again for each of these: only unit tests, then.
    for mutant in skipped.values():
        if mutant.name in before:
            viable.append(mutant)
            results[mutant.number] = (before[mutant.name]["by"], before[mutant.name]["result"])
            continue
        binary = alone(copy, mutant, originals, of_tests)
        if binary is None:
            unviable.add(mutant.number)
            continue
        viable.append(mutant)
        judge([mutant], lambda m: unit_tests(binary, copy, m), "unit tests")
        left += [mutant] if results[mutant.number][1] == "survived" else []
    killed = len(viable) - len(left)
    print(f"{killed} of {len(viable)} viable mutants killed: {100 * killed / len(viable):.1f} %")
    print(collections.Counter(result for _, result in results.values()))
    table = [{"name": m.name, "by": results[m.number][0], "result": results[m.number][1]} for m in viable]
    extra = [{"name": m.name, "result": "unviable"} for m in listed if m.number in unviable]
    (out / "results.json").write_text(json.dumps(table + extra, indent=1))


main()
