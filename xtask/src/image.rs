//! `cargo xtask image`: an example of this repository, built for the bare machine.

use crate::debian::Kernel;
use crate::initramfs::{self, Purpose};
use crate::iso::Iso;
use crate::machine::Level;
use crate::{progress, tools, workspace};
use anyhow::{Context, Result};
use clap::Args;
use std::path::{Path, PathBuf};

/// What `image` takes.
#[derive(Debug, Args)]
pub struct Image {
    /// Which example
    #[arg(default_value = "linux")]
    pub example: String,
    /// Make an ISO that GRUB boots, with a Debian kernel and a small userland as its modules
    #[arg(long)]
    pub iso: bool,
    /// The file to write [default: where cargo builds]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// With --iso: the kernel to put in it, instead of Debian's
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// With --iso: the initrd to put in it, instead of busybox with a shell
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// With --iso: the image's command line, as in guest.linux.memory=512M
    #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true)]
    pub cmdline: String,
    /// With --iso: which of Debian's kernels
    #[arg(long, value_enum, default_value = "cloud")]
    pub package: Kernel,
}

impl Image {
    /// Builds it and says where it is.
    pub fn run(self) -> Result<u8> {
        let image = build(&self.example, None)?;
        let output = if self.iso {
            let output = match self.output {
                Some(output) => output,
                None => workspace::target_dir()?.join(format!("{}.iso", self.example)),
            };
            let kernel = match self.kernel {
                Some(kernel) => kernel,
                None => self.package.fetch()?,
            };
            let purpose = Purpose::Shell {
                terminal: "linux".to_owned(),
                size: None,
            };
            let initrd = initramfs::build(self.initrd.as_deref(), &purpose)?;
            let mut scratch = tempfile::NamedTempFile::new().context("cannot create a scratch file")?;
            std::io::Write::write_all(&mut scratch, &initrd).context("cannot write the initrd")?;
            Iso {
                image: &image,
                modules: &[("vmlinuz", &kernel), ("initrd", scratch.path())],
                command_line: &self.cmdline,
                first: crate::iso::Protocol::Multiboot2,
            }
            .write(&output)?;
            output
        } else if let Some(output) = self.output {
            std::fs::copy(&image, &output).with_context(|| format!("cannot write {}", output.display()))?;
            output
        } else {
            image
        };
        println!("{}", output.display());
        Ok(0)
    }
}

/// Builds `example` for the bare machine and answers with its ELF file. With `log`, lines of that level are in it even
/// if an ordinary build leaves them out.
pub fn build(example: &str, log: Option<Level>) -> Result<PathBuf> {
    tools::ensure_bare_target()?;
    let mut cargo = workspace::cargo();
    cargo
        .args([
            "build",
            "--release",
            "--target",
            workspace::BARE_TARGET,
            "--example",
            example,
        ])
        .arg("--message-format=json-render-diagnostics");
    if log == Some(Level::Trace) {
        cargo.env("DEFMT_LOG", "trace");
    }
    let messages = progress::run(&format!("building the image {example}"), &mut cargo)?;
    executable(&String::from_utf8_lossy(&messages), example)
        .with_context(|| format!("cargo built no program for the example {example}"))
}

fn executable(messages: &str, example: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let target = message.get("target")?;
        if target.get("name")?.as_str()? != example || target.get("kind")?.get(0)?.as_str()? != "example" {
            return None;
        }
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    })
}

/// A file in `folder` with `modules` by name in it, for a boot protocol that carries one.
pub fn bundle(modules: &[(&str, &Path)], folder: &Path) -> Result<PathBuf> {
    let mut archive = crate::archive::Archive::new();
    for (name, file) in modules {
        let contents = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        archive.file(name, &contents)?;
    }
    let bundle = folder.join("bundle");
    std::fs::write(&bundle, archive.finish()?).context("cannot write the bundle")?;
    Ok(bundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_cargo_built_is_the_example_that_was_asked_for() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"linux"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["example"],"name":"linux"},"executable":"/t/linux"}"#,
            "\n",
        );
        assert_eq!(executable(messages, "linux"), Some(PathBuf::from("/t/linux")));
        assert_eq!(executable(messages, "two_guests"), None);
    }
}
