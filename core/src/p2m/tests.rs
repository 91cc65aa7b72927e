//! The battery, on formats of no hardware.

use super::plain::Plain;
use super::*;

/// A format whose absent entries are not zero, as those of some hardware are.
#[derive(Clone)]
struct NonZero(Plain);

impl EntryFormat for NonZero {
    fn encode(&self, entry: Entry, level: Level) -> u64 {
        self.0.encode(entry, level) ^ 1 << 63
    }

    fn decode(&self, bits: u64, level: Level) -> Entry {
        self.0.decode(bits ^ 1 << 63, level)
    }

    fn highest_leaf(&self) -> Level {
        self.0.highest_leaf()
    }
}

#[test]
fn the_walker_is_right_with_leaves_up_to_1_gib() {
    battery::all(Plain {
        highest_leaf: Level(2),
    });
}

#[test]
fn the_walker_is_right_with_leaves_up_to_2_mib_and_absence_that_is_not_zero() {
    battery::all(NonZero(Plain {
        highest_leaf: Level(1),
    }));
}

#[test]
fn the_walker_is_right_with_small_leaves_only() {
    let format = Plain {
        highest_leaf: Level(0),
    };
    battery::each_instant_shows_the_old_or_the_new_mapping(&format, 0);
    battery::without_frames_nothing_changes_for_the_guest(&format, 0);
}
