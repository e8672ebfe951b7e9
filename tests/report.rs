//! `loupe report`: pages that need nothing else, a table, QIF documents; the same bytes each time, and one bad report stops no other.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use common::{tree, Bench};
use serde_json::{json, Value};

/// An id that is no file name and would break out of a page that does not escape.
const NASTY: &str = "=<b>\"it's\" & co</b>/../x";

fn measurement(characteristic: &str, feature: &str, view: &str, value: f64, u: f64, status: &str) -> Value {
    let (lower, upper) = match characteristic {
        "stone.present" => (json!(1.0), Value::Null),
        "ring.inner_diameter_mm" => (json!(17.25), json!(17.45)),
        "piece.weight_g" => (json!(3.0), Value::Null),
        "porosity.pore_count" => (Value::Null, json!(3.0)),
        "stone.carat" => (Value::Null, Value::Null),
        _ => (Value::Null, json!(0.05)),
    };
    json!({"characteristic": characteristic, "feature": feature, "view": view, "value": value, "uncertainty": u,
           "lower": lower, "upper": upper, "status": status})
}

fn report(id: &str, verdict: &str) -> Value {
    json!({
        "schema": "loupe.report/1", "piece_id": id, "sku": "ring <7>", "verdict": verdict,
        "reasons": ["pit pit-1 in view top: pit.diameter_mm 0.107 +- 0.019 (at most 0.05); it may be <dust>", "top.png: no & such"],
        "measurements": [
            measurement("pit.diameter_mm", "pit-1", "top", 0.1073, 0.0093, if verdict == "pass" { "pass" } else { verdict }),
            measurement("stone.present", "S1", "top", 1.0, 0.0, "pass"),
            measurement("stone.carat", "S1", "top", 0.0123, 0.002, "pass"),
            measurement("stone.tilt_deg", "S1", "top", 1.5, 1.2, "pass"),
            measurement("porosity.pore_count", "top", "top", 0.0, 0.0, "pass"),
            measurement("ring.inner_diameter_mm", "top", "top", 17.351, 0.004, "pass"),
            measurement("piece.weight_g", "scale 2", "", 3.12, 0.005, "pass"),
            measurement("stain.area_mm2", "stain-1", "top", 0.01, 0.001, "pass"),
        ],
        "findings": [{"type": "pit", "view": "top", "file": "top.png", "feature": "pit-1", "x_mm": 0.1, "y_mm": -0.2, "x_px": 60.0, "y_px": 40.0,
            "radius_px": 5.0, "confidence": 0.9, "found_by": ["surface"], "status": if verdict == "pass" { "pass" } else { verdict }}],
        "stones": [{"id": "S1", "view": "top", "x_px": 1.0, "y_px": 2.0, "x_mm": 0.5, "y_mm": 0.25, "diameter_mm": 1.3, "tilt_deg": 1.5}],
        "not_assessed": [{"characteristic": "ring.ovality_mm", "view": "back", "reason": "no frame shows this view"}],
        "frames": [{"file": "top.png", "sha256": "ab".repeat(32), "pose": {"rotation_deg": 0.5, "dx_mm": 0.1, "dy_mm": -0.2}}],
        "provenance": {"program": "loupe 0.1.0", "spec_sha256": "cd".repeat(32), "models": [{"name": "surface", "sha256": "ef".repeat(32)}],
            "settings_sha256": "01".repeat(32)}
    })
}

/// A run's folder: three pieces, the second with an id that is no file name, and a picture of the first.
fn lot(bench: &Bench) {
    let mut summary = String::new();
    for (folder, id, verdict) in [("a", "ring-1", "fail"), ("b", NASTY, "review"), ("c", "ring-3", "pass")] {
        bench.write(&format!("out/{folder}/report.json"), report(id, verdict).to_string());
        let row = json!({"schema": "loupe.summary/1", "piece_id": id, "verdict": verdict, "reasons": [], "report": format!("{folder}/report.json"), "errors": []});
        summary += &format!("{row}\n");
    }
    bench.write("out/summary.jsonl", summary);
    let picture = image::RgbImage::from_fn(120, 90, |x, y| image::Rgb([x as u8, y as u8, 90]));
    let mut png = std::io::Cursor::new(vec![]);
    picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
    bench.write("out/a/top.png.overlay.png", png.into_inner());
}

