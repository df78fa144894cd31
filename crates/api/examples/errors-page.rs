//! Writes `docs/errors/README.md` from the table of codes.

fn main() -> std::io::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors/README.md");
    std::fs::write(path, bulkhead_api::codes::page())
}
