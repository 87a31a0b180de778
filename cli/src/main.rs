//! The binary `twinway`. Everything is in the library.

fn main() -> std::process::ExitCode {
    twinway::main(std::env::args_os())
}