fn text(bench: &Bench, path: &str) -> String {
    std::fs::read_to_string(bench.path(path)).unwrap()
}

#[test]
fn pages_table_and_documents_of_a_lot() {
    let bench = Bench::new();
    lot(&bench);
    let run = |out: &str, jobs: &str| {
        let to = |file: &str| format!("{out}/{file}");
        let ran = bench.loupe(&[
            "report",
            "out",
            "--html",
            &to("html"),
            "--csv",
            &to("all.csv"),
            "--qif",
            &to("qif"),
            "--date",
            "2026-11-24",
            "--jobs",
            jobs,
        ]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(
            ran.stdout.starts_with("3 pieces: 1 passed, 1 failed, 1 for review, 0 without a report"),
            "{}",
            ran.stdout
        );
        tree(&bench.path(out))
    };
    let files = run("r1", "1");
    assert_eq!(files, run("r2", "4"), "the files depend on the number of threads");
    let pages: Vec<&Path> =
        files.keys().map(AsRef::as_ref).filter(|p: &&Path| p.extension().is_some_and(|e| e == "html")).collect();
    assert_eq!(pages.len(), 4, "{pages:?}");
    for page in &pages {
        let page = String::from_utf8(files[*page].clone()).unwrap();
        stands_alone(&page);
        assert!(page.contains("2026-11-24"));
        assert!(page.contains("Signature"));
    }

    let first = text(&bench, "r1/html/pieces/ring-1.html");
    for part in [
        "0.107",
        "± 0.019",
        "at most 0.05\u{a0}mm",
        "Pit, diameter: outside the limit",
        "Look at each pit under 10×",
        "it may be &lt;dust&gt;",
        "top.png: no &amp; such",
        "17.3510",
        "scale 2",
        "no frame shows this view",
        "data:image/jpeg;base64,",
        "ring &lt;7&gt;",
        &"ab".repeat(32),
        &"cd".repeat(32),
        &"ef".repeat(32),
        "url(#hatch)",
    ] {
        assert!(first.contains(part), "`{part}` is not on the page");
    }
    let index = text(&bench, "r1/html/index.html");
    // The worst first, each with its page.
    let at = |what: &str| index.find(what).unwrap_or_else(|| panic!("{what} is not on the page"));
    assert!(
        at("pieces/ring-1.html") < at("=&lt;b&gt;&quot;it's&quot; &amp; co")
            && at("&amp; co&lt;/b&gt;") < at("pieces/ring-3.html")
    );
    assert!(index.contains("Pit, diameter") && index.contains("(") && !index.contains("<b>\"it"));
    let links: BTreeSet<&str> = index.split("href=\"").skip(1).map(|s| s.split('"').next().unwrap()).collect();
    assert_eq!(links.len(), 3);
    for link in links {
        assert!(files.contains_key(&Path::new("html").join(link)), "{link}");
    }

    let mut reader = csv::Reader::from_reader(&files[Path::new("all.csv")][..]);
    let head: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let column = |name: &str| head.iter().position(|h| h == name).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 3 * 9);
    assert_eq!(&rows[0][column("value")], "0.1073");
    assert_eq!(&rows[0][column("upper")], "0.05");
    assert_eq!(&rows[0][column("status")], "fail");
    assert_eq!(&rows[9][column("piece_id")], format!("'{NASTY}"));
    assert_eq!(&rows[8][column("status")], "not_assessed");
    assert_eq!(&rows[8][column("note")], "no frame shows this view");

    for (path, bytes) in files.iter().filter(|(p, _)| p.extension().is_some_and(|e| e == "qif")) {
        conforms(&path.display().to_string(), std::str::from_utf8(bytes).unwrap());
    }
    let qif = text(&bench, "r1/qif/ring-1.qif");
    for part in [
        "<CharacteristicStatusEnum>FAIL</CharacteristicStatusEnum>",
        "<CharacteristicStatusEnum>NOT_ANALYZED</CharacteristicStatusEnum>",
        "<InspectionStatusEnum>FAIL</InspectionStatusEnum>",
        "combinedUncertainty=\"0.0093\" meanError=\"0\">0.1073</Value>",
        "<SerialNumber>ring-1</SerialNumber>",
    ] {
        assert!(qif.contains(part), "`{part}` is not in the document");
    }
}

