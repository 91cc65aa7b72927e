//! The C side: compiles small programs against the installed public headers, never runs them, and reads what the
//! compiler knows: the macros, the values of expressions, and the debug information.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::tool_exists;
use crate::debian;

/// Where the distribution puts the folder of the headers.
const SYSTEM: &str = "/usr/include";

/// The section that holds the values asked for.
const VALUES: &str = ".abi_values";

/// For whom the compiler lays structures out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// A 64-bit caller.
    Bits64,
    /// A 32-bit caller.
    Bits32,
}

impl Width {
    const fn flag(self) -> &'static str {
        match self {
            Self::Bits64 => "-m64",
            Self::Bits32 => "-m32",
        }
    }
}

/// A compiler and a place for its files, which goes away with this value.
pub struct Compiler {
    folder: tempfile::TempDir,
    include: PathBuf,
    prologue: String,
}

impl Compiler {
    /// A compiler for programs that include `headers`, given by their paths below the include directory.
    pub fn new<'a>(include: &Path, headers: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let folder = tempfile::tempdir().context("no place for temporary files")?;
        let mut prologue = String::from(
            "#define __XEN_TOOLS__ 1\n#include <stddef.h>\n#include <stdint.h>\n#include <xen/xen.h>\n",
        );
        for header in headers {
            // The two word sizes exclude each other; xen.h includes the one that fits.
            if !header.starts_with("arch-x86/xen") {
                prologue.push_str(&format!("#include <xen/{header}>\n"));
            }
        }
        Ok(Self {
            folder,
            include: include.to_owned(),
            prologue,
        })
    }

    /// The object-like macros with a body: name to the header that defines them.
    pub fn macros(&self) -> Result<BTreeMap<String, String>> {
        let source = self.source("macros", "")?;
        let output = succeed(self.gcc(Width::Bits64).args(["-E", "-dD"]).arg(&source))?;
        let mut file = None;
        let mut found = BTreeMap::new();
        for line in String::from_utf8_lossy(&output).lines() {
            if let Some(marker) = line.strip_prefix("# ") {
                file = marker
                    .split('"')
                    .nth(1)
                    .and_then(|path| below(&self.include, Path::new(path)));
            } else if let Some(name) = line.strip_prefix("#undef ") {
                found.remove(name.trim());
            } else if let (Some(file), Some(definition)) = (&file, line.strip_prefix("#define "))
                && let Some((name, body)) = definition.split_once(' ')
                && !name.contains('(')
                && !body.trim().is_empty()
            {
                found.insert(name.to_owned(), file.clone());
            }
        }
        Ok(found)
    }

    /// The program with debug information of all types in the headers.
    pub fn types(&self, width: Width) -> Result<Vec<u8>> {
        self.compile("types", width, "int abi;\n")
    }

    /// The values of constant integer expressions, each as 64 bits, sign-extended by C's rules.
    pub fn values(&self, width: Width, expressions: &[String]) -> Result<Vec<u64>> {
        if expressions.is_empty() {
            return Ok(Vec::new());
        }
        let mut body = format!(
            "const unsigned long long abi_values[] __attribute__((section(\"{VALUES}\"), used)) = {{\n"
        );
        for expression in expressions {
            body.push_str(&format!("    (unsigned long long)({expression}),\n"));
        }
        body.push_str("};\n");
        let program = self.compile("values", width, &body)?;
        let section = super::debug_info::section(&program, VALUES)?;
        let (words, rest) = section.as_chunks::<8>();
        if words.len() != expressions.len() || !rest.is_empty() {
            bail!(
                "the compiler gave {} values for {} expressions",
                words.len(),
                expressions.len()
            );
        }
        Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    fn gcc(&self, width: Width) -> Command {
        let mut command = Command::new("gcc");
        command
            .args([width.flag(), "-ffreestanding", "-I"])
            .arg(&self.include);
        command
    }

    fn source(&self, name: &str, body: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(format!("{name}.c"));
        std::fs::write(&path, format!("{}{body}", self.prologue))?;
        Ok(path)
    }

    /// Compiles and links, without any library, so that the debug information needs no relocation.
    fn compile(&self, name: &str, width: Width, body: &str) -> Result<Vec<u8>> {
        let source = self.source(name, body)?;
        let program = source.with_extension("elf");
        succeed(
            self.gcc(width)
                .args(["-nostdlib", "-static", "-no-pie", "-fno-pie"])
                .args(["-Wl,-e,0", "-Wl,--build-id=none"])
                .args(["-gdwarf-5", "-fno-eliminate-unused-debug-types", "-o"])
                .arg(&program)
                .arg(&source),
        )?;
        Ok(std::fs::read(&program)?)
    }
}

/// Runs a compiler to its end; what it prints, or what it complains of.
fn succeed(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().context("cannot run gcc")?;
    if !output.status.success() {
        bail!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

/// The folder in which `xen/xen.h` is, if the headers are on this machine: installed, or fetched before.
pub fn find() -> Result<PathBuf> {
    if tool_exists("gcc") {
        for folder in [PathBuf::from(SYSTEM), debian::xen_headers_folder()?] {
            if folder.join("xen/xen.h").exists() {
                return Ok(folder);
            }
        }
        bail!(
            "no Xen headers: install them with `apt-get install libxen-dev`, or run `cargo xtask abi` once"
        );
    }
    bail!("no gcc: install it with `apt-get install gcc`")
}

/// As [`find`], but fetches the headers if they are not on this machine; nothing is installed.
pub fn fetch() -> Result<PathBuf> {
    find().or_else(|missing| {
        debian::xen_headers().with_context(|| missing.to_string())?;
        find()
    })
}

/// The path of a header below `xen` in `folder`; nothing for other files.
#[must_use]
pub fn below(folder: &Path, path: &Path) -> Option<String> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    let header = plain.strip_prefix(folder.join("xen")).ok()?;
    header.to_str().map(str::to_owned)
}
