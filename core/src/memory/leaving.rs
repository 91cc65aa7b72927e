//! Frames on their way out: no longer mapped, but perhaps still cached by a processor.
//!
//! A frame that is given back while a vcpu can still reach it through a stale translation belongs to two. So whoever
//! unmaps hands the frame's reference to a [`Leaving`], which flushes first and gives back afterwards: when it is
//! full, and when it is dropped. Many frames share one flush. It must be dropped with no lock held, since the flush
//! waits for other processors.

use crate::memory::frames::Frames;
use crate::number::Mfn;
use crate::p2m::Flush;

/// How many frames share a flush.
const BATCH: usize = 32;

/// References to frames, given back after a flush.
#[must_use = "dropping it flushes and gives back"]
pub struct Leaving<'a> {
    frames: &'a Frames,
    flush: &'a dyn Fn(Flush),
    owed: Flush,
    gone: heapless::Vec<Mfn, BATCH>,
}

impl<'a> Leaving<'a> {
    /// Nothing yet. `flush` makes every vcpu of the domain forget its translations before it returns.
    pub const fn new(frames: &'a Frames, flush: &'a dyn Fn(Flush)) -> Self {
        Self {
            frames,
            flush,
            owed: Flush::None,
            gone: heapless::Vec::new(),
        }
    }

    /// Room for one frame more. Call it before taking a lock.
    pub fn make_room(&mut self) {
        if self.gone.is_full() {
            self.settle();
        }
    }

    /// Notes a flush, and a reference to give back after it.
    pub fn add(&mut self, owed: Flush, gone: Option<Mfn>) {
        self.owed = self.owed.and(owed);
        if let Some(mfn) = gone {
            // Without room the reference would be lost, and with it the frame; lost is still better than shared.
            let room = self.gone.push(mfn);
            debug_assert!(room.is_ok(), "room was not made");
        }
    }

    /// Flushes if need be, and gives back.
    pub fn settle(&mut self) {
        (self.flush)(self.owed);
        self.owed = Flush::None;
        for mfn in &self.gone {
            self.frames.release(*mfn);
        }
        self.gone.clear();
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}
