"""The surface keys per field x ranks x link: bytes and speed, predicted and observed, and where DES overtakes the servers."""
import math
import os
import sys

import results
from forms import FIELDS, NUMBERS, SURFACE_PRESETS

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from small_multiples import SmallMultiples  # noqa: E402

COLORS = {"des": "#0b6e4f", "des_rs": "#6fb98f", "field_a2a": "#c8553d", "rows_a2a": "#3d5a98", "ps-async": "#222222"}
LINKS = {None: "unshaped", "10Gbit": "10 Gbit/s", "1Gbit": "1 Gbit/s", "100Mbit": "100 Mbit/s"}
BYTES_PER_S = {"10Gbit": 1.25e9, "1Gbit": 1.25e8, "100Mbit": 1.25e7}
FRAMES = 1514 / 1448   # of Ethernet, IP and TCP: what one payload byte becomes in full frames


def predicted_bytes(result):
    """Of all processes together, a sample, {preset: bytes}, by docs/algorithms/des.md and parameter-service.md."""
    case, ranks = result["case"], result["ranks"]
    dim, batch, keys = case["dim"], case["batch"], result["keys"][str(ranks)]
    # A packed machine takes dim + 1 columns; beside pooled embeddings, whose sums it reads, one.
    columns = {"lr": 1, "fm": dim + 1, "wide_deep": FIELDS * dim + 1, "deepfm": FIELDS * dim + 1}[case["model"]]
    row = 1 + (0 if case["model"] == "lr" else dim)   # the linear weight is part of the row
    layers = [FIELDS * dim + 2 * NUMBERS, *case["mlp"], 1] if case["model"] in ("wide_deep", "deepfm") else []   # numbers and whether there
    dense = sum(a * b + b for a, b in zip(layers, layers[1:]))
    of_batch = 2 * 4 * dense + ranks * (16 + 8 * FIELDS + 2 * 128 + 2 * 56)   # a server beside each of the workers
    return {"des": 2 * (ranks - 1) * 4 * columns, "ps-async": keys["unique"] * (5 + 2 * 4 * row) + 8 * keys["new"] + of_batch / batch}


def predicted_rates(result, unshaped):
    """Samples/s on a shaped link, from the unshaped rate and predicted bytes. Every machine's link carries an N-th of all; a
    worker's own server is on its machine. A step of DES waits for its exchange, asynchronous workers go on meanwhile."""
    ranks, link, sent = result["ranks"], result["case"]["link"], predicted_bytes(result)
    wait = {preset: FRAMES * sent[preset] / (ranks * BYTES_PER_S[link]) for preset in sent}
    free = {preset: 1 / results.run_of(unshaped, preset)["samples_per_s"] for preset in sent}
    return {"des": 1 / (free["des"] + wait["des"]),
            "ps-async": 1 / max(free["ps-async"], wait["ps-async"] * (ranks - 1) / ranks)}


def crossings(points):
    """Keys where the ratio of (keys, ratio) passes 1, linear in logarithms between points."""
    found = []
    points = sorted(points)
    for (k0, r0), (k1, r1) in zip(points, points[1:]):
        if (r0 < 1) != (r1 < 1):
            share = math.log(r0) / (math.log(r0) - math.log(r1))
            found.append(math.exp(math.log(k0) + share * (math.log(k1) - math.log(k0))))
    return found


def where_ahead(points):
    """As words, of (keys, ratio) whose ratio is below 1 where DES is ahead."""
    if not points:
        return "-"
    ahead_at_first, found = min(points)[1] < 1, crossings(points)
    if not found:
        return "everywhere" if ahead_at_first else "nowhere"
    if len(found) == 1:
        return f"{'up to' if ahead_at_first else 'from'} {found[0]:.1f}"
    return "it changes at " + ", ".join(f"{keys:.1f}" for keys in found)


