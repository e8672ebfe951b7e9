//! The steps of an inspection, for comparing two versions on one machine: `cargo bench`. Figures that compare
//! machines come from `loupe bench`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::path::Path;

use criterion::{criterion_group, criterion_main, Criterion};

use loupe::cli::bench::{draw_piece, draw_signet};
use loupe::model::{Precision, SurfaceModel};
use loupe::pipeline::{Inspector, Settings};
use loupe::report::overlay;
use loupe::vision;

fn steps(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let job = draw_piece(dir.path(), "five-megapixels", 2448, 2048, 5.0, 0).expect("the piece is drawn");
    let path = job.base.join("top.png");
    let bytes = std::fs::read(&path).expect("its frame is read");
    let inspector = Inspector::new(Settings::default()).expect("classic inspectors need no file");
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");

    let mut g = c.benchmark_group("2448x2048");
    g.sample_size(10);
    g.bench_function("decode", |b| b.iter(|| black_box(vision::decode(&bytes, &path))));
    g.bench_function("classic", |b| one.install(|| b.iter(|| black_box(inspector.inspect(&job)))));
    let seen = inspector.inspect(&job);
    g.bench_function("overlay", |b| b.iter(|| black_box(overlay::draw(&seen.views[0], &seen.report))));
    let picture = overlay::draw(&seen.views[0], &seen.report);
    g.bench_function("encode", |b| b.iter(|| black_box(overlay::encode_png(&picture))));
    g.finish();

    // The shipped model where there is one; the tests' own shows what tiles and joining cost.
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny_surface.onnx");
    let model = SurfaceModel::load_default(Precision::Fp32).or_else(|_| SurfaceModel::load(&tiny));
    let Ok(model) = model else { return };
    let (image, mask) = draw_signet(960, 720, 1);
    let mut g = c.benchmark_group(format!("960x720 model {}", model.info().name));
    g.sample_size(10);
    let prepared = model.prepare(&image, Some(&mask)).expect("tiles are cut");
    g.bench_function("bare", |b| b.iter(|| model.bare_run(&prepared)));
    g.bench_function("segment", |b| one.install(|| b.iter(|| black_box(model.segment(&image, Some(&mask))))));
    let map = model.segment(&image, Some(&mask)).expect("the model runs");
    g.bench_function("enlarge", |b| b.iter(|| black_box(map.defect_plane())));
    g.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
