//! The hypervisor's address space: the image where it was linked, and the direct map.
//!
//! Code is read and executed, constants are read, data is read and written, and that is all: no page is
//! both written and executed, under any of its addresses. The image's pages are not in the direct map;
//! guard pages below stacks and page 0 are nowhere. Modules appear in the direct map read-only.
//!
//! The tables come from a run of RAM below 4 GiB, which is then never handed out.

use core::ops::Range;

use xenvisor_core::number::MachineAddr;

use super::direct_map::{DIRECT_MAP, pointer, word};
use super::page_tables::{MapError, PageTables, Protection, TableMemory};
use super::stacks::Stacks;
use crate::boot::BootInfo;
use crate::boot::memory_map::{MapFull, MemoryKind, Ranges};

const PAGE: u64 = 4096;
/// Below this lie firmware's data and, later, what other processors start with.
const LOW_MEMORY: u64 = 1 << 20;
/// Where RAM for programs in real mode ends.
const REAL_MODE_END: u64 = 0xa_0000;
/// Where the stacks of processors lie that were not the first: far above the direct map.
const STACKS: u64 = 0xffff_f000_0000_0000;
/// What the boot tables reach.
const BOOT_REACH: u64 = 1 << 32;

unsafe extern "C" {
    // Their addresses are the edges of the image's parts; nothing is stored in them.
    static image_start: u8;
    static image_text_end: u8;
    static image_rodata_end: u8;
    static image_end: u8;
}

/// The addresses of the image's parts, page-aligned, ascending.
struct Image {
    start: u64,
    text_end: u64,
    rodata_end: u64,
    end: u64,
}

impl Image {
    fn here() -> Self {
        Self {
            start: (&raw const image_start).addr() as u64,
            text_end: (&raw const image_text_end).addr() as u64,
            rodata_end: (&raw const image_rodata_end).addr() as u64,
            end: (&raw const image_end).addr() as u64,
        }
    }
}

/// Why there is no address space. The host ends with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AddressSpaceError {
    /// The page tables cannot be built.
    Map(MapError),
    /// Memory is in too many pieces.
    TooManyPieces,
    /// No RAM below 4 GiB is left for page tables.
    NoRoomForTables,
    /// A device lies where there is RAM.
    DeviceInRam(MachineAddr),
}

impl From<MapError> for AddressSpaceError {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

impl From<MapFull> for AddressSpaceError {
    fn from(_: MapFull) -> Self {
        Self::TooManyPieces
    }
}

/// Memory for page tables: a run of RAM, used from its end downwards.
struct TableFrames {
    first: u64,
    next: u64,
    end: u64,
    /// Where machine address 0 appears now: 0 under the boot tables, the direct map after.
    base: u64,
}

impl TableFrames {
    fn entry(&self, table: u64, index: usize) -> *mut u64 {
        let table = core::ptr::with_exposed_provenance_mut::<u64>(word(self.base + table));
        table.wrapping_add(index % 512)
    }
}

impl TableMemory for TableFrames {
    fn new_table(&mut self) -> Option<u64> {
        let table = self.next.checked_sub(PAGE).filter(|&table| table >= self.first)?;
        self.next = table;
        for index in 0..512 {
            self.set(table, index, 0);
        }
        Some(table)
    }

    fn get(&self, table: u64, index: usize) -> u64 {
        // SAFETY: tables come from `new_table` alone, so this is RAM that is mapped at `base` (by the boot
        // tables below 4 GiB, later by the direct map) and used for nothing else; `index` stays inside.
        unsafe { self.entry(table, index).read_volatile() }
    }

