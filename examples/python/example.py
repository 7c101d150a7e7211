#!/usr/bin/env python3
"""Publishes a scan with two findings to Faultline over Kafka, then waits for the risks that come of them.

It knows Faultline only by the folder schemas/: confluent-kafka and fastavro, no code of Faultline.
"""

import argparse
import csv
import io
import sys
import time
import uuid
from pathlib import Path

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition

TOOL = "example-python"
SEPARATOR = "\x1f"  # between the two parts of a key


class Wire:
    """Values on the wire: byte 0, the id of the schema in four bytes, big-endian, then the Avro body. The ids are those of ids.tsv."""

    HEADER_BYTES = 5

    def __init__(self, schemas: Path):
        self.by_id = {}  # every schema that ever wrote a record
        self.newest = {}  # id and schema of each topic, by subject
        with open(schemas / "ids.tsv", newline="") as ids:
            for row in csv.DictReader(ids, delimiter="\t"):  # versions of a subject in order
                schema = fastavro.schema.load_schema(schemas / row["file"])
                self.by_id[int(row["id"])] = schema
                self.newest[row["subject"]] = int(row["id"]), schema

    def encode(self, topic: str, value: dict) -> bytes:
        schema_id, schema = self.newest[f"{topic}-value"]
        body = io.BytesIO()
        fastavro.schemaless_writer(body, schema, value, strict_allow_default=True)
        return b"\0" + schema_id.to_bytes(4, "big") + body.getvalue()

    def decode(self, topic: str, value: bytes) -> dict:
        """Read with the schema that wrote it, into the shape of the one that this program knows."""
        schema_id = int.from_bytes(value[1 : self.HEADER_BYTES], "big")
        if value[0] != 0 or schema_id not in self.by_id:
            raise ValueError(f"a value of {topic} has the schema id {schema_id}, which ids.tsv does not list")
        _, reader = self.newest[f"{topic}-value"]
        return fastavro.schemaless_reader(io.BytesIO(value[self.HEADER_BYTES :]), self.by_id[schema_id], reader)


def observation(rule, title, severity, cwe, symbol, file, line):
    """What the tool says of one place. Rule, file and symbol say from scan to scan that it is the same finding; the line does not."""
    return {
        "rule": rule,
        "title": title,
        "description": "",
        "guidance": "",
        "severity": severity,
        "cwes": [cwe],
        "vulnerabilities": [],
        "cvss": [],
        "locus": {
            "kind": "code",
            "code": {"file": file, "line": line, "end_line": line, "column": 0, "symbol": symbol, "snippet": "", "parameter": ""},
        },
        "fixed_versions": [],
        "references": [],
        "rank": 0,
        "tool_verdict": "reported",
    }


def scan_records(scan: str, started: int, observations: list) -> list:
    """One whole scan: its start, its findings numbered from 0, its end with their count."""
    start = {
        "scan": scan,
        "tool": TOOL,
        "tool_version": "1.0",
        "kind": "sast",
        "branch": "main",
        "is_default_branch": True,
        "environment": "",
        "revision": "4f2a9c0d1e6b7f8890a1b2c3d4e5f60718293a4b",
        "started": started,
        # The whole repository was looked at: what this tool found before and does not find now is closed.
        "scope": {"is_full": True, "paths": [], "rules": []},
        "service_claim": "",
        "tests_for": [],
        "publisher": "examples/python",
    }
    end = {"scan": scan, "observations": len(observations), "families": [], "refused": 0}
    findings = [{"scan": scan, "number": number, "observation": seen} for number, seen in enumerate(observations)]
    return [
        {"kind": "scan_started", "scan_started": start},
        *({"kind": "finding", "finding": finding} for finding in findings),
        {"kind": "scan_completed", "scan_completed": end},
    ]


