"""Each method's terms against loops written from its formula."""

import itertools
import math

import pytest
import torch
from torch.nn import functional

from icckd.train.distillers.base import pooled
from tests.train.distiller_sample import LABELS, case


def softmax(row, temperature=1.0):
    weights = [math.exp(z / temperature) for z in row]
    return [w / sum(weights) for w in weights]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def norm(a):
    return math.sqrt(dot(a, a))


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def huber(gap):
    return gap * gap / 2 if abs(gap) < 1 else abs(gap) - 0.5


def pearson(a, b):
    a, b = ([x - mean(v) for x in v] for v in (a, b))
    return dot(a, b) / (norm(a) * norm(b))


def standardize(row):
    deviation = math.sqrt(sum((z - mean(row)) ** 2 for z in row) / (len(row) - 1))
    return [(z - mean(row)) / (deviation + 1e-7) for z in row]


def divergence(p, q):
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))


def rows_of(made):
    pairs = zip(made.student.logits.tolist(), made.teacher.logits.tolist(), strict=True)
    return [(s, t, y) for (s, t), y in zip(pairs, made.batch.labels.tolist(), strict=True)]


def without(row, label):
    return [value for c, value in enumerate(row) if c != label]


def slow_kd(made, change=lambda row: row):
    return [mean(16 * divergence(softmax(change(t), 4), softmax(change(s), 4))
                 for s, t, _ in rows_of(made))]  # fmt: skip


def slow_dkd(made, change=lambda row: row):
    target, others = [], []
    for s, t, y in rows_of(made):
        s, t = change(s), change(t)
        ps, pt = softmax(s, 4)[y], softmax(t, 4)[y]
        target.append(16 * divergence([pt, 1 - pt], [ps, 1 - ps]))
        others.append(16 * divergence(softmax(without(t, y), 4), softmax(without(s, y), 4)))
    return [mean(target), mean(others)]


def slow_nkd(made):
    target, others = [], []
    for s, t, y in rows_of(made):
        target.append(-softmax(t)[y] * math.log(softmax(s)[y]))
        pairs = zip(softmax(without(t, y), 3), softmax(without(s, y), 3), strict=True)
        others.append(-9 * sum(p * math.log(q) for p, q in pairs))
    return [mean(target), mean(others)]


def slow_dist(made):
    ps = [softmax(s, 4) for s, _, _ in rows_of(made)]
    pt = [softmax(t, 4) for _, t, _ in rows_of(made)]
    inter = mean(pearson(a, b) for a, b in zip(ps, pt, strict=True))
    columns = zip(zip(*ps, strict=True), zip(*pt, strict=True), strict=True)
    return [16 * (1 - inter), 16 * (1 - mean(pearson(a, b) for a, b in columns))]


def slow_ckd(made):
    rows = rows_of(made)
    total = []
    for i, (_, t, _) in enumerate(rows):
        scores = [dot(t, s) / norm(t) / norm(s) / 0.1 for s, _, _ in rows]
        total.append(math.log(sum(math.exp(x) for x in scores)) - scores[i])
    return [mean(total)]


def features_of(made):
    return made.student.features.tolist(), made.teacher.features.tolist()


def minus(a, b):
    return [x - y for x, y in zip(a, b, strict=True)]


def slow_rkd(made):
    size = range(len(made.batch.ids))
    distances, angles = [], []
    for f in features_of(made):
        d = [[norm(minus(f[j], f[i])) for j in size] for i in size]
        mu = mean(d[i][j] for i in size for j in size if i != j)
        distances.append([x / mu for row in d for x in row])
        angle = []
        for i, j, k in itertools.product(size, repeat=3):
            a, b = minus(f[j], f[i]), minus(f[k], f[i])
            angle.append(dot(a, b) / norm(a) / norm(b) if i not in (j, k) else 0.0)
        angles.append(angle)
    return [mean(huber(a - b) for a, b in zip(*both, strict=True)) for both in (distances, angles)]


def slow_pkt(made):
    total = []
    affinities = []
    for f in features_of(made):
        k = [[(dot(a, b) / norm(a) / norm(b) + 1) / 2 for b in f] for a in f]
        affinities.append([[x / sum(row) for x in row] for row in k])
    for s_row, t_row in zip(*affinities, strict=True):
        total += [t * math.log((t + 1e-7) / (s + 1e-7)) for s, t in zip(s_row, t_row, strict=True)]
    return [mean(total)]


def linear(layer, row):
    weights, bias = layer.weight.tolist(), layer.bias.tolist()
    return [dot(w, row) + b for w, b in zip(weights, bias, strict=True)]


def embedded(made):
    s, t = features_of(made)
    own = made.distiller
    return [linear(own.student, row) for row in s], [linear(own.teacher, row) for row in t]


def slow_cc(made):
    gaps = [[abs(x - y) for x, y in zip(a, b, strict=True)]
            for a, b in zip(*embedded(made), strict=True)]  # fmt: skip
    return [mean(dot(a, b) for a, b in itertools.pairwise(gaps))]


