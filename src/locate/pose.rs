//! From piece coordinates (mm, y up) to a frame's pixels (y down) and back.

/// Where a piece lies in a frame: piece coordinates are turned counter-clockwise, shifted, scaled and put at the
/// frame's centre.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pose {
    /// Rotation in radians, counter-clockwise with y up.
    pub rotation: f64,
    /// Shift in mm.
    pub dx_mm: f64,
    /// Shift in mm, up.
    pub dy_mm: f64,
    /// Scale in um per pixel.
    pub um_per_px: f64,
    /// The frame's centre in pixels.
    pub centre_px: [f64; 2],
}

impl Pose {
    /// The pose of a piece that lies straight in the middle of a frame.
    pub fn centred(width: usize, height: usize, um_per_px: f64) -> Self {
        Pose {
            rotation: 0.0,
            dx_mm: 0.0,
            dy_mm: 0.0,
            um_per_px,
            centre_px: [(width as f64 - 1.0) / 2.0, (height as f64 - 1.0) / 2.0],
        }
    }

    /// A point of the piece in pixels.
    pub fn to_px(&self, x_mm: f64, y_mm: f64) -> [f64; 2] {
        let (s, c) = self.rotation.sin_cos();
        let x = c * x_mm - s * y_mm + self.dx_mm;
        let y = s * x_mm + c * y_mm + self.dy_mm;
        let k = 1000.0 / self.um_per_px;
        [self.centre_px[0] + x * k, self.centre_px[1] - y * k]
    }

    /// A pixel in piece coordinates.
    pub fn to_mm(&self, x_px: f64, y_px: f64) -> [f64; 2] {
        let (s, c) = self.rotation.sin_cos();
        let k = self.um_per_px / 1000.0;
        let x = (x_px - self.centre_px[0]) * k - self.dx_mm;
        let y = -(y_px - self.centre_px[1]) * k - self.dy_mm;
        [c * x + s * y, -s * x + c * y]
    }

    /// A length in pixels.
    pub fn px(&self, mm: f64) -> f64 {
        mm * 1000.0 / self.um_per_px
    }

    /// A length in mm.
    pub fn mm(&self, px: f64) -> f64 {
        px * self.um_per_px / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let p = Pose { rotation: 0.3, dx_mm: -0.4, dy_mm: 0.7, um_per_px: 12.0, centre_px: [479.5, 359.5] };
        let [x, y] = p.to_px(1.25, -2.5);
        let [a, b] = p.to_mm(x, y);
        assert!((a - 1.25).abs() < 1e-12 && (b + 2.5).abs() < 1e-12);
    }

    #[test]
    fn up_in_the_piece_is_up_in_the_frame() {
        let p = Pose::centred(961, 721, 10.0);
        assert_eq!(p.to_px(0.0, 1.0), [480.0, 260.0]);
        let turned = Pose { rotation: std::f64::consts::FRAC_PI_2, ..p };
        let [x, y] = turned.to_px(1.0, 0.0);
        assert!((x - 480.0).abs() < 1e-9 && (y - 260.0).abs() < 1e-9);
    }
}
