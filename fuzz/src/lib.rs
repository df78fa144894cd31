//! Everything that reads what an attacker writes, as fuzz targets: `scripts/fuzz.sh` runs them for a while, and so does
//! `cargo fuzz run TARGET fuzz/seeds/TARGET` where that is installed. Each checks more than that nothing panics: that
//! what is read does not depend on how it was cut, and that what is written again is the same.
//!
//! `fuzz/seeds` has small inputs to begin with, `fuzz/README.md` tells the rest.

pub mod deploy;
pub mod egress;
pub mod frames;
pub mod webhook;

/// Cuts data into pieces whose lengths come from `dice`, so that the fuzzer finds the cuts that matter.
fn pieces<'d>(data: &'d [u8], dice: u8) -> impl Iterator<Item = &'d [u8]> {
    let mut rest = data;
    let mut length = usize::from(dice % 61) + 1;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(rest.len().min(length));
        rest = after;
        length = length * 7 % 97 + 1;
        Some(piece)
    })
}
