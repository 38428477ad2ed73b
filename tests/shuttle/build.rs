//! Switches the door `sync.rs` over to shuttle: for this package only, so the crate itself never depends on it.

fn main() {
    println!("cargo:rustc-cfg=corepool_shuttle");
    println!("cargo:rerun-if-changed=build.rs");
}
