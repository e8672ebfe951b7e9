"""Path tracing of a piece: GGX metal, absorbing dielectrics, diffuse dust, a light sphere of finite size.

Geometry stays in piece coordinates; the camera, the lights and the ground are moved by the pose instead,
so that several lights, poses and bursts share the meshes.
"""
import math
import os

import drjit as dr
import mitsuba as mi
import numpy as np

mi.set_variant(os.environ.get("RENDER_VARIANT", "llvm_ad_rgb"))
mi.set_log_level(mi.LogLevel.Error)
F, U, V3, C3, P2 = mi.Float, mi.UInt32, mi.Vector3f, mi.Color3f, mi.Point2f
CLAMP = 12.0  # radiance of one light path at most: keeps rare bright paths from speckling a pixel
R8 = []       # the additive sequence of Roberts for 8 dimensions
_g = 1.0
for _ in range(60):
    _g = (1 + _g) ** (1 / 9)
R8 = [(1 / _g ** (i + 1)) % 1 for i in range(8)]


def opaque(x):
    """A number the compiled kernel does not know, so that it serves every piece."""
    return dr.opaque(F, float(x))


def _mesh(name, v, f, n=None):
    props = mi.Properties()
    if n is None:
        props["face_normals"] = True
    m = mi.Mesh(name, len(v), len(f), props=props, has_vertex_normals=n is not None, has_vertex_texcoords=False)
    p = mi.traverse(m)
    p["vertex_positions"] = np.ascontiguousarray(v, np.float32).ravel()
    p["faces"] = np.ascontiguousarray(f, np.uint32).ravel()
    if n is not None:
        p["vertex_normals"] = np.ascontiguousarray(n, np.float32).ravel()
    p.update()
    return m


def unrest(total, square, n, shape):
    """Pixels whose mean of n samples is not yet known to about half a grey level, or that lie beside one."""
    from scipy.ndimage import maximum_filter, uniform_filter
    mean = total.mean(-1) / n
    var = np.maximum(square / n - mean * mean, 0) / (n - 1)
    err = np.sqrt(np.maximum(uniform_filter(np.nan_to_num(var, posinf=1.0).reshape(shape), 3), 0))
    near = uniform_filter(mean.reshape(shape), 3)
    return maximum_filter(err > 0.006 * (near + 0.06), 3).ravel()


class Light:
    """A sphere of light around the piece, and the ground below it. Seen in camera coordinates."""

    def __init__(self, image, radius, ground, ground_z, panel=None, texture=None, sample=True):
        self.tex = mi.Texture2f(mi.TensorXf(np.ascontiguousarray(image, np.float32)), wrap_mode=dr.WrapMode.Repeat)
        h, w, _ = image.shape
        self.radius, self.ground, self.ground_z = opaque(radius), [opaque(g) for g in ground], opaque(ground_z)
        self.gtex = mi.Texture2f(mi.TensorXf(np.ascontiguousarray(texture[..., None], np.float32)),
                                 wrap_mode=dr.WrapMode.Repeat)
        self.sample = sample
        if sample:  # rows weighted by the solid angle
            lum = image.mean(-1) * np.sin((np.arange(h) + 0.5) / h * math.pi)[:, None]
            lum = np.maximum(lum, 1e-4 * lum.max())
            self.dist = mi.Hierarchical2D0(np.ascontiguousarray(lum, np.float32), enable_sampling=True)

    def where(self, p, d):
        """Direction from the centre to where a ray meets the sphere."""
        b = dr.dot(p, d)
        t = -b + dr.sqrt(dr.maximum(b * b - dr.dot(p, p) + self.radius**2, 0))
        return dr.normalize(p + t * d)

    def look(self, p, d):
        q = self.where(p, d)
        uv = P2(dr.atan2(q.y, q.x) / dr.two_pi + 1, dr.safe_acos(q.z) / dr.pi)
        up = C3(self.tex.eval(uv))
        t = (self.ground_z - p.z) / dr.minimum(d.z, -1e-4)
        g = p + t * d
        low = C3(*self.ground) * self.gtex.eval(P2(g.x / 12.8, g.y / 12.8))[0]
        low &= dr.abs(t) < 1e6
        return dr.select(d.z >= 0, up, low)

    def pdf(self, p, d):
        """Density over the solid angle at p, of drawing d."""
        q = self.where(p, d)
        u = dr.atan2(q.y, q.x) / dr.two_pi
        uv = P2(dr.select(u < 0, u + 1, u), dr.safe_acos(q.z) / dr.pi)
        s = dr.safe_sqrt(1 - q.z * q.z)
        pq = self.dist.eval(uv) / (2 * dr.pi * dr.pi * dr.maximum(s, 1e-4))
        r = self.radius * q - p
        return pq * dr.squared_norm(r) / self.radius**2 / dr.maximum(dr.dot(q, d), 1e-3)

    def draw(self, p, u):
        uv, _ = self.dist.sample(u)
        st, ct = dr.sincos(uv.y * dr.pi)
        sp, cp = dr.sincos(uv.x * dr.two_pi)
        q = V3(st * cp, st * sp, ct)
        return dr.normalize(self.radius * q - p)


