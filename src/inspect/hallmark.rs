//! The marks stamped, engraved or lasered into a piece, read and compared with what was ordered.
//!
//! A reading is no word but a lattice of probabilities, and the ordered text must win in it: against every mark of the trade,
//! against every text that differs from it in one letter, and against what the lattice itself reads first.

use super::{Answer, Feature, Inspect, Scene, Value};
use crate::model::{Lattice, MarkReader, ModelError, TextBox};
use crate::spec::{Spec, View};
use crate::vision::{ops, Image, Plane, VisionError};

/// The inspector of marks.
#[derive(Debug)]
pub struct Hallmark;

/// The characteristic: 1 where the mark is the one ordered, 0 where it is another.
pub const TEXT: &str = "hallmark.text";

/// Fineness in parts per thousand, ISO 9202 and what else is stamped, each with the metals' symbols that may stand before it.
const FINENESS: &[(&str, &[&str])] = &[
    ("333", &[]),
    ("375", &["AU"]),
    ("417", &["AU"]),
    ("500", &["PD"]),
    ("585", &["AU"]),
    ("625", &[]),
    ("750", &["AU"]),
    ("800", &["AG"]),
    ("830", &["AG", "S"]),
    ("833", &[]),
    ("835", &["AG"]),
    ("850", &["PT"]),
    ("900", &["AG", "PT"]),
    ("916", &["AU"]),
    ("925", &["AG", "S"]),
    ("950", &["AG", "PT", "PD"]),
    ("958", &["AG"]),
    ("990", &["AU"]),
    ("995", &["AU", "PT"]),
    ("999", &["AU", "AG", "PT"]),
];
/// Karat marks.
const KARAT: &[&str] = &["8K", "9K", "10K", "12K", "14K", "18K", "20K", "21K", "22K", "24K"];

/// The uncertainty of a yes or no that a person decides: the guard band (k = 2) reaches over the limit, as for a stone's presence.
const UNSURE: f64 = 0.6;

/// Longest side of what the detector is shown: PP-OCR's own.
const SIDE: usize = 960;
/// Most boxes of a look that are read: the detector's surest.
const MOST: usize = 5;
/// A box that is no longer than this many of its heights may stand upright: two letters in the right order or a pair turned by a
/// quarter.
const SQUARE: f64 = 1.5;
/// The detector's box, and one with more room: what both say counts. Of the box's height.
const ROOM: [f64; 2] = [1.0, 1.22];
/// Least probability of the text that is believed.
const SURE: f64 = 0.8;
/// How many times likelier than any other candidate it must be.
const MARGIN: f64 = 20.0;
/// Where the ordered text has more than this, no other mark is called.
const PLAUSIBLE: f64 = 0.01;

/// A mark as ordered.
#[derive(Debug, Clone, PartialEq)]
pub struct Ordered {
    /// Its text.
    pub text: String,
    /// Where it is, in piece coordinates, and how far about it is looked for it, where the spec says so.
    pub place: Option<([f64; 2], f64)>,
}

/// The marks that a spec orders in a view: those of the view, else the number that the limit names.
pub fn ordered(spec: &Spec, view: &View) -> Vec<Ordered> {
    if !view.hallmarks.is_empty() {
        let place = |m: &crate::spec::Hallmark| Some(([m.x_mm?, m.y_mm?], m.radius_mm.unwrap_or(DEFAULT_RADIUS_MM)));
        return view.hallmarks.iter().map(|m| Ordered { text: m.text.clone(), place: place(m) }).collect();
    }
    // Where the views name their marks, a view that names none has none.
    if spec.views.iter().any(|v| !v.hallmarks.is_empty()) {
        return vec![];
    }
    let nominal = spec.limit(TEXT, &view.name).and_then(|l| l.nominal);
    nominal.map(|n| Ordered { text: format!("{n}"), place: None }).into_iter().collect()
}

/// How far about its place a mark is looked for, where the spec does not say: stamps are set by hand.
const DEFAULT_RADIUS_MM: f64 = 1.5;

/// What a mark turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The one ordered.
    Ordered,
    /// Another mark of the trade.
    Another,
    /// It cannot be told.
    Unsure,
}

