//! The list of points, from the sources. A durable write or an effect outside of a point ends the build.

#![allow(
    clippy::expect_used,
    clippy::panic,
    dead_code,
    reason = "a build script; half of the module is for tests"
)]

#[path = "src/scan.rs"]
mod scan;

use std::{env, fmt::Write as _, fs, path::Path};

fn main() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the top of the checkout");
    for root in scan::ROOTS {
        println!("cargo::rerun-if-changed={}", top.join(root).display());
    }
    println!("cargo::rerun-if-changed=src/scan.rs");
    let found = scan::all(top).expect("the sources can be read");
    for wrong in &found.wrong {
        println!("cargo::error={wrong}");
    }
    let mut text = String::from("&[\n");
    for scan::Point { name, effect, at } in &found.points {
        writeln!(text, "    Point {{ name: {name:?}, effect: {effect}, at: {at:?} }},").expect("a string");
    }
    text.push_str("]\n");
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    fs::write(Path::new(&out).join("points.rs"), text).expect("OUT_DIR can be written");
}
