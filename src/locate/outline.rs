//! The nominal outline of a view as points with normals, and as polygons for masks. Piece coordinates: mm, y up.

use crate::spec::Outline;

/// A point of an outline with its outward unit normal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EdgePoint {
    /// Place.
    pub x: f64,
    /// Place.
    pub y: f64,
    /// Outward normal.
    pub nx: f64,
    /// Outward normal.
    pub ny: f64,
}

/// A shank is looked at as far as it turns away by 58 degrees, as a share of its radius: beyond, its metal is foreshortened
/// to half, and a frame that shows all of it ends soon after, by as much as it may be shifted.
const BAND_TURN: f64 = 0.85;

/// Points along the outline about `step_mm` apart. A band is sampled over |x| <= `reach_mm`, and within [`BAND_TURN`].
pub fn edge_points(outline: &Outline, step_mm: f64, reach_mm: f64) -> Vec<EdgePoint> {
    match outline {
        Outline::Band { half_width_mm, radius_mm } => {
            let reach_mm = reach_mm.min(BAND_TURN * radius_mm);
            let n = ((2.0 * reach_mm / step_mm).ceil() as usize).max(8);
            (0..n)
                .flat_map(|i| {
                    let x = -reach_mm + 2.0 * reach_mm * (i as f64 + 0.5) / n as f64;
                    [
                        EdgePoint { x, y: *half_width_mm, nx: 0.0, ny: 1.0 },
                        EdgePoint { x, y: -half_width_mm, nx: 0.0, ny: -1.0 },
                    ]
                })
                .collect()
        }
        _ => {
            let p = polygon(outline, reach_mm);
            let n = p.len();
            let mut out = Vec::new();
            // Counter-clockwise (y up): the outward normal is the direction of travel turned right.
            let turn = if signed_area(&p) >= 0.0 { 1.0 } else { -1.0 };
            let mut carry = step_mm / 2.0;
            for i in 0..n {
                let (a, b) = (p[i], p[(i + 1) % n]);
                let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
                let len = dx.hypot(dy);
                if len == 0.0 {
                    continue;
                }
                let mut t = carry;
                while t < len {
                    out.push(EdgePoint {
                        x: a[0] + dx * t / len,
                        y: a[1] + dy * t / len,
                        nx: turn * dy / len,
                        ny: -turn * dx / len,
                    });
                    t += step_mm;
                }
                carry = t - len;
            }
            out
        }
    }
}

/// The outline as one closed polygon, dense enough that chords err by less than a micrometre. A band reaches
/// to |x| = `reach_mm`, and no farther than [`BAND_TURN`].
pub fn polygon(outline: &Outline, reach_mm: f64) -> Vec<[f64; 2]> {
    // Sagitta r (1 - cos(pi / n)) < 1 um.
    let arc = |r: f64| ((std::f64::consts::PI / (2.0 * 0.001 / r.max(0.01)).sqrt()).ceil() as usize).clamp(16, 2000);
    match outline {
        Outline::Disc { radius_mm } => ring(*radius_mm, *radius_mm, arc(*radius_mm)),
        Outline::Ellipse { rx_mm, ry_mm } => ring(*rx_mm, *ry_mm, arc(rx_mm.max(*ry_mm)) * 2),
        Outline::RoundedRect { width_mm, height_mm, corner_mm } => {
            let (hw, hh, r) = (width_mm / 2.0, height_mm / 2.0, *corner_mm);
            let n = (arc(r) / 4).max(4);
            let mut p = Vec::new();
            for (q, (sx, sy)) in [(1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, -1.0)].into_iter().enumerate() {
                for i in 0..=n {
                    let a = std::f64::consts::FRAC_PI_2 * (q as f64 + i as f64 / n as f64);
                    p.push([sx * (hw - r) + r * a.cos(), sy * (hh - r) + r * a.sin()]);
                }
            }
            p
        }
        Outline::Band { half_width_mm, radius_mm } => {
            let (r, h) = (reach_mm.min(BAND_TURN * radius_mm), *half_width_mm);
            vec![[-r, -h], [r, -h], [r, h], [-r, h]]
        }
        Outline::Polygon { points_mm } => {
            // The contract puts the origin at the outline's centre: the corners are taken as they are.
            points_mm.clone()
        }
    }
}