/// What a frame shows of one ordered mark.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The text ordered.
    pub ordered: String,
    /// What was made of it.
    pub verdict: Verdict,
    /// What is read there; empty where nothing is.
    pub text: String,
    /// Probability of that text.
    pub likely: f64,
    /// Where; none where no text was found.
    pub at: Option<TextBox>,
}

/// Every mark of fineness that is known, in the reader's letters.
fn marks(reader: &MarkReader) -> Vec<Vec<usize>> {
    let mut out: Vec<Vec<usize>> = Vec::new();
    let mut add = |t: &str| out.extend(reader.info().letters(t));
    for (number, metals) in FINENESS {
        add(number);
        metals.iter().for_each(|m| add(&format!("{m}{number}")));
    }
    for k in KARAT {
        add(k);
        add(&format!("{k}T"));
        add(&k.replace('K', "CT"));
    }
    out
}

/// Texts that differ from one in a letter: replaced by another or left out.
fn neighbours(text: &[usize], letters: usize) -> Vec<Vec<usize>> {
    let mut out = Vec::new();
    for k in 0..text.len() {
        for c in (0..letters).filter(|c| *c != text[k]) {
            let mut t = text.to_vec();
            t[k] = c;
            out.push(t);
        }
        let mut t = text.to_vec();
        t.remove(k);
        out.push(t);
    }
    out
}

/// One box read one way round: the lattices of its windows.
struct Look {
    at: TextBox,
    windows: Vec<Lattice>,
}

impl Look {
    /// Log probability of a text: the mean over the windows, so that what only one of them says does not count.
    fn log_likelihood(&self, text: &[usize]) -> f64 {
        self.windows.iter().map(|w| w.log_likelihood(text)).sum::<f64>() / self.windows.len().max(1) as f64
    }

    /// What the windows read first.
    fn firsts(&self) -> Vec<Vec<usize>> {
        self.windows.iter().map(|w| w.greedy().into_iter().map(|g| g.0).collect()).collect()
    }

    /// Log probability of a text and by how much it wins against the others (which may hold it).
    fn against(&self, text: &[usize], others: &[Vec<usize>]) -> (f64, f64) {
        let own = self.log_likelihood(text);
        let firsts = self.firsts();
        let best = others.iter().chain(&firsts).filter(|o| *o != text).map(|o| self.log_likelihood(o));
        (own, own - best.fold(f64::NEG_INFINITY, f64::max))
    }
}

/// Looks for the ordered marks in a frame and reads them.
///
/// # Errors
/// Where a model or OpenCV fails.
pub fn look(scene: &Scene, reader: &MarkReader, wanted: &[Ordered]) -> Result<Vec<Reading>, String> {
    let refused = |e: VisionError| e.to_string();
    let failed = |e: ModelError| e.to_string();
    // Only the metal: a ground may carry letters too.
    let Some(area) = scene.located.metal.bounds() else { return Err("no metal is to be seen".into()) };
    let part = cut(scene.image, area);
    let grey = scene.image.mean();
    let mut looks: Vec<Look> = Vec::new();
    let mut out = Vec::new();
    let normalised = normalise(&part).map_err(refused)?;
    for (image, side) in [(&part, SIDE), (&normalised, SIDE), (&normalised, SIDE / 2)] {
        let mut boxes = reader.detect(image, side, false).map_err(failed)?;
        for b in &mut boxes {
            b.x += area.x as f64;
            b.y += area.y as f64;
        }
        boxes.truncate(MOST);
        let mut turned = Vec::new();
        for b in boxes {
            let quarters: &[f64] = if b.length < SQUARE * b.height { &[0.0, 2.0, 1.0, 3.0] } else { &[0.0, 2.0] };
            for q in quarters {
                let mut t = b;
                if *q == 1.0 || *q == 3.0 {
                    std::mem::swap(&mut t.length, &mut t.height);
                }
                t.angle += q * std::f64::consts::FRAC_PI_2;
                turned.push(t);
            }
        }
        let (height, width) = (reader.info().height, reader.info().width);
        let mut windows = Vec::new();
        for t in &turned {
            for room in ROOM {
                windows.push(window(&grey, t, room, height, width).map_err(refused)?);
            }
        }
        let lattices = reader.read(&windows).map_err(failed)?;
        let read = turned.into_iter().zip(lattices.chunks_exact(ROOM.len()));
        looks.extend(read.map(|(at, windows)| Look { at, windows: windows.to_vec() }));
        out = decide(scene, reader, wanted, &looks);
        if out.iter().all(|r| r.verdict != Verdict::Unsure) {
            break;
        }
    }
    Ok(out)
}