/// No file, script or address beside the page itself; links go to other pages of the lot.
#[track_caller]
fn stands_alone(page: &str) {
    assert!(!page.contains("<script") && !page.contains("<link") && !page.contains("@import"), "something is loaded");
    assert!(!page.contains("http://") && !page.contains("https://"), "an address stands in the page");
    for source in page.split("src=\"").skip(1) {
        assert!(source.starts_with("data:image/jpeg;base64,"), "{}", &source[..60.min(source.len())]);
    }
    assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">") && page.contains("default-src 'none'"));
    // Every picture says what it shows, every table what its columns are.
    assert_eq!(page.matches("<img ").count(), page.matches(" alt=\"").count());
    assert_eq!(page.matches("<table").count(), page.matches("<thead").count());
}

#[test]
fn one_bad_report_stops_no_other() {
    let bench = Bench::new();
    lot(&bench);
    let args = ["report", "out", "--html", "html", "--csv", "all.csv", "--qif", "qif"];
    assert_eq!(bench.loupe(&args).code, 0);
    assert!(bench.path("html/pieces/ring-1.html").exists() && bench.path("qif/ring-1.qif").exists());
    bench.write("out/a/report.json", "{\"schema\":\"loupe.report/1\",\"piece_id\":7}");
    let ran = bench.loupe(&args);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("out/a/report.json: key `piece_id`"), "{}", ran.stderr);
    assert!(ran.stdout.contains("1 passed, 0 failed, 1 for review, 1 without a report"), "{}", ran.stdout);
    // Pages of the earlier run do not pass for this one's.
    assert!(!bench.path("html/pieces/ring-1.html").exists() && !bench.path("qif/ring-1.qif").exists());
    assert!(bench.path("html/pieces/ring-3.html").exists());
    let index = text(&bench, "html/index.html");
    assert!(index.contains("No report") && index.contains("key `piece_id`"));
    assert!(text(&bench, "all.csv").contains("ring-1,,error,"));

    // A verdict that was changed after the run, and a report of another piece.
    bench.write("out/a/report.json", report("ring-1", "pass").to_string());
    let ran = bench.loupe(&args);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("key `verdict`: `pass` here, `fail` in summary.jsonl"), "{}", ran.stderr);
    bench.write("out/a/report.json", report("ring-9", "fail").to_string());
    assert!(bench.loupe(&args).stderr.contains("key `piece_id`: `ring-9` here"));

    let ran = bench.loupe(&["report", "gone", "out/c", "--csv", "c.csv"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("gone: cannot read"), "{}", ran.stderr);
    assert!(text(&bench, "c.csv").contains("ring-3"));
    let ran = bench.loupe(&["report", "out", "--qif", "one.qif"]);
    assert!(ran.code == 2 && ran.stderr.contains("--qif names one file"), "{}", ran.stderr);
    assert_eq!(bench.loupe(&["report", "out/c", "--qif", "one.qif"]).code, 0);
    assert!(bench.path("one.qif").is_file());
    assert_eq!(bench.loupe(&["report", "out"]).code, 2, "nothing to write");
    assert_eq!(bench.loupe(&["report", "out", "--csv", "x.csv", "--date", "today"]).code, 2);
}

