//! `cargo xtask sim`: an example on the simulated machine, where a seed decides everything that chance would.

use crate::workspace;
use anyhow::{Context, Result};
use clap::Args;

/// What `sim` takes.
#[derive(Debug, Args)]
pub struct Sim {
    /// Which example
    pub example: String,
    /// What decides the order of events; the same number gives the same run
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

impl Sim {
    /// Runs it, and answers with its status.
    pub fn run(self) -> Result<u8> {
        let status = workspace::cargo()
            .args([
                "run",
                "--quiet",
                "--example",
                &self.example,
                "--",
                "--seed",
                &self.seed.to_string(),
            ])
            .status()
            .context("cannot run cargo")?;
        Ok(status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(1))
    }
}