/// What is made of the boxes that were read.
fn decide(scene: &Scene, reader: &MarkReader, wanted: &[Ordered], looks: &[Look]) -> Vec<Reading> {
    let info = reader.info();
    let trade = marks(reader);
    let own: Vec<Option<Vec<usize>>> = wanted.iter().map(|w| info.letters(&w.text)).collect();
    wanted
        .iter()
        .zip(&own)
        .map(|(w, text)| {
            let near: Vec<&Look> = looks.iter().filter(|l| is_near(scene, w, &l.at)).collect();
            let mut reading = Reading {
                ordered: w.text.clone(),
                verdict: Verdict::Unsure,
                text: String::new(),
                likely: 0.0,
                at: None,
            };
            // What is read most surely, whatever it is, for the person who decides.
            for l in &near {
                for first in l.firsts().into_iter().filter(|f| !f.is_empty()) {
                    let p = l.log_likelihood(&first).exp();
                    if p > reading.likely {
                        reading = Reading { text: info.text(&first), likely: p, at: Some(l.at), ..reading };
                    }
                }
            }
            let Some(text) = text.as_ref().filter(|t| !t.is_empty()) else { return reading };
            let mut rivals = neighbours(text, info.charset.len());
            rivals.extend(trade.iter().filter(|m| *m != text).cloned());
            let mut best: Option<(f64, f64, TextBox)> = None;
            for l in &near {
                let (p, margin) = l.against(text, &rivals);
                if best.is_none_or(|b| p > b.0) {
                    best = Some((p, margin, l.at));
                }
            }
            let Some((log_p, margin, at)) = best else { return reading };
            // Another mark of the trade that nobody ordered, read with the same certainty.
            let mut other: Option<(f64, &Vec<usize>, TextBox)> = None;
            for m in trade.iter().filter(|m| !own.iter().any(|o| o.as_ref() == Some(m))) {
                let mut against = neighbours(m, info.charset.len());
                against.extend(trade.iter().filter(|t| *t != m).cloned());
                against.push(text.clone());
                for l in &near {
                    // The full comparison only where it can be believed.
                    let p = l.log_likelihood(m);
                    if p < SURE.ln() || other.as_ref().is_some_and(|o| o.0 > p) {
                        continue;
                    }
                    if l.against(m, &against).1 >= MARGIN.ln() {
                        other = Some((p, m, l.at));
                    }
                }
            }
            let sure = log_p >= SURE.ln() && margin >= MARGIN.ln();
            let of_fineness = trade.contains(text) || w.text.chars().any(|c| c.is_ascii_digit());
            match other {
                // A piece that bears a second mark of fineness is a person's matter.
                Some(_) if sure => Reading { text: w.text.clone(), likely: log_p.exp(), at: Some(at), ..reading },
                Some((p, m, at)) if of_fineness && log_p < PLAUSIBLE.ln() => Reading {
                    verdict: Verdict::Another,
                    text: info.text(m),
                    likely: p.exp(),
                    at: Some(at),
                    ..reading
                },
                None if sure => Reading {
                    verdict: Verdict::Ordered,
                    text: w.text.clone(),
                    likely: log_p.exp(),
                    at: Some(at),
                    ..reading
                },
                _ => reading,
            }
        })
        .collect()
}

/// Whether a box lies where the mark is ordered; anywhere where the spec does not say, or the frame has no scale.
fn is_near(scene: &Scene, wanted: &Ordered, at: &TextBox) -> bool {
    match (wanted.place, scene.mm(at.x, at.y)) {
        (Some((place, radius)), Some(mm)) => (mm[0] - place[0]).hypot(mm[1] - place[1]) <= radius,
        _ => true,
    }
}

