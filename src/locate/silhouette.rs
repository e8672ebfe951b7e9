//! The opening and the outside of a ring against a backlight, to a fraction of a pixel: a coarse search for the opening, edges
//! along the normals of an ellipse, and a robust fit of it. Knows pixels only; millimetres and sizes are the inspector's.

use super::edges::robust_fit;
use crate::calibrate::Distortion;
use crate::vision::{ops, Image, Mask, Plane, VisionError};

/// Exponent that a camera's or a file's gamma is taken to have: that of the display standards (IEC 61966-2-1, sRGB, is within 0.1
/// of it over the levels of an edge).
pub const GAMMA: f64 = 2.2;
/// What an edge's place may be off by a response that is not quite the assumed one, in blurs, one standard deviation: an exponent
/// off by 0.1 moves the half level by 0.03 blurs, and so does a departure from the straight line by 1 %; taken as half widths of
/// even distributions.
const RESPONSE_U: f64 = 0.017;
/// The same of an overexposed backlight: the true level may be up to twice full scale, which moves the half level by 0.67 blurs, and a clipped
/// edge does not tell the response: on simulated rings both together move it by up to 1.2 blurs, taken as the half width of an even distribution.
const SATURATED_U: f64 = 0.69;
/// Of a normal edge whose lowest part c of the step is cut off, the half level moves by 1.253 c blurs and the skew (see [`skew_of`]) is 1.909 c.
const CLIPPED_BLACK: f64 = 1.253 / 1.909;
/// What interpolation and the pixels' own shape add, in pixels, one standard deviation.
const PIXEL_U: f64 = 0.01;
/// By how much good optics may skew an edge, in blurs: below, a skew tells nothing of the camera's response.
const SKEW_FLOOR: f64 = 0.002;
/// Least share of a boundary's directions that must show it.
const LEAST_SEEN: f64 = 0.6;
/// Longest side of the picture that the opening is searched on, in pixels.
const COARSE_SIDE: usize = 700;
/// The step of the profiles across an edge, in pixels.
const STEP: f64 = 0.5;
/// Rounds of taking profiles and fitting the ellipse: each brings it a tenth nearer or better.
const ROUNDS: usize = 5;

/// Why no ring can be measured.
#[derive(Debug, thiserror::Error)]
pub enum SilhouetteError {
    /// Nothing dark against something bright.
    #[error("no silhouette is seen against the backlight")]
    Nothing,
    /// A silhouette without an opening that touches the frame's border.
    #[error("the ring is not whole in the frame: no closed opening is seen")]
    CutOff,
    /// A silhouette without an opening.
    #[error("the silhouette has no opening as wide as a finger within a closed shank: it is open, parted or as thin as a hair, or this is no ring")]
    NoOpening,
    /// Too little of the boundary shows an edge that fits an ellipse.
    #[error(
        "only {seen_pct:.0} % of the {which} boundary shows an edge that fits an ellipse (at least 60 % are needed)"
    )]
    Ragged {
        /// inner or outer.
        which: &'static str,
        /// Share of directions.
        seen_pct: f64,
    },
    /// The outside is not seen all round.
    #[error("the ring's outside leaves the frame or comes within {within} pixels of its border, or the light beyond it is less than half of that in its opening")]
    OutsideCut {
        /// How much ground must be seen beyond the metal, in pixels.
        within: usize,
    },
    /// OpenCV refused an operation.
    #[error(transparent)]
    Vision(#[from] VisionError),
}

/// Fibres and dust on the backlight up to twice this width are looked through: a textile fibre is 10 to 40 um wide, lint of
/// polishing wheels up to 0.15 mm; the thinnest shank is several times that.
const HAIR_MM: f64 = 0.08;

/// The same in pixels of a frame of that scale.
pub fn hair_px(mm_per_px: f64) -> f64 {
    (HAIR_MM / mm_per_px).max(1.0)
}

/// One closed boundary of a silhouette: an ellipse, the further even waves that stand out, and how well they are known. Lengths
/// are pixels.
#[derive(Debug, Clone)]
pub struct Boundary {
    /// Centre.
    pub centre: [f64; 2],
    /// The ellipse: centre + map (cos t, sin t).
    map: [[f64; 2]; 2],
    /// Waves four and six of the radius that stand out of the noise: cosine and sine.
    waves: [[f64; 2]; 2],
    /// Finer even waves that do, of an opening that has facets or lobes all round: how many to a turn, cosine and sine.
    facets: Vec<(f64, [f64; 2])>,
    /// Radius of the least-squares circle.
    pub radius: f64,
    /// Its standard uncertainty by the edge's noise alone.
    pub radius_u: f64,
    /// Standard uncertainty of the amplitude of one wave of the radius, by the edge's noise.
    pub wave_u: f64,
    /// Standard uncertainty of the edge's place that all directions share: the camera's response, exposure, pixels.
    pub edge_u: f64,
    /// Standard deviation of the blur.
    pub blur: f64,
    /// Share of the directions that show the edge where the fit has it.
    pub seen: f64,
    /// How far the two rims of a tube that lies tilted are seen apart; none where nothing speaks for it.
    pub tilt: Option<f64>,
    /// How deep the boundary's largest local departure from the fit is, over an arc that no fibre crosses: a dent, a burr, or dirt.
    /// 0 where it follows the fit all round, but for openings.
    pub local: f64,
    /// Share of the directions that depart so.
    pub local_share: f64,
    /// How far outside the fit the boundary runs where it departs so, 0 elsewhere: evenly spaced directions; empty where it nowhere does.
    departs: Vec<f32>,
    skew: f64,
    skew_u: f64,
    noise: [f64; 2],
    levels: [f64; 2],
}

/// A ring's silhouette.
#[derive(Debug)]
pub struct Silhouette {
    /// The opening.
    pub inner: Boundary,
    /// The outside, or why it was not measured.
    pub outer: Result<Boundary, SilhouetteError>,
    /// The exponent that the picture's levels were raised to; none where the picture does not tell, and the middle was taken.
    pub gamma: Option<f64>,
    /// Whether the backlight is overexposed.
    pub saturated: bool,
    /// Whether the ring's outside is seen in no direction.
    pub endless: bool,
    /// Further pieces in the frame: openings and dark parts of a quarter of the ring's size and more.
    pub others: usize,
    /// The largest hole through the shank besides its opening: the diameter of a circle as large, in pixels.
    pub pierced: Option<f64>,
    /// Where light shines through the shank from its opening to its outside, in pixels: a crack.
    pub crack: Option<[f64; 2]>,
}

impl Silhouette {
    /// The same, where the response's exponent is only known to `u` and the radii of the inner and the outer boundary change so much with it.
    fn unsure(mut self, inner: f64, outer: f64, u: f64) -> Self {
        self.inner.edge_u = self.inner.edge_u.hypot(inner * u);
        if let Ok(b) = &mut self.outer {
            b.edge_u = b.edge_u.hypot(outer * u);
        }
        self
    }
}

impl Boundary {
    /// By how much the skew may be off that is not the response's: its noise, and good optics.
    fn skew_floor(&self) -> f64 {
        self.skew_u.hypot(SKEW_FLOOR * self.blur)
    }

    /// The skew, in its deviations.
    fn skewed(&self) -> f64 {
        self.skew.abs() / self.skew_floor()
    }

    /// What a skew that is not the response's may have moved the edge by. A glare of share h and width w beside the edge moves it by h w and adds
    /// h (1 - h) w^2 to the square of its blur: seen in the skew where it is wide, in the blur, beside that of the sharper edge, where it is thin (a pixel).
    fn by_skew(&self, sharpest: f64) -> f64 {
        if self.skewed() > SKEWED {
            (CLIPPED_BLACK * self.skew.abs())
                .hypot((self.blur * self.blur - sharpest * sharpest).clamp(0.0, THIN_GLARE))
        } else {
            0.0
        }
    }

    /// Half axes, the larger first.
    fn axes(&self) -> [f64; 2] {
        let [[a, b], [c, d]] = self.map;
        let (p, q) = ((a + d).hypot(c - b) / 2.0, (a - d).hypot(b + c) / 2.0);
        [p + q, (p - q).abs()]
    }

    /// Largest and smallest diameter. The noise's share of the two-fold wave is taken off: an amplitude is never negative, so noise
    /// alone would make every circle oval (the square of the amplitude exceeds the true one by twice the variance on average).
    pub fn diameters(&self) -> [f64; 2] {
        self.extremes(|_| 0.0)
    }

