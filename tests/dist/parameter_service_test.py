"""Parameter servers and workers as processes: launch, equality, inspection, access, damage, graceful ends."""
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import service_cluster
from service_cluster import Cluster, service_settings

import harness  # noqa: E402
from harness import SLUICE, check, check_in, metrics, run, train_arguments, write_criteo  # noqa: E402

SAMPLES, HELD_OUT = 3000, 0.1


def launch(data, folder, servers, workers, *options, **settings):
    arguments = train_arguments(data, folder, **settings)[1:]
    return ["launch", "--servers", servers, "--workers", workers, *options, *arguments]


def trained_samples(data, path):
    """What one process trains on in an epoch."""
    folder = os.path.join(path, "alone")
    run(*train_arguments(data, folder, **{"data__split__kind": "tail", "train__eval_every_epoch": False}))
    return metrics(folder)["samples"]


def test_launch_starts_trains_and_ends_all(path):
    data = write_criteo(os.path.join(path, "data.tsv"), SAMPLES)
    folder = os.path.join(path, "run")
    outcome = run(*launch(data, folder, 2, 3, **service_settings("ps-async", 3, train__epochs=2)))
    check_in("parameter server 1/2 listens on", outcome.out)
    workers = [metrics(os.path.join(folder, f"worker-{w}")) for w in range(3)]
    samples = sum(worker["samples"] for worker in workers)
    check(samples == 2 * trained_samples(data, path), f"{samples}")
    check(workers[0]["auc"] > 0.6, str(workers[0]))
    for worker in workers:   # one that came late may find all input lent
        check(worker["samples"] == 0 or sum(worker["bytes_per_sample"].values()) > 0, str(worker))
    check(len(harness.checkpoints(os.path.join(folder, "servers"))) >= 1, "no checkpoint")
    check(not harness.leftovers(os.path.join(folder, "servers")), "temporary files are left")
    # The model of the servers is a checkpoint like any other.
    run("eval", harness.checkpoints(os.path.join(folder, "servers"))[-1], data)


def test_a_folder_whose_run_kept_nothing_is_trained_anew(path):
    data = write_criteo(os.path.join(path, "data.tsv"), SAMPLES)
    folder = os.path.join(path, "run")
    expected = trained_samples(data, path)
    for attempt in range(3):
        run(*launch(data, folder, 2, 2, **service_settings("ps-async", 2, checkpoint__at_end=False, checkpoint__every_steps=0)))
        samples = [metrics(os.path.join(folder, f"worker-{w}"))["samples"] for w in range(2)]
        check(sum(samples) == expected, f"run {attempt}: {samples} of {expected}")
    # What a checkpoint holds is not trained on again.
    run(*launch(data, folder, 2, 2, **service_settings("ps-async", 2)))
    run(*launch(data, folder, 2, 2, **service_settings("ps-async", 2)))
    samples = [metrics(os.path.join(folder, f"worker-{w}"))["samples"] for w in range(2)]
    check(sum(samples) == 0, f"after its end: {samples}")


def test_one_synchronous_worker_has_the_bits_of_one_process(path):
    data = write_criteo(os.path.join(path, "data.tsv"), SAMPLES)
    settings = {"data__split__kind": "tail", "deterministic": True, "train__epochs": 2, "train__eval_every_epoch": False}
    alone = os.path.join(path, "alone")
    run(*train_arguments(data, alone, **settings))
    expected = harness.digest(harness.checkpoints(alone)[-1])
    for servers in [1, 2]:
        folder = os.path.join(path, f"run-{servers}")
        run(*launch(data, folder, servers, 1, **service_settings("ps-sync", 1, **settings)))
        got = harness.digest(harness.checkpoints(os.path.join(folder, "servers"))[-1])
        check(got == expected, f"{servers} servers: {got}, not {expected}")


def test_launch_ends_all_when_a_worker_fails(path):
    data = write_criteo(os.path.join(path, "data.tsv"), SAMPLES)
    settings = service_settings("ps-async", 2, strategy__wire__rows="bf16", precision="fp64")
    outcome = run(*launch(data, os.path.join(path, "run"), 1, 2, **settings), code=2)
    check_in("bf16", outcome.err)


def test_a_running_server_is_inspected_and_measured(path):
    data = write_criteo(os.path.join(path, "data.tsv"), SAMPLES)
    port = service_cluster.free_ports(1)[0]
    settings = service_settings("ps-async", 1, train__epochs=1000)
    with Cluster(path, data, 1, settings, server_options=["--metrics", f"127.0.0.1:{port}"]) as cluster:
        cluster.start_servers()
        worker = cluster.start_worker(0)
        harness.wait_for(lambda: cluster.inspect(0)["pushes"] > 20, worker)
        report = cluster.inspect(0)
        check(report["clients"][0]["name"] == "worker-0000" and report["requests"]["pull"]["p99_ms"] > 0, str(report))
        check(sum(table["rows"] for table in report["tables"]) > 100 and report["memory_bytes"] > 0, str(report))
        text = run("inspect", cluster.addresses[0]).out
        for part in ["parameter server 0 of 1", "p99 ms", "worker-0000", "staleness"]:
            check_in(part, text)
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
        pushes = float(re.search(r"^sluice_pushes_total (\S+)", page, re.M).group(1))
        check(pushes > 20, page)
        check_in('sluice_request_seconds{kind="pull",quantile="0.99"}', page)
        # Ctrl-C: the worker gives its input back, the server writes a checkpoint.
        worker.send_signal(signal.SIGINT)
        check(worker.wait(timeout=90) == 130, cluster.log("worker-0"))
        cluster.stop_servers()
        check(cluster.checkpoint(), "no checkpoint")


