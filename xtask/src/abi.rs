//! `cargo xtask abi`: compares every number and layout of `xenvisor-abi` with the installed C headers.
//!
//! Both ways: each item of the crate must have in C the same value, size, offset and alignment, for 64-bit and for
//! 32-bit callers; each structure, enumerator and macro with a value of a covered header must be in the crate or
//! among [`omissions`], with a reason. Macros with parameters are logic, and not looked at.

mod c_headers;
mod debug_info;
mod omissions;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};
use clap::Args;
use xenvisor_abi::HEADERS;
use xenvisor_abi::describe::{Constant, Header, Layout};

use c_headers::{Compiler, Width};
use debug_info::{TypeId, Types};
use omissions::OMITTED;

pub use c_headers::{fetch, find};

/// The header that a 32-bit caller does not see.
const ONLY_64_BITS: &str = "arch-x86/xen-x86_64.h";

/// What was compared, and what differs.
#[derive(Debug, Default)]
pub struct Report {
    /// Numbers compared.
    pub constants: usize,
    /// Structures compared, once for each width of caller.
    pub structures: usize,
    /// Fields compared, once for each width of caller.
    pub fields: usize,
    /// Names of the headers left out on purpose.
    pub omitted: usize,
    /// Each difference, as a sentence.
    pub differences: Vec<String>,
}

/// What `abi` takes: nothing.
#[derive(Debug, Args)]
pub struct Abi {}

impl Abi {
    /// Compares it all.
    pub fn run(self) -> Result<u8> {
        run()?;
        Ok(0)
    }
}

/// Compares, prints how much was compared, and fails if anything differs.
pub fn run() -> Result<()> {
    let report = compare(HEADERS, &fetch()?)?;
    for difference in &report.differences {
        println!("abi: {difference}");
    }
    println!(
        "abi: compared {} constants, {} structures and {} fields with the Xen headers; {} names left out on purpose",
        report.constants, report.structures, report.fields, report.omitted
    );
    match report.differences.len() {
        0 => Ok(()),
        count => bail!("{count} differences from the Xen headers"),
    }
}

/// Compares some headers with their C originals, which are in the folder `xen` of `include`.
pub fn compare(headers: &[Header], include: &Path) -> Result<Report> {
    let compiler = Compiler::new(include, headers.iter().map(|header| header.file))?;
    let wide = Types::read(&compiler.types(Width::Bits64)?, include)?;
    let narrow = Types::read(&compiler.types(Width::Bits32)?, include)?;
    let mut report = Report::default();
    constants(&mut report, &compiler, headers)?;
    layouts(&mut report, &compiler, headers, &wide, &narrow)?;
    complete(&mut report, &compiler, headers, &wide, &narrow)?;
    Ok(report)
}

/// Every number, as a 64-bit and as a 32-bit compiler sees it.
fn constants(report: &mut Report, compiler: &Compiler, headers: &[Header]) -> Result<()> {
    let all = |header: &Header| [header.constants, header.flags].concat();
    let wide: Vec<Constant> = headers.iter().flat_map(all).collect();
    let own: Vec<Constant> = headers
        .iter()
        .flat_map(|header| header.compat_constants)
        .copied()
        .collect();
    // What only a 64-bit caller has is not there for the other.
    let both = headers
        .iter()
        .filter(|header| header.file != ONLY_64_BITS)
        .flat_map(all);
    let narrow = both.map(|constant| *own.iter().find(|own| own.c == constant.c).unwrap_or(&constant));
    let narrow: Vec<Constant> = narrow.collect();
    for (width, constants) in [(Width::Bits64, &wide), (Width::Bits32, &narrow)] {
        let expressions: Vec<String> = constants.iter().map(|constant| constant.c.to_owned()).collect();
        let values = compiler.values(width, &expressions)?;
        for (constant, value) in constants.iter().zip(values) {
            if constant.value.rem_euclid(1 << 64) != i128::from(value) {
                let ours = constant.value;
                report.differences.push(format!(
                    "{}: {ours:#x} here, {value:#x} in C ({width:?})",
                    constant.c
                ));
            }
        }
        report.constants += constants.len();
    }
    for constant in own {
        if !wide.iter().any(|wide| wide.c == constant.c) {
            report
                .differences
                .push(format!("{}: for 32-bit callers only", constant.c));
        }
    }
    Ok(())
}

/// Every structure, for both widths of caller.
fn layouts(
    report: &mut Report,
    compiler: &Compiler,
    headers: &[Header],
    wide: &Types,
    narrow: &Types,
) -> Result<()> {
    let ours: Vec<&Layout> = headers.iter().flat_map(|header| header.layouts).collect();
    let compat: Vec<&Layout> = headers.iter().flat_map(|header| header.compat).collect();
    // A structure without a layout for 32-bit callers must be the same for them, but for its alignment.
    let seen_by_both = headers.iter().filter(|header| header.file != ONLY_64_BITS);
    let shared = seen_by_both
        .flat_map(|header| header.layouts)
        .filter(|layout| !compat.iter().any(|compat| compat.c == layout.c));
    let shared: Vec<&Layout> = shared.collect();
    for (width, types, layouts) in [(Width::Bits64, wide, &ours), (Width::Bits32, narrow, &compat)] {
        let spelled = layouts
            .iter()
            .filter_map(|layout| Some((*layout, format!("_Alignof({})", types.spelling(layout.c)?))));
        let (known, expressions): (Vec<&Layout>, Vec<String>) = spelled.unzip();
        for (layout, align) in known.iter().zip(compiler.values(width, &expressions)?) {
            if u64::try_from(layout.align)? != align {
                let (rust, c, ours) = (layout.rust, layout.c, layout.align);
                report.differences.push(format!(
                    "{rust} ({c}): aligned to {ours} here, {align} in C ({width:?})"
                ));
            }
        }
        for layout in layouts {
            layout_differences(report, layout, types, width)?;
        }
    }
    for layout in shared {
        layout_differences(report, layout, narrow, Width::Bits32)?;
    }
    Ok(())
}

