//! The heap: one allocator, two tiers.
//!
//! Small things (metadata of domains, vcpus, ports) live in a fixed region inside the image. Large buffers
//! come as runs of frames from whoever owns the machine's frames, once [`give_large_blocks`] has
//! named it; before that they come from the fixed region too. The address tells where a block must return to.
//!
//! Invariant: a block goes back to the tier it came from. An allocation that finds no room fails; it never
//! takes guests' memory beyond what the frame owner grants.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{self, NonNull};

use linked_list_allocator::Heap;
use spin::{Mutex, Once};

use crate::host::direct_map;
use crate::host::interrupts::without_interrupts;
use xenvisor_core::number::{FRAME_SIZE, MachineAddr};

/// Bytes of the fixed region.
const REGION: usize = 8 << 20;
/// From this size on an allocation comes as frames.
const LARGE: usize = 64 << 10;

/// Who gives and takes large blocks: whoever owns the machine's frames.
pub trait LargeBlocks: Send + Sync {
    /// `frames` frames in a row that nobody else uses. Their contents do not matter.
    fn take(&self, frames: u64) -> Option<MachineAddr>;

    /// Takes back what [`LargeBlocks::take`] gave for the same number.
    fn give_back(&self, block: MachineAddr, frames: u64);
}

#[repr(C, align(4096))]
struct Region(UnsafeCell<[u8; REGION]>);

// SAFETY: the region is reached through the allocator below alone, which hands out each byte once.
unsafe impl Sync for Region {}

static FIXED: Region = Region(UnsafeCell::new([0; REGION]));
static LARGE_BLOCKS: Once<&'static dyn LargeBlocks> = Once::new();

#[global_allocator]
static ALLOCATOR: TwoTiers = TwoTiers {
    small: Mutex::new(Heap::empty()),
};

struct TwoTiers {
    small: Mutex<Heap>,
}

/// Makes the fixed region usable. Once, before the first allocation; later calls do nothing.
pub(crate) fn initialise() {
    let mut heap = ALLOCATOR.small.lock();
    if heap.size() == 0 {
        // SAFETY: the region is REGION bytes of this image, mapped writable, lives for ever, and nothing but
        // this heap (empty until now) ever uses it.
        unsafe { heap.init(FIXED.0.get().cast(), REGION) };
    }
}

/// Names who gives large blocks from now on. Only the first call counts.
pub fn give_large_blocks(from: &'static dyn LargeBlocks) {
    LARGE_BLOCKS.call_once(|| from);
}

/// How much of the fixed region is in use, in bytes.
#[must_use]
pub fn small_bytes_in_use() -> usize {
    without_interrupts(|| ALLOCATOR.small.lock().used())
}

fn in_region(address: usize) -> bool {
    address.wrapping_sub(FIXED.0.get().addr()) < REGION
}

/// How many frames hold `layout`; `None` where it wants more alignment than a frame has.
fn frames_for(layout: Layout) -> Option<u64> {
    let align = u64::try_from(layout.align()).ok()?;
    let bytes = u64::try_from(layout.size()).ok()?;
    (align <= FRAME_SIZE).then(|| bytes.div_ceil(FRAME_SIZE))
}

impl TwoTiers {
    fn large(layout: Layout) -> Option<NonNull<u8>> {
        let block = LARGE_BLOCKS.get()?.take(frames_for(layout)?)?;
        NonNull::new(direct_map::pointer(block))
    }

    fn small(&self, layout: Layout) -> Option<NonNull<u8>> {
        without_interrupts(|| self.small.lock().allocate_first_fit(layout).ok())
    }
}

// SAFETY: both tiers give blocks of at least the layout's size and alignment that nobody else uses (the
// linked-list heap by its own contract, frames by `LargeBlocks`'), neither unwinds, and `dealloc` returns a
// block to the tier that gave it, told by its address.
unsafe impl GlobalAlloc for TwoTiers {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = if layout.size() >= LARGE && LARGE_BLOCKS.is_completed() {
            Self::large(layout)
        } else {
            self.small(layout)
        };
        block.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if in_region(block.addr()) {
            let Some(block) = NonNull::new(block) else { return };
            without_interrupts(|| {
                // SAFETY: the caller gives back a block of this layout that `alloc` gave; its address says
                // that it came from the fixed region.
                unsafe { self.small.lock().deallocate(block, layout) };
            });
        } else if let (Some(owner), Some(frames), Some(at)) = (
            LARGE_BLOCKS.get(),
            frames_for(layout),
            direct_map::machine_address(block),
        ) {
            owner.give_back(at, frames);
        }
    }
}
