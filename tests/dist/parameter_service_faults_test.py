"""Parameter servers and workers that are killed at random moments, twenty times in a run."""
import os
import random
import sys
import time

from service_cluster import Cluster, service_settings

import harness  # noqa: E402
from harness import check, metrics, run, train_arguments, write_criteo  # noqa: E402

KILLS, SAMPLES = 20, 4000


def samples_of_an_epoch(data, path):
    folder = os.path.join(path, "alone")
    run(*train_arguments(data, folder, **{"data__split__kind": "tail", "train__eval_every_epoch": False, "train__max_steps": 0}))
    return metrics(folder)["samples"], metrics(folder)["auc"]


def finish_workers(cluster, workers):
    for w in range(workers):
        cluster.finish(f"worker-{w}", 200)


def summarise(cluster, servers):
    reports = [cluster.inspect(s) for s in range(servers)]
    return {key: [report[key] for report in reports]
            for key in ["samples", "missing_samples", "lost_pushes", "partial_pushes", "repeated_pushes", "generation"]}


def check_each_once(summary, samples):
    check(summary["samples"][0] == samples, f"{samples}: {summary}")
    for key in ["missing_samples", "lost_pushes", "partial_pushes"]:
        check(summary[key][0] == 0, str(summary))
    check(max(summary["lost_pushes"]) == 0, str(summary))


def kill_at_random(path, preset, servers, workers, seed, max_lost_pushes=0, epochs=40):
    print(f"{preset}, seed {seed}", flush=True)
    begin = time.monotonic()
    rng = random.Random(seed)
    data = write_criteo(os.path.join(path, "data.tsv"), SAMPLES)
    per_epoch, auc_alone = samples_of_an_epoch(data, path)
    settings = service_settings(preset, workers, train__epochs=epochs, checkpoint__every_steps=200, log__every_steps=1000,
                                service__worker_timeout_s=4, service__max_lost_pushes=max_lost_pushes)
    killed = {"server": 0, "worker": 0}
    with Cluster(path, data, servers, settings) as cluster:
        cluster.start_servers()
        for w in range(workers):
            cluster.start_worker(w)
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.05, 0.8))
            names = [name for name in cluster.processes if cluster.running(name)]
            if not any(name.startswith("worker") for name in names):
                break
            name = rng.choice(names)
            kind, index = name.split("-")
            cluster.kill(name)
            killed[kind] += 1
            time.sleep(rng.choice([0, 0, 0.3, 1.0]))
            if kind == "server":
                cluster.start_server(int(index), wait=False)
            else:
                cluster.start_worker(int(index))
        killing_s = time.monotonic() - begin
        finish_workers(cluster, workers)
        summary = summarise(cluster, servers)
        cluster.stop_servers()
        print(f"killed {killed}; {epochs * per_epoch} samples asked for; {summary}; {killing_s:.0f} s of kills, "
              f"{time.monotonic() - begin:.0f} s in all", flush=True)
        check(killed["server"] > 0 and killed["worker"] > 0, str(killed))
        if max_lost_pushes == 0:
            check_each_once(summary, epochs * per_epoch)
        # Each sample once, or counted as missing: the first server accounts for the input.
        check(summary["samples"][0] + summary["missing_samples"][0] == epochs * per_epoch, str(summary))
        # Nothing is torn: every checkpoint reads back whole, and the model predicts.
        run("inspect", cluster.checkpoint(), "--digest")
        run("eval", cluster.checkpoint(), data)
        auc = metrics(os.path.join(path, "worker-0"))["auc"]
        check(auc > auc_alone - 0.05, f"AUC {auc} against {auc_alone} of one process after one epoch")


def test_asynchronous_processes_killed_twenty_times(path):
    kill_at_random(path, "ps-async", 2, 3, int(os.environ.get("SLUICE_SEED", "1")), epochs=120)


def test_processes_with_bounded_staleness_killed_twenty_times(path):
    # Small losses are counted here, and the run goes on.
    kill_at_random(path, "ps-ssp", 2, 2, int(os.environ.get("SLUICE_SEED", "2")), int(os.environ.get("SLUICE_MAX_LOST", "16")),
                   epochs=60)


def test_synchronous_processes_killed_twenty_times(path):
    kill_at_random(path, "ps-sync", 2, 2, int(os.environ.get("SLUICE_SEED", "3")))


def test_a_server_and_a_worker_lost_together_take_all_servers_back(path):
    data = write_criteo(os.path.join(path, "data.tsv"), SAMPLES)
    per_epoch, _ = samples_of_an_epoch(data, path)
    for victim, every_steps in [(0, 0), (1, 150)]:   # to the beginning, and to a checkpoint
        folder = os.path.join(path, f"victim-{victim}")
        os.makedirs(folder)
        settings = service_settings("ps-async", 2, train__epochs=12, checkpoint__every_steps=every_steps)
        with Cluster(folder, data, 2, settings) as cluster:
            cluster.start_servers()
            workers = [cluster.start_worker(w) for w in range(2)]
            harness.wait_for(lambda: len(cluster.inspect(0)["clients"]) == 2, workers[0])
            if every_steps > 0:
                harness.wait_for(lambda: cluster.inspect(0)["checkpoint"], workers[0])
            else:
                harness.wait_for(lambda: min(client["pushes"] for client in cluster.inspect(0)["clients"]) > 40, workers[0])
            cluster.kill("worker-1")
            cluster.kill(f"server-{victim}")
            cluster.start_server(victim)
            cluster.start_worker(1)
            finish_workers(cluster, 2)
            summary = summarise(cluster, 2)
            cluster.stop_servers()
            print(f"server {victim}: {summary}", flush=True)
            check(summary["generation"][0] == summary["generation"][1], str(summary))
            check(summary["generation"][0] > 0 or every_steps > 0, str(summary))
            missing = summary["missing_samples"][0]
            check(summary["samples"][0] + missing == 12 * per_epoch, f"{12 * per_epoch}: {summary}")
            # At most what max_lost_pushes lets pass, of batches of 128 samples or fewer.
            check(missing <= 16 * 128 and max(summary["lost_pushes"]) <= 16, str(summary))


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
