"""Tables of the models' part: every preset once, and DES against the asynchronous servers over seeds."""
import results
from forms import MODELS

KINDS = ["partials", "keys", "rows", "row gradients", "dense", "dense gradients"]
ORDER = ["des", "des_rs", "field_a2a", "rows_a2a", "auto", "ps-async"]
# The paper's first version, against a system that cannot be run here: throughput and AUC.
PAPER = {"lr": "1.55, +0.0007", "wide_deep": "4.52, +0.0010", "deepfm": "3.91, +0.0008"}


def _of_first_seed(parts, kind):
    """(model, name of the preset, result, run) of the first seed."""
    rows = []
    for result in parts["models"]:
        case = result["case"]
        if case["kind"] != kind or case["seed"] != 1:
            continue
        for run in result["runs"]:
            name = run["preset"] if run["preset"] != "ps-async" else f"ps-async, ahead {case['ahead']}"
            rows.append((MODELS.index(case["model"]), ORDER.index(run["preset"]), -case["ahead"], name, result, run))
    return [(MODELS[row[0]], *row[3:]) for row in sorted(rows, key=lambda row: row[:3])]


def about(result):
    case, teacher = result["case"], result["teacher"]["tail"]
    return (f"{case['samples']:,} samples, {case['samples'] // case['batch']} steps of {case['batch']}, {case['ranks']} machines with "
            f"{result['cores']} cores in all, {result['network'].replace('each ', 'each machine ', 1)}. The teacher's AUC over the second "
            f"half is {teacher['auc']:.4f}, without products of keys {teacher['linear_auc']:.4f}.\n")


def presets(parts, kind):
    rows, of_kinds, first = [], [], None
    for model, name, result, run in _of_first_seed(parts, kind):
        first = first or result
        if run["state"] != "done":
            rows.append([model, name, f"{run['state']}: {run['why']}"] + [""] * 8)
            continue
        share = results.link_share(result, run)
        rows.append([model, name, f"{run['samples_per_s'] / 1000:.1f} k", f"{run['sent_per_sample']:.0f}",
                     f"{run['wire_per_sample']:.0f}" if run["wire_per_sample"] is not None else "-",
                     f"{100 * share:.0f}%" if share is not None else "-", f"{run['cpu_us_per_sample']:.1f}", f"{run['cores_busy']:.2f}",
                     f"{run['largest_rss_bytes'] / 2**20:.0f}", f"{run['auc']:.4f}", f"{run['late_auc']:.4f}"])
        sent = {}
        for kind_name, value in run["bytes_per_sample"].items():
            column = kind_name if kind_name in KINDS else "other"
            sent[column] = sent.get(column, 0) + value
        of_kinds.append([model, name] + [f"{sent[k]:.0f}" if sent.get(k, 0) >= 0.5 else "" for k in KINDS + ["other"]])
    if not rows:
        return ""
    text = f"\n## {'Multi-hot' if kind == 'multi' else 'One-hot'} data: every preset (first seed)\n\n" + about(first) + "\n"
    text += results.table(["model", "preset", "samples/s", "B/sample sent", "on the wire", "link busy", "core us/sample", "cores busy",
                           "memory, MiB", "AUC", "AUC, second half"], rows)
    text += "\nBytes a sample by kind:\n\n" + results.table(["model", "preset"] + KINDS + ["other"], of_kinds)
    return text


def pairs_of(parts, kind, model, ahead):
    """(des, ps-async) runs of every seed that has both."""
    des, servers = {}, {}
    for result in parts["models"]:
        case = result["case"]
        if (case["kind"], case["model"]) != (kind, model):
            continue
        run = results.run_of(result, "des")
        if run:
            des[case["seed"]] = run
        run = results.run_of(result, "ps-async")
        if run and case["ahead"] == ahead:
            servers[case["seed"]] = run
    return [(des[seed], servers[seed]) for seed in sorted(des.keys() & servers.keys())]


def against_servers(parts):
    gains, quality = [], []
    for kind in ("multi", "criteo"):
        for model in MODELS:
            for ahead in (1, 0):
                pairs = pairs_of(parts, kind, model, ahead)
                if not pairs:
                    continue
                saved, _ = results.interval([1 - d["sent_per_sample"] / p["sent_per_sample"] for d, p in pairs])
                head = [kind, model, ahead, len(pairs)]
                gains.append(head + [f"{100 * saved:.1f}%", results.ratio(pairs, "samples_per_s"),
                                     results.ratio(pairs, "cpu_us_per_sample"), results.ratio(pairs, "largest_rss_bytes"),
                                     PAPER.get(model, "-").split(",")[0]])
                quality.append(head + [results.difference(pairs, name) for name in ("auc", "late_auc", "late_logloss")] +
                               [PAPER.get(model, "-, -").split(", ")[1]])
    if not gains:
        return ""
    head = ["data", "model", "pulled ahead", "seeds"]
    return ("\n## DES against the asynchronous servers, paired over seeds of data and model\n\n"
            "Ratios are DES over servers, geometric means (95%): a speed above 1 and a core time below 1 are in DES's favour.\n\n" +
            results.table(head + ["bytes saved by DES", "samples/s", "core time a sample", "memory", "the paper's speed"], gains) +
            "\nDES minus servers (95%); an AUC above 0 and a log loss below 0 are in DES's favour.\n\n" +
            results.table(head + ["AUC, all samples", "AUC, second half", "log loss, second half", "the paper's AUC"], quality))
