//! What the surface model shows where an inspector saw something, and what the two together say: defect, or dust, a
//! fibre, a polishing line, a reflection.
//!
//! Trees, which are shown how the feature looks beside what the map shows, and weights of the map's shares where too few features were at hand to grow
//! any, are fitted on rendered pieces kept out of the model's own training (`models/fit_opinion.py`) and travel
//! in the model's metadata. A model without them changes nothing: every feature stands as it was measured.

use super::{look, Feature, Scene};
use crate::model::forest::INPUTS;
use crate::model::{ClassMap, Closer, ModelInfo};
use crate::report::{round_to, FindingType, OpinionRow};
use crate::vision::VisionError;

/// The shape of what was seen, which picks the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Pits and pores.
    Spot,
    /// Those too small for the cells of the map, looked at more closely ([`closer`]).
    Small,
    /// Scratches.
    Line,
    /// Stains and worn plating.
    Patch,
}

impl Shape {
    /// The key of the weights in the model's metadata; `alone` for what no other inspector saw.
    fn key(self, alone: bool) -> &'static str {
        match (self, alone) {
            (Shape::Spot, false) => "spot",
            (Shape::Line, false) => "line",
            (Shape::Patch, false) => "patch",
            (Shape::Small, false) => "small_spot",
            (Shape::Spot | Shape::Small, true) => "alone_spot",
            (Shape::Line, true) => "alone_line",
            (Shape::Patch, true) => "alone_patch",
        }
    }
}

/// What the model shows within a feature: mean probabilities over its cells, which with the rest (stone, prong,
/// background) sum to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Opinion {
    /// How far the feature stands out of the metal, in scatters; of a region that the model alone saw, its contrast.
    pub standout: f64,
    /// Any defect.
    pub defect: f64,
    /// Dust and fibres.
    pub lint: f64,
    /// Hairlines, fingerprints, hallmarks.
    pub mark: f64,
    /// Sound metal.
    pub metal: f64,
    /// Stains and worn plating: a part of `defect`.
    pub patch: f64,
    /// Worn plating: a part of `patch`.
    pub worn: f64,
    /// Scratches and cracks: a part of `defect`.
    pub line: f64,
    /// Radius of the feature in pixels as the model saw them.
    pub size_px: f64,
    /// Stones, prongs and the ground.
    pub elsewhere: f64,
    /// Log odds of a defect, by the model's weights or trees; none where it brings none for such a feature.
    pub log_odds: Option<f64>,
    /// The same above those from which it stands.
    pub margin: Option<f64>,
}

/// What is to become of a feature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ruling {
    /// It stands as measured.
    Stands,
    /// A person decides: the probability that it is a defect.
    Doubtful(f64),
    /// It is no defect: the probability that it is one all the same.
    Sound(f64),
}

/// What classic vision alone would not claim, the map must show as a defect sooner than not.
const LEAST_DEFECT: f64 = 0.5;
/// What classic vision alone would not claim is a person's matter from here: by the map's shares alone where it is a defect sooner than not.
const LIKELY: f64 = 0.5;
/// The share of dust, a mark or plain metal below which the map knows nothing of what stands out surely; trees weigh that themselves.
const PUZZLED: f64 = 0.5;
/// The same of a patch or a spot, however little it stands out and whatever trees say.
const LOST: f64 = 0.3;
/// Scatters beyond which standing out says no more: few places of the fit lie beyond.
const MOST_STANDOUT: f64 = 32.0;
/// How much finer than the finest of its training pictures the model may be shown a place more closely: blur makes up for it. Pits and dust
/// are told apart as well down to there.
const FINEST: f64 = 0.75;
/// The least probability whose odds are taken.
const LEAST: f64 = 1e-6;
/// Added to a probability before its logarithm is taken.
const FLOOR: f64 = 0.02;

/// Logarithm of a share, finite where there is none.
fn ln(share: f64) -> f64 {
    (share + FLOOR).ln()
}

/// Whose word a ruling is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Voice {
    /// Nobody's: the model brings nothing for such a feature.
    Nobody,
    /// What the map shows, weighed.
    Map,
    /// Trees, which saw the picture too.
    Trees,
}

