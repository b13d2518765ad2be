#!/usr/bin/env python3
"""Writes the figures that the tests left behind into the tables of docs/guarantees.md: guarantees.py FIGURES DOCUMENT"""
import json
import sys

BEGIN, END = "<!-- figures: make guarantees -->", "<!-- end of figures -->"


def number(value):
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(number, line)) + " |" for line in lines)


def main(figures, document):
    with open(figures, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]

    def all_of(proof):
        found = [line for line in lines if line["proof"] == proof]
        if not found:
            sys.exit(f"{figures} has no figures of {proof!r}: run make guarantees to its end")
        return found

    searches = []
    for line in all_of("interleavings"):
        what = f"every history of {line['depth']} events, up to {line['mishaps']} of them mishaps, {line['scenarios']} scenarios"
        searches.append([what, line["steps"], line["states"], line["ends"], line["seconds"]])
    for line in all_of("random histories"):
        what = f"random histories, seed {line['seed']}"
        searches.append([what, line["events"], "-", line["histories"], line["seconds"]])
    parts = [table(["search", "steps", "states", "followed to their end", "seconds"], searches)]
    for line in all_of("planted faults"):
        parts.append(f"Faults planted into the surroundings of the decision: {line['planted']}; found: {line['found']}.")
    count = ["double", "lost", "falseSuccess"]
    runs = []
    for line in sorted(all_of("crash matrix"), key=lambda line: line["guarantee"]):
        what = f"crash matrix, directory {line['guarantee']}: {line['rows']} crash points and faults"
        runs.append([what, *(line[name] for name in count), line["seconds"]])
    for line in all_of("chaos"):
        outcomes = ", ".join(f"{n} {name}" for name, n in sorted(line["outcomes"].items()))
        what = f"chaos: {line['requests']} requests, leader killed {line['kills']} times, seed {line['seed']} ({outcomes})"
        runs.append([what, *(line[name] for name in count), line["seconds"]])
    parts.append(table(["run", "changed twice", "lost", "false success", "seconds"], runs))

    with open(document, encoding="utf-8") as file:
        text = file.read()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    with open(document, "w", encoding="utf-8") as file:
        file.write(before + BEGIN + "\n" + "\n\n".join(parts) + "\n" + END + after)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
