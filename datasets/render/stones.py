"""Cuts in plan and as polyhedra, gems, and what holds the stones: prongs, bezels, channel rails, beads."""
import math

import numpy as np

# Length over width. A spec's diameter_mm is the width; the length lies along y, or along x where the
# stone's prongs reach farther in x than in y.
LENGTH = {"round": 1.0, "princess": 1.0, "oval": 1.4, "emerald": 1.4, "pear": 1.5, "marquise": 2.0, "baguette": 2.0}
GEMS = {  # index of refraction; absorption per stone width and channel, linear RGB
    "diamond": (2.417, (0.0, 0.0, 0.0)),
    "ruby": (1.766, (0.10, 2.6, 1.9)),
    "sapphire": (1.766, (2.2, 1.35, 0.3)),
    "emerald": (1.578, (2.3, 0.25, 1.35)),
    "amethyst": (1.549, (0.75, 1.9, 0.35)),
    "citrine": (1.549, (0.06, 0.45, 1.9)),
    "aquamarine": (1.577, (0.45, 0.12, 0.06)),
    "garnet": (1.780, (0.45, 2.8, 2.6)),
    "peridot": (1.670, (0.75, 0.12, 1.6)),
    "tsavorite": (1.740, (1.9, 0.15, 1.2)),
    "cubic_zirconia": (2.16, (0.0, 0.0, 0.0)),
}
# Styles of the round cut: ranges of table, crown and pavilion angle, length of the lower halves and culet (a radius), of the width and in
# degrees; then the facets of crown and pavilion: all, eight, or sixteen alike. Melee is often cut with fewer facets.
ROUND = {
    "brilliant": ((0.54, 0.59), (33.5, 35.5), (40.4, 41.2), (0.73, 0.80), (0.01, 0.01), "all", "all"),
    "old_european": ((0.42, 0.52), (36.0, 41.0), (40.5, 43.0), (0.55, 0.68), (0.03, 0.07), "all", "all"),
    "single": ((0.52, 0.64), (30.0, 36.0), (39.5, 42.5), (0.0, 0.0), (0.01, 0.05), "eight", "eight"),
    "swiss": ((0.52, 0.62), (30.0, 36.0), (39.5, 42.5), (0.6, 0.8), (0.01, 0.05), "sixteen", "sixteen"),
    "fan": ((0.52, 0.62), (30.0, 36.0), (39.5, 42.5), (0.0, 0.0), (0.01, 0.05), "sixteen", "eight"),
    "half": ((0.52, 0.62), (30.0, 36.0), (39.5, 42.5), (0.6, 0.8), (0.01, 0.05), "sixteen", "all"),
}

# Least cosine between the ways that an outline faces at a point and one and a half steps from it: less at corners only.
STRAIGHT = 0.9


# ---------------------------------------------------------------- plan

def cut_outline(cut):
    """Girdle polygon of a stone of width 1, length along y, counter-clockwise, bounding box centred."""
    L = LENGTH.get(cut, 1.0)
    t = np.linspace(0, 2 * math.pi, 96, endpoint=False)
    if cut in ("emerald", "baguette", "princess"):
        c = {"emerald": 0.14, "baguette": 0.008, "princess": 0.012}[cut]
        a, b = 0.5, L / 2
        return np.array([(a, -b + c), (a, b - c), (a - c, b), (-a + c, b), (-a, b - c), (-a, -b + c), (-a + c, -b), (a - c, -b)])
    if cut == "marquise":
        b = L / 2
        r = (b * b + 0.25) / 1.0
        half = math.asin(b / r)
        s = np.linspace(-half, half, 41)
        right = np.stack([0.5 - r + r * np.cos(s), r * np.sin(s)], 1)
        return np.concatenate([right, -right[1:-1]])
    if cut == "pear":
        b = L - 0.5  # the round end is half a circle, the arcs meet in the point
        r = (b * b + 0.25) / 1.0
        s = np.linspace(0, math.asin(b / r), 24)
        arc = np.stack([0.5 - r + r * np.cos(s), r * np.sin(s)], 1)
        low = np.linspace(math.pi, 2 * math.pi, 49)[1:-1]
        p = np.concatenate([arc, (arc * [-1, 1])[::-1][1:], np.stack([0.5 * np.cos(low), 0.5 * np.sin(low)], 1)])
        return p - [0, (p[:, 1].max() + p[:, 1].min()) / 2]
    return np.stack([0.5 * np.cos(t), 0.5 * L * np.sin(t)], 1)