    /// The same with the local departures: two dents that face each other add up.
    pub fn diameters_with_departures(&self) -> [f64; 2] {
        self.extremes(|t| self.departure(t))
    }

    fn extremes(&self, more: impl Fn(f64) -> f64) -> [f64; 2] {
        let [major, minor] = self.axes();
        let seen = (major - minor) / 2.0;
        let wave = (seen * seen - 2.0 * self.wave_u * self.wave_u).max(0.0).sqrt();
        let turn = self.turn();
        let mut out = [f64::MIN, f64::MAX];
        for k in 0..360 {
            let t = std::f64::consts::PI * f64::from(k) / 360.0;
            let r = self.radius + wave * (2.0 * (t - turn)).cos();
            let further = self.further(t) + self.further(t + std::f64::consts::PI);
            let d = 2.0 * r + further + more(t) + more(t + std::f64::consts::PI);
            out = [out[0].max(d), out[1].min(d)];
        }
        out
    }

    /// How far outside the fit the boundary runs in a direction, where it departs over a stretch.
    fn departure(&self, t: f64) -> f64 {
        let n = self.departs.len();
        if n == 0 {
            return 0.0;
        }
        let k = (t / std::f64::consts::TAU).rem_euclid(1.0) * n as f64;
        f64::from(self.departs[k.round() as usize % n])
    }

    /// How deep the boundary of an outside runs within the fit where it departs over a stretch, in pixels: metal that is not there. What sticks out may be a head.
    pub fn hollow(&self) -> f64 {
        self.departs.iter().map(|d| f64::from(-d)).fold(0.0, f64::max)
    }

    /// What the further waves add to the radius in a direction.
    fn further(&self, t: f64) -> f64 {
        let finer = self.facets.iter().map(|(m, w)| (w, *m));
        let all = self.waves.iter().zip([4.0, 6.0]).chain(finer);
        all.map(|(w, m)| w[0] * (m * t).cos() + w[1] * (m * t).sin()).sum()
    }

    /// How many lobes an opening has that changes no diameter by them, and their largest amplitude in pixels; none where it has none.
    pub fn lobes(&self) -> Option<(usize, f64)> {
        let odd = self.facets.iter().filter(|(m, _)| *m as usize % 2 == 1);
        odd.map(|(m, w)| (*m as usize, w[0].hypot(w[1]))).max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The fit with its further waves.
    fn waved(&self, t: f64) -> [f64; 2] {
        let by = self.further(t);
        let (p, n) = (self.at(t), self.normal(t));
        [p[0] + by * n[0], p[1] + by * n[1]]
    }

    /// The least and the largest thickness of the metal between this opening and an outside along the opening's radius, each with the place
    /// of its middle. What is missing over a stretch of either edge counts for the least; what sticks out may be a head, and counts
    /// for none.
    pub fn thickness(&self, outside: &Boundary) -> [(f64, [f64; 2]); 2] {
        let mut out = [(f64::MAX, self.centre), (f64::MIN, self.centre)];
        for k in 0..720 {
            let t = std::f64::consts::TAU * f64::from(k) / 720.0;
            let p = outside.waved(t);
            let (dx, dy) = (p[0] - self.centre[0], p[1] - self.centre[1]);
            let far = dx.hypot(dy).max(1e-9);
            // The map hardly turns: the parameter is the direction to the second order of how oval the opening is.
            let own = dy.atan2(dx);
            let q = self.waved(own);
            let near = (q[0] - self.centre[0]).hypot(q[1] - self.centre[1]);
            let missing = (-outside.departure(t)).max(0.0) + self.departure(own).max(0.0);
            let at = |r: f64| [self.centre[0] + r * dx / far, self.centre[1] + r * dy / far];
            let place = at((near + far) / 2.0);
            if far - near - missing < out[0].0 {
                out[0] = (far - near - missing, place);
            }
            if far - near > out[1].0 {
                out[1] = (far - near, place);
            }
        }
        out
    }

    /// The level of the metal over that of the backlight beside it.
    pub fn darkness(&self) -> f64 {
        self.levels[1] / self.levels[0].max(1e-9)
    }

    /// Direction of the larger half axis in radians (y down).
    fn turn(&self) -> f64 {
        let [[a, b], [c, d]] = self.map;
        // map * map^T has the axes as eigenvectors.
        let (xx, xy, yy) = (a * a + b * b, a * c + b * d, c * c + d * d);
        0.5 * (2.0 * xy).atan2(xx - yy)
    }

    fn at(&self, t: f64) -> [f64; 2] {
        let (s, c) = t.sin_cos();
        [
            self.centre[0] + self.map[0][0] * c + self.map[0][1] * s,
            self.centre[1] + self.map[1][0] * c + self.map[1][1] * s,
        ]
    }

    /// Outward unit normal at a parameter.
    fn normal(&self, t: f64) -> [f64; 2] {
        let (s, c) = t.sin_cos();
        let tangent = [-self.map[0][0] * s + self.map[0][1] * c, -self.map[1][0] * s + self.map[1][1] * c];
        let length = tangent[0].hypot(tangent[1]).max(1e-12);
        let n = [tangent[1] / length, -tangent[0] / length];
        let p = self.at(t);
        let out = (p[0] - self.centre[0]) * n[0] + (p[1] - self.centre[1]) * n[1];
        if out < 0.0 {
            [-n[0], -n[1]]
        } else {
            n
        }
    }

    /// The ellipse as a closed polygon.
    pub fn polygon(&self, corners: usize) -> Vec<[f64; 2]> {
        (0..corners).map(|k| self.at(std::f64::consts::TAU * k as f64 / corners as f64)).collect()
    }

    fn circle(centre: [f64; 2], radius: f64) -> Self {
        Boundary {
            centre,
            map: [[radius, 0.0], [0.0, radius]],
            waves: [[0.0; 2]; 2],
            facets: vec![],
            radius,
            radius_u: 0.0,
            wave_u: 0.0,
            edge_u: 0.0,
            blur: 2.0,
            seen: 0.0,
            tilt: None,
            local: 0.0,
            local_share: 0.0,
            departs: vec![],
            skew: 0.0,
            skew_u: f64::INFINITY,
            noise: [0.0; 2],
            levels: [1.0, 0.0],
        }
    }

    /// Moves and deforms the ellipse by what a fit of [`row`] gave.
    fn update(&mut self, [dx, dy, e, s, q]: [f64; 5]) {
        self.centre[0] += dx;
        self.centre[1] += dy;
        let k = 1.0 / self.radius;
        let by = [[1.0 + k * (e + s), k * q], [k * q, 1.0 + k * (e - s)]];
        let m = self.map;
        for (i, row) in self.map.iter_mut().enumerate() {
            for (j, v) in row.iter_mut().enumerate() {
                *v = by[i][0] * m[0][j] + by[i][1] * m[1][j];
            }
        }
        let [a, b] = self.axes();
        self.radius = (a + b) / 2.0;
    }

    /// How a point of the boundary moves along its normal with each parameter: shift in x and y, growth, and the two ways to
    /// stretch. Linear maps turn ellipses into ellipses, so no direction of the axes is needed, which a circle does not have.
    fn row(&self, t: f64, n: [f64; 2]) -> [f64; 5] {
        let p = self.at(t);
        let (x, y) = ((p[0] - self.centre[0]) / self.radius, (p[1] - self.centre[1]) / self.radius);
        [n[0], n[1], x * n[0] + y * n[1], x * n[0] - y * n[1], y * n[0] + x * n[1]]
    }
}

/// A frame as it was taken, where laying it straight moved its pixels.
#[derive(Debug)]
pub struct Bent {
    /// Its pixels.
    pub image: Image,
    /// Where each pixel of the straight frame lies in it.
    pub lens: Distortion,
}

/// A backlit frame as a ring is measured on it.
#[derive(Debug, Clone, Copy)]
pub struct Backlit<'a> {
    /// Its pixels, laid straight.
    pub image: &'a Image,
    /// As it was taken: laying it straight gave values between pixels that are no mean of light, and cut off what lay below black beside a sharp edge.
    pub bent: Option<&'a Bent>,
    /// How coarsely a JPEG keeps its brightness ([`crate::vision::decode::jpeg_step`]).
    pub jpeg_step: Option<f64>,
}

impl<'a> Backlit<'a> {
    /// A frame as it was taken, of a file that keeps every pixel.
    pub fn plain(image: &'a Image) -> Self {
        Backlit { image, bent: None, jpeg_step: None }
    }

