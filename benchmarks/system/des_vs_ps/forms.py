"""What des_vs_ps runs, in a small, a quick and a full form: data, models, and the list of cases."""

MODELS = ("lr", "fm", "wide_deep", "deepfm")
FIELDS, NUMBERS = 10, 4   # of multi-hot data
# Presets that compute the same model by other exchanges, and the asynchronous one.
SYNCHRONOUS = ("des", "des_rs", "field_a2a", "rows_a2a", "auto")
SURFACE_PRESETS = ("des", "des_rs", "field_a2a", "rows_a2a", "ps-async")
DEFAULT_AHEAD = 1   # batches that a worker pulls ahead unless told otherwise (strategy.pull_ahead)

# Of data sets: samples, keys of the largest field, keys per field on average, how often a key is replaced by a new one over
# the file, power law, batch of all ranks together, learning rates of tables and of the dense net. The rates are those of a
# few tried at which the asynchronous servers did best (docs/benchmarks/des-vs-ps.md).
MULTI = {"rows": 50000, "keys": 20, "churn": 0.5, "skew": 4, "rates": [0.005, 0.005]}
CRITEO = {"rows": 50000, "keys": 1, "churn": 0.5, "skew": 12, "rates": [0.1, 0.01]}
FORMS = {
    "small": {
        "multi": {**MULTI, "samples": 20000, "batch": 512}, "criteo": {**CRITEO, "samples": 50000, "batch": 1024},
        "seeds": 2, "ranks": 2, "link": "1Gbit", "dim": 8, "mlp": [200, 80],
        "surface": {"samples": {1: 20000, 16: 10000}, "ranks": [2, 4], "links": {None: 1, "100Mbit": 0.5}, "batch": 512,
                    "models": ["deepfm"]},
        "staleness": {"workers": [1, 2, 4], "pull_ahead": [0, 1, 4], "models": ["wide_deep"]},
    },
    "quick": {
        "multi": {**MULTI, "samples": 400000, "batch": 512}, "criteo": {**CRITEO, "samples": 1000000, "batch": 1024},
        "seeds": 5, "ranks": 2, "link": "1Gbit", "dim": 8, "mlp": [200, 80],
        "surface": {"samples": {1: 120000, 4: 80000, 16: 50000, 64: 30000}, "ranks": [2, 4],
                    "links": {None: 1, "1Gbit": 1, "100Mbit": 0.5}, "batch": 512, "models": ["deepfm"]},
        "staleness": {"workers": [1, 2, 4], "pull_ahead": [0, 1, 4], "models": ["wide_deep"]},
    },
    "full": {
        "multi": {**MULTI, "samples": 2000000, "rows": 1000000, "batch": 1024},
        "criteo": {**CRITEO, "samples": 10000000, "rows": 1000000, "batch": 2048},
        "seeds": 7, "ranks": 2, "link": "1Gbit", "dim": 16, "mlp": [400, 400, 400],
        "surface": {"samples": {1: 1000000, 2: 800000, 4: 600000, 8: 400000, 16: 300000, 32: 200000, 64: 100000}, "ranks": [2, 4, 8],
                    "links": {None: 1, "10Gbit": 1, "1Gbit": 1, "100Mbit": 0.3}, "batch": 1024, "models": ["lr", "fm", "deepfm"]},
        "staleness": {"workers": [1, 2, 4], "pull_ahead": [0, 1, 2, 4], "models": ["wide_deep", "deepfm"]},
    },
}


def cases(form):
    """Every case of a form, each one `sluice compare`, as a flat dictionary. Seeds come one after another, the surface after
    the first, so that what was cut short still holds something of everything."""
    common = {"dim": form["dim"], "mlp": form["mlp"]}

    def trained(kind, model, seed, presets, ranks, ahead):
        return {"kind": kind, "model": model, "seed": seed, "presets": presets, "ranks": ranks, "link": form["link"],
                "ahead": ahead, **form[kind], **common}

    for seed in range(1, form["seeds"] + 1):
        for kind in ("multi", "criteo"):
            for model in MODELS:
                # The first seed shows every preset; of the others, which compute the same model, one is enough for quality.
                presets = [*(SYNCHRONOUS if seed == 1 else SYNCHRONOUS[:1]), "ps-async"]
                yield "models", f"{kind}-{model}-seed{seed}", trained(kind, model, seed, presets, form["ranks"], DEFAULT_AHEAD)
                yield "models", f"{kind}-{model}-seed{seed}-ahead0", trained(kind, model, seed, ["ps-async"], form["ranks"], 0)
        for model in form["staleness"]["models"]:
            for workers in form["staleness"]["workers"]:
                for ahead in form["staleness"]["pull_ahead"]:
                    if workers == form["ranks"] and ahead in (0, DEFAULT_AHEAD):
                        continue   # it is above
                    yield "staleness", f"stale-{model}-workers{workers}-ahead{ahead}-seed{seed}", \
                        trained("criteo", model, seed, ["ps-async"], workers, ahead)
        if seed == 1:
            yield from surface(form, common)


def surface(form, common):
    """The samples of a cell follow the keys, a slower link has a share of them: so that every cell takes about as long."""
    plan = form["surface"]
    for model in plan["models"]:
        for keys, samples in plan["samples"].items():
            for ranks in plan["ranks"]:
                for link, share in plan["links"].items():
                    yield "surface", f"surface-{model}-keys{keys}-ranks{ranks}-{link or 'unshaped'}", {
                        "kind": "multi", "model": model, "seed": 1, "presets": list(SURFACE_PRESETS), "ranks": ranks,
                        "link": link, "ahead": DEFAULT_AHEAD, **form["multi"], "keys": keys, "samples": int(samples * share),
                        "batch": plan["batch"], "count_keys": plan["ranks"], **common}


def seconds(case):
    """What a case takes on two cores of the machine on which the forms were cut, roughly; others differ by a factor."""
    fields = 26 if case["kind"] == "criteo" else FIELDS
    deep = case["model"] in ("wide_deep", "deepfm")
    sizes = [fields * case["dim"], *case["mlp"]]
    net_s = sum(a * b for a, b in zip(sizes, sizes[1:])) * 1e-10 if deep else 0
    row_s = 1.2e-6 + 2.4e-8 * fields * case["keys"]
    slow_s = 4e-5 if case["link"] == "100Mbit" else 0
    total_s = 0.3
    for preset in case["presets"]:
        total_s += 0.6 + case["samples"] * (row_s + slow_s + net_s * (3 if preset in ("des", "des_rs") else 1))
    return total_s
