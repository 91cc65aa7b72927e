//! Tags for the translations that a processor keeps (AMD: ASID, Intel: VPID): each run of a vcpu on a pcpu carries one,
//! and whoever needs fresh translations takes a new one. When they run out, all are flushed at once and a new generation begins.
//!
//! One allocator per pcpu. Invariant: within one generation no number is given out twice, and a tag of an older
//! generation is never used. Number 0 is the host's. APM vol. 2 §15.16; SDM vol. 3 §29.1.

/// A tag, valid on one pcpu in one generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag {
    /// The number for the control structure. Never 0.
    pub number: u32,
    generation: u64,
}

/// A tag that was just given out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fresh {
    /// The tag.
    pub tag: Tag,
    /// All translations of all guests must be flushed at this entry: a generation begins.
    pub flush_all: bool,
}

/// The tags of one pcpu.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tags {
    count: u32,
    next: u32,
    generation: u64,
}

impl Tags {
    /// For a processor with `count` of them, the host's 0 included (CPUID 0x8000_000a EBX; Intel's have 0x1_0000). With fewer than 2 no
    /// guest can run; then every entry is a new generation of the one tag 1.
    #[must_use]
    pub const fn new(count: u32) -> Self {
        Self {
            count,
            // As if all had been used: what the processor holds from before our time goes at the first entry.
            next: count,
            generation: 0,
        }
    }

    /// Whether a tag may still be used.
    #[must_use]
    pub const fn is_current(&self, tag: Tag) -> bool {
        tag.generation == self.generation
    }

    /// A tag that nobody uses.
    pub const fn fresh(&mut self) -> Fresh {
        let flush_all = self.next >= self.count;
        if flush_all {
            self.next = 1;
            self.generation = self.generation.wrapping_add(1);
        }
        let tag = Tag {
            number: self.next,
            generation: self.generation,
        };
        self.next = self.next.saturating_add(1);
        Fresh { tag, flush_all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_tag_flushes_what_was_there_before() {
        let mut tags = Tags::new(16);
        assert!(tags.fresh().flush_all);
        assert!(!tags.fresh().flush_all);
    }

    #[test]
    fn no_tag_is_given_out_twice_before_a_flush() {
        for count in [0, 1, 2, 3, 16, 0x8000] {
            let mut tags = Tags::new(count);
            let mut seen = std::collections::HashSet::new();
            for _ in 0..100 {
                let fresh = tags.fresh();
                assert_ne!(fresh.tag.number, 0, "{count}");
                assert!(fresh.tag.number < count.max(2), "{count}");
                if fresh.flush_all {
                    seen.clear();
                }
                assert!(seen.insert(fresh.tag.number), "{count}");
                assert!(tags.is_current(fresh.tag));
            }
        }
    }

    #[test]
    fn a_tag_of_an_older_generation_is_stale() {
        let mut tags = Tags::new(3);
        let first = tags.fresh().tag;
        assert!(tags.is_current(first));
        tags.fresh();
        assert!(tags.fresh().flush_all);
        assert!(!tags.is_current(first));
    }
}
