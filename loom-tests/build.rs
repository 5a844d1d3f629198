//! Switches the mounted files to their form for models, without a flag that other crates would see.

fn main() {
    println!("cargo::rustc-cfg=model");
    println!("cargo::rerun-if-changed=build.rs");
}