class View:
    """A camera above the plane z = 0: pose, scale, height of the pinhole, focus and aperture."""

    def __init__(self, size, um, pose=(0.0, 0.0, 0.0), height=1e5, focus=0.0, aperture=0.0):
        self.w, self.h = size
        self.um, self.pose, self.height, self.focus, self.aperture = um, pose, height, focus, aperture
        self.dev = [opaque(q) for q in (um / 1000, height, focus, aperture)]

    def rays(self, u, v, lens):
        """From pixel coordinates, in camera coordinates (mm)."""
        s, height, focus, aperture = self.dev
        x, y = (u - (self.w - 1) / 2) * s, ((self.h - 1) / 2 - v) * s
        k = (height - focus) / height
        tgt = V3(x * k, y * k, focus)
        top = 8.0
        kt = (height - top) / height
        o = V3(x * kt, y * kt, top)
        r = dr.sqrt(lens.x) * aperture * (top - focus)
        a = dr.two_pi * lens.y
        o = o + V3(r * dr.cos(a), r * dr.sin(a), 0)
        return o, dr.normalize(tgt - o)

    def project(self, x, y, z):
        """Piece mm to pixels."""
        x, y, z = np.asarray(x, float), np.asarray(y, float), np.asarray(z, float)
        a, dx, dy = self.pose
        c, s = math.cos(a), math.sin(a)
        X, Y = c * x - s * y + dx, s * x + c * y + dy
        k = self.height / (self.height - z)
        return (self.w - 1) / 2 + X * k * 1000 / self.um, (self.h - 1) / 2 - Y * k * 1000 / self.um


