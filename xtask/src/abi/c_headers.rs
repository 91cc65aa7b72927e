//! The C side: compiles small programs against the installed public headers, never runs them, and reads what the
//! compiler knows: the macros, the values of expressions, and the debug information.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Where the distribution puts the headers.
const INCLUDE: &str = "/usr/include/xen";

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
    prologue: String,
}

impl Compiler {
    /// A compiler for programs that include `headers`, given by their paths below the include directory.
    pub fn new<'a>(headers: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        if let Some(missing) = missing() {
            bail!("{missing}");
        }
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
        Ok(Self { folder, prologue })
    }

    /// The object-like macros with a body: name to the header that defines them.
    pub fn macros(&self) -> Result<BTreeMap<String, String>> {
        let source = self.source("macros", "")?;
        let output = Command::new("gcc")
            .args(["-m64", "-ffreestanding", "-E", "-dD"])
            .arg(&source)
            .output()?;
        if !output.status.success() {
            bail!("gcc -E failed:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        let mut file = None;
        let mut found = BTreeMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some(marker) = line.strip_prefix("# ") {
                file = marker
                    .split('"')
                    .nth(1)
                    .and_then(|path| below_include(Path::new(path)));
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

    fn source(&self, name: &str, body: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(format!("{name}.c"));
        std::fs::write(&path, format!("{}{body}", self.prologue))?;
        Ok(path)
    }

    /// Compiles and links, without any library, so that the debug information needs no relocation.
    fn compile(&self, name: &str, width: Width, body: &str) -> Result<Vec<u8>> {
        let source = self.source(name, body)?;
        let program = source.with_extension("elf");
        let output = Command::new("gcc")
            .arg(width.flag())
            .args(["-ffreestanding", "-nostdlib", "-static", "-no-pie", "-fno-pie"])
            .args([
                "-Wl,-e,0",
                "-Wl,--build-id=none",
                "-gdwarf-5",
                "-fno-eliminate-unused-debug-types",
                "-o",
            ])
            .arg(&program)
            .arg(&source)
            .output()?;
        if !output.status.success() {
            bail!(
                "gcc {} failed:\n{}",
                width.flag(),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(std::fs::read(&program)?)
    }
}

/// What has to be installed before anything can be compared, as a sentence; nothing if all is there.
#[must_use]
pub fn missing() -> Option<String> {
    if !Path::new(INCLUDE).join("xen.h").exists() {
        return Some(format!(
            "no Xen headers in {INCLUDE}: install them with `apt-get install libxen-dev`"
        ));
    }
    if Command::new("gcc").arg("--version").output().is_err() {
        return Some("no gcc: install it with `apt-get install gcc`".to_owned());
    }
    None
}

/// The path of a header below the include directory; nothing for other files.
#[must_use]
pub fn below_include(path: &Path) -> Option<String> {
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
    plain
        .strip_prefix(INCLUDE)
        .ok()
        .and_then(Path::to_str)
        .map(str::to_owned)
}
