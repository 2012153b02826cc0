"""Runs that are killed at random moments and resumed, against the run that was left alone."""
import random
import signal
import time

from harness import check, checkpoints, digest, finish, leftovers, metrics, run, start, train_arguments, write_criteo


def check_killed_runs_end_equal(folder, samples, kills, kills_per_run, seed, **settings):
    """Kills until `kills` of them met a running process; a run that was killed often enough, or ended before it could be,
    is resumed to its end and compared."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    data = write_criteo(f"{folder}/train.tsv", samples, keys=1000)
    held_out = write_criteo(f"{folder}/eval.tsv", 500, seed=2, keys=1000)
    arguments = lambda run_dir: train_arguments(data, run_dir, **settings) + ["--eval", held_out]
    begin = time.monotonic()
    run(*arguments(f"{folder}/straight"))
    wall_s = time.monotonic() - begin
    expected, auc = digest(f"{folder}/straight"), metrics(f"{folder}/straight")["auc"]
    check(digest(checkpoints(f"{folder}/straight")[0]) != expected, "two steps have one digest")
    hits, runs = 0, 0
    while hits < kills:
        runs += 1
        check(runs <= 10 * kills, f"only {hits} of {runs} runs could be killed")
        run_dir = f"{folder}/killed{runs}"
        for _ in range(kills_per_run):
            process = start(*arguments(run_dir))
            time.sleep(rng.uniform(0, wall_s))
            process.kill()
            if finish(process).code != -signal.SIGKILL:
                break
            hits += 1
        run(*arguments(run_dir))
        check(digest(run_dir) == expected, f"run {runs}: the resumed run differs from the uninterrupted one")
        check(metrics(run_dir)["auc"] == auc, f"run {runs}: the AUC differs")
        check(not leftovers(run_dir), f"left behind: {leftovers(run_dir)}")
        check(len(checkpoints(run_dir)) <= 2, "more checkpoints than checkpoint.keep")
    print(f"{hits} kills of {runs} runs; a run takes {wall_s:.2f} s")
