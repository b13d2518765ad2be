#!/usr/bin/env python3
"""read_yaml.py: what a plain reader of YAML 1.1 finds in each file that standard input names, one a line: its documents, as a JSON
list a line. Times are left as text, which is what Kubernetes takes them for. JSON is read as JSON."""
import json
import sys

import yaml


class Reader(yaml.SafeLoader):
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:timestamp"]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def documents(data):
    try:
        return [json.loads(data)]
    except ValueError:
        return list(yaml.load_all(data, Reader))


for line in sys.stdin:
    with open(line.rstrip("\n"), "rb") as file:
        try:
            found = documents(file.read())
        except yaml.YAMLError as error:
            sys.exit(f"{line.strip()}: {error}")
    print(json.dumps(found))