#[test]
fn what_cannot_be_written_or_found_costs_nothing_else() {
    let bench = Bench::new();
    lot(&bench);
    // A summary means its folder, and an empty name is none.
    let ran = bench.loupe(&["report", "out/summary.jsonl", "--html", "pages", "--csv", "/dev/full", "--lot", " "]);
    assert!(ran.code == 2 && ran.stderr.contains("/dev/full"), "{}", ran.stderr);
    assert!(text(&bench, "pages/index.html").contains("<h1>out</h1>"));
    bench.write("notes.txt", "no piece");
    let ran = bench.loupe(&["report", "out", "--html", "other", "--pieces", "notes.txt"]);
    assert!(ran.code == 2 && ran.stderr.contains("--pieces: ") && ran.stderr.contains("notes.txt"), "{}", ran.stderr);
    assert!(!bench.path("other").exists());
}

#[test]
fn a_folder_named_twice_counts_once() {
    let bench = Bench::new();
    lot(&bench);
    for dirs in [vec!["out", "out/"], vec!["out", "out/a"], vec!["out/a", "out/b", "out/c", "out/b"]] {
        let ran = bench.loupe(&[&["report"][..], &dirs, &["--csv", "all.csv"]].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.starts_with("3 pieces: 1 passed, 1 failed, 1 for review"), "{dirs:?}: {}", ran.stdout);
        assert!(ran.stderr.contains("counts once"), "{}", ran.stderr);
    }
}

#[test]
fn pieces_beside_their_reports() {
    let bench = Bench::new();
    bench.piece("p");
    assert_ne!(bench.inspect().code, 2);
    let args = ["report", "out", "--html", "html", "--pieces", "in"];
    let ran = bench.loupe(&args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let page = text(&bench, "html/pieces/p.html");
    stands_alone(&page);
    assert!(page.contains("view top, dome, 40 µm/px"), "the frame's light and scale");
    // Without drawn pictures the page says so.
    std::fs::remove_file(bench.path("out/p/top.png.overlay.png")).unwrap();
    assert_eq!(bench.loupe(&args).code, 0);
    assert!(text(&bench, "html/pieces/p.html").contains("There is no drawn picture of top.png"));
}

/// Which elements stand in which, in which order, and how often at least and at most (0: any number), as QIF 3.0's schema files
/// QIFDocument, QIFResults, Characteristics and Units have it, of the elements that the program writes.
type Parts = &'static [(&'static str, u32, u32)];
const ORDER: &[(&str, Parts)] = &[
    (
        "QIFDocument",
        &[
            ("QPId", 1, 1),
            ("Header", 0, 1),
            ("StandardsDefinitions", 0, 1),
            ("FileUnits", 0, 1),
            ("MeasurementResources", 0, 1),
            ("Product", 0, 1),
            ("Characteristics", 0, 1),
            ("Results", 1, 1),
        ],
    ),
    ("Header", &[("Application", 0, 1), ("Description", 0, 1), ("Scope", 0, 1)]),
    ("Application", &[("Name", 1, 1)]),
    ("StandardsDefinitions", &[("Standard", 1, 0)]),
    ("Standard", &[("Organization", 1, 1), ("Designator", 1, 1)]),
    ("Organization", &[("StandardsOrganizationEnum", 1, 1)]),
    ("FileUnits", &[("PrimaryUnits", 1, 1), ("OtherUnits", 0, 1), ("UserDefinedUnits", 0, 1)]),
    (
        "PrimaryUnits",
        &[("AreaUnit", 0, 1), ("AngularUnit", 0, 1), ("ForceUnit", 0, 1), ("LinearUnit", 0, 1), ("MassUnit", 0, 1)],
    ),
    ("OtherUnits", &[("MassUnit", 0, 0)]),
    ("AreaUnit", UNIT),
    ("AngularUnit", UNIT),
    ("ForceUnit", UNIT),
    ("LinearUnit", UNIT),
    ("MassUnit", UNIT),
    ("UnitConversion", &[("Factor", 1, 1)]),
    ("UserDefinedUnits", &[("UserDefinedUnit", 1, 0)]),
    ("UserDefinedUnit", &[("WhatIsMeasured", 1, 1), ("UnitName", 1, 1)]),
    ("MeasurementResources", &[("MeasurementDevices", 0, 1)]),
    ("MeasurementDevices", &[("MeasurementDevice", 1, 0)]),
    ("MeasurementDevice", &[("Name", 1, 1)]),
    ("Product", &[("PartSet", 0, 1)]),
    ("PartSet", &[("Part", 1, 0)]),
    ("Part", &[("ModelNumber", 0, 1)]),
    (
        "Characteristics",
        &[
            ("FormalStandardId", 1, 1),
            ("CharacteristicDefinitions", 1, 1),
            ("CharacteristicNominals", 1, 1),
            ("CharacteristicItems", 0, 1),
        ],
    ),
    ("Tolerance", &[("MaxValue", 0, 1), ("MinValue", 0, 1), ("DefinedAsLimit", 1, 1)]),
    ("PassValues", &[("StringValue", 1, 0)]),
    ("FailValues", &[("StringValue", 1, 0)]),
    ("MeasurementDeviceIds", &[("Id", 1, 0)]),
    ("ActualComponentIds", &[("Id", 1, 0)]),
    ("Results", &[("MeasurementResultsSet", 1, 1), ("ActualComponentSets", 0, 1)]),
    ("MeasurementResultsSet", &[("MeasurementResults", 1, 0)]),
    (
        "MeasurementResults",
        &[
            ("ThisResultsInstanceQPId", 0, 1),
            ("MeasuredCharacteristics", 0, 1),
            ("InspectionStatus", 1, 1),
            ("ActualComponentIds", 0, 1),
        ],
    ),
    ("MeasuredCharacteristics", &[("CharacteristicMeasurements", 1, 1)]),
    ("InspectionStatus", &[("InspectionStatusEnum", 1, 1)]),
    ("ActualComponentSets", &[("ActualComponentSet", 1, 0)]),
    ("ActualComponentSet", &[("ActualComponent", 1, 0)]),
    ("ActualComponent", &[("SerialNumber", 0, 1), ("Status", 1, 1)]),
];
const UNIT: &[(&str, u32, u32)] = &[("SIUnitName", 0, 1), ("UnitName", 1, 1), ("UnitConversion", 0, 1)];