_radial = {}


def gauge(cut, x, y):
    """1 on the girdle of a cut of width 1, less inside, growing in proportion to the distance from its centre."""
    if cut not in _radial:
        p = cut_outline(cut)
        q = np.concatenate([p, p[:1]])
        fine = np.concatenate([q[i] + np.linspace(0, 1, 40, endpoint=False)[:, None] * (q[i + 1] - q[i]) for i in range(len(p))])
        a = np.arctan2(fine[:, 1], fine[:, 0])
        o = np.argsort(a)
        _radial[cut] = a[o], np.hypot(fine[:, 0], fine[:, 1])[o]
    a, r = _radial[cut]
    return np.hypot(x, y) / np.interp(np.arctan2(y, x), a, r, period=2 * math.pi)


def stone_gauge(s, x, y, centre=None):
    """Gauge of a stone as it sits (its centre, or another one) in piece mm."""
    cx, cy = centre or (s["x"], s["y"])
    c, n = math.cos(s["turn"]), math.sin(s["turn"])
    u, v = (x - cx) / s["d"], (y - cy) / s["d"]
    return gauge(s["cut"], c * u + n * v, -n * u + c * v)


def stone_polygon(s, centre=None, scale=1.0):
    cx, cy = centre or (s["x"], s["y"])
    c, n = math.cos(s["turn"]), math.sin(s["turn"])
    p = cut_outline(s["cut"]) * s["d"] * scale
    return np.stack([cx + c * p[:, 0] - n * p[:, 1], cy + n * p[:, 0] + c * p[:, 1]], 1)


def unrolled(polygon, n):
    """A closed polygon's points equally far from one another; the directions that cross it there, upright on the chord from half a step before to half
    a step behind, so that they turn by and by about a corner; which way it faces, [n, 2] each; and whether it runs on about straight."""
    side = np.roll(polygon, -1, 0) - polygon
    length = np.hypot(*side.T)
    ends = np.concatenate([[0], np.cumsum(length)])
    step = ends[-1] / n

    def on(at):
        k = np.clip(np.searchsorted(ends, at % ends[-1], "right") - 1, 0, len(polygon) - 1)
        return polygon[k] + side[k] * ((at % ends[-1] - ends[k]) / length[k])[:, None], np.stack([side[k, 1], -side[k, 0]], 1) / length[k, None]

    at = step * (np.arange(n) + 0.5)
    points, faces = on(at)
    chord = on(at + step / 2)[0] - on(at - step / 2)[0]
    straight = np.all([np.sum(on(at + d)[1] * faces, 1) > STRAIGHT for d in (-1.5 * step, 1.5 * step)], 0)
    return points, np.stack([chord[:, 1], -chord[:, 0]], 1) / np.hypot(*chord.T)[:, None], faces, straight


def meets(points, directions, polygon):
    """How far along its direction (backwards where negative) each point meets a closed polygon, where that is nearest; infinite where it does not."""
    side = np.roll(polygon, -1, 0) - polygon
    across = lambda a, b: a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    with np.errstate(all="ignore"):
        den = across(directions[:, None], side[None])
        out = across(polygon[None] - points[:, None], side[None]) / den
        along = across(polygon[None] - points[:, None], directions[:, None]) / den
    out = np.where((np.abs(den) > 1e-12) & (along >= -1e-6) & (along <= 1 + 1e-6), out, np.inf)
    return out[np.arange(len(out)), np.abs(out).argmin(1)]


def reach(s):
    """Half the length of a stone: the radius of the circle that holds it, about."""
    return s["d"] / 2 * LENGTH.get(s["cut"], 1.0) * (1.2 if s["cut"] in ("princess", "emerald", "baguette") else 1.0)


# ---------------------------------------------------------------- polyhedra