impl Opinion {
    /// The model's shares within an outline in pixels of the frame (or, where it has none, within `radius_px` of the centre).
    pub fn new(
        map: &ClassMap,
        output_stride: usize,
        outline: &[[f64; 2]],
        centre: [f64; 2],
        radius_px: f64,
        standout: f64,
    ) -> Self {
        let s = map.stride as f64;
        let (gw, gh) = map.grid();
        let cell = |v: f64, n: usize| (((v + 0.5) / s - 0.5).round().max(0.0) as usize).min(n - 1);
        let ends = |k: usize| {
            outline
                .iter()
                .fold((centre[k] - radius_px, centre[k] + radius_px), |(a, b), p| (a.min(p[k]), b.max(p[k])))
        };
        let ((x0, x1), (y0, y1)) = (ends(0), ends(1));
        // Half a cell about it: the map knows an edge no better.
        let near = |q: [f64; 2]| {
            let d = 0.5 * s;
            if outline.len() < 3 {
                return (q[0] - centre[0]).hypot(q[1] - centre[1]) <= radius_px + d;
            }
            [[0.0, 0.0], [d, 0.0], [-d, 0.0], [0.0, d], [0.0, -d]]
                .iter()
                .any(|o| crate::vision::ops::contains(outline, [q[0] + o[0], q[1] + o[1]]))
        };
        let mut sums = vec![0.0f64; map.classes.len()];
        let mut cells = 0.0;
        for y in cell(y0, gh)..=cell(y1, gh) {
            for x in cell(x0, gw)..=cell(x1, gw) {
                if near([(x as f64 + 0.5) * s - 0.5, (y as f64 + 0.5) * s - 0.5]) {
                    cells += 1.0;
                    for (c, sum) in sums.iter_mut().enumerate() {
                        *sum += f64::from(map.cells(c)[y * gw + x]);
                    }
                }
            }
        }
        if cells == 0.0 {
            let i = cell(centre[1], gh) * gw + cell(centre[0], gw);
            cells = 1.0;
            for (c, sum) in sums.iter_mut().enumerate() {
                *sum = f64::from(map.cells(c)[i]);
            }
        }
        let share = |name: &str| map.class(name).map_or(0.0, |c| sums[c] / cells);
        Opinion {
            standout,
            defect: sums[map.sound..].iter().sum::<f64>() / cells,
            lint: share("lint"),
            mark: share("mark"),
            metal: share("metal"),
            patch: share("stain") + share("worn_plating"),
            worn: share("worn_plating"),
            line: share("crack_scratch"),
            // A finer frame was averaged down for the model: the map's stride tells by how much.
            size_px: (radius_px * output_stride as f64 / s).max(0.5),
            elsewhere: share("stone") + share("prong") + share("background"),
            log_odds: None,
            margin: None,
        }
    }

    /// What the weights are applied to.
    fn inputs(&self) -> [f64; 7] {
        [
            1.0,
            ln(self.defect) - ln(1.0 - self.defect),
            ln(self.lint),
            ln(self.mark),
            ln(self.metal),
            (self.standout.clamp(1.0, MOST_STANDOUT) / 8.0).ln(),
            self.size_px.ln(),
        ]
    }

    /// What the trees are shown ([`INPUTS`]): beside this, what the `map` shows, which is the same without a closer look, and how
    /// the feature looks.
    fn seen(&self, map: &Opinion, look: &[f64; look::COUNT]) -> [f64; INPUTS.len()] {
        let (own, other) = (self.inputs(), map.inputs());
        let part = |o: &Opinion| [ln(o.patch) - ln(o.defect), ln(o.line) - ln(o.defect)];
        let (a, b) = (part(self), part(map));
        let shown = own[1..].iter().chain(&other[1..5]).copied().chain([a[0], a[1], ln(self.elsewhere), b[0], b[1]]);
        let mut out = [0.0; INPUTS.len()];
        for (o, v) in out.iter_mut().zip(shown.chain(look.iter().copied())) {
            *o = v;
        }
        out
    }

    /// Has the model's trees, or without any its weights, say how likely the feature is a defect.
    fn weigh(&mut self, info: &ModelInfo, key: &str, seen: Option<&[f64; INPUTS.len()]>) {
        let weighed = || {
            let weights = info.opinion.get(key)?;
            Some(weights.iter().zip(self.inputs()).map(|(w, x)| w * x).sum::<f64>())
        };
        self.log_odds = info.forests.get(key).zip(seen).map(|(f, seen)| f.log_odds(seen)).or_else(weighed);
        let high = info.thresholds.get(&format!("defect_{key}")).map(|v| f64::from(*v).clamp(LEAST, 1.0 - LEAST));
        self.margin = self.log_odds.zip(high).map(|(o, p)| o - (p / (1.0 - p)).ln());
    }