    fn set(&mut self, table: u64, index: usize, entry: u64) {
        // SAFETY: as in `get`. What the entry makes visible is decided by the callers in this file.
        unsafe { self.entry(table, index).write_volatile(entry) }
    }
}

/// The address space in force. One per machine.
pub(crate) struct AddressSpace {
    tables: PageTables<TableFrames>,
    image: Range<u64>,
}

impl AddressSpace {
    /// Builds the tables for what the loader told, and switches to them.
    pub(crate) fn enter(boot: &BootInfo, huge_pages: bool) -> Result<Self, AddressSpaceError> {
        let image = Image::here();
        let mut taken = taken(boot, image.start..image.end)?;
        let run = boot
            .memory
            .usable_pages(&taken)?
            .into_iter()
            .filter(|run| run.end <= BOOT_REACH)
            .max_by_key(|run| run.end - run.start)
            .ok_or(AddressSpaceError::NoRoomForTables)?;
        taken.clear();

        let frames = TableFrames {
            first: run.start,
            next: run.end,
            end: run.end,
            base: 0,
        };
        let mut tables = PageTables::new(frames, huge_pages)?;
        map_image(&mut tables, &image)?;
        map_ram(&mut tables, boot, image.start..image.end)?;

        // SAFETY: the new tables map this code, its constants, data and stack at the addresses they have
        // now (`map_image`), with the rights they need. The boot tables are not used after this.
        unsafe { x86::controlregs::cr3_write(tables.root()) };
        tables.memory().base = DIRECT_MAP;
        Ok(Self {
            tables,
            image: image.start..image.end,
        })
    }

    /// Makes firmware's tables readable in the direct map. `bytes` from `at` on; what is RAM already is.
    pub(crate) fn map_firmware(&mut self, at: MachineAddr, bytes: u64) -> Result<(), AddressSpaceError> {
        let pages = pages(at.raw(), bytes)?;
        self.tables.map_missing(
            DIRECT_MAP + pages.start,
            pages.start,
            pages.end - pages.start,
            Protection::Constant,
        )?;
        Ok(())
    }

    /// Makes a device's registers reachable in the direct map, uncached. `bytes` from `at` on.
    pub(crate) fn map_device(&mut self, at: MachineAddr, bytes: u64) -> Result<(), AddressSpaceError> {
        let pages = pages(at.raw(), bytes)?;
        let mapped = self.tables.map(
            DIRECT_MAP + pages.start,
            pages.start,
            pages.end - pages.start,
            Protection::Device,
        );
        match mapped {
            Err(MapError::Occupied(_)) => Err(AddressSpaceError::DeviceInRam(at)),
            other => Ok(other?),
        }
    }

    /// The machine address of the root of the tables.
    pub(crate) fn root(&self) -> u64 {
        self.tables.root()
    }

    /// Memory for the stacks of processor `number`, mapped without its guard pages in a part of the address space that
    /// is for stacks alone.
    pub(crate) fn new_stacks(&mut self, number: u32) -> Result<Stacks, AddressSpaceError> {
        let start = STACKS + u64::from(number) * (Stacks::BYTES as u64);
        let stacks = Stacks::at(word(start));
        for room in stacks.rooms() {
            for page in room.step_by(word(PAGE)) {
                let frame = self.tables.memory().new_table().ok_or(MapError::OutOfTables)?;
                self.tables.map(page as u64, frame, PAGE, Protection::Data)?;
            }
        }
        Ok(stacks)
    }

    /// A page of RAM where a processor can start in real mode: below 640 KiB, and used by nobody.
    pub(crate) fn low_page(boot: &BootInfo) -> Option<MachineAddr> {
        let mut taken = Ranges::new();
        for module in &boot.modules {
            let start = module.start.raw();
            taken.push(start..start.saturating_add(module.bytes)).ok()?;
        }
        // The first page has the real-mode interrupt table.
        taken.push(0..PAGE).ok()?;
        let runs = boot.memory.usable_pages(&taken).ok()?;
        let ends = runs.iter().map(|run| (run.start, run.end.min(REAL_MODE_END)));
        let page = ends
            .filter(|(start, end)| start + PAGE <= *end)
            .map(|(_, end)| end - PAGE)
            .max()?;
        Some(MachineAddr::new(page))
    }