def brilliant_planes(table=0.56, crown=34.5, pavilion=40.8, girdle=0.03, star=0.5, lower=0.77, culet=0.01, above="all", below="all"):
    """Half-spaces n.p <= d of a round stone of diameter 1, girdle mid plane at z = 0. above, below: the facets, as in ROUND."""
    R, rt, g = 0.5, table / 2, girdle / 2
    tc, tp = math.tan(math.radians(crown)), math.tan(math.radians(pavilion))
    hc = g + (R - rt) * tc
    planes = [((0, 0, 1), hc), ((0, 0, -1), g + (R - culet) * tp)]

    def at(r, deg, z):
        a = math.radians(deg)
        return np.array([r * math.cos(a), r * math.sin(a), z])

    def through(a, b, c, inside):
        n = np.cross(b - a, c - a)
        n /= np.linalg.norm(n)
        d = n @ a
        return (n, d) if n @ inside <= d else (-n, -d)
    mid = np.zeros(3)
    c22 = math.cos(math.radians(22.5))
    for k in range(8):
        A = 45.0 * k
        for s, t, facets in ((1, tc, above), (-1, tp, below)):
            for az in (A, A + 22.5) if facets == "sixteen" else (A,):
                n = np.array([t * math.cos(math.radians(az)), t * math.sin(math.radians(az)), s]) / math.hypot(1, t)
                planes.append((n, n @ at(R, az, s * g)))
        rk = rt + star * (R - rt)
        kite = at(rk, A + 22.5, g + (R - rk * c22) * tc)
        if above == "all":
            planes.append(through(at(rt, A, hc), at(rt, A + 45, hc), kite, mid))
        rl = R * (1 - lower)
        low = at(rl, A + 22.5, -g - (R - rl * c22) * tp)
        for A0 in (A, A + 45):
            if above == "all":
                planes.append(through(at(R, A0, g), at(R, A + 22.5, g), kite, mid))
            if below == "all":
                planes.append(through(at(R, A0, -g), at(R, A + 22.5, -g), low, mid))
    return planes


def girdle_planes(cut, girdle="turned"):
    if cut == "round" and girdle == "knife":
        return []
    if cut == "round" and girdle == "faceted":  # its corners on the circle, above the meeting lines of the facets
        return [(np.array([math.cos(a), math.sin(a), 0]), 0.5 * math.cos(math.pi / 16)) for a in np.radians(np.arange(11.25, 360, 22.5))]
    if cut == "round":
        return [(np.array([math.cos(a), math.sin(a), 0]), 0.5) for a in np.radians(np.arange(0, 360, 7.5))]
    p = cut_outline(cut)
    e = np.roll(p, -1, 0) - p
    n = np.stack([e[:, 1], -e[:, 0], 0 * e[:, 0]], 1) / np.hypot(e[:, 0], e[:, 1])[:, None]
    return [(a, a[:2] @ b) for a, b in zip(n, p)]