class Surface:
    def __init__(self, parts):
        self.cells = {}
        for result in parts["surface"]:
            case = result["case"]
            self.cells[case["model"], case["ranks"], case["link"], case["keys"]] = result
        self.models = sorted({key[0] for key in self.cells})
        self.ranks = sorted({key[1] for key in self.cells})
        self.links = [link for link in LINKS if any(key[2] == link for key in self.cells)]
        self.keys = sorted({key[3] for key in self.cells})

    def guess(self, model, ranks, link, keys):
        """Predicted rates, or nothing where there is no prediction."""
        here, free = self.cells.get((model, ranks, link, keys)), self.cells.get((model, ranks, None, keys))
        if link is None or here is None or free is None or not all(results.run_of(free, p) for p in ("des", "ps-async")):
            return {}
        return predicted_rates(here, free)

    def rates(self, model, ranks, link, keys):
        here = self.cells.get((model, ranks, link, keys))
        runs = {} if here is None else {preset: results.run_of(here, preset) for preset in SURFACE_PRESETS}
        return {preset: run["samples_per_s"] for preset, run in runs.items() if run}

    def bytes_table(self):
        rows = []
        for model in self.models:
            for ranks in self.ranks:
                for keys in self.keys:
                    here = next((self.cells[model, ranks, link, keys] for link in self.links
                                 if (model, ranks, link, keys) in self.cells), None)
                    if here is None:
                        continue
                    guess = predicted_bytes(here)
                    row = [model, ranks, keys, f"{here['keys'][str(ranks)]['unique']:.1f}"]
                    for preset in SURFACE_PRESETS:
                        run = results.run_of(here, preset)
                        text = f"{run['sent_per_sample']:.0f}" if run else "-"
                        row.append(f"{guess[preset]:.0f}, {text}" if preset in guess else text)
                    rows.append(row)
        return results.table(["model", "ranks", "keys per field", "unique keys a sample", "des: predicted, sent", "des_rs", "field_a2a",
                              "rows_a2a", "ps-async: predicted, sent"], rows)

    def speed_table(self):
        rows = []
        for model in self.models:
            for ranks in self.ranks:
                for link in self.links:
                    for keys in self.keys:
                        rates, guess = self.rates(model, ranks, link, keys), self.guess(model, ranks, link, keys)
                        if not rates:
                            continue
                        fastest = max(rates, key=rates.get)
                        row = [model, ranks, LINKS[link], keys]
                        for preset in SURFACE_PRESETS:
                            text = f"{rates[preset] / 1000:.1f}" if preset in rates else "-"
                            text = f"**{text}**" if preset == fastest else text
                            row.append(text + (f" [{guess[preset] / 1000:.1f}]" if preset in guess else ""))
                        rows.append(row)
        return results.table(["model", "ranks", "link", "keys per field", *SURFACE_PRESETS], rows)

    def break_even_table(self):
        rows = []
        for model in self.models:
            for ranks in self.ranks:
                sent, expected = [], []
                for keys in self.keys:
                    here = next((self.cells[model, ranks, link, keys] for link in self.links
                                 if (model, ranks, link, keys) in self.cells), None)
                    if here and all(results.run_of(here, p) for p in ("des", "ps-async")):
                        guess = predicted_bytes(here)
                        expected.append((keys, guess["des"] / guess["ps-async"]))
                        sent.append((keys, results.run_of(here, "des")["sent_per_sample"] /
                                     results.run_of(here, "ps-async")["sent_per_sample"]))
                rows.append([model, ranks, "bytes", where_ahead(expected), where_ahead(sent)])
                for link in self.links:
                    def points(of, link=link):
                        found = [(keys, of(model, ranks, link, keys)) for keys in self.keys]
                        return [(keys, r["ps-async"] / r["des"]) for keys, r in found if "des" in r and "ps-async" in r]
                    rows.append([model, ranks, f"samples/s, {LINKS[link]}", where_ahead(points(self.guess)), where_ahead(points(self.rates))])
        return results.table(["model", "ranks", "by", "predicted", "observed"], rows)

    def svg(self, model):
        """A row for each number of ranks, a column for each link; dashed: predicted."""
        everything = [rate for key in self.cells if key[0] == model for of in (self.rates, self.guess) for rate in of(*key).values()]
        picture = SmallMultiples(f"{model}: samples/s by keys per field; dashed: predicted from the unshaped rate and bytes", COLORS,
                                 [[f"{ranks} ranks, {LINKS[link]}" for link in self.links] for ranks in self.ranks], self.keys,
                                 everything, [(keys, str(keys)) for keys in self.keys])
        for row, ranks in enumerate(self.ranks):
            for column, link in enumerate(self.links):
                for of, dashed in ((self.guess, True), (self.rates, False)):
                    found = [(keys, of(model, ranks, link, keys)) for keys in self.keys]
                    for preset in SURFACE_PRESETS:
                        points = [(keys, rates[preset]) for keys, rates in found if preset in rates]
                        if points:
                            picture.line(row, column, preset, points, dashed)
        return picture.svg()


def markdown(surface):
    if not surface.cells:
        return ""
    case = next(iter(surface.cells.values()))["case"]
    return (f"\n## Surface: keys per field x ranks x link\n\n{FIELDS} multi-hot fields, batch {case['batch']:,} of all ranks together and of a "
            f"worker, one run a cell. Bytes a sample of all processes together:\n\n" + surface.bytes_table() +
            "\nThousand samples/s, the fastest bold; in brackets what the unshaped rate and predicted bytes predict:\n\n" +
            surface.speed_table() + "\nWhere DES is ahead of the asynchronous servers, in keys per field:\n\n" + surface.break_even_table())
