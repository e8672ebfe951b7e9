//! A report as a QIF 3.0 results document (ISO 23952:2020): what a quality system reads without knowing the program.
//!
//! What maps to what: every characteristic with its limits is a definition and a nominal, every row of the report an item and a
//! measurement with its value and combined standard uncertainty (k = 1). Lengths, angles, areas, masses and forces have QIF's own types;
//! what is there or not is an attribute; other numbers are values in units of the user's. Statuses are QIF's words: PASS, FAIL,
//! INDETERMINATE where a person decides, NOT_ANALYZED where nothing was assessed or nothing limits the value. The piece as a whole
//! has no INDETERMINATE in QIF: a review is UNKNOWN, or SYSERROR where a frame could not be used. REWORK is a person's word and never the
//! program's.

use std::collections::BTreeMap;

use crate::hash::sha256_hex;
use crate::report::page::doc::{is_limited, is_reading, Doc};
use crate::report::page::words;
use crate::report::{Measurement, Status, Verdict};

/// The namespace of QIF 3.0.
pub const NAMESPACE: &str = "http://qifstandards.org/xsd/qif3";

/// The report as the text of a QIF document. The same report gives the same bytes.
pub fn document(doc: &Doc) -> String {
    let r = &doc.report;
    let defs = definitions(doc);
    let mut ids = Ids::default();
    let standard = ids.next();
    // The program is the first device; each other instrument is one of its own.
    let mut devices: Vec<(String, u32)> = vec![(r.provenance.program.clone(), ids.next())];
    for m in r.measurements.iter().filter(|m| is_reading(m)) {
        if !devices.iter().skip(1).any(|d| d.0 == m.feature) {
            devices.push((m.feature.clone(), ids.next()));
        }
    }
    let part = ids.next();
    let def_ids: Vec<(u32, u32)> = defs.iter().map(|_| (ids.next(), ids.next())).collect();
    let rows: Vec<(usize, &Row)> =
        defs.iter().enumerate().flat_map(|(d, def)| def.rows.iter().map(move |row| (d, row))).collect();
    let row_ids: Vec<(u32, u32)> = rows.iter().map(|_| (ids.next(), ids.next())).collect();
    let (results, component) = (ids.next(), ids.next());

    let mut x = Xml::new();
    x.open(
        "QIFDocument",
        &[
            ("xmlns", NAMESPACE),
            ("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance"),
            ("versionQIF", "3.0.0"),
            ("idMax", &ids.0.to_string()),
        ],
    );
    x.leaf("QPId", &uuid(&doc.sha256, "document"));
    x.open("Header", &[]);
    x.open("Application", &[]);
    x.leaf("Name", &token(&r.provenance.program));
    x.close();
    x.leaf(
        "Description",
        &format!(
            "Report sha256 {}; spec sha256 {}; settings sha256 {}",
            doc.sha256, r.provenance.spec_sha256, r.provenance.settings_sha256
        ),
    );
    x.leaf("Scope", "Results");
    x.close();

    x.open("StandardsDefinitions", &[("n", "1")]);
    x.open("Standard", &[("id", &standard.to_string())]);
    x.open("Organization", &[]);
    x.leaf("StandardsOrganizationEnum", "ISO");
    x.close();
    x.leaf("Designator", "14253-1");
    x.close();
    x.close();

    units(&mut x, &defs);

    x.open("MeasurementResources", &[]);
    x.open("MeasurementDevices", &[("n", &devices.len().to_string())]);
    for (name, id) in &devices {
        x.open("MeasurementDevice", &[("id", &id.to_string())]);
        x.leaf("Name", &token(name));
        x.close();
    }
    x.close();
    x.close();

    x.open("Product", &[]);
    x.open("PartSet", &[("n", "1")]);
    x.open("Part", &[("id", &part.to_string())]);
    x.leaf("ModelNumber", &token(&r.sku));
    x.close();
    x.close();
    x.close();

    if !rows.is_empty() {
        x.open("Characteristics", &[]);
        x.leaf("FormalStandardId", &standard.to_string());
        x.open("CharacteristicDefinitions", &[("n", &defs.len().to_string())]);
        for (def, (id, _)) in defs.iter().zip(&def_ids) {
            def.definition(&mut x, *id);
        }
        x.close();
        x.open("CharacteristicNominals", &[("n", &defs.len().to_string())]);
        for (def, (id, nominal)) in defs.iter().zip(&def_ids) {
            def.nominal(&mut x, *nominal, *id);
        }
        x.close();
        x.open("CharacteristicItems", &[("n", &rows.len().to_string())]);
        for ((d, row), (id, _)) in rows.iter().zip(&row_ids) {
            x.open(&defs[*d].element("Item"), &[("id", &id.to_string())]);
            x.leaf("Description", &row.place);
            x.leaf("Name", &token(&format!("{} {}", defs[*d].characteristic, row.place)));
            ids_list(&mut x, "MeasurementDeviceIds", row.device(&devices));
            x.leaf("CharacteristicNominalId", &def_ids[*d].1.to_string());
            x.close();
        }
        x.close();
        x.close();
    }

    x.open("Results", &[]);
    x.open("MeasurementResultsSet", &[("n", "1")]);
    x.open("MeasurementResults", &[("id", &results.to_string())]);
    x.leaf("ThisResultsInstanceQPId", &uuid(&doc.sha256, "results"));
    if !rows.is_empty() {
        x.open("MeasuredCharacteristics", &[]);
        x.open("CharacteristicMeasurements", &[("n", &rows.len().to_string())]);
        for ((d, row), (item, id)) in rows.iter().zip(&row_ids) {
            defs[*d].measurement(&mut x, row, *id, *item, row.device(&devices));
        }
        x.close();
        x.close();
    }
    let status = match r.verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Review if r.frames.iter().any(|f| f.error.is_some()) => "SYSERROR",
        Verdict::Review => "UNKNOWN",
    };
    x.open("InspectionStatus", &[]);
    x.leaf("InspectionStatusEnum", status);
    x.close();
    ids_list(&mut x, "ActualComponentIds", component);
    x.close();
    x.close();
    x.open("ActualComponentSets", &[("n", "1")]);
    x.open("ActualComponentSet", &[("n", "1")]);
    x.open("ActualComponent", &[("id", &component.to_string())]);
    x.leaf("SerialNumber", &r.piece_id);
    x.open("Status", &[]);
    x.leaf("InspectionStatusEnum", status);
    x.close();
    x.finish()
}

