"""Peak memory does not depend on the length of the file, nor on the number of samples that are evaluated."""
import sys

from harness import check, main, metrics, run, train_arguments, write_criteo


def repeat(source, target, times):
    with open(source, "rb") as file:
        text = file.read()
    with open(target, "wb") as file:
        for _ in range(times):
            file.write(text)
    return target


def test_memory_is_the_same_for_a_file_many_times_as_long(folder):
    short = write_criteo(f"{folder}/short.tsv", 50000)
    peak = {}
    for times in (1, 20):
        data = repeat(short, f"{folder}/train.tsv", times)
        for shuffle in (0, 4096):
            run_dir = f"{folder}/run{times}-{shuffle}"
            run(*train_arguments(data, run_dir, model="lr", train__batch_size=4096, checkpoint__every_steps=0,
                                 data__shuffle_window=shuffle))
            peak[times, shuffle] = metrics(run_dir)["peak_rss_bytes"]
    print({key: f"{value >> 20} MiB" for key, value in peak.items()})
    for shuffle in (0, 4096):
        # 310 MB of text more; allocators and thread scheduling move a few MiB.
        check(peak[20, shuffle] < peak[1, shuffle] + (24 << 20), f"{peak}")


main(sys.modules[__name__])