    /// The probability that the feature is a defect; none where the model brings no weights for it.
    pub fn probability(&self) -> Option<f64> {
        Some(1.0 / (1.0 + (-self.log_odds?).exp()))
    }

    /// What follows from that, by the model's thresholds `sound_spot` and `defect_spot` (and so for every shape's `key`).
    fn ruling(&self, info: &ModelInfo, key: &str) -> Ruling {
        let Some(p) = self.probability() else { return Ruling::Stands };
        match (info.thresholds.get(&format!("sound_{key}")), info.thresholds.get(&format!("defect_{key}"))) {
            (Some(low), _) if p < f64::from(*low) => Ruling::Sound(p),
            (_, Some(high)) if p < f64::from(*high) => Ruling::Doubtful(p),
            _ => Ruling::Stands,
        }
    }

    /// The ruling with what classic vision holds against it: see [`ask`]. `alone`: no other inspector saw it; `sure`: scatters from which
    /// classic vision claims it by itself; `voice`: whose word the ruling is.
    fn beside_classic(&self, ruling: Ruling, (shape, alone, sure): (Shape, bool, f64), voice: Voice) -> Ruling {
        // Scratches that the map takes for a mark are rare (three of 1259 rendered pieces): neither it nor the trees know them.
        let like_mark = shape == Shape::Line && self.is_mark();
        let conviction = self.lint.max(self.mark).max(self.metal);
        // Where it sees neither metal nor dust nor a mark, but stones or ground that are not there, it knows nothing of the place, however little that stands out.
        let lost = conviction < LOST && matches!(shape, Shape::Patch | Shape::Spot);
        let plain = self.standout >= sure;
        match (ruling, voice) {
            (Ruling::Sound(p), _) if lost || (plain && like_mark) => Ruling::Doubtful(p),
            // Trees see the picture beside the map, and how far it stands out.
            (r, Voice::Trees) => r,
            (Ruling::Sound(p), _) if plain && (conviction < PUZZLED || !self.is_explained()) => Ruling::Doubtful(p),
            (Ruling::Doubtful(p), _) if !plain && !alone && p < LIKELY => Ruling::Sound(p),
            (Ruling::Stands, Voice::Map) if !plain && !alone && self.defect < LEAST_DEFECT => {
                Ruling::Sound(self.defect)
            }
            (r, _) => r,
        }
    }

    /// Its row in a report.
    pub fn row(&self) -> OpinionRow {
        OpinionRow {
            standout: round_to(self.standout, 2),
            defect: round_to(self.defect, 3),
            lint: round_to(self.lint, 3),
            mark: round_to(self.mark, 3),
            metal: round_to(self.metal, 3),
            size_px: round_to(self.size_px, 2),
        }
    }

    /// Whether most of the defect is a stain or worn plating.
    pub fn is_patch(&self) -> bool {
        self.patch > 0.5 * self.defect
    }

    /// Whether most of the defect is a scratch or a crack.
    pub fn is_line(&self) -> bool {
        self.line > 0.5 * self.defect
    }

    /// Whether the model sees something there that is no defect, not merely plain metal.
    pub fn is_explained(&self) -> bool {
        self.stem() != "gleam"
    }

    /// Whether the model takes it for a hairline, a fingerprint or a hallmark.
    pub fn is_mark(&self) -> bool {
        self.stem() == "mark"
    }

    /// The word for what the model takes a sound feature for.
    fn stem(&self) -> &'static str {
        if self.lint >= self.mark && self.lint >= self.metal {
            "lint"
        } else if self.mark >= self.metal {
            "mark"
        } else {
            "gleam"
        }
    }
}

