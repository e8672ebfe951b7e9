//! The marks stamped, engraved or lasered into a piece, read and compared with what was ordered.
//!
//! A reading is no word but a lattice of probabilities, and the ordered text must win in it: against every mark of the trade,
//! against every text that differs from it in one letter, and against what the lattice itself reads first.

use super::opinion;
use super::surface::AS_PIT;
use super::{Answer, Feature, Inspect, Scene, Value};
use crate::model::{Lattice, Letters, MarkReader, Recogniser, TextBox};
use crate::report::FindingType;
use crate::spec::{Spec, View};
use crate::vision::{ops, Image, Mask, Plane, Rect, VisionError};

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
    ("583", &["AU"]),
    ("585", &["AU"]),
    ("625", &[]),
    ("750", &["AU"]),
    ("800", &["AG"]),
    ("830", &["AG", "S"]),
    ("833", &[]),
    ("835", &["AG"]),
    ("850", &["PT"]),
    ("875", &["AG", "AU"]),
    ("900", &["AG", "PT"]),
    ("916", &["AU"]),
    ("925", &["AG", "S"]),
    ("950", &["AG", "PT", "PD"]),
    ("958", &["AG"]),
    ("990", &["AU"]),
    ("995", &["AU", "PT"]),
    ("999", &["AU", "AG", "PT"]),
];
/// Words that call a piece plated or filled.
const PLATED: &[&str] = &["GP", "HGP", "GEP", "HGE", "GF", "RGP", "KGP", "PLATED", "FILLED"];
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
/// The side of what is shown larger.
const CLOSE: usize = SIDE / 2;
/// How far about a finding is looked closer, in its radii: it may be one letter of a few.
const AROUND: f64 = 4.0;
/// And at least so far, in pixels.
const LEAST_REACH: f64 = 32.0;
/// The size of letters in a frame of metal, and in a region that is looked at closer: of its longer side.
const LETTER_OF_FRAME: f64 = 0.05;
/// See [`LETTER_OF_FRAME`].
const LETTER_OF_REGION: f64 = 0.2;
/// The score of a box that the detector did not find.
const NOT_DETECTED: f64 = 0.0;
/// How far about what the surface model sees letters join, in pixels: a gap between letters of 16 pixels and less.
const JOIN: f64 = 4.0;
/// The lowest letters that are read, in pixels, and the longest text, of its height.
const LEAST_LETTER: f64 = 6.0;
const LONGEST_TEXT: f64 = 12.0;
/// The detector's box, and one with more room: what both say counts. Of the box's height.
const ROOM: [f64; 2] = [1.0, 1.22];
/// A box that holds more than the letters (the field that they stand in, the glare about them) is read in parts of its height, and turned a little; the two
/// surest windows count. Of 40 rendered marks of 16 pixels and more, ordered as they are, 31 are read without and 34 with these (two windows, four boxes; with
/// lower parts, wider turns or more boxes no more); of 23 766 orders with a letter wrong, one letter less or more 11 are taken, 9 of them for a part of the mark,
/// which [`longer`] finds.
const PARTS: [f64; 3] = [1.0, 0.8, 0.64];
/// See [`PARTS`].
const TURNS_DEG: [f64; 2] = [-6.0, 6.0];
/// Boxes that are one: of their sizes, and in degrees.
const ALIKE: f64 = 1.25;
/// See [`ALIKE`].
const ALIKE_DEG: f64 = 8.0;
/// Boxes that are read so, and windows of each that count.
const TIGHTENED: usize = 4;
/// See [`TIGHTENED`].
const KEPT: usize = 2;
/// How far beyond its box, at both ends, a text is looked for more letters, of the box's height: about one, and three.
const BEYOND: [f64; 2] = [0.7, 1.8];
/// Least probability of a letter there.
const LEGIBLE: f64 = 0.5;
/// Both recognisers together: the least probability of a text by each, and by both, among all texts that differ from it in a letter, that are believed.
const EACH: f64 = 0.03;
const TOGETHER: f64 = 0.98;
/// Where the ordered text has more than this, no other mark is called.
const PLAUSIBLE: f64 = 0.01;

/// A mark as ordered.
#[derive(Debug, Clone, PartialEq)]
pub struct Ordered {
    /// Its text.
    pub text: String,
    /// How else it may be written: a fineness with its metal's symbol.
    pub also: Vec<String>,
    /// Where it is, in piece coordinates, and how far about it is looked for it, where the spec says so.
    pub place: Option<([f64; 2], f64)>,
}

/// The marks that a spec orders in a view: those of the view, else the number that the limit names.
pub fn ordered(spec: &Spec, view: &View) -> Vec<Ordered> {
    if !view.hallmarks.is_empty() {
        let place = |m: &crate::spec::Hallmark| Some(([m.x_mm?, m.y_mm?], m.radius_mm.unwrap_or(DEFAULT_RADIUS_MM)));
        return view
            .hallmarks
            .iter()
            .map(|m| Ordered { text: m.text.clone(), also: with_symbol(&m.text, &spec.metal), place: place(m) })
            .collect();
    }
    // Where the views name their marks, a view that names none has none.
    if spec.views.iter().any(|v| !v.hallmarks.is_empty()) {
        return vec![];
    }
    let nominal = spec.limit(TEXT, &view.name).and_then(|l| l.nominal);
    let order = |n: f64| {
        let text = format!("{n}");
        Ordered { also: with_symbol(&text, &spec.metal), text, place: None }
    };
    nominal.map(order).into_iter().collect()
}

