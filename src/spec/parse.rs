//! Parsing a spec, with the line and key of every mistake.
//!
//! The TOML is read as a tree whose nodes know their place, and checked by hand rather than through serde:
//! serde stops at the first mistake and often cannot say where it is, while whoever writes a spec wants all
//! of them at once.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::Spanned;

use super::{fineness, Colour, Hallmark, Limit, Outline, Prong, Rule, Spec, Stone, View, SPEC_SCHEMA};
use crate::hash::sha256_hex;
use crate::piece::nearest;

/// The characteristics a limit may be about, besides `piece.*` readings and further `ring.*` sizes.
pub const CHARACTERISTICS: &[&str] = &[
    "pit.diameter_mm",
    "porosity.pore_count",
    "porosity.area_pct",
    "porosity.max_pore_mm",
    "scratch.length_mm",
    "scratch.width_mm",
    "stain.area_mm2",
    "worn_plating.area_mm2",
    "outline.deviation_mm",
    "anomaly.score",
    "stone.present",
    "stone.offset_mm",
    "stone.tilt_deg",
    "stone.diameter_mm",
    "stone.chip_mm",
    "stone.play_mm",
    "stone.play_deg",
    "stone.gap_mm",
    "stone.carat",
    "stone.carat_total",
    "prong.present",
    "prong.offset_mm",
    "prong.coverage_pct",
    "ring.inner_diameter_mm",
    "ring.ovality_mm",
    "ring.outer_diameter_mm",
    "ring.band_width_mm",
    "ring.size_iso",
    "ring.size_us",
    "ring.size_jp",
    "ring.size_uk",
    "surface.finish",
    "surface.patch_mm2",
    "surface.brush_deg",
    "colour.delta_e00",
    "colour.yi_d1925",
    "colour.lab_l",
    "colour.lab_a",
    "colour.lab_b",
    "hallmark.text",
    "piece.weight_g",
    "piece.fineness_ppt",
];

/// The finishes the contract knows.
pub const FINISHES: &[&str] = &["polished", "brushed", "matte", "florentine"];

/// The metals the contract names; others are allowed, unless they look like one of these mistyped.
pub const METALS: &[&str] = &["yellow_gold", "rose_gold", "white_gold", "rhodium", "silver", "platinum"];

/// Coverage factors that mean something: below 1 the guard band holds fewer than 68 % of the values, above 4 all of them.
const COVERAGE: std::ops::RangeInclusive<f64> = 1.0..=4.0;

/// Largest length in a spec in mm: beyond it somebody wrote micrometres.
const MAX_LENGTH_MM: f64 = 1000.0;
/// Most points of a polygon: the check for crossing edges looks at every pair.
const MAX_POINTS: usize = 10_000;

/// One mistake in a spec or in a stone list it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecMistake {
    /// The file it is in: the spec, or one of its stone lists.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Dotted key, such as `view[0].stone[3].diameter_mm` (counted from 0); the column in a stone list.
    /// Empty where the mistake belongs to no key.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for SpecMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.path.display(), self.line)?;
        if !self.key.is_empty() {
            write!(f, "key `{}`: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// A spec that cannot be used. Displays one line per mistake.
#[derive(Debug)]
pub enum SpecError {
    /// The file could not be read.
    Read {
        /// The spec.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The spec has mistakes; never empty, in the order of their lines.
    Mistakes(Vec<SpecMistake>),
}

impl SpecError {
    /// The mistakes; empty where the file could not be read at all.
    pub fn mistakes(&self) -> &[SpecMistake] {
        match self {
            SpecError::Read { .. } => &[],
            SpecError::Mistakes(m) => m,
        }
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpecError::Read { path, source } => write!(f, "{}: cannot read: {source}", path.display()),
            SpecError::Mistakes(mistakes) => {
                for (i, m) in mistakes.iter().enumerate() {
                    if i > 0 {
                        f.write_str("\n")?;
                    }
                    write!(f, "{m}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for SpecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SpecError::Read { source, .. } => Some(source),
            SpecError::Mistakes(_) => None,
        }
    }
}

impl Spec {
    /// Parses and checks the text of a spec. `path` names it in errors; stone lists are read beside it.
    ///
    /// # Errors
    /// [`SpecError::Mistakes`] with every mistake.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SpecError> {
        parse(text, path).map(|(spec, _)| spec)
    }

    /// Reads and checks a spec. Also gives the sha256 (lower-case hex) of its text or, where it names stone
    /// lists, of the sha256s of its text and of every list, one a line.
    ///
    /// # Errors
    /// [`SpecError::Read`] where the file cannot be read, [`SpecError::Mistakes`] with every mistake.
    pub fn read(path: &Path) -> Result<(Self, String), SpecError> {
        let text =
            crate::files::read_text(path).map_err(|source| SpecError::Read { path: path.to_owned(), source })?;
        let (spec, lists) = parse(&text, path)?;
        let mut hash = sha256_hex(text.as_bytes());
        if !lists.is_empty() {
            let mut all = hash + "\n";
            for list in &lists {
                all.push_str(&sha256_hex(list));
                all.push('\n');
            }
            hash = sha256_hex(all.as_bytes());
        }
        Ok((spec, hash))
    }

    /// A spec that holds nothing but the stones of a CAD list (a CSV as a view's `stones_csv`).
    ///
    /// # Errors
    /// As [`Spec::read`].
    pub fn of_list(path: &Path) -> Result<Self, SpecError> {
        std::fs::File::open(path).map_err(|source| SpecError::Read { path: path.to_owned(), source })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = format!(
            "schema = \"{}\"\nsku = \"list\"\nmetal = \"silver\"\nfinish = \"polished\"\n[[view]]\nname = \"top\"\nstones_csv = {}\n",
            super::SPEC_SCHEMA,
            toml::Value::String(name)
        );
        Self::parse(&text, &path.with_file_name("spec.toml"))
    }
}

fn parse(text: &str, path: &Path) -> Result<(Spec, Vec<Vec<u8>>), SpecError> {
    let mut reader = Reader::new(text, path);
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        reader.syntax_errors(text, &errors);
        return Err(reader.into_error());
    }
    let root = Scope { key: String::new(), offset: 0, table: root.get_ref() };
    let spec = reader.spec(&root);
    match spec {
        Some(spec) if reader.mistakes.is_empty() => Ok((spec, reader.lists)),
        _ => Err(reader.into_error()),
    }
}

/// A table of the spec with the key that leads to it.
#[derive(Clone)]
struct Scope<'a, 'i> {
    key: String,
    /// Where the table begins in the text.
    offset: usize,
    table: &'a DeTable<'i>,
}

impl<'a, 'i> Scope<'a, 'i> {
    fn key(&self, name: &str) -> String {
        if self.key.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.key)
        }
    }

    /// A value with the offset of its key.
    fn get(&self, name: &str) -> Option<(usize, &'a Spanned<DeValue<'i>>)> {
        self.table.iter().find(|(k, _)| k.get_ref() == name).map(|(k, v)| (k.span().start, v))
    }

    /// Where to point for a key: at it, or at the table that lacks it.
    fn offset_of(&self, name: &str) -> usize {
        self.get(name).map_or(self.offset, |(at, _)| at)
    }
}

struct Reader<'a> {
    path: &'a Path,
    /// Offset at which each line begins.
    lines: Vec<usize>,
    mistakes: Vec<SpecMistake>,
    /// Keys that were suggested for an unknown one: they are mistyped, not missing.
    suggested: Vec<String>,
    /// The bytes of the stone lists that were read.
    lists: Vec<Vec<u8>>,
}

impl<'p> Reader<'p> {
    fn new(text: &str, path: &'p Path) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Reader { path, lines, mistakes: vec![], suggested: vec![], lists: vec![] }
    }

    fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset).max(1)
    }

    fn mistake(&mut self, offset: usize, key: impl Into<String>, message: impl Into<String>) {
        let line = self.line(offset);
        self.mistakes.push(SpecMistake {
            path: self.path.to_owned(),
            line,
            key: key.into(),
            message: message.into(),
        });
    }

    fn into_error(mut self) -> SpecError {
        let spec = self.path;
        self.mistakes.sort_by(|a, b| {
            (a.path != spec, &a.path, a.line, &a.key).cmp(&(b.path != spec, &b.path, b.line, &b.key))
        });
        SpecError::Mistakes(self.mistakes)
    }

    /// One mistake per line: what follows the first on a line is usually its echo.
    fn syntax_errors(&mut self, text: &str, errors: &[toml::de::Error]) {
        let mut seen = BTreeSet::new();
        for e in errors {
            let offset = e.span().map_or(0, |s| s.start).min(text.len());
            let line = self.line(offset);
            if seen.insert(line) {
                let key = key_at(text, line - 1);
                self.mistake(offset, key, format!("not valid TOML: {}", e.message()));
            }
        }
    }

    fn unknown_keys(&mut self, scope: &Scope, known: &[&str]) {
        for (key, _) in scope.table {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let message = match nearest(name, known) {
                Some(near) => {
                    self.suggested.push(scope.key(near));
                    format!("unknown key; did you mean `{near}`?")
                }
                None => format!("unknown key; known here: {}", known.join(", ")),
            };
            self.mistake(key.span().start, scope.key(name), message);
        }
    }

    fn missing(&mut self, scope: &Scope, name: &str) {
        let key = scope.key(name);
        if !self.suggested.contains(&key) {
            self.mistake(scope.offset, key, "is missing");
        }
    }

    fn wrong_type(&mut self, offset: usize, key: String, value: &DeValue, expected: &str) {
        let mut message = format!("is {}, expected {expected}", type_name(value));
        if let DeValue::String(s) = value {
            if expected.contains("number") && s.trim().parse::<f64>().is_ok() {
                message.push_str(" (take the quotes away)");
            }
        }
        self.mistake(offset, key, message);
    }

    fn optional_text(&mut self, scope: &Scope, name: &str) -> Option<String> {
        let (at, value) = scope.get(name)?;
        match value.get_ref() {
            DeValue::String(s) if s.trim().is_empty() => {
                self.mistake(at, scope.key(name), "is empty");
                None
            }
            DeValue::String(s) => Some(s.to_string()),
            other => {
                self.wrong_type(at, scope.key(name), other, "text in quotes");
                None
            }
        }
    }

    fn text(&mut self, scope: &Scope, name: &str) -> Option<String> {
        if scope.get(name).is_none() {
            self.missing(scope, name);
        }
        self.optional_text(scope, name)
    }

    /// Any finite number.
    fn optional_number(&mut self, scope: &Scope, name: &str) -> Option<f64> {
        let (at, value) = scope.get(name)?;
        match number_of(value.get_ref()) {
            Some(v) if v.is_finite() => Some(v),
            Some(v) => {
                self.mistake(at, scope.key(name), format!("{v} is no usable number: it must be finite"));
                None
            }
            None => {
                self.wrong_type(at, scope.key(name), value.get_ref(), "a number");
                None
            }
        }
    }

    fn number(&mut self, scope: &Scope, name: &str) -> Option<f64> {
        if scope.get(name).is_none() {
            self.missing(scope, name);
        }
        self.optional_number(scope, name)
    }

    /// A coordinate in mm.
    fn place(&mut self, scope: &Scope, name: &str) -> Option<f64> {
        let v = self.number(scope, name)?;
        if v.abs() > MAX_LENGTH_MM {
            self.mistake(scope.offset_of(name), scope.key(name), too_long(v));
            return None;
        }
        Some(v)
    }

    /// A length in mm above 0, or 0 as well where `zero` says so.
    fn size(&mut self, scope: &Scope, name: &str, zero: bool) -> Option<f64> {
        let v = self.number(scope, name)?;
        match size_mistake(v, zero) {
            None => Some(v),
            Some(message) => {
                self.mistake(scope.offset_of(name), scope.key(name), message);
                None
            }
        }
    }

    /// The tables of an array such as `[[view]]`.
    fn tables<'a, 'i>(&mut self, scope: &Scope<'a, 'i>, name: &str) -> Vec<Scope<'a, 'i>> {
        let Some((at, value)) = scope.get(name) else { return vec![] };
        let DeValue::Array(items) = value.get_ref() else {
            let message = match value.get_ref() {
                DeValue::Table(_) => format!("is one table, expected a list: write [[{}]]", dotted(&scope.key(name))),
                other => format!("is {}, expected a list of tables", type_name(other)),
            };
            self.mistake(at, scope.key(name), message);
            return vec![];
        };
        let mut out = vec![];
        for (i, item) in items.iter().enumerate() {
            let key = format!("{}[{i}]", scope.key(name));
            match item.get_ref() {
                DeValue::Table(table) => out.push(Scope { key, offset: item.span().start, table }),
                other => self.wrong_type(item.span().start, key, other, "a table"),
            }
        }
        out
    }

    fn spec(&mut self, root: &Scope) -> Option<Spec> {
        self.unknown_keys(
            root,
            &["schema", "sku", "metal", "finish", "fineness", "rule", "coverage", "colour", "view", "limit"],
        );
        let schema = self.text(root, "schema");
        if let Some(s) = schema.as_deref().filter(|s| *s != SPEC_SCHEMA) {
            self.mistake(root.offset_of("schema"), "schema", format!("is `{s}`, expected `{SPEC_SCHEMA}`"));
        }
        let sku = self.text(root, "sku");
        let metal = self.text(root, "metal");
        if let Some(m) = metal.as_deref().filter(|m| !METALS.contains(m)) {
            // A metal of one's own is fine; one or two letters off a known one is a typo.
            if let Some(near) = nearest(&super::word(m), METALS) {
                let message = format!("`{m}` is no metal the program knows; did you mean `{near}`?");
                self.mistake(root.offset_of("metal"), "metal", message);
            }
        }
        let finish = self.text(root, "finish");
        if let Some(f) = finish.as_deref().filter(|f| !FINISHES.contains(f)) {
            let mut message = format!("`{f}` is no finish; expected one of {}", FINISHES.join(", "));
            if let Some(near) = nearest(f, FINISHES) {
                message.push_str(&format!("; did you mean `{near}`?"));
            }
            self.mistake(root.offset_of("finish"), "finish", message);
        }
        let colour = self.colour(root);

        let scopes = self.tables(root, "view");
        if root.get("view").is_none() {
            self.missing(root, "view");
        } else if scopes.is_empty() && self.mistakes.is_empty() {
            self.mistake(root.offset_of("view"), "view", "is empty: a spec needs at least one [[view]]");
        }
        let mut views = vec![];
        // Names of all views, also of those with other mistakes: a limit may refer to them.
        let mut names: Vec<String> = vec![];
        for scope in &scopes {
            let (name, view) = self.view(scope);
            if let Some(name) = name {
                if let Some(i) = names.iter().position(|n| *n == name) {
                    let message = format!("`{name}` is already the name of view[{i}]");
                    self.mistake(scope.offset_of("name"), scope.key("name"), message);
                }
                names.push(name);
            }
            views.extend(view);
        }

        let mut limits: Vec<Limit> = vec![];
        let limit_scopes = self.tables(root, "limit");
        for scope in &limit_scopes {
            let Some(limit) = self.limit(scope, &names) else { continue };
            let of = |l: &Limit| (l.characteristic.clone(), l.view.clone(), l.zone.clone());
            if limits.iter().any(|l| of(l) == of(&limit)) {
                let message = format!("a second limit on `{}` for the same view and zone", limit.characteristic);
                self.mistake(scope.offset_of("characteristic"), scope.key("characteristic"), message);
            }
            // Marks that views order are what is read; a number that none of them has would be held against nothing.
            let ordered: Vec<&str> = views.iter().flat_map(|v| &v.hallmarks).map(|m| m.text.as_str()).collect();
            let number = limit.nominal.filter(|_| limit.characteristic == "hallmark.text").map(|n| n.to_string());
            if let Some(n) = number.filter(|n| !ordered.is_empty() && !ordered.contains(&n.as_str())) {
                let message =
                    format!("{n} is none of the marks that the views order ({}): leave it out", ordered.join(", "));
                self.mistake(scope.offset_of("nominal"), scope.key("nominal"), message);
            }
            limits.push(limit);
        }
        let (rule, coverage) = (self.rule(root), self.coverage(root));
        // The limit that a fineness makes is decided as all others are.
        let fineness = self.fineness(root, &limit_scopes, metal.as_deref(), &mut limits);
        self.decide(&limit_scopes, rule, coverage, &mut limits);
        Some(Spec {
            schema: schema?,
            sku: sku?,
            metal: metal?,
            finish: finish?,
            fineness,
            rule,
            coverage,
            colour,
            views,
            limits,
        })
    }

    /// `colour = { lab = [L, a, b] }`.
    fn colour(&mut self, root: &Scope) -> Option<Colour> {
        let (at, value) = root.get("colour")?;
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type(at, "colour".into(), value.get_ref(), "{ lab = [L, a, b] }");
            return None;
        };
        let scope = Scope { key: "colour".into(), offset: at, table };
        self.unknown_keys(&scope, &["lab"]);
        let Some((at, value)) = scope.get("lab") else {
            self.missing(&scope, "lab");
            return None;
        };
        let numbers: Option<Vec<f64>> = match value.get_ref() {
            DeValue::Array(items) => items.iter().map(|i| number_of(i.get_ref())).collect(),
            _ => None,
        };
        match numbers.and_then(|n| <[f64; 3]>::try_from(n).ok()) {
            // What no surface reflects: L* from 0 to 100, a* and b* within the gamut of surface colours.
            Some(lab) if lab[0] > 0.0 && lab[0] <= 100.0 && lab[1].abs() <= 150.0 && lab[2].abs() <= 150.0 => {
                Some(Colour { lab })
            }
            Some(lab) => {
                self.mistake(at, "colour.lab", format!("{lab:?} is no L*a*b* of a surface"));
                None
            }
            None => {
                self.mistake(at, "colour.lab", "is no list of three numbers [L, a, b]");
                None
            }
        }
    }

    fn view(&mut self, scope: &Scope) -> (Option<String>, Option<View>) {
        self.unknown_keys(scope, &["name", "outline", "stone", "stones_csv", "taught", "hallmark"]);
        let name = self.text(scope, "name");
        let outline = self.outline(scope);
        let mut stones: Vec<Stone> = vec![];
        let mut ids: Vec<(String, String)> = vec![];
        for at in &self.tables(scope, "stone") {
            let (id, stone) = self.stone(at, outline.as_ref());
            if let Some(id) = id {
                if let Some((_, first)) = ids.iter().find(|(i, _)| *i == id) {
                    let message = format!("`{id}` is already the id of {first}");
                    self.mistake(at.offset_of("id"), at.key("id"), message);
                }
                ids.push((id, at.key.clone()));
            }
            stones.extend(stone);
        }
        let stones_csv = self.optional_text(scope, "stones_csv");
        if let Some(file) = &stones_csv {
            self.stone_list(scope, file, outline.as_ref(), &mut ids, &mut stones);
        }
        // Not looked for here: the file may be taught on pieces of this very spec.
        let taught = self.optional_text(scope, "taught");
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let taught = taught.map(|file| folder.join(file).to_string_lossy().into_owned());
        let hallmarks = self.hallmarks(scope, outline.as_ref());
        let view = name.clone().map(|name| View { name, outline, stones, stones_csv, taught, hallmarks });
        (name, view)
    }

    fn hallmarks(&mut self, view: &Scope, outline: Option<&Outline>) -> Vec<Hallmark> {
        let mut out: Vec<Hallmark> = vec![];
        for at in &self.tables(view, "hallmark") {
            self.unknown_keys(at, &["text", "x_mm", "y_mm", "radius_mm"]);
            let text = self.text(at, "text");
            let strange = |c: char| !(c.is_ascii_alphanumeric() || c == ' ' || c == '.');
            if let Some(c) = text.as_deref().and_then(|t| t.chars().find(|c| strange(*c))) {
                let message = format!("`{c}` cannot be read: a mark is letters A to Z and digits");
                self.mistake(at.offset_of("text"), at.key("text"), message);
            }
            if let Some(t) = text.as_ref().filter(|t| out.iter().any(|h| h.text == **t)) {
                self.mistake(at.offset_of("text"), at.key("text"), format!("`{t}` is ordered twice in this view"));
            }
            let given = |name: &str| at.get(name).is_some();
            let (x_mm, y_mm) = match (given("x_mm"), given("y_mm")) {
                // One coordinate without the other is a mistake that names the missing one.
                (false, false) => (None, None),
                _ => (self.place(at, "x_mm"), self.place(at, "y_mm")),
            };
            let radius_mm = if given("radius_mm") { self.size(at, "radius_mm", false) } else { None };
            if radius_mm.is_some() && !given("x_mm") && !given("y_mm") {
                self.mistake(
                    at.offset_of("radius_mm"),
                    at.key("radius_mm"),
                    "is about a place: give `x_mm` and `y_mm`",
                );
            }
            if let (Some(x), Some(y)) = (x_mm, y_mm) {
                self.inside(at, outline, [x, y], 0.0, "the mark");
            }
            out.extend(text.map(|text| Hallmark { text, x_mm, y_mm, radius_mm }));
        }
        out
    }

    fn outline(&mut self, view: &Scope) -> Option<Outline> {
        let (at, value) = view.get("outline")?;
        let key = view.key("outline");
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type(at, key, value.get_ref(), "a table such as { shape = \"disc\", radius_mm = 3.5 }");
            return None;
        };
        let scope = &Scope { key, offset: at, table };
        let shape = self.text(scope, "shape")?;
        let shapes = ["disc", "ellipse", "rounded_rect", "band", "polygon"];
        match shape.as_str() {
            "disc" => {
                self.unknown_keys(scope, &["shape", "radius_mm"]);
                Some(Outline::Disc { radius_mm: self.size(scope, "radius_mm", false)? })
            }
            "ellipse" => {
                self.unknown_keys(scope, &["shape", "rx_mm", "ry_mm"]);
                let (rx, ry) = (self.size(scope, "rx_mm", false), self.size(scope, "ry_mm", false));
                Some(Outline::Ellipse { rx_mm: rx?, ry_mm: ry? })
            }
            "rounded_rect" => {
                self.unknown_keys(scope, &["shape", "width_mm", "height_mm", "corner_mm"]);
                let (w, h) = (self.size(scope, "width_mm", false), self.size(scope, "height_mm", false));
                let c = self.size(scope, "corner_mm", true);
                if let (Some(w), Some(h), Some(c)) = (w, h, c) {
                    let half = w.min(h) / 2.0;
                    if c > half + 1e-9 {
                        let message = format!("{c} is more than half the shorter side ({half})");
                        self.mistake(scope.offset_of("corner_mm"), scope.key("corner_mm"), message);
                        return None;
                    }
                }
                Some(Outline::RoundedRect { width_mm: w?, height_mm: h?, corner_mm: c? })
            }
            "band" => {
                self.unknown_keys(scope, &["shape", "half_width_mm", "radius_mm"]);
                let (w, r) = (self.size(scope, "half_width_mm", false), self.size(scope, "radius_mm", false));
                Some(Outline::Band { half_width_mm: w?, radius_mm: r? })
            }
            "polygon" => {
                self.unknown_keys(scope, &["shape", "points_mm"]);
                self.polygon(scope)
            }
            other => {
                let mut message = format!("`{other}` is no shape; expected one of {}", shapes.join(", "));
                if let Some(near) = nearest(other, &shapes) {
                    message.push_str(&format!("; did you mean `{near}`?"));
                }
                self.mistake(scope.offset_of("shape"), scope.key("shape"), message);
                None
            }
        }
    }

    fn polygon(&mut self, scope: &Scope) -> Option<Outline> {
        let Some((at, value)) = scope.get("points_mm") else {
            self.missing(scope, "points_mm");
            return None;
        };
        let key = scope.key("points_mm");
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(at, key, value.get_ref(), "a list of points [x, y]");
            return None;
        };
        let mut points: Vec<[f64; 2]> = vec![];
        let mut sound = true;
        for (i, item) in items.iter().enumerate() {
            let point = match item.get_ref() {
                DeValue::Array(xy) if xy.len() == 2 => {
                    let v: Vec<f64> = xy.iter().filter_map(|v| number_of(v.get_ref())).collect();
                    <[f64; 2]>::try_from(v).ok()
                }
                _ => None,
            };
            match point {
                Some(p) if p.iter().all(|v| v.is_finite() && v.abs() <= MAX_LENGTH_MM) => points.push(p),
                Some([x, y]) => {
                    sound = false;
                    let message = format!("[{x}, {y}] is no usable point in mm");
                    self.mistake(item.span().start, format!("{key}[{i}]"), message);
                }
                None => {
                    sound = false;
                    self.mistake(item.span().start, format!("{key}[{i}]"), "is no point [x, y] of two numbers");
                }
            }
        }
        if !sound {
            return None;
        }
        // Drawing programs repeat the first point to close the shape.
        if points.len() > 1 && points.first() == points.last() {
            points.pop();
        }
        if points.len() < 3 {
            self.mistake(at, key, format!("a polygon needs at least 3 points, here are {}", points.len()));
            return None;
        }
        if points.len() > MAX_POINTS {
            self.mistake(at, key, format!("a polygon may have at most {MAX_POINTS} points"));
            return None;
        }
        if let Some((i, j)) = crossing(&points) {
            let message = format!("the polygon crosses itself: the edges from points {i} and {j} meet");
            self.mistake(at, key, message);
            return None;
        }
        Some(Outline::Polygon { points_mm: points })
    }

    fn stone(&mut self, scope: &Scope, outline: Option<&Outline>) -> (Option<String>, Option<Stone>) {
        self.unknown_keys(scope, &["id", "x_mm", "y_mm", "diameter_mm", "cut", "turn_deg", "gem", "prongs"]);
        let id = self.text(scope, "id");
        let (x, y) = (self.place(scope, "x_mm"), self.place(scope, "y_mm"));
        let diameter = self.size(scope, "diameter_mm", false);
        let cut = match scope.get("cut") {
            Some(_) => self.optional_text(scope, "cut"),
            None => Some(super::round_cut()),
        };
        let turn_deg = scope.get("turn_deg").and_then(|_| self.number(scope, "turn_deg"));
        let gem = scope.get("gem").and_then(|_| self.optional_text(scope, "gem"));
        if let (Some(x), Some(y), Some(d)) = (x, y, diameter) {
            self.inside(scope, outline, [x, y], d / 2.0, "the stone");
        }
        let mut prongs = vec![];
        for at in &self.tables(scope, "prongs") {
            self.unknown_keys(at, &["x_mm", "y_mm", "radius_mm"]);
            let (x, y) = (self.place(at, "x_mm"), self.place(at, "y_mm"));
            let r = self.size(at, "radius_mm", false);
            if let (Some(x_mm), Some(y_mm), Some(radius_mm)) = (x, y, r) {
                self.inside(at, outline, [x_mm, y_mm], radius_mm, "the prong");
                prongs.push(Prong { x_mm, y_mm, radius_mm });
            }
        }
        let stone = (|| Some((id.clone()?, x?, y?, diameter?, cut?)))();
        let stone = stone.map(|(id, x_mm, y_mm, diameter_mm, cut)| Stone {
            id,
            x_mm,
            y_mm,
            diameter_mm,
            cut,
            turn_deg,
            gem,
            prongs,
        });
        (id, stone)
    }

    fn inside(&mut self, scope: &Scope, outline: Option<&Outline>, at: [f64; 2], radius: f64, what: &str) {
        if outline.is_some_and(|o| wholly_outside(o, at, radius)) {
            let message = format!("{what} at ({}, {}) lies wholly outside the view's outline", at[0], at[1]);
            self.mistake(scope.offset_of("x_mm"), scope.key("x_mm"), message);
        }
    }

    fn limit(&mut self, scope: &Scope, views: &[String]) -> Option<Limit> {
        self.unknown_keys(
            scope,
            &["characteristic", "lower", "upper", "nominal", "view", "zone", "severity", "rule", "coverage", "u_max"],
        );
        let characteristic = self.text(scope, "characteristic");
        if let Some(c) = characteristic.as_deref() {
            if let Some(message) = unknown_characteristic(c) {
                self.mistake(scope.offset_of("characteristic"), scope.key("characteristic"), message);
            }
        }
        let lower = self.optional_number(scope, "lower");
        let upper = self.optional_number(scope, "upper");
        let nominal = self.optional_number(scope, "nominal");
        if scope.get("lower").is_none() && scope.get("upper").is_none() {
            // The text of a hallmark has no size.
            if let Some(c) = characteristic.as_deref().filter(|c| *c != "hallmark.text") {
                let message = format!("the limit on `{c}` has neither `lower` nor `upper`");
                self.mistake(scope.offset_of("characteristic"), scope.key.clone(), message);
            }
        }
        match (lower, upper) {
            (Some(l), Some(u)) if l > u => {
                let message = format!("{l} is above `upper` ({u})");
                self.mistake(scope.offset_of("lower"), scope.key("lower"), message);
            }
            _ => {
                let text = characteristic.as_deref() == Some("hallmark.text");
                let off = nominal.filter(|_| !text).and_then(|n| match (lower, upper) {
                    (Some(l), _) if n < l => Some(format!("{n} is below `lower` ({l})")),
                    (_, Some(u)) if n > u => Some(format!("{n} is above `upper` ({u})")),
                    _ => None,
                });
                if let Some(message) = off {
                    self.mistake(scope.offset_of("nominal"), scope.key("nominal"), message);
                }
            }
        }
        if let (Some(c), Some(u)) = (characteristic.as_deref(), upper.filter(|u| *u < 0.0)) {
            if never_negative(c) {
                self.mistake(scope.offset_of("upper"), scope.key("upper"), format!("{u}: `{c}` is never negative"));
            }
        }
        // Something is there (1) or not (0): a limit that both keep lets every piece pass.
        if let Some(c) = characteristic.as_deref().filter(|c| c.ends_with(".present")) {
            if !(lower.is_some_and(|l| l > 0.0) || upper.is_some_and(|u| u < 1.0)) {
                let key = if lower.is_some() { "lower" } else { "upper" };
                let message = format!("`{c}` is 1 or 0, and neither breaks this limit: `lower = 1` asks for all");
                self.mistake(scope.offset_of(key), scope.key(key), message);
            }
        }
        // Of a mark `nominal` is its text, and its limit says that it must be there as ordered: 1, whatever else is written.
        let mark = characteristic.as_deref() == Some("hallmark.text");
        for (key, bound) in [("lower", lower), ("upper", upper)] {
            if let Some(b) = bound.filter(|b| mark && *b != 1.0) {
                let message =
                    format!("{b}: a mark is as ordered (1) or not (0), and its limit asks for 1: leave `{key}` out");
                self.mistake(scope.offset_of(key), scope.key(key), message);
            }
        }
        let lower = if mark { Some(1.0) } else { lower };
        let view = self.optional_text(scope, "view");
        if let Some(v) = view.as_deref().filter(|v| !views.iter().any(|n| n == v)) {
            let names: Vec<&str> = views.iter().map(String::as_str).collect();
            let message = match nearest(v, &names) {
                Some(near) => format!("`{v}` is no view of this spec; did you mean `{near}`?"),
                None => format!("`{v}` is no view of this spec (it has: {})", names.join(", ")),
            };
            self.mistake(scope.offset_of("view"), scope.key("view"), message);
        }
        let zone = self.optional_text(scope, "zone");
        let severity = self.optional_text(scope, "severity");
        let (rule, coverage) = (self.rule(scope), self.coverage(scope));
        let u_max = self.optional_number(scope, "u_max");
        if let Some(u) = u_max.filter(|u| *u <= 0.0) {
            let message = format!("{u} is no expanded uncertainty: it must be above 0");
            self.mistake(scope.offset_of("u_max"), scope.key("u_max"), message);
        }
        let characteristic = characteristic?;
        let limit = Limit { characteristic, lower, upper, nominal, view, zone, severity, rule, coverage, u_max };
        let word =
            |r: Rule| format!("`{}` is about measured values, and `{}` is none", r.as_str(), limit.characteristic);
        if let Some(message) = rule.filter(|r| *r != Rule::GuardBand && !limit.takes_rule()).map(word) {
            self.mistake(scope.offset_of("rule"), scope.key("rule"), message);
        }
        Some(limit)
    }

    /// A decision rule's word.
    fn rule(&mut self, scope: &Scope) -> Option<Rule> {
        let word = self.optional_text(scope, "rule")?;
        let rule = Rule::ALL.into_iter().find(|r| r.as_str() == word);
        if rule.is_none() {
            let words = Rule::ALL.map(Rule::as_str);
            let mut message = format!("`{word}` is no decision rule; expected one of {}", words.join(", "));
            if let Some(near) = nearest(&word, &words) {
                message.push_str(&format!("; did you mean `{near}`?"));
            }
            self.mistake(scope.offset_of("rule"), scope.key("rule"), message);
        }
        rule
    }

    /// A coverage factor k.
    fn coverage(&mut self, scope: &Scope) -> Option<f64> {
        let k = self.optional_number(scope, "coverage")?;
        if !COVERAGE.contains(&k) {
            let message = format!(
                "{k} is no coverage factor: U = k u with k from {} to {} (2 covers 95 %)",
                COVERAGE.start(),
                COVERAGE.end()
            );
            self.mistake(scope.offset_of("coverage"), scope.key("coverage"), message);
            return None;
        }
        Some(k)
    }

    /// Lays the spec's own rule and coverage on the limits that name none, and asks for what shared risk needs.
    fn decide(&mut self, scopes: &[Scope], rule: Option<Rule>, coverage: Option<f64>, limits: &mut [Limit]) {
        for limit in limits.iter_mut() {
            if limit.takes_rule() {
                limit.rule = limit.rule.or(rule);
            }
            limit.coverage = limit.coverage.or(coverage);
            let shared = limit.rule == Some(Rule::SharedRisk);
            if let (true, Some(u_max)) = (!shared, limit.u_max) {
                let (at, key) = at_limit(scopes, limit, "u_max");
                self.mistake(at, key, format!("{u_max} is for the rule `{}` alone", Rule::SharedRisk.as_str()));
            }
            if shared && limit.shared_risk_u().is_none() {
                let (at, key) = at_limit(scopes, limit, "u_max");
                let message = format!(
                    "is missing: `{}` needs the largest expanded uncertainty that was agreed, or a `nominal` or second limit to \
                     tell it from",
                    Rule::SharedRisk.as_str()
                );
                self.mistake(at, key, message);
            }
        }
    }

    /// The ordered fineness, and the limit that follows: at least as much, with no minus tolerance (ISO 9202).
    fn fineness(
        &mut self,
        root: &Scope,
        scopes: &[Scope],
        metal: Option<&str>,
        limits: &mut Vec<Limit>,
    ) -> Option<f64> {
        let ordered = self.optional_number(root, "fineness")?;
        if let Some(message) = fineness::mistake(ordered, metal.unwrap_or_default()) {
            self.mistake(root.offset_of("fineness"), "fineness", message);
            return None;
        }
        let Some(limit) = limits.iter_mut().find(|l| l.characteristic == fineness::FINENESS) else {
            let (lower, nominal) = (Some(ordered), Some(ordered));
            let characteristic = fineness::FINENESS.to_owned();
            limits.push(Limit { characteristic, lower, nominal, ..Limit::default() });
            return Some(ordered);
        };
        let lower = *limit.lower.get_or_insert(ordered);
        if lower < ordered || limit.upper.is_some_and(|u| u < ordered) {
            let name = if lower < ordered { "lower" } else { "upper" };
            let (at, key) = at_limit(scopes, limit, name);
            let message = format!("is below the ordered `fineness` ({ordered}): ISO 9202 allows no minus tolerance");
            self.mistake(at, key, message);
        }
        Some(ordered)
    }

    /// Reads a stone list beside the spec and adds its stones.
    fn stone_list(
        &mut self,
        view: &Scope,
        file: &str,
        outline: Option<&Outline>,
        ids: &mut Vec<(String, String)>,
        stones: &mut Vec<Stone>,
    ) {
        let path = self.path.parent().unwrap_or(Path::new("")).join(file);
        let bytes = match crate::files::read(&path) {
            Ok(bytes) => bytes,
            Err(e) => {
                let message = format!("{}: cannot read: {e}", path.display());
                self.mistake(view.offset_of("stones_csv"), view.key("stones_csv"), message);
                return;
            }
        };
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text.trim_start_matches('\u{feff}'),
            Err(e) => {
                let line = 1 + bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count();
                let message = "is no text (UTF-8)".to_owned();
                self.mistakes.push(SpecMistake { path, line, key: String::new(), message });
                return;
            }
        };
        let before = stones.len();
        let mut mistakes = vec![];
        let mut wrong = |line: usize, key: &str, message: String| {
            mistakes.push(SpecMistake { path: path.clone(), line, key: key.to_owned(), message });
        };
        if text.contains('\r') && !text.contains('\n') {
            wrong(1, "", "its lines end as on old Macs (CR alone): save it with line feeds".into());
        }
        let mut rows = text.lines().enumerate().map(|(i, l)| (i + 1, l)).filter(|(_, l)| !l.trim().is_empty());
        let header = rows.next();
        let names: Vec<String> = header.map(|(_, l)| csv_fields(l)).unwrap_or_default();
        let header_line = header.map_or(1, |(n, _)| n);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let column = |name: &str| names.iter().position(|n| *n == name);
        let mut columns = [0; 4];
        let mut complete = true;
        for (slot, name) in columns.iter_mut().zip(["id", "x_mm", "y_mm", "diameter_mm"]) {
            match column(name) {
                Some(i) => *slot = i,
                None => {
                    complete = false;
                    let inches =
                        |n: &&&str| name.ends_with("_mm") && n.eq_ignore_ascii_case(&name.replace("_mm", "_in"));
                    let message = match names.iter().find(|n| nearest(n, &[name]).is_some()) {
                        Some(inch) if inches(&inch) => {
                            format!("the column is missing; lengths are in millimetres: multiply those of `{inch}` by 25.4 and call them `{name}`")
                        }
                        Some(near) => format!("the column is missing; `{near}` looks like it mistyped"),
                        None if header.is_some_and(|(_, l)| l.contains(';')) => {
                            "the column is missing; the fields must be separated by commas, not `;`".into()
                        }
                        None => "the column is missing from the header".into(),
                    };
                    wrong(header_line, name, message);
                }
            }
        }
        for (i, name) in names.iter().enumerate() {
            if names[..i].contains(name) && LIST_COLUMNS.contains(name) {
                complete = false;
                wrong(header_line, name, "the column is there twice".into());
            }
        }
        for name in names.iter().filter(|n| !LIST_COLUMNS.contains(n)) {
            // A stone whose cut is not read is taken for a round one.
            let meant = LIST_COLUMNS
                .iter()
                .find(|c| c.replace('_', "").eq_ignore_ascii_case(&name.replace(['_', ' ', '-'], "")));
            if let Some(meant) = meant {
                complete = false;
                wrong(header_line, name, format!("the column is called `{meant}`"));
            }
        }
        if complete {
            for (line, row) in rows {
                let fields = csv_fields(row);
                if fields.len() != names.len() {
                    let message = format!("{} fields, the header has {}", fields.len(), names.len());
                    wrong(line, "", message);
                    continue;
                }
                let mut number = |i: usize, name: &str| match fields[columns[i]].parse::<f64>() {
                    Ok(v) if !v.is_finite() => {
                        wrong(line, name, format!("{v} is no usable number: it must be finite"));
                        None
                    }
                    Ok(v) if name == "diameter_mm" => match size_mistake(v, false) {
                        Some(message) => {
                            wrong(line, name, message);
                            None
                        }
                        None => Some(v),
                    },
                    Ok(v) if v.abs() > MAX_LENGTH_MM => {
                        wrong(line, name, too_long(v));
                        None
                    }
                    Ok(v) => Some(v),
                    Err(_) => {
                        wrong(line, name, format!("`{}` is no number", fields[columns[i]]));
                        None
                    }
                };
                let (x, y, d) = (number(1, "x_mm"), number(2, "y_mm"), number(3, "diameter_mm"));
                let id = &fields[columns[0]];
                if id.is_empty() {
                    wrong(line, "id", "is empty".into());
                    continue;
                }
                if let Some((_, first)) = ids.iter().find(|(i, _)| i == id) {
                    wrong(line, "id", format!("`{id}` is already the id of {first}"));
                }
                ids.push((id.clone(), format!("{file} line {line}")));
                let (Some(x_mm), Some(y_mm), Some(diameter_mm)) = (x, y, d) else { continue };
                if outline.is_some_and(|o| wholly_outside(o, [x_mm, y_mm], diameter_mm / 2.0)) {
                    let message = format!("the stone at ({x_mm}, {y_mm}) lies wholly outside the view's outline");
                    wrong(line, "x_mm", message);
                }
                let cut = column("cut").map(|i| fields[i].clone()).filter(|c| !c.is_empty());
                let cut = cut.unwrap_or_else(super::round_cut);
                let gem = column("gem").map(|i| fields[i].clone()).filter(|g| !g.is_empty());
                let turn = column("turn_deg").map(|i| fields[i].as_str()).filter(|t| !t.is_empty());
                let turn_deg = match turn.map(|t| (t, t.parse::<f64>())) {
                    Some((_, Ok(v))) if v.is_finite() && v.abs() <= 360.0 => Some(v),
                    Some((t, _)) => {
                        wrong(line, "turn_deg", format!("`{t}` is no turn: -360 to 360 degrees"));
                        None
                    }
                    None => None,
                };
                stones.push(Stone { id: id.clone(), x_mm, y_mm, diameter_mm, cut, turn_deg, gem, prongs: vec![] });
            }
        }
        if complete && mistakes.is_empty() && stones.len() == before {
            let message = "the list has no stone".to_owned();
            mistakes.push(SpecMistake { path: path.clone(), line: header_line, key: String::new(), message });
        }
        self.mistakes.extend(mistakes);
        self.lists.push(bytes);
    }
}

