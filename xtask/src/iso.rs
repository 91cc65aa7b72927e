//! An ISO from which GRUB boots an image with its modules, by either version of multiboot.

use crate::{progress, tools};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// How GRUB hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Multiboot, version 1.
    Multiboot1,
    /// Multiboot, version 2.
    Multiboot2,
}

/// What goes into an ISO.
#[derive(Clone, Copy, Debug)]
pub struct Iso<'a> {
    /// The image's ELF file.
    pub image: &'a Path,
    /// Its modules: name and file.
    pub modules: &'a [(&'a str, &'a Path)],
    /// The image's command line.
    pub command_line: &'a str,
    /// The menu's entry that boots by itself.
    pub first: Protocol,
}

impl Iso<'_> {
    /// Writes it to `output`.
    pub fn write(&self, output: &Path) -> Result<()> {
        tools::ensure(&tools::ISO_TOOLS)?;
        let scratch = tempfile::tempdir().context("cannot create a scratch folder")?;
        let boot = scratch.path().join("boot");
        let grub = boot.join("grub");
        std::fs::create_dir_all(&grub).with_context(|| format!("cannot create {}", grub.display()))?;
        let copy = |from: &Path, name: &str| {
            std::fs::copy(from, boot.join(name)).with_context(|| format!("cannot copy {}", from.display()))
        };
        copy(self.image, "image")?;
        for (name, file) in self.modules {
            copy(file, name)?;
        }
        std::fs::write(grub.join("grub.cfg"), self.configuration()?).context("cannot write grub.cfg")?;
        progress::run(
            "making the ISO",
            Command::new("grub-mkrescue")
                .arg("-d")
                .arg("/usr/lib/grub/i386-pc")
                .arg("-o")
                .arg(output)
                .arg(scratch.path()),
        )?;
        Ok(())
    }

    fn configuration(&self) -> Result<String> {
        let line = quote(self.command_line)?;
        let mut text = String::from(
            "serial --unit=0\nterminal_input serial console\nterminal_output serial console\nset timeout=1\n",
        );
        text.push_str(match self.first {
            Protocol::Multiboot2 => "set default=0\n",
            Protocol::Multiboot1 => "set default=1\n",
        });
        for (title, load, module) in [
            ("xenvisor by multiboot 2", "multiboot2", "module2"),
            ("xenvisor by multiboot 1", "multiboot", "module"),
        ] {
            text.push_str(&format!("menuentry '{title}' {{\n    {load} /boot/image{line}\n"));
            for (name, _) in self.modules {
                text.push_str(&format!("    {module} /boot/{name} {name}\n"));
            }
            text.push_str("}\n");
        }
        Ok(text)
    }
}

/// A command line's words for GRUB's shell. A word with a space in it must reach GRUB as one word without quotes of its
/// own, for GRUB puts its own around it and would escape ours.
fn quote(line: &str) -> Result<String> {
    let mut text = String::new();
    for word in split(line) {
        if word.contains(['\'', '\n']) {
            bail!("GRUB cannot pass on a quote or a line end in {word:?}");
        }
        text.push_str(&format!(" '{word}'"));
    }
    Ok(text)
}

/// The words of a command line: spaces separate, and `"` around any part of a word keeps the spaces in it.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            letter if letter.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            letter => word.push(letter),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_menu_offers_both_protocols_with_the_same_modules_and_words() {
        let iso = Iso {
            image: Path::new("linux"),
            modules: &[("vmlinuz", Path::new("a")), ("initrd", Path::new("b"))],
            command_line: "guest.linux.cmdline=\"console=hvc0 quiet\" guest.linux.memory=64M",
            first: Protocol::Multiboot1,
        };
        let text = iso.configuration().unwrap();
        let words = "/boot/image 'guest.linux.cmdline=console=hvc0 quiet' 'guest.linux.memory=64M'\n";
        assert!(text.contains(&format!("multiboot2 {words}")), "{text}");
        assert!(text.contains(&format!("multiboot {words}")), "{text}");
        assert!(text.contains("module2 /boot/initrd initrd\n"), "{text}");
        assert!(text.contains("set default=1\n"), "{text}");
    }

    #[test]
    fn a_word_grub_would_break_is_refused() {
        assert!(quote("guest.linux.cmdline=it's").is_err());
    }
}
