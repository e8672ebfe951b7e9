//! Colour as people see it: CIE XYZ and L*a*b* for D50 and 2 degrees, CIEDE2000, the yellowness of white gold. Knows no
//! frames. How a camera's values become XYZ is fitted on a 24-patch chart ([`chart`]) and kept in a file ([`calibration`]).

pub mod calibration;
pub mod chart;

pub use calibration::Calibration;

/// White of CIE D50, 2 degrees (ICC.1:2022), Y = 100.
pub const D50: [f64; 3] = [96.422, 100.0, 82.521];
/// White of CIE illuminant C, 2 degrees (ASTM E308), Y = 100.
pub const C: [f64; 3] = [98.074, 100.0, 118.232];

/// (6 / 29)^3, where L*a*b* changes from the cube root to a line (CIE 15:2004).
const EPSILON: f64 = 216.0 / 24389.0;
/// (29 / 3)^3.
const KAPPA: f64 = 24389.0 / 27.0;

/// The function of L*a*b* and its slope.
fn f(t: f64) -> (f64, f64) {
    if t > EPSILON {
        (t.cbrt(), 1.0 / (3.0 * t.cbrt().powi(2)))
    } else {
        ((KAPPA * t + 16.0) / 116.0, KAPPA / 116.0)
    }
}

/// L*a*b* of XYZ (Y of white 100) under D50.
pub fn lab(xyz: [f64; 3]) -> [f64; 3] {
    let [x, y, z] = [0, 1, 2].map(|i| f(xyz[i] / D50[i]).0);
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

/// XYZ (Y of white 100) under D50 of L*a*b*.
pub fn xyz(lab: [f64; 3]) -> [f64; 3] {
    let y = (lab[0] + 16.0) / 116.0;
    let back = |t: f64| if t.powi(3) > EPSILON { t.powi(3) } else { (116.0 * t - 16.0) / KAPPA };
    let [x, z] = [y + lab[1] / 500.0, y - lab[2] / 200.0];
    [D50[0] * back(x), D50[1] * back(y), D50[2] * back(z)]
}

/// How L*a*b* changes with XYZ at a place: rows L, a, b.
pub fn slopes(at: [f64; 3]) -> [[f64; 3]; 3] {
    let [x, y, z] = [0, 1, 2].map(|i| f(at[i] / D50[i]).1 / D50[i]);
    [[0.0, 116.0 * y, 0.0], [500.0 * x, -500.0 * y, 0.0], [0.0, 200.0 * y, -200.0 * z]]
}

/// CIEDE2000 with weights of 1 (CIE 142-2001; Sharma, Wu, Dalal, Color Res. Appl. 30 (2005) 21).
pub fn delta_e00(a: [f64; 3], b: [f64; 3]) -> f64 {
    let c = |p: [f64; 3]| p[1].hypot(p[2]);
    let mean7 = ((c(a) + c(b)) / 2.0).powi(7);
    let g = 0.5 * (1.0 - (mean7 / (mean7 + 25f64.powi(7))).sqrt());
    let of = |p: [f64; 3]| {
        let (a, b) = ((1.0 + g) * p[1], p[2]);
        let h = if a == 0.0 && b == 0.0 { 0.0 } else { b.atan2(a).to_degrees().rem_euclid(360.0) };
        (a.hypot(b), h)
    };
    let ((c1, h1), (c2, h2)) = (of(a), of(b));
    let grey = c1 * c2 == 0.0;
    let dh = match h2 - h1 {
        _ if grey => 0.0,
        d if d > 180.0 => d - 360.0,
        d if d < -180.0 => d + 360.0,
        d => d,
    };
    let (dl, dc) = (b[0] - a[0], c2 - c1);
    let dh = 2.0 * (c1 * c2).sqrt() * (dh / 2.0).to_radians().sin();
    let (l, c) = ((a[0] + b[0]) / 2.0, (c1 + c2) / 2.0);
    let h = match h1 + h2 {
        sum if grey => sum,
        sum if (h1 - h2).abs() <= 180.0 => sum / 2.0,
        sum if sum < 360.0 => (sum + 360.0) / 2.0,
        sum => (sum - 360.0) / 2.0,
    };
    let cos = |deg: f64| deg.to_radians().cos();
    let t = 1.0 - 0.17 * cos(h - 30.0) + 0.24 * cos(2.0 * h) + 0.32 * cos(3.0 * h + 6.0) - 0.20 * cos(4.0 * h - 63.0);
    let turn = 30.0 * (-((h - 275.0) / 25.0).powi(2)).exp();
    let c7 = c.powi(7);
    let rc = 2.0 * (c7 / (c7 + 25f64.powi(7))).sqrt();
    let l50 = (l - 50.0).powi(2);
    let sl = 1.0 + 0.015 * l50 / (20.0 + l50).sqrt();
    let (sc, sh) = (1.0 + 0.045 * c, 1.0 + 0.015 * c * t);
    let rt = -(2.0 * turn).to_radians().sin() * rc;
    let (dl, dc, dh) = (dl / sl, dc / sc, dh / sh);
    (dl * dl + dc * dc + dh * dh + rt * dc * dh).max(0.0).sqrt()
}

/// XYZ of one white seen under another (Bradford; Lindbloom's matrix, ICC.1 annex E).
pub fn adapt(xyz: [f64; 3], from: [f64; 3], to: [f64; 3]) -> [f64; 3] {
    const M: [[f64; 3]; 3] = [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]];
    const BACK: [[f64; 3]; 3] = [
        [0.986_992_9, -0.147_054_3, 0.159_962_7],
        [0.432_305_3, 0.518_360_3, 0.049_291_2],
        [-0.008_528_7, 0.040_042_8, 0.968_486_7],
    ];
    let cone = |p| times(&M, p);
    let (p, a, b) = (cone(xyz), cone(from), cone(to));
    times(&BACK, [0, 1, 2].map(|i| p[i] * b[i] / a[i]))
}

