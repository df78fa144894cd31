//! `bulkhead bench memory`: T8.

use anyhow::bail;

use crate::cli::Bench;
use crate::context::Context;
use crate::measure::{Series, Target};

pub(crate) fn run(_: &Bench, _: &Context) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    bail!("`bench memory` does not measure anything yet")
}