    /// Light per pixel, 0 to 1, under a response.
    fn light(&self, gamma: f64) -> Light<'a> {
        let plane = light(self.bent.map_or(self.image, |b| &b.image), gamma);
        Light { width: plane.width, height: plane.height, plane, lens: self.bent.map(|b| &b.lens) }
    }
}

/// Light per pixel, 0 to 1, at the places of a straight frame.
struct Light<'a> {
    width: usize,
    height: usize,
    plane: Plane,
    lens: Option<&'a Distortion>,
}

impl Light<'_> {
    /// Bilinear; clamped to the frame.
    #[inline]
    fn sample(&self, x: f64, y: f64) -> f32 {
        let [x, y] = self.lens.map_or([x, y], |lens| lens.distort([x, y]));
        self.plane.sample(x, y)
    }
}

/// From this step on a JPEG wipes out the noise, and what it leaves of an edge looks like another response's: of drawn rings of gamma 2.2, from quality 90 down, it looked like 1.5 with a deviation
/// of 0.04. The quality of 94 and more of common encoders has one.
const COARSE_STEP: f64 = 2.0;

/// Finds and measures a ring's silhouette. `hair` is the half width in pixels of fibres to be looked through; `gamma` the exponent
/// of the picture's encoding where it is known (1 for a linear camera).
///
/// Where the half level of a blurred edge lies depends on the camera's response, by half a blur between a linear one and a gamma
/// of 2.2. Where it is not given it is told from the frame: noise that is stronger in the dark than in the light is a gamma's
/// doing (EMVA 1288: a linear sensor's noise never falls with the light), and the edge of a symmetric blur is symmetric under the
/// right response only; that tells other exponents too, and how sure the one that is taken is. Where neither tells, the middle is taken, with half of
/// what lies between as half width.
///
/// # Errors
/// [`SilhouetteError`]: the reason a person reads in the report.
pub fn measure(frame: &Backlit, hair: f64, gamma: Option<f64>) -> Result<Silhouette, SilhouetteError> {
    let mut told = by_response(frame, &coarse(frame.image, hair)?, gamma)?;
    let plane = frame.light(told.gamma.unwrap_or(1.0));
    told.crack = told.outer.as_ref().ok().and_then(|outer| lit_through(&plane, &told.inner, outer));
    Ok(told)
}

/// The boundaries under the response that is named or told.
fn by_response(image: &Backlit, found: &Coarse, gamma: Option<f64>) -> Result<Silhouette, SilhouetteError> {
    if let Some(g) = gamma {
        return fit(image, found, g, Some(g));
    }
    let straight = fit(image, found, 1.0, Some(1.0))?;
    let curved = fit(image, found, GAMMA, Some(GAMMA))?;
    if image.jpeg_step.is_some_and(|s| s >= COARSE_STEP) {
        return Ok(middle(straight, curved));
    }
    let (a, b) = (&straight.inner, &curved.inner);
    let (za, zb) = (a.skewed(), b.skewed());
    let even = symmetric(image, found, &straight, &curved);
    // Twenty times as likely as the other (log likelihoods of normal skews), and not unlikely itself: glare on the metal's wall skews
    // the edge under either.
    let told_by = |za: f64, zb: f64| match za * za - zb * zb {
        d if d.abs() < 2.0 * 20f64.ln() || za.min(zb) > MOST_SKEWED => None,
        d => Some(d > 0.0),
    };
    let outside = match (&straight.outer, &curved.outer) {
        (Ok(a), Ok(b)) => told_by(a.skewed(), b.skewed()),
        _ => None,
    };
    // A thin glare in the bore looks like the other response there; the outside has none.
    let by_skew = told_by(za, zb).filter(|s| outside.is_none_or(|o| o == *s));
    let [bright, dark] = a.levels.map(|v| 255.0 * v);
    let [noise_bright, noise_dark] = a.noise.map(|v| 255.0 * v);
    // Noise below the rounding to whole levels, or cut at either end, tells nothing.
    let told = noise_bright.max(noise_dark) > 0.5 && bright + 2.0 * noise_bright < 255.0 && dark > 2.0 * noise_dark;
    let by_noise = match told {
        true if noise_dark > 1.5 * noise_bright => Some(true),
        true if noise_bright > 1.2 * noise_dark => Some(false),
        _ => None,
    };
    let answer = match (by_noise, by_skew) {
        (Some(n), Some(s)) if n != s => None,
        (n, s) => n.or(s),
    };
    let exponent = even.as_ref().map(|e| (e.gamma, e.u));
    tracing::debug!(za, zb, noise_bright, noise_dark, ?by_noise, ?by_skew, ?exponent, "response");
    let per = |k: fn(&Silhouette) -> Option<f64>| match (k(&straight), k(&curved)) {
        (Some(s), Some(c)) => ((c - s) / (GAMMA - 1.0)).abs(),
        _ => 0.0,
    };
    let (inner, outer) = (per(|s| Some(s.inner.radius)), per(|s| s.outer.as_ref().ok().map(|b| b.radius)));
    // Noise that grows with the light speaks for an exponent below two only (a photon's noise goes with the root of the light), noise that falls for
    // one above one.
    let fits = |g: f64| by_noise.is_none_or(|falls| if falls { g > 1.0 } else { g < 2.0 });
    // Neither a linear camera nor one of the standard's gamma makes the edge symmetric, and another exponent does.
    // A dark edge may be symmetric under two exponents: the one that noise and edge both speak for is not given up for the other.
    let agreed = by_noise.is_some_and(|n| by_skew == Some(n) && if n { zb } else { za } < ODD);
    let is_other = |e: &Symmetric| {
        let far = [1.0, GAMMA].iter().all(|g| (e.gamma - g).abs() > 2.0 * e.u);
        fits(e.gamma) && (far || za.min(zb) > SKEWED)
    };
    let told = match (answer, even) {
        (_, Some(e)) if !agreed && is_other(&e) => {
            let as_even = [(1.0, za), (GAMMA, zb)].into_iter().filter(|(_, z)| *z < ODD);
            let between = as_even.map(|(g, _)| 0.5 * (e.gamma - g).abs()).fold(0.0, f64::max);
            fit(image, found, e.gamma, Some(e.gamma))?.unsure(inner, outer, e.u.hypot(between))
        }
        // Noise alone speaks for one of the two, and the edge against both.
        (Some(_), None) if za.min(zb) > MOST_SKEWED => middle(straight, curved),
        (Some(is_curved), e) => {
            let seen = if is_curved { curved } else { straight };
            // The skew tells how far the exponent may be from it; where it does not, what all edges share covers a tenth, and half of what lies
            // between covers an edge that is not quite symmetric.
            // Where the edge is symmetric under another one too, half of what lies between them.
            let own = if is_curved { GAMMA } else { 1.0 };
            let aside = e.as_ref().filter(|e| is_other(e)).map_or(0.0, |e| 0.5 * (e.gamma - own).abs());
            let by = e.map(|e| e.u).filter(|u| *u < TOLD).map(|u| u.hypot(aside));
            let z = if is_curved { zb } else { za };
            seen.unsure(inner, outer, by.unwrap_or(if z > ODD { HALF_GAMMA } else { 0.0 }))
        }
        (None, _) => middle(straight, curved),
    };
    // An exponent that leaves the outside skewed was told by a glare in the bore, which moves the edge far less than the wrong exponent does.
    Ok(match (&told.outer, told.gamma) {
        (Ok(b), Some(_)) if b.skewed() > SKEWED => {
            middle(fit(image, found, 1.0, Some(1.0))?, fit(image, found, GAMMA, Some(GAMMA))?)
        }
        _ => told,
    })
}

/// Most that a glare of a pixel's width adds to the square of a blur, in pixels: a quarter, where it has half of the light.
const THIN_GLARE: f64 = 0.25;

/// A skew of so many of its deviations is not the response's: glare on the metal's wall.
const MOST_SKEWED: f64 = 4.0;
/// One of so many is a clear sign, and one of so many is worth a doubt.
const ODD: f64 = 1.5;
const SKEWED: f64 = 3.0;
/// Exponents between which the one that makes the edge symmetric is looked for: those of cameras and of the display standards.
const EXPONENTS: [f64; 6] = [1.0, 1.3, 1.6, 1.9, GAMMA, 2.4];
/// From how the skew changes over this much of the exponent it is told how sure that is; where it is no surer than this, the skew tells nothing.
const ASIDE: f64 = 0.1;
const TOLD: f64 = 0.25;
/// A skew this little below zero, in its deviations, counts as none: above the right exponent it rises no farther than that.
const ZERO: f64 = 0.3;
/// Most steps towards it.
const STEPS: usize = 4;
/// What may be assumed of the exponent between a linear camera's and the standard's where nothing tells it: the standard uncertainty of an even distribution.
const HALF_GAMMA: f64 = (GAMMA - 1.0) / 2.0 / 1.732_050_807_568_877_2;

