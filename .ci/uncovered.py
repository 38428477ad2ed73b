"""Which lines of src/ no test has run, out of what llvm-cov says: `uncovered.py LCOV [PAGE]`. Test modules at a file's end do not count."""

import os
import re
import sys
from collections import defaultdict


def own_lines(path):
    """How many lines come before the file's own tests."""
    with open(path) as text:
        for number, line in enumerate(text, 1):
            if re.match(r"#\[cfg\((test|all\(test.*)\)\]$", line.strip()):
                return number - 1
    return sys.maxsize


def read(lcov):
    """For each file, how often each line was run."""
    files, lines = {}, None
    for line in open(lcov):
        kind, _, value = line.strip().partition(":")
        if kind == "SF":
            path = "src/" + value.split("/src/")[-1]
            lines = files.setdefault(path, defaultdict(int)) if os.path.exists(path) else {}
            last = own_lines(path) if os.path.exists(path) else 0
        elif kind == "DA":
            number, count = map(int, value.split(",")[:2])
            if number <= last:
                lines[number] += count
    return files


def ranges(numbers):
    """1, 2, 3, 5 as 1-3, 5."""
    out = []
    for number in sorted(numbers):
        if out and out[-1][1] == number - 1:
            out[-1][1] = number
        else:
            out.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in out)


def main():
    files = read(sys.argv[1])
    reasons = {}
    for line in open(".ci/uncovered"):
        path, _, reason = line.strip().partition(": ")
        if not path.startswith("#"):
            reasons[path] = reason
    missed = {path: [n for n, count in lines.items() if count == 0] for path, lines in files.items()}
    all_lines, none = sum(map(len, files.values())), sum(map(len, missed.values()))
    share = 100 * (all_lines - none) / all_lines
    summary = f"{all_lines - none:,} of {all_lines:,} lines of src/ were run, {share:.1f} %."
    print(summary)
    rows = [(path, numbers) for path, numbers in sorted(missed.items()) if numbers]
    for path, numbers in rows:
        print(f"{path}: {ranges(numbers)}")
    if len(sys.argv) > 2:
        with open(sys.argv[2], "w") as page:
            page.write("# Lines that no test runs\n\nWritten by `.ci/coverage --write`, out of all tests of the crate with all features, those of its clients ")
            page.write("in front of servers, and those of telemetry. Tests, and what only tests use, are not counted.\n\n")
            page.write(f"**{summary}**\n\n| file | lines | not run | which | why |\n|---|---|---|---|---|\n")
            for path, numbers in rows:
                reason = reasons.get(path, "")
                page.write(f"| `{path}` | {len(files[path])} | {len(numbers)} | {ranges(numbers)} | {reason} |\n")


main()