def slow_cc_kernel(made):
    def kernel(x, y):
        cosine = dot(x, y) / norm(x) / norm(y)
        series = sum((2 * 0.4) ** p / math.factorial(p) * cosine**p for p in (0, 1, 2))
        return math.exp(-2 * 0.4) * series

    s, t = embedded(made)
    size = range(len(s))
    gaps = [kernel(s[i], s[j]) - kernel(t[i], t[j]) for i in size for j in size]
    return [norm(gaps) / len(s) ** 2]


def small_and_large(made, stage):
    """The maps of a stage, the larger pooled by plain loops to the smaller's size."""
    maps = [output.stages[stage] for output in (made.student, made.teacher)]
    side = min(x.shape[2] for x in maps)
    return [functional.adaptive_avg_pool2d(x, side) for x in maps]


def slow_at(made):
    total = 0.0
    for stage in range(3):
        attention = []
        for x in small_and_large(made, stage):
            flat = [[mean(v**2 for v in place) for place in zip(*image, strict=True)]
                    for image in x.flatten(2).tolist()]  # fmt: skip
            attention.append([[v / norm(row) for v in row] for row in flat])
        total += mean((a - b) ** 2 for s, t in zip(*attention, strict=True)
                      for a, b in zip(s, t, strict=True))  # fmt: skip
    return [total]


def slow_sp(made):
    grams = []
    for output in (made.student, made.teacher):
        flat = output.stages[-1].flatten(1).tolist()
        gram = [[dot(a, b) for b in flat] for a in flat]
        grams.append([x / norm(row) for row in gram for x in row])
    return [mean((a - b) ** 2 for a, b in zip(*grams, strict=True))]


def normalised(x, norm_layer):
    """Batch norm in training mode, at its initial scale and shift."""
    centre = x.mean(dim=(0, 2, 3), keepdim=True)
    spread = (x - centre).square().mean(dim=(0, 2, 3), keepdim=True)
    return (x - centre) / (spread + norm_layer.eps).sqrt()


def squared_error(guess, seen):
    pairs = zip(guess.flatten().tolist(), seen.flatten().tolist(), strict=True)
    return mean((a - b) ** 2 for a, b in pairs)


def slow_fitnet(made):
    """Stage 2 of 4x4 maps on both sides: a convolution with a kernel of one place."""
    convolution, batch_norm, _ = made.distiller.regressor
    weight = convolution.weight[:, :, 0, 0]
    mapped = torch.einsum("tk,bkhw->bthw", weight, made.student.stages[1])
    guess = normalised(mapped, batch_norm).clamp_min(0)
    return [squared_error(guess, made.teacher.stages[1])]


def slow_fitnet_halved(made):
    convolution, batch_norm, _ = made.distiller.regressor
    padded = functional.pad(made.student.stages[0], (1, 1, 1, 1))
    mapped = torch.stack([
        torch.stack([
            torch.einsum("tkhw,bkhw->bt", convolution.weight,
                         padded[:, :, 2 * h : 2 * h + 3, 2 * w : 2 * w + 3])
            for w in range(4)], dim=-1)
        for h in range(4)], dim=-2)  # fmt: skip
    guess = normalised(mapped, batch_norm).clamp_min(0)
    return [squared_error(guess, made.teacher.stages[0])]


def slow_vid(made):
    total = 0.0
    for stage in range(3):
        s, t = small_and_large(made, stage)
        first, _, second, _, third = made.distiller.regressors[stage]
        x = s
        for number, layer in enumerate((first, second, third)):
            x = torch.einsum("tk,bkhw->bthw", layer.weight[:, :, 0, 0], x)
            x = x.clamp_min(0) if number < 2 else x
        variance = (1 + made.distiller.scales[stage].exp()).log() + 1e-5
        values = []
        for channel, v in enumerate(variance.tolist()):
            pairs = zip(x[:, channel].flatten().tolist(), t[:, channel].flatten().tolist(),
                        strict=True)  # fmt: skip
            values += [((a - b) ** 2 / v + math.log(v)) / 2 for a, b in pairs]
        total += mean(values)
    return [total]


def slow_reviewkd(made, maps="stages"):
    student = getattr(made.student, maps)
    own = [made.student.features[:, :, None, None], *reversed(student)]
    other = [made.teacher.features[:, :, None, None], *reversed(made.teacher.preacts)]
    total, deeper = 0.0, None
    for fusion, s, t in zip(made.distiller.fusions, own, other, strict=True):
        x = torch.einsum("mk,bkhw->bmhw", fusion.enter.weight[:, :, 0, 0], s)
        x = normalised(x, fusion.enter_norm)
        if deeper is not None:
            y = nearest(deeper, x.shape[2])
            z = torch.einsum("ak,bkhw->bahw", fusion.attention.weight[:, :, 0, 0],
                             torch.cat([x, y], dim=1))  # fmt: skip
            z = 1 / (1 + (-(z + fusion.attention.bias[:, None, None])).exp())
            x = x * z[:, 0:1] + y * z[:, 1:2]
        deeper = x = nearest(x, t.shape[2])
        guess = functional.conv2d(x, fusion.leave.weight, padding=1)
        guess = normalised(guess, fusion.leave_norm)
        value, weight, weights = squared_error(guess, t), 1.0, 1.0
        for size in (4, 2, 1):
            if size < t.shape[2]:
                weight /= 2
                weights += weight
                value += weight * squared_error(
                    functional.adaptive_avg_pool2d(guess, size),
                    functional.adaptive_avg_pool2d(t, size),
                )
        total += value / weights
    return [total]