/// The exponent under which the edge is symmetric.
struct Symmetric {
    gamma: f64,
    /// Its standard uncertainty: the skew's over how the skew changes with the exponent.
    u: f64,
}

/// How the edge is skewed under an exponent, in blurs.
struct Skewed {
    gamma: f64,
    skew: f64,
    floor: f64,
    /// Glare on the wall skews one edge, the response both.
    even: bool,
}

impl Skewed {
    fn of(gamma: f64, s: &Silhouette) -> Self {
        let outer = s.outer.as_ref().map_or(0.0, Boundary::skewed);
        Skewed {
            gamma,
            skew: s.inner.skew / s.inner.blur,
            floor: s.inner.skew_floor() / s.inner.blur,
            even: s.inner.skewed() < MOST_SKEWED && outer < 2.0 * MOST_SKEWED,
        }
    }

    /// How far above what counts as zero.
    fn over(&self) -> f64 {
        self.skew + ZERO * self.floor
    }
}

/// The exponent that makes the inner edge symmetric; none where none does. Below the right one the skew is negative and rises with the exponent; it falls
/// again soon above it, so the first rise to within the noise of zero counts.
fn symmetric(image: &Backlit, found: &Coarse, straight: &Silhouette, curved: &Silhouette) -> Option<Symmetric> {
    let look = |gamma: f64| match gamma {
        1.0 => Some(Skewed::of(gamma, straight)),
        GAMMA => Some(Skewed::of(gamma, curved)),
        _ => Some(Skewed::of(gamma, &fit(image, found, gamma, None).ok()?)),
    };
    let mut seen = look(EXPONENTS[0])?;
    let mut aside = ASIDE;
    if seen.skew < -seen.floor {
        aside = -ASIDE;
        let mut low = (seen.gamma, seen.over());
        for g in &EXPONENTS[1..] {
            seen = look(*g)?;
            if seen.over() >= 0.0 {
                break;
            }
            low = (seen.gamma, seen.over());
        }
        let mut high = (seen.gamma, seen.over());
        if high.1 < 0.0 {
            return None;
        }
        for _ in 0..STEPS {
            seen = look(low.0 - low.1 * (high.0 - low.0) / (high.1 - low.1))?;
            if seen.over().abs() < 0.1 * seen.floor {
                break;
            }
            *(if seen.over() < 0.0 { &mut low } else { &mut high }) = (seen.gamma, seen.over());
        }
    }
    let slope = (look(seen.gamma + aside)?.skew - seen.skew) / aside;
    let u = seen.floor / slope;
    (seen.even && u > 0.0).then_some(Symmetric { gamma: seen.gamma, u: u.min(HALF_GAMMA) })
}

/// Between the two responses, with the half width of an even distribution as uncertainty.
fn middle(straight: Silhouette, curved: Silhouette) -> Silhouette {
    let between = |a: Boundary, b: &Boundary| {
        let half = (a.radius - b.radius) / 2.0;
        let radius = a.radius - half;
        let k = radius / a.radius;
        let edge_u = a.edge_u.hypot(b.edge_u).hypot(half.abs() / 3f64.sqrt());
        Boundary { radius, edge_u, map: a.map.map(|r| r.map(|v| k * v)), ..a }
    };
    Silhouette {
        inner: between(straight.inner, &curved.inner),
        outer: match (straight.outer, &curved.outer) {
            (Ok(a), Ok(b)) => Ok(between(a, b)),
            (Err(e), _) => Err(e),
            (Ok(a), Err(_)) => Err(SilhouetteError::Ragged { which: "outer", seen_pct: 100.0 * a.seen }),
        },
        gamma: None,
        saturated: straight.saturated,
        endless: straight.endless,
        others: straight.others,
        pierced: straight.pierced,
        crack: None,
    }
}

/// What the coarse search gives: the opening, and levels to tell dark from bright.
struct Coarse {
    centre: [f64; 2],
    radius: f64,
    dark: f64,
    hair: f64,
    others: usize,
    pierced: Option<f64>,
}

/// A dark part or an opening of this share of the ring's is another piece: a gallery's windows are smaller.
const ANOTHER: usize = 4;

impl Coarse {
    /// From how many pixels on a dark stretch is no fibre.
    fn lasting(&self) -> f64 {
        2.0 * self.hair + 3.0
    }
}

/// The largest opening of the silhouette. The backlight's fall-off is taken out by a surface of second order.
fn coarse(image: &Image, hair: f64) -> Result<Coarse, SilhouetteError> {
    let f = image.width.max(image.height).div_ceil(COARSE_SIDE).max(1);
    let small = ops::shrink(&image.mean(), f);
    let (w, h) = (small.width, small.height);
    let (split, dark, bright) = two_levels(&small);
    // A silhouette blocks the light: glare on its walls leaves it well below half.
    if !(dark < 0.6 * bright && bright - dark > 20.0) {
        return Err(SilhouetteError::Nothing);
    }
    let at = |i: usize| {
        let (x, y) = ((i % w) as f64 / w as f64 - 0.5, (i / w) as f64 / h as f64 - 0.5);
        [1.0, x, y, x * x, x * y, y * y]
    };
    let light: Vec<usize> = (0..w * h).filter(|i| f64::from(small.data[*i]) > split).collect();
    let step = (light.len() / 4000).max(1);
    let rows: Vec<([f64; 6], f64)> =
        light.iter().step_by(step).map(|i| (at(*i), f64::from(small.data[*i]))).collect();
    let (surface, ..) = robust_fit(&rows, &[0.0, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6]);
    let mut metal = Mask::empty(w, h);
    for (i, (v, p)) in metal.data.iter_mut().zip(&small.data).enumerate() {
        let level: f64 = at(i).iter().zip(&surface).map(|(a, b)| a * b).sum();
        // The surface is a guess where little light is seen.
        let level = level.clamp(0.5 * bright, 1.5 * bright);
        if f64::from(*p) < 0.5 * (level + dark) {
            *v = 255;
        }
    }
    let touches = |b: &ops::Blob| {
        let r = b.bounds;
        r.x == 0 || r.y == 0 || r.x + r.width == w || r.y + r.height == h
    };
    let solid = ops::erode(&metal, (hair / f as f64).max(0.5))?;
    let open = solid.inverse();
    let (holes, _) = ops::components(&open)?;
    let least = std::f64::consts::PI * (w.min(h) as f64 / 40.0).powi(2).max(36.0);
    let best = holes.iter().filter(|b| !touches(b) && b.area as f64 >= least).max_by_key(|b| b.area);
    let Some(best) = best else {
        let (parts, _) = ops::components(&solid)?;
        let largest = parts.iter().max_by_key(|b| b.area);
        return Err(match largest {
            None => SilhouetteError::Nothing,
            Some(b) if touches(b) => SilhouetteError::CutOff,
            Some(_) => SilhouetteError::NoOpening,
        });
    };
    let full = |v: f64| (v + 0.5) * f as f64 - 0.5;
    let (parts, _) = ops::components(&solid)?;
    let (x, y) = (best.bounds.x, best.bounds.y);
    let around = |b: &ops::Blob| {
        let r = b.bounds;
        r.x < x && r.y < y && r.x + r.width > x + best.bounds.width && r.y + r.height > y + best.bounds.height
    };
    let shank = parts.iter().filter(|b| around(b)).min_by_key(|b| b.area);
    let own = shank.map_or(0, |b| b.area);
    let openings = holes.iter().filter(|b| !touches(b) && ANOTHER * b.area >= best.area).count() - 1;
    let pieces = parts.iter().filter(|b| !touches(b) && !around(b) && ANOTHER * b.area >= own).count();
    // What is no wider than a hair across is noise or a scratch's glint; the mask was drawn in by that.
    let across = |b: &ops::Blob| 2.0 * (b.area as f64 / std::f64::consts::PI).sqrt() * f as f64;
    let within = |b: &ops::Blob| {
        shank.map(|s| s.bounds).is_some_and(|r| {
            b.x > r.x as f64 && b.y > r.y as f64 && b.x < (r.x + r.width) as f64 && b.y < (r.y + r.height) as f64
        })
    };
    let windows = holes
        .iter()
        .filter(|b| !touches(b) && b.area < best.area && within(b) && across(b) > 2.0 * hair + 2.0 * f as f64);
    let pierced = windows.max_by_key(|b| b.area).map(|b| (across(b) - 2.0 * hair).max(f as f64));
    Ok(Coarse {
        others: openings.max(pieces),
        pierced,
        centre: [full(best.x), full(best.y)],
        radius: (best.area as f64 / std::f64::consts::PI).sqrt() * f as f64,
        dark: dark / 255.0,
        hair,
    })
}

