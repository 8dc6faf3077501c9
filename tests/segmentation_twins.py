"""Slow and plain twins of the segmentation targets and losses: loops over voxels and elements.

Affinities: Turaga et al. (2010), doi:10.1162/neco.2009.10-08-881. Mutex watershed: Wolf et al.
(2018), doi:10.1007/978-3-030-01225-0_34. Local shape descriptors: Sheridan et al. (2022),
doi:10.1038/s41592-022-01711-z.
"""

import itertools
import math

import numpy as np


def _per_axis(value, ndim):
    return [float(v) for v in np.broadcast_to(1.0 if value is None else value, ndim)]


def _moved(x, offset, shape):
    """The voxel x + offset, None outside the volume."""
    y = tuple(int(i + o) for i, o in zip(x, offset, strict=True))
    return y if all(0 <= i < n for i, n in zip(y, shape, strict=True)) else None


def _faces(shape):
    """Every pair of voxels that share a face, once."""
    for x in np.ndindex(shape):
        for step in np.eye(len(shape), dtype=int):
            if (y := _moved(x, step, shape)) is not None:
                yield x, y


def affinities(labels, offsets, *, mask=None):
    mask = np.ones(labels.shape, bool) if mask is None else mask
    affinity = np.zeros((len(offsets), *labels.shape))
    valid = np.zeros(affinity.shape, bool)
    for k, x in itertools.product(range(len(offsets)), np.ndindex(labels.shape)):
        y = _moved(x, offsets[k], labels.shape)
        if y is not None and mask[x] and mask[y]:
            valid[k][x] = True
            affinity[k][x] = labels[x] == labels[y] and labels[x] != 0
    return affinity, valid


def distances_to_faces(faces, shape, sampling):
    """From the centre of each voxel to the nearest midpoint of these pairs of voxels."""
    sampling = _per_axis(sampling, len(shape))
    place = lambda x: [i * s for i, s in zip(x, sampling, strict=True)]  # noqa: E731
    middles = [
        [(a + b) / 2 for a, b in zip(place(x), place(y), strict=True)] for x, y in list(faces)
    ]
    distance = np.full(shape, math.inf)
    for x in np.ndindex(shape):
        # The root of the smallest sum, so that what ties in exact numbers ties here.
        squares = (
            sum((a - b) ** 2 for a, b in zip(place(x), middle, strict=True)) for middle in middles
        )
        distance[x] = math.sqrt(min(squares, default=math.inf))
    return distance


def unsigned_distances(labels, *, sampling=None, mask=None):
    """To the nearest boundary, and to the nearest face of a voxel that is not annotated."""
    mask = np.ones(labels.shape, bool) if mask is None else mask
    known = [(x, y) for x, y in _faces(labels.shape) if mask[x] and mask[y]]
    boundary = [(x, y) for x, y in known if labels[x] != labels[y]]
    unknown = [(x, y) for x, y in _faces(labels.shape) if not (mask[x] and mask[y])]
    return (
        distances_to_faces(boundary, labels.shape, sampling),
        distances_to_faces(unknown, labels.shape, sampling),
    )


def signed_distance(labels, *, scale, sampling=None, mask=None):
    to_boundary, to_unknown = unsigned_distances(labels, sampling=sampling, mask=mask)
    distance, valid = np.zeros(labels.shape), np.zeros(labels.shape, bool)
    for x in np.ndindex(labels.shape):
        valid[x] = (mask is None or mask[x]) and to_boundary[x] <= to_unknown[x]
        if valid[x]:
            d = to_boundary[x] if labels[x] != 0 else -to_boundary[x]
            distance[x] = d if scale is None else math.tanh(d / scale)
    return distance, valid


def hot_distance(labels, *, scale, sampling=None, mask=None, classes=None):
    volumes = [labels] if classes is None else [labels == c for c in classes]
    annotated = np.ones(labels.shape, bool) if mask is None else mask
    hot = [(volume != 0) & annotated for volume in volumes]
    distances = [
        signed_distance(volume, scale=scale, sampling=sampling, mask=mask) for volume in volumes
    ]
    target = np.stack([*hot, *(distance for distance, _ in distances)])
    return target, np.stack([annotated] * len(volumes) + [valid for _, valid in distances])


def balance_weights(target, mask=None, *, channel_axis=0, clip=(0.05, 0.95)):
    mask = np.ones(target.shape, bool) if mask is None else np.broadcast_to(mask, target.shape)
    counted, ones = {}, {}
    for e in np.ndindex(target.shape):
        channel = e[channel_axis]
        if mask[e]:
            counted[channel] = counted.get(channel, 0) + 1
            ones[channel] = ones.get(channel, 0) + int(target[e])
    weight = np.zeros(target.shape)
    for e in np.ndindex(target.shape):
        if mask[e]:
            share = ones[e[channel_axis]] / counted[e[channel_axis]]
            share = share if target[e] == 1 else 1 - share
            weight[e] = 1 / (2 * min(max(share, clip[0]), clip[1]))
    return weight


