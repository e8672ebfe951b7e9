//! The model path against golden outputs of the Python runtime, and what it says of files that are no models.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use loupe::model::{ClassMap, Closer, ModelError, SurfaceModel, CLOSER};
use loupe::vision::{Image, Mask};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn tiny() -> SurfaceModel {
    SurfaceModel::load(&data("tiny_surface.onnx")).expect("the tiny model loads (run script/setup first)")
}

/// The picture of tests/data/make_tiny.py.
fn picture(width: usize, height: usize) -> Image {
    let mut data = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                data.push(((x * 7 + y * 13 + c * 50 + (x * y) % 17 * 3) % 256) as u8);
            }
        }
    }
    Image { width, height, data, grey: false }
}

#[derive(serde::Deserialize)]
struct Golden {
    width: usize,
    height: usize,
    step: usize,
    probs: Vec<Vec<Vec<f32>>>,
}

#[test]
fn tiles_give_what_the_whole_picture_gives() {
    let model = tiny();
    let golden: Vec<Golden> =
        serde_json::from_str(&std::fs::read_to_string(data("tiny_surface.json")).unwrap()).unwrap();
    for g in golden {
        let map = model.segment(&picture(g.width, g.height), None).unwrap();
        let (gw, gh) = map.grid();
        assert_eq!((gw, gh), (g.width.div_ceil(2), g.height.div_ceil(2)));
        for (c, plane) in g.probs.iter().enumerate() {
            for (i, row) in plane.iter().enumerate() {
                for (j, want) in row.iter().enumerate() {
                    let got = map.cells(c)[i * g.step * gw + j * g.step];
                    assert!(
                        (got - want).abs() < 2e-5,
                        "{} x {}: class {c} at ({}, {}): {got} for {want}",
                        g.width,
                        g.height,
                        j * g.step,
                        i * g.step
                    );
                }
            }
        }
    }
}