def cut_planes(cut, r, style="brilliant"):
    """Half-spaces of a stone of width 1; r scatters the proportions within what cutters do. style: of a round cut, with a slash before its
    girdle where that is not turned round: faceted (16 flats whose corners lie on the circle) or knife (none; crown and pavilion meet)."""
    style, _, girdle = style.partition("/")
    poly = cut_outline(cut)
    g = 0.015

    def support(az):
        return float((poly @ [math.cos(az), math.sin(az)]).max())

    def step(az, inset, z, deg, side):
        t = math.tan(math.radians(deg))
        n = np.array([t * math.cos(az), t * math.sin(az), side])
        d = t * (support(az) - inset) + side * z
        k = np.linalg.norm(n)
        return n / k, d / k
    planes = girdle_planes(cut, girdle)
    if cut in ("emerald", "baguette"):
        dirs = [0, math.pi / 2, math.pi, -math.pi / 2]
        if cut == "emerald":
            dirs += [math.pi / 4 + k * math.pi / 2 for k in range(4)]
        angles = [(46, 36, 27), (54, 45, 37)] if cut == "emerald" else [(40, 28), (50, 40)]
        for side, degs in zip((1, -1), angles):
            width = 0.075 if side > 0 else 0.17
            inset, z = 0.0, side * g
            for deg in degs:
                deg += r.uniform(-1, 1)
                planes += [step(az, inset, z, deg, side) for az in dirs]
                inset, z = inset + width, z + side * width * math.tan(math.radians(deg))
            if side > 0:
                planes.append((np.array([0, 0, 1.0]), z))
        return planes
    if cut == "princess":
        z = g
        for deg, inset in ((38, 0.0), (26, 0.07)):
            planes += [step(k * math.pi / 2, inset, z, deg, 1) for k in range(4)]
            z += 0.07 * math.tan(math.radians(deg))
        planes.append((np.array([0, 0, 1.0]), z))
        depth = r.uniform(0.56, 0.62)
        corner = np.array([0.5, 0.5, -g])
        tip = np.array([0, 0, -g - depth])
        for k in range(4):
            for f, az, deg in ((0.0, 10, 58), (0.22, 17, 52), (0.5, 25, 47), (1.0, 33, None)):
                p0 = corner + f * (tip - corner)
                a = math.radians(az)
                if deg is None:  # through the rib's foot and the tip
                    t = depth / float(np.array([math.cos(a), math.sin(a)]) @ corner[:2]) * 1.06
                else:
                    t = math.tan(math.radians(deg))
                for mirror in (1, -1):
                    q = k * math.pi / 2
                    n = np.array([t * math.cos(a), mirror * t * math.sin(a), -1.0])
                    p1 = p0 * [1, mirror, 1]
                    d = n @ p1
                    m = np.array([n[0] * math.cos(q) - n[1] * math.sin(q), n[0] * math.sin(q) + n[1] * math.cos(q), n[2]])
                    planes.append((m / np.linalg.norm(m), d / np.linalg.norm(m)))
        return planes
    *ranges, above, below = ROUND[style]
    table, crown, pavilion, lower, culet = (r.uniform(*q) for q in ranges)
    thick = {"girdle": 0.0} if girdle == "knife" else {}
    base = brilliant_planes(table=table, crown=crown, pavilion=pavilion, lower=lower, culet=culet, above=above, below=below, **thick)
    if cut not in ("oval", "pear", "marquise"):
        return base + planes
    a, b = 0.5, LENGTH[cut] / 2
    for n, d in base:  # the brilliant's facets, each turned and slanted to suit the outline
        n = np.array(n, float)
        nr = math.hypot(n[0], n[1])
        if nr > 1e-9:
            az = math.atan2(n[1] / b, n[0] / a)
            k = nr * 0.5 / support(az)
            n = np.array([k * math.cos(az), k * math.sin(az), n[2]])
        m = np.linalg.norm(n)
        planes.append((n / m, d / m))
    return planes


def polyhedron(planes):
    """Vertices, triangles and the plane of each triangle of an intersection of half-spaces holding the origin."""
    from scipy.spatial import ConvexHull
    n = np.array([p[0] for p in planes], float)
    d = np.array([p[1] for p in planes], float)
    eq = ConvexHull(n / d[:, None]).equations
    pts = np.unique(np.round(-eq[:, :3] / eq[:, 3:4], 7), axis=0)
    verts, faces, plane = [], [], []
    for i, (ni, di) in enumerate(zip(n, d)):
        on = pts[np.abs(pts @ ni - di) < 2e-6]
        if len(on) < 3:
            continue
        c = on.mean(0)
        u = on[0] - c
        u /= max(np.linalg.norm(u), 1e-12)
        v = np.cross(ni, u)
        on = on[np.argsort(np.arctan2((on - c) @ v, (on - c) @ u))]
        b = len(verts)
        verts += list(on)
        faces += [(b, b + k, b + k + 1) for k in range(1, len(on) - 1)]
        plane += [i] * (len(on) - 2)
    return np.array(verts), np.array(faces), np.array(plane)


_cache = {}


def stone_mesh(cut, variant, chip=None, style="brilliant"):
    """Vertices, triangles, and which triangles are a break. chip: depth over width, azimuth, seed of the break."""
    key = (cut, variant, style)
    if key not in _cache:
        planes = cut_planes(cut, np.random.default_rng(900 + variant), style)
        _cache[key] = planes, polyhedron(planes)
    planes, (v, f, _) = _cache[key]
    if not chip:
        return v, f, np.zeros(len(f), bool)
    depth, az, seed = chip
    r = np.random.default_rng(seed)
    poly = cut_outline(cut)
    h = float((poly @ [math.cos(az), math.sin(az)]).max())
    foot = poly[np.argmax(poly @ [math.cos(az), math.sin(az)])]
    extra = []
    for da, tilt, back in [(0.0, r.uniform(0.2, 0.5), 0.0)] + [
            (r.uniform(-0.35, 0.35), r.uniform(-0.5, 0.6), r.uniform(0.004, 0.02)) for _ in range(5)]:
        n = np.array([math.cos(az + da), math.sin(az + da), tilt])
        n /= np.linalg.norm(n)
        e = (h - depth + back) * np.array([math.cos(az), math.sin(az), 0.0])
        e[:2] += foot - (foot @ [math.cos(az), math.sin(az)]) * np.array([math.cos(az), math.sin(az)])
        if n @ e > 0.05:
            extra.append((n, n @ e))
    v, f, p = polyhedron(planes + extra)
    return v, f, p >= len(planes)