/// Ids of a document, from 1 on.
#[derive(Default)]
struct Ids(u32);

impl Ids {
    fn next(&mut self) -> u32 {
        self.0 += 1;
        self.0
    }
}

/// The QIF type of a characteristic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Diameter,
    Length,
    Width,
    Linear,
    Angular,
    Area,
    Mass,
    Carat,
    Force,
    /// A number in a unit that QIF does not have.
    Unit,
    /// A text, or a number that no limit stands beside: QIF's user-defined units cannot do without one.
    Attribute,
}

impl Kind {
    fn of(characteristic: &str) -> Self {
        let name = characteristic.rsplit('.').next().unwrap_or(characteristic);
        match (name, words::unit(characteristic)) {
            ("diameter_mm" | "inner_diameter_mm" | "outer_diameter_mm", _) => Kind::Diameter,
            ("length_mm", _) => Kind::Length,
            ("width_mm" | "band_width_mm", _) => Kind::Width,
            (_, "mm") => Kind::Linear,
            (_, "°") => Kind::Angular,
            (_, "mm²") => Kind::Area,
            (_, "g") => Kind::Mass,
            (_, "ct") => Kind::Carat,
            (_, "N") => Kind::Force,
            _ => Kind::Unit,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Diameter => "Diameter",
            Kind::Length => "Length",
            Kind::Width => "Width",
            Kind::Linear => "UserDefinedLinear",
            Kind::Angular => "UserDefinedAngular",
            Kind::Area => "UserDefinedArea",
            Kind::Mass | Kind::Carat => "UserDefinedMass",
            Kind::Force => "UserDefinedForce",
            Kind::Unit => "UserDefinedUnit",
            Kind::Attribute => "UserDefinedAttribute",
        }
    }
}

/// One measurement, or something that was not assessed.
struct Row {
    /// `pit-1 in view top`.
    place: String,
    /// The instrument of a reading.
    instrument: Option<String>,
    /// Value and standard uncertainty; none where nothing was measured.
    value: Option<(f64, f64)>,
    text: Option<String>,
    status: &'static str,
    /// Why nothing was measured.
    note: Option<String>,
}

impl Row {
    fn device(&self, devices: &[(String, u32)]) -> u32 {
        let own = self.instrument.as_ref().and_then(|i| devices.iter().skip(1).find(|d| d.0 == *i));
        own.or(devices.first()).map_or(0, |d| d.1)
    }
}