/// The columns that a list of stones may have; others are a CAD program's own.
const LIST_COLUMNS: [&str; 7] = ["id", "x_mm", "y_mm", "diameter_mm", "cut", "gem", "turn_deg"];

/// Where to point for a key of a limit that was read.
fn at_limit(scopes: &[Scope], limit: &Limit, name: &str) -> (usize, String) {
    let text = |s: &Scope, key: &str| match s.get(key).map(|(_, v)| v.get_ref()) {
        Some(DeValue::String(t)) => Some(t.to_string()),
        _ => None,
    };
    let of = |s: &&Scope| {
        text(s, "characteristic").as_deref() == Some(limit.characteristic.as_str())
            && text(s, "view") == limit.view
            && text(s, "zone") == limit.zone
    };
    scopes.iter().find(of).map_or((0, name.to_owned()), |s| (s.offset_of(name), s.key(name)))
}

/// The fields of one line of CSV; a field may stand in double quotes, a quote in it is doubled.
pub(crate) fn csv_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let Some(field) = fields.last_mut() else { break };
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => field.push(c),
        }
    }
    fields.iter().map(|f| f.trim().to_owned()).collect()
}

/// The key a line of broken TOML is about, with the table it stands in: a guess from the text alone.
fn key_at(text: &str, line: usize) -> String {
    let mut key = String::new();
    let mut counts: Vec<(String, usize)> = vec![];
    for (i, l) in text.lines().enumerate().take(line + 1) {
        let l = l.trim();
        if let Some(name) = l.strip_prefix("[[").and_then(|r| r.split_once("]]")).map(|(n, _)| n.trim().to_owned()) {
            // A new parent starts the counts of its children again.
            counts.retain(|(n, _)| !n.starts_with(&format!("{name}.")));
            match counts.iter_mut().find(|(n, _)| *n == name) {
                Some((_, n)) => *n += 1,
                None => counts.push((name.clone(), 0)),
            }
            key = name;
        } else if let Some(name) = l.strip_prefix('[').and_then(|r| r.split_once(']')).map(|(n, _)| n) {
            key = name.trim().to_owned();
        }
        if i == line {
            let mut path: Vec<String> = vec![];
            let mut so_far = String::new();
            for part in key.split('.').filter(|p| !p.is_empty()) {
                if !so_far.is_empty() {
                    so_far.push('.');
                }
                so_far.push_str(part);
                let index = counts.iter().find(|(n, _)| *n == so_far).map(|(_, c)| *c);
                path.push(index.map_or_else(|| part.to_owned(), |c| format!("{part}[{c}]")));
            }
            if let Some((name, _)) = l.split_once('=') {
                let name = name.trim().trim_matches('"');
                if !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c)) {
                    path.push(name.to_owned());
                }
            }
            return path.join(".");
        }
    }
    key
}