/// A box upright and at the reader's height; `room` times as high as found, and as much longer.
fn window(grey: &Plane, at: &TextBox, room: f64, height: usize, width: (usize, usize)) -> Result<Plane, VisionError> {
    let (tall, long) = (at.height * room, at.length + (room - 1.0) * at.height);
    let ky = tall / height as f64;
    let w = ((long / ky).round() as usize).clamp(width.0, width.1);
    let kx = long / w as f64;
    let (s, c) = at.angle.sin_cos();
    let (u, v) = ((w as f64 - 1.0) / 2.0, (height as f64 - 1.0) / 2.0);
    let source =
        [[c * kx, -s * ky, at.x - c * kx * u + s * ky * v], [s * kx, c * ky, at.y - s * kx * u - c * ky * v]];
    ops::strip(grey, &source, w, height)
}

/// A part of a picture.
fn cut(image: &Image, r: crate::vision::Rect) -> Image {
    let mut data = Vec::with_capacity(3 * r.width * r.height);
    for y in r.y..r.y + r.height {
        let from = 3 * (y * image.width + r.x);
        data.extend_from_slice(&image.data[from..from + 3 * r.width]);
    }
    Image { width: r.width, height: r.height, data, grey: image.grey }
}

/// The picture with the same contrast everywhere: a mark that hardly shows on polished metal becomes one that does.
fn normalise(image: &Image) -> Result<Image, VisionError> {
    let p = image.mean();
    // A neighbourhood of the size of letters: a twentieth of the frame.
    let sigma = p.width.max(p.height) as f64 / 20.0;
    // Blurred on a coarser picture: a wide Gaussian needs no fine one.
    let f = (sigma / 6.0).floor().max(1.0) as usize;
    let wide = |q: &Plane| -> Result<Plane, VisionError> {
        let small = ops::gaussian(&ops::shrink(q, f), sigma / f as f64)?;
        ops::resize(&small, q.width, q.height)
    };
    let mean = wide(&p)?;
    let mut off = p;
    off.data.iter_mut().zip(&mean.data).for_each(|(v, m)| *v -= m);
    let square = Plane { data: off.data.iter().map(|v| v * v).collect(), ..off.clone() };
    let var = wide(&square)?;
    let mut data = Vec::with_capacity(image.data.len());
    for (v, s) in off.data.iter().zip(&var.data) {
        // Two grey levels are noise, and stay faint.
        let x = (128.0 + 45.0 * v / (s.max(0.0).sqrt() + 2.0)).clamp(0.0, 255.0) as u8;
        data.extend([x, x, x]);
    }
    Ok(Image { width: image.width, height: image.height, data, grey: true })
}

impl Inspect for Hallmark {
    fn name(&self) -> &'static str {
        "hallmark"
    }

    fn characteristics(&self) -> &'static [&'static str] {
        &[TEXT]
    }

    fn inspect(&self, scene: &Scene) -> Result<Answer, VisionError> {
        let mut answer = Answer::default();
        let readings = match &scene.marks {
            Some(Ok(r)) => r,
            Some(Err(why)) => {
                answer.not_assessed.push((TEXT, why.clone()));
                return Ok(answer);
            }
            None => {
                answer.not_assessed.push((TEXT, NOT_ORDERED.to_owned()));
                return Ok(answer);
            }
        };
        answer.assessed.push(TEXT);
        let (w, h) = (scene.image.width as f64, scene.image.height as f64);
        for r in readings {
            let name = format!("hallmark {}", r.ordered);
            let (value, uncertainty) = match r.verdict {
                Verdict::Ordered => (1.0, 0.0),
                Verdict::Another => (0.0, 0.0),
                Verdict::Unsure => (0.0, UNSURE),
            };
            let (x_px, y_px, radius_px) = match &r.at {
                Some(b) => (b.x, b.y, 0.5 * b.length.hypot(b.height)),
                None => ((w - 1.0) / 2.0, (h - 1.0) / 2.0, 0.5 * w.min(h)),
            };
            answer.texts.push((name.clone(), r.text.clone()));
            answer.features.push(Feature {
                kind: None,
                name,
                x_px,
                y_px,
                radius_px,
                outline_px: r.at.map(|b| b.corners()).unwrap_or_default(),
                confidence: r.likely,
                found_by: vec![self.name().to_owned()],
                values: vec![Value { characteristic: TEXT, value, uncertainty }],
                opinion: None,
                doubt: None,
                nominal: true,
            });
        }
        Ok(answer)
    }
}

