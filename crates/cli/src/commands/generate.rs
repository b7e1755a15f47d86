//! `completions` and `man`: both are made from the flags as the parser knows them.

use std::path::Path;

use clap::CommandFactory;

use crate::args::Cli;
use crate::failure::Failure;

/// `unanimous completions SHELL`.
pub fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "unanimous", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script).map_err(Failure::from)
}

/// `unanimous man DIR`.
pub fn man(dir: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(Failure::from)
}
