"""The models, written from their papers' formulas in JAX: an independent implementation for comparison.

A model is a function (dense, tables, batch) -> logits [B], or [B, labels] where it is written for several. `dense` maps
parameter names to arrays; `tables` maps a table's name to its rows [U, dim]; `batch` holds
  x        [B, n_dense]           numeric features
  index    per field [B, K]       row of each occurrence, 0 where padded
  weight   per field [B, K]       weight of each occurrence
  present  per field [B, K]       1.0 for an occurrence, 0.0 for padding
"""
import jax
import jax.numpy as jnp


def coefficients(weight, present, pooling):
    """Coefficient of every occurrence: sum w; mean w / sum w; sqrtn w / sqrt(sum w^2). Zero for padding."""
    w = weight * present
    if pooling == "sum":
        return w
    total = jnp.sum(w if pooling == "mean" else w * w, axis=1, keepdims=True)
    total = jnp.where(total == 0, 1.0, total)
    return w / (total if pooling == "mean" else jnp.sqrt(total))


def pooled(rows, batch, pooling):
    """Embeddings of every field side by side, as [B, F, k]."""
    fields = []
    for index, weight, present in zip(batch["index"], batch["weight"], batch["present"]):
        vectors = rows[index]
        if pooling == "max":
            scaled = jnp.where(present[..., None] > 0, weight[..., None] * vectors, -jnp.inf)
            best = jnp.max(scaled, axis=1)
            fields.append(jnp.where(jnp.isinf(best), 0.0, best))
        else:
            fields.append(jnp.einsum("bk,bkd->bd", coefficients(weight, present, pooling), vectors))
    return jnp.stack(fields, axis=1)


def linear(column, batch):
    """Sum over all occurrences of w_j x_j."""
    return sum(jnp.sum(coefficients(w, p, "sum") * column[i], axis=1)
               for i, w, p in zip(batch["index"], batch["weight"], batch["present"]))


def pairs(factors, batch):
    """Rendle's sum over pairs of occurrences a < b of <v_a, v_b> x_a x_b, as the double sum."""
    index = jnp.concatenate(batch["index"], axis=1)
    x = jnp.concatenate([coefficients(w, p, "sum") for w, p in zip(batch["weight"], batch["present"])], axis=1)
    vectors = factors[index] * x[..., None]
    gram = jnp.einsum("bid,bjd->bij", vectors, vectors)
    upper = jnp.triu(jnp.ones(gram.shape[1:]), k=1)
    return jnp.sum(gram * upper, axis=(1, 2))


def mlp(dense, name, x, activation=jax.nn.relu, linear_output=True):
    layers = sorted(int(key.split("/")[1][5:]) for key in dense if key.startswith(name + "/") and key.endswith("/weight"))
    for layer in layers:
        x = x @ dense[f"{name}/layer{layer}/weight"] + dense[f"{name}/layer{layer}/bias"]
        if not (linear_output and layer == layers[-1]):
            x = activation(x)
    return x


def flat(vectors):
    return vectors.reshape(vectors.shape[0], -1)


def num_labels(dense):
    return dense["output/bias"].shape[0]


def dense_linear(dense, batch):
    return (batch["x"] @ dense["linear_dense/weight"])[:, 0]


def bias(dense):
    return dense["output/bias"][0]


def features(batch, vectors):
    return jnp.concatenate([flat(vectors), batch["x"]], axis=1)


def lr(dense, tables, batch, options):
    if num_labels(dense) > 1:
        columns = [linear(tables["wide"][:, l], batch) for l in range(num_labels(dense))]
        return dense["output/bias"] + jnp.stack(columns, axis=1) + batch["x"] @ dense["linear_dense/weight"]
    return bias(dense) + linear(tables["wide"][:, 0], batch) + dense_linear(dense, batch)


def fm(dense, tables, batch, options):
    rows = tables["embedding"]
    return bias(dense) + linear(rows[:, 0], batch) + pairs(rows[:, 1:], batch) + dense_linear(dense, batch)


def split_wide(tables):
    """Linear weights and embeddings, in one table or in two."""
    if "wide" in tables:
        return tables["wide"][:, 0], tables["embedding"]
    return tables["embedding"][:, 0], tables["embedding"][:, 1:]