/// The grey level that parts a picture's pixels best in two (Otsu 1979), and the means of the two.
fn two_levels(p: &Plane) -> (f64, f64, f64) {
    let mut histogram = [0.0f64; 256];
    for v in &p.data {
        histogram[v.clamp(0.0, 255.0) as usize] += 1.0;
    }
    let (n, sum) = histogram.iter().enumerate().fold((0.0, 0.0), |(n, s), (k, h)| (n + h, s + k as f64 * h));
    let (mut below, mut below_sum) = (0.0, 0.0);
    let mut best = (-1.0, 0.0, 0.0, 0.0);
    for (k, h) in histogram.iter().enumerate() {
        below += h;
        below_sum += k as f64 * h;
        if below == 0.0 || below == n {
            continue;
        }
        let (lo, hi) = (below_sum / below, (sum - below_sum) / (n - below));
        let between = below * (n - below) * (hi - lo) * (hi - lo);
        if between > best.0 {
            best = (between, k as f64 + 1.0, lo, hi);
        }
    }
    (best.1, best.2, best.3)
}

/// Light per pixel, 0 to 1: the mean of the channels, each raised to the exponent.
fn light(image: &Image, gamma: f64) -> Plane {
    let table: Vec<f32> = (0..256).map(|v| (f64::from(v) / 255.0).powf(gamma) as f32).collect();
    let data = image.data.chunks_exact(3).map(|p| p.iter().map(|v| table[usize::from(*v)]).sum::<f32>() / 3.0);
    Plane { width: image.width, height: image.height, data: data.collect() }
}

fn fit(image: &Backlit, found: &Coarse, gamma: f64, named: Option<f64>) -> Result<Silhouette, SilhouetteError> {
    let plane = image.light(gamma);
    let dark = found.dark.powf(gamma);
    // A direction a degree is enough to begin with.
    let n = 360;
    let rays: Vec<Ray> =
        (0..n).map(|k| Ray::cast(&plane, found, std::f64::consts::TAU * k as f64 / n as f64, dark)).collect();
    let start = |of: &dyn Fn(&Ray) -> Option<f64>| -> Option<Boundary> {
        let seen: Vec<([f64; 2], f64)> = rays
            .iter()
            .filter_map(|r| {
                let d = of(r)?;
                Some(([found.centre[0] + d * r.cos, found.centre[1] + d * r.sin], d))
            })
            .collect();
        if seen.len() * 2 < rays.len() {
            return None;
        }
        let mut all: Vec<f32> = seen.iter().map(|s| s.1 as f32).collect();
        let mut b = Boundary::circle(found.centre, f64::from(ops::median(&mut all)));
        // The radius about the centre, which an ellipse's first two waves follow closely enough to begin with.
        for _ in 0..3 {
            let rows: Vec<([f64; 5], f64)> = seen
                .iter()
                .map(|(p, _)| {
                    let (x, y) = (p[0] - b.centre[0], p[1] - b.centre[1]);
                    let (d, t) = (x.hypot(y), y.atan2(x));
                    ([t.cos(), t.sin(), 1.0, (2.0 * t).cos(), (2.0 * t).sin()], d)
                })
                .collect();
            let (x, ..) = robust_fit(&rows, &[0.0; 5]);
            let centre = [b.centre[0] + x[0], b.centre[1] + x[1]];
            b = Boundary::circle(centre, x[2]);
            b.update([0.0, 0.0, 0.0, x[3], x[4]]);
        }
        Some(b)
    };
    let Some(inner) = start(&|r: &Ray| r.inner) else {
        let seen = rays.iter().filter(|r| r.inner.is_some()).count() as f64 / n as f64;
        return Err(SilhouetteError::Ragged { which: "inner", seen_pct: 100.0 * seen });
    };
    let mut widths: Vec<f32> =
        rays.iter().filter_map(|r| Some((r.outer.unwrap_or(r.end) - r.inner?) as f32)).collect();
    let width = f64::from(ops::median(&mut widths));
    let lasting = found.lasting();
    // A shank that the border cuts shows no outside there.
    let cut = rays.iter().filter(|r| r.inner.is_some() && r.outer.is_none()).count();
    let outer = match start(&|r: &Ray| r.outer) {
        _ if cut * 50 > n => Err(SilhouetteError::OutsideCut { within: lasting.ceil() as usize }),
        None => Err(SilhouetteError::OutsideCut { within: lasting.ceil() as usize }),
        Some(b) => refine(&plane, b, Side::Outer, width, lasting, None),
    };
    let inner = refine(&plane, inner, Side::Inner, width, lasting, outer.as_ref().ok())?;
    let saturated = inner.levels[0] > (253.5f64 / 255.0).powf(gamma);
    let endless = rays.iter().all(|r| r.inner.is_none() || r.outer.is_none());
    let mut out = Silhouette {
        inner,
        outer,
        gamma: named,
        saturated,
        endless,
        others: found.others,
        pierced: found.pierced,
        crack: None,
    };
    let sharpest = out.outer.as_ref().map_or(out.inner.blur, |b| b.blur.min(out.inner.blur));
    for b in std::iter::once(&mut out.inner).chain(out.outer.as_mut().ok()) {
        b.edge_u = (RESPONSE_U * b.blur).hypot(PIXEL_U).hypot(if saturated { SATURATED_U * b.blur } else { 0.0 });
        // Light mirrored in a polished bore lies beside the edge, and metal at the camera's end may be darker than that, so that the edge's foot is cut
        // off: both skew the edge.
        b.edge_u = b.edge_u.hypot(b.by_skew(sharpest));
        tracing::debug!(gamma, skew = b.skew, floor = b.skew_floor(), blur = b.blur, "edge");
    }
    Ok(out)
}

/// What a look outward from the opening's centre meets.
struct Ray {
    cos: f64,
    sin: f64,
    inner: Option<f64>,
    outer: Option<f64>,
    end: f64,
}