/// One structure: its size, each field, and that no C member is forgotten.
fn layout_differences(report: &mut Report, layout: &Layout, types: &Types, width: Width) -> Result<()> {
    let (rust, c) = (layout.rust, layout.c);
    let Some(id) = types.find(c) else {
        report
            .differences
            .push(format!("{rust}: no {c} in C ({width:?})"));
        return Ok(());
    };
    report.structures += 1;
    let ours = u64::try_from(layout.size)?;
    let size = types.size(id).unwrap_or(0);
    if ours != size {
        report.differences.push(format!(
            "{rust} ({c}): {ours} bytes here, {size} in C ({width:?})"
        ));
    }
    for field in layout.fields.iter().filter(|field| !field.c.is_empty()) {
        report.fields += 1;
        let ours = (u64::try_from(field.offset)?, u64::try_from(field.size)?);
        let name = format!("{rust}.{} ({c}.{})", field.rust, field.c);
        match types
            .member(id, field.c)
            .map(|(offset, of)| (offset, types.size(of).unwrap_or(0)))
        {
            None => report
                .differences
                .push(format!("{name}: no such member in C ({width:?})")),
            Some(theirs) if theirs != ours => {
                report.differences.push(format!(
                    "{name}: offset, size {ours:?} here, {theirs:?} in C ({width:?})"
                ));
            }
            Some(_) => {}
        }
    }
    forgotten_members(report, layout, types, id, width)
}

/// Every byte of a C member must be in a field, and no byte of one in padding.
fn forgotten_members(
    report: &mut Report,
    layout: &Layout,
    types: &Types,
    id: TypeId,
    width: Width,
) -> Result<()> {
    for leaf in types.leaves(id) {
        for at in leaf.offset..leaf.offset + leaf.size {
            let at = usize::try_from(at)?;
            let inside = |field: &&_| {
                let field: &xenvisor_abi::describe::Field = field;
                (field.offset..field.offset + field.size).contains(&at)
            };
            if layout
                .fields
                .iter()
                .find(inside)
                .is_none_or(|field| field.c.is_empty())
            {
                let (rust, c, path) = (layout.rust, layout.c, &leaf.path);
                report
                    .differences
                    .push(format!("{rust}: {c}.{path} is in no field ({width:?})"));
                break;
            }
        }
    }
    Ok(())
}

/// Every name of the covered headers must be known here or be left out on purpose.
fn complete(
    report: &mut Report,
    compiler: &Compiler,
    headers: &[Header],
    wide: &Types,
    narrow: &Types,
) -> Result<()> {
    let macros = compiler.macros()?;
    let covered: BTreeSet<&str> = headers.iter().map(|header| header.file).collect();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for header in headers {
        known.extend(
            header
                .constants
                .iter()
                .chain(header.flags)
                .map(|constant| constant.c),
        );
        known.extend(header.layouts.iter().chain(header.compat).map(|layout| layout.c));
    }
    let in_macros = macros.iter().map(|(name, file)| (name.as_str(), file.as_str()));
    let mut names: BTreeSet<(&str, &str)> = in_macros.collect();
    names.extend(wide.enumerators());
    names.extend(wide.records());
    names.extend(narrow.records());
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for (name, file) in names.iter().filter(|(_, file)| covered.contains(file)) {
        // `_X` numbers the bit of which `X` is the flag.
        let is_bit_number = name.strip_prefix('_').is_some_and(|flag| known.contains(flag));
        if known.contains(name) || is_bit_number {
            continue;
        }
        let fits = |pattern: &str| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => pattern == *name,
        };
        match OMITTED.iter().find(|(pattern, _)| fits(pattern)) {
            Some((pattern, _)) => {
                used.insert(pattern);
                report.omitted += 1;
            }
            None => report
                .differences
                .push(format!("{file}: {name} is neither here nor left out on purpose")),
        }
    }
    for header in headers {
        let own = header
            .constants
            .iter()
            .chain(header.flags)
            .map(|constant| constant.c);
        for name in own.chain(header.layouts.iter().map(|layout| layout.c)) {
            let files: Vec<&str> = names
                .iter()
                .filter(|(known, _)| *known == name)
                .map(|(_, file)| *file)
                .collect();
            if !files.is_empty() && !files.contains(&header.file) {
                let file = header.file;
                report
                    .differences
                    .push(format!("{name}: in {file} here, in {} in C", files.join(", ")));
            }
        }
    }
    for (pattern, _) in OMITTED.iter().filter(|(pattern, _)| !used.contains(pattern)) {
        report.differences.push(format!(
            "{pattern}: left out on purpose, but there is no such name"
        ));
    }
    Ok(())
}
