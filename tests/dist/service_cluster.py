"""Parameter servers and workers as processes of this machine, for tests: each can be killed, stopped and started again."""
import contextlib
import json
import os
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402
from harness import check  # noqa: E402


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def service_settings(preset, workers, **more):
    values = {"strategy__preset": preset, "strategy__workers": workers, "data__split__kind": "tail", "threads": 1,
              "train__eval_every_epoch": False, "service__heartbeat_s": 0.2, "service__worker_timeout_s": 5,
              "service__retry_s": 60, "service__connect_timeout_s": 2, "service__threads": 1}
    values.update(more)
    return values


class Cluster:
    """Use as a context: what still runs at the end is killed. Output of process NAME goes to PATH/NAME.log."""

    def __init__(self, path, data, servers, settings, model="deepfm", server_options=()):
        self.path, self.data, self.model, self.settings = path, data, model, settings
        self.addresses = [f"127.0.0.1:{port}" for port in free_ports(servers)]
        self.server_options = list(server_options)
        self.processes = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()

    def log(self, name):
        with open(os.path.join(self.path, name + ".log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def _start(self, name, arguments):
        import subprocess
        with open(os.path.join(self.path, name + ".log"), "a", encoding="utf-8") as log:
            self.processes[name] = subprocess.Popen([harness.SLUICE, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=log,
                                                    stderr=log)
        return self.processes[name]

    def _arguments(self, folder, **more):
        values = {"strategy__servers": "[" + ", ".join(self.addresses) + "]", **self.settings, **more}
        return harness.train_arguments(self.data, os.path.join(self.path, folder), self.model, **values)

    def start_server(self, index, wait=True):
        name = f"server-{index}"
        shown = len(self.log(name)) if os.path.exists(os.path.join(self.path, name + ".log")) else 0
        process = self._start(name, ["serve-params", "--shard", f"{index}/{len(self.addresses)}", "--listen", self.addresses[index],
                                     *self.server_options, *self._arguments("servers")[1:]])
        if wait:
            harness.wait_for(lambda: "listens on" in self.log(name)[shown:], process)
        return process

    def start_servers(self):
        for index in range(len(self.addresses)):
            self.start_server(index)

    def start_worker(self, index, **more):
        return self._start(f"worker-{index}", self._arguments(f"worker-{index}", strategy__worker=index, **more))

    def running(self, name):
        return name in self.processes and self.processes[name].poll() is None

    def kill(self, name):
        self.processes[name].kill()
        self.processes[name].wait()

    def finish(self, name, timeout=300):
        code = self.processes[name].wait(timeout=timeout)
        check(code == 0, f"{name} left with {code}:\n{self.log(name)[-3000:]}")

    def stop_servers(self):
        """In good order: the first one writes the last checkpoint with the others."""
        names = [name for name in self.processes if name.startswith("server") and self.running(name)]
        for name in names:
            self.processes[name].send_signal(signal.SIGTERM)
        for name in names:
            self.finish(name, 60)

    def inspect(self, index, *options):
        return json.loads(harness.run("inspect", self.addresses[index], "--json", *options).out)

    def samples_trained(self):
        """Of worker runs that came to their end."""
        return sum(harness.metrics(os.path.join(self.path, name))["samples"] for name in sorted(os.listdir(self.path))
                   if name.startswith("worker-") and os.path.exists(os.path.join(self.path, name, "metrics.json")))

    def checkpoint(self):
        return harness.checkpoints(os.path.join(self.path, "servers"))[-1]


@contextlib.contextmanager
def stopped(process, seconds):
    """SIGSTOP for so long, while the body runs."""
    process.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    try:
        yield
        time.sleep(max(0.0, seconds - (time.monotonic() - begin)))
    finally:
        process.send_signal(signal.SIGCONT)