/// What is asked: the map of the whole frame, or a closer look at the feature's surroundings.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked<'a> {
    /// The map.
    Map(&'a ClassMap),
    /// The closer look.
    Closer(&'a Closer),
}

/// Asks the model of a feature, in pixels of the frame. Trees that see the picture beside the map decide by its thresholds. Without any, what stands out by `sure` scatters or more is not
/// taken for plain metal on the map's word alone: without dust or a mark to explain it, a person decides; what stands out by less is there by chance
/// too often to bother a person with: it counts only where it is likely enough. A line takes dust to explain it, whatever trees say: the ridges of a fingerprint stand out by less than a
/// scratch under it does, and [`super::hallmark::spare`] knows the strokes of letters. With `LOUPE_LOG=debug` each answer is a line of
/// JSON in the log: what `models/fit_opinion.py` fits weights and trees on.
///
/// # Errors
/// Where OpenCV refuses.
#[allow(clippy::too_many_arguments)]
pub(super) fn ask(
    scene: &Scene,
    map: Asked,
    info: &ModelInfo,
    (shape, alone, sure): (Shape, bool, f64),
    outline: &[[f64; 2]],
    centre: [f64; 2],
    radius_px: f64,
    standout: f64,
) -> Result<(Opinion, Ruling), VisionError> {
    let by = |map: &ClassMap| Opinion::new(map, info.output_stride, outline, centre, radius_px, standout);
    let mut opinion = match map {
        Asked::Map(map) => by(map),
        Asked::Closer(look) => {
            let enlarged: Vec<[f64; 2]> = outline.iter().map(|p| look.place(*p)).collect();
            let radius = radius_px * Closer::times();
            Opinion::new(&look.map, info.output_stride, &enlarged, look.place(centre), radius, standout)
        }
    };
    let key = shape.key(alone);
    let logged = tracing::enabled!(tracing::Level::DEBUG);
    let seen = if logged || info.forests.contains_key(key) {
        let whole = match (map, scene.classes) {
            (Asked::Closer(_), Some(map)) => by(map),
            _ => opinion,
        };
        let look = look::describe(scene.image, scene.bare_metal, outline, centre, radius_px)?;
        Some(opinion.seen(&whole, &look))
    } else {
        None
    };
    opinion.weigh(info, key, seen.as_ref());
    let ruling = opinion.ruling(info, key);
    let voice = match (info.forests.contains_key(key), opinion.log_odds) {
        (_, None) => Voice::Nobody,
        (false, _) => Voice::Map,
        (true, _) => Voice::Trees,
    };
    let ruling = opinion.beside_classic(ruling, (shape, alone, sure), voice);
    if let (true, Some(seen)) = (logged, &seen) {
        let row = serde_json::json!({
            "file": scene.frame.file, "shape": key, "outline": outline, "x": centre[0], "y": centre[1],
            "radius": radius_px, "inputs": opinion.inputs(), "seen": seen.as_slice(), "odds": opinion.log_odds,
            "ruling": format!("{ruling:?}"), "sure": sure,
        });
        tracing::debug!("opinion {row}");
    }
    Ok((opinion, ruling))
}

/// Looks more closely at the spots that are too small for the cells of the map: one answer for each of the places, in pixels of the frame, or
/// none where the model brings no weights for it, has averaged the frame down, or would see it finer than it was taught.
pub(super) fn closer(scene: &Scene, places: &[[f64; 2]]) -> Result<Option<Vec<Closer>>, VisionError> {
    let (Some(model), Some((map, info))) = (scene.closer, of_scene(scene)) else { return Ok(None) };
    // Without any weights it is run to have them fitted.
    let key = Shape::Small.key(false);
    let weighed = info.opinion.is_empty() || info.opinion.contains_key(key) || info.forests.contains_key(key);
    let fine = scene.frame.um_per_px.is_none_or(|um| um / Closer::times() < FINEST * info.um_per_px_min);
    if !weighed || fine || map.stride != info.output_stride || !is_asked(scene) {
        return Ok(None);
    }
    model.closer(scene.image, places).map(Some).map_err(|e| VisionError(e.to_string()))
}

/// Whether the model brings weights for a second opinion, or is run to have them fitted: then more may be proposed to it.
pub(super) fn is_asked(scene: &Scene) -> bool {
    of_scene(scene).is_some_and(|(_, info)| info.thresholds.contains_key("alone"))
}

/// The map and the metadata of the model that drew it, where one was run.
pub(super) fn of_scene<'a>(scene: &Scene<'a>) -> Option<(&'a ClassMap, &'a ModelInfo)> {
    Some((scene.classes?, scene.model?))
}

/// A feature that is no defect: shown, not measured.
pub(super) fn sound(opinion: &Opinion, p: f64, centre: [f64; 2], radius_px: f64, outline: Vec<[f64; 2]>) -> Feature {
    Feature {
        nominal: false,
        kind: Some(FindingType::Anomaly),
        // Numbered when the frames of a view are put together.
        name: format!("{}-0", opinion.stem()),
        x_px: centre[0],
        y_px: centre[1],
        radius_px,
        outline_px: outline,
        confidence: p,
        found_by: vec!["surface".to_owned(), super::learned::NAME.to_owned()],
        values: vec![],
        opinion: Some(*opinion),
        rim: None,
        doubt: None,
    }
}