impl Ray {
    fn cast(plane: &Light, found: &Coarse, t: f64, dark: f64) -> Self {
        let (sin, cos) = t.sin_cos();
        // To the frame's border.
        let reach = |at: f64, d: f64, size: usize| {
            if d > 1e-9 {
                (size as f64 - 1.0 - at) / d
            } else if d < -1e-9 {
                -at / d
            } else {
                f64::INFINITY
            }
        };
        let end = reach(found.centre[0], cos, plane.width).min(reach(found.centre[1], sin, plane.height));
        let at = |d: f64| f64::from(plane.sample(found.centre[0] + d * cos, found.centre[1] + d * sin));
        let mut near: Vec<f32> = (0..24).map(|k| at(found.radius * (0.3 + 0.02 * f64::from(k))) as f32).collect();
        let half = 0.5 * (f64::from(ops::median(&mut near)) + dark);
        // What is dark over less than a fibre's width is a fibre or dust; a speck within the metal is looked through as well.
        let lasting = found.lasting().ceil() as usize;
        let first = (0.3 * found.radius) as usize;
        let values: Vec<bool> = (first..=end.max(0.0) as usize).map(|d| at(d as f64) < half).collect();
        let run = |from: usize, what: bool| {
            let mut k = from;
            while k < values.len() {
                if values[k] == what {
                    let length = values[k..].iter().take(lasting).take_while(|v| **v == what).count();
                    if length == lasting {
                        return Some(k);
                    }
                    k += length;
                } else {
                    k += 1;
                }
            }
            None
        };
        let inner = run(0, true);
        let outer = inner.and_then(|k| run(k, false));
        let place = |k: usize| (first + k) as f64 - 0.5;
        Ray { cos, sin, inner: inner.map(place), outer: outer.map(place), end }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Inner,
    Outer,
}

/// Profiles across the boundary, always from bright to dark, and where each has its edge.
struct Profiles {
    /// Per direction, `per` samples.
    data: Vec<f32>,
    per: usize,
    /// Edge from the boundary along the profile, in pixels.
    edges: Vec<Option<f64>>,
    bright: Vec<f64>,
    dark: Vec<f64>,
    /// How the light changes along the profile, per sample: it falls off over the frame, and its level is read beside the edge.
    slope: Vec<f64>,
    /// 1 where profiles run outward, -1 where inward.
    outward: f64,
}

/// Samples at either end of a profile that its levels are read from.
const END: usize = 6;

impl Profiles {
    fn take(plane: &Light, b: &Boundary, side: Side, reach: f64, most: usize) -> Self {
        let n = ((std::f64::consts::TAU * b.radius) as usize).clamp(256, most);
        let per = 2 * (reach / STEP) as usize + 1;
        let middle = (per / 2) as f64;
        let outward = if side == Side::Inner { 1.0 } else { -1.0 };
        let way = outward * STEP;
        let mut data = vec![0f32; n * per];
        let mut whole = vec![true; n];
        let (right, low) = ((plane.width - 1) as f64, (plane.height - 1) as f64);
        for (k, row) in data.chunks_exact_mut(per).enumerate() {
            let t = std::f64::consts::TAU * k as f64 / n as f64;
            let (p, m) = (b.at(t), b.normal(t));
            for (j, v) in row.iter_mut().enumerate() {
                let d = way * (j as f64 - middle);
                let (x, y) = (p[0] + d * m[0], p[1] + d * m[1]);
                whole[k] &= x >= 0.0 && y >= 0.0 && x <= right && y <= low;
                *v = plane.sample(x, y);
            }
        }
        // A level is the median of its neighbourhood's, so that a speck beside the edge does not move it.
        let level = |from: usize| -> Vec<f64> {
            let own: Vec<f32> =
                data.chunks_exact(per).map(|r| r[from..from + END].iter().sum::<f32>() / END as f32).collect();
            let near = |k: usize| {
                let mut near: [f32; 17] = std::array::from_fn(|j| own[(k + n + j - 8) % n]);
                f64::from(ops::median(&mut near))
            };
            (0..n).map(near).collect()
        };
        let (bright, dark) = (level(0), level(per - END));
        let slope = light_slope(plane, b, way, n, middle - (END as f64 - 1.0) / 2.0, &data, per);
        let mut contrast: Vec<f32> = bright.iter().zip(&dark).map(|(a, b)| (a - b) as f32).collect();
        let usual = f64::from(ops::median(&mut contrast));
        let half_window = ((3.0 * b.blur + 1.0) / STEP).ceil() as i64;
        let edges = (0..n)
            .map(|k| {
                let (hi, lo) = (bright[k], dark[k]);
                if !whole[k] || hi - lo < 0.5 * usual || usual <= 0.0 {
                    return None;
                }
                let share = |j: usize| (f64::from(data[k * per + j]) - lo) / (light_at(hi, slope[k], j as f64) - lo);
                // The crossing of half nearest to the boundary.
                let crossing = (1..per)
                    .filter(|j| share(j - 1) >= 0.5 && share(*j) < 0.5)
                    .min_by_key(|j| (*j as i64 - middle as i64).abs())? as i64;
                let (from, to) = (crossing - half_window, crossing + half_window);
                if from < 0 || to >= per as i64 {
                    return None;
                }
                // The area under the profile: what a symmetric blur and the pixels' noise move least.
                let area: f64 = (from..=to).map(|j| share(j as usize)).sum();
                Some(STEP * (from as f64 - middle - 0.5 + area))
            })
            .collect();
        Profiles { data, per, edges, bright, dark, slope, outward }
    }
}

/// The light's level at a sample: read about the middle of the first ones, and followed from there.
fn light_at(level: f64, slope: f64, sample: f64) -> f64 {
    level + slope * (sample - (END as f64 - 1.0) / 2.0)
}

/// How the light changes along each profile, per sample: between its bright end, `away` samples from the boundary, and three times
/// as far. It falls off smoothly over the frame, so a mean and one wave around the boundary hold it, and dust does not.
fn light_slope(plane: &Light, b: &Boundary, way: f64, n: usize, away: f64, data: &[f32], per: usize) -> Vec<f64> {
    let (right, low) = ((plane.width - 1) as f64, (plane.height - 1) as f64);
    let rows: Vec<([f64; 3], f64)> = (0..n)
        .filter_map(|k| {
            let t = std::f64::consts::TAU * k as f64 / n as f64;
            let (p, m) = (b.at(t), b.normal(t));
            let mut far = 0.0;
            for j in 0..END {
                let d = -way * (3.0 * away + j as f64 - (END as f64 - 1.0) / 2.0);
                let (x, y) = (p[0] + d * m[0], p[1] + d * m[1]);
                if !(x >= 0.0 && y >= 0.0 && x <= right && y <= low) {
                    return None;
                }
                far += f64::from(plane.sample(x, y)) / END as f64;
            }
            let near = f64::from(data[k * per..k * per + END].iter().sum::<f32>()) / END as f64;
            Some(([1.0, t.cos(), t.sin()], (near - far) / (2.0 * away)))
        })
        .collect();
    // Outside, the frame may end before.
    if rows.len() * 2 < n {
        return vec![0.0; n];
    }
    let (x, ..) = robust_fit(&rows, &[0.0; 3]);
    (0..n)
        .map(|k| {
            let (s, c) = (std::f64::consts::TAU * k as f64 / n as f64).sin_cos();
            x[0] + x[1] * c + x[2] * s
        })
        .collect()
}

/// outside: of an opening, the ring's.
fn refine(
    plane: &Light,
    mut b: Boundary,
    side: Side,
    width: f64,
    lasting: f64,
    outside: Option<&Boundary>,
) -> Result<Boundary, SilhouetteError> {
    let which = if side == Side::Inner { "inner" } else { "outer" };
    let mut last = None;
    let mut lobes = Lobes::default();
    for round in 0..ROUNDS {
        // Levels are read beyond the blur, and within the metal.
        let reach = (4.0 * b.blur + 0.5 * END as f64 + 3.0).min(0.45 * width).max(6.0);
        // The first rounds only find the ellipse; in the last ones a profile a pixel or two leaves little to gain.
        let most = if round + 2 < ROUNDS { 360 } else { 2048 };
        let profiles = Profiles::take(plane, &b, side, reach, most);
        let n = profiles.edges.len();
        let angle = |k: usize| std::f64::consts::TAU * k as f64 / n as f64;
        let rows: Vec<([f64; 5], f64)> = profiles
            .edges
            .iter()
            .enumerate()
            .filter_map(|(k, e)| {
                let t = angle(k);
                Some((b.row(t, b.normal(t)), profiles.outward * (*e)? - lobes.at(t)))
            })
            .collect();
        if rows.len() * 2 < n {
            return Err(SilhouetteError::Ragged { which, seen_pct: 100.0 * rows.len() as f64 / n as f64 });
        }
        let (x, sigma, covariance) = robust_fit(&rows, &[0.0; 5]);
        let raw: Vec<Option<f64>> = profiles
            .edges
            .iter()
            .enumerate()
            .map(|(k, e)| {
                let t = angle(k);
                let row = b.row(t, b.normal(t));
                Some(profiles.outward * (*e)? - row.iter().zip(&x).map(|(a, b)| a * b).sum::<f64>())
            })
            .collect();
        // Of lobes found just now the scatter of the fit before knows nothing.
        let before = std::mem::replace(&mut lobes, Lobes::of(&raw));
        let sigma = if before == lobes { sigma } else { lobes.scatter(&raw) };
        let about = |(k, r): (usize, &Option<f64>)| r.map(|r| r - lobes.at(angle(k)));
        let residuals: Vec<Option<f64>> =
            raw.iter().enumerate().map(about).map(|r| r.filter(|r| r.abs() < 4.685 * sigma.max(1e-6))).collect();
        b.update(x);
        if round > 0 {
            b.blur = blur_of(&profiles, &residuals).unwrap_or(b.blur);
        }
        last = Some((profiles, residuals, raw, sigma, covariance));
    }
    let Some((profiles, residuals, raw, sigma, covariance)) = last else {
        return Err(SilhouetteError::Ragged { which, seen_pct: 0.0 });
    };
    let n = residuals.len();
    let used = residuals.iter().flatten().count();
    b.seen = used as f64 / n as f64;
    if b.seen < LEAST_SEEN {
        return Err(SilhouetteError::Ragged { which, seen_pct: 100.0 * b.seen });
    }
    // Waves of what the ellipse leaves. The high ones hold nothing but noise and the pixels' pattern, correlated as they are along
    // the edge: they tell how well a low one is known.
    let wave = |m: usize| -> [f64; 2] {
        let mut sums = [0.0; 2];
        for (k, r) in residuals.iter().enumerate() {
            if let Some(r) = r {
                let (s, c) = (std::f64::consts::TAU * (m * k % n) as f64 / n as f64).sin_cos();
                sums[0] += r * c;
                sums[1] += r * s;
            }
        }
        sums.map(|v| 2.0 * v / used as f64)
    };
    let mut powers: Vec<f32> = (7..=30).map(wave).map(|w| (w[0] * w[0] + w[1] * w[1]) as f32).collect();
    // Squares of normal amplitudes are exponential: their median is 2 ln 2 variances.
    let variance = f64::from(ops::median(&mut powers)) / (2.0 * std::f64::consts::LN_2);
    let white = variance * n as f64 / 2.0;
    let unit = |i: usize| covariance[i][i] / (sigma * sigma).max(1e-18) * white;
    b.radius_u = unit(2).sqrt();
    b.wave_u = unit(3).max(unit(4)).sqrt();
    for (w, m) in b.waves.iter_mut().zip([4, 6]) {
        let seen = wave(m);
        // One in a thousand by chance.
        if seen[0] * seen[0] + seen[1] * seen[1] > 13.8 * variance {
            *w = seen;
        }
    }
    b.facets.extend(lobes.waves());
    // Finer ones come of no press and no mandrel, and pixels have a pattern: only what is plain to see.
    for m in (8..=30).step_by(2) {
        let seen = wave(m);
        let amplitude = seen[0].hypot(seen[1]);
        if amplitude * amplitude > 13.8 * variance && amplitude > FACET_PX {
            b.facets.push((m as f64, seen));
        }
    }
    if side == Side::Inner {
        b.tilt = tilt_of(&b, variance.sqrt());
    }
    (b.skew, b.skew_u) = skew_of(&profiles, &residuals);
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len().max(1) as f64;
    b.levels = [mean(&profiles.bright), mean(&profiles.dark)];
    b.noise = [noise_at(&profiles, 0), noise_at(&profiles, profiles.per - END)];
    ([b.local, b.local_share], b.departs) = departure(plane, &b, (side, outside), &raw, sigma, LONGER * lasting);
    Ok(b)
}

/// How far apart in pixels the shank is looked at for light that shines through it.
const CRACK_STEP_PX: f64 = 0.5;
/// The share of the step from metal to backlight that is light: a slit a pixel wide has as much under a blur of one and a half.
const CRACK_LIT: f64 = 0.25;
/// And so many deviations of what the metal shows.
const CRACK_SIGMAS: f64 = 6.0;

/// Where light shines through the shank, in pixels: near the opening, in the middle and near the outside, side by side. A reflex on the metal runs along it
/// and not across. Not beneath a head, whose gallery is open.
fn lit_through(plane: &Light, inner: &Boundary, outer: &Boundary) -> Option<[f64; 2]> {
    let n = ((std::f64::consts::TAU * inner.radius / CRACK_STEP_PX) as usize).max(360);
    let turn = |k: usize| std::f64::consts::TAU * k as f64 / n as f64;
    let at = |k: usize, share: f64| {
        let (p, q) = (inner.waved(turn(k)), outer.waved(turn(k)));
        [p[0] + share * (q[0] - p[0]), p[1] + share * (q[1] - p[1])]
    };
    let lit = |share: f64| -> Vec<bool> {
        let levels: Vec<f32> = (0..n).map(|k| at(k, share)).map(|p| plane.sample(p[0], p[1])).collect();
        let (metal, spread) = (ops::median(&mut levels.clone()), ops::robust_sigma(&mut levels.clone()));
        let least = (CRACK_LIT * (inner.levels[0] - f64::from(metal))).max(CRACK_SIGMAS * f64::from(spread)) as f32;
        levels.iter().map(|v| v - metal > least).collect()
    };
    let [near, middle, far] = [0.15, 0.5, 0.85].map(lit);
    // A crack may run aslant: half as far along as it is deep.
    let reach = (0.25 * (outer.radius - inner.radius).max(0.0) / CRACK_STEP_PX).ceil() as usize;
    let beside = |of: &[bool], k: usize| (0..=2 * reach).any(|j| of[(k + n + j - reach) % n]);
    (0..n)
        .filter(|k| middle[*k] && beside(&near, *k) && beside(&far, *k))
        .find(|k| outer.departure(turn(*k)) <= 0.0)
        .map(|k| at(k, 0.5))
}

/// How many times as long as what lasts a stretch of the boundary must be off the fit, so that no fibre that crosses it at an angle is
/// taken for a dent.
const LONGER: f64 = 1.5;

/// Depth in pixels of the largest departure from the fit that goes on for `arc` pixels, which share of the directions is as far off as is no
/// noise, and the departures by direction. raw: how far outside the fit each direction has its edge; where a direction has none near the fit, it is looked for.
/// A place where the light shines through the gallery of a head is none.
fn departure(
    plane: &Light,
    b: &Boundary,
    (side, outside): (Side, Option<&Boundary>),
    raw: &[Option<f64>],
    sigma: f64,
    arc: f64,
) -> ([f64; 2], Vec<f32>) {
    let n = raw.len();
    let turn = |k: usize| std::f64::consts::TAU * k as f64 / n as f64;
    let half = 0.5 * (b.levels[0] + b.levels[1]);
    let metal_outward = if side == Side::Inner { 1.0 } else { -1.0 };
    let far = |k: usize| -> f64 {
        let (p, m) = (b.at(turn(k)), b.normal(turn(k)));
        let dark = |d: f64| f64::from(plane.sample(p[0] + d * m[0], p[1] + d * m[1])) < half;
        // Dark at the fit: metal lies over it, and ends somewhere on the light's side; else the metal begins farther away.
        let way = if dark(0.0) { -metal_outward } else { metal_outward };
        let within = |d: &f64| {
            let (x, y) = (p[0] + way * d * m[0], p[1] + way * d * m[1]);
            x >= 0.0 && y >= 0.0 && x < (plane.width - 1) as f64 && y < (plane.height - 1) as f64
        };
        let steps = (1..b.radius as usize).map(|d| d as f64).take_while(within);
        steps.clone().find(|d| dark(way * d) != dark(0.0)).or_else(|| steps.last()).map_or(0.0, |d| way * d)
    };
    let off: Vec<f32> = (0..n)
        .map(|k| match raw[k] {
            Some(r) => (r - b.further(turn(k))) as f32,
            None => far(k) as f32,
        })
        .collect();
    let least = (3.0 * sigma).max(LOCAL_PX);
    let step = std::f64::consts::TAU * b.radius / n as f64;
    let long = ((arc / step).ceil() as usize).max(3);
    let (mut deepest, mut many) = (0.0f64, 0usize);
    let mut departs = vec![0f32; n];
    for run in runs(&off, least as f32) {
        let mut depths: Vec<f32> = run.iter().map(|k| off[*k].abs()).collect();
        depths.sort_by(f32::total_cmp);
        let depth = f64::from(depths[depths.len() * 9 / 10]);
        let middle = f64::from(ops::median(&mut run.iter().map(|k| off[*k]).collect::<Vec<f32>>()));
        if run.len() < long {
            // Light within the metal is no fibre: a slit. And what stands into the light farther than any fibre is wide, and ends there, is none that
            // crosses.
            let lit = middle * metal_outward > 0.0;
            let slit = lit && depth > SLIT_PX;
            let spur = !lit && (arc..0.5 * b.radius).contains(&depth);
            if !slit && !spur {
                continue;
            }
        }
        // A bent shank rises; an opening of a gallery, through which the light shines, begins at a corner, and has the head beyond it: a saw's cut
        // or a broken place begins so too, in a shank whose outside is where it should be.
        let jump = |k: usize| f64::from((off[(k + 2) % n] - off[(k + n - 1) % n]).abs()) / (3.0 * step);
        let ends = run.iter().take(3).chain(run.iter().rev().take(3));
        let heads = |o: &Boundary| run.iter().filter(|k| o.departure(turn(**k)) > 0.0).count() * 2 > run.len();
        let opening = side == Side::Inner
            && middle > 0.0
            && outside.is_none_or(heads)
            && ends.map(|k| jump(*k)).fold(0.0, f64::max) > STEEP;
        if !opening {
            deepest = deepest.max(depth);
            many += run.len();
            for (i, k) in run.iter().enumerate() {
                // A direction alone may show a speck.
                let mut near: Vec<f32> =
                    run[i.saturating_sub(2)..(i + 3).min(run.len())].iter().map(|k| off[*k]).collect();
                departs[*k] = ops::median(&mut near).clamp(-depth as f32, depth as f32);
            }
        }
    }
    if many == 0 {
        departs.clear();
    }
    ([deepest, many as f64 / n as f64], departs)
}

/// Stretches of a closed course whose values are at least so large, however signed; two that lie closer than three steps are one.
fn runs(off: &[f32], least: f32) -> Vec<Vec<usize>> {
    let n = off.len();
    let on = |k: usize| {
        (0..3).any(|j| off[(k + j) % n].abs() >= least) && (0..3).any(|j| off[(k + n - j) % n].abs() >= least)
    };
    let Some(start) = (0..n).find(|k| !on(*k)) else { return vec![(0..n).collect()] };
    let mut out: Vec<Vec<usize>> = Vec::new();
    let mut open = false;
    for k in (start..start + n).map(|k| k % n) {
        match (on(k), open, out.last_mut()) {
            (true, true, Some(run)) => run.push(k),
            (true, ..) => out.push(vec![k]),
            _ => {}
        }
        open = on(k);
    }
    out
}

/// A slit is at least so deep, in pixels: less is the edge's own roughness.
const SLIT_PX: f64 = 3.0;

/// How much deeper than long the side of an opening is at least.
const STEEP: f64 = 2.0;

/// Local departures of less, in pixels, are the pixels' own pattern and the response's.
const LOCAL_PX: f64 = 0.5;

/// The odd waves of a boundary about its ellipse, as three or five jaws leave them: they change no diameter, but how thick the metal is and what goes in.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Lobes([f64; 6]);

impl Lobes {
    const WAVES: [f64; 3] = [3.0, 5.0, 7.0];