/// The order in a characteristic's aspect, by the ending of its element and its type.
fn aspect(name: &str) -> Option<Vec<(&'static str, u32, u32)>> {
    let unit = name.starts_with("UserDefinedUnit");
    let attribute = name.starts_with("UserDefinedAttribute");
    let own = ["Diameter", "Length", "Width"].iter().any(|k| name.starts_with(k));
    let mut order = vec![];
    if name.ends_with("CharacteristicDefinition") {
        order.push(("Name", 0, 1));
        if !unit && !attribute {
            order.extend([("Tolerance", 0, 1), ("NonTolerance", 0, 1)]);
        }
        if !unit && !own {
            order.push(("WhatToMeasure", 1, 1));
        }
    } else if name.ends_with("CharacteristicNominal") {
        order.extend([("CharacteristicDefinitionId", 1, 1), ("Name", 0, 1)]);
        if unit {
            order.extend([("TargetValue", 1, 1), ("MaxValue", 0, 1), ("MinValue", 0, 1), ("DefinedAsLimit", 1, 1)]);
        } else if attribute {
            order.extend([("PassValues", 0, 1), ("FailValues", 0, 1)]);
        }
    } else if name.ends_with("CharacteristicItem") {
        order.extend([
            ("Description", 0, 1),
            ("Name", 0, 1),
            ("MeasurementDeviceIds", 0, 1),
            ("CharacteristicNominalId", 1, 1),
        ]);
    } else if name.ends_with("CharacteristicMeasurement") {
        order.extend([
            ("Description", 0, 1),
            ("Status", 1, 1),
            ("CharacteristicItemId", 1, 1),
            ("MeasurementDeviceIds", 0, 1),
            ("Value", 0, 1),
        ]);
    } else {
        return None;
    }
    Some(order)
}