class Tracer:
    """Meshes and materials of one piece."""

    def __init__(self, metal, parts=None, stones=None, brush_az=0.0, depth=12):
        self.depth, self.brush = depth, [opaque(math.cos(brush_az)), opaque(math.sin(brush_az)), F(0)]
        self.metal = _mesh("metal", metal["v"], metal["f"], metal["n"])
        (x0, y0), (x1, y1) = metal["lo"], metal["hi"]
        self.lo, self.span = (opaque(x0), opaque(y0)), (opaque(x1 - x0), opaque(y1 - y0))
        self.skin = mi.Texture2f(mi.TensorXf(np.ascontiguousarray(metal["skin"], np.float32)), wrap_mode=dr.WrapMode.Clamp)
        self.parts = None
        if parts is not None and len(parts["f"]):
            self.parts = _mesh("parts", parts["v"], parts["f"], parts["n"])
            self.pcol = [F(np.ascontiguousarray(parts["color"][:, k], np.float32)) for k in range(3)]
            self.palpha = F(np.ascontiguousarray(parts["alpha"], np.float32))
            self.pdiff = mi.Bool(np.ascontiguousarray(parts["diffuse"], bool))
        self.set_stones(stones)

    def set_stones(self, stones):
        self.stones = None
        if stones is not None and len(stones["f"]):
            self.stones = _mesh("stones", stones["v"], stones["f"])
            self.ior = F(np.ascontiguousarray(stones["ior"], np.float32))
            self.sig = [F(np.ascontiguousarray(stones["sigma"][:, k], np.float32)) for k in range(3)]
        d = {"type": "scene", "metal": self.metal}
        if self.parts is not None:
            d["parts"] = self.parts
        if self.stones is not None:
            d["stones"] = self.stones
        self.scene = mi.load_dict(d)

    def _of(self, si, mesh):
        return (si.shape == mi.ShapePtr(mesh)) if mesh is not None else mi.Bool(False)

    def _material(self, si, active):
        """Colour, roughness and whether diffuse, of metal and parts."""
        t = self.skin.eval(P2((si.p.x - self.lo[0]) / self.span[0], (si.p.y - self.lo[1]) / self.span[1]), active)
        col, au, av, diff = C3(t[0], t[1], t[2]), F(t[3]), F(t[4]), mi.Bool(False)
        if self.parts is not None:
            on = active & self._of(si, self.parts)
            i = si.prim_index
            col = dr.select(on, C3(*[dr.gather(F, c, i, on) for c in self.pcol]), col)
            a = dr.gather(F, self.palpha, i, on)
            au, av = dr.select(on, a, au), dr.select(on, a, av)
            diff = on & dr.gather(mi.Bool, self.pdiff, i, on)
        return col, dr.maximum(au, 0.012), dr.maximum(av, 0.012), diff

    @dr.syntax
    def radiance(self, light, o, d, turn, u1, u2, v1, v2, rng, active):
        """Light along rays given in piece coordinates; turn takes piece to camera coordinates."""
        nee_on = light.sample
        depth = U(0)
        L, T = C3(0), C3(1)
        ray = mi.Ray3f(mi.Point3f(o), d)
        last_pdf = F(0)
        active = mi.Bool(active)
        while active:
            si = self.scene.ray_intersect(ray, mi.RayFlags.ShadingFrame, False, active)
            hit = si.is_valid() & active
            miss = active & ~hit
            w = F(1)
            pc, dc = turn(ray.o), turn.dir(ray.d)
            if dr.hint(nee_on, mode="scalar"):
                weigh = miss & (last_pdf > 0) & (dc.z > 0)
                if weigh:
                    pe = light.pdf(pc, dc)
                    w = last_pdf * last_pdf / (last_pdf * last_pdf + pe * pe + 1e-20)
            L[miss] += T * light.look(pc, dc) * w
            active = hit
            stone = hit & self._of(si, self.stones)
            solid = hit & ~stone
            a1, a2 = rng.next_float32(), rng.next_float32()
            a1 = dr.select(depth == 0, u1, dr.select(depth == 1, v1, a1))
            a2 = dr.select(depth == 0, u2, dr.select(depth == 1, v2, a2))
            last_pdf = F(0)
            out, weight = V3(ray.d), C3(1)
            # metal and dust
            if solid:
                col, au, av, diff = self._material(si, solid)
                n = si.sh_frame.n
                n = dr.select(dr.dot(si.n, ray.d) > 0, -n, n)
                ng = dr.select(dr.dot(si.n, ray.d) > 0, -si.n, si.n)
                t = V3(*self.brush)
                t = dr.normalize(t - n * dr.dot(n, t))
                b = dr.cross(n, t)
                wi = V3(-dr.dot(ray.d, t), -dr.dot(ray.d, b), dr.maximum(-dr.dot(ray.d, n), 0.01))
                wi = dr.normalize(wi)
                vh = dr.normalize(V3(au * wi.x, av * wi.y, wi.z))
                q = dr.maximum(vh.x * vh.x + vh.y * vh.y, 1e-12)
                t1 = V3(-vh.y, vh.x, 0) * dr.rsqrt(q)
                t2 = dr.cross(vh, t1)
                r = dr.sqrt(a1)
                sp, cp = dr.sincos(dr.two_pi * a2)
                p1, p2 = r * cp, r * sp
                s = 0.5 * (1 + vh.z)
                p2 = (1 - s) * dr.safe_sqrt(1 - p1 * p1) + s * p2
                nh = p1 * t1 + p2 * t2 + dr.safe_sqrt(1 - p1 * p1 - p2 * p2) * vh
                m = dr.normalize(V3(au * nh.x, av * nh.y, dr.maximum(nh.z, 1e-5)))
                wo = 2 * dr.dot(wi, m) * m - wi
                wo = dr.select(diff, mi.warp.square_to_cosine_hemisphere(P2(a1, a2)), wo)
                lam_i = 0.5 * (dr.sqrt(1 + ((au * wi.x) ** 2 + (av * wi.y) ** 2) / dr.maximum(wi.z * wi.z, 1e-8)) - 1)
                lam_o = 0.5 * (dr.sqrt(1 + ((au * wo.x) ** 2 + (av * wo.y) ** 2) / dr.maximum(wo.z * wo.z, 1e-8)) - 1)
                fr = col + (1 - col) * dr.maximum(1 - dr.dot(wi, m), 0) ** 5
                weight = dr.select(diff, col, fr * (1 + lam_i) / (1 + lam_i + lam_o))
                weight = C3(dr.select(wo.z > 0, weight, 0))
                if dr.hint(nee_on, mode="scalar"):
                    do = solid & (depth == 0)
                    if do:
                        dl = light.draw(turn(si.p), P2(rng.next_float32(), rng.next_float32()))
                        pl = light.pdf(turn(si.p), dl)
                        dp = turn.back(dl)
                        wl = V3(dr.dot(dp, t), dr.dot(dp, b), dr.dot(dp, n))
                        ok = (wl.z > 0) & (dl.z > 0) & (dr.dot(dp, ng) > 0)
                        ok &= ~self.scene.ray_test(si.spawn_ray(dp), False, ok)
                        h = dr.normalize(wi + wl)
                        e = (h.x / au) ** 2 + (h.y / av) ** 2 + h.z**2
                        D = 1 / (dr.pi * au * av * e * e)
                        ll = 0.5 * (dr.sqrt(1 + ((au * wl.x) ** 2 + (av * wl.y) ** 2) / dr.maximum(wl.z * wl.z, 1e-8)) - 1)
                        fl = col + (1 - col) * dr.maximum(1 - dr.dot(wi, h), 0) ** 5
                        f = dr.select(diff, col * wl.z / dr.pi, fl * D / (4 * wi.z * (1 + lam_i + ll)))
                        pb = dr.select(diff, wl.z / dr.pi, D / (4 * wi.z * (1 + lam_i)))
                        L[ok] += T * f * light.look(turn(si.p), dl) * pl / (pl * pl + pb * pb + 1e-20)
                        e2 = (m.x / au) ** 2 + (m.y / av) ** 2 + m.z**2
                        last_pdf = dr.select(diff, wo.z / dr.pi, 1 / (dr.pi * au * av * e2 * e2) / (4 * wi.z * (1 + lam_i)))
                out = V3(wo.x * t + wo.y * b + wo.z * n)
                out = V3(out - 2 * dr.minimum(dr.dot(out, ng), 0) * ng)
            # stones
            if dr.hint(self.stones is not None, mode="scalar"):
                if stone:
                    eta = dr.gather(F, self.ior, si.prim_index, stone)
                    sig = C3(*[dr.gather(F, c, si.prim_index, stone) for c in self.sig])
                    inside = stone & (dr.dot(ray.d, si.n) > 0)
                    T = dr.select(inside, T * dr.exp(-sig * si.t), T)
                    ns = dr.select(inside, -si.n, si.n)
                    ci = -dr.dot(ray.d, ns)
                    rel = dr.select(inside, eta, 1 / dr.maximum(eta, 1))
                    st2 = rel * rel * (1 - ci * ci)
                    ct = dr.safe_sqrt(1 - st2)
                    rs = (rel * ci - ct) / (rel * ci + ct)
                    rp = (ci - rel * ct) / (ci + rel * ct)
                    R = dr.select(st2 >= 1, 1, 0.5 * (rs * rs + rp * rp))
                    pr = dr.select((depth == 0) & (R < 0.5), 0.5 * R + 0.25, R)  # the mirror on top, seen more evenly
                    bounce = a1 < pr
                    T *= dr.select(bounce, R / dr.maximum(pr, 1e-6), (1 - R) / dr.maximum(1 - pr, 1e-6))
                    dd = dr.select(bounce, ray.d + 2 * ci * ns, rel * ray.d + (rel * ci - ct) * ns)
                    out = V3(dr.normalize(dd))
            T[solid] *= weight
            ray = si.spawn_ray(dr.normalize(out))
            depth += 1
            # paths in stones are long; metal darkens slowly
            top = dr.max(T)
            active &= (top > 1e-3) & (depth < self.depth)
            rr = depth > 4
            keep = dr.minimum(top, 0.95)
            active &= ~rr | (rng.next_float32() < keep)
            T[rr] /= keep
        L = C3(dr.select(dr.isfinite(L.x) & dr.isfinite(L.y) & dr.isfinite(L.z), L, 0))
        big = dr.max(L)
        return L * dr.minimum(1, CLAMP / dr.maximum(big, CLAMP))

    def render(self, light, view, spp, seed, chunk=4, first=8):
        """Linear picture, H x W x 3. After the first samples, calm pixels (bare metal, ground) get no more."""
        n = view.w * view.h
        total, square, count = np.zeros((n, 3), np.float32), np.zeros(n, np.float32), np.zeros(n, np.float32)
        turn = Turn(view.pose)
        done, todo, which = 0, n, dr.arange(U, n)
        where = np.arange(n)
        while done < spp and todo:
            if done == first:
                where = np.flatnonzero(unrest(total, square, done, (view.h, view.w)))
                todo, which = len(where), U(where.astype(np.uint32))
                if not todo:
                    break
            k = min(chunk, spp - done)
            idx = dr.arange(U, todo * k)
            pix, s = dr.gather(U, which, idx // k), idx % k + dr.opaque(U, done)
            u = [dr.fma(F(s), F(R8[i]), mi.sample_tea_float32(pix, dr.opaque(U, (seed + 7919 * i) & 0x7FFFFFFF), 4)) for i in range(8)]
            u = [x - dr.floor(x) for x in u]
            px, py = F(pix % view.w) + u[0] - 0.5, F(pix // view.w) + u[1] - 0.5
            o, d = view.rays(px, py, P2(u[2], u[3]))
            rng = mi.PCG32(size=todo * k, initstate=dr.opaque(mi.UInt64, int(seed) * 1000003 + done))
            L = self.radiance(light, turn.point_back(o), turn.back(d), turn, u[4], u[5], u[6], u[7], rng, True)
            y = dr.mean(L)
            sums = [dr.block_sum(q, k) if k > 1 else q for q in (L[0], L[1], L[2], y * y)]
            dr.eval(*sums)
            for c in range(3):
                total[where, c] += np.array(sums[c])
            square[where] += np.array(sums[3])
            count[where] += k
            done += k
        return (np.nan_to_num(total) / count[:, None]).reshape(view.h, view.w, 3)

    def first_hits(self, view):
        """What each pixel's centre shows, and what a mirror there would show; piece coordinates."""
        n = view.w * view.h
        turn = Turn(view.pose)
        idx = dr.arange(U, n)
        o, d = view.rays(F(idx % view.w), F(idx // view.w), P2(0, 0))
        ray = mi.Ray3f(mi.Point3f(turn.point_back(o)), turn.back(d))
        si = self.scene.ray_intersect(ray)
        kind = U(0)
        for k, m in ((1, self.metal), (2, self.parts), (3, self.stones)):
            kind = dr.select(si.is_valid() & self._of(si, m), U(k), kind)
        r = ray.d - 2 * dr.dot(ray.d, si.sh_frame.n) * si.sh_frame.n
        sj = self.scene.ray_intersect(si.spawn_ray(r), si.is_valid())
        mk = U(0)
        for k, m in ((1, self.metal), (2, self.parts), (3, self.stones)):
            mk = dr.select(sj.is_valid() & self._of(sj, m), U(k), mk)
        t = ray.o.z / -ray.d.z  # where nothing is hit: the plane z = 0
        p = dr.select(si.is_valid(), si.p, ray.o + t * ray.d)
        rc, pc = turn.dir(r), turn(si.p)
        sh = (view.h, view.w)
        g = lambda x: np.array(x).reshape(sh)
        return dict(kind=g(kind), prim=g(si.prim_index), x=g(p.x), y=g(p.y), z=g(p.z), mirror=g(mk),
                    rx=g(rc.x), ry=g(rc.y), rz=g(rc.z), px=g(pc.x), py=g(pc.y), nz=g(si.sh_frame.n.z))


class Turn:
    """Piece to camera coordinates: a turn about z, then a shift."""

    def __init__(self, pose):
        a, dx, dy = pose
        self.c, self.s, self.dx, self.dy = (opaque(q) for q in (math.cos(a), math.sin(a), dx, dy))

    def dir(self, d):
        return V3(self.c * d.x - self.s * d.y, self.s * d.x + self.c * d.y, d.z)

    def __call__(self, p):
        return V3(self.c * p.x - self.s * p.y + self.dx, self.s * p.x + self.c * p.y + self.dy, p.z)

    def back(self, d):
        return V3(self.c * d.x + self.s * d.y, -self.s * d.x + self.c * d.y, d.z)

    def point_back(self, p):
        return self.back(V3(p.x - self.dx, p.y - self.dy, p.z))