    /// The RAM that nobody uses, when no more tables will be made: whole pages, lowest first.
    pub(crate) fn free_memory(&mut self, boot: &BootInfo) -> Result<Ranges, AddressSpaceError> {
        let mut taken = taken(boot, self.image.clone())?;
        let frames = self.tables.memory();
        taken
            .push(frames.next..frames.end)
            .map_err(|_| AddressSpaceError::TooManyPieces)?;
        Ok(boot.memory.usable_pages(&taken)?)
    }
}

/// The whole pages that hold `bytes` bytes at `at`.
fn pages(at: u64, bytes: u64) -> Result<Range<u64>, MapError> {
    let start = at - at % PAGE;
    let end = at
        .checked_add(bytes)
        .and_then(|end| end.checked_next_multiple_of(PAGE))
        .filter(|&end| end <= crate::boot::memory_map::MAX_ADDRESS)
        .ok_or(MapError::Unaligned)?;
    Ok(start..end)
}

/// What is in use before anything has been handed out: low memory, the image, the modules.
fn taken(boot: &BootInfo, image: Range<u64>) -> Result<Ranges, AddressSpaceError> {
    let modules = boot.modules.iter().map(|module| {
        let start = module.start.raw();
        start..start.saturating_add(module.bytes)
    });
    let mut taken = Ranges::new();
    for range in [0..LOW_MEMORY, image].into_iter().chain(modules) {
        taken.push(range).map_err(|_| AddressSpaceError::TooManyPieces)?;
    }
    Ok(taken)
}

/// The image at its own addresses, without the guard pages.
fn map_image(tables: &mut PageTables<TableFrames>, image: &Image) -> Result<(), AddressSpaceError> {
    for (range, protection) in [
        (image.start..image.text_end, Protection::Code),
        (image.text_end..image.rodata_end, Protection::Constant),
    ] {
        tables.map(range.start, range.start, range.end - range.start, protection)?;
    }
    let mut at = image.rodata_end;
    while at < image.end {
        // Guard pages lie in the data part, in no particular order.
        let next = Stacks::OF_BOOT_PROCESSOR
            .guards()
            .filter(|&guard| guard >= at)
            .min();
        let stop = next.unwrap_or(image.end).min(image.end);
        tables.map(at, at, stop - at, Protection::Data)?;
        at = stop.saturating_add(PAGE);
    }
    Ok(())
}

/// All RAM but the image, in the direct map.
fn map_ram(
    tables: &mut PageTables<TableFrames>,
    boot: &BootInfo,
    image: Range<u64>,
) -> Result<(), AddressSpaceError> {
    let mut left_out: Ranges = Ranges::new();
    let _ = left_out.push(image);
    for module in &boot.modules {
        let range = pages(module.start.raw(), module.bytes)?;
        tables.map_missing(
            DIRECT_MAP + range.start,
            range.start,
            range.end - range.start,
            Protection::Constant,
        )?;
        left_out
            .push(range)
            .map_err(|_| AddressSpaceError::TooManyPieces)?;
    }
    for range in boot.memory.usable_pages(&left_out)? {
        tables.map(
            DIRECT_MAP + range.start,
            range.start,
            range.end - range.start,
            Protection::Data,
        )?;
    }
    for region in boot.memory.regions() {
        if matches!(region.kind, MemoryKind::AcpiTables | MemoryKind::AcpiNvs) {
            let range = pages(region.range.start, region.range.end - region.range.start)?;
            tables.map_missing(
                DIRECT_MAP + range.start,
                range.start,
                range.end - range.start,
                Protection::Constant,
            )?;
        }
    }
    Ok(())
}

/// The bytes of a module, where the direct map shows them.
pub(crate) fn module_bytes(start: MachineAddr, bytes: u64) -> &'static [u8] {
    if bytes == 0 {
        return &[];
    }
    // SAFETY: `map_ram` has mapped every module the loader gave, read-only, for ever, and `taken` keeps its
    // pages from being handed out; so the bytes exist and never change. Callers pass a module's own place.
    unsafe { core::slice::from_raw_parts(pointer(start), word(bytes)) }
}
