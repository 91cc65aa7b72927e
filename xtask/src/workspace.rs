//! Where things are: this repository, what cargo builds, what was downloaded once.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The triple of the machine an image runs on.
pub const BARE_TARGET: &str = "x86_64-unknown-none";

/// What 32-bit guests are built for. Rust has no 32-bit target without a system; of this one, nothing but the processor
/// is used. It has no SSE, so that a guest need not turn that on.
pub const BARE_TARGET_32: &str = "i586-unknown-linux-gnu";

/// The top of this repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// `cargo`, the one that runs us if any, in the top of the repository.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    // What cargo tells us about our own package must not reach the packages we build.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || name == "CARGO_PRIMARY_PACKAGE"
        {
            cargo.env_remove(&*name);
        }
    }
    cargo
}

/// The folder cargo builds into, wherever the user keeps it.
pub fn target_dir() -> Result<PathBuf> {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata: not JSON")?;
    let folder = metadata
        .get("target_directory")
        .and_then(serde_json::Value::as_str)
        .context("cargo metadata: no target_directory")?;
    Ok(FOUND.get_or_init(|| PathBuf::from(folder)).clone())
}

/// The folder of what was downloaded; deleting it costs a download and nothing else.
pub fn cache_dir() -> Result<PathBuf> {
    let cache = target_dir()?.join("xtask-cache");
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    Ok(cache)
}

/// Keeps other processes out of the cache while the answer lives.
pub fn lock_cache() -> Result<File> {
    let path = cache_dir()?.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}