    fn row(t: f64) -> [f64; 6] {
        let [(a, b), (c, d), (e, f)] = Self::WAVES.map(|m| (m * t).sin_cos());
        [b, a, d, c, f, e]
    }

    fn turn(k: usize, n: usize) -> f64 {
        std::f64::consts::TAU * k as f64 / n as f64
    }

    /// Those of a boundary whose edge runs so far outside the fit in each direction; waves of less than [`FACET_PX`] are the noise's.
    fn of(raw: &[Option<f64>]) -> Self {
        let n = raw.len();
        let rows: Vec<([f64; 6], f64)> =
            raw.iter().enumerate().filter_map(|(k, r)| Some((Self::row(Self::turn(k, n)), (*r)?))).collect();
        let (mut x, ..) = robust_fit(&rows, &[0.0; 6]);
        for w in x.chunks_exact_mut(2).filter(|w| w[0].hypot(w[1]) < FACET_PX) {
            w.fill(0.0);
        }
        Lobes(x)
    }

    fn at(&self, t: f64) -> f64 {
        Self::row(t).iter().zip(&self.0).map(|(a, b)| a * b).sum()
    }

    /// Standard deviation of what they leave.
    fn scatter(&self, raw: &[Option<f64>]) -> f64 {
        let off = |(k, r): (usize, &Option<f64>)| Some(((*r)? - self.at(Self::turn(k, raw.len()))).abs() as f32);
        1.4826 * f64::from(ops::median(&mut raw.iter().enumerate().filter_map(off).collect::<Vec<_>>()))
    }