def _window(sigma, sampling):
    """For each axis the Gaussian by offset."""
    window = []
    for s, voxel in zip(sigma, sampling, strict=True):
        radius = int(3 * s / voxel + 0.5)
        g = {k: math.exp(-((k * voxel) ** 2) / (2 * s**2)) for k in range(-radius, radius + 1)}
        window.append({k: value / math.fsum(g.values()) for k, value in g.items()})
    return window


def _descriptors(points, sigma):
    """From (g, position relative to the voxel) of each voxel of the object in the window."""
    axes = range(len(sigma))
    mass = math.fsum(g for g, _ in points)
    mean = [math.fsum(g * y[a] for g, y in points) / mass for a in axes]

    def covariance(a, b):
        return math.fsum(g * (y[a] - mean[a]) * (y[b] - mean[b]) for g, y in points) / mass

    variance = [covariance(a, a) for a in axes]
    channels = [mean[a] / sigma[a] / 2 + 0.5 for a in axes]
    channels += [variance[a] / sigma[a] ** 2 for a in axes]
    for a, b in itertools.combinations(axes, 2):
        flat = variance[a] == 0 or variance[b] == 0
        r = 0.0 if flat else covariance(a, b) / math.sqrt(variance[a] * variance[b])
        channels.append(r / 2 + 0.5)
    return [min(max(c, 0.0), 1.0) for c in [*channels, mass]]