def nearest(x, side):
    index = [place * x.shape[2] // side for place in range(side)]
    return x[:, :, index][:, :, :, index]


def slow_crd(made):
    """All 40 images are candidates; 16,384 negatives per anchor in the mean over other classes."""
    m, n, temperature = 16_384, 40, 0.07
    own = made.distiller
    s, t = ([[x / norm(row) for x in row] for row in side] for side in embedded(made))
    banks = own.teacher_bank.tolist(), own.student_bank.tolist()
    ids, labels, every = made.batch.ids.tolist(), made.batch.labels.tolist(), LABELS.tolist()
    result = []
    for anchors, bank in zip((s, t), banks, strict=True):
        raw, parts = [], []
        for anchor, i, label in zip(anchors, ids, labels, strict=True):
            positive = math.exp(dot(anchor, bank[i]) / temperature)
            negatives = [math.exp(dot(anchor, bank[j]) / temperature)
                         for j in range(n) if every[j] != label]  # fmt: skip
            raw.append((positive + m * mean(negatives)) / (1 + m))
            parts.append((positive, negatives))
        z, noise = n * mean(raw), m / n
        total = []
        for positive, negatives in parts:
            found = math.log(positive / z / (positive / z + noise))
            left = m * mean(math.log(noise / (x / z + noise)) for x in negatives)
            total.append(-(found + left))
        result.append(mean(total))
    return result


SLOW = {
    "kd": slow_kd,
    "kd, standardized": lambda made: slow_kd(made, standardize),
    "dkd": slow_dkd,
    "dkd, standardized": lambda made: slow_dkd(made, standardize),
    "nkd": slow_nkd,
    "dist": slow_dist,
    "ckd": slow_ckd,
    "rkd": slow_rkd,
    "pkt": slow_pkt,
    "cc": slow_cc,
    "cc, kernel": slow_cc_kernel,
    "at": slow_at,
    "sp": slow_sp,
    "fitnet": slow_fitnet,
    "fitnet, halved": slow_fitnet_halved,
    "vid": slow_vid,
    "reviewkd": slow_reviewkd,
    "reviewkd, preacts": lambda made: slow_reviewkd(made, "preacts"),
    "crd": slow_crd,
}


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("seed", [0, 1])
@torch.no_grad()
def test_terms_equal_a_loop(name, seed):
    made = case(name, seed=seed, **({"temperature": 3.0} if name == "nkd" else {}))
    expected = SLOW[name](made)

    assert [term.item() for term in made.own()] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@torch.no_grad()
def test_a_sum_has_the_terms_of_its_methods_under_its_own_names():
    made = case("sum")
    terms, weights = made.terms(), made.distiller.weights(3)

    assert list(terms) == [
        "ce", "again", "crd_student", "crd_teacher", "kd", "rkd_distance", "rkd_angle", "vid",
    ]  # fmt: skip
    assert terms["kd"].item() == pytest.approx(slow_kd(made)[0])
    assert terms["rkd_angle"].item() == pytest.approx(slow_rkd(made)[1])
    assert (weights["ce"], weights["kd"], weights["rkd_angle"]) == (1.0, 0.9, 50.0)


def test_the_variances_of_vid_begin_at_the_setting():
    for wanted in (1e-4, 5.0):
        for scale in case("vid", initial_variance=wanted).distiller.scales:
            variance = functional.softplus(scale) + 1e-5
            assert variance.tolist() == pytest.approx([wanted] * len(scale), rel=1e-3)


def test_the_large_convolutions_of_reviewkd_begin_at_kaimings_uniform_bound():
    for fusion in case("reviewkd").distiller.fusions:
        for weight in (fusion.enter.weight, fusion.leave.weight):
            bound = (3 / weight[0].numel()) ** 0.5
            assert 0.75 * bound < weight.abs().max().item() <= bound


def test_weights_rise_over_the_warm_up_epochs():
    dkd = case("dkd").distiller

    assert dkd.weights(1) == {"ce": 1.0, "dkd_target": 1 / 20, "dkd_nontarget": 8 / 20}
    assert dkd.weights(20) == dkd.weights(240) == {
        "ce": 1.0, "dkd_target": 1.0, "dkd_nontarget": 8.0,
    }  # fmt: skip


@pytest.mark.parametrize(("size", "to"), [((8, 6), (4, 3)), ((7, 5), (3, 2)), ((4, 4), (4, 1))])
def test_pooling_is_adaptive_average_pooling(size, to):
    x = torch.randn(2, 3, *size, dtype=torch.float64)

    torch.testing.assert_close(pooled(x, *to), functional.adaptive_avg_pool2d(x, to))