fn times(m: &[[f64; 3]; 3], p: [f64; 3]) -> [f64; 3] {
    m.map(|r| r[0] * p[0] + r[1] * p[1] + r[2] * p[2])
}

/// Yellowness by ASTM D1925 of XYZ under D50: 100 (1.28 X - 1.06 Z) / Y under illuminant C. How bright the metal is does
/// not matter.
pub fn yellowness_d1925(xyz: [f64; 3]) -> f64 {
    let [x, y, z] = adapt(xyz, D50, C);
    100.0 * (1.28 * x - 1.06 * z) / y
}

/// The grade of white gold for a yellowness by D1925 (MJSA and World Gold Council): below 19 one, to 24.5 two, to 32 three;
/// none beyond: not white.
pub fn white_gold_grade(yi: f64) -> Option<u8> {
    match yi {
        y if y < 19.0 => Some(1),
        y if y <= 24.5 => Some(2),
        y if y <= 32.0 => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All 34 pairs of table 1 of Sharma, Wu and Dalal (2005).
    const PAIRS: [[f64; 7]; 34] = [
        [50.0000, 2.6772, -79.7751, 50.0000, 0.0000, -82.7485, 2.0425],
        [50.0000, 3.1571, -77.2803, 50.0000, 0.0000, -82.7485, 2.8615],
        [50.0000, 2.8361, -74.0200, 50.0000, 0.0000, -82.7485, 3.4412],
        [50.0000, -1.3802, -84.2814, 50.0000, 0.0000, -82.7485, 1.0000],
        [50.0000, -1.1848, -84.8006, 50.0000, 0.0000, -82.7485, 1.0000],
        [50.0000, -0.9009, -85.5211, 50.0000, 0.0000, -82.7485, 1.0000],
        [50.0000, 0.0000, 0.0000, 50.0000, -1.0000, 2.0000, 2.3669],
        [50.0000, -1.0000, 2.0000, 50.0000, 0.0000, 0.0000, 2.3669],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0009, 7.1792],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0010, 7.1792],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0011, 7.2195],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0012, 7.2195],
        [50.0000, -0.0010, 2.4900, 50.0000, 0.0009, -2.4900, 4.8045],
        [50.0000, -0.0010, 2.4900, 50.0000, 0.0010, -2.4900, 4.8045],
        [50.0000, -0.0010, 2.4900, 50.0000, 0.0011, -2.4900, 4.7461],
        [50.0000, 2.5000, 0.0000, 50.0000, 0.0000, -2.5000, 4.3065],
        [50.0000, 2.5000, 0.0000, 73.0000, 25.0000, -18.0000, 27.1492],
        [50.0000, 2.5000, 0.0000, 61.0000, -5.0000, 29.0000, 22.8977],
        [50.0000, 2.5000, 0.0000, 56.0000, -27.0000, -3.0000, 31.9030],
        [50.0000, 2.5000, 0.0000, 58.0000, 24.0000, 15.0000, 19.4535],
        [50.0000, 2.5000, 0.0000, 50.0000, 3.1736, 0.5854, 1.0000],
        [50.0000, 2.5000, 0.0000, 50.0000, 3.2972, 0.0000, 1.0000],
        [50.0000, 2.5000, 0.0000, 50.0000, 1.8634, 0.5757, 1.0000],
        [50.0000, 2.5000, 0.0000, 50.0000, 3.2592, 0.3350, 1.0000],
        [60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644],
        [63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630],
        [61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731],
        [35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645],
        [22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373],
        [36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146],
        [90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441],
        [90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381],
        [6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377],
        [2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082],
    ];

    #[test]
    fn every_published_pair() {
        for p in PAIRS {
            let (a, b) = ([p[0], p[1], p[2]], [p[3], p[4], p[5]]);
            for e in [delta_e00(a, b), delta_e00(b, a)] {
                assert!((e - p[6]).abs() < 5.1e-5, "{p:?}: {e}");
            }
        }
    }

    #[test]
    fn lab_there_and_back() {
        for p in [[50.0, 20.0, -30.0], [3.0, 0.5, -0.5], [95.0, -1.0, 3.0]] {
            let q = lab(xyz(p));
            assert!((0..3).all(|i| (p[i] - q[i]).abs() < 1e-9), "{q:?}");
        }
        assert_eq!(lab(D50), [100.0, 0.0, 0.0]);
    }

    #[test]
    fn slopes_are_those_of_lab() {
        let at = xyz([40.0, 12.0, 20.0]);
        for k in 0..3 {
            let mut next = at;
            next[k] += 1e-5;
            let (a, b) = (lab(at), lab(next));
            for (i, row) in slopes(at).iter().enumerate() {
                assert!(((b[i] - a[i]) / 1e-5 - row[k]).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn a_perfect_white_has_the_yellowness_of_the_formula_and_gold_is_none() {
        // 100 (1.28 * 98.074 - 1.06 * 118.232) / 100.
        assert!((yellowness_d1925(D50) - 0.2088).abs() < 0.01, "{}", yellowness_d1925(D50));
        // Brightness does not matter.
        let metal = xyz([82.0, 1.5, 9.0]);
        assert!((yellowness_d1925(metal) - yellowness_d1925(metal.map(|v| 0.3 * v))).abs() < 1e-9);
        assert_eq!(white_gold_grade(yellowness_d1925(xyz([85.0, 5.0, 30.0]))), None);
        assert_eq!([18.9, 19.0, 24.5, 32.0].map(white_gold_grade), [Some(1), Some(2), Some(2), Some(3)]);
    }
}