/// A QIF document keeps to the order of the schema, its counts, ids and references.
#[track_caller]
fn conforms(what: &str, text: &str) {
    let document = roxmltree::Document::parse(text).unwrap_or_else(|e| panic!("{what}: {e}"));
    let root = document.root_element();
    assert_eq!(root.attribute("versionQIF"), Some("3.0.0"), "{what}");
    let order: BTreeMap<&str, &[(&str, u32, u32)]> = ORDER.iter().copied().collect();
    let mut ids: BTreeMap<u32, String> = BTreeMap::new();
    for node in root.descendants().filter(roxmltree::Node::is_element) {
        let name = node.tag_name().name();
        assert_eq!(node.tag_name().namespace(), Some("http://qifstandards.org/xsd/qif3"), "{what}: {name}");
        let children: Vec<&str> = node.children().filter(|c| c.is_element()).map(|c| c.tag_name().name()).collect();
        if let Some(n) = node.attribute("n") {
            assert_eq!(n.parse::<usize>().unwrap(), children.len(), "{what}: {name}: n");
        }
        if let Some(id) = node.attribute("id") {
            let other = ids.insert(id.parse().unwrap(), name.to_owned());
            assert_eq!(other, None, "{what}: id {id} twice");
        }
        let status = ["CharacteristicStatusEnum", "InspectionStatusEnum"];
        let status_order = [(
            if node.parent().is_some_and(|p| p.tag_name().name() == "ActualComponent") {
                status[1]
            } else {
                status[0]
            },
            1,
            1,
        )];
        let lists = [
            "CharacteristicDefinitions",
            "CharacteristicNominals",
            "CharacteristicItems",
            "CharacteristicMeasurements",
        ];
        let wanted: Vec<(&str, u32, u32)> = if let Some(list) = lists.iter().find(|l| **l == name) {
            let ending = list.strip_suffix('s').unwrap();
            assert!(
                !children.is_empty() && children.iter().all(|c| c.ends_with(ending)),
                "{what}: {name}: {children:?}"
            );
            continue;
        } else if name == "Status" {
            status_order.to_vec()
        } else if let Some(list) = order.get(name) {
            list.to_vec()
        } else if let Some(list) = aspect(name) {
            list
        } else {
            assert!(children.is_empty(), "{what}: {name} is not known and has {children:?}");
            continue;
        };
        let mut rest = children.as_slice();
        for (child, least, most) in &wanted {
            let k = rest.iter().take_while(|c| *c == child).count();
            assert!(
                k as u32 >= *least && (*most == 0 || k as u32 <= *most),
                "{what}: {name}: {k} of {child}, in {children:?}"
            );
            rest = &rest[k..];
        }
        assert!(rest.is_empty(), "{what}: {name}: {rest:?} stand out of order in {children:?}");
    }
    let most: u32 = root.attribute("idMax").unwrap().parse().unwrap();
    assert_eq!(ids.keys().next_back(), Some(&most), "{what}: idMax");
    // What is referred to is there, and of the right type.
    for node in root.descendants().filter(roxmltree::Node::is_element) {
        let name = node.tag_name().name();
        let target = |id: &str| ids[&id.parse::<u32>().unwrap()].clone();
        let own = node.parent().map(|p| p.tag_name().name().to_owned()).unwrap_or_default();
        let text = node.text().unwrap_or("");
        match name {
            "CharacteristicDefinitionId" => assert_eq!(target(text), own.replace("Nominal", "Definition"), "{what}"),
            "CharacteristicNominalId" => assert_eq!(target(text), own.replace("Item", "Nominal"), "{what}"),
            "CharacteristicItemId" => assert_eq!(target(text), own.replace("Measurement", "Item"), "{what}"),
            "FormalStandardId" => assert_eq!(target(text), "Standard", "{what}"),
            "Id" if own == "MeasurementDeviceIds" => assert_eq!(target(text), "MeasurementDevice", "{what}"),
            "Id" if own == "ActualComponentIds" => assert_eq!(target(text), "ActualComponent", "{what}"),
            "CharacteristicStatusEnum" => assert!(
                ["PASS", "FAIL", "REWORK", "SYSERROR", "INDETERMINATE", "NOT_ANALYZED"].contains(&text),
                "{what}: {text}"
            ),
            "InspectionStatusEnum" => {
                assert!(["PASS", "FAIL", "REWORK", "SYSERROR", "UNKNOWN"].contains(&text), "{what}: {text}")
            }
            "Value" | "MaxValue" | "MinValue" | "TargetValue" if !own.starts_with("UserDefinedAttribute") => {
                assert!(
                    text.bytes().all(|b| b.is_ascii_digit() || b"-.".contains(&b)),
                    "{what}: {text} is no xs:decimal"
                );
            }
            _ => {}
        }
    }
}