def rotation_to(axis_xy, deg):
    """Rotation by deg about a horizontal axis."""
    a = math.radians(deg)
    k = np.array([axis_xy[0], axis_xy[1], 0.0])
    K = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    return np.eye(3) + math.sin(a) * K + (1 - math.cos(a)) * K @ K


# ---------------------------------------------------------------- what holds them

def grid_faces(a, b, closed_a=False, closed_b=False):
    """Triangles of a x b vertices, row by row; along a closed side the last is joined to the first."""
    i, j = np.meshgrid(np.arange(a if closed_a else a - 1), np.arange(b if closed_b else b - 1), indexing="ij")
    i, j = i.ravel(), j.ravel()
    k, l = (i + 1) % a, (j + 1) % b
    return np.concatenate([np.stack([i * b + j, k * b + j, k * b + l], 1), np.stack([i * b + j, k * b + l, i * b + l], 1)])


def lathe(rr, zz, nr, nz, seg=36):
    """A surface of revolution about z from a profile with normals."""
    az = np.linspace(0, 2 * math.pi, seg, endpoint=False)
    m = len(rr)
    ln = np.hypot(nr, nz)
    v = np.stack([np.outer(rr, np.cos(az)), np.outer(rr, np.sin(az)), np.repeat(np.asarray(zz)[:, None], seg, 1)], -1).reshape(-1, 3)
    n = np.stack([np.outer(nr / ln, np.cos(az)), np.outer(nr / ln, np.sin(az)), np.repeat((nz / ln)[:, None], seg, 1)], -1).reshape(-1, 3)
    return v, grid_faces(m, seg, False, True), n


def dome(r, tall, post):
    """A round head on a post that goes down into the metal."""
    th = np.linspace(0, math.pi / 2, 12)
    rr = np.concatenate([[1e-4 * r], r * np.sin(th[1:]), [r]])
    zz = np.concatenate([tall * np.cos(th), [-post]])
    nr = np.concatenate([np.sin(th), [1.0]])
    nz = np.concatenate([np.cos(th) * r / tall, [0.0]])
    return lathe(rr, zz, nr, nz)


def swept(path, profile, closed=True):
    """A profile (offset across, height) with normals carried along a plane path (n x 2)."""
    if closed:
        t = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    else:
        t = np.gradient(path, axis=0)
    t /= np.maximum(np.hypot(t[:, 0], t[:, 1]), 1e-9)[:, None]
    out = np.stack([t[:, 1], -t[:, 0]], 1)  # outward for a counter-clockwise path
    off, z, no, nz = (np.asarray(q, float) for q in profile)
    n, m = len(path), len(off)
    v = np.zeros((n, m, 3))
    v[..., :2] = path[:, None] + out[:, None] * off[None, :, None]
    v[..., 2] = z
    ln = np.hypot(no, nz)
    nn = np.zeros((n, m, 3))
    nn[..., :2] = out[:, None] * (no / ln)[None, :, None]
    nn[..., 2] = nz / ln
    return v.reshape(-1, 3), grid_faces(n, m, closed), nn.reshape(-1, 3)


def rim_profile(inner, outer, top, foot):
    """Rounded wall from inner to outer offset: offsets, heights, normals."""
    w = outer - inner
    r = min(w / 2, 0.6 * abs(top - foot))
    a = np.linspace(math.pi, 0, 11)
    off = np.concatenate([[inner], (inner + outer) / 2 + np.cos(a) * w / 2, [outer]])
    z = np.concatenate([[foot], top - r + r * np.sin(a), [foot]])
    no = np.concatenate([[-1], np.cos(a), [1]])
    nz = np.concatenate([[0], np.sin(a) * w / 2 / r, [0]])
    return off, z, no, nz


def densified(p, n=96):
    q = np.concatenate([p, p[:1]])
    s = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(q, axis=0).T))])
    t = np.linspace(0, s[-1], n, endpoint=False)
    return np.stack([np.interp(t, s, q[:, 0]), np.interp(t, s, q[:, 1])], 1)
