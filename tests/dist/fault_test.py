"""Faults of ranks that are processes: a rank that is killed, stopped or cut off, data or a disk that fails on one rank, numbers
that are not finite on one rank, and ranks that do not belong together. Every rank ends by itself with the right code and words,
and the run goes on from its last checkpoint as if nothing had happened."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
import netns  # noqa: E402
from harness import SLUICE, check, check_in, checkpoints, digest, last_step, leftovers, run, write_criteo  # noqa: E402

TIMEOUT_S = 5          # patience with a silent rank where one is to be silent; elsewhere nobody is lost on a busy machine
NOBODY_IS_SILENT_S = 120
RANKS = 3
PROGRAM = os.path.abspath(SLUICE)
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]
LEAVE_SURVIVORS = ["--mca", "orte_enable_recovery", "1", "--mca", "orte_abort_on_non_zero_status", "0"]


def arguments(data, run_dir, **more):
    """Of a small run without an end, after the verb."""
    settings = {"data__split__kind": "tail", "precision": "fp64", "threads": 1, "strategy__timeout_s": NOBODY_IS_SILENT_S,
                **harness.ENDLESS}
    settings.update(more)
    return [str(argument) for argument in harness.train_arguments(data, run_dir, **settings)][1:]


def launch(*options, ranks=RANKS):
    return [PROGRAM, "launch", "-n", str(ranks), *options]


class Started:
    """A command under way; its standard error goes to a file, as ranks may write while nobody reads."""

    def __init__(self, command, path, **options):
        self.log = os.path.join(path, f"log-{time.monotonic_ns()}")
        with open(self.log, "w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
                                            **options)

    def err(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def finish(self, timeout=100):
        """Sooner than NOBODY_IS_SILENT_S: ranks that end hear of what happened, and do not wait for silence."""
        try:
            self.process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s: {self.err()}") from None
        finally:
            self.process.kill()
        return self.process.returncode, self.err()


def finish(command, path, code, **options):
    got, err = Started(command, path, **options).finish(timeout=200)
    check(got == code, f"exit code {code} was expected, not {got}: {err}")
    return err


def rank_pids(run_dir):
    """Process of every rank of the run, by rank."""
    pids = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
            with open(f"/proc/{pid}/environ", "rb") as file:
                rank = re.search(rb"(?:^|\0)OMPI_COMM_WORLD_RANK=(\d+)", file.read())
        except OSError:
            continue
        if words[0] == PROGRAM and words[1] == "train" and run_dir in words and rank:
            pids[int(rank.group(1))] = int(pid)
    return pids


def running(command, run_dir, path, after=0, **options):
    """The command, once it has written a checkpoint later than step `after`."""
    started = Started(command, path, **options)
    try:
        harness.wait_for(lambda: checkpoints(run_dir) and last_step(run_dir) > after, started.process)
    except AssertionError as error:
        started.process.kill()
        raise AssertionError(f"{error}: {started.err()}") from None
    return started


def check_goes_on(data, run_dir, path, **more):
    """From its last checkpoint the run continues to the bits of a run that nothing happened to."""
    step = last_step(run_dir)
    check(not any("step-" not in name for name in leftovers(run_dir)), f"left behind: {leftovers(run_dir)}")
    err = finish(launch(*arguments(data, run_dir, train__max_steps=step + 5, **more)), path, 0)
    check_in(f"step {step}", err)
    whole = os.path.join(path, "uninterrupted")
    finish(launch(*arguments(data, whole, train__max_steps=step + 5, **more)), path, 0)
    check(digest(run_dir) == digest(whole), "the run that went on has another model than the uninterrupted one")
    with open(os.path.join(run_dir, "metrics.json"), encoding="utf-8") as a, \
            open(os.path.join(whole, "metrics.json"), encoding="utf-8") as b:
        one, other = json.load(a), json.load(b)
    check(one["auc"] == other["auc"] and one["logloss"] == other["logloss"], f"{one} and {other}")


def test_a_killed_rank(path):
    data = write_criteo(os.path.join(path, "data.tsv"), 3000)
    run_dir = os.path.join(path, "run")
    started = running(launch(*arguments(data, run_dir, strategy__timeout_s=TIMEOUT_S)), run_dir, path)
    os.kill(rank_pids(run_dir)[2], signal.SIGKILL)
    code, err = started.finish()
    check(code == 4, f"{code}: {err}")
    check_in(f"sluice: rank 2: was silent for {TIMEOUT_S} s", err)
    check_in("rank 2 killed by signal 9 (Killed); ranks 0, 1 left with code 4", err)
    check_goes_on(data, run_dir, path)


def test_a_stopped_rank(path):
    data = write_criteo(os.path.join(path, "data.tsv"), 3000)
    run_dir = os.path.join(path, "run")
    started = running(launch(*arguments(data, run_dir, strategy__placement="des", strategy__timeout_s=TIMEOUT_S)), run_dir,
                      path)
    os.kill(rank_pids(run_dir)[0], signal.SIGSTOP)
    code, err = started.finish()
    check(code == 4, f"{code}: {err}")
    check_in(f"sluice: rank 0: was silent for {TIMEOUT_S} s", err)
    check_in("ranks 1, 2 left with code 4", err)
    check(not rank_pids(run_dir), "a rank stayed behind")
    check_goes_on(data, run_dir, path, strategy__placement="des")


def test_a_cut_link(path):
    reason = netns.missing()
    if reason:
        print(f"SKIPPED: test_a_cut_link: {reason}", flush=True)
        return
    data = write_criteo(os.path.join(path, "data.tsv"), 3000)
    run_dir = os.path.join(path, "run")
    with netns.Network(RANKS) as network:
        command = network.mpirun([PROGRAM, "--rank-guard", PROGRAM, "train",
                                  *arguments(data, run_dir, strategy__timeout_s=TIMEOUT_S)], options=LEAVE_SURVIVORS)
        started = running(command, run_dir, path, env=network.environment())
        network.cut(1)
        _, err = started.finish()
    check_in(f"sluice: rank 1: was silent for {TIMEOUT_S} s", err)      # what ranks 0 and 2 see
    check(re.search(rf"sluice: rank [02]: was silent for {TIMEOUT_S} s", err), err)   # what rank 1 sees
    for rank in range(RANKS):
        check_in(f"sluice-rank {rank} exit 4", err)
    check_goes_on(data, run_dir, path)


def with_one_apart(path, run_dir, apart, ranks=RANKS, prefix=(), environment="", program=PROGRAM, **more):
    """The ranks started by mpirun in folders of their own, each with its data.tsv; rank 1, another `program`, after
    `prefix`."""
    command = [*MPIRUN, *LEAVE_SURVIVORS]
    for rank in range(ranks):
        folder = os.path.join(path, "apart" if rank == 1 and apart else "together")
        command += [":"] if rank else []
        command += ["-wdir", folder, "-n", "1"]
        command += (["env", environment] if environment and rank == 1 else []) + (list(prefix) if rank == 1 else [])
        command += [PROGRAM, "--rank-guard", program if rank == 1 else PROGRAM, "train",
                    *arguments("data.tsv", run_dir, **more)]
    return command


def two_folders(path):
    for name in ("together", "apart"):
        os.mkdir(os.path.join(path, name))
        write_criteo(os.path.join(path, name, "data.tsv"), 3000)
    return os.path.join(path, "together", "data.tsv"), os.path.join(path, "apart", "data.tsv")


def check_all_left(started, code, words):
    _, err = started.finish()
    for rank in range(RANKS):
        check_in(f"sluice-rank {rank} exit {code}", err)
    for line in [line for line in err.splitlines() if line.startswith("sluice: ")]:
        check_in(words, line)
    check_in(words, err)


def test_data_that_one_rank_cannot_reach(path):
    _, apart = two_folders(path)
    os.remove(apart)
    run_dir = os.path.join(path, "run")
    check_all_left(Started(with_one_apart(path, run_dir, True), path), 3, "rank 1: data.tsv: no such file")
    check(not os.path.exists(run_dir), "a run folder was made")


def test_data_that_one_rank_loses(path):
    data, apart = two_folders(path)
    run_dir = os.path.join(path, "run")
    started = running(with_one_apart(path, run_dir, True), run_dir, path)
    os.remove(apart)
    check_all_left(started, 3, "rank 1: data.tsv")
    # The run's configuration names the file as the ranks saw it.
    step = last_step(run_dir)
    finish(launch(*arguments("data.tsv", run_dir, train__max_steps=step + 5)), path, 0, cwd=os.path.dirname(data))
    whole = os.path.join(path, "whole")
    finish(launch(*arguments("data.tsv", whole, train__max_steps=step + 5)), path, 0, cwd=os.path.dirname(data))
    check(digest(run_dir) == digest(whole))


def test_data_that_differs(path):
    _, apart = two_folders(path)
    run_dir = os.path.join(path, "run")
    with open(apart, "rb+") as file:
        content = file.read()
        file.seek(-2, os.SEEK_END)
        file.write(b"7" if content[-2:-1] != b"7" else b"8")
    check_all_left(Started(with_one_apart(path, run_dir, True), path), 2,
                   "rank 1: its data is not that of rank 0: data.tsv has the same length, but other content")
    with open(apart, "ab") as file:
        file.write(content.splitlines(keepends=True)[0])
    check_all_left(Started(with_one_apart(path, run_dir, True), path), 2,
                   "rank 1: its data is not that of rank 0: data.tsv has ")
    check(not os.path.exists(run_dir), "a run folder was made")


def test_a_processor_that_differs(path):
    two_folders(path)
    command = with_one_apart(path, os.path.join(path, "run"), False, environment="SLUICE_MAX_ISA=plain", deterministic=True)
    _, err = Started(command, path).finish()
    if "(plain)" not in err and subprocess.run(["grep", "-q", "avx2", "/proc/cpuinfo"], check=False).returncode != 0:
        print("SKIPPED: test_a_processor_that_differs: this processor has one instruction set alone", flush=True)
        return
    check(re.search(r"sluice: rank 1: runs on .* \(plain\), rank 0 on .* \(avx\w+\); deterministic: true needs one kind", err),
          err)
    for rank in range(RANKS):
        check_in(f"sluice-rank {rank} exit 2", err)


def test_a_version_that_differs(path):
    two_folders(path)
    version = run("--version").out.split()[1]
    with open(PROGRAM, "rb") as file:
        content = file.read()
    check(version.encode() in content, f"the program does not hold its version {version}")
    other = os.path.join(path, "other")
    with open(other, "wb") as file:
        file.write(content.replace(version.encode() + b"\0", b"9" * len(version) + b"\0"))
    os.chmod(other, 0o755)
    run_dir = os.path.join(path, "run")
    check_all_left(Started(with_one_apart(path, run_dir, False, program=other), path), 2,
                   f"rank 1: runs sluice {'9' * len(version)}, rank 0 runs {version}; install one version everywhere")
    check(not os.path.exists(run_dir), "a run folder was made")


def test_settings_that_differ(path):
    two_folders(path)
    run_dir = os.path.join(path, "run")
    other = os.path.join(path, "other")
    with open(other, "w", encoding="ascii") as file:
        file.write(f'#!/bin/sh\nexec "{PROGRAM}" "$@" --set train.batch_size=64\n')
    os.chmod(other, 0o755)
    check_all_left(Started(with_one_apart(path, run_dir, False, program=other), path), 2,
                   'rank 1: its configuration is not that of rank 0: "batch_size: 64" here, "batch_size: 128" there')
    check(not os.path.exists(run_dir), "a run folder was made")


def test_a_full_disk(path):
    """Of a file system of 64 MiB that holds the run folder of all ranks."""
    disk = os.path.join(path, "disk")
    os.mkdir(disk)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "sluice-test", disk], check=False,
                                           capture_output=True).returncode != 0:
        print("SKIPPED: test_a_full_disk: mounting a file system of its own needs root", flush=True)
        return
    try:
        data = write_criteo(os.path.join(path, "data.tsv"), 3000)
        run_dir, whole = os.path.join(disk, "run"), os.path.join(path, "whole")
        finish(launch(*arguments(data, run_dir, train__max_steps=20)), path, 0)
        before = checkpoints(run_dir)
        filler = os.path.join(disk, "filler")
        with open(filler, "wb") as file:
            space = os.statvfs(disk)
            file.write(bytes(space.f_bavail * space.f_frsize - 65536))
        err = finish(launch(*arguments(data, run_dir, train__max_steps=35)), path, 3)
        check_in("No space left on device", err)
        check(checkpoints(run_dir) == before, f"{checkpoints(run_dir)} and {before}")
        os.remove(filler)
        finish(launch(*arguments(data, run_dir, train__max_steps=35)), path, 0)
        finish(launch(*arguments(data, whole, train__max_steps=35)), path, 0)
        check(digest(run_dir) == digest(whole))
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_full_disk_on_one_rank(path):
    data, _ = two_folders(path)
    run_dir = os.path.join(path, "run")
    together = os.path.dirname(data)
    finish(launch(*arguments("data.tsv", run_dir, train__max_steps=20)), path, 0, cwd=together)
    before = checkpoints(run_dir)[-1]
    # No file of rank 1 may grow beyond 1 KiB; writing more fails, as on a full disk.
    full = ["sh", "-c", "trap '' XFSZ; ulimit -f 2; exec \"$@\"", "sh"]
    check_all_left(Started(with_one_apart(path, run_dir, False, prefix=full), path), 3, "rank 1: ")
    check(checkpoints(run_dir)[-1] == before, f"{checkpoints(run_dir)}")
    finish(launch(*arguments("data.tsv", run_dir, train__max_steps=35)), path, 0, cwd=together)
    whole = os.path.join(path, "whole")
    finish(launch(*arguments("data.tsv", whole, train__max_steps=35)), path, 0, cwd=together)
    check(digest(run_dir) == digest(whole))


def test_a_number_that_is_not_finite_on_one_rank(path):
    # Sample 1000 lies in rank 2's share of the eighth batch; no other rank ever sees its dense values, whose sums overflow.
    data = os.path.join(path, "data.csv")
    columns = [f"n{i}" for i in range(40)]
    with open(data, "w", encoding="ascii") as file:
        file.write(",".join(["label", *columns, "key"]) + "\n")
        for line in range(3000):
            values = ["3e38" if line == 1000 else str((line + i) % 7) for i in range(40)]
            file.write(",".join([str(line % 2), *values, f"k{line % 50}"]) + "\n")
    config = os.path.join(path, "config.yaml")
    with open(config, "w", encoding="ascii") as file:
        file.write(f"data: {{train: [{data}]}}\nfeatures:\n" +
                   "".join(f"  {name}: {{type: numeric, transform: none}}\n" for name in columns) + "  key: {}\n"
                   "model: {preset: deepfm, dim: 4, mlp: [64, 16]}\ntrain: {batch_size: 128}\nthreads: 1\n"
                   f"strategy: {{placement: rows_a2a, timeout_s: {NOBODY_IS_SILENT_S}}}\ncheckpoint: {{every_steps: 5}}\n")
    run_dir = os.path.join(path, "run")
    code, err = Started(launch(config, "--run-dir", run_dir), path).finish()
    check(code == 3, f"{code}: {err}")
    for line in [line for line in err.splitlines() if line.startswith("sluice: ")][:-1]:
        check_in("sluice: rank 2: step 8: ", line)
    check_in("all 3 ranks left with code 3", err)
    check(last_step(run_dir) == 5, f"{checkpoints(run_dir)}")
    digest(checkpoints(run_dir)[-1])


def test_an_interrupt_lets_all_ranks_write_a_checkpoint(path):
    data = write_criteo(os.path.join(path, "data.tsv"), 3000)
    run_dir = os.path.join(path, "run")
    more = {"checkpoint__every_steps": 7}
    started = running(launch(*arguments(data, run_dir, **more)), run_dir, path)
    started.process.send_signal(signal.SIGINT)
    code, err = started.finish()
    check(code == 130, f"{code}: {err}")
    check_in("interrupted; checkpoint ", err)
    check_in(f"all {RANKS} ranks left with code 130", err)
    check_goes_on(data, run_dir, path, **more)


def test_a_launch_that_cannot_start(path):
    data = write_criteo(os.path.join(path, "data.tsv"), 100)
    run_dir = os.path.join(path, "run")
    outcome = run("launch", "-n", 2, "--mpirun", os.path.join(path, "mpirun"), data, code=3)
    check_in("No such file", outcome.err)
    outcome = run("launch", "-n", 2, data, code=3, env={**os.environ, "PATH": path})
    check_in("mpirun is not in PATH; install Open MPI", outcome.err)
    check_in("-n: how many ranks", run("launch", data, code=2).err)
    check_in("-n 0: a number from 1 to 64", run("launch", "-n", 0, data, code=2).err)
    check_in("did you mean", run("launch", "-n", 2, data, "--set", "train.batchsize=1", code=2).err)
    # A failure of all ranks is told once.
    outcome = run("launch", "-n", 3, "nowhere.tsv", "--run-dir", run_dir, code=3)
    check(outcome.err.count("nowhere.tsv: no such file") == 1, outcome.err)
    check_in("all 3 ranks left with code 3", outcome.err)
    check(shutil.which("mpirun") is not None)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
