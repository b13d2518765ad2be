#!/usr/bin/env python3
"""Prints where the time of a test run went, by the reports of cargo-nextest that are there: times.py JUNIT.XML..."""
import os
import sys
from xml.etree import ElementTree

SLOWEST = 10


def main(reports):
    suites, tests = [], []
    for suite in (s for report in filter(os.path.exists, reports) for s in ElementTree.parse(report).getroot().iter("testsuite")):
        name = suite.get("name").removeprefix("credreset::")
        cases = [(float(case.get("time")), name, case.get("name")) for case in suite.iter("testcase")]
        failed = sum(case.find("failure") is not None or case.find("error") is not None for case in suite.iter("testcase"))
        suites.append((sum(seconds for seconds, *_ in cases), len(cases), failed, name))
        tests += cases
    if not tests:
        return
    for lines in (os.path.join(os.path.dirname(report), "not-run") for report in reports):
        if os.path.exists(lines):
            print(open(lines, encoding="utf-8").read(), end="")
    print(f"\n{'suite':<16}{'tests':>7}{'failed':>8}{'seconds':>10}")
    for seconds, count, failed, name in sorted(suites, reverse=True):
        print(f"{name:<16}{count:>7}{failed:>8}{seconds:>10.1f}")
    print(f"{'all':<16}{len(tests):>7}{sum(s[2] for s in suites):>8}{sum(s[0] for s in suites):>10.1f}, added up: tests run beside each other")
    print(f"\nthe {SLOWEST} slowest{'seconds':>{41 - len(f'the {SLOWEST} slowest')}}")
    for seconds, suite, name in sorted(tests, reverse=True)[:SLOWEST]:
        print(f"{seconds:>41.1f}  {suite} {name}")


if __name__ == "__main__":
    main(sys.argv[1:])
