//! What the compiler wrote down about types: sizes, members, enumerators, and where they are declared.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use gimli::{AttributeValue, DebuggingInformationEntry, EndianSlice, LittleEndian};
use object::{Object, ObjectSection};

use super::c_headers::below;

type Reader<'a> = EndianSlice<'a, LittleEndian>;

/// The bytes of a section of a program.
pub fn section<'a>(program: &'a [u8], name: &str) -> Result<&'a [u8]> {
    let file = object::File::parse(program)?;
    let section = file
        .section_by_name(name)
        .ok_or_else(|| anyhow!("no section {name}"))?;
    Ok(section.data()?)
}

/// Where one entry of the debug information is; entries refer to each other by it.
pub type TypeId = usize;

/// One entry, as far as it matters here.
#[derive(Debug)]
struct Entry {
    tag: gimli::DwTag,
    name: Option<String>,
    /// The header that declares it.
    file: Option<String>,
    size: Option<u64>,
    of: Option<TypeId>,
    /// Offset of a member; number of elements of a dimension; value of an enumerator.
    number: Option<i128>,
    children: Vec<TypeId>,
}

/// A member without members of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Path from the outermost structure, with dots.
    pub path: String,
    /// Offset in bytes from its start.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
}

/// All types of one program.
pub struct Types {
    entries: HashMap<TypeId, Entry>,
    pointer: u64,
}