def local_shape_descriptors(labels, sigma, *, sampling=None):
    ndim = labels.ndim
    sigma, sampling = _per_axis(sigma, ndim), _per_axis(sampling, ndim)
    window = _window(sigma, sampling)
    descriptors = np.zeros((2 * ndim + ndim * (ndim - 1) // 2 + 1, *labels.shape))
    for x in np.ndindex(labels.shape):
        if labels[x] == 0:
            continue
        points = []
        for y in np.ndindex(labels.shape):
            steps = [j - i for i, j in zip(x, y, strict=True)]
            g = math.prod(w.get(k, 0.0) for w, k in zip(window, steps, strict=True))
            if labels[y] == labels[x] and g > 0:
                points.append((g, [k * s for k, s in zip(steps, sampling, strict=True)]))
        descriptors[(slice(None), *x)] = _descriptors(points, sigma)
    return descriptors


def _edges(affinity, offsets):
    for k, x in itertools.product(range(len(offsets)), np.ndindex(affinity.shape[1:])):
        if (y := _moved(x, offsets[k], affinity.shape[1:])) is not None:
            yield float(affinity[k][x]), x, y


def _merge(cluster, kept, gone):
    for x in cluster:
        if cluster[x] == gone:
            cluster[x] = kept


def _numbered(cluster, shape):
    """1..n in the order of the first voxels; clusters of one voxel are background."""
    members = list(cluster.values())
    numbers, labels = {}, np.zeros(shape, np.int64)
    for x in np.ndindex(shape):
        if members.count(cluster[x]) > 1:
            labels[x] = numbers.setdefault(cluster[x], len(numbers) + 1)
    return labels


def components(affinity, offsets, *, threshold=0.5):
    cluster = {x: x for x in np.ndindex(affinity.shape[1:])}
    for a, x, y in _edges(affinity, offsets):
        if a > threshold:
            _merge(cluster, cluster[x], cluster[y])
    return _numbered(cluster, affinity.shape[1:])


def mutex_watershed(affinity, offsets, *, threshold=0.5):
    cluster = {x: x for x in np.ndindex(affinity.shape[1:])}
    exclusive = set()
    for a, x, y in sorted(_edges(affinity, offsets), key=lambda edge: -abs(edge[0] - threshold)):
        kept, gone = cluster[x], cluster[y]
        if kept == gone:
            continue
        if a < threshold:
            exclusive.add(frozenset((kept, gone)))
        elif frozenset((kept, gone)) not in exclusive:
            _merge(cluster, kept, gone)
            exclusive = {frozenset(kept if c == gone else c for c in pair) for pair in exclusive}
    return _numbered(cluster, affinity.shape[1:])


def face_components(voxels):
    """The face-connected components of a bool volume: 1..n, 0 outside."""
    labels, n = np.zeros(voxels.shape, np.int64), 0
    steps = [sign * step for step in np.eye(voxels.ndim, dtype=int) for sign in (-1, 1)]
    for first in np.ndindex(voxels.shape):
        if not voxels[first] or labels[first]:
            continue
        n += 1
        labels[first], reached = n, [first]
        while reached:
            x = reached.pop()
            for y in (_moved(x, step, voxels.shape) for step in steps):
                if y is not None and voxels[y] and not labels[y]:
                    labels[y] = n
                    reached.append(y)
    return labels


def passes(height, inside, starts):
    """The lowest top of a path of face neighbours inside from the starts to each voxel."""
    lowest = np.where(starts & inside, height.astype(float), math.inf)
    faces = [pair for x, y in _faces(height.shape) for pair in ((x, y), (y, x))]
    changed = True
    while changed:
        changed = False
        for x, y in faces:
            top = max(lowest[x], float(height[y]))
            if inside[x] and inside[y] and top < lowest[y]:
                lowest[y], changed = top, True
    return lowest


def _sigmoid(p):
    return 1 / (1 + math.exp(-p)) if p >= 0 else math.exp(p) / (1 + math.exp(p))


# An element and its derivative by the prediction.
def squared(p, t):
    return (p - t) ** 2, 2 * (p - t)


def absolute(p, t):
    return abs(p - t), float(np.sign(p - t))


def cross_entropy(p, t):
    return max(p, 0.0) - p * t + math.log1p(math.exp(-abs(p))), _sigmoid(p) - t


def sigmoid_squared(p, t):
    s = _sigmoid(p)
    return (s - t) ** 2, 2 * (s - t) * s * _sigmoid(-p)


def terms(name, n_channels, *, num_affinities=None, ratio=1.0):
    """(element, channels, ratio) of each term of the loss with this name."""
    half = n_channels // 2
    split = num_affinities or 0
    return {
        "MSELoss": [(squared, range(n_channels), 1.0)],
        "DummyLoss": [(absolute, range(n_channels), 1.0)],
        "AffinitiesLoss": [
            (cross_entropy, range(split), 1.0),
            (sigmoid_squared, range(split, n_channels), ratio),
        ],
        "HotDistanceLoss": [
            (cross_entropy, range(half), 1.0),
            (squared, range(half, n_channels), 1.0),
        ],
    }[name]


def ignores_weight(name, n_channels, *, weighting, num_affinities=None, **_):
    return weighting == "dacapo" and (
        name == "DummyLoss" or (name == "AffinitiesLoss" and num_affinities == n_channels)
    )


def loss(name, prediction, target, weight, *, reduction, normalize, weighting, **affinities):
    """The loss, and its derivative by each prediction (with "none", of its own element)."""
    n_channels = prediction.shape[1]
    if weight is None or ignores_weight(name, n_channels, weighting=weighting, **affinities):
        weight = 1.0
    weight = np.broadcast_to(weight, prediction.shape)
    values, slopes, total = np.zeros(prediction.shape), np.zeros(prediction.shape), 0.0
    for element, channels, ratio in terms(name, n_channels, **affinities):
        elements = [e for e in np.ndindex(prediction.shape) if e[1] in channels]
        if not elements:
            continue
        divisor = math.fsum(weight[e] for e in elements) if normalize == "weight" else len(elements)
        for e in elements:
            w = float(weight[e])
            if w == 0:
                continue
            factor = ratio * (w**2 if weighting == "dacapo" and element is squared else w)
            value, slope = element(float(prediction[e]), float(target[e]))
            values[e], slopes[e] = factor * value, factor * slope
            slopes[e] /= divisor if reduction == "mean" else 1
        total += math.fsum(values[e] for e in elements) / (divisor if reduction == "mean" else 1)
    return (values if reduction == "none" else np.float64(total)), slopes


def loss_of_arrays(
    name, prediction, target, weight, *, reduction, normalize, weighting, **affinities
):
    """The same without loops, for arrays too large for them."""
    n_channels = prediction.shape[1]
    if weight is None or ignores_weight(name, n_channels, weighting=weighting, **affinities):
        weight = 1.0
    weight = np.broadcast_to(np.asarray(weight, np.float64), prediction.shape)
    prediction, target = prediction.astype(np.float64), target.astype(np.float64)
    values, slopes, total = np.zeros(prediction.shape), np.zeros(prediction.shape), 0.0
    for element, channels, ratio in terms(name, n_channels, **affinities):
        if len(channels) == 0:
            continue
        part = (slice(None), slice(channels.start, channels.stop))
        p, w = prediction[part], weight[part]
        # What has no weight may have any target.
        t = np.where(w == 0, 0.0, target[part])
        value, slope = _ARRAYS[element](p, t)
        factor = ratio * (w**2 if weighting == "dacapo" and element is squared else w)
        divisor = w.sum() if normalize == "weight" else w.size
        values[part], slopes[part] = factor * value, factor * slope
        if reduction == "mean":
            slopes[part] /= divisor
        total += values[part].sum() / (divisor if reduction == "mean" else 1)
    return (values if reduction == "none" else np.float64(total)), slopes


def _sigmoids(p):
    return np.exp(-np.logaddexp(0.0, -p))


_ARRAYS = {
    squared: lambda p, t: ((p - t) ** 2, 2 * (p - t)),
    absolute: lambda p, t: (np.abs(p - t), np.sign(p - t)),
    cross_entropy: lambda p, t: (np.logaddexp(0.0, p) - p * t, _sigmoids(p) - t),
    sigmoid_squared: lambda p, t: (
        (_sigmoids(p) - t) ** 2,
        2 * (_sigmoids(p) - t) * _sigmoids(p) * _sigmoids(-p),
    ),
}