/// A characteristic under one pair of limits, with its rows.
struct Definition {
    kind: Kind,
    characteristic: String,
    lower: Option<f64>,
    upper: Option<f64>,
    rows: Vec<Row>,
}

fn status(m: &Measurement) -> &'static str {
    match m.status {
        Status::Pass if !is_limited(m) => "NOT_ANALYZED",
        Status::Pass => "PASS",
        Status::NotAssessed => "NOT_ANALYZED",
        Status::Review => "INDETERMINATE",
        Status::Fail => "FAIL",
    }
}

fn definitions(doc: &Doc) -> Vec<Definition> {
    let r = &doc.report;
    let mut out: Vec<Definition> = Vec::new();
    // By characteristic and limits, in the order in which they come first.
    let mut at: BTreeMap<(&str, String, String), usize> = BTreeMap::new();
    for m in &r.measurements {
        let key = (m.characteristic.as_str(), decimal_of(m.lower), decimal_of(m.upper));
        let k = *at.entry(key).or_insert_with(|| {
            out.push(Definition {
                kind: Kind::of(&m.characteristic),
                characteristic: m.characteristic.clone(),
                lower: m.lower,
                upper: m.upper,
                rows: vec![],
            });
            out.len() - 1
        });
        let place = if is_reading(m) {
            format!("by {}", m.feature)
        } else if m.view.is_empty() {
            m.feature.clone()
        } else {
            format!("{} in view {}", m.feature, m.view)
        };
        out[k].rows.push(Row {
            place,
            instrument: is_reading(m).then(|| m.feature.clone()),
            value: Some((m.value, m.uncertainty)),
            text: m.text.clone(),
            status: status(m),
            note: None,
        });
    }
    for def in &mut out {
        let is_text = def.rows.iter().any(|row| row.text.is_some());
        let is_yes_no = words::is_presence(&def.characteristic)
            && def.rows.iter().all(|row| matches!(row.value, Some((v, _)) if v == 0.0 || v == 1.0));
        let unlimited = def.lower.is_none() && def.upper.is_none();
        if is_text || is_yes_no || (unlimited && def.kind == Kind::Unit) {
            def.kind = Kind::Attribute;
        }
    }
    for n in &r.not_assessed {
        out.push(Definition {
            kind: Kind::Attribute,
            characteristic: n.characteristic.clone(),
            lower: None,
            upper: None,
            rows: vec![Row {
                place: n.view.as_ref().map_or_else(|| "whole piece".to_owned(), |v| format!("view {v}")),
                instrument: None,
                value: None,
                text: None,
                status: "NOT_ANALYZED",
                note: Some(n.reason.clone()),
            }],
        });
    }
    out
}

impl Definition {
    /// Such as `DiameterCharacteristicItem`.
    fn element(&self, aspect: &str) -> String {
        format!("{}Characteristic{aspect}", self.kind.name())
    }

