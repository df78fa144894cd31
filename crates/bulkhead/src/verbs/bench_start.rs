//! `bulkhead bench start`: T1 and T4.

use anyhow::bail;

use crate::cli::Bench;
use crate::context::Context;
use crate::measure::{Series, Target};

pub(crate) fn run(_: &Bench, _: &Context) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    bail!("`bench start` does not measure anything yet")
}