/// The browser of the machine: `LOUPE_BROWSER`, which must be there where it is named (script/test names it), else Debian's chromium.
fn browser() -> Option<String> {
    let runs = |b: &str| Command::new(b).arg("--version").output().is_ok_and(|o| o.status.success());
    if let Ok(named) = std::env::var("LOUPE_BROWSER") {
        assert!(runs(&named), "LOUPE_BROWSER: {named} does not run (script/setup --browser installs chromium)");
        return Some(named);
    }
    ["chromium", "google-chrome"].into_iter().find(|b| runs(b)).map(str::to_owned)
}

#[test]
fn a_browser_shows_and_prints_the_pages() {
    let Some(browser) = browser() else {
        eprintln!("skipped: there is no chromium");
        return;
    };
    let bench = Bench::new();
    lot(&bench);
    assert_eq!(bench.loupe(&["report", "out", "--html", "html"]).code, 0);
    for (page, least_words) in [
        ("html/index.html", "Spread of each characteristic"),
        ("html/pieces/ring-1.html", "Decision of the inspector"),
    ] {
        let profile = tempfile::tempdir().unwrap();
        let run = |what: &str| {
            let out = Command::new(&browser)
                .args([
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-quic",
                    "--no-first-run",
                    "--disable-background-networking",
                ])
                .args([
                    "--disable-component-update",
                    "--disable-sync",
                    "--disable-dev-shm-usage",
                    "--host-resolver-rules=MAP * ~NOTFOUND",
                ])
                .args(["--enable-logging=stderr", "--no-pdf-header-footer", what])
                .arg(format!("--user-data-dir={}", profile.path().display()))
                .arg(format!("file://{}", bench.path(page).display()))
                .current_dir(bench.dir.path())
                .output()
                .unwrap();
            assert!(out.status.success(), "{page}: {}", String::from_utf8_lossy(&out.stderr));
            (String::from_utf8_lossy(&out.stdout).into_owned(), String::from_utf8_lossy(&out.stderr).into_owned())
        };
        let (dom, log) = run("--dump-dom");
        assert!(dom.contains(least_words), "{page}");
        // What a page loads or does wrong is said on its console; what its policy forbids too.
        assert!(!log.contains("CONSOLE"), "{page}: {log}");
        let (_, log) = run("--print-to-pdf=page.pdf");
        assert!(!log.contains("CONSOLE"), "{page}: {log}");
        let pdf = std::fs::read(bench.path("page.pdf")).unwrap();
        let boxes: Vec<(f64, f64)> = sheets(&pdf);
        assert!(!boxes.is_empty(), "{page}: no sheet");
        // A4 is 595.28 x 841.89 points; the browser rounds to its pixels.
        for (w, h) in boxes {
            assert!((w - 595.28).abs() < 1.0 && (h - 841.89).abs() < 1.0, "{page}: {w} x {h} points");
        }
    }
}

/// Sizes of a PDF's sheets in points.
fn sheets(pdf: &[u8]) -> Vec<(f64, f64)> {
    let text = String::from_utf8_lossy(pdf);
    text.split("/MediaBox [")
        .skip(1)
        .map(|s| {
            let numbers: Vec<f64> =
                s.split(']').next().unwrap().split_whitespace().map(|n| n.parse().unwrap()).collect();
            (numbers[2] - numbers[0], numbers[3] - numbers[1])
        })
        .collect()
}
