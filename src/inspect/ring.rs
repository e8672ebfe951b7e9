//! How large is the ring: inner and outer diameter, ovality and thickness from its silhouette against a backlight, and the sizes
//! that follow from the inner diameter.

use super::stones::part;
use super::{ring_size, Answer, Feature, Inspect, Kept, Scene, Value};
use crate::locate::silhouette::{self, Backlit, Boundary, SilhouetteError};
use crate::vision::VisionError;

/// The inspector of rings.
#[derive(Debug)]
pub struct Ring;

const INNER: &str = "ring.inner_diameter_mm";
const OVALITY: &str = "ring.ovality_mm";
const OUTER: &str = "ring.outer_diameter_mm";
pub(crate) const WIDTH: &str = "ring.band_width_mm";
/// Where a width of its own is measured.
pub(crate) const PLACES: [&str; 2] = ["thinnest", "thickest"];
/// The size of ISO 8653.
pub const ISO: &str = "ring.size_iso";
const US: &str = "ring.size_us";
const JP: &str = "ring.size_jp";
const UK: &str = "ring.size_uk";

/// [`silhouette::hair_px`] where the frame has no scale.
const HAIR_PX: f64 = 4.0;
/// What one direction's edge is off by, in pixels, one standard deviation: half of what is no departure.
const ONE_EDGE_PX: f64 = 0.25;
/// A departure of an edge from here on is a person's: as much as the contour of a piece may lack by default.
const DEEP_MM: f64 = 0.1;
/// How far from level a ring lies on the plate, in degrees, one standard deviation: a burr or a speck of 0.17 mm under one side of
/// a ring of 20 mm.
const TILT_U_DEG: f64 = 0.5;

impl Inspect for Ring {
    fn name(&self) -> &'static str {
        "ring"
    }

    fn characteristics(&self) -> &'static [&'static str] {
        &[INNER, OVALITY, OUTER, WIDTH, ISO, US, JP, UK]
    }

    fn wants_silhouettes(&self) -> bool {
        true
    }

    fn inspect(&self, scene: &Scene) -> Result<Answer, VisionError> {
        let mut answer = Answer::default();
        let all = |why: &str| self.characteristics().iter().map(|c| (*c, why.to_owned())).collect();
        if scene.frame.light != "backlight" {
            answer.not_assessed = all("no backlit frame shows the ring");
            return Ok(answer);
        }
        let scale = scene.mm_per_px();
        let hair = scale.map_or(HAIR_PX, silhouette::hair_px);
        let Kept { bent, jpeg_step, .. } = scene.kept;
        let frame = Backlit { image: scene.image, bent: bent.as_ref(), jpeg_step: *jpeg_step };
        let seen = match silhouette::measure(&frame, hair, scene.frame.gamma) {
            Ok(seen) => seen,
            Err(SilhouetteError::Vision(e)) => return Err(e),
            Err(why) => {
                answer.not_assessed = all(&why.to_string());
                return Ok(answer);
            }
        };
        let loops = std::iter::once(&seen.inner).chain(seen.outer.as_ref().ok());
        answer.loops_px = loops.map(|b| b.polygon(360)).collect();
        let unclear = if seen.crack.is_some() {
            Some("light shines through the shank from the opening to the outside: it may be cracked")
        } else if seen.others > 0 {
            Some("more than one piece is in the frame, and nothing says which is meant")
        } else {
            seen.endless
                .then_some("no outside of the ring is seen: a lit disc on a dark ground looks like its opening")
        };
        if let Some(why) = unclear {
            answer.not_assessed = all(why);
            return Ok(answer);
        }
        let Some(mm) = scale else {
            answer.not_assessed = all("the frame has no um_per_px");
            return Ok(answer);
        };
        let mut values = Vec::new();
        let mut places = Vec::new();
        let mut put = |characteristic, (value, uncertainty)| {
            values.push(Value { characteristic, value, uncertainty });
        };
        let inner = &seen.inner;
        let (d, d_u) = diameter(inner, mm, scene.scale_u());
        put(INNER, (d, d_u));
        put(OVALITY, ovality(inner, mm, scene.scale_u()));
        let of_d = [
            (ISO, ring_size::iso(d, d_u), "41 to 76"),
            (US, ring_size::us(d, d_u), "0 and up"),
            (JP, ring_size::jp(d, d_u), "1 and up"),
            (UK, ring_size::uk(d, d_u), "A to Z"),
        ];
        for (c, size, range) in of_d {
            match size {
                Some(size) => put(c, size),
                None => answer.not_assessed.push((c, format!("{d:.2} mm lies outside the sizes {range}"))),
            }
        }
        match &seen.outer {
            Ok(outer) => {
                let (o, o_u) = diameter(outer, mm, scene.scale_u());
                put(OUTER, (o, o_u));
                let width = (o - d) / 2.0;
                // What the response does to one edge it does to the other, the opposite way: it adds up.
                let shared = mm * (inner.edge_u + outer.edge_u);
                let own = mm * inner.radius_u.hypot(outer.radius_u);
                // As in a diameter: half of what the departures would move the mean by, twice over, is U.
                let local = [inner, outer].map(|b| mm * b.local * b.local_share / 2.0);
                let local = local[0].hypot(local[1]);
                put(WIDTH, (width, shared.hypot(own).hypot(local).hypot(scene.scale_u() * width)));
                // A limit holds all round: the thin place of a shank that was filed, or whose opening is off its middle, is a value of its own.
                let waves = 2.0 * mm * inner.wave_u.hypot(outer.wave_u);
                for (name, (w, at)) in PLACES.into_iter().zip(inner.thickness(outer)) {
                    let value = w * mm;
                    let edge = mm * ONE_EDGE_PX;
                    let u = shared.hypot(own).hypot(waves).hypot(edge).hypot(scene.scale_u() * value);
                    if (value - width).abs() > 2.0 * u {
                        places.push((
                            name,
                            at,
                            Value { characteristic: WIDTH, value: value.max(0.0), uncertainty: u },
                        ));
                    }
                }
            }
            Err(why) => answer.not_assessed.extend([OUTER, WIDTH].map(|c| (c, why.to_string()))),
        }
        answer.assessed = values.iter().map(|v| v.characteristic).collect();
        let tilted = inner.tilt.map(|t| {
            format!("the ring seems to lie tilted: its two rims are seen {:.3} mm apart; lay it flat", mm * t)
        });
        let bright =
            seen.saturated.then(|| "the backlight is overexposed: expose for less than full scale".to_owned());
        let off = (inner.local > 0.0).then(|| {
            format!("the inner edge departs by {:.3} mm: a dent, a crack, a burr, or dirt", mm * inner.local)
        });
        let lobed = inner.lobes().map(|(n, px)| {
            format!(
                "the opening has {n} lobes, {:.3} mm from hollow to crest: less goes in than its diameter says",
                2.0 * mm * px
            )
        });
        // A crack or a bump moves the diameter by its share only, and is a fault whatever is limited.
        let deep = mm * inner.local > DEEP_MM;
        answer.troubles.extend(off.clone().filter(|_| deep));
        let hollow = seen.outer.as_ref().map_or(0.0, |o| mm * o.hollow());
        if hollow > DEEP_MM {
            answer.troubles.push(format!("the outer edge runs {hollow:.3} mm inward: a dent, a cut or a crack"));
        }
        // The thickness along the radius leaves a hole out.
        if let Some(px) = seen.pierced.filter(|_| scene.spec.limit(WIDTH, &scene.view.name).is_some()) {
            answer.troubles.push(format!(
                "light shines through the shank beside its opening, about {:.1} mm wide: a hole, or a window of the design; how thick the shank is there is not measured",
                mm * px
            ));
        }
        let doubts: Vec<String> = [tilted, bright, lobed, off].into_iter().flatten().collect();
        let doubt = (!doubts.is_empty()).then(|| doubts.join("; "));
        answer.features.push(Feature {
            kind: None,
            name: scene.view.name.clone(),
            x_px: inner.centre[0],
            y_px: inner.centre[1],
            radius_px: inner.radius,
            outline_px: inner.polygon(90),
            confidence: inner.seen,
            found_by: vec![self.name().into()],
            values,
            opinion: None,
            rim: None,
            doubt,
            nominal: true,
        });
        for (name, at, value) in places {
            let mut place = part(name, at, value.value / mm / 2.0);
            place.confidence = inner.seen;
            place.found_by = vec![self.name().into()];
            place.values = vec![value];
            answer.features.push(place);
        }
        Ok(answer)
    }
}