def wide_deep(dense, tables, batch, options):
    weights, embeddings = split_wide(tables)
    x = features(batch, pooled(embeddings, batch, options["pooling"]))
    return bias(dense) + linear(weights, batch) + dense_linear(dense, batch) + mlp(dense, "deep", x)[:, 0]


def deepfm(dense, tables, batch, options):
    weights, embeddings = split_wide(tables)
    x = features(batch, pooled(embeddings, batch, options["pooling"]))
    return (bias(dense) + linear(weights, batch) + pairs(embeddings, batch) + dense_linear(dense, batch)
            + mlp(dense, "deep", x)[:, 0])


def dnn(dense, tables, batch, options):
    deep = mlp(dense, "deep", features(batch, pooled(tables["embedding"], batch, options["pooling"])))
    return bias(dense) + deep[:, 0] if num_labels(dense) == 1 else dense["output/bias"] + deep


def dlrm(dense, tables, batch, options):
    bottom = mlp(dense, "bottom", batch["x"], linear_output=False)
    vectors = jnp.concatenate([bottom[:, None, :], pooled(tables["embedding"], batch, options["pooling"])], axis=1)
    gram = jnp.einsum("bid,bjd->bij", vectors, vectors)
    row, column = jnp.tril_indices(vectors.shape[1], k=-1)
    return bias(dense) + mlp(dense, "top", jnp.concatenate([bottom, gram[:, row, column]], axis=1))[:, 0]


def cross(dense, x0):
    x = x0
    for layer in sorted({key.split("/")[1] for key in dense if key.startswith("cross/")}):
        prefix = f"cross/{layer}/"
        if prefix + "weight" in dense:
            product = x @ dense[prefix + "weight"]
        else:
            product = (x @ dense[prefix + "down"]) @ dense[prefix + "up"]
        x = x0 * (product + dense[prefix + "bias"]) + x
    return x


def dcnv2(dense, tables, batch, options):
    x = features(batch, pooled(tables["embedding"], batch, options["pooling"]))
    return bias(dense) + mlp(dense, "cross_logit", cross(dense, x))[:, 0] + mlp(dense, "deep", x)[:, 0]


def dcn(dense, tables, batch, options):
    """Layer by layer as in the paper: x = x0 (x . w) + b + x."""
    x0 = features(batch, pooled(tables["embedding"], batch, options["pooling"]))
    x = x0
    for w, b in zip(dense["cross/weight"].T, dense["cross/bias"]):
        x = x0 * jnp.dot(x, w)[:, None] + b + x
    return bias(dense) + mlp(dense, "cross_logit", x)[:, 0] + mlp(dense, "deep", x0)[:, 0]


def cin(dense, x0):
    x, out = x0, []
    for layer in sorted({key.split("/")[1] for key in dense if key.startswith("cin/")}):
        x = jnp.einsum("bid,bjd,ijh->bhd", x, x0, dense[f"cin/{layer}/weight"])
        out.append(jnp.sum(x, axis=2))
    return jnp.concatenate(out, axis=1)


def xdeepfm(dense, tables, batch, options):
    weights, embeddings = split_wide(tables)
    vectors = pooled(embeddings, batch, options["pooling"])
    return (bias(dense) + linear(weights, batch) + dense_linear(dense, batch)
            + mlp(dense, "cin_logit", cin(dense, vectors))[:, 0] + mlp(dense, "deep", features(batch, vectors))[:, 0])


MODELS = {"lr": lr, "fm": fm, "wide_deep": wide_deep, "deepfm": deepfm, "dnn": dnn, "dlrm": dlrm, "dcn": dcn,
          "dcnv2": dcnv2, "xdeepfm": xdeepfm}


def loss(name, dense, tables, batch, options):
    """Mean over samples of the sum over labels: of the negative log-likelihood under sigmoid(logit), or of half the square
    of the error."""
    logits = MODELS[name](dense, tables, batch, options).reshape(batch["x"].shape[0], -1)
    y = jnp.stack([batch["y"][label] for label in options["labels"]], axis=1)
    each = 0.5 * (logits - y) ** 2 if options["loss"] == "mse" else jax.nn.softplus(logits) - y * logits
    return jnp.mean(jnp.sum(each, axis=1))