/// Whether a feature of this type and name was ruled sound (see [`sound`]).
pub fn is_sound(kind: Option<FindingType>, name: &str) -> bool {
    kind == Some(FindingType::Anomaly) && ["lint-", "mark-", "gleam-"].iter().any(|s| name.starts_with(s))
}

/// Whether the frames that doubt a feature outweigh those that are sure of it, by their [`Opinion::margin`]s: log odds of several frames add up.
pub fn outweighed(margins: &[f64]) -> bool {
    margins.iter().sum::<f64>() < 0.0
}

/// The words of a doubt.
pub fn doubt(opinion: &Opinion) -> String {
    match opinion.stem() {
        "lint" => "it may be dust or a fibre: clean it and look again".to_owned(),
        "mark" => "it may be a polishing line, a fingerprint or a mark".to_owned(),
        _ => "it may be a reflection".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(defect: f32, lint: f32) -> ClassMap {
        let cells = 20 * 10;
        let mut probs = vec![1.0 - defect - lint; cells];
        probs.extend(vec![lint; cells]);
        probs.extend(vec![defect; cells]);
        let classes = ["metal", "lint", "pore_pit"].map(str::to_owned).to_vec();
        ClassMap { width: 40, height: 20, stride: 2, classes, sound: 2, probs }
    }

    fn info() -> ModelInfo {
        ModelInfo {
            name: "m".into(),
            version: "1".into(),
            classes: vec![],
            sound: 2,
            um_per_px: 12.0,
            um_per_px_min: 5.0,
            um_per_px_max: 25.0,
            tile: 256,
            overlap: 32,
            output_stride: 2,
            thresholds: [("sound_spot".to_owned(), 0.1f32), ("defect_spot".to_owned(), 0.5)].into(),
            min_area_px: 0.0,
            // Only the model's defect share counts.
            opinion: [("spot".to_owned(), vec![0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0])].into(),
            forests: Default::default(),
            trained_on: "nothing".into(),
            seed: "1".into(),
            licence: "none".into(),
            sha256: "00".into(),
        }
    }

    #[test]
    fn what_stands_out_surely_is_sound_only_where_something_explains_it() {
        let of = |lint: f64, mark: f64, standout: f64| Opinion {
            standout,
            defect: 0.0,
            lint,
            mark,
            metal: 1.0 - lint - mark,
            patch: 0.0,
            worn: 0.0,
            line: 0.0,
            size_px: 9.0,
            elsewhere: 0.0,
            log_odds: None,
            margin: None,
        };
        let ruled = |o: Opinion, shape| o.beside_classic(Ruling::Sound(0.01), (shape, false, 8.0), Voice::Map);
        let sound = |r| matches!(r, Ruling::Sound(_));
        assert!(sound(ruled(of(0.9, 0.0, 9.0), Shape::Line)) && sound(ruled(of(0.0, 0.9, 9.0), Shape::Spot)));
        assert!(!sound(ruled(of(0.0, 0.0, 9.0), Shape::Spot)) && sound(ruled(of(0.0, 0.0, 7.0), Shape::Spot)));
        // What the map takes for a stone where none is, it does not know.
        let unknown = Opinion { metal: 0.1, ..of(0.1, 0.1, 3.0) };
        assert!(!sound(ruled(unknown, Shape::Patch)) && !sound(ruled(unknown, Shape::Spot)));
        // A scratch under a fingerprint stands out by more than its ridges.
        assert!(!sound(ruled(of(0.0, 0.9, 9.0), Shape::Line)) && sound(ruled(of(0.0, 0.9, 7.0), Shape::Line)));
        // Trees, which see the picture, are believed; of a line that the map takes for a mark they know as little as it does.
        let by_trees = |o: Opinion, shape| o.beside_classic(Ruling::Sound(0.01), (shape, false, 8.0), Voice::Trees);
        assert!(sound(by_trees(of(0.0, 0.0, 20.0), Shape::Small)) && sound(by_trees(of(0.3, 0.0, 9.0), Shape::Line)));
        assert!(!sound(by_trees(of(0.0, 0.9, 9.0), Shape::Line)) && sound(by_trees(of(0.0, 0.9, 7.0), Shape::Line)));
        assert!(!sound(by_trees(unknown, Shape::Patch)));
    }

    #[test]
    fn what_hardly_stands_out_is_a_persons_matter_only_where_it_is_likely_a_defect() {
        let o = Opinion::new(&map(0.6, 0.2), 2, &[], [11.5, 11.5], 2.0, 6.0);
        let ruled = |p| o.beside_classic(Ruling::Doubtful(p), (Shape::Small, false, 9.0), Voice::Map);
        assert_eq!(ruled(0.7), Ruling::Doubtful(0.7));
        assert_eq!(ruled(0.3), Ruling::Sound(0.3));
        let by_trees = |p| o.beside_classic(Ruling::Doubtful(p), (Shape::Small, false, 9.0), Voice::Trees);
        assert_eq!(by_trees(0.3), Ruling::Doubtful(0.3));
    }

    #[test]
    fn a_spot_stands_is_doubtful_or_sound_by_the_models_thresholds() {
        let of = |defect: f32, lint: f32, key: &str| {
            let mut o = Opinion::new(&map(defect, lint), 2, &[], [11.5, 11.5], 3.0, 9.0);
            o.weigh(&info(), key, None);
            (o.ruling(&info(), key), o.margin)
        };
        let (stands, above) = of(0.8, 0.1, "spot");
        assert!(stands == Ruling::Stands && above.unwrap() > 0.0);
        assert!(matches!(of(0.3, 0.6, "spot"), (Ruling::Doubtful(p), Some(m)) if (p - 0.3).abs() < 0.03 && m < 0.0));
        assert!(matches!(of(0.01, 0.9, "spot").0, Ruling::Sound(p) if p < 0.05));
        // A model without weights for a shape changes nothing of it.
        assert_eq!(of(0.01, 0.9, "line"), (Ruling::Stands, None));
        assert_eq!(of(0.01, 0.9, "alone_spot"), (Ruling::Stands, None));
    }

    #[test]
    fn trees_go_before_weights_and_see_what_the_map_and_the_picture_show() {
        let forest = r#"{"base":0,"trees":[[[44,0.5,1,2],[-3],[3]]]}"#;
        let mut info = info();
        info.forests = [("spot".to_owned(), serde_json::from_str(forest).unwrap())].into();
        let mut o = Opinion::new(&map(0.8, 0.1), 2, &[], [11.5, 11.5], 3.0, 9.0);
        let mut look = [0.0; look::COUNT];
        for (ended, odds) in [(0.0, -3.0), (1.0, 3.0)] {
            look[look::COUNT - 1] = ended;
            let seen = o.seen(&o, &look);
            assert_eq!(seen[..6], o.inputs()[1..]);
            o.weigh(&info, "spot", Some(&seen));
            assert_eq!(o.log_odds, Some(odds));
        }
    }

    #[test]
    fn a_frame_that_is_hardly_sure_does_not_outweigh_one_that_doubts_by_much() {
        assert!(outweighed(&[0.3, -2.0]) && !outweighed(&[2.5, -2.0]) && !outweighed(&[]) && !outweighed(&[0.1]));
    }

    #[test]
    fn shares_are_means_over_the_cells_of_the_outline() {
        let mut m = map(0.2, 0.3);
        // One cell of the four under the square says otherwise.
        let (gw, _) = m.grid();
        let i = 5 * gw + 5;
        let cells = m.cells(0).len();
        (m.probs[i], m.probs[cells + i], m.probs[2 * cells + i]) = (0.0, 0.0, 1.0);
        let square = [[9.6, 9.6], [13.4, 9.6], [13.4, 13.4], [9.6, 13.4]];
        let o = Opinion::new(&m, 2, &square, [11.5, 11.5], 2.0, 9.0);
        assert!((o.defect - (0.2 * 3.0 + 1.0) / 4.0).abs() < 1e-6, "{o:?}");
        assert!((o.lint - 0.3 * 0.75).abs() < 1e-6 && (o.metal - 0.5 * 0.75).abs() < 1e-6, "{o:?}");
        // Off every cell's centre the nearest one answers; beyond the frame too.
        assert!((Opinion::new(&m, 2, &[], [-30.0, 2.0], 0.1, 9.0).defect - 0.2).abs() < 1e-6);
    }
}
