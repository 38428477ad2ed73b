//! Switches the door `sync.rs` over to loom: for this package only, so the crate itself never depends on it.

fn main() {
    println!("cargo:rustc-cfg=corepool_loom");
    // Features of the crate, none of which a model has.
    println!("cargo:rustc-check-cfg=cfg(feature, values(\"serde\", \"usdt\"))");
    println!("cargo:rerun-if-changed=build.rs");
}
