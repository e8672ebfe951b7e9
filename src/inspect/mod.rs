//! One file per question. Each inspector looks at one located frame and answers with features measured in mm and their
//! uncertainty; it knows nothing of limits and verdicts. A new question is one new file and one line in [`table`].

pub mod align;
pub mod alloy;
pub mod anomaly;
mod bite;
mod broken;
pub mod carat;
pub mod colour;
mod contact;
pub mod contour;
pub mod cut;
pub mod finish;
pub mod gap;
pub mod gem;
mod girdle;
pub mod hallmark;
pub mod islands;
pub mod learned;
mod lines;
mod look;
mod margins;
mod metal;
pub mod opinion;
pub mod play;
pub mod prongs;
pub mod ring;
pub mod ring_size;
pub mod seat;
pub mod sight;
pub mod stones;
pub mod strangers;
pub mod surface;
mod symmetry;
pub mod texture;

use crate::locate::silhouette::Bent;
use crate::locate::Located;
use crate::model::{ClassMap, ModelInfo, SurfaceModel};
use crate::piece::Frame;
use crate::report::{FindingType, StoneRow};
use crate::spec::{Spec, View};
use crate::vision::{Image, Mask, Plane, VisionError};

/// What a frame's file, and its way from there, keep of what the camera saw.
#[derive(Debug, Default)]
pub struct Kept {
    /// Whether the file has the colour at a coarser resolution than the brightness ([`crate::vision::decode::has_coarse_colour`]).
    pub coarse_colour: bool,
    /// How coarsely a JPEG keeps its brightness ([`crate::vision::decode::jpeg_step`]).
    pub jpeg_step: Option<f64>,
    /// A backlit frame as it was taken, where laying it straight moved its pixels.
    pub bent: Option<Bent>,
}

/// Everything an inspector may look at: one frame of a piece, located.
#[derive(Debug)]
pub struct Scene<'a> {
    /// What was ordered.
    pub spec: &'a Spec,
    /// The view the frame shows.
    pub view: &'a View,
    /// The frame's metadata.
    pub frame: &'a Frame,
    /// The frame's pixels.
    pub image: &'a Image,
    /// What its file and its way here keep of it.
    pub kept: &'a Kept,
    /// Where the piece lies.
    pub located: &'a Located,
    /// Metal that nothing nominal covers: stones and prongs are cut out with their margin, and the rim.
    pub bare_metal: &'a Mask,
    /// The surface model's answer, where it was run.
    pub classes: Option<&'a ClassMap>,
    /// What the model says of itself, where one was run.
    pub model: Option<&'a ModelInfo>,
    /// The surface model itself, to look at a place more closely.
    pub closer: Option<&'a SurfaceModel>,
    /// What the models of stones and prongs saw, where they were run.
    pub sights: Option<&'a sight::Sights>,
    /// The frame's brightness, made when [`Scene::grey`] is first asked.
    pub grey: std::cell::OnceCell<Plane>,
    /// The gaps about the stones, made when a gap or a chip is first asked for.
    pub gaps: std::cell::OnceCell<Vec<gap::Found>>,
    /// How far metal is seen within the girdles, made when a chip is first asked for: the stone's index, mm.
    pub bites: std::cell::OnceCell<Vec<(usize, f64)>>,
    /// How wide its sharpest edges are blurred, told when [`Scene::out_of_focus`] is first asked.
    pub blur: std::cell::OnceCell<Option<f64>>,
    /// Whether it is too dark, told when [`Scene::is_underexposed`] is first asked.
    pub dark: std::cell::OnceCell<bool>,
    /// The stones set against one another, made when [`stones::placed`] is first asked.
    pub placed: std::cell::OnceCell<(Vec<stones::Placed>, align::Rigid)>,
    /// What the model of finishes says of the open metal, or why it says nothing; none where it was not asked.
    pub finish: Option<Result<finish::Seen, String>>,
    /// What a taught file says of the frame, or why it says nothing; none where the view names none.
    pub anomaly: Option<Result<anomaly::Judged, String>>,
    /// The marks that the spec orders here as they were read, or why they were not; none where it orders none.
    pub marks: Option<Result<Vec<hallmark::Reading>, String>>,
    /// How the camera's values become colours, or why that cannot be used; none where the frame names none.
    pub colour: Option<&'a Result<colour::Calibrated, String>>,
}

/// Blur of the sharpest edges, in pixels, that a frame in focus may have: of 328 frames of five sets, focused anywhere on the piece, none has more than
/// 2.3; five of them blurred by 3 pixels have 2.5 to 2.9, by 4 and more 3.0 to 4.1.
const IN_FOCUS_PX: f64 = 2.4;

/// Grey levels that the brightest hundredth of a frame must reach: a camera's noise of two to three levels is more than a twentieth of what is darker.
const LEAST_BRIGHT: usize = 48;