def publish(options, wire: Wire, observations: list):
    producer = Producer(
        {
            "bootstrap.servers": options.bootstrap,
            "enable.idempotence": True,  # no duplicates, no change of order
            "partitioner": options.partitioner,
        }
    )
    failed = []

    def delivered(kind):
        def report(error, at):
            if error:
                failed.append(error)
            else:
                print(f"sent {kind}: partition {at.partition()}, offset {at.offset()}")

        return report

    # Any id that is unique. A retry of the same scan would use the same one, and then counts once.
    scan, started = uuid.uuid4().hex, int(time.time() * 1000)
    for record in scan_records(scan, started, observations):
        # The asset is the key. The record's time is that of the fact: the scan's start.
        value = wire.encode("findings", record)
        producer.produce("findings", key=options.asset, value=value, timestamp=started, on_delivery=delivered(record["kind"]))
    left = producer.flush(60)
    if failed or left:
        raise KafkaException(failed[0]) if failed else TimeoutError(f"{left} records were not stored in a minute")


def await_risks(options, wire: Wire, rules: set) -> bool:
    """Reads the service's risks from the beginning until each rule's finding stands in one; False if the time is up before."""
    until = time.monotonic() + options.wait
    # librdkafka wants a group's name even where partitions are assigned by hand; nothing is committed to it.
    consumer = Consumer(
        {
            "bootstrap.servers": options.bootstrap,
            "group.id": "faultline-example",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    try:
        # The topic is compacted: from its beginning it has every risk as it is now. All partitions, so no hash is needed here.
        partitions = consumer.list_topics("risks", timeout=10).topics["risks"].partitions
        consumer.assign([TopicPartition("risks", number, OFFSET_BEGINNING) for number in partitions])
        while rules and time.monotonic() < until:
            record = consumer.poll(0.2)
            if record is None:
                continue
            if record.error():
                raise KafkaException(record.error())
            is_of_service = record.key().decode().startswith(options.service + SEPARATOR)
            if is_of_service and record.value() is not None:  # without a value: the risk went
                look(wire.decode("risks", record.value()), options.asset, rules)
    finally:
        consumer.close()
    for rule in sorted(rules):
        print(f"no risk of {options.service} has a finding of {rule} yet", file=sys.stderr)
    return not rules


def look(risk: dict, asset: str, rules: set):
    """Prints a risk that holds one of our open findings, and takes its rule off the list."""
    for finding in risk["findings"]:
        is_ours = finding["tool"] == TOOL and finding["asset"] == asset and finding["state"] == "open"
        if is_ours and finding["rule"] in rules:
            rules.remove(finding["rule"])
            score = risk["score"]
            print(f"risk {risk['risk']} of {risk['service']}: score {score['total']} ({score['band']}), {risk['title']}")
            for part in score["contributions"]:
                print(f"  {part['points']:+5} {part['factor']}: {part['because']}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--bootstrap", default="127.0.0.1:9092", metavar="HOST:PORT")
    arguments.add_argument("--asset", default="repo:github.com/acme/shop", help="what was scanned, by its canonical name")
    arguments.add_argument("--service", help="the service that the catalog places the asset in (default: unassigned/ASSET)")
    arguments.add_argument("--schemas", type=Path, default=Path(__file__).parents[2] / "schemas", metavar="FOLDER")
    arguments.add_argument("--wait", type=float, default=60, metavar="SECONDS", help="how long to wait for the risks")
    arguments.add_argument(
        "--partitioner",
        default="murmur2_random",
        help="librdkafka's; its own default is a CRC32, whose records Faultline must move to their partition",
    )
    options = arguments.parse_args()
    # What no rule of the catalog places is a service of its own.
    options.service = options.service or f"unassigned/{options.asset}"

    wire = Wire(options.schemas)
    observations = [
        observation("py/sql-injection", "SQL statement built from request input", "high", 89, "users.show", "shop/users.py", 42),
        observation("py/path-traversal", "File name from request input", "medium", 22, "files.read", "shop/files.py", 17),
    ]
    publish(options, wire, observations)
    return 0 if await_risks(options, wire, {seen["rule"] for seen in observations}) else 1


if __name__ == "__main__":
    sys.exit(main())
