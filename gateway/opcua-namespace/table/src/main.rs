//! Makes the table of the OPC UA standard's nodes: `make namespace-table`.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/nodes.bin");
    let table = namespace_table::write(&namespace_table::load(&original::CoreNamespace))?;
    std::fs::write(&path, &table)?;
    eprintln!("{}: {} bytes", path.display(), table.len());
    Ok(())
}