def make_certificate(path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=servers.test", "-addext", "subjectAltName=DNS:servers.test", "-keyout",
                    os.path.join(path, "key.pem"), "-out", os.path.join(path, "cert.pem")], check=True, capture_output=True)


def test_tls_and_token_let_in_those_who_have_both(path):
    data = write_criteo(os.path.join(path, "data.tsv"), SAMPLES)
    make_certificate(path)
    for name, text in [("token", "sesame\n"), ("wrong", "sesam\n")]:
        with open(os.path.join(path, name), "w", encoding="ascii") as file:
            file.write(text)
    token, certificate = os.path.join(path, "token"), os.path.join(path, "cert.pem")
    settings = service_settings("ps-async", 1, service__token_file=token, service__tls_ca=certificate,
                                service__tls_name="servers.test", service__retry_s=3)
    options = ["--tls-cert", certificate, "--tls-key", os.path.join(path, "key.pem")]
    with Cluster(path, data, 2, settings, server_options=options) as cluster:
        cluster.start_servers()
        cluster.start_worker(1, service__token_file=os.path.join(path, "wrong"))
        check(cluster.processes["worker-1"].wait(timeout=90) == 2, cluster.log("worker-1"))
        check_in("token", cluster.log("worker-1"))
        cluster.start_worker(2, service__tls_ca="")
        check(cluster.processes["worker-2"].wait(timeout=90) == 4, cluster.log("worker-2"))
        cluster.start_worker(0, service__retry_s=60)
        cluster.finish("worker-0")
        access = ["--tls-ca", certificate, "--tls-name", "servers.test", "--token-file"]
        check(cluster.inspect(0, *access, token)["pushes"] > 0, "no pushes")
        run("inspect", cluster.addresses[0], *access, os.path.join(path, "wrong"), code=2)
        cluster.stop_servers()


def garbage(address, rng, count):
    """Connections that send bytes of no protocol, and of a broken one."""
    host, port = address.split(":")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
    for _ in range(count):
        body = bytes(rng.randrange(256) for _ in range(rng.randrange(2000)))
        if rng.random() < 0.7:   # frames of random type and stream
            body = preface + len(body).to_bytes(3, "big") + bytes([rng.randrange(11), rng.randrange(256)]) + \
                   rng.randrange(1 << 31).to_bytes(4, "big") + body
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            try:
                connection.sendall(body)
                connection.settimeout(0.01)
                connection.recv(1000)
            except OSError:
                pass


def test_garbage_on_the_port_harms_nobody(path):
    data = write_criteo(os.path.join(path, "data.tsv"), SAMPLES)
    with Cluster(path, data, 1, service_settings("ps-async", 1, train__epochs=3)) as cluster:
        cluster.start_servers()
        cluster.start_worker(0)
        garbage(cluster.addresses[0], random.Random(7), 150)
        cluster.finish("worker-0")
        report = cluster.inspect(0)
        check(report["samples"] == 3 * trained_samples(data, path), str(report))
        cluster.stop_servers()


def at_rest(cluster, seconds):
    """What was under way has come, and nothing comes after it for a second."""
    deadline = time.monotonic() + seconds
    before, since = None, time.monotonic()
    while time.monotonic() - since < 1:
        check(time.monotonic() < deadline, "workers went on without a server")
        now = cluster.inspect(0)["samples"]
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.1)


def test_workers_wait_for_a_server_that_is_stopped(path):
    data = write_criteo(os.path.join(path, "data.tsv"), SAMPLES)
    settings = service_settings("ps-ssp", 2, train__epochs=30, service__worker_timeout_s=3)
    samples = 30 * trained_samples(data, path)
    with Cluster(path, data, 2, settings) as cluster:
        cluster.start_servers()
        workers = [cluster.start_worker(w) for w in range(2)]
        harness.wait_for(lambda: cluster.inspect(0)["pushes"] > 20, workers[0])
        for index in [1, 0]:   # both kinds: the coordinator and another
            with service_cluster.stopped(cluster.processes[f"server-{index}"], 10 if index == 1 else 5):
                if index == 1:
                    at_rest(cluster, 8)
                else:
                    time.sleep(2)
                check(all(worker.poll() is None for worker in workers), "a worker left")
            after = cluster.inspect(0)["samples"]
            harness.wait_for(lambda: after < cluster.inspect(0)["samples"] or after == samples, workers[0])
        for w in range(2):
            cluster.finish(f"worker-{w}")
        report = cluster.inspect(0)
        check(report["samples"] == samples, str(report))
        check(report["lost_pushes"] == 0 and report["missing_samples"] == 0, str(report))
        cluster.stop_servers()


def test_a_killed_server_is_started_again_and_nothing_is_lost(path):
    data = write_criteo(os.path.join(path, "data.tsv"), SAMPLES)
    settings = service_settings("ps-async", 2, train__epochs=20, checkpoint__every_steps=100)
    with Cluster(path, data, 2, settings) as cluster:
        cluster.start_servers()
        workers = [cluster.start_worker(w) for w in range(2)]
        for index in [0, 1]:
            pushes = cluster.inspect(0)["pushes"]
            harness.wait_for(lambda: cluster.inspect(0)["pushes"] > pushes + 30, workers[0])
            cluster.kill(f"server-{index}")
            cluster.start_server(index)
        for w in range(2):
            cluster.finish(f"worker-{w}")
        report = cluster.inspect(0)
        check(report["samples"] == 20 * trained_samples(data, path), str(report))
        check(report["lost_pushes"] == 0 and report["missing_samples"] == 0, str(report))
        cluster.stop_servers()
        check(metrics(os.path.join(path, "worker-0"))["auc"] > 0.6, "no good model")


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
