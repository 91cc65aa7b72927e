//! `cargo xtask compare`: the same talks with Xen and with us, in the same emulator, line by line.

use anyhow::{Context, Result};
use clap::Args;

use crate::progress::Step;

use super::dom0::Dom0;
use super::record::{areas, kept};
use super::talk::Talk;

/// How many lines that differ are shown of each talk.
const SHOWN: usize = 10;

/// What `compare` takes.
#[derive(Debug, Args)]
pub struct Compare {
    /// What to talk about [default: everything]
    #[arg(value_name = "AREA")]
    areas: Vec<String>,
    /// The seed of the talks [default: that of the transcripts in tests/transcripts]
    #[arg(long)]
    seed: Option<u64>,
    /// How many calls each has, about [default: as many as those]
    #[arg(long)]
    calls: Option<u32>,
    /// Ask Xen anew, even where there is a transcript
    #[arg(long)]
    fresh: bool,
}

impl Compare {
    /// Compares; the status is 1 where something differs.
    pub fn run(self) -> Result<u8> {
        let mut all_agree = true;
        let anew = self.fresh || self.seed.is_some() || self.calls.is_some();
        let dom0 = if anew { Some(Dom0::fetch()?) } else { None };
        for area in areas(&self.areas)? {
            let kept_talk = Talk::kept(area);
            let talk = Talk {
                area,
                seed: self.seed.unwrap_or(kept_talk.seed),
                calls: self.calls.unwrap_or(kept_talk.calls),
            };
            let theirs = match &dom0 {
                Some(dom0) => talk.with_xen(dom0)?,
                None => {
                    let file = kept().join(format!("{}.txt", area.name()));
                    std::fs::read_to_string(&file)
                        .with_context(|| format!("cannot read {}", file.display()))?
                }
            };
            let step = Step::begin(&format!("talking about {} with us", area.name()));
            let ours = talk.with_us()?;
            drop(step);
            all_agree &= agree(area.name(), &theirs, &ours);
        }
        Ok(u8::from(!all_agree))
    }
}

/// Whether two transcripts are the same; prints where not.
fn agree(name: &str, theirs: &str, ours: &str) -> bool {
    let differ: Vec<_> = (1..)
        .zip(theirs.lines().zip(ours.lines()))
        .filter(|(_, (xen, we))| xen != we)
        .collect();
    for (line, (xen, we)) in differ.iter().take(SHOWN) {
        println!("{name}:{line}\n  Xen: {xen}\n  we:  {we}");
    }
    let (long, short) = (theirs.lines().count(), ours.lines().count());
    if long != short {
        println!("{name}: Xen says {long} lines, we {short}");
    }
    let same = differ.is_empty() && long == short;
    println!(
        "{name}: {long} lines, {}",
        if same {
            "all as with Xen".to_owned()
        } else {
            format!("{} not as with Xen", differ.len())
        }
    );
    same
}
