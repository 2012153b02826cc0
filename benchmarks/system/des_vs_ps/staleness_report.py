"""Quality of the asynchronous servers against staleness."""
import results


def markdown(parts):
    base, rows = {}, {}
    chosen = {result["case"]["model"] for result in parts["staleness"]}
    for result in parts["models"] + parts["staleness"]:
        case = result["case"]
        if case["kind"] != "criteo" or case["model"] not in chosen:
            continue
        run = results.run_of(result, "des")
        if run:
            base[case["model"], case["seed"]] = run
        run = results.run_of(result, "ps-async")
        if run:
            rows.setdefault((case["model"], case["ranks"], case["ahead"]), {})[case["seed"]] = run
    cells = []
    for (model, workers, ahead), runs in sorted(rows.items()):
        pairs = [(run, base[model, seed]) for seed, run in sorted(runs.items()) if (model, seed) in base]
        if pairs:
            stale, _ = results.interval([run["staleness"] for run, _ in pairs])
            rate, _ = results.interval([run["samples_per_s"] for run, _ in pairs])
            cells.append([model, workers, ahead, len(pairs), f"{stale:.2f}", f"{rate / 1000:.1f} k"] +
                         [results.difference(pairs, name) for name in ("auc", "late_auc", "late_logloss")])
    if not cells:
        return ""
    return ("\n## Quality against staleness\n\nOne-hot data, ps-async minus the synchronous run on the same samples (95%). Staleness: pushes of "
            "others between\na batch's pull and its push; batches pulled ahead are delay that is added.\n\n" +
            results.table(["model", "workers", "pulled ahead", "seeds", "staleness", "samples/s", "AUC, all samples", "AUC, second half",
                           "log loss, second half"], cells))