    /// Each that there is: how many to a turn, and its parts along cosine and sine.
    fn waves(&self) -> impl Iterator<Item = (f64, [f64; 2])> + '_ {
        let all = Self::WAVES.into_iter().zip(self.0.chunks_exact(2).map(|w| [w[0], w[1]]));
        all.filter(|(_, w)| *w != [0.0; 2])
    }
}

/// The least amplitude of a finer wave of an opening, in pixels. Of some hundred drawn and rendered rings none that lies flat and is neither dented nor faceted has one
/// above 0.05; the eighth of tilted ones has up to 0.16.
const FACET_PX: f64 = 0.2;

/// Along the axis of a tube that lies tilted, two circles are seen, shifted against each other by d: the opening is what they share,
/// of radius R - d/2 |cos|. The waves of |cos| have fixed shares, so the fourth tells d where it has the second's phase.
fn tilt_of(b: &Boundary, u: f64) -> Option<f64> {
    use std::f64::consts::PI;
    let [major, minor] = b.axes();
    let second = (major - minor) / 2.0;
    // The direction of the smallest diameter.
    let across = b.turn() + PI / 2.0;
    let along = |w: [f64; 2], m: f64| w[0] * (m * across).cos() + w[1] * (m * across).sin();
    let fourth = along(b.waves[0], 4.0);
    let share = fourth / second.max(1e-9);
    let same_phase = fourth > 0.9 * b.waves[0][0].hypot(b.waves[0][1]);
    // Of a tube alone the share is 1/5; of one that is oval besides it is less.
    (fourth > 5.0 * u && same_phase && share > 0.05 && share < 0.4).then(|| fourth * 15.0 * PI / 2.0)
}

/// Mean profile over some directions, shifted by what the fit left, as shares of the step from dark to bright.
fn mean_profile(p: &Profiles, residuals: &[Option<f64>], part: std::ops::Range<usize>) -> Option<Vec<f64>> {
    let mut sum = vec![0.0; p.per];
    let mut n = 0.0;
    for k in part {
        // A direction off the fit shows something else than the edge.
        let (Some(r), Some(e)) = (residuals[k], p.edges[k]) else { continue };
        let (hi, lo) = (p.bright[k], p.dark[k]);
        // Where the fit has the edge: single edges carry the noise that they would be averaged over.
        let at = (e - p.outward * r) / STEP;
        let row = &p.data[k * p.per..(k + 1) * p.per];
        for (j, s) in sum.iter_mut().enumerate() {
            let x = (j as f64 + at).clamp(0.0, (p.per - 1) as f64);
            let (i, f) = (x as usize, x.fract());
            let v = f64::from(row[i]) * (1.0 - f) + f64::from(row[(i + 1).min(p.per - 1)]) * f;
            *s += (v - lo) / (light_at(hi, p.slope[k], x) - lo);
        }
        n += 1.0;
    }
    (n > 0.0).then(|| sum.into_iter().map(|v| v / n).collect())
}

/// Where a falling profile passes a level, in pixels from its first sample.
fn passes(profile: &[f64], level: f64) -> Option<f64> {
    let j = (1..profile.len()).find(|j| profile[j - 1] >= level && profile[*j] < level)?;
    Some(STEP * (j as f64 - 1.0 + (profile[j - 1] - level) / (profile[j - 1] - profile[j])))
}

fn blur_of(p: &Profiles, residuals: &[Option<f64>]) -> Option<f64> {
    let mean = mean_profile(p, residuals, 0..residuals.len())?;
    // 10 to 90 % of a normal blur are 2.563 standard deviations.
    Some(((passes(&mean, 0.1)? - passes(&mean, 0.9)?) / 2.563).clamp(0.3, 20.0))
}

/// By how much the middle between the low and the high levels lies off the half level, in pixels, and its standard uncertainty from
/// what eight sectors say.
fn skew_of(p: &Profiles, residuals: &[Option<f64>]) -> (f64, f64) {
    let n = residuals.len();
    let one = |part: std::ops::Range<usize>| -> Option<f64> {
        let mean = mean_profile(p, residuals, part)?;
        let half = passes(&mean, 0.5)?;
        let off = |l: f64| Some((passes(&mean, l)? + passes(&mean, 1.0 - l)?) / 2.0 - half);
        Some((off(0.05)? + off(0.1)? + off(0.2)?) / 3.0)
    };
    let parts: Vec<f64> = (0..8).filter_map(|s| one(s * n / 8..(s + 1) * n / 8)).collect();
    if parts.len() < 4 {
        return (0.0, f64::INFINITY);
    }
    let m = parts.len() as f64;
    let mean = parts.iter().sum::<f64>() / m;
    let variance = parts.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (m - 1.0);
    (mean, (variance / m).sqrt())
}

/// Noise of the samples at one end of the profiles: root mean square of their second differences, the largest twentieth left out.
fn noise_at(p: &Profiles, from: usize) -> f64 {
    let mut squares: Vec<f32> = p
        .data
        .chunks_exact(p.per)
        .flat_map(|r| r[from..from + END].windows(5).map(|w| (w[0] - 2.0 * w[2] + w[4]).powi(2) / 6.0))
        .collect();
    let keep = squares.len() * 19 / 20;
    if keep == 0 {
        return 0.0;
    }
    squares.select_nth_unstable_by(keep, f32::total_cmp);
    (f64::from(squares[..keep].iter().sum::<f32>()) / keep as f64).sqrt()
}