/// Why nothing was read where a limit asks for it.
pub const NOT_ORDERED: &str =
    "the spec does not say which mark: give the limit a `nominal`, or the view a `hallmark`";

/// The frame that carries what several frames say of one mark: one that is sure before one that is not. Where one reads the mark
/// ordered and another frame another mark, a person decides.
pub(crate) fn fuse<T>(mut all: Vec<(String, T, Feature)>) -> (String, T, Feature) {
    let sure = |f: &Feature| f.values.first().is_some_and(|v| v.uncertainty == 0.0);
    let value = |f: &Feature| f.values.first().map_or(0.0, |v| v.value);
    let says = |wanted: f64| all.iter().any(|a| sure(&a.2) && value(&a.2) == wanted);
    let contradict = says(0.0) && says(1.0);
    all.sort_by(|a, b| {
        // Where they contradict each other, the frame that shows another mark.
        (sure(&b.2).cmp(&sure(&a.2)))
            .then(value(&a.2).total_cmp(&value(&b.2)))
            .then(b.2.confidence.total_cmp(&a.2.confidence))
    });
    let mut best = all.swap_remove(0);
    if contradict {
        for v in &mut best.2.values {
            v.uncertainty = UNSURE;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(value: f64, uncertainty: f64, confidence: f64) -> (String, (), Feature) {
        let f = Feature {
            kind: None,
            name: "hallmark 750".into(),
            x_px: 0.0,
            y_px: 0.0,
            radius_px: 1.0,
            outline_px: vec![],
            confidence,
            found_by: vec![],
            values: vec![Value { characteristic: TEXT, value, uncertainty }],
            opinion: None,
            doubt: None,
            nominal: true,
        };
        (format!("{value} {uncertainty} {confidence}"), (), f)
    }

    #[test]
    fn a_sure_frame_decides_and_contradicting_ones_leave_it_to_a_person() {
        let of = |all: Vec<(String, (), Feature)>| {
            let v = fuse(all).2.values[0].clone();
            (v.value, v.uncertainty)
        };
        assert_eq!(of(vec![feature(0.0, UNSURE, 0.7), feature(1.0, 0.0, 0.9)]), (1.0, 0.0));
        assert_eq!(of(vec![feature(0.0, 0.0, 0.9), feature(0.0, UNSURE, 0.99)]), (0.0, 0.0));
        assert_eq!(of(vec![feature(1.0, 0.0, 0.99), feature(0.0, 0.0, 0.9)]), (0.0, UNSURE));
        assert_eq!(fuse(vec![feature(0.0, UNSURE, 0.2), feature(0.0, UNSURE, 0.4)]).0, "0 0.6 0.4");
    }

    #[test]
    fn a_mark_has_every_neighbour_of_one_letter() {
        let n = neighbours(&[1, 2, 3], 34);
        assert_eq!(n.len(), 3 * 33 + 3);
        assert!(n.contains(&vec![1, 2]) && n.contains(&vec![0, 2, 3]) && !n.contains(&vec![1, 2, 3]));
    }

    #[test]
    fn the_views_marks_go_before_the_limits_number() {
        let mut spec = crate::eval::bare_spec();
        let limit: crate::spec::Limit =
            toml::from_str("characteristic = \"hallmark.text\"\nnominal = 750\nlower = 1").unwrap();
        spec.limits.push(limit);
        let texts = |s: &Spec| ordered(s, &s.views[0]).into_iter().map(|o| o.text).collect::<Vec<_>>();
        assert_eq!(texts(&spec), ["750"]);
        let mark = crate::spec::Hallmark { text: "PT950".into(), x_mm: None, y_mm: None, radius_mm: None };
        spec.views[0].hallmarks.push(mark);
        assert_eq!(texts(&spec), ["PT950"]);
        let mut other = spec.views[0].clone();
        other.hallmarks.clear();
        assert!(ordered(&spec, &other).is_empty(), "the marks stand in the other view");
    }
}