/// Diameter of the least-squares circle in mm with its standard uncertainty: scale, edge noise, what all edges share, and the pose.
fn diameter(b: &Boundary, mm: f64, scale_u: f64) -> (f64, f64) {
    let d = 2.0 * b.radius * mm;
    // A tilt shortens one diameter by its cosine, the mean of all by half of that.
    let pose = shortened(d) / 2.0;
    // Two rims d apart take 2 d / pi off the mean diameter.
    let rims = b.tilt.map_or(0.0, |t| 2.0 * t * mm / std::f64::consts::PI);
    let edge = 2.0 * mm * b.radius_u.hypot(b.edge_u);
    // Whether a local departure is the ring's or dirt is not known: it is left out, and would move the mean radius by its share.
    let local = mm * b.local * b.local_share;
    // What goes into an opening of three lobes is smaller than its mean by their amplitude on either side: which of both is meant is not known.
    let lobes = b.lobes().map_or(0.0, |l| mm * l.1);
    (d, (scale_u * d).hypot(edge).hypot(pose).hypot(rims).hypot(local).hypot(lobes))
}

/// Largest less smallest inner diameter in mm with its standard uncertainty: edge noise, pose, scale. What all edges share moves
/// both alike.
fn ovality(b: &Boundary, mm: f64, scale_u: f64) -> (f64, f64) {
    let [most, least] = b.diameters();
    let value = mm * (most - least);
    let pose = shortened(2.0 * b.radius * mm);
    let rims = b.tilt.map_or(0.0, |t| t * mm);
    // Whether what departs over a stretch is the ring's or dirt is not known: half of what it makes of the diameters, twice over, is U; and of a
    // single dent at least as much.
    let [longest, shortest] = b.diameters_with_departures();
    let local = (mm * (longest - shortest) - value).abs().max(mm * b.local) / 2.0;
    // The amplitude of the two-fold wave counts four times.
    (value, (4.0 * mm * b.wave_u).hypot(pose).hypot(rims).hypot(local).hypot(scale_u * value))
}

/// By how much a tilt shortens a diameter, one standard deviation about nothing: the square of a normal tilt has sqrt 3 times its
/// variance as root mean square.
fn shortened(d: f64) -> f64 {
    d * TILT_U_DEG.to_radians().powi(2) / 2.0 * 3f64.sqrt()
}
