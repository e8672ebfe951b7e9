"""From linear light to an 8 bit picture: exposure, vignetting, blur, sensor, noise, JPEG."""
import math

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter, uniform_filter


def settings(rng, mix):
    """What stays the same for all frames of a piece."""
    return dict(blur_px=float(rng.uniform(*mix["camera"]["blur_px"])), vignette=float(rng.uniform(0.0, 0.10)),
                bayer=bool(rng.random() < mix["camera"]["bayer"]), electrons=float(math.exp(rng.uniform(math.log(6e3), math.log(4e4)))),
                read=float(rng.uniform(0.0005, 0.002)), grain=float(rng.uniform(0.0, 0.012)), white=(1 + rng.normal(0, 0.012, 3)).tolist(),
                sharpen=float(rng.choice([0.0, rng.uniform(0.1, 0.5)], p=[0.7, 0.3])), exposure=float(rng.normal(0, 0.12)))


def gain_for(kind, lin, metal, area, ground, cam):
    """Exposure as a station sets it: the metal in a fair range; the panel of a backlight near white."""
    lum = lin.max(-1)
    if kind == "backlight":
        want, have = 0.72, np.median(lum[~area]) if (~area).any() else ground
    elif kind == "dark_field":
        want, have = 0.55, np.percentile(lum[area], 99.3) if area.any() else 0.5
    else:
        have = np.median(lum[metal]) if metal.any() else np.median(lum)
        want = min(0.62, max(0.16, have))
        if kind == "coaxial":
            want = 0.5
    return float(want / max(have, 1e-3) * math.exp(0.6 * cam["exposure"]))


def despeckled(lin):
    """Takes single stray bright pixels (rare light paths) out; a highlight of two pixels and more stays."""
    lum = lin.max(-1)
    pad = np.pad(lum, 1, mode="edge")
    h, w = lum.shape
    near = np.sort([pad[j:j + h, i:i + w] for j in range(3) for i in range(3) if (i, j) != (1, 1)], axis=0)
    stray = lum > 1.35 * near[-2] + 0.04
    out = lin.copy()
    out[stray] *= (near[-3][stray] / lum[stray])[:, None]
    return out


def picture(lin, gain, cam, rng):
    import cv2
    lin = despeckled(np.minimum(lin * gain, 4.0))
    h, w = lin.shape[:2]
    yy, xx = np.mgrid[0:h, 0:w]
    r2 = ((xx - w / 2) ** 2 + (yy - h / 2) ** 2) / (w / 2) ** 2
    lin = lin * (1 - cam["vignette"] * r2)[..., None] * np.asarray(cam["white"])
    lin = np.stack([gaussian_filter(lin[..., c], cam["blur_px"]) for c in range(3)], -1)
    lin = lin * (1 + cam["grain"] * gaussian_filter(rng.standard_normal((h, w)), 0.6))[..., None]
    sig = np.sqrt(np.maximum(lin, 0) / cam["electrons"] + cam["read"] ** 2)
    lin = np.clip(lin + sig * rng.standard_normal(lin.shape), 0, 1)
    if cam["bayer"]:  # one colour a pixel, the rest interpolated
        raw = np.empty((h, w))
        raw[0::2, 0::2], raw[0::2, 1::2] = lin[0::2, 0::2, 0], lin[0::2, 1::2, 1]
        raw[1::2, 0::2], raw[1::2, 1::2] = lin[1::2, 0::2, 1], lin[1::2, 1::2, 2]
        lin = cv2.cvtColor((raw * 65535).astype(np.uint16), cv2.COLOR_BayerRG2BGR_EA)[..., ::-1] / 65535.0
        lin = lin[..., ::-1] if _swapped() else lin
    s = np.where(lin <= 0.0031308, 12.92 * lin, 1.055 * np.maximum(lin, 1e-9) ** (1 / 2.4) - 0.055)
    if cam["sharpen"]:
        s = s + cam["sharpen"] * (s - np.stack([gaussian_filter(s[..., c], 1.2) for c in range(3)], -1))
    return np.clip(np.round(s * 255), 0, 255).astype(np.uint8)


_swap = []


def _swapped():
    """OpenCV's names of the mosaic differ from the camera's; find out once, by a red picture."""
    if not _swap:
        import cv2
        raw = np.zeros((16, 16), np.uint16)
        raw[0::2, 0::2] = 60000
        px = cv2.cvtColor(raw, cv2.COLOR_BayerRG2BGR_EA)[..., ::-1][8, 8]
        _swap.append(px[0] < px[2])
    return _swap[0]


def contrast(img, bad, metal, all_bad):
    """How far the pixels of a defect differ from their surroundings, in grey levels, noise taken off."""
    if not bad.any():
        return 0.0
    ys, xs = np.nonzero(bad)
    m = 40
    win = np.s_[max(0, ys.min() - m):ys.max() + m, max(0, xs.min() - m):xs.max() + m]
    img, bad, metal, all_bad = img[win], bad[win], metal[win], all_bad[win]
    g = np.stack([uniform_filter(img[..., c].astype(float), 3) for c in range(3)], -1)
    sound = binary_erosion(metal, iterations=4) & ~binary_dilation(all_bad, iterations=3)
    w = gaussian_filter(sound.astype(float), 10) + 1e-6
    mid = np.stack([gaussian_filter(g[..., c] * sound, 10) / w for c in range(3)], -1)
    ring = binary_dilation(bad, iterations=14) & sound
    if not ring.any():
        return 0.0
    off = np.abs(g - mid).max(-1)
    return float(off[bad].mean() - off[ring].mean())