    /// The unit's name in the document, for values in units of the user's.
    fn user_unit(&self) -> &'static str {
        match words::unit(&self.characteristic) {
            "" => "1",
            "%" => "percent",
            "‰" => "per mille",
            "ΔE" => "delta E00",
            "µm" => "micrometre",
            other => other,
        }
    }

    fn value_attributes(&self) -> Vec<(&'static str, String)> {
        match self.kind {
            Kind::Unit => vec![("unitName", self.user_unit().to_owned())],
            Kind::Carat => vec![("massUnit", "carat".to_owned())],
            _ => vec![],
        }
    }

    fn limit(&self, x: &mut Xml, name: &str, value: f64) {
        let attributes = self.value_attributes();
        let attributes: Vec<(&str, &str)> = attributes.iter().map(|(k, v)| (*k, v.as_str())).collect();
        x.leaf_with(name, &attributes, &decimal(value));
    }

    /// Upper before lower, as the schema has it.
    fn limits(&self, x: &mut Xml) {
        if let Some(up) = self.upper {
            self.limit(x, "MaxValue", up);
        }
        if let Some(lo) = self.lower {
            self.limit(x, "MinValue", lo);
        }
        x.leaf("DefinedAsLimit", "true");
    }

    fn definition(&self, x: &mut Xml, id: u32) {
        x.open(&self.element("Definition"), &[("id", &id.to_string())]);
        x.leaf("Name", &token(&self.characteristic));
        match self.kind {
            Kind::Unit | Kind::Attribute => {}
            _ if self.lower.is_some() || self.upper.is_some() => {
                x.open("Tolerance", &[]);
                self.limits(x);
                x.close();
            }
            _ => x.leaf("NonTolerance", "MEASURED"),
        }
        if !matches!(self.kind, Kind::Diameter | Kind::Length | Kind::Width | Kind::Unit) {
            x.leaf("WhatToMeasure", &words::of(&self.characteristic).title);
        }
        x.close();
    }

    fn nominal(&self, x: &mut Xml, id: u32, definition: u32) {
        x.open(&self.element("Nominal"), &[("id", &id.to_string())]);
        x.leaf("CharacteristicDefinitionId", &definition.to_string());
        x.leaf("Name", &token(&self.characteristic));
        match self.kind {
            Kind::Unit => {
                // The schema wants a target: the middle of two limits, the limit where there is one.
                let target = match (self.lower, self.upper) {
                    (Some(lo), Some(up)) => lo + (up - lo) / 2.0,
                    (lo, up) => lo.or(up).unwrap_or(0.0),
                };
                self.limit(x, "TargetValue", target);
                self.limits(x);
            }
            Kind::Attribute if words::is_presence(&self.characteristic) => {
                let conforms = |v: f64| self.lower.is_none_or(|lo| v >= lo) && self.upper.is_none_or(|up| v <= up);
                if self.lower.is_some() || self.upper.is_some() {
                    for (name, wanted) in [("PassValues", true), ("FailValues", false)] {
                        let values: Vec<&str> = [("0", 0.0), ("1", 1.0)]
                            .iter()
                            .filter(|v| conforms(v.1) == wanted)
                            .map(|v| v.0)
                            .collect();
                        if !values.is_empty() {
                            x.open(name, &[("n", &values.len().to_string())]);
                            for v in values {
                                x.leaf("StringValue", v);
                            }
                            x.close();
                        }
                    }
                }
            }
            _ => {}
        }
        x.close();
    }

    fn measurement(&self, x: &mut Xml, row: &Row, id: u32, item: u32, device: u32) {
        x.open(&self.element("Measurement"), &[("id", &id.to_string())]);
        if let Some(note) = &row.note {
            x.leaf("Description", note);
        }
        x.open("Status", &[]);
        x.leaf("CharacteristicStatusEnum", row.status);
        x.close();
        x.leaf("CharacteristicItemId", &item.to_string());
        ids_list(x, "MeasurementDeviceIds", device);
        if let Some((value, uncertainty)) = row.value {
            if self.kind == Kind::Attribute {
                x.leaf("Value", &row.text.clone().unwrap_or_else(|| decimal(value)));
            } else {
                let u = decimal(uncertainty.max(0.0));
                let mut attributes = self.value_attributes();
                // QIF wants both or none; what bias is known is already taken off a value.
                attributes.extend([("combinedUncertainty", u), ("meanError", "0".to_owned())]);
                let attributes: Vec<(&str, &str)> = attributes.iter().map(|(k, v)| (*k, v.as_str())).collect();
                x.leaf_with("Value", &attributes, &decimal(value));
            }
        }
        x.close();
    }
}

fn units(x: &mut Xml, defs: &[Definition]) {
    let unit = |x: &mut Xml, element: &str, si: &str, name: &str, factor: &str| {
        x.open(element, &[]);
        x.leaf("SIUnitName", si);
        x.leaf("UnitName", name);
        x.open("UnitConversion", &[]);
        x.leaf("Factor", factor);
        x.close();
        x.close();
    };
    x.open("FileUnits", &[]);
    x.open("PrimaryUnits", &[]);
    unit(x, "AreaUnit", "square meter", "mm2", "0.000001");
    unit(x, "AngularUnit", "radian", "degree", "0.017453292519943");
    unit(x, "ForceUnit", "newton", "newton", "1");
    unit(x, "LinearUnit", "meter", "mm", "0.001");
    unit(x, "MassUnit", "kilogram", "gram", "0.001");
    x.close();
    if defs.iter().any(|d| d.kind == Kind::Carat) {
        x.open("OtherUnits", &[("n", "1")]);
        // The metric carat is 0.2 g.
        unit(x, "MassUnit", "kilogram", "carat", "0.0002");
        x.close();
    }
    let mut user: Vec<(&str, &str)> = defs
        .iter()
        .filter(|d| d.kind == Kind::Unit)
        .map(|d| {
            let what = match d.user_unit() {
                "1" => "a count, a share or an index",
                "percent" => "a share in parts per hundred",
                "per mille" => "fineness in parts per thousand",
                "delta E00" => "colour difference CIEDE2000",
                _ => "as named",
            };
            (d.user_unit(), what)
        })
        .collect();
    user.sort_unstable();
    user.dedup();
    if !user.is_empty() {
        x.open("UserDefinedUnits", &[("n", &user.len().to_string())]);
        for (name, what) in user {
            x.open("UserDefinedUnit", &[]);
            x.leaf("WhatIsMeasured", what);
            x.leaf("UnitName", name);
            x.close();
        }
        x.close();
    }
    x.close();
}