#[test]
fn the_same_bits_from_any_number_of_threads() {
    let model = tiny();
    let image = picture(700, 520);
    let first = model.segment(&image, None).unwrap();
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let again: Vec<ClassMap> = pool.install(|| {
            use rayon::prelude::*;
            (0..6).into_par_iter().map(|_| model.segment(&image, None).unwrap()).collect()
        });
        for map in again {
            assert!(first.probs.iter().zip(&map.probs).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
}

#[test]
fn only_tiles_on_the_mask_are_run() {
    let model = tiny();
    let image = picture(700, 520);
    let whole = model.segment(&image, None).unwrap();
    let mut mask = Mask::empty(700, 520);
    for y in 300..340 {
        mask.data[y * 700 + 500..y * 700 + 560].fill(255);
    }
    let part = model.segment(&image, Some(&mask)).unwrap();
    assert_eq!(model.prepare(&image, Some(&mask)).unwrap().tiles(), 1);
    for (x, y) in [(500, 300), (559, 339), (530, 320)] {
        assert!((part.at(1, x, y) - whole.at(1, x, y)).abs() < 1e-5);
    }
    assert_eq!(part.at(0, 10, 10), 1.0);
    let nothing = model.segment(&image, Some(&Mask::empty(700, 520))).unwrap();
    assert!(nothing.defect_plane().data.iter().all(|v| *v == 0.0));
    assert!(model.segment(&image, Some(&Mask::full(10, 10))).is_err());
}

#[test]
fn any_size_of_picture_is_covered() {
    let model = tiny();
    for (w, h) in [(16, 16), (17, 300), (33, 31), (103, 541), (257, 256), (511, 64)] {
        let map = model.segment(&picture(w, h), None).unwrap();
        let plane = map.defect_plane();
        assert_eq!((plane.width, plane.height, plane.data.len()), (w, h, w * h));
        let (gw, gh) = map.grid();
        for i in 0..gw * gh {
            let sum: f32 = (0..4).map(|c| map.cells(c)[i]).sum();
            assert!((sum - 1.0).abs() < 1e-4);
        }
    }
}

#[test]
fn what_the_model_says_of_itself() {
    let model = tiny();
    let i = model.info();
    assert_eq!(i.name, "tiny");
    assert_eq!(i.classes, ["good", "pore_pit", "crack_scratch", "other_defect"]);
    assert_eq!(i.defect_threshold(), 0.5);
    assert_eq!(i.sha256.len(), 64);
}

#[test]
fn files_that_are_no_models_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let load = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let e = SurfaceModel::load(&path).unwrap_err();
        assert!(e.to_string().contains("m.onnx"), "{e}");
        e
    };
    assert!(matches!(load(b""), ModelError::Empty { .. }));
    assert!(matches!(load(b"this is no model at all"), ModelError::Damaged { .. }));
    let good = std::fs::read(data("tiny_surface.onnx")).unwrap();
    assert!(matches!(load(&good[..good.len() / 2]), ModelError::Damaged { .. }));
    let missing = SurfaceModel::load(&dir.path().join("none.onnx")).unwrap_err();
    assert!(matches!(missing, ModelError::Read { .. }) && missing.to_string().contains("none.onnx"));

    // One letter in the metadata: the model still loads for the runtime.
    let replace = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = good.windows(from.len()).position(|w| w == from.as_bytes()).expect("the text is in the file");
        let mut bytes = good.clone();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    match load(&replace("loupe.model/1", "loupe.model/9")) {
        ModelError::Metadata { key, .. } => assert_eq!(key, "loupe.schema"),
        e => panic!("{e}"),
    }
    match load(&replace("loupe.licence", "loupe.l1cence")) {
        ModelError::Metadata { key, .. } => assert_eq!(key, "loupe.licence"),
        e => panic!("{e}"),
    }
    // The metadata says one class less than the output has.
    let short = replace(r#", "crack_scratch", "other_defect"]"#, r#", "crack_scratch"]                "#);
    assert!(matches!(load(&short), ModelError::Shape { .. }));
}

/// Runs one of the ignored tests below in a process of its own: the runtime is loaded once per process.
fn in_a_process_of_its_own(test: &str, library: &Path) {
    let out = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored"])
        .env("ORT_DYLIB_PATH", library)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn a_missing_runtime_is_an_error_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    in_a_process_of_its_own("child_without_a_runtime", &dir.path().join("libonnxruntime.so"));
    let broken = dir.path().join("broken.so");
    std::fs::write(&broken, b"\x7fELF and then nothing").unwrap();
    in_a_process_of_its_own("child_without_a_runtime", &broken);
}

#[test]
fn a_library_that_is_no_runtime_is_an_error_and_no_panic() {
    in_a_process_of_its_own("child_with_another_library", Path::new("libm.so.6"));
}

#[test]
#[ignore = "run by a_missing_runtime_is_an_error_and_no_panic"]
fn child_without_a_runtime() {
    let named = std::env::var("ORT_DYLIB_PATH").unwrap();
    for _ in 0..2 {
        let e = SurfaceModel::load(&data("tiny_surface.onnx")).unwrap_err();
        assert!(matches!(e, ModelError::RuntimeMissing { .. }), "{e:?}");
        let text = e.to_string();
        assert!(text.contains(&named) && text.contains("script/setup") && text.contains("--no-model"), "{text}");
    }
}

#[test]
#[ignore = "run by a_library_that_is_no_runtime_is_an_error_and_no_panic"]
fn child_with_another_library() {
    let e = loupe::model::runtime_info().unwrap_err();
    assert!(matches!(e, ModelError::RuntimeUnusable { .. }), "{e:?}");
}

#[test]
fn the_runtime_tells_its_version() {
    let r = loupe::model::runtime_info().unwrap();
    assert!(r.version.starts_with("1."), "{r:?}");
}

#[test]
fn a_finer_frame_is_averaged_down_and_a_coarser_one_refused() {
    let model = tiny();
    let info = model.info();
    let image = picture(250, 131);
    assert_eq!(model.segment_at(&image, None, None).unwrap(), model.segment(&image, None).ok());
    assert_eq!(model.segment_at(&image, None, Some(info.um_per_px)).unwrap(), model.segment(&image, None).ok());
    let map = model.segment_at(&image, None, Some(0.6 * info.um_per_px_min)).unwrap().expect("twice that suits");
    assert_eq!((map.width, map.height, map.stride), (250, 131, 2 * info.output_stride));
    let small = model.segment(&loupe::vision::ops::shrink_image(&image, 2), None).unwrap();
    assert_eq!(map.probs, small.probs);
    assert_eq!(map.defect_plane().data.len(), 250 * 131);
    assert_eq!(model.segment_at(&image, None, Some(1.01 * info.um_per_px_max)).unwrap(), None);
}

#[test]
fn the_int8_model_says_nearly_what_the_fp32_model_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let load = |name: &str| SurfaceModel::load(&root.join("models").join(name)).expect(name);
    let (full, small) = (load("surface.onnx"), load("surface.int8.onnx"));
    // The weights of the second opinion and their thresholds are fitted for each of them.
    let of_classes = |m: &SurfaceModel| {
        let t = m.info().thresholds.iter().filter(|(k, _)| !k.starts_with("sound_") && !k.starts_with("defect_"));
        t.map(|(k, v)| (k.clone(), *v)).collect::<Vec<_>>()
    };
    assert_eq!(
        (&full.info().classes, of_classes(&full), full.info().min_area_px),
        (&small.info().classes, of_classes(&small), small.info().min_area_px)
    );
    assert_eq!(full.info().opinion.keys().collect::<Vec<_>>(), small.info().opinion.keys().collect::<Vec<_>>());
    assert_ne!(full.info().name, small.info().name);
    let (_, image) = loupe::vision::read_image(&root.join("datasets/demo/signet-002/top.png")).unwrap();
    let (a, b) = (full.segment(&image, None).unwrap(), small.segment(&image, None).unwrap());
    let count = a.cells(0).len();
    let defect = |m: &ClassMap, k: usize| (m.sound..m.classes.len()).map(|c| m.cells(c)[k]).sum::<f32>();
    let likeliest = |m: &ClassMap, k: usize| {
        (0..m.classes.len()).max_by(|i, j| m.cells(*i)[k].total_cmp(&m.cells(*j)[k])).expect("classes")
    };
    let difference = (0..count).map(|k| (defect(&a, k) - defect(&b, k)).abs()).sum::<f32>() / count as f32;
    assert!(difference < 0.005, "defects {difference}");
    let other = (0..count).filter(|k| likeliest(&a, *k) != likeliest(&b, *k)).count();
    assert!(other * 50 < count, "{other} of {count} cells");
    let seen = |m: &ClassMap| m.cells(0).iter().filter(|good| 1.0 - **good > full.info().defect_threshold()).count();
    assert!(seen(&a) > 0 && seen(&a).abs_diff(seen(&b)) * 4 < seen(&a), "{} and {}", seen(&a), seen(&b));
}