/// Half the diagonal of the outline's box: how far it reaches from the origin.
pub fn reach(outline: &Outline) -> f64 {
    match outline {
        Outline::Band { half_width_mm, .. } => *half_width_mm,
        _ => polygon(outline, 1.0).iter().map(|p| p[0].hypot(p[1])).fold(0.0, f64::max),
    }
}

/// How far a view's outline reaches from the origin; 0 without one.
pub fn reach_of(view: &crate::spec::View) -> f64 {
    view.outline.as_ref().map_or(0.0, reach)
}

/// Whether a turn of the outline about its centre looks like no turn.
pub fn has_no_direction(outline: &Outline) -> bool {
    match outline {
        Outline::Disc { .. } => true,
        Outline::Ellipse { rx_mm, ry_mm } => (rx_mm - ry_mm).abs() < 0.01 * rx_mm.max(*ry_mm),
        _ => false,
    }
}

fn ring(rx: f64, ry: f64, n: usize) -> Vec<[f64; 2]> {
    (0..n)
        .map(|i| {
            let a = std::f64::consts::TAU * i as f64 / n as f64;
            [rx * a.cos(), ry * a.sin()]
        })
        .collect()
}

fn signed_area(p: &[[f64; 2]]) -> f64 {
    let n = p.len();
    (0..n).map(|i| p[i][0] * p[(i + 1) % n][1] - p[(i + 1) % n][0] * p[i][1]).sum::<f64>() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normals_point_outward() {
        let shapes = [
            Outline::Disc { radius_mm: 3.0 },
            Outline::Ellipse { rx_mm: 4.0, ry_mm: 3.0 },
            Outline::RoundedRect { width_mm: 9.0, height_mm: 6.0, corner_mm: 0.8 },
            Outline::Band { half_width_mm: 1.4, radius_mm: 9.0 },
            Outline::Polygon { points_mm: vec![[-2.0, -1.0], [-2.0, 1.0], [2.0, 1.0], [2.0, -1.0]] },
        ];
        for s in &shapes {
            let p = edge_points(s, 0.05, 5.0);
            assert!(p.len() > 50, "{s:?}");
            for e in p {
                assert!(e.x * e.nx + e.y * e.ny > 0.0, "{s:?} {e:?}");
                assert!((e.nx.hypot(e.ny) - 1.0).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn a_shank_ends_where_it_turns_away() {
        let band = Outline::Band { half_width_mm: 1.4, radius_mm: 9.0 };
        let far = |reach| edge_points(&band, 0.05, reach).iter().map(|e| e.x).fold(0.0, f64::max);
        assert!((far(5.0) - 5.0).abs() < 0.05 && (far(12.0) - 7.65).abs() < 0.05);
        assert_eq!(polygon(&band, 12.0)[1][0], 0.85 * 9.0);
    }

    #[test]
    fn areas_are_the_formulas() {
        let area = |o: &Outline| signed_area(&polygon(o, 1.0)).abs();
        let pi = std::f64::consts::PI;
        assert!((area(&Outline::Disc { radius_mm: 3.85 }) / (pi * 3.85 * 3.85) - 1.0).abs() < 1e-3);
        assert!((area(&Outline::Ellipse { rx_mm: 4.7, ry_mm: 3.4 }) / (pi * 4.7 * 3.4) - 1.0).abs() < 1e-3);
        let r = Outline::RoundedRect { width_mm: 9.6, height_mm: 6.9, corner_mm: 0.8 };
        assert!((area(&r) / (9.6 * 6.9 - (4.0 - pi) * 0.64) - 1.0).abs() < 1e-3);
    }
}