/// `view[0].stone` as it stands in a header: `view.stone`.
fn dotted(key: &str) -> String {
    let mut out = String::new();
    let mut depth = 0;
    for c in key.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            c if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

fn type_name(value: &DeValue) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn number_of(value: &DeValue) -> Option<f64> {
    match value {
        DeValue::Integer(i) => i128::from_str_radix(i.as_str(), i.radix()).ok().map(|v| v as f64),
        DeValue::Float(f) => f.as_str().parse().ok(),
        _ => None,
    }
}

fn too_long(v: f64) -> String {
    format!("{v} mm is more than a metre; lengths are in millimetres")
}

fn size_mistake(v: f64, zero: bool) -> Option<String> {
    if v < 0.0 || (v == 0.0 && !zero) {
        Some(format!("{v} is no size: it must be {}", if zero { "0 or more" } else { "above 0" }))
    } else if v > MAX_LENGTH_MM {
        Some(too_long(v))
    } else {
        None
    }
}

/// What is wrong with a characteristic that the program has never heard of.
pub(crate) fn unknown_characteristic(c: &str) -> Option<String> {
    if CHARACTERISTICS.contains(&c) {
        return None;
    }
    // A station may read what it likes, and a ring has more sizes than two; but a known name mistyped would
    // leave the piece under review for ever.
    let near = nearest(c, CHARACTERISTICS);
    let open = ["piece.", "ring."].iter().any(|p| c.strip_prefix(p).is_some_and(|rest| !rest.is_empty()));
    match near {
        Some(near) => Some(format!("`{c}` is no characteristic; did you mean `{near}`?")),
        None if open => None,
        None => {
            let family = c.split_once('.').map_or(c, |(f, _)| f);
            let of_family: Vec<&str> =
                CHARACTERISTICS.iter().copied().filter(|k| k.split('.').next() == Some(family)).collect();
            Some(if of_family.is_empty() {
                format!("`{c}` is no characteristic the program knows")
            } else {
                format!("`{c}` is no characteristic; there are {}", of_family.join(", "))
            })
        }
    }
}

/// Whether a characteristic is of those that are not below 0, by its name.
pub(crate) fn never_negative(c: &str) -> bool {
    ["_mm", "_mm2", "_pct", "_count", "_deg", "_g", ".present", ".carat", ".finish", "_e00"]
        .iter()
        .any(|unit| c.ends_with(unit))
}

/// Whether a disc has no point in common with the outline.
/// Whether nothing of a disc lies within an outline.
pub(crate) fn wholly_outside(outline: &Outline, [x, y]: [f64; 2], radius: f64) -> bool {
    match outline {
        Outline::Disc { radius_mm } => x.hypot(y) > radius_mm + radius,
        Outline::Band { half_width_mm, .. } => y.abs() > half_width_mm + radius,
        Outline::RoundedRect { width_mm, height_mm, corner_mm } => {
            let dx = x.abs() - (width_mm / 2.0 - corner_mm);
            let dy = y.abs() - (height_mm / 2.0 - corner_mm);
            let distance = dx.max(0.0).hypot(dy.max(0.0)) + dx.max(dy).min(0.0) - corner_mm;
            distance > radius
        }
        Outline::Ellipse { rx_mm, ry_mm } => {
            let points: Vec<[f64; 2]> = (0..360)
                .map(|i| f64::from(i).to_radians().sin_cos())
                .map(|(sin, cos)| [rx_mm * cos, ry_mm * sin])
                .collect();
            outside_polygon(&points, [x, y], radius)
        }
        Outline::Polygon { points_mm } => outside_polygon(points_mm, [x, y], radius),
    }
}

fn outside_polygon(points: &[[f64; 2]], [x, y]: [f64; 2], radius: f64) -> bool {
    let mut inside = false;
    let mut nearest = f64::INFINITY;
    for (i, a) in points.iter().enumerate() {
        let b = points[(i + 1) % points.len()];
        if (a[1] > y) != (b[1] > y) && x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0] {
            inside = !inside;
        }
        let (ux, uy) = (b[0] - a[0], b[1] - a[1]);
        let t = (((x - a[0]) * ux + (y - a[1]) * uy) / (ux * ux + uy * uy)).clamp(0.0, 1.0);
        nearest = nearest.min((a[0] + t * ux - x).hypot(a[1] + t * uy - y));
    }
    !inside && nearest > radius
}

