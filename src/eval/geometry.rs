//! Where findings and true defects overlap.

use crate::dataset::fill_polygon;
use crate::report::Finding;
use crate::vision::Mask;

/// A region of a picture, kept only within its own box.
#[derive(Debug, Clone)]
pub(super) struct Patch {
    x: usize,
    y: usize,
    mask: Mask,
}

/// Whether two circles touch.
pub(super) fn circle_meets(a: [f64; 2], ra: f64, b: [f64; 2], rb: f64) -> bool {
    (a[0] - b[0]).hypot(a[1] - b[1]) <= ra + rb
}

impl Patch {
    /// A finding's outline, or its circle where it has none.
    pub fn of_finding(f: &Finding, width: usize, height: usize) -> Self {
        if f.outline_px.len() > 2 {
            return Self::of_polygons(std::slice::from_ref(&f.outline_px), width, height);
        }
        // A circle smaller than a pixel still lies on one.
        let r = f.radius_px.max(0.71);
        let mut patch = Self::boxed([f.x_px - r, f.y_px - r, f.x_px + r, f.y_px + r], width, height);
        let w = patch.mask.width;
        for (i, v) in patch.mask.data.iter_mut().enumerate() {
            let (x, y) = ((patch.x + i % w) as f64, (patch.y + i / w) as f64);
            if (x - f.x_px).hypot(y - f.y_px) <= r {
                *v = 255;
            }
        }
        patch
    }

    /// The union of polygons.
    pub fn of_polygons(polygons: &[Vec<[f64; 2]>], width: usize, height: usize) -> Self {
        let mut b = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
        for p in polygons.iter().flatten() {
            b = [b[0].min(p[0]), b[1].min(p[1]), b[2].max(p[0]), b[3].max(p[1])];
        }
        let mut patch = Self::boxed(b, width, height);
        for polygon in polygons {
            let moved: Vec<_> = polygon.iter().map(|p| [p[0] - patch.x as f64, p[1] - patch.y as f64]).collect();
            fill_polygon(&mut patch.mask, &moved);
        }
        patch
    }

    /// An empty patch over a box `[x0, y0, x1, y1]`, cut at the picture's border.
    fn boxed(b: [f64; 4], width: usize, height: usize) -> Self {
        let clip = |v: f64, end: usize| v.clamp(0.0, end as f64) as usize;
        let (x0, y0) = (clip(b[0].floor(), width), clip(b[1].floor(), height));
        let (x1, y1) = (clip(b[2].ceil() + 1.0, width), clip(b[3].ceil() + 1.0, height));
        Patch { x: x0, y: y0, mask: Mask::empty(x1.saturating_sub(x0), y1.saturating_sub(y0)) }
    }

    /// Whether the two share a pixel.
    pub fn overlaps(&self, o: &Patch) -> bool {
        let (x0, y0) = (self.x.max(o.x), self.y.max(o.y));
        let x1 = (self.x + self.mask.width).min(o.x + o.mask.width);
        let y1 = (self.y + self.mask.height).min(o.y + o.mask.height);
        (y0..y1).any(|y| (x0..x1).any(|x| self.mask.at(x - self.x, y - self.y) && o.mask.at(x - o.x, y - o.y)))
    }

    /// Sets its pixels in a mask of the whole picture.
    pub fn paint(&self, onto: &mut Mask) {
        if self.mask.width == 0 {
            return;
        }
        for (i, row) in self.mask.data.chunks_exact(self.mask.width).enumerate() {
            let start = (self.y + i) * onto.width + self.x;
            for (a, b) in onto.data[start..start + row.len()].iter_mut().zip(row) {
                *a |= *b;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polygons_meet_where_they_share_a_pixel() {
        let square = |x: f64, y: f64, s: f64| vec![vec![[x, y], [x + s, y], [x + s, y + s], [x, y + s]]];
        let patch = |p: &Vec<Vec<[f64; 2]>>| Patch::of_polygons(p, 40, 40);
        let a = patch(&square(5.0, 5.0, 6.0));
        assert!(a.overlaps(&patch(&square(10.0, 10.0, 4.0))));
        assert!(!a.overlaps(&patch(&square(20.0, 5.0, 4.0))));
        // Beyond the border nothing is left.
        assert!(!a.overlaps(&patch(&square(90.0, 90.0, 4.0))));
        let mut m = Mask::empty(40, 40);
        a.paint(&mut m);
        assert_eq!(m.count(), 49);
    }

    #[test]
    fn circles_meet() {
        assert!(circle_meets([0.0, 0.0], 2.0, [4.0, 3.0], 3.0));
        assert!(!circle_meets([0.0, 0.0], 1.9, [4.0, 3.0], 3.0));
    }
}