impl Scene<'_> {
    /// Scale in mm per pixel; none where the frame says none.
    pub fn mm_per_px(&self) -> Option<f64> {
        self.frame.um_per_px.map(|s| s / 1000.0)
    }

    /// Relative standard uncertainty of the scale.
    pub fn scale_u(&self) -> f64 {
        match (self.frame.um_per_px, self.frame.um_per_px_u) {
            (Some(s), Some(u)) => u / s,
            _ => 0.0,
        }
    }

    /// The mean of its channels.
    pub fn grey(&self) -> &Plane {
        self.grey.get_or_init(|| self.image.mean())
    }

    /// Standard deviation in pixels of the blur of a frame whose sharpest edges are all blurred; none of one that is in focus or shows no edges.
    ///
    /// # Errors
    /// Where OpenCV refuses.
    pub fn out_of_focus(&self) -> Result<Option<f64>, VisionError> {
        let blur = match self.blur.get() {
            Some(blur) => *blur,
            None => {
                let blur = crate::vision::ops::edge_blur(self.grey())?;
                *self.blur.get_or_init(|| blur)
            }
        };
        Ok(blur.filter(|b| *b > IN_FOCUS_PX))
    }

    /// Whether the brightest hundredth of the frame is so dark ([`LEAST_BRIGHT`]) that what it does not show may be there all the same.
    pub fn is_underexposed(&self) -> bool {
        *self.dark.get_or_init(|| {
            let mut count = [0usize; 256];
            self.image.data.chunks_exact(3).for_each(|p| count[usize::from(p[0].max(p[1]).max(p[2]))] += 1);
            let bright: usize = count[LEAST_BRIGHT..].iter().sum();
            100 * bright < self.image.width * self.image.height
        })
    }

    /// A place of the frame in piece coordinates.
    pub fn mm(&self, x_px: f64, y_px: f64) -> Option<[f64; 2]> {
        self.frame.um_per_px.map(|_| self.located.pose.to_mm(x_px, y_px))
    }
}

/// A measured value.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// The characteristic.
    pub characteristic: &'static str,
    /// In the unit of the characteristic's name.
    pub value: f64,
    /// Standard uncertainty, same unit.
    pub uncertainty: f64,
}

/// Something seen or looked at on a frame. A feature with a `kind` becomes a finding where it breaks a limit, or where
/// it was seen at all (pits, scratches, ...); one without only carries measurements.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// What it is, where it is a defect.
    pub kind: Option<FindingType>,
    /// Name within the view: `pit-1`, `S7`, or the view's own name.
    pub name: String,
    /// Centre in the frame.
    pub x_px: f64,
    /// Centre in the frame.
    pub y_px: f64,
    /// Radius of the circle about it.
    pub radius_px: f64,
    /// Its outline in the frame; may be empty.
    pub outline_px: Vec<[f64; 2]>,
    /// How sure, 0 to 1.
    pub confidence: f64,
    /// Who saw it.
    pub found_by: Vec<String>,
    /// Its measurements.
    pub values: Vec<Value>,
    /// What the surface model shows there, where it was asked.
    pub opinion: Option<opinion::Opinion>,
    /// Why a person must decide, where it would fail.
    pub doubt: Option<String>,
    /// What the stone's rim shows, where it is about chips.
    pub rim: Option<stones::RimSeen>,
    /// Whether it is a part that the spec names (a stone, a prong): what has its name on another frame is the same thing.
    pub nominal: bool,
}

/// What an inspector says of one frame.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// What was seen.
    pub features: Vec<Feature>,
    /// Nominal stones as seen.
    pub stones: Vec<StoneRow>,
    /// What is written on a feature: its name and the text.
    pub texts: Vec<(String, String)>,
    /// Characteristics that were assessed, whether or not a feature was found.
    pub assessed: Vec<&'static str>,
    /// Characteristics that were not, and why.
    pub not_assessed: Vec<(&'static str, String)>,
    /// What was located besides the outline, for the picture: closed polylines in pixels.
    pub loops_px: Vec<Vec<[f64; 2]>>,
    /// What is told of the finish of all the metal.
    pub finish: Option<finish::Told>,
    /// What was seen that leaves the piece to a person, whatever is limited.
    pub troubles: Vec<String>,
}

impl Answer {
    /// Adds what another inspector says.
    pub fn extend(&mut self, other: Answer) {
        self.features.extend(other.features);
        self.stones.extend(other.stones);
        self.texts.extend(other.texts);
        self.assessed.extend(other.assessed);
        self.not_assessed.extend(other.not_assessed);
        self.loops_px.extend(other.loops_px);
        self.finish = self.finish.take().or(other.finish);
        self.troubles.extend(other.troubles);
    }
}

/// One question put to a frame.
pub trait Inspect: Sync {
    /// Name in `found_by`.
    fn name(&self) -> &'static str;
    /// The characteristics it can assess.
    fn characteristics(&self) -> &'static [&'static str];
    /// Whether it is asked on backlit frames, which show a silhouette and no surface.
    fn wants_silhouettes(&self) -> bool {
        false
    }
    /// Whether it is asked after the others, knowing what they found.
    fn is_last(&self) -> bool {
        false
    }
    /// Looks at a frame.
    ///
    /// # Errors
    /// Where a pixel operation fails.
    fn inspect(&self, scene: &Scene) -> Result<Answer, VisionError>;
}

/// Every inspector, in the order of the report.
pub fn table() -> [&'static dyn Inspect; 10] {
    [
        &surface::Surface,
        &contour::Contour,
        &stones::Stones,
        &prongs::Prongs,
        &gap::Gap,
        &anomaly::Anomaly,
        &hallmark::Hallmark,
        &finish::Finish,
        &colour::Colour,
        &ring::Ring,
    ]
}