/// A fineness before and behind the symbols of a metal: 950 of platinum is stamped PT950 too.
fn with_symbol(fineness: &str, metal: &str) -> Vec<String> {
    let of = |s: &&&str| match metal {
        "platinum" => **s == "PT",
        "palladium" => **s == "PD",
        "silver" => ["AG", "S"].contains(*s),
        m => m.ends_with("gold") && **s == "AU",
    };
    let symbols = FINENESS.iter().find(|f| f.0 == fineness).map_or(&[][..], |f| f.1);
    symbols.iter().filter(of).flat_map(|s| [format!("{s}{fineness}"), format!("{fineness}{s}")]).collect()
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
    /// Where else it may be, as long as it is not read surely.
    pub perhaps: Vec<TextBox>,
    /// Another text that is read surely and differs in a letter from the one ordered.
    pub rival: Option<String>,
}

/// Every mark of fineness that is known, in the reader's letters.
fn marks(letters: &Letters) -> Vec<Vec<usize>> {
    let mut out: Vec<Vec<usize>> = Vec::new();
    let mut add = |t: &str| out.extend(letters.of(t));
    for (number, metals) in FINENESS {
        add(number);
        metals.iter().for_each(|m| add(&format!("{m}{number}")));
    }
    for k in KARAT {
        add(k);
        add(&format!("{k}T"));
        add(&k.replace('K', "CT"));
        add(&format!("K{}", &k[..k.len() - 1]));
    }
    PLATED.iter().for_each(|p| add(p));
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

/// Whether `b` is `a` with one letter replaced, or with more letters before or behind it.
fn takes_after(a: &[usize], b: &[usize]) -> bool {
    let replaced = a.len() == b.len() && a.iter().zip(b).filter(|(x, y)| x != y).count() == 1;
    replaced || (b.len() > a.len() && (b.starts_with(a) || b.ends_with(a)))
}

/// One box read one way round by one recogniser: the lattices of its windows, and from when on its word is believed (logs).
struct Look {
    at: TextBox,
    /// Which recogniser.
    by: usize,
    windows: Vec<Lattice>,
    sure: f64,
    margin: f64,
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

    /// Log probability of a text by this look and another recogniser's at the same box together, among the others (which may hold it) and what both read first.
    /// None where one of them holds it hardly possible.
    fn together(&self, other: &Look, text: &Vec<usize>, others: &[Vec<usize>]) -> Option<f64> {
        let least = EACH.ln();
        if self.log_likelihood(text) < least || other.log_likelihood(text) < least {
            return None;
        }
        let firsts = [self.firsts(), other.firsts()].concat();
        let all = others.iter().chain(&firsts).filter(|o| *o != text);
        let own = self.log_likelihood(text) + other.log_likelihood(text);
        let joint: Vec<f64> = all.map(|o| self.log_likelihood(o) + other.log_likelihood(o)).collect();
        Some(-joint.iter().map(|j| (j - own).exp()).sum::<f64>().ln_1p())
    }

    /// Whether all windows read a text first, and are sure of it.
    fn believes(&self, text: &[usize]) -> bool {
        self.firsts().iter().all(|f| f == text) && self.log_likelihood(text) >= self.sure
    }

    /// What all windows read first, where they agree, they are sure of it and none of them holds `text` possible.
    fn sure_of_another(&self, text: &[usize]) -> Option<Vec<usize>> {
        let first = self.firsts().pop()?;
        (!first.is_empty() && self.believes(&first) && self.log_likelihood(text) < PLAUSIBLE.ln()).then_some(first)
    }
}

/// Looks for the ordered marks in a frame and reads them; where they are not read surely, looks closer at what was found on the
/// metal (`found`): letters a few pixels high are nothing to the detector, but they are to whoever seeks pits and stains.
///
/// # Errors
/// Where a model or OpenCV fails.
pub fn look(
    scene: &Scene,
    reader: &MarkReader,
    wanted: &[Ordered],
    found: &[Feature],
) -> Result<Vec<Reading>, String> {
    let refused = |e: VisionError| e.to_string();
    // Only the metal: a ground may carry letters too.
    let Some(area) = scene.located.metal.bounds() else { return Err("no metal is to be seen".into()) };
    let part = scene.image.cut(area);
    let grey = scene.grey();
    let mut looks: Vec<Look> = Vec::new();
    let mut out = Vec::new();
    let normalised = normalise(&part, LETTER_OF_FRAME).map_err(refused)?;
    for (image, side) in [(&part, SIDE), (&normalised, SIDE), (&normalised, SIDE / 2)] {
        let boxes = reader.detect(image, side, false).map_err(|e| e.to_string())?;
        looks.extend(read(reader, grey, boxes, [area.x, area.y])?);
        out = decide(scene, reader, wanted, &looks);
        longer(reader, grey, wanted, &mut out)?;
        if out.iter().all(|r| r.verdict != Verdict::Unsure) {
            return Ok(out);
        }
    }
    let near = |at: &TextBox| wanted.iter().any(|w| is_near(scene, w, at));
    let seen = looks.len();
    looks.extend(tighter(reader, grey, &looks, &near)?);
    if looks.len() > seen {
        out = decide(scene, reader, wanted, &looks);
        longer(reader, grey, wanted, &mut out)?;
        if out.iter().all(|r| r.verdict != Verdict::Unsure) {
            return Ok(out);
        }
    }
    let seen = looks.len();
    for r in closer(scene.image, found) {
        let part = scene.image.cut(r);
        let normalised = normalise(&part, LETTER_OF_REGION).map_err(refused)?;
        for image in [&part, &normalised] {
            let boxes = reader.detect(image, CLOSE, true).map_err(|e| e.to_string())?;
            looks.extend(read(reader, grey, boxes, [r.x, r.y])?);
        }
    }
    // What the surface model takes for neither plain metal nor ground, and the lines that letters found one by one stand in.
    for boxes in [marked(scene).map_err(refused)?, lines(&looks)] {
        looks.extend(read(reader, grey, boxes, [0, 0])?);
    }
    looks.extend(tighter(reader, grey, &looks[seen..], &near)?);
    let mut again = decide(scene, reader, wanted, &looks);
    longer(reader, grey, wanted, &mut again)?;
    for (first, again) in out.iter_mut().zip(again) {
        // A pit seen large may look like a letter: another mark is called only where it is seen as large as it is.
        if first.verdict == Verdict::Unsure && again.verdict != Verdict::Another {
            *first = again;
        }
    }
    Ok(out)
}

/// Boxes about what the surface model takes for marks, stones that nobody ordered and defects: a letter cut into metal looks like any of them. The largest
/// first.
fn marked(scene: &Scene) -> Result<Vec<TextBox>, VisionError> {
    let Some(map) = scene.classes else { return Ok(vec![]) };
    let mut odd = map.defect_plane();
    for class in ["mark", "stone"].iter().filter_map(|c| map.class(c)) {
        odd.data.iter_mut().zip(&map.class_plane(class).data).for_each(|(to, p)| *to += p);
    }
    let metal = &scene.located.metal.data;
    let data = odd.data.iter().zip(metal).map(|(p, m)| if *p >= 0.5 && *m != 0 { 255 } else { 0 });
    let mut mask = Mask { width: odd.width, height: odd.height, data: data.collect() };
    let pose = &scene.located.pose;
    for s in &scene.view.stones {
        let p = pose.to_px(s.x_mm, s.y_mm);
        ops::fill_circle(&mut mask, p[0], p[1], pose.px(s.reach_mm()), 0);
    }
    // Grown, so that letters join.
    let grown = ops::erode(&mask.inverse(), JOIN)?.inverse();
    let (mut blobs, labels) = ops::components(&grown)?;
    blobs.sort_by(|a, b| b.area.cmp(&a.area).then(a.label.cmp(&b.label)));
    let mut out = Vec::new();
    for b in blobs.iter().take(MOST) {
        let outline = ops::blob_outline(&labels, grown.width, b)?;
        let Some(r) = ops::min_area_rect(&outline)? else { continue };
        let grown = TextBox::about(&r, NOT_DETECTED);
        out.push(TextBox { length: grown.length - 2.0 * JOIN, height: grown.height - 2.0 * JOIN, ..grown });
    }
    out.retain(may_be_text);
    Ok(out)
}

/// Boxes about letters that were found one by one, or in pieces of a text: neighbours of about one size.
fn lines(looks: &[Look]) -> Vec<TextBox> {
    let mut boxes: Vec<TextBox> = Vec::new();
    for l in looks {
        // Each was read several ways round.
        if boxes.iter().all(|b| (b.x - l.at.x).hypot(b.y - l.at.y) > 0.5) {
            boxes.push(l.at);
        }
    }
    let size = |b: &TextBox| b.length.max(b.height);
    let near = |a: &TextBox, b: &TextBox| {
        let (large, small) = (size(a).max(size(b)), size(a).min(size(b)));
        (a.x - b.x).hypot(a.y - b.y) < 0.5 * (large + small) + 0.7 * a.height.min(b.height)
            && a.height.max(b.height) < 2.0 * a.height.min(b.height)
    };
    let mut group: Vec<usize> = (0..boxes.len()).collect();
    for i in 0..boxes.len() {
        for j in 0..i {
            if near(&boxes[i], &boxes[j]) && group[i] != group[j] {
                let (from, to) = (group[i], group[j]);
                group.iter_mut().filter(|g| **g == from).for_each(|g| *g = to);
            }
        }
    }
    let mut out = Vec::new();
    for k in 0..boxes.len() {
        let of: Vec<[f64; 2]> =
            boxes.iter().zip(&group).filter(|(_, g)| **g == k).flat_map(|(b, _)| b.corners()).collect();
        if of.len() < 8 {
            continue;
        }
        let Ok(Some(r)) = ops::min_area_rect(&of) else { continue };
        out.push(TextBox::about(&r, NOT_DETECTED));
    }
    out.retain(may_be_text);
    out
}

/// Whether a box has a text's shape.
fn may_be_text(b: &TextBox) -> bool {
    b.height >= LEAST_LETTER && b.length <= LONGEST_TEXT * b.height
}

/// Reads boxes of a part of the frame, each both ways round, and one that may stand upright four ways.
fn read(reader: &MarkReader, grey: &Plane, mut boxes: Vec<TextBox>, corner: [usize; 2]) -> Result<Vec<Look>, String> {
    boxes.truncate(MOST);
    let mut turned = Vec::new();
    for mut b in boxes {
        b.x += corner[0] as f64;
        b.y += corner[1] as f64;
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
    let mut looks = Vec::new();
    for (by, r) in reader.recognisers().iter().enumerate() {
        let mut windows = Vec::new();
        for t in &turned {
            for room in ROOM {
                windows.push(window(grey, t, room, r).map_err(|e| e.to_string())?);
            }
        }
        let lattices = r.read(&windows).map_err(|e| e.to_string())?;
        let (sure, margin) = (r.info().sure.ln(), r.info().margin.ln());
        let read = turned.iter().zip(lattices.chunks_exact(ROOM.len()));
        looks.extend(read.map(|(at, windows)| Look { at: *at, by, windows: windows.to_vec(), sure, margin }));
    }
    for l in &looks {
        tell(reader, l);
    }
    Ok(looks)
}

/// Log probability of what a window reads first; none where that is no text.
fn surety(lattice: &Lattice, letters: usize) -> Option<f64> {
    let first: Vec<usize> = lattice.greedy().into_iter().map(|g| g.0).collect();
    (first.len() > 1 && first.iter().all(|c| *c < letters)).then(|| lattice.log_likelihood(&first))
}

/// Reads the likeliest of the boxes once more where their letters may be: see [`PARTS`]. near: whether a mark is ordered there.
fn tighter(
    reader: &MarkReader,
    grey: &Plane,
    looks: &[Look],
    near: &dyn Fn(&TextBox) -> bool,
) -> Result<Vec<Look>, String> {
    let mut boxes: Vec<TextBox> = Vec::new();
    for at in looks.iter().map(|l| l.at).filter(|b| may_be_text(b) && near(b)) {
        if !boxes.iter().any(|b| is_alike(&at, b)) {
            boxes.push(at);
        }
    }
    let letters = reader.letters().count();
    let part = |b: &TextBox, share: f64, turn: f64| TextBox {
        // As much shorter as it is lower, at both ends together; of a single letter's box no more than its share.
        length: (b.length - (1.0 - share) * b.height).max(0.6 * share * b.height),
        height: share * b.height,
        angle: b.angle + turn.to_radians(),
        ..*b
    };
    // One row per box: which recogniser, where, what it says, how sure.
    type Read = (usize, TextBox, Lattice, f64);
    let read = |parts: &[TextBox]| -> Result<Vec<Read>, String> {
        let mut out = Vec::new();
        for (by, r) in reader.recognisers().iter().enumerate() {
            let windows: Result<Vec<Plane>, VisionError> = parts.iter().map(|p| window(grey, p, 1.0, r)).collect();
            let lattices = r.read(&windows.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
            let sure = parts.iter().zip(lattices).filter_map(|(p, l)| Some((by, *p, surety(&l, letters)?, l)));
            out.extend(sure.map(|(by, p, sure, l)| (by, p, l, sure)));
        }
        Ok(out)
    };
    let mut first = Vec::new();
    for b in boxes {
        let row = read(&PARTS.map(|share| part(&b, share, 0.0)))?;
        if let Some(most) = row.iter().map(|r| r.3).max_by(f64::total_cmp) {
            first.push((most, b, row));
        }
    }
    first.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut out = Vec::new();
    for (_, b, mut row) in first.into_iter().take(TIGHTENED) {
        for turn in TURNS_DEG {
            row.extend(read(&PARTS.map(|share| part(&b, share, turn)))?);
        }
        row.sort_by(|a, b| b.3.total_cmp(&a.3));
        // Both recognisers' word is about one place: where one of them is surest.
        let Some(at) = row.first().map(|r| r.1) else { continue };
        for (by, r) in reader.recognisers().iter().enumerate() {
            let windows: Vec<Lattice> = row.iter().filter(|r| r.0 == by).take(KEPT).map(|r| r.2.clone()).collect();
            if windows.len() == KEPT {
                let (sure, margin) = (r.info().sure.ln(), r.info().margin.ln());
                out.push(Look { at, by, windows, sure, margin });
            }
        }
    }
    for l in &out {
        tell(reader, l);
    }
    Ok(out)
}

/// Whether two boxes are one, but for a quarter of its height and of its size and a few degrees.
fn is_alike(a: &TextBox, b: &TextBox) -> bool {
    let turn = (a.angle - b.angle).rem_euclid(std::f64::consts::TAU);
    let close = |p: f64, q: f64| p < ALIKE * q && q < ALIKE * p;
    (a.x - b.x).hypot(a.y - b.y) < 0.25 * a.height.min(b.height)
        && turn.min(std::f64::consts::TAU - turn) < ALIKE_DEG.to_radians()
        && close(a.length, b.length)
        && close(a.height, b.height)
}

/// Tells in the log what a look reads.
fn tell(reader: &MarkReader, l: &Look) {
    let first = l.firsts().iter().map(|f| reader.letters().text(f)).collect::<Vec<_>>();
    tracing::debug!(
        "a mark at ({:.0}, {:.0}), {:.0} x {:.0}, {:.0} degrees: {first:?}",
        l.at.x,
        l.at.y,
        l.at.length,
        l.at.height,
        l.at.angle.to_degrees()
    );
}

/// Leaves to a person an ordered text that goes on beyond its box: the detector cuts off what stands apart or fades, and 18K GP is
/// plated.
fn longer(reader: &MarkReader, grey: &Plane, wanted: &[Ordered], readings: &mut [Reading]) -> Result<(), String> {
    let info = reader.letters();
    let own: Vec<Vec<usize>> =
        wanted.iter().flat_map(|w| std::iter::once(&w.text).chain(&w.also)).filter_map(|t| info.of(t)).collect();
    let trade = marks(info);
    for r in readings.iter_mut().filter(|r| r.verdict == Verdict::Ordered) {
        let (Some(at), Some(text)) = (r.at, info.of(&r.text)) else { continue };
        // What is read before and behind it, by which recogniser.
        let mut more: Vec<(usize, [Vec<usize>; 2])> = Vec::new();
        for (by, recogniser) in reader.recognisers().iter().enumerate() {
            let mut windows = Vec::new();
            for more in BEYOND {
                let wide = TextBox { length: at.length + 2.0 * more * at.height, ..at };
                windows.push(window(grey, &wide, 1.0, recogniser).map_err(|e| e.to_string())?);
            }
            for lattice in recogniser.read(&windows).map_err(|e| e.to_string())? {
                let first: Vec<usize> =
                    lattice.greedy().into_iter().filter(|g| g.1 >= LEGIBLE).map(|g| g.0).collect();
                let Some(k) = first.windows(text.len()).position(|w| *w == text[..]) else { continue };
                // Another ordered mark may stand beside it, and signs that are no letters.
                let extra = |t: &[usize]| -> Vec<usize> {
                    let ordered = own.iter().any(|o| o.starts_with(t) || o.ends_with(t));
                    t.iter().copied().filter(|c| *c < info.count() && !ordered).collect()
                };
                more.push((by, [extra(&first[..k]), extra(&first[k + text.len()..])]));
            }
        }
        // The edge of a mark's field may be read as a letter, but hardly by both recognisers: one alone is believed where it would make another mark.
        let told = more.iter().flat_map(|(by, sides)| sides.iter().enumerate().map(move |(side, e)| (*by, side, e)));
        let told = told.filter(|(.., e)| !e.is_empty());
        let all = |side: usize, e: &[usize]| if side == 0 { [e, &text].concat() } else { [&text, e].concat() };
        let found = told.clone().find(|(by, side, e)| {
            let makes = all(*side, e);
            let plating = *side == 1 && PLATED.iter().filter_map(|p| info.of(p)).any(|p| p.first() == e.first());
            plating || trade.contains(&makes) || told.clone().any(|(b, s, _)| b != *by && s == *side)
        });
        if let Some((_, side, e)) = found {
            (r.verdict, r.text) = (Verdict::Unsure, info.text(&all(side, e)));
            r.rival = Some(r.text.clone());
        }
    }
    Ok(())
}

/// Where to look closer: about the largest things found that the detector saw too small.
fn closer(image: &Image, found: &[Feature]) -> Vec<Rect> {
    let mut found: Vec<&Feature> = found.iter().filter(|f| !f.nominal && f.kind.is_some()).collect();
    found.sort_by(|a, b| b.radius_px.total_cmp(&a.radius_px));
    let mut out: Vec<Rect> = Vec::new();
    for f in found {
        let reach = (AROUND * f.radius_px).max(LEAST_REACH);
        let holds = |r: &Rect| {
            let (x, y) = (f.x_px - r.x as f64, f.y_px - r.y as f64);
            x >= 0.0 && y >= 0.0 && x < r.width as f64 && y < r.height as f64
        };
        if 2.0 * reach >= CLOSE as f64 || out.iter().any(holds) {
            continue;
        }
        let span = |at: f64, size: usize| {
            let low = (at - reach).max(0.0) as usize;
            (low, ((at + reach) as usize + 1).min(size).saturating_sub(low))
        };
        let ((x, width), (y, height)) = (span(f.x_px, image.width), span(f.y_px, image.height));
        if width.min(height) >= LEAST_REACH as usize {
            out.push(Rect { x, y, width, height });
        }
        if out.len() == MOST {
            break;
        }
    }
    out
}

/// What is made of the boxes that were read.
fn decide(scene: &Scene, reader: &MarkReader, wanted: &[Ordered], looks: &[Look]) -> Vec<Reading> {
    let info = reader.letters();
    let trade = marks(info);
    let own: Vec<Vec<(&str, Vec<usize>)>> = wanted
        .iter()
        .map(|w| std::iter::once(&w.text).chain(&w.also).filter_map(|t| Some((t.as_str(), info.of(t)?))).collect())
        .collect();
    wanted
        .iter()
        .zip(&own)
        .map(|(w, texts)| {
            let near: Vec<&Look> = looks.iter().filter(|l| is_near(scene, w, &l.at)).collect();
            let mut reading = Reading {
                ordered: w.text.clone(),
                verdict: Verdict::Unsure,
                text: String::new(),
                likely: 0.0,
                at: None,
                // A defect that was merely read to see whether it is a letter stays one.
                perhaps: near.iter().map(|l| l.at).filter(|at| at.score > NOT_DETECTED).collect(),
                rival: None,
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
            let mut best: Option<(f64, bool, TextBox, &str, &Vec<usize>)> = None;
            for (written, text) in texts.iter().filter(|t| !t.1.is_empty()) {
                let mut rivals = neighbours(text, info.count());
                rivals.extend(trade.iter().filter(|m| !texts.iter().any(|t| t.1 == **m)).cloned());
                for l in &near {
                    let (p, margin) = l.against(text, &rivals);
                    let sure = p >= l.sure && margin >= l.margin;
                    // One that believes it before one that does not: they err in other ways.
                    if best.is_none_or(|b| (sure, p) > (b.1, b.0)) {
                        best = Some((p, sure, l.at, *written, text));
                    }
                }
                // What neither is sure of both may be.
                let pairs = near
                    .iter()
                    .flat_map(|l| near.iter().filter(|q| q.by > l.by && q.at == l.at).map(move |q| (l, q)));
                for (l, q) in pairs {
                    let Some(p) = l.together(q, text, &rivals).filter(|p| *p >= TOGETHER.ln()) else { continue };
                    if best.is_none_or(|b| (true, p) > (b.1, b.0)) {
                        best = Some((p, true, l.at, *written, text));
                    }
                }
            }
            let Some((log_p, sure, at, written, text)) = best else { return reading };
            let of_plating = |m: &Vec<usize>| PLATED.iter().any(|p| info.of(p).as_ref() == Some(m));
            // Another mark of the trade that nobody ordered, read with the same certainty.
            let mut other: Option<(f64, &Vec<usize>, TextBox)> = None;
            // A box about a part of the ordered text reads that part: 950 of PT950 is no second mark.
            let part = |m: &[usize]| text.windows(m.len()).any(|w| w == m);
            for m in trade.iter().filter(|m| !part(m) && !own.iter().flatten().any(|o| o.1 == **m)) {
                let mut against = neighbours(m, info.count());
                against.extend(trade.iter().filter(|t| *t != m).cloned());
                against.push(text.clone());
                for l in &near {
                    // The full comparison only where it can be believed.
                    let p = l.log_likelihood(m);
                    if p < l.sure || other.as_ref().is_some_and(|o| o.0 > p) {
                        continue;
                    }
                    if l.against(m, &against).1 >= l.margin {
                        other = Some((p, m, l.at));
                    }
                }
            }
            let one_off = near.iter().find_map(|l| {
                let t = l.sure_of_another(text)?;
                // The edge of a mark's field may be read as a 1, but not by both recognisers.
                let edge = info.of("1").is_some_and(|i| t == [&i[..], text].concat() || t == [text, &i[..]].concat());
                if edge && near.iter().any(|q| q.at == l.at && q.believes(text)) {
                    return None;
                }
                // 916 upside down is read 918: of one place read both ways round the likelier counts.
                let turned = (l.at.angle - at.angle).cos() < 0.0 && at.holds([l.at.x, l.at.y]);
                if sure && turned && l.log_likelihood(&t) < log_p {
                    return None;
                }
                (takes_after(text, &t) && !own.iter().flatten().any(|o| o.1 == t)).then_some(t)
            });
            reading.rival = one_off.map(|t| info.text(&t));
            let of_fineness = trade.contains(text) || w.text.chars().any(|c| c.is_ascii_digit());
            match other {
                // A piece that bears a second mark of fineness is a person's matter.
                Some((_, m, _)) if sure => {
                    let text = format!("{written}, {}", info.text(m));
                    Reading { text, likely: log_p.exp(), at: Some(at), ..reading }
                }
                // The ordered text with more letters, or a word of plating alone, is no other fineness.
                Some((_, m, _)) if of_plating(m) || takes_after(text, m) && m.len() > text.len() => {
                    Reading { rival: Some(info.text(m)), ..reading }
                }
                Some((p, m, at)) if of_fineness && log_p < PLAUSIBLE.ln() => Reading {
                    verdict: Verdict::Another,
                    text: info.text(m),
                    likely: p.exp(),
                    at: Some(at),
                    ..reading
                },
                None if sure => {
                    // One that differs in a letter is a person's matter too, whatever it means.
                    let (verdict, text) = match &reading.rival {
                        Some(rival) => (Verdict::Unsure, format!("{written}, {rival}")),
                        None => (Verdict::Ordered, written.to_owned()),
                    };
                    Reading { verdict, text, likely: log_p.exp(), at: Some(at), ..reading }
                }
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
fn window(grey: &Plane, at: &TextBox, room: f64, by: &Recogniser) -> Result<Plane, VisionError> {
    let (height, width) = (by.info().height, by.info().width);
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

/// The picture with the same contrast everywhere: a mark that hardly shows on polished metal becomes one that does. `letter`: the
/// size of letters, of the longer side.
fn normalise(image: &Image, letter: f64) -> Result<Image, VisionError> {
    let p = image.mean();
    let sigma = p.width.max(p.height) as f64 * letter;
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

    fn is_last(&self) -> bool {
        true
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
                rim: None,
                // Another mark of the trade, read surely, needs no doubt.
                doubt: r.rival.as_ref().filter(|_| r.verdict == Verdict::Unsure).map(|t| format!("it reads `{t}`")),
                nominal: true,
            });
        }
        Ok(answer)
    }
}

/// Leaves to a person what was found where an ordered mark is, or may be: a faint letter looks like a pit, a row of them like a stain. On a mark that was read
/// right, a line or a patch that is in doubt and lies wholly on it is its letters, and so is a line that the model takes for a mark too. What is sure to be a defect
/// stays a person's, and so does every pit: of 37 painted into marks that were read, 0.12 mm wide, 21 more would have been taken for letters.
pub fn spare(scene: &Scene, features: &mut Vec<Feature>) {
    let Some(Ok(readings)) = &scene.marks else { return };
    for r in readings {
        for room in r.rooms() {
            if r.verdict == Verdict::Ordered {
                // Nor is a letter that was taken for a line or a patch the pit that such a thing may be.
                features.retain(|f| !(f.kind.is_none() && f.name.contains(AS_PIT) && lies_within(f, &room)));
            }
            for f in features.iter_mut().filter(|f| !f.nominal && room.holds([f.x_px, f.y_px])) {
                let stroke = f.opinion.filter(|o| {
                    let line = f.kind == Some(FindingType::Scratch);
                    let drawn = line || matches!(f.kind, Some(FindingType::Stain | FindingType::WornPlating));
                    let on_it = line && o.is_mark() || drawn && lies_within(f, &room);
                    r.verdict == Verdict::Ordered && f.doubt.is_some() && on_it
                });
                if let Some(opinion) = stroke {
                    let (outline, p) = (std::mem::take(&mut f.outline_px), opinion.probability().unwrap_or(0.0));
                    *f = opinion::sound(&opinion, p, [f.x_px, f.y_px], f.radius_px, outline);
                    continue;
                }
                f.doubt.get_or_insert_with(|| format!("it may be the hallmark `{}`", r.ordered));
            }
        }
    }
}

impl Reading {
    /// Where it is, or may be, and a little about it.
    fn rooms(&self) -> impl Iterator<Item = TextBox> + '_ {
        let unsure = self.verdict == Verdict::Unsure;
        let perhaps: &[TextBox] = if unsure { &self.perhaps } else { &[] };
        let at = self.at.iter().filter(move |at| !unsure || at.score > NOT_DETECTED);
        at.chain(perhaps).map(|at| TextBox {
            length: at.length + ABOUT * at.height,
            height: (1.0 + ABOUT) * at.height,
            ..*at
        })
    }
}

/// Metal beside the marks, whose letters have no finish; all of it where they take up more than half.
///
/// # Errors
/// Where OpenCV refuses.
pub fn beside(scene: &Scene, metal: Mask) -> Result<Mask, VisionError> {
    let Some(Ok(readings)) = &scene.marks else { return Ok(metal) };
    let rooms: Vec<Vec<[f64; 2]>> = readings.iter().flat_map(Reading::rooms).map(|room| room.corners()).collect();
    if rooms.is_empty() {
        return Ok(metal);
    }
    let mut rest = metal.clone();
    ops::fill_polygons(&mut rest, &rooms, 0)?;
    Ok(if 2 * rest.count() > metal.count() { rest } else { metal })
}

/// Whether all of something seen lies in a box.
fn lies_within(f: &Feature, room: &TextBox) -> bool {
    let r = f.radius_px;
    let about = [[-r, 0.0], [r, 0.0], [0.0, -r], [0.0, r]].map(|[x, y]| [f.x_px + x, f.y_px + y]);
    let ends = if f.outline_px.is_empty() { &about[..] } else { &f.outline_px };
    ends.iter().all(|p| room.holds(*p))
}

/// How far beyond a mark's box its strokes may show, of the box's height, both sides together.
const ABOUT: f64 = 0.5;

/// Why nothing was read where a limit asks for it.
pub const NOT_ORDERED: &str =
    "the spec does not say which mark: give the limit a `nominal`, or the view a `hallmark`";

/// The frame that carries what several frames say of one mark: one that is sure before one that is not. Where one reads the mark
/// ordered and another frame another mark, a person decides.
pub(crate) fn fuse<T>(mut all: Vec<(String, T, Feature)>) -> (String, T, Feature) {
    let sure = |f: &Feature| f.values.first().is_some_and(|v| v.uncertainty == 0.0);
    let value = |f: &Feature| f.values.first().map_or(0.0, |v| v.value);
    let says = |wanted: f64| all.iter().any(|a| sure(&a.2) && value(&a.2) == wanted);
    // A text that differs in a letter is another's word too.
    let contradict = says(1.0) && (says(0.0) || all.iter().any(|a| a.2.doubt.is_some()));
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
            rim: None,
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
        // One frame reads a text that differs in a letter.
        let mut other = feature(0.0, UNSURE, 0.9);
        other.2.doubt = Some("it reads `756`".into());
        assert_eq!(of(vec![other, feature(1.0, 0.0, 0.99)]), (1.0, UNSURE));
    }

    #[test]
    fn a_text_takes_after_one_that_it_differs_from_in_a_letter_or_goes_on_from() {
        assert!(takes_after(&[7, 5, 0], &[7, 5, 6]) && takes_after(&[7, 5, 0], &[7, 5, 0, 7]));
        assert!(takes_after(&[7, 5, 0], &[1, 7, 5, 0]));
        // A part of it is what a box that is too small shows.
        assert!(
            !takes_after(&[7, 5, 0], &[7, 5])
                && !takes_after(&[7, 5, 0], &[5, 8, 5])
                && !takes_after(&[7, 5, 0], &[7, 5, 0])
        );
    }

    #[test]
    fn what_lies_wholly_on_a_mark_is_told_from_what_runs_beyond_it() {
        let at = TextBox { x: 50.0, y: 40.0, length: 60.0, height: 20.0, angle: 0.5, score: 0.9 };
        let mut f = feature(0.0, 0.0, 0.5).2;
        (f.x_px, f.y_px, f.radius_px) = (60.0, 45.0, 6.0);
        assert!(lies_within(&f, &at));
        f.radius_px = 12.0;
        assert!(!lies_within(&f, &at));
        // An outline says more than a radius.
        f.outline_px = vec![[58.0, 44.0], [62.0, 44.0], [60.0, 47.0]];
        assert!(lies_within(&f, &at));
        f.outline_px.push([90.0, 20.0]);
        assert!(!lies_within(&f, &at));
        // Room is made about a mark that was read; where one may be, only what a detector found counts.
        let mut reading = Reading {
            ordered: "750".into(),
            verdict: Verdict::Ordered,
            text: "750".into(),
            likely: 0.9,
            at: Some(at),
            perhaps: vec![TextBox { x: 10.0, ..at }],
            rival: None,
        };
        let rooms: Vec<TextBox> = reading.rooms().collect();
        assert!(rooms.len() == 1 && rooms[0].height == 30.0 && rooms[0].length == 70.0, "{rooms:?}");
        reading.verdict = Verdict::Unsure;
        reading.at = Some(TextBox { score: 0.0, ..at });
        assert_eq!(reading.rooms().map(|r| r.x).collect::<Vec<_>>(), [10.0]);
    }

    #[test]
    fn boxes_that_are_nearly_one_are_alike() {
        let at = TextBox { x: 50.0, y: 40.0, length: 60.0, height: 20.0, angle: 0.02, score: 0.9 };
        let turned = TextBox { angle: 0.02 - std::f64::consts::TAU + 0.1, ..at };
        assert!(is_alike(&at, &turned) && is_alike(&at, &TextBox { height: 23.0, x: 53.0, ..at }));
        // The other way round, of another size, elsewhere.
        let other = [TextBox { angle: 3.16, ..at }, TextBox { height: 27.0, ..at }, TextBox { y: 46.0, ..at }];
        assert!(other.iter().all(|o| !is_alike(&at, o)));
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

    #[test]
    fn what_was_found_small_is_looked_at_closer_once() {
        let image = Image { width: 960, height: 720, data: vec![], grey: false };
        let pit = |x_px: f64, y_px: f64, radius_px: f64| Feature {
            kind: Some(crate::report::FindingType::Pit),
            nominal: false,
            x_px,
            y_px,
            radius_px,
            ..feature(0.0, 0.0, 1.0).2
        };
        let stone = Feature { nominal: true, ..pit(300.0, 300.0, 10.0) };
        let all =
            [pit(100.0, 100.0, 8.0), pit(110.0, 100.0, 9.0), pit(5.0, 715.0, 2.0), pit(500.0, 400.0, 200.0), stone];
        let seen = closer(&image, &all);
        assert_eq!(seen.len(), 2);
        assert_eq!((seen[0].x, seen[0].y, seen[0].width, seen[0].height), (74, 64, 73, 73));
        // At the frame's corner, what there is of it.
        assert_eq!((seen[1].x, seen[1].y + seen[1].height), (0, 720));
    }
}