impl Types {
    /// Reads the debug information of a program with one source file; headers are those below `include`.
    pub fn read(program: &[u8], include: &Path) -> Result<Self> {
        let file = object::File::parse(program)?;
        let pointer = if file.is_64() { 8 } else { 4 };
        let dwarf = gimli::Dwarf::load(|id| -> Result<Reader<'_>, gimli::Error> {
            let bytes = file
                .section_by_name(id.name())
                .and_then(|section| section.data().ok());
            Ok(EndianSlice::new(bytes.unwrap_or_default(), LittleEndian))
        })?;
        let mut entries: HashMap<TypeId, Entry> = HashMap::new();
        let mut units = dwarf.units();
        let header = units.next()?.context("no debug information")?;
        let unit = dwarf.unit(header)?;
        let files = file_names(&dwarf, &unit, include)?;
        let mut parents: Vec<TypeId> = Vec::new();
        let mut cursor = unit.entries();
        while let Some(die) = cursor.next_dfs()? {
            let id = die.offset().0;
            parents.truncate(usize::try_from(die.depth())?);
            if let Some(parent) = parents.last().and_then(|parent| entries.get_mut(parent)) {
                parent.children.push(id);
            }
            parents.push(id);
            entries.insert(id, entry(&dwarf, &unit, die, &files)?);
        }
        Ok(Self { entries, pointer })
    }

    /// The structure or union of that tag, or the type of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TypeId> {
        let (outer, path) = name.split_once("::").unwrap_or((name, ""));
        let is = |id: &TypeId, wanted: fn(gimli::DwTag) -> bool| {
            self.entries
                .get(id)
                .is_some_and(|entry| entry.name.as_deref() == Some(outer) && wanted(entry.tag))
        };
        let mut ids: Vec<_> = self.entries.keys().copied().collect();
        ids.sort_unstable();
        let tagged = ids.iter().find(|id| is(id, is_record) && self.is_complete(**id));
        let found = tagged.or_else(|| ids.iter().find(|id| is(id, |tag| tag == gimli::DW_TAG_typedef)))?;
        if path.is_empty() {
            Some(*found)
        } else {
            self.member(*found, path).map(|(_, of)| of)
        }
    }

    /// Size of a type in bytes.
    #[must_use]
    pub fn size(&self, id: TypeId) -> Option<u64> {
        let entry = self.entries.get(&id)?;
        if let Some(size) = entry.size {
            return Some(size);
        }
        match entry.tag {
            gimli::DW_TAG_pointer_type => Some(self.pointer),
            gimli::DW_TAG_array_type => {
                let mut size = self.size(entry.of?)?;
                for child in &entry.children {
                    // A dimension without a number is the open end of a structure.
                    let elements = self.entries.get(child)?.number.unwrap_or(0);
                    size = size.checked_mul(u64::try_from(elements).ok()?)?;
                }
                Some(size)
            }
            _ => self.size(entry.of?),
        }
    }

    /// Offset and type of the member at a path.
    #[must_use]
    pub fn member(&self, id: TypeId, path: &str) -> Option<(u64, TypeId)> {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let (offset, of) = self.direct_member(id, first)?;
        if rest.is_empty() {
            return Some((offset, of));
        }
        let (further, of) = self.member(of, rest)?;
        Some((offset + further, of))
    }

    /// The member of that name, looked for in nameless members too.
    fn direct_member(&self, id: TypeId, name: &str) -> Option<(u64, TypeId)> {
        for (member, offset, of) in self.members(id) {
            match member {
                Some(member) if member == name => return Some((offset, of)),
                Some(_) => {}
                None => {
                    if let Some((further, of)) = self.direct_member(of, name) {
                        return Some((offset + further, of));
                    }
                }
            }
        }
        None
    }

    /// Every member that has none of its own, in the order of declaration.
    #[must_use]
    pub fn leaves(&self, id: TypeId) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        self.add_leaves(id, 0, "", &mut leaves);
        leaves
    }

    fn add_leaves(&self, id: TypeId, base: u64, prefix: &str, leaves: &mut Vec<Leaf>) {
        for (name, offset, of) in self.members(id) {
            let path = match (prefix, name) {
                ("", name) => name.unwrap_or_default().to_owned(),
                (prefix, None) => prefix.to_owned(),
                (prefix, Some(name)) => format!("{prefix}.{name}"),
            };
            if self.members(of).is_empty() {
                leaves.push(Leaf {
                    path,
                    offset: base + offset,
                    size: self.size(of).unwrap_or(0),
                });
            } else {
                self.add_leaves(of, base + offset, &path, leaves);
            }
        }
    }

    /// The members of a structure or union: name, offset, type.
    fn members(&self, id: TypeId) -> Vec<(Option<&str>, u64, TypeId)> {
        let Some(entry) = self.record(id).and_then(|id| self.entries.get(&id)) else {
            return Vec::new();
        };
        let member = |child: &TypeId| {
            let child = self.entries.get(child)?;
            let offset = u64::try_from(child.number.unwrap_or(0)).ok()?;
            (child.tag == gimli::DW_TAG_member).then_some((child.name.as_deref(), offset, child.of?))
        };
        entry.children.iter().filter_map(member).collect()
    }

    /// The structure or union behind any number of names for it.
    fn record(&self, id: TypeId) -> Option<TypeId> {
        let entry = self.entries.get(&id)?;
        match entry.tag {
            tag if is_record(tag) => Some(id),
            gimli::DW_TAG_typedef | gimli::DW_TAG_const_type | gimli::DW_TAG_volatile_type => {
                self.record(entry.of?)
            }
            _ => None,
        }
    }

    fn is_complete(&self, id: TypeId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.size.is_some())
    }

    /// How C spells a type, so that it can be asked for its alignment.
    #[must_use]
    pub fn spelling(&self, name: &str) -> Option<String> {
        let (outer, path) = name.split_once("::").unwrap_or((name, ""));
        let outer = match self.entries.get(&self.find(outer)?)?.tag {
            gimli::DW_TAG_structure_type => format!("struct {outer}"),
            gimli::DW_TAG_union_type => format!("union {outer}"),
            _ => outer.to_owned(),
        };
        Some(if path.is_empty() {
            outer
        } else {
            format!("__typeof__((({outer} *)0)->{path})")
        })
    }

    /// Every structure and union that has a name: name to the header that declares it.
    #[must_use]
    pub fn records(&self) -> BTreeMap<&str, &str> {
        let mut records = BTreeMap::new();
        for (id, entry) in &self.entries {
            let (Some(name), Some(file)) = (&entry.name, &entry.file) else {
                continue;
            };
            let nameless_behind = entry.tag == gimli::DW_TAG_typedef
                && self
                    .record(*id)
                    .is_some_and(|of| self.entries.get(&of).is_some_and(|of| of.name.is_none()));
            if (is_record(entry.tag) && self.is_complete(*id)) || nameless_behind {
                records.insert(name.as_str(), file.as_str());
            }
        }
        records
    }

    /// Every enumerator: name to the header that declares it.
    #[must_use]
    pub fn enumerators(&self) -> BTreeMap<&str, &str> {
        let mut found = BTreeMap::new();
        for entry in self
            .entries
            .values()
            .filter(|entry| entry.tag == gimli::DW_TAG_enumeration_type)
        {
            for child in entry.children.iter().filter_map(|child| self.entries.get(child)) {
                if let (Some(name), Some(file)) = (&child.name, &entry.file) {
                    found.insert(name.as_str(), file.as_str());
                }
            }
        }
        found
    }
}

