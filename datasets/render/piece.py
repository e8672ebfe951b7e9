"""One piece: surface, stones, settings, pose; what is wrong with it is added by defects.py and nuisance.py."""
import math
import zlib

import numpy as np

import metal as M
import stones as S
from metal import Noise, Retry, smoothstep
from spec import METALS, extent, hallmark_of, outline_sdf


class Piece:
    def __init__(self, spec, key, size, mix, light=None):
        """key: numbers that name the piece; every part of it draws from a stream of its own."""
        self.spec, self.key, self.size, self.mix = spec, key, size, mix
        view = spec["view"][0]
        self.outline = view.get("outline")
        self.metal, self.finish = spec["metal"], spec["finish"]
        self.design = view.get("stone", [])
        self.limits = {r["characteristic"]: r for r in spec.get("limit", [])}
        self.view_name = view["name"]
        shape = self.outline["shape"] if self.outline else None
        self.open_x, self.open_y = shape in ("band", None), shape is None
        self.band = shape == "band"
        self.defects, self.not_defects, self.hallmarks = [], [], []
        self.bites, self.heights, self.fine, self.skins, self.parts = [], [], [], [], []
        self.waves, self.reliefs, self.other_alpha = [], [], None
        self.burst = False
        self._frame()
        self._surface()
        self._stones()

    def rng(self, tag):
        return np.random.default_rng([*self.key, zlib.crc32(tag.encode())])

    # ------------------------------------------------------------ pose and scale

    def _frame(self):
        rng = self.rng("frame")
        W, H = self.size
        hx, hy = extent(self.outline)
        self.rot = float(rng.uniform(-4, 4) if rng.random() < 0.85 else rng.choice([-1, 1]) * rng.uniform(4, 12))
        s = 0.2 if rng.random() < 0.85 else 0.8
        fit = rng.uniform(0.80, 0.92)
        lo, hi = self.mix["camera"]["um_per_px"]
        free_um = float(math.exp(rng.uniform(math.log(lo), math.log(hi))))
        if self.outline is None:
            reach = max([abs(q["x_mm"]) + q["diameter_mm"] for q in self.design], default=0.0)
            um = max(free_um, reach * 2 / (W * 0.95) * 1000)
            bx = by = 0.0
        elif self.band:
            reach = max([abs(q["x_mm"]) + q["diameter_mm"] for q in self.design], default=1.0)
            um = max(free_um if not self.design else rng.uniform(8, 14), reach * 2 / (W * 0.9) * 1000, 2 * hy / (H * 0.75) * 1000)
            bx, by = 0.0, hy
        else:
            c, sn = abs(math.cos(math.radians(self.rot))), abs(math.sin(math.radians(self.rot)))
            bx, by = hx * c + hy * sn, hx * sn + hy * c
            if self.outline["shape"] in ("disc", "ellipse"):
                bx, by = math.hypot(hx * c, hy * sn), math.hypot(hx * sn, hy * c)
            um = max(2 * bx / (W * fit), 2 * by / (H * fit)) * 1000
            if rng.random() < self.mix["camera"]["far"]:
                um *= rng.uniform(1.15, 1.8)
            near = self.mix["camera"]["near"]
            if near and rng.random() < near:
                um = min(um, hi) * rng.uniform(0.45, 0.9)
        self.um = float(min(hi, max(lo, round(um * 2) / 2)))
        self.fx, self.fy = W * self.um / 2000, H * self.um / 2000
        if self.open_x:
            lx, ly = min(s, 0.8), s if self.open_y else max(0.05, min(s, self.fy - by - 0.6))
        else:
            lx, ly = max(0.02, min(s, self.fx - bx - 0.1)), max(0.02, min(s, self.fy - by - 0.1))
        self.dx, self.dy = float(rng.uniform(-lx, lx)), float(rng.uniform(-ly, ly))
        self.cr, self.sr = math.cos(math.radians(self.rot)), math.sin(math.radians(self.rot))
        wide = 1.04
        self.hx = hx or wide * (self.fx * self.cr + self.fy * abs(self.sr)) + abs(self.dx) + 0.3
        self.hy = hy or wide * (self.fy * self.cr + self.fx * abs(self.sr)) + abs(self.dy) + 0.3
        if self.band:
            self.hx = min(self.hx, 0.985 * self.outline["radius_mm"])
        self.half = max(math.hypot(self.fx, self.fy) + 0.3, self.hx, self.hy)
        # perspective: the pinhole's height over the piece; the aperture as the tangent of half its angle
        self.height = 1e5 if rng.random() < self.mix["camera"]["telecentric"] else float(rng.uniform(90, 260))
        self.aperture = float(rng.choice([0.0, rng.uniform(0.004, 0.035)], p=[0.4, 0.6]))
        self.focus = float(rng.normal(0, self.mix["camera"]["defocus_mm"]))

    @property
    def pose(self):
        return (math.radians(self.rot), self.dx, self.dy)

    def to_frame(self, x, y):
        return self.cr * x - self.sr * y + self.dx, self.sr * x + self.cr * y + self.dy

    def project(self, x, y, z=None, pose=None):
        """Piece mm to pixels, by the pinhole."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        z = self.base_z(x, y) if z is None else z
        a, dx, dy = pose or self.pose
        c, s = math.cos(a), math.sin(a)
        k = self.height / (self.height - z) * 1000 / self.um
        W, H = self.size
        return (W - 1) / 2 + (c * x - s * y + dx) * k, (H - 1) / 2 - (s * x + c * y + dy) * k

    def record(self, kind, x, y, r, mask=None, into=None, **more):
        """A row of truth; mask(x, y, hits) says which pixels, given their piece coordinates."""
        u, v = (float(q) for q in self.project(x, y))
        W, H = self.size
        mm = self.um / 1000
        row = {"type": kind, "x_mm": (u - (W - 1) / 2) * mm, "y_mm": ((H - 1) / 2 - v) * mm, "radius_mm": float(r)}
        row.update(more)
        row.update({"x_px": u, "y_px": v, "radius_px": float(r) / mm, "_at": (float(x), float(y)), "_mask": mask})
        (self.defects if into is None else into).append(row)
        return row

    # ------------------------------------------------------------ surface

    def _surface(self):
        rng = self.rng("surface")
        self.edge = float(rng.uniform(0.03, 0.16))
        if self.band:
            self.curv = (None, 0.0 if rng.random() < 0.5 else 1 / rng.uniform(6, 40))
        elif self.design:
            self.curv = (0.0, 0.0) if rng.random() < 0.5 else (1 / rng.uniform(40, 200),) * 2
        else:
            r = rng.uniform(18, 120)
            self.curv = (1 / r, 1 / (r * rng.uniform(0.6, 1.1))) if rng.random() < 0.85 else (0.0, 0.0)
        self.brush_az = float(rng.choice([0.0, math.pi / 2, rng.uniform(0, math.pi)]))
        w = rng.uniform(0.5, 1.6)
        self.waves.append((Noise(rng, self.half, w), Noise(rng, self.half, w), float(rng.uniform(0.001, 0.010))))
        self.alpha, slopes = M.make_finish(self.finish, rng, self.half, self.brush_az)
        self.reliefs.append((slopes, None))
        tone = np.array(METALS.get(self.metal, (0.8, 0.75, 0.7)))
        self.f0 = np.clip(tone * (1 + rng.normal(0, 0.012, 3)) * (1 + rng.normal(0, 0.02)), 0, 0.97)
        self.tone_noise = Noise(rng, self.half, 1.2)
        self.tone_amp = float(rng.uniform(0.0, 0.01))

    def base_z(self, x, y):
        cx, cy = self.curv
        z = -0.5 * cy * y * y
        if self.band:
            R = self.outline["radius_mm"]
            return z + np.sqrt(np.maximum(R * R - x * x, 1e-4)) - R
        return z - 0.5 * cx * x * x

    def tilt_to_surface(self, x, y):
        """Rotation that stands a part on the surface."""
        e = 1e-3
        n = np.array([-(self.base_z(x + e, y) - self.base_z(x - e, y)) / (2 * e),
                      -(self.base_z(x, y + e) - self.base_z(x, y - e)) / (2 * e), 1.0])
        n /= np.linalg.norm(n)
        if n[2] > 0.99999:
            return np.eye(3)
        return S.rotation_to(np.array([-n[1], n[0]]) / math.hypot(n[0], n[1]), math.degrees(math.acos(n[2])))

    def metal_sdf(self, x, y):
        d = outline_sdf(self.outline)(x, y)
        for b in self.bites:
            e = b(x, y)
            h = np.clip(0.5 + 0.5 * (d - e) / 0.06, 0, 1)
            d = d * (1 - h) + e * h - 0.06 * h * (1 - h)
        return d

    # ------------------------------------------------------------ stones and settings

    gauge = staticmethod(S.stone_gauge)
    reach = staticmethod(S.reach)

    def cap(self, name, value, share=0.35):
        """A jitter that stays well within the spec's limit."""
        up = self.limits.get(name, {}).get("upper")
        return value if up is None else min(value, share * up)

    def _stones(self):
        rng = self.rng("stones")
        gems, p = zip(*self.mix["gems"].items())
        pick = lambda: str(rng.choice(gems, p=np.array(p) / sum(p)))
        first, rest = pick(), pick() if rng.random() < 0.3 else None
        big = max([s["diameter_mm"] for s in self.design], default=0)
        self.seat = dict(hole=float(rng.uniform(0.19, 0.30)), deep=bool(rng.random() < 0.4), lift=float(rng.uniform(0.0, 0.05)), sunk=0.10, edge=1.01, bevel=0.0)
        own = self.rng("seat")
        if own.random() < self.mix["seat"]["flush"]:
            if own.random() < self.mix["seat"]["lip"]:  # the girdle lies under the metal's lip, which hides it and stays where it is when the stone is off
                edge = float(own.uniform(*self.mix["seat"]["opening"]))
                lift = -0.015 - 0.3435 * (1 - edge) - float(own.uniform(0.002, 0.02))
                sunk = float(own.uniform(0.05, 0.1))
                bevel = float(own.uniform(0, self.mix["seat"]["bevel"]))
                lift -= 0.5 * bevel
                self.seat.update(edge=edge, lift=lift, sunk=sunk - lift, bevel=bevel)
            else:
                self.seat.update(sunk=float(own.uniform(0.0, 0.06)), lift=float(own.uniform(-0.015, 0.03)), edge=float(own.uniform(0.985, 1.012)))
        self.prong_tall, self.prong_alpha = float(rng.uniform(0.75, 1.15)), float(rng.uniform(0.03, 0.09))
        self.stones, self.prongs = [], []
        j, t = self.cap("stone.offset_mm", 0.03), self.cap("stone.tilt_deg", 1.8)
        apart = self.mix["crowd_stones"]["gems"]
        own = self.rng("gems")
        cutter = self.rng("cutter")
        styles, odds = zip(*self.mix["round_cut"].items())
        style = str(cutter.choice(styles, p=np.array(odds) / sum(odds)))
        edge = self.rng("girdle")
        if edge.random() < self.mix["faceted_girdle"]:
            style += "/knife" if S.ROUND[style][-2:] == ("all", "all") and edge.random() < 0.5 else "/faceted"
        alike = float(cutter.uniform(0, 2 * math.pi)) if cutter.random() < self.mix["turned_alike"] else None
        for s in self.design:
            cut = str(s.get("cut", "round"))
            ang, off = rng.uniform(0, 2 * math.pi), min(abs(rng.normal(0, 0.012)), j)
            pr = s.get("prongs", [])
            turn = 0.0
            if S.LENGTH.get(cut, 1) > 1 and pr:
                ex = [max(q[k] for q in pr) - min(q[k] for q in pr) for k in ("x_mm", "y_mm")]
                turn = -math.pi / 2 if ex[0] > ex[1] else 0.0
                if cut == "pear":  # the prong farthest out holds the point
                    far = max(pr, key=lambda q: math.hypot(q["x_mm"] - s["x_mm"], q["y_mm"] - s["y_mm"]))
                    if (far["x_mm"] < s["x_mm"]) if turn else (far["y_mm"] < s["y_mm"]):
                        turn += math.pi
            round_one = cut not in S.LENGTH or cut == "round"
            turn += float(rng.uniform(0, 2 * math.pi)) if round_one else float(rng.normal(0, 0.015))
            if round_one and alike is not None:
                turn = alike + float(cutter.normal(0, 0.03))
            self.stones.append({
                "id": s["id"], "x": s["x_mm"] + off * math.cos(ang), "y": s["y_mm"] + off * math.sin(ang), "d": s["diameter_mm"],
                "cut": cut, "turn": turn, "nominal": (s["x_mm"], s["y_mm"]), "missing": False, "tilt": float(min(abs(rng.normal(0, 0.7)), t)),
                "tilt_az": float(rng.uniform(0, 2 * math.pi)), "chip": None, "variant": int(rng.integers(4)), "style": style if round_one else "brilliant",
                "gem": str(own.choice(gems, p=np.array(p) / sum(p))) if apart and own.random() < apart
                else first if rest is None or s["diameter_mm"] > 0.9 * big else rest, "moves": None,
                "own": 1.0, "drop": 0.0})  # its own size by its seat's, and how far it lies too deep for it
            for k, q in enumerate(pr):
                self.prongs.append({"stone": s["id"], "k": k, "x": q["x_mm"] + float(np.clip(rng.normal(0, 0.012), -0.03, 0.03)),
                                    "y": q["y_mm"] + float(np.clip(rng.normal(0, 0.012), -0.03, 0.03)),
                                    "r": q["radius_mm"] * float(rng.uniform(0.94, 1.06)), "state": "whole", "spin": float(rng.uniform(0, 6.28))})
        bare = [s for s, q in zip(self.stones, self.design) if not q.get("prongs")]
        self.setting = "prong" if self.stones and not bare else None
        self.collar = {}
        if bare:
            ys, xs = {round(s["nominal"][1], 3) for s in bare}, {round(s["nominal"][0], 3) for s in bare}
            row = len(bare) > 1 and (len(ys) == 1 or len(xs) == 1)
            sets = ["channel", "bezel", "bead"]
            self.setting = str(rng.choice(sets, p=[0.5, 0.25, 0.25] if row else ([0, 0.8, 0.2] if len(bare) < 4 else [0, 0.35, 0.65])))
            self._hold(bare, rng)

    def _hold(self, bare, rng):
        wide, high = float(rng.uniform(0.08, 0.14)), float(rng.uniform(0.05, 0.10))
        over = float(rng.uniform(0.02, 0.05))
        for s in bare:
            s["held"] = dict(wide=max(wide * s["d"], 0.06), high=high * s["d"], over=over * s["d"])
        if self.setting == "channel":
            pts = np.concatenate([S.stone_polygon({**s, "turn": 0.0 if s["cut"] != "round" else s["turn"]}, s["nominal"]) for s in bare])
            d = bare[0]["d"]
            along_x = np.ptp([s["nominal"][0] for s in bare]) >= np.ptp([s["nominal"][1] for s in bare])
            grow, cover = 0.08 * d, float(rng.uniform(0.08, 0.14)) * d
            x0, y0 = pts.min(0)
            x1, y1 = pts.max(0)
            if along_x:
                x0, x1, y0, y1 = x0 - grow, x1 + grow, y0 + cover, y1 - cover
            else:
                x0, x1, y0, y1 = x0 + cover, x1 - cover, y0 - grow, y1 + grow
            self.channel = (x0, x1, y0, y1, max(0.16, 1.6 * wide * d), high * d)
        for s in bare:
            self.collar[s["id"]] = {"bezel": s["held"]["wide"] + 0.02, "channel": 0.32 * s["d"], "bead": 0.1 * s["d"]}[self.setting]

    def free(self, x, y):
        """Distance to the next edge of open metal in piece mm (outline, stone, setting, frame)."""
        d = outline_sdf(self.outline)(x, y)
        for s in self.stones:
            g = S.stone_gauge(s, x, y, s["nominal"])
            d = np.minimum(d, (g - 1) * s["d"] / 2 - self.collar.get(s["id"], 0.0))
        for p in self.prongs:
            d = np.minimum(d, np.hypot(x - p["x"], y - p["y"]) - p["r"])
        for h in self.hallmarks:
            d = np.minimum(d, np.hypot(x - h["_at"][0], y - h["_at"][1]) - h["radius_mm"])
        X, Y = self.to_frame(x, y)
        if self.band:
            d = np.minimum(d, self.hx - np.abs(x))
        return np.minimum(d, 0.97 * np.minimum(self.fx - np.abs(X), self.fy - np.abs(Y)))

    def place(self, rng, margin, tries=8000, gap=()):
        for m in (margin, margin * 0.8, margin * 0.65):
            x, y = rng.uniform(-self.hx, self.hx, tries), rng.uniform(-self.hy, self.hy, tries)
            ok = self.free(x, y) > m
            for gx, gy, gr in gap:
                ok &= np.hypot(x - gx, y - gy) > gr
            i = np.flatnonzero(ok)
            if len(i):
                return float(x[i[0]]), float(y[i[0]])
        return None

    # ------------------------------------------------------------ meshes

    def stone_meshes(self, step=0):
        """All stones as one mesh; step: which frame of a burst."""
        out = {k: [] for k in ("v", "f", "ior", "sigma", "stone", "chip")}
        b = 0
        for i, s in enumerate(self.stones):
            if s["missing"]:
                continue
            v, f, chip = S.stone_mesh(s["cut"], s["variant"], s["chip"], s["style"])
            c, n = math.cos(s["turn"]), math.sin(s["turn"])
            v = (v * s["d"] * s["own"]) @ np.array([[c, -n, 0], [n, c, 0], [0, 0, 1]]).T
            mx, my, mt = s["moves"][step] if s["moves"] else (0.0, 0.0, 0.0)
            v = v @ S.rotation_to((math.cos(s["tilt_az"]), math.sin(s["tilt_az"])), s["tilt"] + mt).T
            v = v @ self.tilt_to_surface(*s["nominal"]).T
            x, y = s["x"] + mx, s["y"] + my
            v = v + [x, y, float(self.base_z(x, y)) + self.seat["lift"] * s["d"] - s["drop"]]
            ior, sig = S.GEMS[s["gem"]]
            out["v"].append(v)
            out["f"].append(f + b)
            out["ior"].append(np.full(len(f), ior))
            out["sigma"].append(np.repeat(np.array([sig]) / s["d"], len(f), 0))
            out["stone"].append(np.full(len(f), i))
            out["chip"].append(chip)
            b += len(v)
        return {k: np.concatenate(v) for k, v in out.items()} if b else None

    def add_part(self, kind, owner, v, f, n, color=None, alpha=None, diffuse=False):
        self.parts.append(dict(kind=kind, owner=owner, v=v, f=f, n=n, color=self.f0 if color is None else color,
                               alpha=self.prong_alpha if alpha is None else alpha, diffuse=diffuse))

    def settings(self):
        """Prongs, bezels, rails and beads as parts."""
        for i, p in enumerate(self.prongs):
            if p["state"] == "gone":
                continue
            r, tall = p["r"], self.prong_tall * p["r"]
            lean = np.eye(3)
            x, y = p["x"], p["y"]
            z = float(self.base_z(x, y)) + 0.35 * r
            if p["state"] == "short":
                tall, z = 0.45 * tall, z - p["lack"] * r
            if p["state"] == "bent":
                s = next(q for q in self.stones if q["id"] == p["stone"])
                az = math.atan2(y - s["nominal"][1], x - s["nominal"][0])
                lean = S.rotation_to((-math.sin(az), math.cos(az)), p["lean"])
                x, y = x + p["away"] * math.cos(az), y + p["away"] * math.sin(az)
            v, f, n = S.dome(r, tall, 0.5 + r)
            R = self.tilt_to_surface(x, y) @ lean
            self.add_part("prong", i, v @ R.T + [x, y, z], f, n @ R.T)
        rng = self.rng("setting")
        if self.setting == "channel":
            x0, x1, y0, y1, w, high = self.channel
            c = min(0.12, (y1 - y0) / 4)
            path = S.densified(np.array([(x1, y0 + c), (x1, y1 - c), (x1 - c, y1), (x0 + c, y1), (x0, y1 - c), (x0, y0 + c), (x0 + c, y0), (x1 - c, y0)]), 160)
            v, f, n = S.swept(path, S.rim_profile(0.0, w, 0.05 + high, -0.4))
            v[:, 2] += self.base_z(v[:, 0], v[:, 1])
            self.add_part("rail", -1, v, f, n)
        for i, s in enumerate(self.stones):
            if "held" not in s:
                continue
            h = s["held"]
            if self.setting == "bezel":
                path = S.densified(S.stone_polygon({**s}, s["nominal"]))
                top = self.seat["lift"] * s["d"] + 0.02 * s["d"] + h["high"]
                v, f, n = S.swept(path, S.rim_profile(-h["over"], h["wide"], top, -0.4))
                v[:, 2] += float(self.base_z(*s["nominal"]))
                self.add_part("bezel", i, v, f, n)
            elif self.setting == "bead":
                r = float(rng.uniform(0.085, 0.12)) * s["d"]
                p = S.stone_polygon({**s, "turn": 0.0 if s["cut"] == "round" else s["turn"]}, s["nominal"])
                for k in range(4):
                    az = math.pi / 4 + k * math.pi / 2
                    q = p[np.argmax((p - s["nominal"]) @ [math.cos(az), math.sin(az)])]
                    x, y = (q - s["nominal"]) * (1 + 0.25 * r / s["d"]) + s["nominal"] + rng.normal(0, 0.008, 2)
                    rr = r * float(rng.uniform(0.9, 1.1))
                    v, f, n = S.dome(rr, rr, 0.4)
                    self.add_part("bead", i, v + [x, y, float(self.base_z(x, y)) + 0.3 * rr], f, n)

    def part_meshes(self):
        if not self.parts:
            return None
        b, f = 0, []
        for p in self.parts:
            f.append(p["f"] + b)
            b += len(p["v"])
        per = lambda g: np.concatenate([g(p) for p in self.parts])
        return dict(v=per(lambda p: p["v"]), f=np.concatenate(f), n=per(lambda p: p["n"]),
                    color=per(lambda p: np.repeat(np.asarray(p["color"])[None], len(p["f"]), 0)),
                    alpha=per(lambda p: np.full(len(p["f"]), p["alpha"])),
                    diffuse=per(lambda p: np.full(len(p["f"]), p["diffuse"])),
                    part=np.concatenate([np.full(len(p["f"]), i) for i, p in enumerate(self.parts)]))

    def metal_mesh(self):
        return M.metal_mesh(self)
