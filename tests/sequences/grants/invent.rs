//! Calls as they come to mind. Mostly such that something comes of them, which is for the model to say.

use xenvisor::abi::xen::DOMID_SELF;
use xenvisor::model::testing::Random;

use super::model::{End, Mapping, PLACES};

#[derive(Clone, Debug)]
pub struct Call {
    pub n: u16,
    pub act: Act,
}

#[derive(Clone, Debug)]
pub enum Act {
    Offer {
        reference: u32,
        offer: Offer,
    },
    Map {
        wanted: Mapping,
        aim: Option<usize>,
    },
    Unmap {
        which: usize,
        place: Option<usize>,
        device: u64,
    },
    Copy {
        source: (End, u16),
        destination: (End, u16),
        bytes: u16,
        aim: [Option<usize>; 2],
    },
    SetVersion(u32),
    Swap(u32, u32),
    Show(u32),
    ShowStatus(u64),
    Setup(u32),
    Query(u16),
    Write {
        place: usize,
        offset: u64,
        value: u64,
    },
    Take {
        place: usize,
        lost: bool,
    },
    Populate(usize),
}

#[derive(Clone, Debug)]
pub enum Offer {
    Nothing,
    Frame {
        grantee: u16,
        place: usize,
        flags: u16,
        part: (u16, u16),
        far: bool,
    },
    Onward {
        grantee: u16,
        via: u16,
        reference: u32,
        flags: u16,
    },
}

fn domain(random: &mut Random) -> u16 {
    // Mostly the three, seldom one that never is.
    *random.pick(&[1, 1, 1, 2, 2, 2, 3, 3, 3, 9])
}

fn reference(random: &mut Random) -> u32 {
    *random.pick(&[0, 0, 3, 8, 8, 8, 8, 9, 9, 9, 9, 10, 10, 300, 600])
}

fn place(random: &mut Random) -> usize {
    random.below(PLACES.len() as u64) as usize
}

/// Mostly one that is memory at first.
fn offered(random: &mut Random) -> usize {
    if random.below(8) == 0 {
        place(random)
    } else {
        random.below(4) as usize
    }
}

fn offer(random: &mut Random) -> Offer {
    let grantee = *random.pick(&[1, 2, 2, 2, 2, 3]);
    match random.below(8) {
        0 => Offer::Nothing,
        1 => Offer::Onward {
            grantee,
            via: domain(random),
            reference: reference(random),
            flags: *random.pick(&[0, 0, 4]),
        },
        _ => Offer::Frame {
            grantee,
            place: offered(random),
            flags: *random.pick(&[0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 1 << 8, 1 << 8 | 4, 1 << 5, 8, 16]),
            part: *random.pick(&[(0, 4096), (8, 64), (0, 100), (4090, 100), (0, 0)]),
            far: random.below(30) == 0,
        },
    }
}

/// Mostly an offer that there is, one of those to the caller; what it names otherwise.
fn aim(random: &mut Random) -> Option<usize> {
    (random.below(10) != 0).then(|| random.below(4) as usize)
}

fn end(random: &mut Random) -> (End, u16) {
    let end = if random.below(3) == 0 {
        End::Own {
            place: offered(random),
            domain: *random.pick(&[DOMID_SELF, DOMID_SELF, DOMID_SELF, DOMID_SELF, DOMID_SELF, 1]),
        }
    } else {
        End::Granted {
            domain: *random.pick(&[1, 1, 2, 2, 3, 3, DOMID_SELF, 9]),
            reference: reference(random),
        }
    };
    (
        end,
        *random.pick(&[0, 8, 8, 8, 8, 8, 8, 8, 8, 40, 40, 4090, 4096, 0xffff]),
    )
}

pub fn call(random: &mut Random) -> Call {
    let act = match random.below(32) {
        0..9 => Act::Offer {
            reference: reference(random),
            offer: offer(random),
        },
        9..16 => Act::Map {
            wanted: Mapping {
                granter: domain(random),
                reference: reference(random),
                place: place(random),
                flags: *random.pick(&[
                    2,
                    2,
                    2,
                    2,
                    2,
                    2,
                    2,
                    2,
                    2,
                    6,
                    6,
                    6,
                    6,
                    6,
                    6,
                    6,
                    6,
                    0,
                    3,
                    2 | 16,
                    2 | 1 << 20,
                ]),
            },
            aim: aim(random),
        },
        16..19 => Act::Unmap {
            which: random.below(12) as usize,
            place: (random.below(9) != 0).then(|| {
                // Mostly where it is.
                if random.below(6) == 0 {
                    place(random)
                } else {
                    PLACES.len()
                }
            }),
            device: *random.pick(&[0, 0, 0, 0, 0, 0, 0, 0x1000]),
        },
        19..24 => Act::Copy {
            source: end(random),
            destination: end(random),
            aim: [aim(random), aim(random)],
            bytes: *random.pick(&[0, 1, 8, 8, 8, 8, 8, 40, 40, 100, 0xffff]),
        },
        24 => Act::SetVersion(*random.pick(&[1, 1, 2, 2, 2, 3])),
        25 => Act::Swap(reference(random), reference(random)),
        26 => match random.below(4) {
            0 | 1 => Act::ShowStatus(*random.pick(&[0, 0, 0, 0, 1, u64::from(u32::MAX >> 1)])),
            2 => Act::Setup(random.below(10) as u32),
            _ => Act::Show(*random.pick(&[0, 1, 1, 2, 2, 3, 8, u32::MAX >> 1])),
        },
        27 => match random.below(3) {
            0 => Act::SetVersion(*random.pick(&[1, 2])),
            1 => Act::ShowStatus(0),
            _ => Act::Query(*random.pick(&[1, 2, 3, DOMID_SELF, 9])),
        },
        28 => Act::Take {
            place: place(random),
            lost: random.below(2) == 0,
        },
        29 => Act::Populate(place(random)),
        _ => Act::Write {
            place: place(random),
            offset: random.below(16) * 8,
            value: random.next(),
        },
    };
    // Mostly, 1 grants to 2.
    let n = match act {
        Act::Offer { .. } | Act::SetVersion(_) | Act::ShowStatus(_) => *random.pick(&[1, 1, 1, 1, 2, 3]),
        Act::Map { .. } | Act::Unmap { .. } | Act::Copy { .. } => *random.pick(&[1, 2, 2, 2, 2, 3]),
        _ => *random.pick(&[1, 2, 3]),
    };
    Call { n, act }
}