#[test]
fn a_closer_look_is_the_enlarged_part_and_the_same_on_any_number_of_threads() {
    let model = tiny();
    let image = picture(150, 120);
    let places: Vec<[f64; 2]> = (0..11).map(|k| [12.0 * f64::from(k), 9.5 * f64::from(k)]).collect();
    let looks = model.closer(&image, &places).unwrap();
    assert_eq!(looks.len(), places.len());
    let [side, larger] = CLOSER;
    for (look, p) in looks.iter().zip(&places) {
        // The place is its middle, to a pixel of the picture.
        let middle = (larger as f64 - 1.0) / 2.0;
        let [x, y] = look.place(*p);
        assert!((x - middle).abs() <= Closer::times() && (y - middle).abs() <= Closer::times(), "{x} {y}");
        let first = p.map(|v| v.round() as i64 - side as i64 / 2);
        let part = loupe::vision::ops::enlarged(&image, first, side, larger).unwrap();
        let map = model.segment(&part, None).unwrap();
        assert_eq!((map.width, map.stride), (look.map.width, look.map.stride));
        assert!(map.probs.iter().zip(&look.map.probs).all(|(a, b)| (a - b).abs() < 1e-5));
    }
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let again = alone.install(|| model.closer(&image, &places).unwrap());
    assert!(looks.iter().zip(&again).all(|(a, b)| a.map == b.map));
    assert!(model.closer(&image, &[]).unwrap().is_empty());
}
