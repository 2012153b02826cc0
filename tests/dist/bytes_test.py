"""What ranks say they sent, beside what the kernel counted on their interfaces: the ranks are processes in network
namespaces, offloads off, OpenMPI's control on another interface.

An interface counts, beside the payload of our messages, 66 bytes of Ethernet, IP and TCP for every 1,448 of it. Frames that
carry nothing of ours (acknowledgements that found no data to ride on, OpenMPI's headers, address resolution) are declared to be
none: they must fit into the tolerance of 2%. Segments that TCP sent again, as it does where a machine is busy and an
acknowledgement comes late, are the network's and not ours: as many bytes as the kernel says it sent again may come on top.
"""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402
import netns  # noqa: E402
from harness import SLUICE, check  # noqa: E402

LEAST_BYTES = 100_000_000
TOLERANCE = 0.02
WORKLOAD = """
model: {preset: fm, dim: 31}
tables:
  default: {optimizer: {name: sgd, learning_rate: 0.01}}
optimizer: {name: sgd, learning_rate: 0.01}
train: {batch_size: 8192, overlap: "false"}
threads: 1
bench: {data: memory, dense: 0, fields: 8, rows_per_field: 20000, skew: 1, fill_tables: false, batches: 4, warmup_steps: 0,
        roofline: false}
"""
# Per rank and step at N = 2 about: des 8192 x 33 x 4 bytes; rows the unique rows of 4096 x 8 keys that the other rank owns.
DEEP = "model={preset: dlrm, dim: 16, bottom_mlp: [], top_mlp: [16]}"


def bench(net, path, placement, seconds, settings=()):
    config = os.path.join(path, "config.yaml")
    report = os.path.join(path, "report.json")
    with open(config, "w", encoding="utf-8") as file:
        file.write(WORKLOAD)
    command = [SLUICE, "bench", config, "--json", report, "--set", f"strategy.placement={placement}",
               "--set", f"bench.seconds={seconds}"]
    for setting in settings:
        command += ["--set", setting]
    before = [net.counters(rank) for rank in range(net.ranks)]
    process = subprocess.run(net.mpirun(command), env=net.environment(), capture_output=True, text=True, timeout=300,
                             check=False)
    check(process.returncode == 0, process.stderr)
    after = [net.counters(rank) for rank in range(net.ranks)]
    with open(report, encoding="utf-8") as file:
        ranks = json.load(file)["ranks"]
    return ranks, [{name: after[r][name] - before[r][name] for name in after[r]} for r in range(net.ranks)]


def check_bytes(net, path, placement, settings=()):
    seconds, least = 1.0, 0
    while least < LEAST_BYTES:
        ranks, counted = bench(net, path, placement, seconds, settings)
        least = min(rank["sent_bytes_in_all"] for rank in ranks)
        check(seconds < 60, f"{placement}: {least:.0f} bytes in {seconds:.0f} s")
        seconds *= max(1.5, 1.3 * LEAST_BYTES / least)
    resent = [counters["tcp_retransmitted"] * (netns.SEGMENT_BYTES + netns.FRAME_OVERHEAD_BYTES) for counters in counted]
    for r, (rank, counters, again) in enumerate(zip(ranks, counted, resent)):
        payload = rank["sent_bytes_in_all"]
        expected = payload + netns.FRAME_OVERHEAD_BYTES * payload / netns.SEGMENT_BYTES
        sent = counters["tx_bytes"]
        print(f"  {net.ranks} ranks, {placement}, rank {r}: payload {payload:.0f}, interface {sent} in "
              f"{counters['tx_packets']} frames, at most {again} sent again: {sent / expected:.4f} of what was expected",
              flush=True)
        check((1 - TOLERANCE) * expected <= sent <= (1 + TOLERANCE) * expected + again,
              f"{placement}, rank {r}: {sent} bytes, {expected:.0f} expected and at most {again} sent again")
    sent = sum(counters["tx_bytes"] for counters in counted)
    received = sum(counters["rx_bytes"] for counters in counted)
    check(-0.001 * sent <= sent - received <= 0.001 * sent + sum(resent),
          f"{placement}: interfaces sent {sent} and received {received}, at most {sum(resent)} sent again")


def test_two_ranks_send_what_they_say(path):
    with netns.Network(2) as net:
        check_bytes(net, path, "des")
        check_bytes(net, path, "des_rs", [DEEP])
        check_bytes(net, path, "field_a2a", [DEEP])
        check_bytes(net, path, "rows_a2a")


def test_four_ranks_send_what_they_say(path):
    with netns.Network(4) as net:
        check_bytes(net, path, "des_rs", [DEEP])
        check_bytes(net, path, "rows_a2a")


if __name__ == "__main__":
    netns.skip_unless_possible()
    harness.main(sys.modules[__name__])
