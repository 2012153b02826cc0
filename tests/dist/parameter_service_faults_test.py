"""Parameter servers and workers that are killed at random moments, twenty times in a run."""
import os
import random
import sys
import time

from service_cluster import Cluster, service_settings

import harness  # noqa: E402
from harness import check, metrics, run, train_arguments, write_criteo  # noqa: E402

KILLS, EPOCHS, SAMPLES = 20, 60, 4000


def samples_of_an_epoch(data, path):
    folder = os.path.join(path, "alone")
    run(*train_arguments(data, folder, **{"data__split__kind": "tail", "train__eval_every_epoch": False, "train__max_steps": 0}))
    return metrics(folder)["samples"], metrics(folder)["auc"]


def kill_at_random(path, preset, servers, workers, seed):
    print(f"{preset}, seed {seed}", flush=True)
    rng = random.Random(seed)
    data = write_criteo(os.path.join(path, "data.tsv"), SAMPLES)
    per_epoch, auc_alone = samples_of_an_epoch(data, path)
    settings = service_settings(preset, workers, train__epochs=EPOCHS, checkpoint__every_steps=200, log__every_steps=1000,
                                service__worker_timeout_s=4)
    killed = {"server": 0, "worker": 0}
    with Cluster(path, data, servers, settings) as cluster:
        cluster.start_servers()
        for w in range(workers):
            cluster.start_worker(w)
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.05, 1.2))
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
        for w in range(workers):
            # Those that say why they must be started again: taken for lost on a busy machine, or, with ps-sync, begun at a
            # server that had just come back from an older clock than the others'.
            while cluster.processes[f"worker-{w}"].wait(timeout=200) != 0 and any(
                    reason in cluster.log(f"worker-{w}")[-300:] for reason in ["taken for lost", "is done"]):
                cluster.start_worker(w)
            cluster.finish(f"worker-{w}")
        reports = [cluster.inspect(s) for s in range(servers)]
        cluster.stop_servers()
        summary = {key: [report[key] for report in reports] for key in ["samples", "missing_samples", "lost_pushes", "partial_pushes",
                                                                         "repeated_pushes"]}
        print(f"killed {killed}; {EPOCHS * per_epoch} samples asked for; {summary}", flush=True)
        check(killed["server"] > 0 and killed["worker"] > 0, str(killed))
        # Each sample once, or counted as missing: the first server accounts for the input.
        check(reports[0]["samples"] + reports[0]["missing_samples"] == EPOCHS * per_epoch, str(summary))
        # Nothing is torn: every checkpoint reads back whole, and the model predicts.
        run("inspect", cluster.checkpoint(), "--digest")
        run("eval", cluster.checkpoint(), data)
        auc = metrics(os.path.join(path, "worker-0"))["auc"]
        check(auc > auc_alone - 0.05, f"AUC {auc} against {auc_alone} of one process after one epoch")


def test_asynchronous_processes_killed_twenty_times(path):
    kill_at_random(path, "ps-async", 2, 3, int(os.environ.get("SLUICE_SEED", "1")))


def test_processes_with_bounded_staleness_killed_twenty_times(path):
    kill_at_random(path, "ps-ssp", 2, 2, int(os.environ.get("SLUICE_SEED", "2")))


def test_synchronous_processes_killed_twenty_times(path):
    # Not part of the suite: some seeds end with a worker that cannot join again (docs/algorithms/parameter-service.md, Limits).
    if os.environ.get("SLUICE_KILL_SYNC") != "1":
        print("left out: SLUICE_KILL_SYNC=1 runs it")
        return
    kill_at_random(path, "ps-sync", 2, 2, int(os.environ.get("SLUICE_SEED", "3")))


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