/// The first two edges of a closed polygon that meet where they should not; an edge is named by its first
/// point. An edge without length meets itself.
pub(crate) fn crossing(points: &[[f64; 2]]) -> Option<(usize, usize)> {
    let n = points.len();
    let edge = |i: usize| (points[i], points[(i + 1) % n]);
    for i in 0..n {
        let (a, b) = edge(i);
        if a == b {
            return Some((i, i));
        }
        for j in i + 1..n {
            let (c, d) = edge(j);
            let next = j == i + 1 || (i == 0 && j == n - 1);
            let meets = if next {
                // Neighbours share a point; they may not run back over each other.
                let (shared, p, q) = if j == i + 1 { (b, a, d) } else { (a, b, c) };
                let (u, v) = ([p[0] - shared[0], p[1] - shared[1]], [q[0] - shared[0], q[1] - shared[1]]);
                u[0] * v[1] == u[1] * v[0] && u[0] * v[0] + u[1] * v[1] > 0.0
            } else {
                segments_meet(a, b, c, d)
            };
            if meets {
                return Some((i, j));
            }
        }
    }
    None
}

fn segments_meet(a: [f64; 2], b: [f64; 2], c: [f64; 2], d: [f64; 2]) -> bool {
    let side = |p: [f64; 2], q: [f64; 2], r: [f64; 2]| (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]);
    let on = |p: [f64; 2], q: [f64; 2], r: [f64; 2]| (0..2).all(|k| r[k] >= p[k].min(q[k]) && r[k] <= p[k].max(q[k]));
    let (s1, s2) = (side(a, b, c), side(a, b, d));
    let (s3, s4) = (side(c, d, a), side(c, d, b));
    (s1 * s2 < 0.0 && s3 * s4 < 0.0)
        || (s1 == 0.0 && on(a, b, c))
        || (s2 == 0.0 && on(a, b, d))
        || (s3 == 0.0 && on(c, d, a))
        || (s4 == 0.0 && on(c, d, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"schema = "loupe.spec/1"
sku = "x"
metal = "yellow_gold"
finish = "polished"

[[view]]
name = "top"
outline = { shape = "rounded_rect", width_mm = 9.6, height_mm = 6.9, corner_mm = 0.8 }

[[view.stone]]
id = "S1"
x_mm = -4.1
y_mm = 2.4
diameter_mm = 1.3
cut = "round"
prongs = [ { x_mm = -4.5, y_mm = 2.8, radius_mm = 0.17 } ]

[[view.stone]]
id = "S2"
x_mm = 1
y_mm = 0
diameter_mm = 1.3

[[limit]]
characteristic = "pit.diameter_mm"
upper = 0.05

[[limit]]
characteristic = "ring.inner_diameter_mm"
nominal = 17.35
lower = 17.25
upper = 17.45
"#;

    /// The mistakes in the good spec after one replacement.
    fn after(from: &str, to: &str) -> Vec<SpecMistake> {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        match Spec::parse(&text, Path::new("x/spec.toml")) {
            Ok(_) => vec![],
            Err(e) => e.mistakes().to_vec(),
        }
    }

    fn outline(o: &str) -> Vec<SpecMistake> {
        let stoneless: Vec<&str> = GOOD.split("[[view.stone]]").collect();
        let limits = &GOOD[GOOD.find("[[limit]]").unwrap()..];
        let from = r#"{ shape = "rounded_rect", width_mm = 9.6, height_mm = 6.9, corner_mm = 0.8 }"#;
        let text = format!("{}{limits}", stoneless[0].replace(from, o));
        Spec::parse(&text, Path::new("x/spec.toml")).err().map(|e| e.mistakes().to_vec()).unwrap_or_default()
    }

    #[track_caller]
    fn one(mistakes: Vec<SpecMistake>, line: usize, key: &str, part: &str) {
        assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
        let m = &mistakes[0];
        assert_eq!((m.line, m.key.as_str()), (line, key), "{m}");
        assert!(m.message.contains(part), "{m}");
        assert!(m.to_string().starts_with(&format!("x/spec.toml:{line}: key `{key}`: ")), "{m}");
    }

    #[test]
    fn the_example_of_the_contract_is_read() {
        let spec = Spec::parse(GOOD, Path::new("spec.toml")).unwrap();
        assert_eq!(spec.views[0].stones.len(), 2);
        assert_eq!(spec.views[0].stones[0].prongs[0].radius_mm, 0.17);
        assert_eq!(spec.views[0].stones[1].cut, "round");
        assert_eq!(spec.limits[1].nominal, Some(17.35));
        // The same through serde: the checked reader and the types agree.
        assert_eq!(spec, toml::from_str::<Spec>(GOOD).unwrap());
    }

    #[test]
    fn unknown_keys_get_a_suggestion_and_are_not_missing_as_well() {
        one(after("finish =", "finnish ="), 4, "finnish", "did you mean `finish`?");
        one(after("diameter_mm = 1.3", "diamter_mm = 1.3"), 14, "view[0].stone[0].diamter_mm", "`diameter_mm`");
        one(after("radius_mm = 0.17", "radus_mm = 0.17"), 16, "view[0].stone[0].prongs[0].radus_mm", "`radius_mm`");
        one(after("upper = 0.05", "uper = 0.05\nlower = 0"), 26, "limit[0].uper", "did you mean `upper`?");
        one(after("sku =", "colour_of_box = 3\nsku ="), 2, "colour_of_box", "unknown key; known here");
    }

    #[test]
    fn missing_keys_point_at_their_table() {
        one(after("sku = \"x\"\n", ""), 1, "sku", "is missing");
        one(after("id = \"S1\"\n", ""), 10, "view[0].stone[0].id", "is missing");
        one(after("name = \"top\"\n", ""), 6, "view[0].name", "is missing");
        one(after("characteristic = \"pit.diameter_mm\"\n", ""), 24, "limit[0].characteristic", "is missing");
        one(outline("{ shape = \"disc\" }"), 8, "view[0].outline.radius_mm", "is missing");
    }

    #[test]
    fn wrong_types() {
        one(after("y_mm = 2.4", "y_mm = \"2.4\""), 13, "view[0].stone[0].y_mm", "take the quotes away");
        one(after("sku = \"x\"", "sku = 12"), 2, "sku", "is a number, expected text");
        one(after("[[view]]", "[view]").into_iter().filter(|m| m.key == "view").collect(), 6, "view", "[[view]]");
        one(after("upper = 0.05", "upper = true"), 26, "limit[0].upper", "true or false");
        one(outline("\"disc\""), 8, "view[0].outline", "expected a table");
    }

    #[test]
    fn numbers_that_are_no_sizes() {
        for bad in ["nan", "inf", "-inf", "0", "0.0", "-1.3"] {
            let m = after("diameter_mm = 1.3", &format!("diameter_mm = {bad}"));
            one(m, 14, "view[0].stone[0].diameter_mm", " is no ");
        }
        one(after("diameter_mm = 1.3", "diameter_mm = 1300"), 14, "view[0].stone[0].diameter_mm", "millimetres");
        one(after("x_mm = -4.1", "x_mm = nan"), 12, "view[0].stone[0].x_mm", "finite");
        one(after("radius_mm = 0.17", "radius_mm = -0.17"), 16, "view[0].stone[0].prongs[0].radius_mm", "above 0");
        one(after("upper = 0.05", "upper = nan"), 26, "limit[0].upper", "finite");
        one(after("upper = 0.05", "upper = -0.05"), 26, "limit[0].upper", "never negative");
    }

    #[test]
    fn broken_toml_names_line_and_key() {
        one(after("diameter_mm = 1.3", "diameter_mm = NaN"), 14, "view[0].stone[0].diameter_mm", "not valid TOML");
        one(after("upper = 0.05", "upper = 0.05 mm"), 26, "limit[0].upper", "not valid TOML");
        one(after("sku = \"x\"", "sku = \"x\"\nsku = \"y\""), 3, "sku", "not valid TOML: duplicate key");
        let two = Spec::parse("schema = \nsku = \"x\"\nmetal = oops\n", Path::new("s.toml")).unwrap_err();
        assert_eq!(two.mistakes().iter().map(|m| m.line).collect::<Vec<_>>(), [1, 3], "{two}");
    }

    #[test]
    fn outlines() {
        for good in [
            "{ shape = \"disc\", radius_mm = 3 }",
            "{ shape = \"ellipse\", rx_mm = 3, ry_mm = 2.5 }",
            "{ shape = \"rounded_rect\", width_mm = 4, height_mm = 2, corner_mm = 1 }",
            "{ shape = \"rounded_rect\", width_mm = 4, height_mm = 2, corner_mm = 0 }",
            "{ shape = \"band\", half_width_mm = 1.4, radius_mm = 9.5 }",
            "{ shape = \"polygon\", points_mm = [[0, 0], [2, 0], [1, 1.5]] }",
            "{ shape = \"polygon\", points_mm = [[0, 0], [2, 0], [2, 2], [1, 1], [0, 2], [0, 0]] }",
        ] {
            assert_eq!(outline(good), [], "{good}");
        }
        let o = "view[0].outline";
        one(outline("{ shape = \"disk\", radius_mm = 3 }"), 8, &format!("{o}.shape"), "did you mean `disc`?");
        one(outline("{ shape = \"heart\" }"), 8, &format!("{o}.shape"), "expected one of disc, ellipse");
        one(outline("{ radius_mm = 3 }"), 8, &format!("{o}.shape"), "is missing");
        one(outline("{ shape = \"disc\", rx_mm = 3, radius_mm = 1 }"), 8, &format!("{o}.rx_mm"), "unknown key");
        let corner = "{ shape = \"rounded_rect\", width_mm = 4, height_mm = 2, corner_mm = 1.1 }";
        one(outline(corner), 8, &format!("{o}.corner_mm"), "more than half the shorter side (1)");
        let p = &format!("{o}.points_mm");
        let polygon = |points: &str| outline(&format!("{{ shape = \"polygon\", points_mm = {points} }}"));
        one(polygon("[[0, 0], [1, 1]]"), 8, p, "at least 3 points, here are 2");
        one(polygon("[[0, 0], [1, 1], [0, 0]]"), 8, p, "at least 3 points, here are 2");
        one(polygon("[[0, 0], [2, 2], [2, 0], [0, 2]]"), 8, p, "points 0 and 2 meet");
        one(polygon("[[0, 0], [1, 0], [2, 0]]"), 8, p, "crosses itself");
        one(polygon("[[0, 0], [1, 0], [1, 0], [0, 1]]"), 8, p, "crosses itself");
        one(polygon("[[0, 0], [1, nan], [1, 1]]"), 8, &format!("{p}[1]"), "no usable point");
        one(polygon("[[0, 0], [1], [1, 1]]"), 8, &format!("{p}[1]"), "no point [x, y]");
    }

    #[test]
    fn places_wholly_outside_the_outline() {
        one(after("x_mm = -4.1", "x_mm = -5.46"), 12, "view[0].stone[0].x_mm", "the stone at (-5.46, 2.4)");
        assert_eq!(after("x_mm = -4.1", "x_mm = -5.4"), [], "a stone may stand over the edge");
        one(after("x_mm = -4.5", "x_mm = -45"), 16, "view[0].stone[0].prongs[0].x_mm", "the prong");
        let outside = |o: Outline, at| wholly_outside(&o, at, 0.5);
        assert!(outside(Outline::Disc { radius_mm: 3.0 }, [3.51, 0.0]));
        assert!(!outside(Outline::Disc { radius_mm: 3.0 }, [3.49, 0.0]));
        assert!(outside(Outline::Ellipse { rx_mm: 3.0, ry_mm: 1.0 }, [0.0, 1.51]));
        assert!(!outside(Outline::Ellipse { rx_mm: 3.0, ry_mm: 1.0 }, [3.49, 0.0]));
        assert!(!outside(Outline::Ellipse { rx_mm: 3.0, ry_mm: 1.0 }, [0.0, 0.0]));
        assert!(outside(Outline::Band { half_width_mm: 1.0, radius_mm: 9.0 }, [0.0, -1.51]));
        assert!(!outside(Outline::Band { half_width_mm: 1.0, radius_mm: 9.0 }, [40.0, -1.49]));
        let triangle = Outline::Polygon { points_mm: vec![[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]] };
        assert!(outside(triangle.clone(), [4.0, 4.0]) && !outside(triangle, [2.2, 2.2]));
    }

    #[test]
    fn names_given_twice() {
        one(after("id = \"S2\"", "id = \"S1\""), 19, "view[0].stone[1].id", "already the id of view[0].stone[0]");
        let m = after("[[limit]]", "[[view]]\nname = \"top\"\n\n[[limit]]");
        one(m, 25, "view[1].name", "already the name of view[0]");
        let twice = "[[limit]]\ncharacteristic = \"pit.diameter_mm\"\nlower = 0\n\n[[limit]]";
        one(after("[[limit]]", twice), 29, "limit[1].characteristic", "a second limit");
        let of_view = "[[limit]]\ncharacteristic = \"pit.diameter_mm\"\nview = \"top\"\nupper = 1\n\n[[limit]]";
        assert_eq!(after("[[limit]]", of_view), []);
    }

    #[test]
    fn limits() {
        let c = "limit[0].characteristic";
        one(after("pit.diameter_mm", "pit.diametre_mm"), 25, c, "did you mean `pit.diameter_mm`?");
        one(after("pit.diameter_mm", "pit.depth_mm"), 25, c, "there are pit.diameter_mm");
        one(after("pit.diameter_mm", "shine"), 25, c, "is no characteristic the program knows");
        one(after("pit.diameter_mm", "piece.wieght_g"), 25, c, "did you mean `piece.weight_g`?");
        assert_eq!(after("pit.diameter_mm", "piece.plating_um"), []);
        assert_eq!(after("pit.diameter_mm", "ring.width_mm"), []);
        one(after("upper = 0.05\n", ""), 25, "limit[0]", "neither `lower` nor `upper`");
        one(after("lower = 17.25", "lower = 17.5"), 31, "limit[1].lower", "17.5 is above `upper` (17.45)");
        one(after("nominal = 17.35", "nominal = 17.2"), 30, "limit[1].nominal", "below `lower`");
        one(after("nominal = 17.35", "nominal = 18"), 30, "limit[1].nominal", "above `upper`");
        one(after("upper = 0.05", "upper = 0.05\nview = \"topp\""), 27, "limit[0].view", "did you mean `top`?");
        one(after("upper = 0.05", "upper = 0.05\nview = \"side\""), 27, "limit[0].view", "it has: top");
    }

    #[test]
    fn decision_rules() {
        let read = |text: &str| Spec::parse(text, Path::new("spec.toml")).map_err(|e| e.to_string());
        let spec =
            read(&GOOD.replacen("upper = 0.05", "upper = 0.05\nrule = \"simple\"\ncoverage = 1.65", 1)).unwrap();
        assert_eq!((spec.limits[0].rule, spec.limits[0].coverage), (Some(Rule::Simple), Some(1.65)));
        assert_eq!((spec.limits[1].rule, spec.limits[1].coverage), (None, None));
        // What the spec says holds for the limits that say nothing, and not for a yes or no.
        let present = "[[limit]]\ncharacteristic = \"stone.present\"\nlower = 1\n\n[[limit]]";
        let of_spec = GOOD
            .replacen("sku =", "rule = \"simple\"\ncoverage = 3\nsku =", 1)
            .replacen("[[limit]]", present, 1)
            .replacen("upper = 0.05", "upper = 0.05\nrule = \"guard_band\"", 1);
        let spec = read(&of_spec).unwrap();
        let rules: Vec<_> = spec.limits.iter().map(|l| (l.rule, l.coverage)).collect();
        let three = Some(3.0);
        assert_eq!(rules, [(None, three), (Some(Rule::GuardBand), three), (Some(Rule::Simple), three)]);
        let shared = |more: &str| after("upper = 0.05", &format!("upper = 0.05\nrule = \"shared_risk\"{more}"));
        assert_eq!(shared("\nu_max = 0.01"), []);
        assert_eq!(shared("\nnominal = 0.03"), []);
        one(shared(""), 24, "limit[0].u_max", "needs the largest expanded uncertainty");
        one(shared("\nu_max = 0"), 28, "limit[0].u_max", "above 0");
        one(
            after("upper = 0.05", "upper = 0.05\nu_max = 0.01"),
            27,
            "limit[0].u_max",
            "for the rule `shared_risk` alone",
        );
        one(after("upper = 0.05", "upper = 0.05\nrule = \"simpel\""), 27, "limit[0].rule", "did you mean `simple`?");
        one(after("upper = 0.05", "upper = 0.05\ncoverage = 95"), 27, "limit[0].coverage", "no coverage factor");
        one(after("sku =", "coverage = 0\nsku ="), 2, "coverage", "no coverage factor");
        let presence = after("[[limit]]", &present.replacen("lower = 1", "lower = 1\nrule = \"simple\"", 1));
        one(presence, 27, "limit[0].rule", "is about measured values");
    }

    #[test]
    fn an_ordered_fineness_is_a_limit_without_minus_tolerance() {
        let ordered = GOOD.replacen("finish =", "fineness = 750\nfinish =", 1);
        let spec = Spec::parse(&ordered, Path::new("spec.toml")).unwrap();
        let limit = &spec.limits[2];
        assert_eq!(
            (limit.characteristic.as_str(), limit.lower, limit.upper),
            ("piece.fineness_ppt", Some(750.0), None)
        );
        assert_eq!(spec.fineness, Some(750.0));
        // It is decided as the spec says of all of them.
        let ruled = ordered.replacen("finish =", "coverage = 3\nrule = \"simple\"\nfinish =", 1);
        let spec = Spec::parse(&ruled, Path::new("spec.toml")).unwrap();
        assert_eq!((spec.limits[2].coverage, spec.limits[2].rule), (Some(3.0), Some(Rule::Simple)));
        one(after("finish =", "fineness = 925\nfinish ="), 4, "fineness", "no fineness of gold in ISO 9202");
        one(after("finish =", "fineness = 18\nfinish ="), 4, "fineness", "18 K is 750");
        let with = |limit: &str| {
            let text = format!("[[limit]]\ncharacteristic = \"piece.fineness_ppt\"\n{limit}\n\n[[limit]]");
            let text = ordered.replacen("[[limit]]", &text, 1);
            Spec::parse(&text, Path::new("x/spec.toml")).map_err(|e| e.mistakes().to_vec())
        };
        one(with("lower = 748").unwrap_err(), 27, "limit[0].lower", "no minus tolerance");
        one(with("upper = 700").unwrap_err(), 27, "limit[0].upper", "no minus tolerance");
        // A limit of the customer's own may ask for more, and an upper one gets the order as its lower.
        assert_eq!(with("lower = 752").unwrap().limits[0].lower, Some(752.0));
        let both = with("upper = 760").unwrap();
        assert_eq!((both.limits[0].lower, both.limits[0].upper), (Some(750.0), Some(760.0)));
    }

    #[test]
    fn words_of_the_contract() {
        one(after("loupe.spec/1", "loupe.spec/2"), 1, "schema", "expected `loupe.spec/1`");
        one(after("polished", "polihsed"), 4, "finish", "did you mean `polished`?");
        one(after("polished", "shiny"), 4, "finish", "expected one of polished");
        one(after("yellow_gold", "yelow_gold"), 3, "metal", "did you mean `yellow_gold`?");
        one(after("yellow_gold", "Yellow gold"), 3, "metal", "did you mean `yellow_gold`?");
        assert_eq!(after("yellow_gold", "palladium"), []);
        one(after("\"top\"", "\" \""), 7, "view[0].name", "is empty");
    }

    #[test]
    fn every_mistake_is_reported_in_the_order_of_the_lines() {
        let text = GOOD
            .replace("finish = \"polished\"", "finish = \"shiny\"")
            .replace("diameter_mm = 1.3\n", "diameter_mm = -1.3\n")
            .replace("upper = 0.05", "uper = 0.05");
        let e = Spec::parse(&text, Path::new("spec.toml")).unwrap_err();
        let lines: Vec<usize> = e.mistakes().iter().map(|m| m.line).collect();
        assert_eq!(lines, [4, 14, 22, 25, 26], "{e}");
        assert_eq!(e.to_string().lines().count(), 5);
    }

    fn with_list(csv: &[u8]) -> (tempfile::TempDir, Result<(Spec, String), SpecError>) {
        let dir = tempfile::tempdir().unwrap();
        let spec = GOOD.replacen("[[view.stone]]", "stones_csv = \"gems.csv\"\n\n[[view.stone]]", 1);
        std::fs::write(dir.path().join("spec.toml"), spec).unwrap();
        std::fs::write(dir.path().join("gems.csv"), csv).unwrap();
        let read = Spec::read(&dir.path().join("spec.toml"));
        (dir, read)
    }

    #[test]
    fn marks_are_read_and_their_mistakes_named() {
        let with = |marks: &str| {
            let text = GOOD.replacen("[[view.stone]]", &format!("hallmark = [ {marks} ]\n\n[[view.stone]]"), 1);
            Spec::parse(&(text + "\n[[limit]]\ncharacteristic = \"hallmark.text\"\n"), Path::new("x/spec.toml"))
        };
        let spec = with(r#"{ text = "750" }, { text = "LB", x_mm = 1.0, y_mm = 0.5, radius_mm = 0.8 }"#).unwrap();
        assert_eq!(spec.views[0].hallmarks[0].text, "750");
        assert_eq!(spec.views[0].hallmarks[1].radius_mm, Some(0.8));
        assert_eq!(spec.limit("hallmark.text", "top").unwrap().lower, Some(1.0));
        let wrong = |marks: &str, key: &str, part: &str| {
            one(with(marks).unwrap_err().mistakes().to_vec(), 10, &format!("view[0].hallmark[0].{key}"), part);
        };
        wrong("{ txt = \"750\" }", "txt", "did you mean `text`?");
        wrong("{ text = \"7-5\" }", "text", "`-` cannot be read");
        wrong("{ text = \"750\", x_mm = 1.0 }", "y_mm", "is missing");
        wrong("{ text = \"750\", radius_mm = 1.0 }", "radius_mm", "give `x_mm`");
        wrong("{ text = \"750\", x_mm = 90.0, y_mm = 0.0 }", "x_mm", "outside the view's outline");
        // A fineness is a number of its own and no bound.
        let text = GOOD.replacen(
            "characteristic = \"pit.diameter_mm\"\nupper = 0.05",
            "characteristic = \"hallmark.text\"\nnominal = 750",
            1,
        );
        let spec = Spec::parse(&text, Path::new("x/spec.toml")).unwrap();
        assert_eq!((spec.limits[0].nominal, spec.limits[0].lower), (Some(750.0), Some(1.0)));
        // What would let any mark pass, and a number beside other marks.
        let upper = text.replacen("nominal = 750", "nominal = 750\nupper = 0", 1);
        one(
            Spec::parse(&upper, Path::new("x/spec.toml")).unwrap_err().mistakes().to_vec(),
            27,
            "limit[0].upper",
            "leave `upper` out",
        );
        let other = text.replacen("[[view.stone]]", "hallmark = [ { text = \"585\" } ]\n\n[[view.stone]]", 1);
        one(
            Spec::parse(&other, Path::new("x/spec.toml")).unwrap_err().mistakes().to_vec(),
            28,
            "limit[0].nominal",
            "none of the marks",
        );
    }

    #[test]
    fn a_stone_list_is_added_whatever_the_order_of_its_columns() {
        let csv =
            "\u{feff}cut,y_mm,note,diameter_mm,id,x_mm\r\noval,1.5,\"a, b\",1.1,G1,0.5\r\n,0,,1.2, G2 ,-1\r\n\r\n";
        let (_dir, read) = with_list(csv.as_bytes());
        let (spec, hash) = read.unwrap();
        let stones = &spec.views[0].stones;
        assert_eq!(stones.len(), 4);
        assert_eq!((stones[2].id.as_str(), stones[2].x_mm, stones[2].y_mm), ("G1", 0.5, 1.5));
        assert_eq!((stones[2].cut.as_str(), stones[3].cut.as_str()), ("oval", "round"));
        let (_dir, other) = with_list(csv.replace("1.1", "1.0").as_bytes());
        assert_ne!(other.unwrap().1, hash, "the hash covers the list");
    }

    #[test]
    fn mistakes_in_a_stone_list_name_its_line_and_column() {
        for (csv, line, key, part) in [
            ("id,x_mm,y_mm,diameter_mm,cut\nG1,0,zero,1,round\n", 2, "y_mm", "`zero` is no number"),
            ("id,x_mm,y_mm,diameter_mm,cut\nG1,0,0,1,round\n\nG2,0,NaN,1,round\n", 4, "y_mm", "finite"),
            ("id,x_mm,y_mm,diameter_mm,cut\nG1,0,0,0,round\n", 2, "diameter_mm", "above 0"),
            ("id,x_mm,y_mm,diameter_mm,cut\nS1,0,0,1,round\n", 2, "id", "already the id of view[0].stone[0]"),
            ("id,x_mm,y_mm,diameter_mm,cut\nG1,9,0,1,round\n", 2, "x_mm", "wholly outside"),
            ("id,x_mm,y_mm,diameter_mm,cut\nG1,1,0,1\n", 2, "", "4 fields, the header has 5"),
            ("id,x_mm,y_mm,diametre_mm,cut\nG1,1,0,1,round\n", 1, "diameter_mm", "`diametre_mm` looks like it"),
        ] {
            let (_dir, read) = with_list(csv.as_bytes());
            let e = read.unwrap_err();
            let [m] = e.mistakes() else { panic!("{csv}: {e}") };
            assert!(m.path.ends_with("gems.csv"), "{m}");
            assert_eq!((m.line, m.key.as_str()), (line, key), "{m}");
            assert!(m.message.contains(part), "{m}");
        }
        let (_dir, read) = with_list(b"id;x_mm;y_mm;diameter_mm\n");
        assert!(read.unwrap_err().to_string().contains("separated by commas"));
        let (_dir, read) = with_list(b"id,x_mm,y_mm,diameter_mm\nG\xff,0,0,1\n");
        assert!(read.unwrap_err().to_string().contains("gems.csv:2: is no text"));
    }

    #[test]
    fn a_missing_stone_list_is_a_mistake_of_the_spec() {
        let m = after("[[view.stone]]", "stones_csv = \"no such.csv\"\n\n[[view.stone]]");
        one(m, 10, "view[0].stones_csv", "no such.csv: cannot read");
    }

    #[test]
    fn a_missing_spec_names_the_file() {
        let e = Spec::read(Path::new("no/such/spec.toml")).unwrap_err();
        assert!(e.to_string().starts_with("no/such/spec.toml: cannot read: "), "{e}");
        assert!(e.mistakes().is_empty());
    }
}
