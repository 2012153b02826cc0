"""Processes of a peer with a parameter server, measured from a common start to the end of the last client: time, bytes over
loopback, processor time of each."""
import json
import os
import time


def lo_bytes():
    with open("/proc/net/dev") as lines:
        return next(int(line.split()[9]) for line in lines if line.strip().startswith("lo:"))


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def go(clients):
    """Clients wait for a line."""
    for client in clients:
        client.stdin.write("go\n")
        client.stdin.flush()


class Stretch:
    """`children`: processes by role, all ready. Starts the clients among them."""

    def __init__(self, children, clients):
        self.children = children
        self.bytes_before = lo_bytes()
        self.cpu_before = {role: cpu_seconds(child.pid) for role, child in children.items()}
        self.begin = time.perf_counter()
        go(clients)

    def end(self):
        self.seconds = time.perf_counter() - self.begin
        self.sent = lo_bytes() - self.bytes_before
        self.cpu = {role: cpu_seconds(child.pid) - self.cpu_before[role] for role, child in self.children.items()}

    def print_report(self, peer, workers, samples, **more):
        """One JSON object; `more`: what the peer says of its model."""
        server = round(1e6 * self.cpu["ps0"] / samples, 2) if workers > 0 else None
        print(json.dumps({
            "peer": peer, "workload": "p", "workers": workers, "samples": samples,
            "samples_per_s": round(samples / self.seconds, 1), "bytes_per_sample": round(self.sent / samples, 1),
            "server_core_us_per_sample": server, "cores_busy": round(sum(self.cpu.values()) / self.seconds, 2), **more}))


def end_all(children):
    for child in children.values():
        child.kill()
        child.wait()