fn is_record(tag: gimli::DwTag) -> bool {
    tag == gimli::DW_TAG_structure_type || tag == gimli::DW_TAG_union_type
}

/// The headers by the number under which entries name them; nothing for other files.
fn file_names(
    dwarf: &gimli::Dwarf<Reader<'_>>,
    unit: &gimli::Unit<Reader<'_>>,
    include: &Path,
) -> Result<Vec<Option<String>>> {
    let program = unit.line_program.as_ref().context("no table of files")?;
    let header = program.header();
    let mut files = Vec::new();
    for file in header.file_names() {
        let name = dwarf.attr_string(unit, file.path_name())?;
        let mut path = PathBuf::new();
        if let Some(folder) = file.directory(header) {
            path.push(dwarf.attr_string(unit, folder)?.to_string_lossy().as_ref());
        }
        path.push(name.to_string_lossy().as_ref());
        files.push(below(include, &path));
    }
    Ok(files)
}

fn entry(
    dwarf: &gimli::Dwarf<Reader<'_>>,
    unit: &gimli::Unit<Reader<'_>>,
    die: &DebuggingInformationEntry<Reader<'_>>,
    files: &[Option<String>],
) -> Result<Entry> {
    let name = match die.attr_value(gimli::DW_AT_name) {
        Some(value) => Some(dwarf.attr_string(unit, value)?.to_string_lossy().into_owned()),
        None => None,
    };
    let number = |at| {
        die.attr_value(at).and_then(|value| match value {
            AttributeValue::Udata(value) => Some(i128::from(value)),
            AttributeValue::Sdata(value) => Some(i128::from(value)),
            AttributeValue::Data1(value) => Some(i128::from(value)),
            AttributeValue::Data2(value) => Some(i128::from(value)),
            AttributeValue::Data4(value) => Some(i128::from(value)),
            AttributeValue::Data8(value) => Some(i128::from(value)),
            AttributeValue::FileIndex(value) => Some(i128::from(value)),
            _ => None,
        })
    };
    let of = match die.attr_value(gimli::DW_AT_type) {
        Some(AttributeValue::UnitRef(offset)) => Some(offset.0),
        _ => None,
    };
    let file = number(gimli::DW_AT_decl_file).and_then(|index| usize::try_from(index).ok());
    let elements =
        number(gimli::DW_AT_count).or_else(|| number(gimli::DW_AT_upper_bound).map(|last| last + 1));
    Ok(Entry {
        tag: die.tag(),
        name,
        file: file.and_then(|index| files.get(index)).cloned().flatten(),
        size: number(gimli::DW_AT_byte_size).and_then(|size| u64::try_from(size).ok()),
        of,
        number: number(gimli::DW_AT_data_member_location)
            .or(number(gimli::DW_AT_const_value))
            .or(elements),
        children: Vec::new(),
    })
}