fn ids_list(x: &mut Xml, element: &str, id: u32) {
    x.open(element, &[("n", "1")]);
    x.leaf("Id", &id.to_string());
    x.close();
}

/// `xs:decimal` has no exponent, and neither does Rust's way of writing a number.
fn decimal(value: f64) -> String {
    (value + 0.0).to_string()
}

fn decimal_of(value: Option<f64>) -> String {
    value.map_or_else(String::new, decimal)
}

/// `xs:token`: single blanks, none at the ends.
fn token(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A UUID made from the report (RFC 9562, version 8): the same for the same report.
fn uuid(sha256: &str, what: &str) -> String {
    let hash = sha256_hex(format!("loupe qif {what} {sha256}").as_bytes());
    let variant = match u8::from_str_radix(&hash[16..17], 16).unwrap_or(0) & 0x3 {
        0 => '8',
        1 => '9',
        2 => 'a',
        _ => 'b',
    };
    format!("{}-{}-8{}-{variant}{}-{}", &hash[..8], &hash[8..12], &hash[13..16], &hash[17..20], &hash[20..32])
}

/// XML as it is written: elements are closed in the order they were opened, and text is escaped.
struct Xml {
    out: String,
    open: Vec<String>,
}

impl Xml {
    fn new() -> Self {
        Xml { out: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".into(), open: vec![] }
    }

    fn start(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.out.push_str(&"  ".repeat(self.open.len()));
        self.out.push('<');
        self.out.push_str(name);
        for (key, value) in attributes {
            self.out.push_str(&format!(" {key}=\"{}\"", escaped(value)));
        }
    }

    fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.start(name, attributes);
        self.out.push_str(">\n");
        self.open.push(name.to_owned());
    }

    fn leaf(&mut self, name: &str, text: &str) {
        self.leaf_with(name, &[], text);
    }

    fn leaf_with(&mut self, name: &str, attributes: &[(&str, &str)], text: &str) {
        self.start(name, attributes);
        self.out.push_str(&format!(">{}</{name}>\n", escaped(text)));
    }

    fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.out.push_str(&"  ".repeat(self.open.len()));
            self.out.push_str(&format!("</{name}>\n"));
        }
    }

    fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }
}

/// Text for an element or an attribute; characters that XML 1.0 does not have become the replacement character.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push_str(&format!("&#{};", u32::from(c))),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(escaped("a<b>&\"\u{1}\n'é"), "a&lt;b&gt;&amp;&quot;\u{fffd}&#10;'é");
        assert_eq!(token("  a \n b\t"), "a b");
        assert_eq!(decimal(1e-7), "0.0000001");
        assert_eq!(decimal(-0.0), "0");
    }

    #[test]
    fn uuids_have_their_form() {
        let u = uuid("x", "document");
        assert_eq!(u.len(), 36);
        assert_eq!((&u[14..15], "89ab".contains(&u[19..20])), ("8", true));
        assert_ne!(u, uuid("x", "results"));
        assert_eq!(u, uuid("x", "document"));
    }

    #[test]
    fn lengths_have_types_of_their_own() {
        for (c, kind) in [
            ("ring.inner_diameter_mm", Kind::Diameter),
            ("scratch.length_mm", Kind::Length),
            ("stone.offset_mm", Kind::Linear),
            ("stone.tilt_deg", Kind::Angular),
            ("stain.area_mm2", Kind::Area),
            ("piece.weight_g", Kind::Mass),
            ("stone.carat", Kind::Carat),
            ("piece.pull_n", Kind::Force),
            ("porosity.pore_count", Kind::Unit),
        ] {
            assert_eq!(Kind::of(c), kind, "{c}");
        }
    }
}
